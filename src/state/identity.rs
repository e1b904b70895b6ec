//! Who a process is: its pid together with the time it started, so that a pid that the kernel gave away
//! again is not taken for the container's. Reads the host's /proc; signals nothing.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;

use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde::{Deserialize, Serialize};

/// A process, in the pid namespace of the caller's /proc.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    pub pid: i32,
    /// Field 22 of /proc/PID/stat: clock ticks since boot (proc_pid_stat(5)).
    pub start_time: u64,
}

/// What this file needs from /proc/PID/stat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stat {
    state: u8,
    start_time: u64,
}

impl Stat {
    /// Zombies and dead processes run no code any more: for a container they are gone.
    fn is_alive(self) -> bool {
        !matches!(self.state, b'Z' | b'X' | b'x')
    }
}

impl Identity {
    /// The identity of a process that cannot be reaped meanwhile (a child of the caller, or the caller).
    ///
    /// # Errors
    /// `NotFound` where there is no such process.
    pub fn of(pid: i32) -> io::Result<Self> {
        let stat = read_stat(pid)?;
        Ok(Self {
            pid,
            start_time: stat.start_time,
        })
    }

    /// Whether this process is still there and is not a zombie.
    ///
    /// # Errors
    /// Those of reading /proc, except that a missing process is `Ok(false)`.
    pub fn alive(&self) -> io::Result<bool> {
        match read_stat(self.pid) {
            Ok(stat) => Ok(stat.is_alive() && stat.start_time == self.start_time),
            Err(error) if is_gone(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// A pidfd of this very process, or `None` where it is gone.
    ///
    /// The start time is compared after opening: the descriptor holds on to one process, so if the pid
    /// carries our start time then, the descriptor is of ours, and stays so.
    ///
    /// # Errors
    /// Those of pidfd_open(2) (`ENOSYS` before Linux 5.3) and of reading /proc.
    pub fn open_pidfd(&self) -> io::Result<Option<OwnedFd>> {
        let Some(pid) = Pid::from_raw(self.pid) else {
            return Ok(None);
        };
        let pidfd = match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(pidfd) => pidfd,
            // EINVAL: the number is now that of a thread that leads no process.
            Err(rustix::io::Errno::SRCH | rustix::io::Errno::INVAL) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        Ok(self.alive()?.then_some(pidfd))
    }
}

/// ENOENT: there is no such directory; ESRCH: the process went away between open and read.
fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ESRCH)
}

fn read_stat(pid: i32) -> io::Result<Stat> {
    // The line is about 300 bytes; 52 fields of at most 20 digits and a name of at most 64 fit in 1200.
    let mut buffer = [0; 2048];
    let read = File::open(format!("/proc/{pid}/stat"))?.read(&mut buffer)?;
    parse_stat(&buffer[..read]).ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::InvalidData,
            format!("/proc/{pid}/stat is not understood"),
        )
    })
}

/// The name (field 2) is chosen by the process and may hold blanks and parentheses: fields are counted from
/// the last `)` on.
fn parse_stat(stat: &[u8]) -> Option<Stat> {
    let name_end = stat.iter().rposition(|byte| *byte == b')')?;
    let mut fields = stat[name_end + 1..].trim_ascii().split(|byte| *byte == b' ');
    let [state] = fields.next()? else { return None };
    // Field 3 is taken; 22 is the 19th after it.
    let start_time = std::str::from_utf8(fields.nth(18)?).ok()?.parse().ok()?;
    Some(Stat {
        state: *state,
        start_time,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_cannot_forge_fields() {
        let stat = b"7 (x) Z 1 (y) 9) S 1 7 7 0 -1 4194560 1 0 0 0 1 2 3 4 20 0 1 0 98765 1000 2 3\n";
        assert_eq!(
            parse_stat(stat),
            Some(Stat {
                state: b'S',
                start_time: 98765
            })
        );
        assert_eq!(parse_stat(b"7 (x) S 1 2 3"), None);
        assert_eq!(parse_stat(b""), None);
        assert_eq!(parse_stat(b"no parenthesis"), None);
    }

    #[test]
    fn own_process_is_alive_and_another_start_time_is_another_process() {
        let own = Identity::of(std::process::id() as i32).unwrap();
        assert!(own.alive().unwrap());
        assert!(own.open_pidfd().unwrap().is_some());
        let earlier = Identity {
            start_time: own.start_time - 1,
            ..own
        };
        assert!(!earlier.alive().unwrap());
        assert!(earlier.open_pidfd().unwrap().is_none());
    }

    #[test]
    fn a_zombie_is_not_alive_and_a_reaped_process_is_gone() {
        let mut child = std::process::Command::new("/bin/true").spawn().unwrap();
        let identity = Identity::of(child.id() as i32).unwrap();
        let pidfd = pidfd_open(Pid::from_child(&child), PidfdFlags::empty()).unwrap();
        let mut wait = [rustix::event::PollFd::new(&pidfd, rustix::event::PollFlags::IN)];
        rustix::event::poll(&mut wait, None).unwrap();
        assert!(!identity.alive().unwrap(), "exited, not yet reaped");
        child.wait().unwrap();
        assert!(!identity.alive().unwrap());
        assert!(identity.open_pidfd().unwrap().is_none());
        assert_eq!(
            Identity::of(identity.pid).unwrap_err().kind(),
            io::ErrorKind::NotFound
        );
    }
}
