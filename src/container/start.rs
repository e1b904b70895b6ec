//! `start`: lets a created container's program run.

use std::os::fd::AsFd;

use super::notify::Notify;
use super::stored::{hook_outputs, init_pidfd, permitted, refuse, store};
use super::{Context, Error, close_to_others, delete};
use crate::hooks;
use crate::process::gate::{self, Opened};
use crate::state::{HookState, Record, Refused, Status, Verb};

/// Opens the gate and waits until the program runs, or could not be run. Then runs the poststart hooks: a
/// failing one ends the container, as the runtime spec demands. Where a service manager waits for word from the
/// container, waits for that too.
pub fn start(context: &Context<'_>, id: &str) -> Result<(), Error> {
    if let Some(notify) = begin(context, id)? {
        let record = store(context).open(id)?.read()?;
        forward(context, &record, &notify);
    }
    Ok(())
}

/// The same without the last; what it gives is for that.
pub(super) fn begin(context: &Context<'_>, id: &str) -> Result<Option<Notify>, Error> {
    close_to_others()?;
    let entry = store(context).open(id)?;
    let failed = |action| {
        let id = id.to_owned();
        move |source| Error::Process { id, action, source }
    };
    let (record, notify) = {
        let _lock = entry.lock()?;
        let (record, _) = permitted(&entry, Verb::Start)?;
        // Before the program can look for it.
        let notify = context.notify_socket.as_ref().and_then(|manager| {
            Notify::listen(&entry, manager).unwrap_or_else(|error| {
                // As with runc: the container is worth more than word of it.
                (context.warn)(&format!(
                    "NOTIFY_SOCKET {}: cannot be used: {error}",
                    manager.display()
                ));
                None
            })
        });
        let opened = gate::open(entry.dir()).map_err(failed("open the start gate"))?;
        match opened {
            Opened::Started => (record, notify),
            Opened::Failed(reason) => return Err(Error::Start(reason)),
            Opened::NotWaiting => return Err(refuse(id)(Refused::StartStopped)),
        }
    };
    poststart(context, &record)?;
    Ok(notify)
}

/// What cannot be passed on is a warning: the container runs.
fn forward(context: &Context<'_>, record: &Record, notify: &Notify) {
    let (Ok(Some(init)), Some(identity)) = (init_pidfd(record), record.init) else {
        return;
    };
    match notify.forward(init.as_fd(), identity.pid) {
        Ok(true) => {}
        Ok(false) => (context.warn)("NOTIFY_SOCKET: the service manager has not read our word within 30 s"),
        Err(error) => (context.warn)(&format!(
            "NOTIFY_SOCKET: cannot pass the container's word on: {error}"
        )),
    }
}

fn poststart(context: &Context<'_>, record: &Record) -> Result<(), Error> {
    if record.poststart.is_empty() {
        return Ok(());
    }
    let state = HookState::new(record, Status::Running).to_json();
    let result = hook_outputs(record).and_then(|outputs| {
        let setting = hooks::Setting {
            stage: "poststart",
            cwd: Some(&record.bundle),
            outputs: Some(&outputs),
        };
        Ok(hooks::run(&record.poststart, &state, setting)?)
    });
    if let Err(error) = result {
        delete::destroy(context, &record.id)?;
        return Err(error);
    }
    Ok(())
}
