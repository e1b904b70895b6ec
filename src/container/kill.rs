//! `kill`: a signal to the container's first process, or to all of them.

use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use super::stored::{init_pidfd, observe, refuse, store};
use super::{Context, Error};
use crate::cgroup::Cgroup;
use crate::state::{Record, Refused, Status, Verb};
use crate::sys::pidfd::send_signal;

/// Sends `signal`. With `all`, to every process of the container's cgroup; that works on a stopped container
/// too, whose other processes may live on in a shared pid namespace. Without a cgroup (rootless), to every process
/// of its own pid namespace.
pub fn kill(context: &Context<'_>, id: &str, signal: i32, all: bool) -> Result<(), Error> {
    let entry = store(context).open(id)?;
    if all {
        let record = entry.read()?;
        if !record.placement.paths.is_empty() {
            return Ok(Cgroup::open(&record.placement).signal_all(signal)?);
        }
        // Without a cgroup only a namespace of their own tells its processes from others.
        if !record.own_pid_namespace {
            return Err(Error::NoCgroup { id: id.to_owned() });
        }
        let (_, status) = observe(&entry)?;
        if status == Status::Stopped {
            // The namespace has ended with its first process: there is nobody left, as in an empty cgroup.
            return Ok(());
        }
        status.allows(Verb::Kill, id).map_err(refuse(id))?;
        if signal != libc::SIGKILL {
            return signal_namespace(&record, signal);
        }
        // The end of the first process ends all others.
        return signal_init(&record, signal);
    }
    let (record, status) = observe(&entry)?;
    let others = others(&record, signal);
    if status == Status::Stopped
        && let Some(others) = &others
        && !others.is_empty()?
    {
        return Ok(others.signal_all(signal)?);
    }
    status.allows(Verb::Kill, id).map_err(refuse(id))?;
    signal_init(&record, signal)?;
    others.map_or(Ok(()), |others| Ok(others.signal_all(signal)?))
}

/// The cgroup of processes that have to be killed one by one: where the pid namespace is shared, the death of the
/// first process does not end the others.
fn others(record: &Record, signal: i32) -> Option<Cgroup> {
    let shared = !record.own_pid_namespace && !record.placement.paths.is_empty();
    (signal == libc::SIGKILL && shared).then(|| Cgroup::open(&record.placement))
}

/// Signals the first process through its pidfd, so that no other process can be meant.
fn signal_init(record: &Record, signal: i32) -> Result<(), Error> {
    let Some(pidfd) = init_pidfd(record)? else {
        return Err(refuse(&record.id)(Refused::NotRunning(Status::Stopped)));
    };
    match send_signal(pidfd.as_fd(), signal) {
        Ok(()) => Ok(()),
        Err(error) if error.raw_os_error() == Some(libc::ESRCH) => {
            Err(refuse(&record.id)(Refused::NotRunning(Status::Stopped)))
        }
        Err(source) => Err(Error::Process {
            id: record.id.clone(),
            action: "signal the first process",
            source,
        }),
    }
}

/// Signals every process that is in the pid namespace of the first one.
fn signal_namespace(record: &Record, signal: i32) -> Result<(), Error> {
    let failed = |action| {
        move |source: io::Error| Error::Process {
            id: record.id.clone(),
            action,
            source,
        }
    };
    // Held while its number is used, so that the number is its own.
    let init = init_pidfd(record)?.ok_or_else(|| refuse(&record.id)(Refused::NotRunning(Status::Stopped)))?;
    let number = record.init.map_or(0, |init| init.pid);
    let namespace = |pid: i32| std::fs::read_link(format!("/proc/{pid}/ns/pid"));
    let own = match namespace(number) {
        Ok(own) => own,
        // A Wasm guest's process shows it to root alone. It has no others beside it but those of `exec`.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return signal_init(record, signal),
        Err(error) => return Err(failed("find the pid namespace")(error)),
    };
    for pid in pids(Path::new("/proc")).map_err(failed("list the processes"))? {
        let opened = rustix::process::Pid::from_raw(pid)
            .map(|pid| rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()));
        // Ended meanwhile, or not ours to look into: then it is none of the container's.
        let Some(Ok(pidfd)) = opened else { continue };
        if !namespace(pid).is_ok_and(|other| other == own) {
            continue;
        }
        match send_signal(pidfd.as_fd(), signal) {
            Err(error) if error.raw_os_error() != Some(libc::ESRCH) => {
                return Err(failed("signal a process")(error));
            }
            _ => {}
        }
    }
    drop(init);
    Ok(())
}

fn pids(proc: &Path) -> io::Result<Vec<i32>> {
    let names = std::fs::read_dir(proc)?;
    Ok(names
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect())
}
