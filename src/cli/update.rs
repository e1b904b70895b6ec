//! `wrun update`.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::quantity::{self, OrNone};
use super::{Invocation, log::Log};
use crate::container::{self, UpdateOptions, UpdateRequest};
use crate::spec::update::{BlockIo, Cpu, Limits, Memory, Pids, Schemata};

/// Change the limits of a container that runs.
///
/// What is not mentioned stays as it is. Sizes are in bytes, or have a unit of 1024 bytes to some power: k, M,
/// G, T or P. Times are in microseconds. Where a limit cannot be set, none is changed.
#[derive(Debug, clap::Args)]
#[command(allow_negative_numbers = true)]
pub struct Update {
    /// Name of the container.
    #[arg(value_name = "CONTAINER-ID")]
    container_id: String,

    /// File with the limits in JSON, of the form of linux.resources in config.json; - is standard input.
    ///
    /// Then the other options are ignored, except those of Intel RDT. Unlike these options, the file may have
    /// limits of every kind except devices, which stay as they are. With "checkBeforeUpdate": true in its
    /// "memory", a limit below what is in use is refused, where the kernel would kill.
    #[arg(long, short, value_name = "FILE")]
    resources: Option<PathBuf>,

    /// Relative weight of block I/O, from 10 to 1000.
    #[arg(long, value_name = "WEIGHT")]
    blkio_weight: Option<u16>,

    /// Length of the period for which --cpu-quota holds.
    #[arg(long, value_name = "TIME")]
    cpu_period: Option<OrNone<u64>>,

    /// Processor time in each period; -1 is no limit.
    #[arg(long, value_name = "TIME")]
    cpu_quota: Option<OrNone<i64>>,

    /// Processor time that may be saved from periods in which less was used.
    #[arg(long, value_name = "TIME")]
    cpu_burst: Option<OrNone<u64>>,

    /// Relative weight of processor time, from 2 to 262144.
    #[arg(long, value_name = "SHARES")]
    cpu_share: Option<OrNone<u64>>,

    /// Length of the period for which --cpu-rt-runtime holds; cgroup v1 only.
    #[arg(long, value_name = "TIME")]
    cpu_rt_period: Option<OrNone<u64>>,

    /// Processor time for realtime scheduling in each period; cgroup v1 only.
    #[arg(long, value_name = "TIME")]
    cpu_rt_runtime: Option<OrNone<i64>>,

    /// Processors to run on, as 0-2,7.
    #[arg(long, value_name = "LIST")]
    cpuset_cpus: Option<String>,

    /// Memory nodes to allocate from, as 0-2,7.
    #[arg(long, value_name = "LIST")]
    cpuset_mems: Option<String>,

    /// Ignored, as in runc.
    #[arg(long, value_name = "SIZE", hide = true, value_parser = quantity::bytes_or_none)]
    kernel_memory: Option<OrNone<i64>>,

    /// Ignored, as in runc.
    #[arg(long, value_name = "SIZE", hide = true, value_parser = quantity::bytes_or_none)]
    kernel_memory_tcp: Option<OrNone<i64>>,

    /// Most memory; -1 is no limit.
    #[arg(long, value_name = "SIZE", value_parser = quantity::bytes_or_none)]
    memory: Option<OrNone<i64>>,

    /// Whether to run only when nothing else wants to (SCHED_IDLE): 1 or 0.
    #[arg(long, value_name = "WHETHER")]
    cpu_idle: Option<OrNone<i64>>,

    /// Memory that is left to the container when the host runs short; -1 is all.
    #[arg(long, value_name = "SIZE", value_parser = quantity::bytes_or_none)]
    memory_reservation: Option<OrNone<i64>>,

    /// Most memory and swap together; -1 is no limit on swap.
    #[arg(long, value_name = "SIZE", value_parser = quantity::bytes_or_none)]
    memory_swap: Option<OrNone<i64>>,

    /// Most processes and threads; -1 is no limit.
    #[arg(long, value_name = "NUMBER")]
    pids_limit: Option<i64>,

    /// Schema of Intel RDT for the L3 cache, as L3:0=f;1=f0.
    #[arg(long, value_name = "SCHEMA", default_value = "", hide_default_value = true)]
    l3_cache_schema: String,

    /// Schema of Intel RDT for the memory bandwidth, as MB:0=20;1=70.
    #[arg(long, value_name = "SCHEMA", default_value = "", hide_default_value = true)]
    mem_bw_schema: String,
}

impl Update {
    pub fn execute(&self, invocation: &Invocation, log: &Log) -> anyhow::Result<u8> {
        let warn = |message: &str| log.warn(message);
        let options = UpdateOptions {
            id: self.container_id.clone(),
            request: match &self.resources {
                Some(file) => read(file)?,
                None => UpdateRequest::Limits(Box::new(self.limits())),
            },
            schemata: Schemata {
                l3_cache: self.l3_cache_schema.clone(),
                memory_bandwidth: self.mem_bw_schema.clone(),
            },
        };
        container::update(&invocation.context(&warn)?, &options)?;
        Ok(0)
    }

    fn limits(&self) -> Limits {
        fn value<T>(option: Option<OrNone<T>>) -> Option<T> {
            option.and_then(|value| value.0)
        }
        Limits {
            memory: Memory {
                limit: value(self.memory),
                swap: value(self.memory_swap),
                reservation: value(self.memory_reservation),
                kernel: value(self.kernel_memory),
                kernel_tcp: value(self.kernel_memory_tcp),
            },
            cpu: Cpu {
                shares: value(self.cpu_share),
                period: value(self.cpu_period),
                quota: value(self.cpu_quota),
                burst: value(self.cpu_burst),
                realtime_period: value(self.cpu_rt_period),
                realtime_runtime: value(self.cpu_rt_runtime),
                idle: value(self.cpu_idle),
                cpus: self.cpuset_cpus.clone().filter(|list| !list.is_empty()),
                mems: self.cpuset_mems.clone().filter(|list| !list.is_empty()),
            },
            block_io: BlockIo {
                weight: self.blkio_weight,
            },
            pids: Pids {
                limit: self.pids_limit,
            },
        }
    }
}

fn read(file: &Path) -> anyhow::Result<UpdateRequest> {
    let (bytes, file) = if file == Path::new("-") {
        let mut bytes = Vec::new();
        std::io::stdin()
            .lock()
            .read_to_end(&mut bytes)
            .context("--resources -: cannot read standard input")?;
        (bytes, Path::new("standard input"))
    } else {
        let bytes = std::fs::read(file);
        let bytes = bytes.with_context(|| format!("--resources {}: cannot read it", file.display()))?;
        (bytes, file)
    };
    Ok(UpdateRequest::Json {
        bytes,
        file: file.to_owned(),
    })
}
