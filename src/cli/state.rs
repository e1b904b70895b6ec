//! `wrun state`.

use super::{Invocation, log::Log, write_stdout};
use crate::container;

/// Print the state of a container as JSON.
///
/// It has the keys of the runtime specification (ociVersion, id, status, pid, bundle, annotations), where
/// status is creating, created, running, paused or stopped and pid is 0 for a stopped container, and those
/// that runc adds (rootfs, created).
#[derive(Debug, clap::Args)]
pub struct State {
    /// Name of the container.
    #[arg(value_name = "CONTAINER-ID")]
    container_id: String,
}

impl State {
    pub fn execute(&self, invocation: &Invocation, log: &Log) -> anyhow::Result<u8> {
        let warn = |message: &str| log.warn(message);
        let observed = container::state(&invocation.context(&warn)?, &self.container_id)?;
        // The owner is left empty, as runc does; `list` names it.
        let mut text = observed.oci(String::new()).to_pretty_json();
        text.push('\n');
        write_stdout(text.as_bytes())?;
        Ok(0)
    }
}
