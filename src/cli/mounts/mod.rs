//! `wrun mounts`: a group of commands on the mounts of a container that runs. One file per command, of the same shape as
//! those above.

mod add;
mod remove;

use super::{Invocation, log::Log};

/// Add mounts to a container that runs, or remove them.
///
/// The form is crun's. What is changed lasts as long as the container: its configuration stays as it was given.
#[derive(Debug, clap::Args)]
#[command(subcommand_value_name = "COMMAND", arg_required_else_help = false)]
pub struct Mounts {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Add(add::Add),
    Remove(remove::Remove),
}

impl Mounts {
    pub fn execute(&self, invocation: &Invocation, log: &Log) -> anyhow::Result<u8> {
        match &self.command {
            Command::Add(command) => command.execute(invocation, log),
            Command::Remove(command) => command.execute(invocation, log),
        }
    }
}
