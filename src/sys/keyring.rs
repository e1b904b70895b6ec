//! keyctl(2), which no crate of ours wraps: the three operations on session keyrings that we need.

use std::ffi::CStr;
use std::io;

/// Serial number of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Serial(libc::c_int);

/// Makes the keyring `name` the process's session keyring, creating it where there is none that the process
/// may search (KEYCTL_JOIN_SESSION_KEYRING).
///
/// # Errors
/// `ENOSYS` on kernels without keyrings, `EDQUOT`, `EACCES`.
pub fn join_session(name: &CStr) -> io::Result<Serial> {
    // SAFETY: `name` is a NUL-terminated string that outlives the call, which only reads it.
    let serial = unsafe { libc::syscall(libc::SYS_keyctl, libc::KEYCTL_JOIN_SESSION_KEYRING, name.as_ptr()) };
    if serial < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(Serial(serial as libc::c_int))
    }
}

/// The key's description, `type;uid;gid;perm;name` (KEYCTL_DESCRIBE), cut at 512 bytes, which is beyond the
/// permissions whatever the name.
///
/// # Errors
/// `EACCES` without view permission.
pub fn describe(key: Serial) -> io::Result<Vec<u8>> {
    let mut buffer = vec![0_u8; 512];
    let room = buffer.len();
    // SAFETY: the buffer is writable for the `room` bytes that the call may write.
    let length = unsafe {
        libc::syscall(
            libc::SYS_keyctl,
            libc::KEYCTL_DESCRIBE,
            key.0,
            buffer.as_mut_ptr(),
            room,
        )
    };
    if length < 0 {
        return Err(io::Error::last_os_error());
    }
    // The answer is the whole length, NUL included. Where that is more than there is room for, some kernels
    // copy nothing: the caller sees an empty description then.
    buffer.truncate((length as usize).min(room));
    Ok(buffer)
}

/// Sets the key's permissions, a mask of KEY_*_* of <linux/key.h> (KEYCTL_SETPERM).
///
/// # Errors
/// `EACCES` where the caller is neither owner nor privileged.
pub fn set_permissions(key: Serial, permissions: u32) -> io::Result<()> {
    // SAFETY: the call takes integers only.
    let result = unsafe { libc::syscall(libc::SYS_keyctl, libc::KEYCTL_SETPERM, key.0, permissions) };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}
