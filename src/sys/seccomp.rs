//! seccomp(2), which no crate of ours wraps: loading a filter, and asking the kernel what it knows.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

/// Size of one `struct sock_filter` of <linux/filter.h>.
pub const INSTRUCTION_SIZE: usize = 8;
/// BPF_MAXINSNS of <linux/bpf_common.h>: the kernel takes no longer program.
pub const MAX_INSTRUCTIONS: usize = 4096;

/// Loads a filter for the calling thread (SECCOMP_SET_MODE_FILTER with SECCOMP_FILTER_FLAG_* `flags`).
///
/// `program` is an array of `struct sock_filter` in the machine's byte order. Answers the listener's
/// descriptor, close-on-exec, where SECCOMP_FILTER_FLAG_NEW_LISTENER was among the flags.
///
/// # Errors
/// `EACCES` without CAP_SYS_ADMIN and without no_new_privs, `EINVAL` for a bad program or unknown flags,
/// `EBUSY` where a filter above already has a listener; here also for a program that is no whole number of
/// instructions or too long.
pub fn set_filter(program: &[u8], flags: u32) -> io::Result<Option<OwnedFd>> {
    let instructions = program.len() / INSTRUCTION_SIZE;
    if !program.len().is_multiple_of(INSTRUCTION_SIZE) || instructions > MAX_INSTRUCTIONS {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    let header = libc::sock_fprog {
        len: instructions as libc::c_ushort,
        filter: program.as_ptr().cast_mut().cast(),
    };
    // SAFETY: `header` counts exactly the instructions in `program`, and both outlive the call; the kernel
    // copies them out, at any alignment, and does not write to them.
    let result = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            flags,
            &raw const header,
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    if u64::from(flags) & libc::SECCOMP_FILTER_FLAG_NEW_LISTENER == 0 {
        return Ok(None);
    }
    // SAFETY: with this flag the call answers a descriptor that it has just opened, so nothing else owns it.
    Ok(Some(unsafe { OwnedFd::from_raw_fd(result as i32) }))
}

/// Whether the kernel knows all of the SECCOMP_FILTER_FLAG_* `flags`. Loads nothing.
pub fn knows_flags(flags: u32) -> bool {
    let nothing = std::ptr::null::<libc::sock_fprog>();
    // SAFETY: flags are checked before the program, which is a null pointer that the kernel refuses with
    // EFAULT; nothing is read or loaded.
    let result = unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, nothing) };
    result < 0 && io::Error::last_os_error().raw_os_error() == Some(libc::EFAULT)
}
