//! `wrun start`.

use super::{Invocation, log::Log};
use crate::container;

/// Start the program of a created container.
///
/// The command returns when the program runs and the poststart hooks have ended.
#[derive(Debug, clap::Args)]
pub struct Start {
    /// Name of the container.
    #[arg(value_name = "CONTAINER-ID")]
    container_id: String,
}

impl Start {
    pub fn execute(&self, invocation: &Invocation, log: &Log) -> anyhow::Result<u8> {
        let warn = |message: &str| log.warn(message);
        container::start(&invocation.context(&warn)?, &self.container_id)?;
        Ok(0)
    }
}
