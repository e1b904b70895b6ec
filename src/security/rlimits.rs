//! Resource limits (prlimit(2)).

use rustix::process::{Pid, Resource, Rlimit, prlimit};

use super::SecurityError;
use crate::plan::process;

/// Sets the limits of process `pid`, or of the caller.
///
/// The parent does it for the child: raising a hard limit needs CAP_SYS_RESOURCE in the first user namespace.
///
/// # Errors
/// `EPERM` where a hard limit would be raised without that capability, `EINVAL` where soft is above hard.
pub fn apply(pid: Option<Pid>, limits: &[process::Rlimit]) -> Result<(), SecurityError> {
    limits.iter().try_for_each(|limit| {
        let resource = resource(limit.resource).ok_or_else(|| SecurityError::UnknownLimit {
            name: limit.name.clone(),
            resource: limit.resource,
        })?;
        let new = Rlimit {
            current: value(limit.soft),
            maximum: value(limit.hard),
        };
        prlimit(pid, resource, new)
            .map(|_old| ())
            .map_err(|error| SecurityError::Limit {
                name: limit.name.clone(),
                soft: limit.soft,
                hard: limit.hard,
                source: error.into(),
            })
    })
}

/// RLIM_INFINITY is the largest number.
fn value(limit: u64) -> Option<u64> {
    (limit != u64::MAX).then_some(limit)
}

fn resource(number: u32) -> Option<Resource> {
    const ALL: [Resource; 16] = [
        Resource::Cpu,
        Resource::Fsize,
        Resource::Data,
        Resource::Stack,
        Resource::Core,
        Resource::Rss,
        Resource::Nproc,
        Resource::Nofile,
        Resource::Memlock,
        Resource::As,
        Resource::Locks,
        Resource::Sigpending,
        Resource::Msgqueue,
        Resource::Nice,
        Resource::Rtprio,
        Resource::Rttime,
    ];
    ALL.into_iter().find(|resource| *resource as u32 == number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(name: &str, resource: u32, soft: u64, hard: u64) -> process::Rlimit {
        process::Rlimit {
            name: name.into(),
            resource,
            soft,
            hard,
        }
    }

    #[test]
    fn sets_the_limits_of_another_process() {
        let mut child = std::process::Command::new("/bin/sleep")
            .arg("60")
            .spawn()
            .unwrap();
        let pid = Some(Pid::from_child(&child));
        let limits = [
            limit("RLIMIT_NOFILE", libc::RLIMIT_NOFILE, 50, 60),
            limit("RLIMIT_CORE", 4, 0, 0),
        ];
        let applied = apply(pid, &limits);
        let seen = std::fs::read_to_string(format!("/proc/{}/limits", child.id())).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        applied.unwrap();
        let line = seen
            .lines()
            .find(|line| line.starts_with("Max open files"))
            .unwrap();
        assert_eq!(line.split_whitespace().collect::<Vec<_>>()[3..5], ["50", "60"]);
    }

    #[test]
    fn errors_name_the_limit() {
        let error = apply(None, &[limit("RLIMIT_CORE", libc::RLIMIT_CORE, 2, 1)]).unwrap_err();
        assert_eq!(error.to_string(), "cannot set RLIMIT_CORE to soft 2 and hard 1");
        assert!(matches!(
            apply(None, &[limit("X", 99, 0, 0)]),
            Err(SecurityError::UnknownLimit { .. })
        ));
    }
}
