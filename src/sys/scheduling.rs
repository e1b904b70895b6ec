//! sched_setattr(2) and ioprio_set(2), which no crate of ours wraps.

use std::io;

/// `struct sched_attr` of sched_setattr(2), 56 bytes: with the clamps of Linux 5.3, without which the kernel refuses
/// their flags.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[repr(C)]
pub struct SchedulerAttributes {
    /// Filled in by [`set_scheduler`].
    pub size: u32,
    pub policy: u32,
    pub flags: u64,
    pub nice: i32,
    pub priority: u32,
    /// Nanoseconds, as the next two.
    pub runtime: u64,
    pub deadline: u64,
    pub period: u64,
    /// Utilization, 0 to 1024, as the next; read with SCHED_FLAG_UTIL_CLAMP_MIN and _MAX alone.
    pub util_min: u32,
    pub util_max: u32,
}

/// Sets the calling thread's scheduling policy and attributes.
///
/// # Errors
/// `EPERM` without CAP_SYS_NICE, `EINVAL` for values that do not go together.
pub fn set_scheduler(attributes: &SchedulerAttributes) -> io::Result<()> {
    let attributes = SchedulerAttributes {
        size: size_of::<SchedulerAttributes>() as u32,
        ..*attributes
    };
    // SAFETY: the pointer is to a structure of the size that its first field tells, which the kernel reads.
    let result = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// Sets the calling thread's I/O priority, a class in bits 13 and up with a level below (ioprio_set(2)).
///
/// # Errors
/// `EPERM` for the real-time class without CAP_SYS_ADMIN or CAP_SYS_NICE, `EINVAL`.
pub fn set_io_priority(priority: u16) -> io::Result<()> {
    const IOPRIO_WHO_PROCESS: libc::c_int = 1;
    // SAFETY: the call takes integers only.
    let result = unsafe {
        libc::syscall(
            libc::SYS_ioprio_set,
            IOPRIO_WHO_PROCESS,
            0,
            libc::c_int::from(priority),
        )
    };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}
