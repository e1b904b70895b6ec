//! Finding a container and its status: `state`, `list`, and what every other verb begins with.

use std::io;
use std::os::fd::OwnedFd;

use super::{Context, Error};
use crate::cgroup::Cgroup;
use crate::hooks::Outputs;
use crate::plan::{HookOutput, PlanError};
use crate::process::gate;
use crate::state::{Entry, OciState, Record, Refused, StateError, Status, Store, Verb};

/// A container as it was when one looked.
#[derive(Debug)]
pub struct Observed {
    pub record: Record,
    pub status: Status,
    /// Who owns it.
    pub uid: u32,
}

impl Observed {
    /// As `state` and `list` show it.
    pub fn oci(&self, owner: String) -> OciState<'_> {
        OciState::new(&self.record, self.status, owner)
    }
}

pub(super) fn store(context: &Context<'_>) -> Store {
    Store::new(&context.root)
}

/// Looks at one entry.
pub(super) fn observe(entry: &Entry) -> Result<(Record, Status), Error> {
    let record = entry.read()?;
    let status = status_of(entry, &record)?;
    Ok((record, status))
}

pub(super) fn status_of(entry: &Entry, record: &Record) -> Result<Status, Error> {
    let process = |action| {
        let id = entry.id().to_owned();
        move |source: io::Error| Error::Process { id, action, source }
    };
    Status::observe(
        record,
        |init| init.alive().map_err(process("look for the first process")),
        || Ok(Cgroup::open(&record.placement).is_frozen()?),
        || gate::is_waiting(entry.dir()).map_err(process("look at the start gate")),
    )
}

/// Looks at one entry and asks whether `verb` may be done.
pub(super) fn permitted(entry: &Entry, verb: Verb) -> Result<(Record, Status), Error> {
    let (record, status) = observe(entry)?;
    status.allows(verb, entry.id()).map_err(refuse(entry.id()))?;
    Ok((record, status))
}

/// Names the container in a refusal.
pub(super) fn refuse(id: &str) -> impl FnOnce(Refused) -> Error {
    let id = id.to_owned();
    move |source| match source {
        Refused::Delete { .. } | Refused::Events { .. } => Error::RefusedByName(source),
        _ => Error::Refused { id, source },
    }
}

/// The pidfd of the container's first process, if that is alive and the very same.
pub(super) fn init_pidfd(record: &Record) -> Result<Option<OwnedFd>, Error> {
    match &record.init {
        None => Ok(None),
        Some(init) => init.open_pidfd().map_err(|source| Error::Process {
            id: record.id.clone(),
            action: "open the first process",
            source,
        }),
    }
}

/// Where the container's hooks write.
pub(super) fn hook_outputs(record: &Record) -> Result<Outputs, Error> {
    let wanted = HookOutput::parse(&record.annotations).map_err(PlanError::from)?;
    Ok(Outputs::open(&wanted)?)
}

/// The state of one container.
pub fn state(context: &Context<'_>, id: &str) -> Result<Observed, Error> {
    let entry = store(context).open(id)?;
    let (record, status) = observe(&entry)?;
    Ok(Observed {
        record,
        status,
        uid: entry.owner()?,
    })
}

/// The state of all containers, by id. One that goes away or is damaged meanwhile does not hide the others.
pub fn list(context: &Context<'_>) -> Result<Vec<Observed>, Error> {
    let mut all = Vec::new();
    for id in store(context).list()? {
        match state(context, &id) {
            Ok(observed) => all.push(observed),
            Err(Error::State(StateError::NotExist { .. })) => {}
            Err(error) => (context.warn)(&format!("container {id}: {}", crate::reason::chain(&error))),
        }
    }
    Ok(all)
}
