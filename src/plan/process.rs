//! The process that runs in a container: what it is, and what it is confined by. Used for the container's
//! first process and for those that `exec` adds.

use std::path::PathBuf;

use serde::Serialize;

use super::seccomp::{self, Seccomp};
use super::{Options, PlanError};
use crate::host::Host;
use crate::spec::runtime_options::RuntimeOptions;
use crate::spec::{Spec, capabilities, model};

#[derive(Debug, Clone, Serialize)]
pub struct Process {
    /// Never empty.
    pub args: Vec<String>,
    /// `KEY=value`, as given; HOME and PATH are not added here.
    pub env: Vec<String>,
    pub cwd: PathBuf,
    pub terminal: bool,
    /// Rows and columns of the new terminal.
    pub console_size: Option<ConsoleSize>,
    pub user: User,
    pub capabilities: Capabilities,
    pub no_new_privileges: bool,
    pub rlimits: Vec<Rlimit>,
    pub oom_score_adj: Option<i32>,
    pub apparmor_profile: Option<String>,
    pub selinux_label: Option<String>,
    pub seccomp: Option<Seccomp>,
    /// Give the process a session keyring of its own, named after the container (keyrings(7)).
    pub new_keyring: bool,
    /// The execution domain, as of personality(2).
    pub personality: Option<u32>,
    pub scheduler: Option<Scheduler>,
    pub io_priority: Option<IoPriority>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_policy: Option<MemoryPolicy>,
    /// For processes that `exec` adds; the first process does not heed it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exec_cpu_affinity: Option<CpuAffinity>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct ConsoleSize {
    pub height: u16,
    pub width: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct User {
    pub uid: u32,
    pub gid: u32,
    /// An empty list clears the caller's groups.
    pub additional_gids: Vec<u32>,
    /// The caller's groups stay, and `additional_gids` counts for nothing.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub keep_groups: bool,
    pub umask: Option<u32>,
}

/// The five sets of capabilities(7) as bit masks, bit n for capability n; all empty by default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Capabilities {
    pub bounding: u64,
    pub effective: u64,
    pub inheritable: u64,
    pub permitted: u64,
    pub ambient: u64,
}

/// The argument of sched_setattr(2); must be set before capabilities are dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Scheduler {
    /// SCHED_* of linux/sched.h.
    pub policy: u32,
    /// SCHED_FLAG_* bits.
    pub flags: u64,
    pub nice: i32,
    pub priority: u32,
    /// Nanoseconds, for SCHED_DEADLINE, as the two that follow.
    pub runtime: u64,
    pub deadline: u64,
    pub period: u64,
}

/// The argument of ioprio_set(2): `class << 13 | level`; must be set before capabilities are dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct IoPriority {
    /// IOPRIO_CLASS_* of linux/ioprio.h.
    pub class: u16,
    /// 0 to 7.
    pub level: u16,
}

/// The arguments of set_mempolicy(2).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MemoryPolicy {
    /// MPOL_* of linux/mempolicy.h.
    pub mode: u32,
    /// MPOL_F_* bits.
    pub flags: u32,
    /// At most 1023 each; may be empty.
    pub nodes: Vec<u32>,
}

/// CPUs to run on (sched_setaffinity(2)), at most 1023 each; an empty list changes nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CpuAffinity {
    /// Set before the process is in the container's cgroup.
    pub initial: Vec<u32>,
    /// Set when it is; `final` in config.json.
    pub last: Vec<u32>,
}

/// One limit of setrlimit(2).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Rlimit {
    /// `RLIMIT_*`, as config.json names it.
    pub name: String,
    /// The number of the resource.
    pub resource: u32,
    pub soft: u64,
    pub hard: u64,
}

/// Plans the container's first process; `None` where config.json has none.
pub(super) fn build(
    spec: &Spec,
    options: &Options,
    asked: &RuntimeOptions,
    host: &Host,
) -> Result<Option<Process>, PlanError> {
    let Some(process) = &spec.config.process else {
        return Ok(None);
    };
    let new_keyring = !options.no_new_keyring;
    convert(process, &spec.config.linux, asked, new_keyring, host).map(Some)
}

/// Turns a checked process into a plan, with what the container says for all of its processes.
pub(super) fn convert(
    process: &model::Process,
    linux: &model::Linux,
    asked: &RuntimeOptions,
    new_keyring: bool,
    host: &Host,
) -> Result<Process, PlanError> {
    Ok(Process {
        args: process.args.clone(),
        env: process.env.clone(),
        cwd: process.cwd.clone(),
        terminal: process.terminal,
        console_size: console_size(process),
        user: User {
            uid: process.user.uid,
            gid: process.user.gid,
            additional_gids: process.user.additional_gids.clone(),
            keep_groups: asked.keep_groups,
            umask: process.user.umask,
        },
        capabilities: process
            .capabilities
            .as_ref()
            .map(|sets| masks(sets, host))
            .unwrap_or_default(),
        no_new_privileges: process.no_new_privileges,
        rlimits: process.rlimits.iter().map(rlimit).collect(),
        oom_score_adj: process.oom_score_adj,
        apparmor_profile: apparmor(&process.apparmor_profile, host)?,
        selinux_label: selinux(&process.selinux_label, host)?,
        seccomp: seccomp::build(linux.seccomp.as_ref(), asked),
        new_keyring,
        personality: linux
            .personality
            .as_ref()
            .map(|personality| domain(personality.domain)),
        scheduler: process.scheduler.as_ref().map(scheduler),
        io_priority: process.io_priority.map(|priority| IoPriority {
            class: priority.class as u16,
            // Levels out of range do not pass the checks of the spec.
            level: priority.priority as u16,
        }),
        memory_policy: linux.memory_policy.as_ref().map(|policy| MemoryPolicy {
            mode: policy.mode as u32,
            flags: policy.flags.iter().fold(0, |bits, flag| bits | *flag as u32),
            nodes: policy.nodes.numbers().to_vec(),
        }),
        exec_cpu_affinity: process.exec_cpu_affinity.as_ref().map(|affinity| CpuAffinity {
            initial: affinity.initial.numbers().to_vec(),
            last: affinity.last.numbers().to_vec(),
        }),
    })
}

fn console_size(process: &model::Process) -> Option<ConsoleSize> {
    let size = process.console_size.filter(|_| process.terminal)?;
    if size.height == 0 && size.width == 0 {
        return None;
    }
    // Lengths beyond 16 bits do not pass the checks of the spec.
    Some(ConsoleSize {
        height: size.height as u16,
        width: size.width as u16,
    })
}

/// CAP_AUDIT_READ, the newest capability of Linux 3.16: every kernel that runs containers knows those up to
/// it, and need not be asked.
const ALWAYS_KNOWN: u8 = 37;

/// The five sets as bits. Unknown names were warned of with the spec; capabilities that this kernel does not
/// have are left out too, as in runc. The kernel raises an ambient capability only where it is both
/// permitted and inheritable (capabilities(7)), and runc passes over the others.
fn masks(sets: &model::Capabilities, host: &Host) -> Capabilities {
    let known = |number: &u8| *number <= ALWAYS_KNOWN || *number <= host.last_capability();
    let mask = |names: &[String]| {
        names
            .iter()
            .filter_map(|name| capabilities::number(name))
            .filter(known)
            .fold(0u64, |bits, number| bits | 1 << number)
    };
    let (inheritable, permitted) = (mask(&sets.inheritable), mask(&sets.permitted));
    Capabilities {
        bounding: mask(&sets.bounding),
        effective: mask(&sets.effective),
        inheritable,
        permitted,
        ambient: mask(&sets.ambient) & inheritable & permitted,
    }
}

fn rlimit(limit: &model::Rlimit) -> Rlimit {
    Rlimit {
        name: limit.resource.name.to_owned(),
        resource: limit.resource.number,
        soft: limit.soft,
        hard: limit.hard,
    }
}

/// A profile that cannot be applied is an error. `unconfined` asks for none; it is passed on where AppArmor
/// is enabled, since we may be confined ourselves.
fn apparmor(profile: &str, host: &Host) -> Result<Option<String>, PlanError> {
    match profile {
        "" => Ok(None),
        profile if host.apparmor() => Ok(Some(profile.to_owned())),
        "unconfined" => Ok(None),
        profile => Err(PlanError::NoApparmor {
            profile: profile.to_owned(),
        }),
    }
}

/// A label that cannot be applied is an error, as in runc.
fn selinux(label: &str, host: &Host) -> Result<Option<String>, PlanError> {
    match label {
        "" => Ok(None),
        label if host.selinux() => Ok(Some(label.to_owned())),
        label => Err(PlanError::NoSelinux {
            field: "process.selinuxLabel",
            label: label.to_owned(),
        }),
    }
}

/// PER_LINUX and PER_LINUX32 of linux/personality.h.
fn domain(domain: model::PersonalityDomain) -> u32 {
    match domain {
        model::PersonalityDomain::Linux => 0,
        model::PersonalityDomain::Linux32 => 8,
    }
}

fn scheduler(scheduler: &model::Scheduler) -> Scheduler {
    Scheduler {
        policy: scheduler.policy as u32,
        flags: scheduler.flags.iter().fold(0, |bits, flag| bits | *flag as u64),
        nice: scheduler.nice,
        // Negative ones do not pass the checks of the spec.
        priority: scheduler.priority.unsigned_abs(),
        runtime: scheduler.runtime,
        deadline: scheduler.deadline,
        period: scheduler.period,
    }
}
