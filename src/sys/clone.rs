//! clone3(2) in the manner of fork(2): the child is a copy of the caller and returns from the same call.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::unistd::Pid;

/// `CLONE_INTO_CGROUP` of clone3(2), Linux 5.7.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
/// `CLONE_PIDFD` of clone3(2).
const CLONE_PIDFD: u64 = 0x1000;
/// `CLONE_PARENT`: the child becomes a sibling of the caller.
pub const CLONE_PARENT: u64 = 0x8000;

/// Which side of the clone one is on.
#[derive(Debug)]
pub enum Cloned {
    Parent {
        /// As the caller's pid namespace numbers it.
        pid: Pid,
        pidfd: OwnedFd,
    },
    Child,
}

/// The layout of `struct clone_args` in its third version (88 bytes, Linux 5.7).
#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// Clones the calling process with `flags` (`CLONE_NEW*`, [`CLONE_PARENT`]), into `cgroup` if one is given.
///
/// The caller must be single-threaded, as after fork(2) only the calling thread exists in the child; wrun
/// starts no thread before its last clone, and this is refused where that does not hold.
pub fn clone3(flags: u64, cgroup: Option<BorrowedFd<'_>>) -> io::Result<Cloned> {
    let mut pidfd: i32 = -1;
    let mut args = CloneArgs {
        flags: flags | CLONE_PIDFD,
        pidfd: (&raw mut pidfd) as u64,
        // With CLONE_PARENT the exit signal is the caller's own, and the kernel wants zero here.
        exit_signal: if flags & CLONE_PARENT == 0 {
            libc::SIGCHLD as u64
        } else {
            0
        },
        ..CloneArgs::default()
    };
    if let Some(fd) = cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = fd.as_raw_fd() as u64;
    }
    // SAFETY: `args` has the layout and the size told to the kernel and outlives the call; no stack, tls or
    // tid pointer is given, so the child goes on with a copy of this stack, as after fork(2). The child may
    // run any code since the process has one thread, which `wrun` upholds by starting none before this.
    let result = unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, size_of::<CloneArgs>()) };
    match result {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Cloned::Child),
        pid => {
            // SAFETY: the kernel has stored a new descriptor there (CLONE_PIDFD), which nobody else owns.
            let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
            Ok(Cloned::Parent {
                pid: Pid::from_raw(pid as i32),
                pidfd,
            })
        }
    }
}
