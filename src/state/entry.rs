//! The directory of one container, and what is kept in it.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Dir, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use super::{RECORD_VERSION, Record, StateError, failed, io_error};

const RECORD: &str = "state.json";
/// Under this name a new record is written before it takes the old one's place.
const RECORD_NEW: &str = ".state.json.new";
const CONFIG: &str = "config.json";
/// The same for a new configuration.
const CONFIG_NEW: &str = ".config.json.new";
/// The only directory in an entry: it is mounted into the container.
const NOTIFY: &str = "notify";

/// One container's directory.
#[derive(Debug)]
pub struct Entry {
    id: String,
    path: PathBuf,
    dir: OwnedFd,
}

impl Entry {
    pub(super) fn open(id: &str, path: PathBuf) -> Result<Self, StateError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match rustix::fs::open(&path, flags, Mode::empty()) {
            Ok(dir) => Ok(Self {
                id: id.to_string(),
                path,
                dir,
            }),
            // A plain file or a symlink of that name is no container either.
            Err(Errno::NOENT | Errno::NOTDIR) => Err(StateError::NotExist { id: id.to_string() }),
            Err(error) => Err(failed("open", &path)(error)),
        }
    }

    pub fn id(&self) -> &str {
        &self.id
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The directory itself, for what other rooms keep in it (the start gate). [`Entry::remove`] takes all away.
    pub fn dir(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }

    /// The user who owns the container: who made the directory.
    ///
    /// # Errors
    /// Those of fstat(2).
    pub fn owner(&self) -> Result<u32, StateError> {
        Ok(rustix::fs::fstat(&self.dir)
            .map_err(failed("inspect", &self.path))?
            .st_uid)
    }

    /// Waits for the container's lock (flock(2) on the directory), held by every command that changes the
    /// container.
    ///
    /// The lock belongs to the open file, which a child made by clone(2) shares: such a child must close its
    /// copy before it waits for anything (it never runs the guard's drop: it executes or exits), or a killed
    /// parent's lock would live on in it.
    ///
    /// # Errors
    /// [`StateError::NotExist`] where the container was deleted while this one waited.
    pub fn lock(&self) -> Result<LockGuard<'_>, StateError> {
        loop {
            match rustix::fs::flock(&self.dir, FlockOperation::LockExclusive) {
                Ok(()) => return self.still_linked(),
                Err(Errno::INTR) => {}
                Err(error) => return Err(failed("lock", &self.path)(error)),
            }
        }
    }

    /// The same without waiting: `None` where another command holds the lock.
    ///
    /// # Errors
    /// As [`Entry::lock`].
    pub fn try_lock(&self) -> Result<Option<LockGuard<'_>>, StateError> {
        match rustix::fs::flock(&self.dir, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => self.still_linked().map(Some),
            Err(Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(failed("lock", &self.path)(error)),
        }
    }

    fn still_linked(&self) -> Result<LockGuard<'_>, StateError> {
        let guard = LockGuard {
            dir: self.dir.as_fd(),
        };
        let stat = rustix::fs::fstat(&self.dir).map_err(failed("inspect", &self.path))?;
        if stat.st_nlink == 0 {
            return Err(StateError::NotExist { id: self.id.clone() });
        }
        Ok(guard)
    }

    /// The record, whole whenever it is read: it is only ever replaced.
    ///
    /// # Errors
    /// [`StateError::HalfMade`] where there is none yet; [`StateError::Damaged`], [`StateError::Version`].
    pub fn read(&self) -> Result<Record, StateError> {
        let path = self.path.join(RECORD);
        let bytes = match self.read_file(RECORD) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(StateError::HalfMade { id: self.id.clone() });
            }
            Err(error) => return Err(io_error("read", &path, error)),
        };
        let record: Record = match serde_json::from_slice(&bytes) {
            Ok(record) => record,
            Err(source) => return Err(StateError::Damaged { path, source }),
        };
        if record.version != RECORD_VERSION {
            return Err(StateError::Version {
                path,
                found: record.version,
            });
        }
        Ok(record)
    }

    /// Puts a new record in the old one's place, atomically (rename(2)): a reader sees one or the other.
    ///
    /// Nothing is synced: the state does not outlive a boot (the root is on a tmpfs, and processes are named
    /// by pids of this boot), so there is no crash after which it would be read.
    ///
    /// # Errors
    /// Why the file system refuses; then the old record is still there and no other file.
    pub fn write(&self, record: &Record) -> Result<(), StateError> {
        let json = serde_json::to_vec(record).map_err(|source| StateError::Encode {
            id: self.id.clone(),
            source,
        })?;
        self.replace(RECORD, RECORD_NEW, &json)
    }

    /// Puts a file in the old one's place by way of a second one.
    fn replace(&self, name: &str, new: &str, bytes: &[u8]) -> Result<(), StateError> {
        self.write_file(new, bytes)
            .and_then(|()| Ok(rustix::fs::renameat(&self.dir, new, &self.dir, name)?))
            .map_err(|error| {
                // What matters is the error of writing; the remains are in nobody's way and go with the entry.
                let _ = rustix::fs::unlinkat(&self.dir, new, AtFlags::empty());
                io_error("write", &self.path.join(name), error)
            })
    }

    /// Keeps config.json as it was given, byte for byte. To be called before the record names an init
    /// process: only then is it read.
    ///
    /// # Errors
    /// Why the file system refuses.
    pub fn write_config(&self, config: &[u8]) -> Result<(), StateError> {
        self.write_file(CONFIG, config)
            .map_err(|error| io_error("write", &self.path.join(CONFIG), error))
    }

    /// Puts another config.json in the place of the one that is kept, atomically as [`Entry::write`].
    ///
    /// # Errors
    /// Why the file system refuses; then the old one is still there.
    pub fn replace_config(&self, config: &[u8]) -> Result<(), StateError> {
        self.replace(CONFIG, CONFIG_NEW, config)
    }

    /// What [`Entry::write_config`] kept.
    ///
    /// # Errors
    /// Those of open(2) and read(2).
    pub fn read_config(&self) -> Result<Vec<u8>, StateError> {
        self.read_file(CONFIG)
            .map_err(|error| io_error("read", &self.path.join(CONFIG), error))
    }

    /// Whether [`Entry::write_config`] was done.
    ///
    /// # Errors
    /// Those of stat(2).
    pub fn has_config(&self) -> Result<bool, StateError> {
        match rustix::fs::statat(&self.dir, CONFIG, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(_) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(error) => Err(failed("inspect", &self.path.join(CONFIG))(error)),
        }
    }

    /// Where [`Entry::make_notify_directory`] makes the directory of the container `id`, whose path is `entry`.
    pub fn notify_path(entry: &Path) -> PathBuf {
        entry.join(NOTIFY)
    }

    /// Makes the directory in which the container will see its NOTIFY_SOCKET.
    ///
    /// # Errors
    /// Those of mkdir(2).
    pub fn make_notify_directory(&self) -> Result<(), StateError> {
        rustix::fs::mkdirat(&self.dir, NOTIFY, Mode::from_raw_mode(0o755))
            .and_then(|()| {
                // Whatever our umask: the container's users pass through it.
                rustix::fs::chmodat(&self.dir, NOTIFY, Mode::from_raw_mode(0o755), AtFlags::empty())
            })
            .map_err(failed("make", &self.path.join(NOTIFY)))
    }

    /// That directory; `None` where the container has none.
    ///
    /// # Errors
    /// Those of open(2).
    pub fn notify_directory(&self) -> io::Result<Option<OwnedFd>> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match rustix::fs::openat(&self.dir, NOTIFY, flags, Mode::empty()) {
            Ok(directory) => Ok(Some(directory)),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Takes the entry away with all that is in it, which frees the id. The last step of `delete`, to be done
    /// under the lock; doing it twice, or two doing it, is no error.
    ///
    /// # Errors
    /// Why the file system refuses.
    pub fn remove(&self) -> Result<(), StateError> {
        let notify = self.path.join(NOTIFY);
        let directory = self
            .notify_directory()
            .map_err(|error| io_error("open", &notify, error))?;
        if let Some(directory) = directory {
            empty(&directory, &notify)?;
            match rustix::fs::unlinkat(&self.dir, NOTIFY, AtFlags::REMOVEDIR) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(error) => return Err(failed("remove", &notify)(error)),
            }
        }
        empty(&self.dir, &self.path)?;
        match rustix::fs::unlinkat(CWD, &self.path, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(failed("remove", &self.path)(error)),
        }
    }

    fn read_file(&self, name: &str) -> io::Result<Vec<u8>> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut file = File::from(rustix::fs::openat(&self.dir, name, flags, Mode::empty())?);
        // A record is well under this, and a configuration seldom above: one read, and one that sees the end.
        let mut bytes = Vec::with_capacity(16 * 1024);
        file.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn write_file(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut file = File::from(rustix::fs::openat(
            &self.dir,
            name,
            flags,
            Mode::RUSR | Mode::WUSR,
        )?);
        file.write_all(bytes)
    }
}

/// Removes all files, and empty directories, in a directory, which is at `path`.
fn empty(directory: &OwnedFd, path: &Path) -> Result<(), StateError> {
    for item in Dir::read_from(directory).map_err(failed("read", path))? {
        let item = item.map_err(failed("read", path))?;
        let name = item.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let removed = match rustix::fs::unlinkat(directory, name, AtFlags::empty()) {
            // An empty one, left by a killed `restore`.
            Err(Errno::ISDIR) => rustix::fs::unlinkat(directory, name, AtFlags::REMOVEDIR),
            other => other,
        };
        match removed {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(failed("remove", &path.join(&*name.to_string_lossy()))(error)),
        }
    }
    Ok(())
}

/// Holds a container's lock until it is dropped.
#[derive(Debug)]
pub struct LockGuard<'a> {
    dir: BorrowedFd<'a>,
}

impl Drop for LockGuard<'_> {
    fn drop(&mut self) {
        // Unlocking a lock that is held does not fail, and the descriptor's end would unlock it as well.
        let _ = rustix::fs::flock(self.dir, FlockOperation::Unlock);
    }
}

#[cfg(test)]
mod tests {
    use super::super::Store;
    use super::super::record::tests::sample;
    use super::*;

    fn store() -> (tempfile::TempDir, Store) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(&dir.path().join("run/wrun"));
        (dir, store)
    }

    #[test]
    fn a_record_comes_back_and_leaves_no_other_file() {
        let (_dir, store) = store();
        let entry = store.reserve("web").unwrap();
        assert!(matches!(entry.read(), Err(StateError::HalfMade { .. })));
        let creating = Record {
            init: None,
            ..sample("web")
        };
        entry.write(&creating).unwrap();
        assert_eq!(store.open("web").unwrap().read().unwrap(), creating);
        entry.write(&sample("web")).unwrap();
        assert_eq!(entry.read().unwrap(), sample("web"));
        entry.write_config(b"{\"ociVersion\": \"1.0.2\"}\n").unwrap();
        assert_eq!(entry.read_config().unwrap(), b"{\"ociVersion\": \"1.0.2\"}\n");
        entry.replace_config(b"{}").unwrap();
        assert_eq!(entry.read_config().unwrap(), b"{}");
        let names: Vec<_> = entry
            .path()
            .read_dir()
            .unwrap()
            .map(|e| e.unwrap().file_name())
            .collect();
        assert_eq!(names.len(), 2, "{names:?}");
    }

    #[test]
    fn a_notify_directory_goes_with_the_entry() {
        let (_dir, store) = store();
        let entry = store.reserve("web").unwrap();
        assert!(entry.notify_directory().unwrap().is_none());
        entry.make_notify_directory().unwrap();
        let path = Entry::notify_path(entry.path());
        std::fs::write(path.join("notify.sock"), "").unwrap();
        assert!(entry.notify_directory().unwrap().is_some());
        entry.remove().unwrap();
        assert!(!entry.path().exists());
    }

    #[test]
    fn a_damaged_record_and_one_of_another_version_are_named() {
        let (_dir, store) = store();
        let entry = store.reserve("web").unwrap();
        std::fs::write(entry.path().join(RECORD), b"{").unwrap();
        let error = entry.read().unwrap_err();
        assert!(matches!(error, StateError::Damaged { .. }));
        assert!(error.to_string().contains("web/state.json"), "{error}");
        entry
            .write(&Record {
                version: 99,
                ..sample("web")
            })
            .unwrap();
        assert!(matches!(entry.read(), Err(StateError::Version { found: 99, .. })));
    }

    #[test]
    fn the_lock_excludes_and_a_waiter_learns_of_the_removal() {
        let (_dir, store) = store();
        let first = store.reserve("web").unwrap();
        let second = store.open("web").unwrap();
        let guard = first.lock().unwrap();
        assert!(second.try_lock().unwrap().is_none());
        first.remove().unwrap();
        drop(guard);
        assert!(matches!(second.lock(), Err(StateError::NotExist { .. })));
    }

    #[test]
    fn a_full_or_readonly_file_system_gives_one_error_and_leaves_nothing() {
        use rustix::mount::{MountFlags, UnmountFlags, mount, mount_remount, unmount};
        let dir = tempfile::tempdir().unwrap();
        let full = c"size=4k,nr_inodes=8";
        if let Err(error) = mount("tmpfs", dir.path(), "tmpfs", MountFlags::empty(), full) {
            eprintln!("skipped: a tmpfs cannot be mounted here ({error}); this needs root");
            return;
        }
        let store = Store::new(dir.path());
        let entry = store.reserve("web").unwrap();
        entry.write(&sample("web")).unwrap();
        let long = Record {
            created: "x".repeat(100_000),
            ..sample("web")
        };
        let error = entry.write(&long).unwrap_err();
        let names: Vec<_> = entry
            .path()
            .read_dir()
            .unwrap()
            .map(|item| item.unwrap().file_name())
            .collect();
        let old = entry.read();
        let remounted = mount_remount(dir.path(), MountFlags::RDONLY, c"");
        let refused = store.reserve("other").unwrap_err();
        drop(entry);
        unmount(dir.path(), UnmountFlags::DETACH).unwrap();

        assert!(
            matches!(&error, StateError::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull)
        );
        assert!(error.to_string().ends_with("/web/state.json"), "{error}");
        assert_eq!(names, [RECORD]);
        assert_eq!(old.unwrap(), sample("web"));
        remounted.unwrap();
        let kind = io::ErrorKind::ReadOnlyFilesystem;
        assert!(
            matches!(&refused, StateError::Io { source, .. } if source.kind() == kind),
            "{refused:?}"
        );
    }
}
