//! One directory of one cgroup tree: making it, writing its settings, listing and removing it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{CWD, Mode};

use crate::plan::cgroup::{IfAbsent, Setting};

use super::{CgroupError, file};

/// How long a directory may stay busy although nothing should be in it any more.
const BUSY_LIMIT: Duration = Duration::from_secs(5);

/// The container's cgroup in one tree.
#[derive(Debug)]
pub(super) struct Tree {
    /// See [`crate::plan::cgroup::Placement::paths`].
    pub controllers: Vec<String>,
    pub path: PathBuf,
    /// Opened when first needed.
    dir: Option<OwnedFd>,
    /// Whether it is a tree of cgroup v2.
    pub unified: bool,
}

impl Tree {
    pub(super) fn new(controllers: Vec<String>, path: PathBuf, unified: bool) -> Self {
        Self {
            controllers,
            path,
            dir: None,
            unified,
        }
    }

    pub(super) fn has(&self, controller: &str) -> bool {
        self.controllers.iter().any(|name| name == controller)
    }

    /// Makes the directory and parents that are missing, and notes each in `made`. Whether the directory
    /// itself is new.
    pub(super) fn make(&self, made: &mut Vec<PathBuf>) -> Result<bool, CgroupError> {
        make(&self.path, made)
    }

    pub(super) fn open(&mut self) -> Result<BorrowedFd<'_>, CgroupError> {
        if self.dir.is_none() {
            let dir = file::open_dir(&self.path).map_err(|source| self.error("open", source))?;
            self.dir = Some(dir);
        }
        self.dir()
    }

    /// The directory's descriptor, opened before.
    pub(super) fn dir(&self) -> Result<BorrowedFd<'_>, CgroupError> {
        match &self.dir {
            Some(dir) => Ok(dir.as_fd()),
            None => Err(self.error("open", io::Error::from(io::ErrorKind::NotFound))),
        }
    }

    pub(super) fn error(&self, action: &'static str, source: io::Error) -> CgroupError {
        CgroupError::Io {
            action,
            path: self.path.clone(),
            source,
        }
    }

    /// The error for one of the tree's files.
    pub(super) fn file_error(&self, action: &'static str, name: &str, source: io::Error) -> CgroupError {
        CgroupError::Io {
            action,
            path: self.path.join(name),
            source,
        }
    }

    pub(super) fn write(&self, setting: &Setting) -> Result<(), CgroupError> {
        let dir = self.dir()?;
        let result = match file::write(dir, &setting.file, &setting.value) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => match &setting.if_absent {
                IfAbsent::Skip => Ok(()),
                IfAbsent::Fail => Err(error),
                IfAbsent::Write { file, value } => {
                    return file::write(dir, file, value).map_err(|source| {
                        let other = Setting {
                            file: file.clone(),
                            value: value.clone(),
                            ..setting.clone()
                        };
                        self.setting_error(&other, source)
                    });
                }
            },
            result => result,
        };
        result.map_err(|source| self.setting_error(setting, source))
    }

    fn setting_error(&self, setting: &Setting, source: io::Error) -> CgroupError {
        let property = setting.property.clone();
        if source.kind() != io::ErrorKind::NotFound {
            let file = self.path.join(&setting.file);
            return CgroupError::Setting {
                property,
                value: setting.value.clone(),
                file,
                source,
            };
        }
        let controller = setting.file.split('.').next().unwrap_or_default().to_owned();
        let available = !self.unified || self.offers(&controller);
        if available {
            CgroupError::NoFile {
                property,
                file: self.path.join(&setting.file),
            }
        } else {
            CgroupError::NoController { property, controller }
        }
    }

    /// Whether a directory of v2 has the controller; only to explain an error.
    fn offers(&self, controller: &str) -> bool {
        self.dir()
            .ok()
            .and_then(|dir| file::read(dir, "cgroup.controllers").ok())
            .is_some_and(|list| list.split_whitespace().any(|name| name == controller))
    }

    /// Whether a process is in it or below. A directory that is gone is empty.
    pub(super) fn is_empty(&self) -> Result<bool, CgroupError> {
        if !self.unified {
            return Ok(self.processes()?.is_empty());
        }
        match open_read_at(&self.path, "cgroup.events") {
            Ok(events) => Ok(file::keyed(&events, "populated") == Some(0)),
            Err(error) if is_gone(&error) => Ok(true),
            Err(source) => Err(self.file_error("read", "cgroup.events", source)),
        }
    }

    /// The processes in it and below; none where it is gone.
    pub(super) fn processes(&self) -> Result<Vec<i32>, CgroupError> {
        let mut pids = Vec::new();
        collect(&self.path, &mut pids)?;
        Ok(pids)
    }

    /// Removes it with all below it. Missing is fine.
    pub(super) fn remove(&self) -> Result<(), CgroupError> {
        match rmdir(&self.path) {
            Ok(()) => Ok(()),
            Err(error) if is_busy(&error) => {
                for child in children(&self.path)? {
                    Self::new(self.controllers.clone(), child, self.unified).remove()?;
                }
                self.remove_when_empty()
            }
            Err(source) => Err(self.error("remove", source)),
        }
    }

    /// A process that has just died still counts for a moment. v2 tells when it is gone; v1 does not, so
    /// there we look again, soon at first.
    fn remove_when_empty(&self) -> Result<(), CgroupError> {
        if self.unified {
            let dir = match file::open_dir(&self.path) {
                Err(error) if is_gone(&error) => return Ok(()),
                dir => dir.map_err(|source| self.error("open", source))?,
            };
            match file::wait_event(dir.as_fd(), "populated", 0, BUSY_LIMIT) {
                Ok(true) => {}
                Ok(false) => return Err(self.still_populated()),
                Err(error) if is_gone(&error) => return Ok(()),
                Err(source) => return Err(self.file_error("wait for", "cgroup.events", source)),
            }
        }
        let mut pauses = Pauses::new(BUSY_LIMIT);
        loop {
            match rmdir(&self.path) {
                Ok(()) => return Ok(()),
                Err(error) if !is_busy(&error) => return Err(self.error("remove", error)),
                Err(_) if !pauses.pause() => return Err(self.still_populated()),
                Err(_) => {}
            }
        }
    }

    fn still_populated(&self) -> CgroupError {
        // Only for the message: what cannot be listed counts as unknown, not as a second error.
        let processes = self.processes().unwrap_or_default();
        CgroupError::Populated {
            path: self.path.clone(),
            processes,
        }
    }
}

/// Pauses between looking and looking again, short at first.
pub(super) struct Pauses {
    next: Duration,
    /// What is left of all of them.
    left: Duration,
}

impl Pauses {
    pub(super) fn new(limit: Duration) -> Self {
        Self {
            next: Duration::from_micros(50),
            left: limit,
        }
    }

    /// Sleeps; `false` where the limit is reached, which is no time to sleep.
    pub(super) fn pause(&mut self) -> bool {
        if self.left.is_zero() {
            return false;
        }
        std::thread::sleep(self.next);
        self.left = self.left.saturating_sub(self.next);
        self.next = (self.next * 2).min(Duration::from_millis(50));
        true
    }
}

/// Makes a directory and the parents that are missing; notes what it made, parents first. `false` where the
/// directory was there.
pub(super) fn make(path: &Path, made: &mut Vec<PathBuf>) -> Result<bool, CgroupError> {
    let error = |source: io::Error| CgroupError::Io {
        action: "create",
        path: path.to_owned(),
        source,
    };
    loop {
        match rustix::fs::mkdirat(CWD, path, Mode::from_raw_mode(0o755)) {
            Ok(()) => {
                made.push(path.to_owned());
                return Ok(true);
            }
            Err(rustix::io::Errno::EXIST) => return Ok(false),
            Err(rustix::io::Errno::NOENT) => match path.parent() {
                // Another container's removal may take the parent away again: then it is made again.
                Some(parent) => make(parent, made)?,
                None => return Err(error(io::Error::from(io::ErrorKind::NotFound))),
            },
            Err(errno) => return Err(error(errno.into())),
        };
    }
}

/// rmdir(2), where missing is done.
pub(super) fn rmdir(path: &Path) -> io::Result<()> {
    loop {
        match rustix::fs::rmdir(path) {
            Ok(()) | Err(rustix::io::Errno::NOENT) => return Ok(()),
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

fn is_busy(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EBUSY | libc::ENOTEMPTY))
}

/// A cgroup that was removed: not found, or ENODEV for files opened before.
pub(super) fn is_gone(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENODEV))
}

fn open_read_at(dir: &Path, name: &str) -> io::Result<String> {
    std::fs::read_to_string(dir.join(name))
}

fn collect(path: &Path, pids: &mut Vec<i32>) -> Result<(), CgroupError> {
    let text = match open_read_at(path, "cgroup.procs") {
        // A threaded cgroup of v2 lists only its threads.
        Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => open_read_at(path, "cgroup.threads"),
        result => result,
    };
    match text {
        Ok(text) => pids.extend(text.lines().filter_map(|line| line.parse::<i32>().ok())),
        Err(error) if is_gone(&error) => return Ok(()),
        Err(source) => {
            return Err(CgroupError::Io {
                action: "read",
                path: path.join("cgroup.procs"),
                source,
            });
        }
    }
    for child in children(path)? {
        collect(&child, pids)?;
    }
    Ok(())
}

/// The cgroups right below. Most have none, which the link count tells without listing a hundred files.
fn children(path: &Path) -> Result<Vec<PathBuf>, CgroupError> {
    let error = |source: io::Error| CgroupError::Io {
        action: "list",
        path: path.to_owned(),
        source,
    };
    match rustix::fs::stat(path) {
        Ok(stat) if stat.st_nlink <= 2 => return Ok(Vec::new()),
        Ok(_) => {}
        Err(rustix::io::Errno::NOENT) => return Ok(Vec::new()),
        Err(errno) => return Err(error(errno.into())),
    }
    let mut children = Vec::new();
    for entry in std::fs::read_dir(path).map_err(error)? {
        let entry = entry.map_err(error)?;
        if entry.file_type().map_err(error)?.is_dir() {
            children.push(entry.path());
        }
    }
    Ok(children)
}
