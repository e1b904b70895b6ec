//! `delete`: taking a container away, whatever state it was left in.

use std::os::fd::AsFd;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::Signal;

use super::stored::{hook_outputs, init_pidfd, refuse, status_of, store};
use super::{Context, Error, close_to_others};
use crate::cgroup::Cgroup;
use crate::hooks;
use crate::rdt;
use crate::state::{Entry, HookState, Record, StateError, Status, Verb};

/// How long the kernel gets to end a killed process.
const KILL_SECONDS: i64 = 10;

/// Removes a stopped or merely created container; with `force` any, and none is fine too.
pub fn delete(context: &Context<'_>, id: &str, force: bool) -> Result<(), Error> {
    close_to_others()?;
    let entry = match store(context).open(id) {
        Err(StateError::NotExist { .. }) if force => return Ok(()),
        other => other?,
    };
    remove(context, &entry, force)
}

/// Removes a container that must go since something about it failed.
pub(super) fn destroy(context: &Context<'_>, id: &str) -> Result<(), Error> {
    delete(context, id, true)
}

/// The same for an entry that is open.
pub(super) fn remove(context: &Context<'_>, entry: &Entry, force: bool) -> Result<(), Error> {
    if force {
        hurry(entry);
    }
    let _lock = match entry.lock() {
        Err(StateError::NotExist { .. }) if force => return Ok(()),
        other => other?,
    };
    let record = match entry.read() {
        // Its creator was killed before it made anything else.
        Err(StateError::HalfMade { .. }) if force => return Ok(entry.remove()?),
        Err(error @ StateError::Damaged { .. }) if force => {
            (context.warn)(&format!(
                "{}; only the state directory can be removed",
                crate::reason::chain(&error)
            ));
            return Ok(entry.remove()?);
        }
        other => other?,
    };
    status_of(entry, &record)?
        .allows(Verb::Delete { force }, entry.id())
        .map_err(refuse(entry.id()))?;
    let cgroup = Cgroup::open(&record.placement);
    if record.init.is_some() || entry.has_config()? {
        end_processes(&record)?;
        cgroup.kill_and_wait()?;
        cgroup.remove()?;
        if let Some(placement) = &record.rdt {
            rdt::remove(placement)?;
        }
    } else if cgroup.is_empty()? {
        // Whether its creator got as far as making the cgroup is not known; with processes in it, it is
        // another container's.
        cgroup.remove()?;
    }
    // The hooks see a container that is gone; nothing they do may leave its directory behind.
    poststop(context, &record);
    Ok(entry.remove()?)
}

/// Where another command holds the container, ends what that may be waiting for: the first process, of which a dump may
/// hang, and what is in the cgroup, such as CRIU that hangs in a restore. The command then fails and lets go.
///
/// Needs no lock: the container is to go, whatever the other does with it. What fails here shows when we have the lock.
fn hurry(entry: &Entry) {
    if !matches!(entry.try_lock(), Ok(None)) {
        return;
    }
    let Ok(record) = entry.read() else { return };
    if let Ok(Some(pidfd)) = init_pidfd(&record) {
        let _ = rustix::process::pidfd_send_signal(&pidfd, Signal::KILL);
    }
    if record.init.is_some() || entry.has_config().is_ok_and(|has| has) {
        let cgroup = Cgroup::open(&record.placement);
        let _ = cgroup.signal_all(libc::SIGKILL);
        // What the v1 freezer holds dies only when it is thawed.
        if cgroup.is_frozen().is_ok_and(|frozen| frozen) {
            let _ = cgroup.thaw();
        }
    }
}

/// Kills the first process and waits for its end.
fn end_processes(record: &Record) -> Result<(), Error> {
    let Some(pidfd) = init_pidfd(record)? else {
        return Ok(());
    };
    let failed = |source: rustix::io::Errno| Error::Process {
        id: record.id.clone(),
        action: "kill the first process",
        source: source.into(),
    };
    match rustix::process::pidfd_send_signal(&pidfd, Signal::KILL) {
        Ok(()) => {}
        Err(rustix::io::Errno::SRCH) => return Ok(()),
        Err(error) => return Err(failed(error)),
    }
    // A process frozen by the v1 freezer dies only when it is thawed.
    let cgroup = Cgroup::open(&record.placement);
    if cgroup.is_frozen()? {
        cgroup.thaw()?;
    }
    let patience = Timespec {
        tv_sec: KILL_SECONDS,
        tv_nsec: 0,
    };
    let mut fds = [PollFd::from_borrowed_fd(pidfd.as_fd(), PollFlags::IN)];
    if rustix::event::poll(&mut fds, Some(&patience)).map_err(failed)? == 0 {
        let pids = record.init.iter().map(|init| init.pid).collect();
        return Err(Error::Unkillable {
            id: record.id.clone(),
            pids,
        });
    }
    Ok(())
}

/// Runs the poststop hooks. As the runtime spec says, a failing one is a warning and the rest still run.
pub(super) fn poststop(context: &Context<'_>, record: &Record) {
    if record.poststop.is_empty() {
        return;
    }
    let state = HookState::new(record, Status::Stopped).to_json();
    let outputs = hook_outputs(record);
    if let Err(error) = &outputs {
        (context.warn)(&crate::reason::chain(error));
    }
    let setting = hooks::Setting {
        stage: "poststop",
        cwd: Some(&record.bundle),
        outputs: outputs.as_ref().ok(),
    };
    for error in hooks::run_all(&record.poststop, &state, setting) {
        (context.warn)(&crate::reason::chain(&error));
    }
}
