//! `wrun resume`.

use super::{Invocation, log::Log};
use crate::container;

/// Let all processes of a paused container run again.
///
/// A container that is not paused is refused.
#[derive(Debug, clap::Args)]
pub struct Resume {
    /// Name of the container.
    #[arg(value_name = "CONTAINER-ID")]
    container_id: String,
}

impl Resume {
    pub fn execute(&self, invocation: &Invocation, log: &Log) -> anyhow::Result<u8> {
        let warn = |message: &str| log.warn(message);
        container::resume(&invocation.context(&warn)?, &self.container_id)?;
        Ok(0)
    }
}
