//! The NUMA memory policy of a process, which those that it starts inherit (`linux.memoryPolicy`).

use std::io;

use libcontainer::syscall::linux::LinuxSyscall;
use libcontainer::syscall::{Syscall, SyscallError};

use super::SecurityError;
use crate::plan::process::MemoryPolicy;

/// Sets it for the calling thread (set_mempolicy(2)): in its cgroup, since nodes outside its cpuset are
/// refused, and before a seccomp filter, which may not know the call. It needs no capability.
///
/// libcontainer's wrapper makes the call; its `setup_memory_policy` would lose every 64th node, for the kernel
/// reads one bit less than it is told.
///
/// # Errors
/// `EINVAL` for nodes that do not exist or are not the container's, and flags that the mode does not take;
/// `ENOSYS` on a kernel without NUMA.
pub fn set(policy: &MemoryPolicy) -> Result<(), SecurityError> {
    let mask = mask(&policy.nodes);
    let bits = mask.len() as u64 * u64::from(libc::c_ulong::BITS) + 1;
    LinuxSyscall
        .set_mempolicy((policy.mode | policy.flags).cast_signed(), &mask, bits)
        .map_err(|error| SecurityError::MemoryPolicy {
            nodes: policy.nodes.clone(),
            source: match error {
                SyscallError::Nix(errno) => io::Error::from_raw_os_error(errno as i32),
                other => io::Error::other(other),
            },
        })
}

/// One bit for each node, lowest first.
fn mask(nodes: &[u32]) -> Vec<libc::c_ulong> {
    let highest = nodes.iter().max();
    let mut mask = vec![0; highest.map_or(0, |node| (node / libc::c_ulong::BITS + 1) as usize)];
    for node in nodes {
        mask[(node / libc::c_ulong::BITS) as usize] |= 1 << (node % libc::c_ulong::BITS);
    }
    mask
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_become_bits() {
        assert!(mask(&[]).is_empty());
        assert_eq!(mask(&[0, 2]), [0b101]);
        assert_eq!(mask(&[1, 63, 64, 130]), [1 << 63 | 2, 1, 4]);
    }

    #[test]
    fn it_is_set_for_the_calling_thread() {
        let bind = |node| MemoryPolicy {
            mode: 2,
            flags: 0,
            nodes: vec![node],
        };
        std::thread::spawn(move || {
            match set(&bind(0)) {
                // Without NUMA there is nothing to see.
                Err(SecurityError::MemoryPolicy { source, .. })
                    if source.raw_os_error() == Some(libc::ENOSYS) =>
                {
                    return;
                }
                other => other.unwrap(),
            }
            let maps = std::fs::read_to_string("/proc/thread-self/numa_maps").unwrap();
            assert!(maps.contains("bind:0"), "{maps}");
            let error = set(&bind(1023)).unwrap_err();
            assert!(error.to_string().contains("linux.memoryPolicy") && error.to_string().contains("[1023]"));
        })
        .join()
        .unwrap();
    }
}
