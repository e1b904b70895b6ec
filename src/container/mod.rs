//! The lifecycle: one file per verb, each on a container stored in the state directory.
//!
//! A verb opens the container's entry, takes its lock where it changes something, observes the status, asks
//! the one table of transitions ([`crate::state::Status::allows`]) and has the lower rooms do the work.

mod checkpoint;
mod create;
mod delete;
mod events;
mod exec;
mod freeze;
mod kill;
mod making;
mod matching;
mod mounts;
mod notify;
mod ps;
mod restore;
mod run;
mod start;
mod stored;
mod update;

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;

pub use checkpoint::checkpoint;
pub use create::create;
pub use delete::delete;
pub use events::{Event, Events, stats};
pub use exec::exec;
pub use freeze::{pause, resume};
pub use kill::kill;
pub use matching::{each_matching, ids};
pub use mounts::{add_mounts, remove_mounts};
pub use ps::ps;
pub use restore::restore;
pub use run::run;
pub use start::start;
pub use stored::{Observed, list, state};
pub use update::update;

/// Takes a warning to the log.
pub type Warn<'a> = &'a dyn Fn(&str);

/// Who makes cgroups.
pub use crate::plan::cgroup::CgroupManager;

/// Whether a lack of rights over cgroups is forgiven (`--rootless`).
pub use crate::host::Rootless;

/// What all verbs need to know.
pub struct Context<'a> {
    /// State directory, absolute.
    pub root: PathBuf,
    pub cgroup_manager: CgroupManager,
    pub rootless: Rootless,
    /// Called as `wrun-wasm`: a container that is not Wasm is refused.
    pub wasm_required: bool,
    /// `NOTIFY_SOCKET`, where our caller is a service manager that waits for word (sd_notify(3)).
    pub notify_socket: Option<OsString>,
    pub warn: Warn<'a>,
}

#[derive(Debug, Clone)]
pub struct CreateOptions {
    pub id: String,
    pub bundle: PathBuf,
    /// A file in place of the bundle's config.json.
    pub config: Option<PathBuf>,
    pub console_socket: Option<PathBuf>,
    pub pid_file: Option<PathBuf>,
    pub pidfd_socket: Option<PathBuf>,
    pub no_pivot: bool,
    pub no_new_keyring: bool,
    /// Descriptors from 3 on that the container inherits.
    pub preserve_fds: u32,
    /// The descriptors of socket activation (sd_listen_fds(3)), which come in front of these.
    pub listen_fds: u32,
}

#[derive(Debug, Clone)]
pub struct RunOptions {
    pub create: CreateOptions,
    pub detach: bool,
    pub keep: bool,
    pub no_subreaper: bool,
}

/// Where a checkpoint is, and what else a dump and a restore have in common.
#[derive(Debug, Clone)]
pub struct ImageOptions {
    pub image_path: PathBuf,
    pub work_path: Option<PathBuf>,
    pub shared: crate::criu::Shared,
}

#[derive(Debug, Clone)]
pub struct CheckpointOptions {
    pub id: String,
    pub images: ImageOptions,
    pub parent_path: Option<PathBuf>,
    pub leave_running: bool,
    pub pre_dump: bool,
    pub tcp_skip_in_flight: bool,
    pub link_remap: bool,
    pub page_server: Option<crate::criu::PageServer>,
    /// A descriptor of the caller's, which gets a NUL byte when lazy pages can be asked for.
    pub status_fd: Option<i32>,
}

#[derive(Debug, Clone)]
pub struct RestoreOptions {
    pub id: String,
    pub images: ImageOptions,
    pub bundle: PathBuf,
    pub console_socket: Option<PathBuf>,
    pub pid_file: Option<PathBuf>,
    pub detach: bool,
    pub no_pivot: bool,
    pub no_subreaper: bool,
    pub lsm: crate::criu::Lsm,
}

#[derive(Debug, Clone)]
pub enum ExecRequest {
    /// A file with the process in JSON.
    File(PathBuf),
    Flags(crate::plan::exec::Flags),
}

#[derive(Debug, Clone)]
pub struct ExecOptions {
    pub id: String,
    pub request: ExecRequest,
    pub cgroup: Vec<String>,
    pub ignore_paused: bool,
    pub detach: bool,
    pub pid_file: Option<PathBuf>,
    pub console_socket: Option<PathBuf>,
    pub pidfd_socket: Option<PathBuf>,
    pub preserve_fds: u32,
    pub listen_fds: u32,
}

#[derive(Debug, Clone)]
pub enum UpdateRequest {
    /// The JSON of a `linux.resources`, and where it is from, for errors.
    Json {
        bytes: Vec<u8>,
        file: PathBuf,
    },
    Limits(Box<crate::spec::update::Limits>),
}

#[derive(Debug, Clone)]
pub struct UpdateOptions {
    pub id: String,
    pub request: UpdateRequest,
    pub schemata: crate::spec::update::Schemata,
}

/// Why a verb failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Bundle(#[from] crate::bundle::BundleError),
    #[error(transparent)]
    Spec(#[from] crate::spec::SpecError),
    #[error(transparent)]
    Plan(#[from] crate::plan::PlanError),
    #[error(transparent)]
    State(#[from] crate::state::StateError),
    #[error("container {id}")]
    Refused {
        id: String,
        source: crate::state::Refused,
    },
    /// The refusal names the container itself.
    #[error(transparent)]
    RefusedByName(crate::state::Refused),
    #[error(transparent)]
    Protect(#[from] crate::process::ProtectError),
    #[error(transparent)]
    Cgroup(#[from] crate::cgroup::CgroupError),
    #[error("unable to apply cgroup configuration")]
    MakeCgroup(#[source] crate::cgroup::CgroupError),
    #[error(transparent)]
    Hook(#[from] crate::hooks::HookError),
    #[error(transparent)]
    Rdt(#[from] crate::rdt::RdtError),
    #[error(transparent)]
    Security(#[from] crate::security::SecurityError),
    #[error(transparent)]
    Console(#[from] crate::console::ConsoleError),
    #[error(transparent)]
    Criu(#[from] crate::criu::CriuError),
    #[error("container {id}: {reason}")]
    CannotDump { id: String, reason: String },
    #[error("container {id} cannot be restored: {reason}")]
    CannotRestore { id: String, reason: &'static str },
    #[error("container {id} cannot be restored, since it is another one than config.json describes")]
    Differs {
        id: String,
        source: crate::process::compare::Difference,
    },
    #[error("container {id} cannot be restored: criu did not stop for a look at what confines it")]
    NotCompared { id: String },
    #[error("unable to start container process")]
    Launch(#[from] crate::process::LaunchError),
    #[error("unable to start container process: {0}")]
    Start(String),
    #[error("cannot change the mounts of container {id}")]
    Mounts {
        id: String,
        source: Box<crate::process::LaunchError>,
    },
    #[error("{option} {path}: cannot {action}")]
    File {
        option: &'static str,
        path: PathBuf,
        action: &'static str,
        source: io::Error,
    },
    #[error("cannot {action} of container {id}")]
    Process {
        id: String,
        action: &'static str,
        source: io::Error,
    },
    #[error("--preserve-fds, LISTEN_FDS: not all of these descriptors, from 3 on, are open")]
    Passed(#[source] io::Error),
    #[error("{0}")]
    Usage(&'static str),
    #[error("container {id} has processes that do not end: {pids:?}")]
    Unkillable { id: String, pids: Vec<i32> },
    #[error("container {id} has no cgroup, by which its processes would be known")]
    NoCgroup { id: String },
    #[error("--regex {expression:?} is no regular expression: {problem}")]
    Regex { expression: String, problem: String },
    #[error("container {id} has no process to start: config.json has no process")]
    NoProcess { id: String },
}

/// Where compiled seccomp filters are kept, if there is such a place.
fn filter_cache(host: &crate::host::Host) -> Option<PathBuf> {
    // Beside the compiled Wasm. Without a place each filter is compiled anew, which is slower and as good.
    crate::workload::wasm::default_dir(host.rootless()).ok()
}

/// The first thing that a command does whose process enters a container: it goes on in a protected executable,
/// and what its caller left open reaches nobody but the container, and that only as far as it was said.
fn begin(passed_fds: u32) -> Result<(), Error> {
    crate::process::protect_executable()?;
    crate::sys::fd::check_passed(passed_fds).map_err(Error::Passed)?;
    close_to_others()
}

/// Keeps our descriptors, and those of our caller, out of hooks and other programs that we start.
fn close_to_others() -> Result<(), Error> {
    crate::sys::fd::cloexec_from(3).map_err(Error::Passed)
}

/// Warns where a process that ended by SIGKILL was killed for want of memory, which cannot be told from any other
/// kill by its status. `before` is the cgroup's count of such kills before it ran.
fn tell_of_oom(context: &Context<'_>, cgroup: &crate::cgroup::Cgroup, before: u64) {
    let text = match (cgroup.oom_kills(), cgroup.memory_limit()) {
        (Ok(kills), _) if kills <= before => return,
        (Ok(_), Ok(Some(limit))) => {
            format!("killed by the OOM killer: the container's memory limit is {limit} bytes")
        }
        (Ok(_), Ok(None)) => "killed by the OOM killer: the host has no memory left".to_owned(),
        (Err(error), _) | (_, Err(error)) => {
            format!(
                "killed, by the OOM killer or somebody: {}",
                crate::reason::chain(&error)
            )
        }
    };
    (context.warn)(&text);
}
