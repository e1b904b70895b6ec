//! Being told when the kernel kills for want of memory.
//!
//! v1 writes into an eventfd that was registered for `memory.oom_control` (cgroup-v1/memory.rst, "Event
//! control"). On v2 poll(2) reports a change of `memory.events`, where there is also a count.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use rustix::event::{EventfdFlags, PollFlags, eventfd};
use rustix::io::Errno;

use crate::plan::cgroup::CgroupMode;

use super::tree::Tree;
use super::{Cgroup, CgroupError, file};

/// A watch over one cgroup and those below.
#[derive(Debug)]
pub struct OomWatch(Kind);

/// What became of a cgroup since it was last asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notice {
    Nothing,
    /// The kernel has killed a process in it.
    Killed,
    /// It was removed: nothing more will be told, and polling would not wait any more.
    Gone,
}

#[derive(Debug)]
enum Kind {
    V1 { notices: OwnedFd, control: PathBuf },
    V2 { events: OwnedFd, seen: u64 },
}

impl Cgroup {
    /// Begins to watch. `None` where the container has no memory controller, and so no limit to hit.
    ///
    /// # Errors
    /// A kernel that cannot tell, or a cgroup that is gone.
    pub fn watch_oom(&self) -> Result<Option<OomWatch>, CgroupError> {
        let (tree, name) = match self.mode {
            CgroupMode::V1 => (self.tree("memory"), "memory.oom_control"),
            CgroupMode::V2 => (self.tree(""), "memory.events"),
        };
        let Some(tree) = tree.filter(|tree| tree.path.join(name).exists()) else {
            return Ok(None);
        };
        let watch = match self.mode {
            CgroupMode::V1 => watch_v1(tree, name)?,
            CgroupMode::V2 => watch_v2(tree, name)?,
        };
        Ok(Some(OomWatch(watch)))
    }
}

fn watch_v1(tree: &Tree, name: &str) -> Result<Kind, CgroupError> {
    let dir = file::open_dir(&tree.path).map_err(|source| tree.error("open", source))?;
    let control =
        file::open_read(dir.as_fd(), name).map_err(|source| tree.file_error("open", name, source))?;
    let notices = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
        .map_err(|errno| tree.file_error("watch", name, errno.into()))?;
    // The kernel takes hold of both files; ours of the control file may go.
    let line = format!("{} {}", notices.as_raw_fd(), control.as_raw_fd());
    file::write(dir.as_fd(), "cgroup.event_control", &line)
        .map_err(|source| tree.file_error("write", "cgroup.event_control", source))?;
    Ok(Kind::V1 {
        notices,
        control: tree.path.join(name),
    })
}

fn watch_v2(tree: &Tree, name: &str) -> Result<Kind, CgroupError> {
    let opened = file::open_dir(&tree.path).and_then(|dir| {
        let events = file::open_read(dir.as_fd(), name)?;
        // The read also takes note of the state that the first poll compares with.
        let seen = kills(&file::read_from(events.as_fd())?);
        Ok(Kind::V2 { events, seen })
    });
    opened.map_err(|source| tree.file_error("watch", name, source))
}

fn kills(events: &str) -> u64 {
    file::keyed(events, "oom_kill").unwrap_or(0)
}

impl OomWatch {
    /// What to poll, and for what.
    pub fn poll(&self) -> (BorrowedFd<'_>, PollFlags) {
        match &self.0 {
            Kind::V1 { notices, .. } => (notices.as_fd(), PollFlags::IN),
            Kind::V2 { events, .. } => (events.as_fd(), PollFlags::PRI),
        }
    }

    /// What has happened since this was last asked. Does not wait.
    pub fn take(&mut self) -> Notice {
        match &mut self.0 {
            Kind::V1 { notices, control } => loop {
                match rustix::io::read(&*notices, &mut [0; 8]) {
                    Ok(_) if control.exists() => return Notice::Killed,
                    // The removal of the cgroup is written into the eventfd as well.
                    Ok(_) => return Notice::Gone,
                    Err(Errno::INTR) => {}
                    Err(_) => return Notice::Nothing,
                }
            },
            Kind::V2 { events, seen } => {
                // ENODEV: the directory was removed.
                let Ok(text) = file::read_from(events.as_fd()) else {
                    return Notice::Gone;
                };
                let before = std::mem::replace(seen, kills(&text));
                if *seen > before {
                    Notice::Killed
                } else {
                    Notice::Nothing
                }
            }
        }
    }
}
