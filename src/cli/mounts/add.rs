//! `wrun mounts add`.

use std::path::PathBuf;

use super::super::{Invocation, log::Log};
use crate::container;

/// Add mounts to a container that runs: all that a file lists, or none.
///
/// Sources are looked up on the host, relative ones from the current directory; destinations inside the container, where
/// missing directories and files are made, as for mounts in config.json; these stay where an add fails, or when their mount
/// is removed. A container that is paused or stopped is refused, and so is one that runs a Wasm guest, whose view of the
/// file system is fixed when it starts.
///
/// Remounts, tmpcopyup and file systems that show the namespaces of their maker (proc, sysfs, mqueue, cgroup) cannot be
/// added; other new file systems are made in the namespaces of wrun, but for the user and mount namespaces. A container
/// can have at most 1024 such mounts. An add that takes more than 30 seconds, since a path leads to a file system of the
/// container's own, is broken off; what it has mounted by then stays.
#[derive(Debug, clap::Args)]
pub struct Add {
    /// Name of the container.
    #[arg(value_name = "CONTAINER-ID")]
    container_id: String,

    /// File with the mounts: a JSON list of the form of mounts in config.json, with the same options.
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

impl Add {
    pub fn execute(&self, invocation: &Invocation, log: &Log) -> anyhow::Result<u8> {
        let warn = |message: &str| log.warn(message);
        container::add_mounts(&invocation.context(&warn)?, &self.container_id, &self.file)?;
        Ok(0)
    }
}
