//! The CPUs that a process added to a container may run on (`process.execCPUAffinity`).
//!
//! Our own call rather than libcontainer's `cpu_affinity`: that takes the process in a type of an older nix,
//! and reads the list where nobody can be told any more what is wrong with it.

use std::io;

use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

use super::SecurityError;

/// Binds the calling thread to CPUs (sched_setaffinity(2)), and with it what it starts; `property` is named in
/// errors. An empty list changes nothing.
///
/// # Errors
/// `EINVAL` where none of the CPUs exists and is in the cpuset of the thread's cgroup.
pub fn set(cpus: &[u32], property: &'static str) -> Result<(), SecurityError> {
    if cpus.is_empty() {
        return Ok(());
    }
    let mut set = CpuSet::new();
    cpus.iter()
        .try_for_each(|cpu| set.set(*cpu as usize))
        .and_then(|()| sched_setaffinity(Pid::from_raw(0), &set))
        .map_err(|error| SecurityError::CpuAffinity {
            property,
            cpus: cpus.to_vec(),
            source: io::Error::from(error),
        })
}

/// Lets the calling thread run on every CPU that its cgroup's cpuset has, whatever the runtime's caller was
/// bound to. Up to Linux 6.1 the move into the cgroup did so; later ones keep what was asked of
/// sched_setaffinity(2) before, which nobody asked for the container. As runc.
pub fn reset() {
    let mut all = CpuSet::new();
    let every = (0..CpuSet::count()).try_for_each(|cpu| all.set(cpu));
    // The kernel leaves out what does not exist or is not allowed. A sandbox around us may forbid the call; the
    // container then runs where we do.
    let _ = every.and_then(|()| sched_setaffinity(Pid::from_raw(0), &all));
}

#[cfg(test)]
mod tests {
    use nix::sched::sched_getaffinity;

    use super::*;

    #[test]
    fn it_is_set_for_the_calling_thread() {
        std::thread::spawn(|| {
            let before = sched_getaffinity(Pid::from_raw(0)).unwrap();
            set(&[], "x").unwrap();
            set(&[0], "process.execCPUAffinity.final").unwrap();
            let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
            assert!(status.contains("Cpus_allowed_list:\t0\n"), "{status}");
            reset();
            let after = sched_getaffinity(Pid::from_raw(0)).unwrap();
            for cpu in 0..CpuSet::count() {
                assert!(
                    after.is_set(cpu).unwrap() || !before.is_set(cpu).unwrap(),
                    "{cpu}"
                );
            }
            let error = set(&[1023], "process.execCPUAffinity.final")
                .unwrap_err()
                .to_string();
            assert!(error.starts_with("process.execCPUAffinity.final:"), "{error}");
            assert!(error.contains("[1023]"), "{error}");
        })
        .join()
        .unwrap();
    }
}
