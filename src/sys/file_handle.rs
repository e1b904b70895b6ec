//! name_to_handle_at(2): what identifies a file beyond the mount it is seen through.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// `AT_HANDLE_FID`, Linux 6.5: a handle that need not be opened again, which more file systems can give.
const AT_HANDLE_FID: i32 = 0x200;
/// `MAX_HANDLE_SZ`.
const MAX: usize = 128;

/// `struct file_handle` with room for any handle.
#[repr(C)]
struct Handle {
    bytes: u32,
    kind: i32,
    data: [u8; MAX],
}

/// The handle of an open file.
pub fn of(file: BorrowedFd<'_>) -> io::Result<Vec<u8>> {
    let mut handle = Handle {
        bytes: MAX as u32,
        kind: 0,
        data: [0; MAX],
    };
    let mut mount = 0;
    // SAFETY: the path is a NUL-terminated constant; `handle` has the kernel's layout and says how much room
    // it has; both it and `mount` outlive the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_name_to_handle_at,
            file.as_raw_fd(),
            c"".as_ptr(),
            &raw mut handle,
            &raw mut mount,
            libc::AT_EMPTY_PATH | AT_HANDLE_FID,
        )
    };
    if result == -1 {
        return Err(io::Error::last_os_error());
    }
    Ok(handle.data[..MAX.min(handle.bytes as usize)].to_vec())
}
