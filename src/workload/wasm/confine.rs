//! What the compiler's process gives up before it looks at the first byte: the host's namespaces, its user,
//! every capability, and nearly every syscall. What it has left is memory, threads and two descriptors.

use std::io;

use libseccomp::{ScmpAction, ScmpArgCompare, ScmpCompareOp, ScmpFilterContext, ScmpSyscall};
use nix::errno::Errno;
use nix::sched::CloneFlags;
use nix::sys::resource::{Resource, setrlimit};
use nix::unistd::{Gid, Uid};

use super::compile::Failure;

/// `nobody` and `nogroup`, on every distribution.
const NOBODY: u32 = 65534;

/// Most CPU seconds that one compilation may take.
const CPU_SECONDS: u64 = 3600;

/// Namespaces, user, capabilities and limits.
pub fn leave_host() -> Result<(), Failure> {
    let step = |step| {
        move |errno: Errno| Failure {
            step,
            error: errno.into(),
        }
    };
    // Not of mounts: that would be a copy of all of the host's, containers' roots among them, which keeps file
    // systems busy that were unmounted meanwhile. No path can be opened here in any case.
    let places = CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWIPC | CloneFlags::CLONE_NEWUTS;
    if Uid::effective().is_root() {
        allowed(nix::sched::unshare(places)).map_err(step("leaving the host's namespaces"))?;
        nix::unistd::setgroups(&[])
            .or_else(in_user_namespace)
            .map_err(step("dropping groups"))?;
        let (uid, gid) = (Uid::from_raw(NOBODY), Gid::from_raw(NOBODY));
        // Not every user namespace has a nobody; there, root is not the host's either.
        nix::unistd::setresgid(gid, gid, gid)
            .or_else(in_user_namespace)
            .map_err(step("changing group"))?;
        nix::unistd::setresuid(uid, uid, uid)
            .or_else(in_user_namespace)
            .map_err(step("changing user"))?;
    }
    // A namespace in which the user is nobody at all; many hosts forbid it to an ordinary user.
    allowed(nix::sched::unshare(CloneFlags::CLONE_NEWUSER)).map_err(step("making a user namespace"))?;
    for set in [
        caps::CapSet::Ambient,
        caps::CapSet::Effective,
        caps::CapSet::Inheritable,
        caps::CapSet::Permitted,
    ] {
        caps::clear(None, set).map_err(|error| Failure {
            step: "dropping capabilities",
            error: io::Error::other(error),
        })?;
    }
    nix::sys::prctl::set_no_new_privs().map_err(step("forbidding new privileges"))?;
    nix::sys::prctl::set_dumpable(false).map_err(step("hiding from ptrace"))?;
    // After the last change of credentials, which clears it.
    let kill = nix::sys::signal::Signal::SIGKILL;
    nix::sys::prctl::set_pdeathsig(kill).map_err(step("tying its life to ours"))?;
    setrlimit(Resource::RLIMIT_CORE, 0, 0).map_err(step("limiting core files"))?;
    // The hard limit's SIGKILL would be taken for one of the memory limit's.
    setrlimit(Resource::RLIMIT_CPU, CPU_SECONDS, CPU_SECONDS + 60)
        .or_else(already_lower)
        .map_err(step("limiting CPU"))
}

/// Namespaces are one wall of several here: where the kernel forbids or lacks them the others stand.
fn allowed(result: nix::Result<()>) -> nix::Result<()> {
    match result {
        Err(Errno::EPERM | Errno::EACCES | Errno::ENOSPC | Errno::EINVAL | Errno::ENOSYS) => Ok(()),
        other => other,
    }
}

/// Root of a user namespace that maps no other ids, or may not set groups, keeps what it has.
fn in_user_namespace(errno: Errno) -> nix::Result<()> {
    match errno {
        Errno::EINVAL | Errno::EPERM => Ok(()),
        other => Err(other),
    }
}

/// A hard limit below ours is as good.
fn already_lower(errno: Errno) -> nix::Result<()> {
    if errno == Errno::EPERM { Ok(()) } else { Err(errno) }
}

/// Syscalls that computing with threads takes.
const ALLOWED: [&str; 33] = [
    "read",
    "write",
    "close",
    "fstat",
    "brk",
    "mmap",
    "mprotect",
    "munmap",
    "mremap",
    "madvise",
    "futex",
    "set_robust_list",
    "get_robust_list",
    "rseq",
    "membarrier",
    "exit",
    "exit_group",
    "rt_sigaction",
    "rt_sigprocmask",
    "rt_sigreturn",
    "sigaltstack",
    "restart_syscall",
    "sched_yield",
    "sched_getaffinity",
    "getpid",
    "gettid",
    "getrandom",
    "getrusage",
    "clock_gettime",
    "clock_nanosleep",
    "nanosleep",
    "set_tid_address",
    "getcpu",
];

/// Leaves only [`ALLOWED`], new threads, naming them, and ending oneself; the rest fails with EPERM.
pub fn forbid_syscalls() -> Result<(), Failure> {
    filter().map_err(|error| Failure {
        step: "forbidding syscalls",
        error: io::Error::other(error),
    })
}

fn filter() -> Result<(), libseccomp::error::SeccompError> {
    let mut filter = ScmpFilterContext::new(ScmpAction::Errno(libc::EPERM))?;
    for name in ALLOWED {
        filter.add_rule(ScmpAction::Allow, ScmpSyscall::from_name(name)?)?;
    }
    let thread = libc::CLONE_THREAD as u64;
    filter.add_rule_conditional(
        ScmpAction::Allow,
        ScmpSyscall::from_name("clone")?,
        &[ScmpArgCompare::new(0, ScmpCompareOp::MaskedEqual(thread), thread)],
    )?;
    // Its flags are in memory, where a filter cannot look; the C library falls back to clone.
    filter.add_rule(ScmpAction::Errno(libc::ENOSYS), ScmpSyscall::from_name("clone3")?)?;
    // Names of threads and of anonymous memory.
    for option in [libc::PR_SET_NAME as u64, 0x5356_4d41] {
        filter.add_rule_conditional(
            ScmpAction::Allow,
            ScmpSyscall::from_name("prctl")?,
            &[ScmpArgCompare::new(0, ScmpCompareOp::Equal, option)],
        )?;
    }
    // abort(3) signals itself.
    let own = u64::from(std::process::id());
    filter.add_rule_conditional(
        ScmpAction::Allow,
        ScmpSyscall::from_name("tgkill")?,
        &[ScmpArgCompare::new(0, ScmpCompareOp::Equal, own)],
    )?;
    filter.load()?;
    Ok(())
}
