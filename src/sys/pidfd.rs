//! Signals by number through a pidfd: rustix knows only the named ones, and engines send real-time signals.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// pidfd_send_signal(2) with any signal number, 0 (which only asks) included.
pub fn send_signal(pidfd: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    let no_info = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: the kernel fills the information in itself where the pointer is null; the rest are integers.
    let result = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), signal, no_info, 0) };
    if result == -1 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}
