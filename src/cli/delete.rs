//! `wrun delete`.

use super::{Invocation, log::Log};
use crate::container;

/// Delete a stopped container.
///
/// Its cgroup, its state and what else wrun made for it are removed, and the poststop hooks run. The bundle
/// stays. A container that was created and not started is deleted as well; one that runs is refused without
/// --force.
#[derive(Debug, clap::Args)]
pub struct Delete {
    /// Name of the container.
    #[arg(value_name = "CONTAINER-ID")]
    container_id: String,

    /// End all processes of the container with SIGKILL first.
    ///
    /// With this option it is no error if there is no such container.
    #[arg(long, short)]
    force: bool,
}

impl Delete {
    pub fn execute(&self, invocation: &Invocation, log: &Log) -> anyhow::Result<u8> {
        let warn = |message: &str| log.warn(message);
        container::delete(&invocation.context(&warn)?, &self.container_id, self.force)?;
        Ok(0)
    }
}
