//! The file of a configuration: read, replaced at once, its backup. Must not know what is in it.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::FlockOperation;

use super::{InstallError, diff};

/// A configuration larger than this, in bytes, is none.
const LARGEST: u64 = 4 << 20;
/// How many old backups are kept at most under names of their own.
const BACKUPS: u32 = 100;
/// How long another of us is waited for. Whoever can open the directory can lock it, too, and may never let go.
const PATIENCE: Duration = Duration::from_secs(10);

/// The modes of what is made where nothing was.
const NEW_FILE: u32 = 0o644;
const NEW_DIRECTORY: u32 = 0o755;

/// What becomes of what was in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keep {
    /// It is the backup; another one that is there gets a name with a number.
    Always,
    /// It is the backup if there is none: the file knows us, and an older backup is from before that.
    Unless,
    /// It was ours alone, made where there was no file.
    Never,
}

/// A configuration's file, which need not exist.
pub(super) struct Target {
    /// Without symbolic links, so that one is not replaced by a file.
    path: PathBuf,
    /// Whether a symbolic link leads to it, which would lead nowhere without it.
    linked: bool,
    /// Held while we change something: of two of us the second sees what the first has done.
    _lock: Option<File>,
}

impl Target {
    /// The file at `path`, also at the end of symbolic links. To change it, its directory is made and locked.
    pub(super) fn open(path: &Path, change: bool) -> Result<Self, InstallError> {
        let absolute = std::path::absolute(path).map_err(failed(path, "name it"))?;
        let linked = absolute.is_symlink();
        let path = match fs::canonicalize(&absolute) {
            Ok(path) => path,
            Err(error) if error.kind() == ErrorKind::NotFound && absolute.symlink_metadata().is_err() => {
                absolute
            }
            Err(error) => return Err(failed(&absolute, "open it")(error)),
        };
        let lock = if change {
            Some(lock(directory(&path)?)?)
        } else {
            None
        };
        Ok(Self {
            path,
            linked,
            _lock: lock,
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) const fn linked(&self) -> bool {
        self.linked
    }

    /// What is in the file; `None` where there is none.
    pub(super) fn read(&self) -> Result<Option<String>, InstallError> {
        read(&self.path)
    }

    /// What was in it before us.
    pub(super) fn backup(&self) -> Result<Option<String>, InstallError> {
        read(&self.backup_path())
    }

    pub(super) fn backup_path(&self) -> PathBuf {
        self.beside("", ".wrun-backup")
    }

    /// The change from one content to another, each `None` where there is no file.
    pub(super) fn diff(&self, from: Option<&str>, to: Option<&str>) -> String {
        let path = self.path.to_string_lossy();
        let name = |text: Option<&str>| if text.is_some() { &*path } else { "/dev/null" };
        diff::unified(
            from.unwrap_or_default(),
            to.unwrap_or_default(),
            name(from),
            name(to),
        )
    }

    /// Replaces what is in it, `before`, and keeps that as `keep` says. `check` sees the new file before it takes its
    /// place, and tells what is wrong with it. What there is to tell of the backup.
    pub(super) fn replace(
        &self,
        before: Option<&str>,
        text: &str,
        keep: Keep,
        check: impl FnOnce(&Path) -> Result<(), String>,
    ) -> Result<Vec<String>, InstallError> {
        let mut notes = Vec::new();
        let new = self.prepare(text)?;
        check(&new.path).map_err(|reason| self.content(reason))?;
        let backup = self.backup()?;
        let kept = match keep {
            // The same content: of an installation that was killed.
            Keep::Always => before == backup.as_deref(),
            Keep::Unless => backup.is_some(),
            Keep::Never => true,
        };
        if !kept && backup.is_some() {
            notes.push(self.put_aside()?);
        }
        let made = !kept && before.is_some();
        if made {
            self.keep()?;
        }
        if let Err(error) = self.take_place(new, before) {
            if made {
                let _ = fs::remove_file(self.backup_path()); // The error of renaming is the one to tell.
            }
            return Err(error);
        }
        if made {
            notes.push(format!("What it was is in {}.", self.backup_path().display()));
        }
        Ok(notes)
    }

    /// Replaces what is in it, `before`, and keeps nothing.
    pub(super) fn write(&self, before: &str, text: &str) -> Result<(), InstallError> {
        self.take_place(self.prepare(text)?, Some(before))
    }

    /// Brings back the backup, or that there was no file, in the place of `before`.
    pub(super) fn restore(&self, before: &str, backup: bool) -> Result<(), InstallError> {
        self.unchanged(Some(before))?;
        if backup {
            fs::rename(self.backup_path(), &self.path)
                .map_err(failed(&self.path, "bring its backup back"))?;
        } else {
            fs::remove_file(&self.path).map_err(failed(&self.path, "remove it"))?;
        }
        self.sync()
    }

    /// Others know nothing of our lock: what an editor has written since we have read it must not be lost.
    fn unchanged(&self, before: Option<&str>) -> Result<(), InstallError> {
        match self.read()?.as_deref() == before {
            true => Ok(()),
            false => Err(self.content("somebody else changes it at this moment".to_owned())),
        }
    }

    fn take_place(&self, mut new: New, before: Option<&str>) -> Result<(), InstallError> {
        self.unchanged(before)?;
        fs::rename(&new.path, &self.path).map_err(failed(&self.path, "replace it"))?;
        new.done = true;
        self.sync()
    }

    fn content(&self, reason: String) -> InstallError {
        InstallError::Content {
            path: self.path.clone(),
            reason,
        }
    }

    pub(super) fn remove_backup(&self) -> Result<(), InstallError> {
        let path = self.backup_path();
        fs::remove_file(&path).map_err(failed(&path, "remove it"))
    }

    /// Writes the new content beside the file, with its owner and mode, to take its place.
    fn prepare(&self, text: &str) -> Result<New, InstallError> {
        let path = self.beside(".", ".wrun-new");
        // Left by one of us that was killed: the lock is ours.
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(failed(&path, "remove it")(error));
            }
            _ => {}
        }
        let new = New { path, done: false };
        self.write_new(&new.path, text)
            .map_err(failed(&new.path, "write it"))?;
        Ok(new)
    }

    /// Nobody else can open it before it has its owner and mode: what was secret stays so.
    fn write_new(&self, path: &Path, text: &str) -> std::io::Result<()> {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)?;
        file.write_all(text.as_bytes())?;
        let mode = match fs::metadata(&self.path) {
            Ok(old) => {
                let new = file.metadata()?;
                if (old.uid(), old.gid()) != (new.uid(), new.gid()) {
                    std::os::unix::fs::fchown(&file, Some(old.uid()), Some(old.gid()))?;
                }
                old.mode() & 0o7777
            }
            Err(error) if error.kind() == ErrorKind::NotFound => NEW_FILE,
            Err(error) => return Err(error),
        };
        file.set_permissions(fs::Permissions::from_mode(mode))?;
        file.sync_all()
    }

    /// Gives the file its second name; what has no links, such as FAT, gets a copy.
    fn keep(&self) -> Result<(), InstallError> {
        let backup = self.backup_path();
        match fs::hard_link(&self.path, &backup) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Err(failed(&backup, "make it")(error)),
            Err(_) => fs::copy(&self.path, &backup)
                .map(drop)
                .map_err(failed(&backup, "make it")),
        }
    }

    /// Gives a backup of other content a name with a number, and says so.
    fn put_aside(&self) -> Result<String, InstallError> {
        let backup = self.backup_path();
        for number in 1..=BACKUPS {
            let name = self.beside("", &format!(".wrun-backup.{number}"));
            match fs::hard_link(&backup, &name) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(failed(&name, "make it")(error)),
                Ok(()) => {
                    self.remove_backup()?;
                    return Ok(format!("An older backup is now {}.", name.display()));
                }
            }
        }
        let error = std::io::Error::from(ErrorKind::AlreadyExists);
        Err(failed(&backup, "keep one more old backup; remove some")(error))
    }

    /// A name in the file's directory.
    fn beside(&self, before: &str, after: &str) -> PathBuf {
        let mut name = std::ffi::OsString::from(before);
        name.push(self.path.file_name().unwrap_or_default());
        name.push(after);
        self.path.with_file_name(name)
    }

    /// Makes sure that the names are on the disk.
    fn sync(&self) -> Result<(), InstallError> {
        let directory = self.path.parent().unwrap_or(Path::new("/"));
        let synced = File::open(directory).and_then(|directory| directory.sync_all());
        synced.map_err(failed(directory, "write it to the disk"))
    }
}

/// A file that is to take the place of another; until then it goes when it is dropped.
struct New {
    path: PathBuf,
    /// It has another name now.
    done: bool,
}

impl Drop for New {
    fn drop(&mut self) {
        if !self.done {
            let _ = fs::remove_file(&self.path); // What went wrong before is what will be told.
        }
    }
}

/// The directory of `path`, made where it is missing.
fn directory(path: &Path) -> Result<&Path, InstallError> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    make(directory).map_err(failed(directory, "make the directory"))?;
    Ok(directory)
}

/// Makes a directory and those on the way to it; all may look in, whatever the caller's umask: Podman reads root's
/// configuration as any user, and fails where it may not.
fn make(directory: &Path) -> std::io::Result<()> {
    if directory.is_dir() {
        return Ok(());
    }
    if let Some(parent) = directory.parent() {
        make(parent)?;
    }
    match DirBuilder::new().mode(NEW_DIRECTORY).create(directory) {
        Ok(()) => fs::set_permissions(directory, fs::Permissions::from_mode(NEW_DIRECTORY)),
        // Another of us was faster.
        Err(_) if directory.is_dir() => Ok(()),
        Err(error) => Err(error),
    }
}

/// Waits until nobody else of us changes a file of the directory, but not for ever.
fn lock(directory: &Path) -> Result<File, InstallError> {
    let file = File::open(directory).map_err(failed(directory, "open it"))?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(file),
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::WOULDBLOCK) if Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(20));
            }
            Err(rustix::io::Errno::WOULDBLOCK) => {
                return Err(failed(
                    directory,
                    "lock it: another process holds it with flock(2)",
                )(ErrorKind::TimedOut.into()));
            }
            Err(error) => return Err(failed(directory, "lock it")(error.into())),
        }
    }
}

fn read(path: &Path) -> Result<Option<String>, InstallError> {
    let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(path, "read it")(error)),
    };
    let metadata = file.metadata().map_err(failed(path, "read it"))?;
    let content = |reason: &str| InstallError::Content {
        path: path.to_owned(),
        reason: reason.to_owned(),
    };
    if !metadata.is_file() || metadata.len() > LARGEST {
        return Err(content("it is no file of at most 4 MiB"));
    }
    let mut bytes = Vec::new();
    file.take(LARGEST)
        .read_to_end(&mut bytes)
        .map_err(failed(path, "read it"))?;
    String::from_utf8(bytes)
        .map(Some)
        .map_err(|_| content("it is not UTF-8"))
}

fn failed(path: &Path, action: &'static str) -> impl FnOnce(std::io::Error) -> InstallError {
    let path = path.to_owned();
    move |source| {
        let denied = source.kind() == ErrorKind::PermissionDenied;
        let advice = if denied {
            " (this needs root, as with sudo)"
        } else {
            ""
        };
        InstallError::File {
            path,
            action,
            advice,
            source,
        }
    }
}
