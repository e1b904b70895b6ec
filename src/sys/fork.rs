//! fork(2) for a process that does one job of ours and is waited for.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

use nix::unistd::{ForkResult, Pid, fork};

/// Runs `job` in a copy of this process, which ends with the code that `job` returns; 101 where it panics.
///
/// fork(2) in place of a bare clone: the C library then knows the child's thread, so that the job may start
/// threads of its own. The caller must have one thread only, as everywhere in wrun.
pub fn run_in_child(job: impl FnOnce() -> u8) -> io::Result<Pid> {
    // SAFETY: the process has one thread (wrun starts none before its last clone), so the child, a copy of
    // it, holds no lock of a thread that it does not have.
    match unsafe { fork() }? {
        ForkResult::Parent { child } => Ok(child),
        ForkResult::Child => {
            let code = catch_unwind(AssertUnwindSafe(job)).unwrap_or(101);
            // SAFETY: _exit takes an integer and does not return; destructors and exit handlers belong to
            // the parent, whose resources this copy must leave alone.
            unsafe { libc::_exit(code.into()) }
        }
    }
}

/// Closes every descriptor from `first` on (close_range(2), Linux 5.9; one by one before that).
///
/// For a child of [`run_in_child`] only: whatever owned them is never used or dropped there again.
pub fn close_from(first: u32) -> io::Result<()> {
    // SAFETY: the owners of these descriptors are never used again, by this function's contract.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, 0) };
    if result == 0 {
        return Ok(());
    }
    let error = io::Error::last_os_error();
    if error.raw_os_error() != Some(libc::ENOSYS) {
        return Err(error);
    }
    let (limit, _) = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE)?;
    for fd in first as i32..i32::try_from(limit).unwrap_or(i32::MAX) {
        // SAFETY: as above; a number that is not open gives EBADF.
        unsafe { libc::close(fd) };
    }
    Ok(())
}
