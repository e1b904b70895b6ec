//! Signals to every process of a cgroup.
//!
//! A process id listed may be another's by the time it is used. So each is first pinned by a pidfd, and
//! signalled only if a second listing still has it: a pidfd opened before that listing is then either of
//! the process listed, or of one that is dead, to which a signal does nothing.

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::tree::{Tree, is_gone};
use super::{CgroupError, file, freeze};
use crate::sys::pidfd::send_signal;
use crate::sys::wait::becomes_readable;

/// How long processes may take to die; one that waits uninterruptibly holds it up.
const DEATH_LIMIT: Duration = Duration::from_secs(10);
/// Rounds of killing on hosts without cgroup.kill; processes that fork meanwhile need more than one.
const KILL_ROUNDS: u32 = 100;

/// Sends a signal to all. `list` is the tree that lists them, `freezer` the one that can stop them.
pub(super) fn signal(list: &Tree, freezer: Option<&Tree>, signal: i32) -> Result<(), CgroupError> {
    if signal == libc::SIGKILL && list.unified && kill_file(list)? {
        return Ok(());
    }
    // Frozen, none can fork away from the signal.
    let was_frozen = freezer.map_or(Ok(false), freeze::is_frozen)?;
    if let Some(freezer) = freezer.filter(|_| !was_frozen) {
        match freeze::freeze(freezer) {
            Err(error) if error.is_gone() => return Ok(()),
            result => result?,
        }
    }
    let sent = send(list, signal).map(|_| ());
    // A process that the v1 freezer holds does not even die by SIGKILL.
    if let Some(freezer) = freezer.filter(|_| !was_frozen || signal == libc::SIGKILL) {
        freeze::thaw(freezer)?;
    }
    sent
}

/// Kills all and waits until none is left.
pub(super) fn kill_and_wait(list: &Tree, freezer: Option<&Tree>) -> Result<(), CgroupError> {
    // Mostly the first process is dead and nobody else was there.
    if list.is_empty()? {
        return Ok(());
    }
    if list.unified && kill_file(list)? {
        return wait_unified(list);
    }
    let deadline = Instant::now() + DEATH_LIMIT;
    for round in 0..KILL_ROUNDS {
        // The first round goes without the freezer, which costs more than the kill; it is enough unless
        // something forks right now.
        let freezing = freezer.filter(|_| round > 0);
        if let Some(freezer) = freezing {
            match freeze::freeze(freezer) {
                Err(error) if error.is_gone() => return Ok(()),
                result => result?,
            }
        }
        let killed = send(list, libc::SIGKILL);
        if let Some(freezer) = freezer {
            freeze::thaw(freezer)?;
        }
        let killed = killed?;
        if killed.is_empty() {
            return Ok(());
        }
        wait_dead(list, &killed, deadline)?;
    }
    Err(alive(list))
}

/// `cgroup.kill` (Linux 5.14). `false` where the kernel has none.
fn kill_file(tree: &Tree) -> Result<bool, CgroupError> {
    let dir = match file::open_dir(&tree.path) {
        Err(error) if is_gone(&error) => return Ok(true),
        dir => dir.map_err(|source| tree.error("open", source))?,
    };
    match file::write(dir.as_fd(), "cgroup.kill", "1") {
        Ok(()) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
        Err(source) => Err(tree.file_error("write", "cgroup.kill", source)),
    }
}

fn wait_unified(tree: &Tree) -> Result<(), CgroupError> {
    let waited =
        file::open_dir(&tree.path).and_then(|dir| file::wait_event(dir.as_fd(), "populated", 0, DEATH_LIMIT));
    match waited {
        Ok(true) => Ok(()),
        Ok(false) => Err(alive(tree)),
        Err(error) if is_gone(&error) => Ok(()),
        Err(source) => Err(tree.file_error("wait for", "cgroup.events", source)),
    }
}

/// Signals each process once; the pidfds of those that were there.
fn send(list: &Tree, signal: i32) -> Result<Vec<OwnedFd>, CgroupError> {
    let mut pinned = Vec::new();
    for pid in list.processes()? {
        let Some(pid) = Pid::from_raw(pid) else { continue };
        match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(pidfd) => pinned.push((pid, pidfd)),
            Err(Errno::SRCH) => {}
            Err(errno) => {
                return Err(CgroupError::Signal {
                    pid: pid.as_raw_pid(),
                    source: errno.into(),
                });
            }
        }
    }
    if pinned.is_empty() {
        return Ok(Vec::new());
    }
    let still = list.processes()?;
    let mut sent = Vec::with_capacity(pinned.len());
    for (pid, pidfd) in pinned {
        if !still.contains(&pid.as_raw_pid()) {
            continue;
        }
        match send_signal(pidfd.as_fd(), signal) {
            Ok(()) => sent.push(pidfd),
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => {}
            Err(source) => {
                return Err(CgroupError::Signal {
                    pid: pid.as_raw_pid(),
                    source,
                });
            }
        }
    }
    Ok(sent)
}

/// A pidfd becomes readable when its process has died.
fn wait_dead(tree: &Tree, processes: &[OwnedFd], deadline: Instant) -> Result<(), CgroupError> {
    for process in processes {
        let dead = becomes_readable(process.as_fd(), deadline);
        if !dead.map_err(|source| tree.error("wait for the processes of", source))? {
            return Err(alive(tree));
        }
    }
    Ok(())
}

fn alive(tree: &Tree) -> CgroupError {
    // Only for the message: what cannot be listed is not worth a second error.
    CgroupError::Populated {
        path: tree.path.clone(),
        processes: tree.processes().unwrap_or_default(),
    }
}
