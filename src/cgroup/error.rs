//! What can go wrong with a cgroup.

use std::io;
use std::path::PathBuf;

use crate::plan::cgroup::CgroupPlanError;

use super::dbus::BusError;

/// What can go wrong with a cgroup.
#[derive(Debug, thiserror::Error)]
pub enum CgroupError {
    #[error("cannot {action} {path}", path = path.display())]
    Io {
        action: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    /// In runc's words, which name the file that processes are written to.
    #[error("error adding pid to {path}/cgroup.procs", path = path.display())]
    Join { path: PathBuf, source: io::Error },
    #[error("no cgroup file system is mounted; mount one, or check /proc/self/mountinfo")]
    NotMounted,
    #[error("{property}: cannot write {value:?} to {file}", file = file.display())]
    Setting {
        property: String,
        value: String,
        file: PathBuf,
        source: io::Error,
    },
    #[error("{property}: the host has no cgroup controller {controller:?}, or does not pass it on")]
    NoController { property: String, controller: String },
    #[error("{property}: the kernel has no {file}", file = file.display())]
    NoFile { property: String, file: PathBuf },
    #[error("cannot set the device rules of {path}", path = path.display())]
    Devices { path: PathBuf, source: io::Error },
    #[error("the host has no devices controller, and without it a container could use every device")]
    NoDevices,
    #[error(transparent)]
    Plan(#[from] CgroupPlanError),
    // The first words of this one and the next are runc's, for which users' scripts look.
    #[error(
        "container's cgroup is not empty: {path} already has processes in it ({processes:?}); each container needs a cgroup of its own",
        path = path.display()
    )]
    InUse { path: PathBuf, processes: Vec<i32> },
    #[error(
        "container's cgroup unexpectedly frozen: {path}; thaw it or choose another linux.cgroupsPath",
        path = path.display()
    )]
    Frozen { path: PathBuf },
    #[error("{path} could not be frozen", path = path.display())]
    NotFrozen { path: PathBuf },
    #[error(
        "cannot set {what} limit: container could not join or create cgroup for {property}; delegate one, or use \
         --systemd-cgroup"
    )]
    NotAllowed {
        what: String,
        property: String,
        source: Box<CgroupError>,
    },
    #[error("the container has no cgroup that can {verb} it")]
    NoTree { verb: &'static str },
    #[error("{path} still has processes in it: {processes:?}", path = path.display())]
    Populated { path: PathBuf, processes: Vec<i32> },
    #[error("{path} holds {text:?}, which is not of the form that the kernel writes", path = path.display())]
    Malformed { path: PathBuf, text: String },
    #[error("rejecting {what} limit {wanted} <= usage {usage}")]
    BelowUsage {
        what: &'static str,
        wanted: u64,
        usage: u64,
    },
    #[error("cannot signal process {pid}")]
    Signal { pid: i32, source: io::Error },
    #[error("--cgroup: {argument} is not a sub cgroup path: {reason}")]
    SubCgroup { argument: String, reason: &'static str },
    #[error("systemd {action} of {unit} failed")]
    Systemd {
        action: &'static str,
        unit: String,
        source: BusError,
    },
    #[error("systemd put process {pid} into {path}, not into {unit}", path = path.display())]
    Astray { pid: i32, unit: String, path: PathBuf },
}

impl CgroupError {
    /// Whether the caller lacks the right, and not the request its sense.
    pub(super) fn is_permission(&self) -> bool {
        matches!(self, Self::Io { source, .. }
            if matches!(source.raw_os_error(), Some(libc::EACCES | libc::EPERM | libc::EROFS)))
    }

    /// Whether the cgroup was removed meanwhile.
    pub(super) fn is_gone(&self) -> bool {
        matches!(self, Self::Io { source, .. } if super::tree::is_gone(source))
    }
}
