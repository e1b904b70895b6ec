//! `process` (config.md, "Process"), also the file that `exec --process` takes.

use std::path::PathBuf;

use serde::de::{Deserialize, Deserializer, Error as _};

use super::{NumberList, null_as_default};

#[derive(Debug, Clone, Default, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Process {
    #[serde(default, deserialize_with = "null_as_default")]
    pub terminal: bool,
    pub console_size: Option<ConsoleSize>,
    #[serde(default, deserialize_with = "null_as_default")]
    pub cwd: PathBuf,
    #[serde(default, deserialize_with = "null_as_default")]
    pub env: Vec<String>,
    #[serde(default, deserialize_with = "null_as_default")]
    pub args: Vec<String>,
    #[serde(default, deserialize_with = "null_as_default")]
    pub rlimits: Vec<Rlimit>,
    #[serde(default, deserialize_with = "null_as_default")]
    pub apparmor_profile: String,
    pub capabilities: Option<Capabilities>,
    #[serde(default, deserialize_with = "null_as_default")]
    pub no_new_privileges: bool,
    pub oom_score_adj: Option<i32>,
    pub scheduler: Option<Scheduler>,
    #[serde(default, deserialize_with = "null_as_default")]
    pub selinux_label: String,
    pub io_priority: Option<IoPriority>,
    #[serde(rename = "execCPUAffinity")]
    pub exec_cpu_affinity: Option<ExecCpuAffinity>,
    #[serde(default, deserialize_with = "null_as_default")]
    pub user: User,
}

#[derive(Debug, Clone, Copy, serde::Deserialize)]
pub struct ConsoleSize {
    #[serde(default)]
    pub height: u64,
    #[serde(default)]
    pub width: u64,
}

#[derive(Debug, Clone, Default, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct User {
    #[serde(default, deserialize_with = "null_as_default")]
    pub uid: u32,
    #[serde(default, deserialize_with = "null_as_default")]
    pub gid: u32,
    pub umask: Option<u32>,
    #[serde(default, deserialize_with = "null_as_default")]
    pub additional_gids: Vec<u32>,
}

/// The five sets, by name: unknown names are warned of and passed over, as in runc, so that one
/// configuration fits kernels of different age.
#[derive(Debug, Clone, Default, serde::Deserialize)]
pub struct Capabilities {
    #[serde(default, deserialize_with = "null_as_default")]
    pub bounding: Vec<String>,
    #[serde(default, deserialize_with = "null_as_default")]
    pub effective: Vec<String>,
    #[serde(default, deserialize_with = "null_as_default")]
    pub inheritable: Vec<String>,
    #[serde(default, deserialize_with = "null_as_default")]
    pub permitted: Vec<String>,
    #[serde(default, deserialize_with = "null_as_default")]
    pub ambient: Vec<String>,
}

impl Capabilities {
    /// The five sets with their names in config.json.
    pub fn sets(&self) -> [(&'static str, &[String]); 5] {
        [
            ("bounding", &self.bounding),
            ("effective", &self.effective),
            ("inheritable", &self.inheritable),
            ("permitted", &self.permitted),
            ("ambient", &self.ambient),
        ]
    }
}

#[derive(Debug, Clone, serde::Deserialize)]
pub struct Rlimit {
    #[serde(rename = "type")]
    pub resource: Resource,
    #[serde(default)]
    pub soft: u64,
    #[serde(default)]
    pub hard: u64,
}

/// A resource of setrlimit(2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resource {
    /// `RLIMIT_NOFILE`.
    pub name: &'static str,
    /// Its number on this architecture.
    pub number: u32,
}

/// The resources of getrlimit(2).
const RESOURCES: [(&str, libc::__rlimit_resource_t); 16] = [
    ("RLIMIT_AS", libc::RLIMIT_AS),
    ("RLIMIT_CORE", libc::RLIMIT_CORE),
    ("RLIMIT_CPU", libc::RLIMIT_CPU),
    ("RLIMIT_DATA", libc::RLIMIT_DATA),
    ("RLIMIT_FSIZE", libc::RLIMIT_FSIZE),
    ("RLIMIT_LOCKS", libc::RLIMIT_LOCKS),
    ("RLIMIT_MEMLOCK", libc::RLIMIT_MEMLOCK),
    ("RLIMIT_MSGQUEUE", libc::RLIMIT_MSGQUEUE),
    ("RLIMIT_NICE", libc::RLIMIT_NICE),
    ("RLIMIT_NOFILE", libc::RLIMIT_NOFILE),
    ("RLIMIT_NPROC", libc::RLIMIT_NPROC),
    ("RLIMIT_RSS", libc::RLIMIT_RSS),
    ("RLIMIT_RTPRIO", libc::RLIMIT_RTPRIO),
    ("RLIMIT_RTTIME", libc::RLIMIT_RTTIME),
    ("RLIMIT_SIGPENDING", libc::RLIMIT_SIGPENDING),
    ("RLIMIT_STACK", libc::RLIMIT_STACK),
];

impl<'de> Deserialize<'de> for Resource {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let given = String::deserialize(deserializer)?;
        RESOURCES
            .iter()
            .find(|(known, _)| *known == given)
            .map(|&(name, number)| Self { name, number })
            .ok_or_else(|| D::Error::custom(format_args!("unknown rlimit `{given}`")))
    }
}

/// `scheduler` (sched_setattr(2)).
#[derive(Debug, Clone, serde::Deserialize)]
pub struct Scheduler {
    pub policy: SchedulerPolicy,
    #[serde(default, deserialize_with = "null_as_default")]
    pub nice: i32,
    #[serde(default, deserialize_with = "null_as_default")]
    pub priority: i32,
    #[serde(default, deserialize_with = "null_as_default")]
    pub flags: Vec<SchedulerFlag>,
    /// Nanoseconds, as the two that follow.
    #[serde(default, deserialize_with = "null_as_default")]
    pub runtime: u64,
    #[serde(default, deserialize_with = "null_as_default")]
    pub deadline: u64,
    #[serde(default, deserialize_with = "null_as_default")]
    pub period: u64,
}

/// Numbers of linux/sched.h.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum SchedulerPolicy {
    SchedOther = 0,
    SchedFifo = 1,
    SchedRr = 2,
    SchedBatch = 3,
    SchedIso = 4,
    SchedIdle = 5,
    SchedDeadline = 6,
}

/// Bits of linux/sched.h.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
pub enum SchedulerFlag {
    #[serde(rename = "SCHED_FLAG_RESET_ON_FORK")]
    ResetOnFork = 0x01,
    #[serde(rename = "SCHED_FLAG_RECLAIM")]
    Reclaim = 0x02,
    #[serde(rename = "SCHED_FLAG_DL_OVERRUN")]
    DeadlineOverrun = 0x04,
    #[serde(rename = "SCHED_FLAG_KEEP_POLICY")]
    KeepPolicy = 0x08,
    #[serde(rename = "SCHED_FLAG_KEEP_PARAMS")]
    KeepParams = 0x10,
    #[serde(rename = "SCHED_FLAG_UTIL_CLAMP_MIN")]
    UtilClampMin = 0x20,
    #[serde(rename = "SCHED_FLAG_UTIL_CLAMP_MAX")]
    UtilClampMax = 0x40,
}

/// `ioPriority` (ioprio_set(2)).
#[derive(Debug, Clone, Copy, serde::Deserialize)]
pub struct IoPriority {
    pub class: IoPriorityClass,
    #[serde(default, deserialize_with = "null_as_default")]
    pub priority: i64,
}

/// Numbers of linux/ioprio.h.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
pub enum IoPriorityClass {
    #[serde(rename = "IOPRIO_CLASS_RT")]
    RealTime = 1,
    #[serde(rename = "IOPRIO_CLASS_BE")]
    BestEffort = 2,
    #[serde(rename = "IOPRIO_CLASS_IDLE")]
    Idle = 3,
}

/// `execCPUAffinity` (sched_setaffinity(2)), for processes that `exec` adds.
#[derive(Debug, Clone, Default, serde::Deserialize)]
pub struct ExecCpuAffinity {
    /// Before the process is in the container's cgroup.
    #[serde(default, deserialize_with = "null_as_default")]
    pub initial: NumberList,
    /// From then on; empty: as the kernel sets it.
    #[serde(default, rename = "final", deserialize_with = "null_as_default")]
    pub last: NumberList,
}
