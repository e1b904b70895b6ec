//! Asking a descriptor of a namespace what it is.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// The kind of namespace as its `CLONE_NEW*` flag (ioctl_ns(2), NS_GET_NSTYPE); ENOTTY for any other file.
pub fn kind(namespace: BorrowedFd<'_>) -> io::Result<u64> {
    const NS_GET_NSTYPE: libc::c_ulong = 0xb703;
    // SAFETY: this request takes no argument and answers with a number.
    let result = unsafe { libc::ioctl(namespace.as_raw_fd(), NS_GET_NSTYPE as _) };
    if result == -1 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result as u32 as u64)
    }
}
