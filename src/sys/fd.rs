//! Descriptors as a whole: what survives an exec, and taking over those that a caller left open.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

/// Marks every descriptor from `first` on close-on-exec (close_range(2) with CLOSE_RANGE_CLOEXEC, Linux
/// 5.11; by /proc-free iteration up to the limit before that).
pub fn cloexec_from(first: u32) -> io::Result<()> {
    const CLOSE_RANGE_CLOEXEC: u32 = 4;
    // SAFETY: the call takes three integers and changes only flags of descriptors.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, CLOSE_RANGE_CLOEXEC) };
    if result == 0 {
        return Ok(());
    }
    let error = io::Error::last_os_error();
    if !matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EINVAL)) {
        return Err(error);
    }
    let (limit, _) = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE)?;
    for fd in first as i32..i32::try_from(limit).unwrap_or(i32::MAX) {
        // SAFETY: F_SETFD on a number that may not be open changes nothing or fails with EBADF.
        unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) };
    }
    Ok(())
}

/// Fails with EBADF unless the caller of `wrun` has left all of `count` descriptors from 3 on open for us.
///
/// What we open ourselves is close-on-exec from the start, and what came through an execve(2) cannot be.
pub fn check_passed(count: u32) -> io::Result<()> {
    for number in 3..3 + count {
        check_one(number.cast_signed())?;
    }
    Ok(())
}

/// The same for one descriptor, by its number.
pub fn check_one(number: RawFd) -> io::Result<()> {
    // SAFETY: F_GETFD reads a flag of the descriptor, open or not.
    let flags = unsafe { libc::fcntl(number, libc::F_GETFD) };
    if flags == -1 || flags & libc::FD_CLOEXEC != 0 {
        return Err(io::Error::from_raw_os_error(libc::EBADF));
    }
    Ok(())
}

/// Lets `count` descriptors from 3 on survive the next execve(2).
pub fn pass_on(count: u32) -> io::Result<()> {
    for number in 3..3 + count {
        // SAFETY: F_SETFD changes a flag of the descriptor, or fails with EBADF.
        if unsafe { libc::fcntl(number.cast_signed(), libc::F_SETFD, 0) } == -1 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Takes over a descriptor that the caller of `wrun` left open for us under a known number.
///
/// Fails where that number is not open. To be called once per number, before anything else opens files.
pub fn adopt(number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: F_GETFD reads a flag of the descriptor, open or not.
    if unsafe { libc::fcntl(number, libc::F_GETFD) } == -1 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it is open, as just seen, and by this function's contract nothing else in the process owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Lets one descriptor survive the next execve(2).
pub fn keep_open(number: RawFd) -> io::Result<()> {
    // SAFETY: F_SETFD changes a flag of the descriptor, or fails with EBADF.
    if unsafe { libc::fcntl(number, libc::F_SETFD, 0) } == -1 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
