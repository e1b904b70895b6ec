//! `wrun mounts remove`.

use std::path::PathBuf;

use super::super::{Invocation, log::Log};
use crate::container;

/// Remove mounts from a container that runs.
///
/// What add has mounted last at each destination is detached, with all that is mounted on it; processes that have files of
/// it open keep them. Destinations are to be written as they were for add. It ends with the first at which something else
/// is mounted, such as what config.json or the container itself has mounted there, or nothing.
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
