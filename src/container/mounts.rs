//! `mounts add` and `mounts remove`: what is mounted in a container that runs.

use std::path::Path;

use super::stored::{init_pidfd, permitted, refuse, store};
use super::{Context, Error, begin};
use crate::host::Host;
use crate::plan::LiveMounts;
use crate::process::{Change, Remount};
use crate::spec::{Spec, live_mounts};
use crate::state::{Entry, Refused, Status, Verb};

/// Adds the mounts that a file lists, all of them or none. Relative sources are taken from the current directory.
pub fn add_mounts(context: &Context<'_>, id: &str, file: &Path) -> Result<(), Error> {
    begin(0)?;
    let bytes = read(file)?;
    let directory = std::env::current_dir().map_err(failed(file, "find the current directory"))?;
    let host = Host::probe(context.rootless);
    let entry = store(context).open(id)?;
    let _lock = entry.lock()?;
    let (record, _) = permitted(&entry, Verb::Mounts)?;
    // The copy kept at creation: the bundle's may have been changed since.
    let container = Spec::parse(&entry.read_config()?, &entry.path().join("config.json"))?;
    let spec = live_mounts::to_add(&bytes, file, &container)?;
    spec.warnings.iter().for_each(|warning| (context.warn)(warning));
    let plan = LiveMounts::new(&spec, &record.rootfs, &directory, &host)?;
    change(&entry, &host, &Change::Add(&plan))
}

/// Removes what is mounted at the destinations that a file lists, one after the other.
pub fn remove_mounts(context: &Context<'_>, id: &str, file: &Path) -> Result<(), Error> {
    begin(0)?;
    let destinations = live_mounts::to_remove(&read(file)?, file)?;
    let host = Host::probe(context.rootless);
    let entry = store(context).open(id)?;
    let _lock = entry.lock()?;
    permitted(&entry, Verb::Mounts)?;
    change(&entry, &host, &Change::Remove(&destinations))
}

fn change(entry: &Entry, host: &Host, change: &Change<'_>) -> Result<(), Error> {
    let record = entry.read()?;
    let stopped = || refuse(entry.id())(Refused::NotRunning(Status::Stopped));
    let init = init_pidfd(&record)?.ok_or_else(stopped)?;
    let remount = Remount {
        init,
        pid: record.init.ok_or_else(stopped)?.pid,
        namespaces: &record.namespaces,
        rootless: host.rootless(),
    };
    remount.carry_out(change).map_err(|source| Error::Mounts {
        id: entry.id().to_owned(),
        source,
    })
}

fn read(file: &Path) -> Result<Vec<u8>, Error> {
    std::fs::read(file).map_err(failed(file, "read it"))
}

fn failed(file: &Path, action: &'static str) -> impl FnOnce(std::io::Error) -> Error {
    let path = file.to_owned();
    move |source| Error::File {
        option: "mounts",
        path,
        action,
        source,
    }
}
