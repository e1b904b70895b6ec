//! `kill`: a signal to the container's first process, or to all of them.

use std::os::fd::AsFd;

use super::stored::{init_pidfd, permitted, refuse, store};
use super::{Context, Error};
use crate::cgroup::Cgroup;
use crate::state::{Record, Refused, Status, Verb};
use crate::sys::pidfd::send_signal;

/// Sends `signal`. With `all`, to every process of the container's cgroup; that works on a stopped container
/// too, whose other processes may live on in a shared pid namespace.
pub fn kill(context: &Context<'_>, id: &str, signal: i32, all: bool) -> Result<(), Error> {
    let entry = store(context).open(id)?;
    if all {
        let record = entry.read()?;
        if !record.placement.paths.is_empty() {
            return Ok(Cgroup::open(&record.placement).signal_all(signal)?);
        }
        // Without a cgroup there is no list of its processes; the end of the first ends those of its namespace.
    }
    let (record, _) = permitted(&entry, Verb::Kill)?;
    signal_init(&record, signal)?;
    if signal == libc::SIGKILL && !record.own_pid_namespace && !record.placement.paths.is_empty() {
        // Where the pid namespace is shared, the death of the first process does not end the others.
        Cgroup::open(&record.placement).signal_all(signal)?;
    }
    Ok(())
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
