//! `wrun completion`: what a shell needs to complete wrun's command lines.
//!
//! The scripts are short and know nothing: with each press of the key they ask this very program, which reads the answer
//! from the definitions of its commands and from the state directory. So there are ids of containers among the answers,
//! nothing goes stale when wrun is updated, and no generator of scripts is needed.

mod answer;

use super::{Invocation, log::Log, write_stdout};
use crate::container;

/// Print what a shell needs to complete command lines of wrun.
///
/// Commands, options, their values and names of containers are completed. For bash, in its start-up file:
/// source <(wrun completion bash). For zsh, into a file _wrun in a directory of fpath. For fish, into
/// ~/.config/fish/completions/wrun.fish.
#[derive(Debug, clap::Args)]
#[command(override_usage = "wrun completion SHELL")]
pub struct Completion {
    /// The shell: bash, zsh or fish.
    #[arg(value_name = "SHELL", value_enum, hide_possible_values = true)]
    shell: Shell,

    /// With words in the place of a shell: those of a command line after wrun, the last one to be completed.
    #[arg(
        value_name = "WORD",
        hide = true,
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    words: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
    /// What the scripts ask.
    #[value(hide = true)]
    Words,
}

impl Completion {
    pub fn execute(&self, invocation: &Invocation, _log: &Log) -> anyhow::Result<u8> {
        let text = match self.shell {
            Shell::Bash => include_str!("bash.sh").to_owned(),
            Shell::Zsh => include_str!("zsh.zsh").to_owned(),
            Shell::Fish => include_str!("fish.fish").to_owned(),
            Shell::Words => self.answer(invocation),
        };
        write_stdout(text.as_bytes())?;
        Ok(0)
    }

    /// Nobody sees why there is no answer: a shell has nowhere to show it.
    fn answer(&self, invocation: &Invocation) -> String {
        let mut program = super::whole();
        program.build();
        let ids = |root: Option<&str>| {
            let mut context = invocation.context(&|_| ()).ok()?;
            if let Some(root) = root {
                context.root = root.into();
            }
            container::ids(&context).ok()
        };
        answer::to(&program, &self.words, &|root| ids(root).unwrap_or_default()).to_text()
    }
}
