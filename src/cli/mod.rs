//! The command line: one file per command, with its options and an `execute` that calls the lifecycle. Must
//! not do what a lower room should: here words become options, and results become text.
//!
//! Names, short forms, order of arguments and defaults are runc's, since engines know those. The doc comments
//! of options and commands are the manual: `--help` and the pages in `man/` are made from them.

mod checkpoint;
mod completion;
mod create;
mod delete;
mod doctor;
mod events;
mod exec;
mod features;
mod global;
mod install;
mod kill;
mod list;
pub mod log;
mod log_sink;
#[cfg(test)]
mod man;
mod mounts;
mod passed;
mod pause;
mod ps;
mod quantity;
mod restore;
mod resume;
mod run;
mod spec;
mod start;
mod state;
mod update;
mod version;
mod wasm;

use std::ffi::{OsStr, OsString};
use std::io::Write as _;
use std::path::Path;

use anyhow::Context as _;
use clap::{Args as _, FromArgMatches as _};

use crate::container::Context;
use log::Log;

pub use global::Global;

const OVERVIEW: &str = "\
An OCI container runtime that runs native and WebAssembly programs.

A container is made from a bundle: a directory with a file config.json (see wrun spec) and a root file \
system. Whether its program is native or WebAssembly is seen from the program's first bytes; no setting is \
needed.

    # wrun run -b BUNDLE CONTAINER-ID

The commands, their options and their output are those of runc, so that engines (Docker, containerd, Podman, \
CRI-O) can call wrun in runc's place.";

/// Lists the commands: for each its name, which is that of its file, and the structure of its options.
macro_rules! commands {
    ($($module:ident: $variant:ident,)+) => {
        /// One command with its options.
        #[derive(Debug)]
        pub enum Command {
            $($variant($module::$variant),)+
        }

        impl Command {
            fn execute(&self, invocation: &Invocation, log: &Log) -> anyhow::Result<u8> {
                match self {
                    $(Self::$variant(command) => command.execute(invocation, log),)+
                }
            }

            /// As it is called.
            const fn name(&self) -> &'static str {
                match self {
                    $(Self::$variant(_) => stringify!($module),)+
                }
            }

            fn from_matches(name: &str, matches: &clap::ArgMatches) -> Result<Option<Self>, clap::Error> {
                $(if name == stringify!($module) {
                    return $module::$variant::from_arg_matches(matches).map(|it| Some(Self::$variant(it)));
                })+
                Ok(None)
            }
        }

        /// All commands with all their options and texts.
        fn whole() -> clap::Command {
            base()$(.subcommand($module::$variant::augment_args(clap::Command::new(stringify!($module)))))+
        }

        /// The same to parse with, not to print: a command's options are made only when it is called. Making
        /// those of all commands costs 0.1 ms more, a tenth of what a whole `state` takes.
        fn lazy() -> clap::Command {
            base()
                .disable_help_subcommand(true)
                $(.subcommand(clap::Command::new(stringify!($module)).defer($module::$variant::augment_args)))+
        }
    };
}

commands! {
    checkpoint: Checkpoint,
    completion: Completion,
    create: Create,
    delete: Delete,
    doctor: Doctor,
    events: Events,
    exec: Exec,
    features: Features,
    install: Install,
    kill: Kill,
    list: List,
    mounts: Mounts,
    pause: Pause,
    ps: Ps,
    restore: Restore,
    resume: Resume,
    run: Run,
    spec: Spec,
    start: Start,
    state: State,
    update: Update,
    wasm: Wasm,
}

impl Command {
    /// The exit code where the command fails. `exec` has its own, as with runc, so that it can be told from a
    /// program that ended with 1.
    pub const fn failure_code(&self) -> u8 {
        match self {
            Self::Exec(_) => 255,
            _ => 1,
        }
    }
}

/// The program and its global options.
fn base() -> clap::Command {
    Global::augment_args(
        clap::Command::new("wrun")
            .about("An OCI container runtime that runs native and WebAssembly programs")
            .long_about(OVERVIEW)
            .subcommand_value_name("COMMAND")
            // As with runc: of an option that is given twice the last counts, and a list grows. Podman 5.8 says
            // `--leave-running` twice.
            .args_override_self(true)
            .disable_version_flag(true),
    )
}

/// What a command line asks for.
#[derive(Debug)]
pub struct Invocation {
    pub global: Global,
    pub command: Command,
    /// Called under a name that ends in `-wasm`: every container must be Wasm. Podman and CRI-O start such a
    /// name for images of a Wasm platform.
    pub wasm_required: bool,
}

impl Invocation {
    /// Carries out the command; the exit code on success is that of the process that ran, or 0.
    pub fn execute(&self, log: &Log) -> anyhow::Result<u8> {
        // Without the options: variables for a program (`exec --env`) may be secrets.
        log.debug(|| format!("wrun {} carries out {}", version::VERSION, self.command.name()));
        self.command.execute(self, log)
    }

    /// What the lifecycle is called with.
    fn context<'a>(&self, warn: crate::container::Warn<'a>) -> anyhow::Result<Context<'a>> {
        Ok(Context {
            root: self.global.state_root()?,
            cgroup_manager: self.global.cgroup_manager(),
            rootless: self.global.rootless,
            wasm_required: self.wasm_required,
            notify_socket: passed::notify_socket(),
            warn,
        })
    }
}

/// What came of a command line that could be read.
#[derive(Debug)]
pub enum Parsed {
    Invocation(Box<Invocation>),
    /// Help or the version, to be printed.
    Text(String),
}

/// A command line that could not be read.
#[derive(Debug)]
pub struct Refusal {
    error: clap::Error,
    log: Option<OsString>,
    format: log::Format,
}

impl Refusal {
    /// Says what is wrong, in the log if there is one, and on standard error with the usage.
    pub fn report(&self) {
        let (cause, advice) = self.texts();
        if let Some(path) = &self.log
            && let Ok(log) = Log::open(Some(Path::new(path)), self.format, log::Level::default())
        {
            log.fail(&cause);
        } else {
            Log::stderr().fail(&cause);
        }
        // If standard error is closed, there is no person to advise.
        let _ = std::io::stderr().lock().write_all(advice.as_bytes());
    }

    /// What is wrong, in one line, and how it would be right, in many.
    fn texts(&self) -> (String, String) {
        let text = self.error.render().to_string();
        let text = text.strip_prefix("error: ").unwrap_or(&text).trim_end();
        let (cause, advice) = text.split_once("\n\n").unwrap_or((text, ""));
        let cause: Vec<&str> = cause.lines().map(str::trim).collect();
        let end = if advice.is_empty() { "" } else { "\n" };
        (cause.join(" "), format!("{advice}{end}"))
    }
}

/// Reads a command line, the program's name included.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Parsed, Box<Refusal>> {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let wasm_required = arguments.first().is_some_and(|name| is_wasm_name(name));
    let parsed = match read(lazy(), &arguments) {
        Err(_) => read(whole(), &with_two_dashes(&arguments)),
        parsed => parsed,
    };
    match parsed {
        Ok((global, _)) if global.version => Ok(Parsed::Text(version::text())),
        Ok((global, Some(command))) => Ok(Parsed::Invocation(Box::new(Invocation {
            global,
            command,
            wasm_required,
        }))),
        Ok((_, None)) => Ok(Parsed::Text(whole().render_long_help().to_string())),
        Err(error) if !error.use_stderr() => Ok(Parsed::Text(error.render().to_string())),
        Err(error) => {
            let (log, format) = log_of(&arguments);
            Err(Box::new(Refusal { error, log, format }))
        }
    }
}

/// containerd's library for runtimes (go-runc) writes one long option of `restore` with one dash, as runc takes them all.
/// Only for a command line that is not understood as it is.
fn with_two_dashes(arguments: &[OsString]) -> Vec<OsString> {
    let restore = arguments.iter().position(|argument| argument == "restore");
    let after = restore.unwrap_or(arguments.len());
    let mend = |(index, argument): (usize, &OsString)| match argument.to_str() {
        Some("-no-subreaper") if index > after => OsString::from("--no-subreaper"),
        _ => argument.clone(),
    };
    arguments.iter().enumerate().map(mend).collect()
}

fn read(command: clap::Command, arguments: &[OsString]) -> Result<(Global, Option<Command>), clap::Error> {
    let matches = command.try_get_matches_from(arguments)?;
    let global = Global::from_arg_matches(&matches)?;
    let command = match matches.subcommand() {
        Some((name, matches)) => Command::from_matches(name, matches)?,
        None => None,
    };
    Ok((global, command))
}

/// Whether the command line looks like one of a command whose process enters a container. A guess, which may
/// be wrong where an option's value is named like a command.
pub fn enters_container(arguments: impl IntoIterator<Item = OsString>) -> bool {
    arguments.into_iter().skip(1).any(|argument| {
        crate::sys::entry::entering().any(|name| argument.as_encoded_bytes() == name.to_bytes())
    })
}

/// Whether the program was called under a name that asks for Wasm.
fn is_wasm_name(name: &OsStr) -> bool {
    Path::new(name)
        .file_name()
        .is_some_and(|name| name.as_encoded_bytes().ends_with(b"-wasm"))
}

/// Where the log is, for a command line that is wrong elsewhere: engines look there for the reason.
fn log_of(arguments: &[OsString]) -> (Option<OsString>, log::Format) {
    let value = |option: &str| {
        let mut arguments = arguments.iter().skip(1);
        while let Some(argument) = arguments.next() {
            let argument = argument.to_string_lossy();
            match argument.strip_prefix(option) {
                Some("") => return arguments.next().cloned(),
                Some(rest) if rest.starts_with('=') => return Some(OsString::from(&rest[1..])),
                _ => {}
            }
        }
        None
    };
    let format = match value("--log-format") {
        Some(format) if format == "json" => log::Format::Json,
        _ => log::Format::Text,
    };
    (value("--log"), format)
}

/// Writes a command's output; a reader that has gone is an error and not a panic.
pub fn write_stdout(bytes: &[u8]) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout().lock();
    stdout
        .write_all(bytes)
        .and_then(|()| stdout.flush())
        .context("cannot write to standard output")
}

#[cfg(test)]
mod tests;
