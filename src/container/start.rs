//! `start`: lets a created container's program run.

use super::stored::{permitted, refuse, store};
use super::{Context, Error, close_to_others, delete};
use crate::hooks;
use crate::process::gate::{self, Opened};
use crate::state::{HookState, Record, Refused, Status, Verb};

/// Opens the gate and waits until the program runs, or could not be run. Then runs the poststart hooks: a
/// failing one ends the container, as the runtime spec demands.
pub fn start(context: &Context<'_>, id: &str) -> Result<(), Error> {
    close_to_others()?;
    let entry = store(context).open(id)?;
    let record = {
        let _lock = entry.lock()?;
        let (record, _) = permitted(&entry, Verb::Start)?;
        let opened = gate::open(entry.dir()).map_err(|source| Error::Process {
            id: id.to_owned(),
            action: "open the start gate",
            source,
        })?;
        match opened {
            Opened::Started => record,
            Opened::Failed(reason) => return Err(Error::Start(reason)),
            Opened::NotWaiting => return Err(refuse(id)(Refused::StartStopped)),
        }
    };
    poststart(context, &record)
}

fn poststart(context: &Context<'_>, record: &Record) -> Result<(), Error> {
    if record.poststart.is_empty() {
        return Ok(());
    }
    let state = HookState::new(record, Status::Running).to_json();
    let result = hooks::run(&record.poststart, &state, "poststart", Some(&record.bundle));
    if let Err(error) = result {
        delete::destroy(context, &record.id)?;
        return Err(error.into());
    }
    Ok(())
}
