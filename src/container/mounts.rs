//! `mounts add` and `mounts remove`: what is mounted in a container that runs.

use std::path::{Path, PathBuf};

use super::stored::{init_pidfd, permitted, refuse, store};
use super::{Context, Error, begin};
use crate::bundle::read_part;
use crate::host::Host;
use crate::plan::LiveMounts;
use crate::plan::mounts::destination;
use crate::plan::namespaces::Kind;
use crate::process::{Change, Remount};
use crate::spec::{Spec, live_mounts};
use crate::state::{Entry, MAX_LIVE_MOUNTS, Record, Refused, Status, Verb};

/// Adds the mounts that a file lists, all of them or none. Relative sources are taken from the current directory.
pub fn add_mounts(context: &Context<'_>, id: &str, file: &Path) -> Result<(), Error> {
    begin(0)?;
    let bytes = read_part(file)?;
    let directory = std::env::current_dir().map_err(|source| Error::File {
        option: "mounts",
        path: file.to_owned(),
        action: "find the current directory",
        source,
    })?;
    let host = Host::probe(context.rootless);
    let entry = store(context).open(id)?;
    let _lock = entry.lock()?;
    let (record, _) = permitted(&entry, Verb::Mounts)?;
    // The copy kept at creation: the bundle's may have been changed since.
    let container = Spec::parse(&entry.read_config()?, &entry.path().join("config.json"))?;
    let spec = live_mounts::to_add(&bytes, file, &container)?;
    spec.warnings.iter().for_each(|warning| (context.warn)(warning));
    let plan = LiveMounts::new(&spec, &record.rootfs, &directory, &host)?;
    if record.live_mounts.len() + plan.rootfs.mounts.len() > MAX_LIVE_MOUNTS {
        return Err(Error::Usage(
            "cannot add mounts: with these the container would have more than 1024 that came to it while it ran",
        ));
    }
    change(&entry, record, &host, &Change::Add(&plan))
}

/// Removes what [`add_mounts`] has mounted last at the destinations that a file lists, one after the other.
pub fn remove_mounts(context: &Context<'_>, id: &str, file: &Path) -> Result<(), Error> {
    begin(0)?;
    let listed = live_mounts::to_remove(&read_part(file)?, file)?;
    let host = Host::probe(context.rootless);
    let entry = store(context).open(id)?;
    let _lock = entry.lock()?;
    let (record, _) = permitted(&entry, Verb::Mounts)?;
    let destinations = listed.iter().map(|path| destination(path, &record.rootfs));
    let destinations: Vec<PathBuf> = destinations.collect();
    change(&entry, record, &host, &Change::Remove(&destinations))
}

fn change(entry: &Entry, mut record: Record, host: &Host, change: &Change<'_>) -> Result<(), Error> {
    let stopped = || refuse(entry.id())(Refused::NotRunning(Status::Stopped));
    if !record.namespaces.contains(&Kind::Mount) {
        return Err(refuse(entry.id())(Refused::HostMounts("change the mounts of")));
    }
    let init = init_pidfd(&record)?.ok_or_else(stopped)?;
    let remount = Remount {
        init,
        pid: record.init.as_ref().ok_or_else(stopped)?.pid,
        namespaces: &record.namespaces,
        rootless: host.rootless(),
    };
    let mut live = record.live_mounts.clone();
    let done = remount.carry_out(change, &mut live);
    if live != record.live_mounts {
        record.live_mounts = live;
        entry.write(&record)?;
    }
    done.map_err(|source| Error::Mounts {
        id: entry.id().to_owned(),
        source: Box::new(source),
    })
}
