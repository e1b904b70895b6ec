//! `wrun wasm`: a group of commands on WebAssembly itself rather than on containers. One file per command, of
//! the same shape as those above.

mod compile;
mod inspect;
mod list;
mod prune;
#[cfg(feature = "spin")]
mod unpack;
mod verify;

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use super::{Invocation, log::Log};
use crate::host::Host;
use crate::workload::wasm::{self, Cache};

/// Compile WebAssembly ahead of its first start, look into it, unpack applications, and look after the cache of
/// compiled code.
///
/// None of these commands touches a container. The cache is the one that containers of the same caller use;
/// see WRUN_CACHE_DIR in wrun(8).
#[derive(Debug, clap::Args)]
#[command(subcommand_value_name = "COMMAND", arg_required_else_help = false)]
pub struct Wasm {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Compile(compile::Compile),
    Inspect(inspect::Inspect),
    List(list::List),
    Prune(prune::Prune),
    #[cfg(feature = "spin")]
    Unpack(unpack::Unpack),
    Verify(verify::Verify),
}

impl Wasm {
    pub fn execute(&self, invocation: &Invocation, log: &Log) -> anyhow::Result<u8> {
        match &self.command {
            Command::Compile(command) => command.execute(invocation, log),
            Command::Inspect(command) => command.execute(invocation, log),
            Command::List(command) => command.execute(invocation, log),
            Command::Prune(command) => command.execute(invocation, log),
            #[cfg(feature = "spin")]
            Command::Unpack(command) => command.execute(invocation, log),
            Command::Verify(command) => command.execute(invocation, log),
        }
    }
}

/// Where the caller's containers keep their compiled code.
fn cache_dir(invocation: &Invocation) -> anyhow::Result<PathBuf> {
    let host = Host::probe(invocation.global.rootless);
    Ok(wasm::default_dir(host.rootless())?)
}

/// The caller's cache; `None` where nothing was ever compiled.
fn existing_cache(invocation: &Invocation) -> anyhow::Result<Option<Cache>> {
    let path = cache_dir(invocation)?;
    match path.symlink_metadata() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        _ => Ok(Some(Cache::open(&path)?)),
    }
}

/// The caller's cache; made where it is missing.
fn open_cache(invocation: &Invocation) -> anyhow::Result<Cache> {
    Ok(Cache::open(&cache_dir(invocation)?)?)
}

/// Opens a guest for reading, without waiting for the other end of what is no file after all.
fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)
}
