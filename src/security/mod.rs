//! Confines a process before it runs what the container's configuration names: carried out by init and by
//! the joiner of `exec`, inside the container, in a process with one thread.
//!
//! Every step applies to the calling thread. A step that cannot be done is an error; nothing is skipped
//! because the kernel lacks it, except where a function's text says so and why. What lies under the
//! container's own /proc is not trusted (CVE-2025-52881): files of procfs are reached through a descriptor
//! of a trusted one that the caller opened (see [`ProcDirectory`]).
//!
//! # The order
//!
//! The one who launches calls these steps in this order. Each has its reason for coming no later than it does:
//!
//! 1. Parent: [`seccomp::compile`] or [`seccomp_cache::compile`], before the clone: it is the one slow step,
//!    it needs a heap and the cache's directory, neither of which init should have.
//! 2. Parent: [`rlimits::apply`] and [`oom::set_score_adjustment`] for the child, while it waits. Raising a
//!    limit and lowering a score need CAP_SYS_RESOURCE in the first user namespace, which a process in the
//!    container's own has lost.
//! 3. [`keyring::join`], after [`lsm::set_keyring_label`] where there is a label: before anything of the
//!    container's is touched, so that no key of the caller's session can be reached from then on.
//! 4. Namespaces, rootfs and console are set up (not here), and the last path of procfs is resolved before.
//! 5. [`lsm::set_apparmor_profile`] and [`lsm::set_selinux_label`]: they take effect at execve(2), cost no
//!    privilege until then and need procfs, which a seccomp filter might refuse to open. Before no_new_privs,
//!    under which the kernel allows fewer transitions to be asked for.
//! 6. [`no_new_privileges`] where asked for. It is inherited and cannot be taken back.
//! 7. [`scheduling`], [`personality`], [`memory_policy`]: some policies and classes need capabilities, which
//!    step 10 drops. [`cpu_affinity`] only for `exec`: once before the process is in the container's cgroup, once
//!    after.
//! 8. Without no_new_privs: [`seccomp::load`], now. Loading needs CAP_SYS_ADMIN in the process's user
//!    namespace or no_new_privs; this process has the capability until step 10 and will not have the other.
//!    The filter must then allow what the rest does: capset, prctl, setgroups, setresgid, setresuid, chdir,
//!    and the descriptor of a notifying filter is handed over at once, since a call that notifies waits for it.
//! 9. The working directory is entered (not here): once now, with the privileges of the runtime, and where
//!    that is refused again after step 10, with those of the user.
//! 10. [`user::own_stdio`], then [`user::switch`]: the bounding set first, since dropping from it needs
//!     CAP_SETPCAP; groups and gid before uid, since they need CAP_SETGID; capabilities last, since changing
//!     the uid takes them away. [`user::set_umask`] at any time before.
//! 11. The caller sets the parent-death signal and dumpability again, both of which a change of uid resets,
//!     and looks the program up: with the user's rights, not the runtime's.
//! 12. For a Wasm guest: [`guest::landlock`], when all that is needed of other file systems is open, and before
//!     a filter that may not know its syscalls. Step 10 gives it [`guest::capabilities`] of what is granted.
//! 13. With no_new_privs: [`seccomp::load`], now, as late as can be: every call after it must be in the
//!     filter, and profiles are written for programs, not for runtimes. What follows is the wait for `start`
//!     (read or poll), close_range and execve.
//! 14. For a Wasm guest, in place of execve: [`lsm::Labels::take_on`], opened before step 12, when its code is
//!     mapped. What step 5 has set takes no effect but for startContainer hooks.

mod capabilities;
pub mod cpu_affinity;
pub mod guest;
pub mod keyring;
pub mod lsm;
pub mod memory_policy;
pub mod oom;
pub mod personality;
mod proc_directory;
pub mod rlimits;
pub mod scheduling;
pub mod seccomp;
pub mod seccomp_cache;
mod seccomp_enosys;
pub mod seccomp_names;
mod seccomp_short;
pub mod user;

pub use capabilities::Ungranted;
pub use proc_directory::ProcDirectory;

use std::io;

use libseccomp::error::SeccompError;

#[derive(Debug, thiserror::Error)]
pub enum SecurityError {
    /// A syscall without a path or value worth naming.
    #[error("cannot {step}")]
    Step {
        step: &'static str,
        #[source]
        source: io::Error,
    },

    #[error("cannot open {file} of the process's directory in procfs")]
    ProcOpen {
        file: String,
        #[source]
        source: io::Error,
    },

    #[error("{file} of the process's directory is not on procfs: refusing to write to it")]
    ProcForged { file: String },

    #[error("cannot write {value:?} to {file} of the process's directory in procfs")]
    ProcWrite {
        file: String,
        value: String,
        #[source]
        source: io::Error,
    },

    #[error("cannot drop capability {number} from the bounding set")]
    Bounding {
        number: u32,
        #[source]
        source: io::Error,
    },

    #[error("cannot set supplementary groups {groups:?}")]
    Groups {
        groups: Vec<u32>,
        #[source]
        source: io::Error,
    },

    #[error(
        "cannot set supplementary groups {groups:?}: the user namespace denies setgroups (map gids with newgidmap, or leave additionalGids out)"
    )]
    GroupsDenied { groups: Vec<u32> },

    #[error("cannot change to {kind} {id}: it is not mapped in the user namespace")]
    Unmapped { kind: &'static str, id: u32 },

    #[error("cannot change to {kind} {id}")]
    Identity {
        kind: &'static str,
        id: u32,
        #[source]
        source: io::Error,
    },

    #[error("cannot give descriptor {fd} to uid {uid}")]
    Stdio {
        fd: i32,
        uid: u32,
        #[source]
        source: io::Error,
    },

    #[error("process.rlimits: {name} names no resource that the kernel knows ({resource})")]
    UnknownLimit { name: String, resource: u32 },

    #[error("cannot set {name} to soft {soft} and hard {hard}")]
    Limit {
        name: String,
        soft: u64,
        hard: u64,
        #[source]
        source: io::Error,
    },

    #[error(
        "linux.memoryPolicy: cannot set it on nodes {nodes:?} (do they exist, and belong to the container?)"
    )]
    MemoryPolicy {
        nodes: Vec<u32>,
        #[source]
        source: io::Error,
    },

    #[error("{property}: cannot run on CPUs {cpus:?} (do they exist, and belong to the container?)")]
    CpuAffinity {
        property: &'static str,
        cpus: Vec<u32>,
        #[source]
        source: io::Error,
    },

    #[error(
        "cannot set AppArmor profile {profile:?} (is AppArmor enabled on this host, and the profile loaded?)"
    )]
    AppArmor {
        profile: String,
        #[source]
        source: Box<SecurityError>,
    },

    #[error("cannot set SELinux label {label:?} (is SELinux enabled on this host?)")]
    SeLinux {
        label: String,
        #[source]
        source: Box<SecurityError>,
    },

    #[error("cannot join session keyring {name:?} (`--no-new-keyring` does without)")]
    Keyring {
        name: String,
        #[source]
        source: io::Error,
    },

    #[error("cannot set permissions of session keyring {name:?}")]
    KeyringPermissions {
        name: String,
        #[source]
        source: io::Error,
    },

    #[error("linux.seccomp: {0:?} is not an architecture that seccomp knows")]
    SeccompArchitecture(String),

    #[error(
        "linux.seccomp: {0:?} is a syscall that libseccomp does not know, and run.oci.seccomp_fail_unknown_syscall is set"
    )]
    SeccompUnknown(String),

    #[error("linux.seccomp: SCMP_ACT_NOTIFY cannot be used as default action")]
    SeccompNotifyDefault,

    #[error(
        "linux.seccomp: SCMP_ACT_NOTIFY cannot be used for the {0} syscall, with which the filter's descriptor is handed over"
    )]
    SeccompNotifyHandOver(String),

    #[error("linux.seccomp: cannot {step}")]
    SeccompCompile {
        step: String,
        #[source]
        source: SeccompError,
    },

    #[error(
        "linux.seccomp: the filter has {0} instructions, the kernel takes 4096 (use fewer rules with args)"
    )]
    SeccompTooLong(usize),

    #[error(
        "cannot load the seccomp filter (this needs noNewPrivileges or CAP_SYS_ADMIN, and a kernel that knows its flags {flags:#x})"
    )]
    SeccompLoad {
        flags: u32,
        #[source]
        source: io::Error,
    },
}

impl SecurityError {
    fn step(step: &'static str) -> impl FnOnce(rustix::io::Errno) -> Self {
        move |error| Self::Step {
            step,
            source: error.into(),
        }
    }
}

/// Sets no_new_privs (prctl(2)): from now on execve(2) gives no privilege that the process does not have.
///
/// # Errors
/// Only on kernels before 3.5.
pub fn no_new_privileges() -> Result<(), SecurityError> {
    rustix::thread::set_no_new_privs(true).map_err(SecurityError::step("set no_new_privs"))
}
