//! `wrun run`.

use super::{Invocation, create::Creation, log::Log};
use crate::container::{self, RunOptions};

/// Create and start a container, and wait for its program.
///
/// Signals that wrun gets are passed on to the container. A terminal, where config.json asks for one, is
/// wrun's own. The exit code is the program's, or 128 and the signal's number where a signal ended it; then
/// the container is deleted.
#[derive(Debug, clap::Args)]
pub struct Run {
    #[command(flatten)]
    creation: Creation,

    /// Return when the program has started, and leave the container running.
    ///
    /// A terminal is then sent to --console-socket. The container is not deleted when it ends.
    #[arg(long, short)]
    detach: bool,

    /// Keep the container when its program has ended, until `wrun delete`.
    #[arg(long)]
    keep: bool,

    /// Do not become the parent of processes that lose theirs in the container.
    ///
    /// By default wrun reaps them while it waits.
    #[arg(long)]
    no_subreaper: bool,
}

impl Run {
    pub fn execute(&self, invocation: &Invocation, log: &Log) -> anyhow::Result<u8> {
        let warn = |message: &str| log.warn(message);
        let options = RunOptions {
            create: self.creation.options(),
            detach: self.detach,
            keep: self.keep,
            no_subreaper: self.no_subreaper,
        };
        Ok(container::run(&invocation.context(&warn)?, &options)?)
    }
}
