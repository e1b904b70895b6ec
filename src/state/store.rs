//! The state root, which holds one directory per container.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::{Entry, StateError, failed, io_error, validate_id};

const OWNER_ONLY: Mode = Mode::RWXU;

/// The state root.
#[derive(Debug, Clone)]
pub struct Store {
    root: PathBuf,
    sticky: bool,
}

impl Store {
    /// A store below `root`, an absolute path, which need not exist yet.
    pub fn new(root: &Path) -> Self {
        Self {
            root: root.to_path_buf(),
            sticky: false,
        }
    }

    /// Sets the sticky bit on the root when it is made: below XDG_RUNTIME_DIR it keeps the directory from
    /// being cleaned away by age (XDG Base Directory Specification).
    #[must_use]
    pub fn sticky(self) -> Self {
        Self { sticky: true, ..self }
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Takes an id: makes its directory, exclusively, so that of two creators at once one wins. The root is
    /// made where it is missing. On failure nothing is left.
    ///
    /// # Errors
    /// [`StateError::Exists`] where the id is taken, [`StateError::InvalidId`], or why the file system refuses.
    pub fn reserve(&self, id: &str) -> Result<Entry, StateError> {
        validate_id(id)?;
        let path = self.root.join(id);
        let made = match rustix::fs::mkdir(&path, OWNER_ONLY) {
            Err(Errno::NOENT) => {
                self.make_root()?;
                rustix::fs::mkdir(&path, OWNER_ONLY)
            }
            other => other,
        };
        match made {
            Ok(()) => {}
            Err(Errno::EXIST) => return Err(StateError::Exists { id: id.to_string() }),
            Err(error) => return Err(failed("create", &path)(error)),
        }
        Entry::open(id, path.clone()).inspect_err(|_| {
            // The error of opening is the one to tell; should this fail as well, the empty directory is what
            // `delete --force` takes away.
            let _ = rustix::fs::unlinkat(CWD, &path, AtFlags::REMOVEDIR);
        })
    }

    /// The entry of a container, which may be half made: see [`Entry::read`].
    ///
    /// # Errors
    /// [`StateError::NotExist`] where there is none, [`StateError::InvalidId`].
    pub fn open(&self, id: &str) -> Result<Entry, StateError> {
        validate_id(id)?;
        Entry::open(id, self.root.join(id))
    }

    /// The ids of all entries, half-made ones included, sorted.
    ///
    /// # Errors
    /// [`StateError::NoRoot`] where the root does not exist, which for the default root means no containers.
    pub fn list(&self) -> Result<Vec<String>, StateError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = match rustix::fs::open(&self.root, flags, Mode::empty()) {
            Ok(root) => root,
            Err(Errno::NOENT) => {
                return Err(StateError::NoRoot {
                    path: self.root.clone(),
                });
            }
            Err(error) => return Err(failed("open", &self.root)(error)),
        };
        let mut ids = Vec::new();
        for item in Dir::new(root).map_err(failed("read", &self.root))? {
            let item = item.map_err(failed("read", &self.root))?;
            // Unknown: a file system that does not tell the type; opening the entry will.
            if !matches!(item.file_type(), FileType::Directory | FileType::Unknown) {
                continue;
            }
            if let Ok(name) = item.file_name().to_str()
                && validate_id(name).is_ok()
            {
                ids.push(name.to_string());
            }
        }
        ids.sort_unstable();
        Ok(ids)
    }

    fn make_root(&self) -> Result<(), StateError> {
        let cannot = |operation| move |error: io::Error| io_error(operation, &self.root, error);
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.root)
            .map_err(cannot("create"))?;
        if self.sticky {
            let mode = OWNER_ONLY | Mode::SVTX;
            rustix::fs::chmod(&self.root, mode)
                .map_err(|error| cannot("set the sticky bit of")(error.into()))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::super::record::tests::sample;
    use super::*;

    fn store() -> (tempfile::TempDir, Store) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(&dir.path().join("run/wrun"));
        (dir, store)
    }

    #[test]
    fn reserves_an_id_once_and_frees_it_on_removal() {
        let (_dir, store) = store();
        let entry = store.reserve("web").unwrap();
        for path in [store.root(), entry.path()] {
            assert_eq!(path.metadata().unwrap().permissions().mode() & 0o7777, 0o700);
        }
        assert!(matches!(store.reserve("web"), Err(StateError::Exists { .. })));
        assert!(matches!(
            store.reserve("../web"),
            Err(StateError::InvalidId { .. })
        ));
        entry.write(&sample("web")).unwrap();
        entry.write_config(b"{}").unwrap();
        entry.remove().unwrap();
        entry.remove().unwrap();
        assert!(!entry.path().exists());
        assert!(matches!(store.open("web"), Err(StateError::NotExist { .. })));
        store.reserve("web").unwrap();
    }

    #[test]
    fn of_many_creators_of_one_id_one_wins() {
        let (_dir, store) = store();
        let wins = std::thread::scope(|scope| {
            let tries: Vec<_> = (0..16)
                .map(|_| scope.spawn(|| store.reserve("x").is_ok()))
                .collect();
            tries
                .into_iter()
                .map(|one| one.join().unwrap())
                .filter(|won| *won)
                .count()
        });
        assert_eq!(wins, 1);
    }

    #[test]
    fn the_sticky_bit_is_set_where_it_is_asked_for() {
        let (_dir, store) = store();
        let store = store.sticky();
        store.reserve("web").unwrap();
        assert_eq!(
            store.root().metadata().unwrap().permissions().mode() & 0o7777,
            0o1700
        );
    }

    #[test]
    fn lists_directories_only_and_says_where_the_root_is_missing() {
        let (_dir, store) = store();
        assert!(matches!(store.list(), Err(StateError::NoRoot { .. })));
        store.reserve("b").unwrap();
        store.reserve("a").unwrap();
        std::fs::write(store.root().join("file"), b"").unwrap();
        std::fs::create_dir(store.root().join("not an id")).unwrap();
        assert_eq!(store.list().unwrap(), ["a", "b"]);
    }

    #[test]
    fn a_symlink_is_no_container() {
        let (_dir, store) = store();
        store.reserve("real").unwrap();
        std::os::unix::fs::symlink("real", store.root().join("link")).unwrap();
        assert!(matches!(store.open("link"), Err(StateError::NotExist { .. })));
        assert!(matches!(store.reserve("link"), Err(StateError::Exists { .. })));
    }
}
