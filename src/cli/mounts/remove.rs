//! `wrun mounts remove`.

use std::path::PathBuf;

use super::super::{Invocation, log::Log};
use crate::container;

/// Remove mounts from a container that runs.
///
/// What is mounted last at each destination is detached; processes that have files of it open keep them. It ends with the
/// first destination at which nothing is mounted.
#[derive(Debug, clap::Args)]
pub struct Remove {
    /// Name of the container.
    #[arg(value_name = "CONTAINER-ID")]
    container_id: String,

    /// File with the mounts: a JSON list as for add, of which only the destinations are read.
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

impl Remove {
    pub fn execute(&self, invocation: &Invocation, log: &Log) -> anyhow::Result<u8> {
        let warn = |message: &str| log.warn(message);
        container::remove_mounts(&invocation.context(&warn)?, &self.container_id, &self.file)?;
        Ok(0)
    }
}
