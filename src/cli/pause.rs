//! `wrun pause`.

use super::{Invocation, log::Log};
use crate::container;

/// Suspend all processes of a container.
///
/// They are frozen by the container's cgroup, until `wrun resume`. A container that is paused already is
/// refused.
#[derive(Debug, clap::Args)]
pub struct Pause {
    /// Name of the container.
    #[arg(value_name = "CONTAINER-ID")]
    container_id: String,
}

impl Pause {
    pub fn execute(&self, invocation: &Invocation, log: &Log) -> anyhow::Result<u8> {
        let warn = |message: &str| log.warn(message);
        container::pause(&invocation.context(&warn)?, &self.container_id)?;
        Ok(0)
    }
}
