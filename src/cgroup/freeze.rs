//! Stopping all processes of a cgroup where they are, and letting them go on.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use super::tree::{Tree, is_gone};
use super::{CgroupError, file};

/// How long the kernel may take; a process in an uninterruptible wait holds it up.
const FREEZE_LIMIT: Duration = Duration::from_secs(10);
/// v1 loses the race against new processes now and then and must be asked again (runc has found these
/// numbers by trial): look often, and every so often thaw, pause and start anew.
const V1_ROUNDS: u32 = 1000;
const V1_ROUNDS_PER_TRY: u32 = 50;

pub(super) fn freeze(tree: &Tree) -> Result<(), CgroupError> {
    let dir = open(tree)?;
    let frozen = if tree.unified {
        freeze_v2(tree, dir.as_fd())
    } else {
        freeze_v1(tree, dir.as_fd())
    };
    if frozen.is_err() {
        // Neither frozen nor running would be worst; the first error is the one to report.
        let _ = thaw(tree);
    }
    frozen
}

fn freeze_v2(tree: &Tree, dir: BorrowedFd<'_>) -> Result<(), CgroupError> {
    file::write(dir, "cgroup.freeze", "1")
        .map_err(|source| tree.file_error("write", "cgroup.freeze", source))?;
    let done = file::wait_event(dir, "frozen", 1, FREEZE_LIMIT)
        .map_err(|source| tree.file_error("wait for", "cgroup.events", source))?;
    if done {
        Ok(())
    } else {
        Err(CgroupError::NotFrozen {
            path: tree.path.clone(),
        })
    }
}

fn freeze_v1(tree: &Tree, dir: BorrowedFd<'_>) -> Result<(), CgroupError> {
    let error = |action| move |source| tree.file_error(action, "freezer.state", source);
    for round in 1..=V1_ROUNDS {
        if round % V1_ROUNDS_PER_TRY == 0 {
            file::write(dir, "freezer.state", "THAWED").map_err(error("write"))?;
            std::thread::sleep(Duration::from_millis(10));
        }
        file::write(dir, "freezer.state", "FROZEN").map_err(error("write"))?;
        match file::read(dir, "freezer.state").map_err(error("read"))?.trim() {
            "FROZEN" => return Ok(()),
            "FREEZING" => std::thread::sleep(Duration::from_micros(10)),
            _ => {
                return Err(CgroupError::NotFrozen {
                    path: tree.path.clone(),
                });
            }
        }
    }
    Err(CgroupError::NotFrozen {
        path: tree.path.clone(),
    })
}

/// A cgroup that is gone has nothing to thaw.
pub(super) fn thaw(tree: &Tree) -> Result<(), CgroupError> {
    let (name, value) = if tree.unified {
        ("cgroup.freeze", "0")
    } else {
        ("freezer.state", "THAWED")
    };
    let written = file::open_dir(&tree.path).and_then(|dir| file::write(dir.as_fd(), name, value));
    match written {
        Err(error) if is_gone(&error) => Ok(()),
        result => result.map_err(|source| tree.file_error("write", name, source)),
    }
}

/// Whether it was asked to be frozen itself, and not only below something frozen. A cgroup that is gone is
/// not.
pub(super) fn is_frozen(tree: &Tree) -> Result<bool, CgroupError> {
    let name = if tree.unified {
        "cgroup.freeze"
    } else {
        "freezer.self_freezing"
    };
    match std::fs::read_to_string(tree.path.join(name)) {
        Ok(text) => Ok(text.trim() == "1"),
        Err(error) if is_gone(&error) => Ok(false),
        Err(source) => Err(tree.file_error("read", name, source)),
    }
}

fn open(tree: &Tree) -> Result<std::os::fd::OwnedFd, CgroupError> {
    file::open_dir(&tree.path).map_err(|source: io::Error| tree.error("open", source))
}
