//! `wrun events`.

use std::time::Duration;

use super::{Invocation, log::Log, quantity, write_stdout};
use crate::container::{self, Event};

/// Print what a container uses, and when it runs out of memory.
///
/// Each line is an event in JSON: {"type": "stats", ...} with the figures of the container's cgroup, once in
/// every interval, and {"type": "oom", ...} when the kernel has killed one of its processes for want of memory.
/// The command ends when the container stops. A WebAssembly guest's memory and time are in the figures as those
/// of any program are.
#[derive(Debug, clap::Args)]
pub struct Events {
    /// Name of the container.
    #[arg(value_name = "CONTAINER-ID")]
    container_id: String,

    /// Time between two lines of figures.
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = quantity::duration)]
    interval: Duration,

    /// Print the figures of now and end.
    #[arg(long)]
    stats: bool,
}

impl Events {
    pub fn execute(&self, invocation: &Invocation, log: &Log) -> anyhow::Result<u8> {
        let warn = |message: &str| log.warn(message);
        let context = invocation.context(&warn)?;
        if self.stats {
            write(&container::stats(&context, &self.container_id)?)?;
            return Ok(0);
        }
        let mut events = container::Events::watch(&context, &self.container_id, self.interval)?;
        while let Some(event) = events.wait_for_next()? {
            write(&event)?;
        }
        Ok(0)
    }
}

fn write(event: &Event) -> anyhow::Result<()> {
    let mut line = serde_json::to_vec(event)?;
    line.push(b'\n');
    write_stdout(&line)
}
