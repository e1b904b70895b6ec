//! The directories that stores and queues of the kind `filesystem` are in: `/tmp/NAME` as slight has it, or TMPDIR's;
//! a name that begins with `/` is a path of its own, such as that of a volume. Whatever the names are, and whatever
//! links the image holds, nothing outside the container's root is reached.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{Dir, FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::workload::wasm::application::Open;
use crate::workload::wasm::legacy_abi::MAX_BYTES;

/// What begins the names of files that are being written.
const UNFINISHED: &str = ".wrun-";

/// A directory that is made when it is first needed.
#[derive(Clone)]
pub struct Directory {
    path: PathBuf,
    open: Open,
}

impl Directory {
    /// Below the directory for temporary files.
    ///
    /// # Errors
    /// The name would lead elsewhere.
    pub fn named(name: &str, env: &[(String, String)], open: Open) -> Result<Self, String> {
        let base = env.iter().rfind(|(key, _)| key == "TMPDIR");
        let base = base.map_or("/tmp", |(_, value)| value.as_str());
        let path = Path::new("/").join(base).join(name);
        let leads_elsewhere = path.components().any(|part| part == Component::ParentDir);
        if name.is_empty() || name.contains('\0') || leads_elsewhere {
            return Err(format!("{name:?} is no name of a directory"));
        }
        Ok(Self { path, open })
    }

    pub fn below(&self, name: &str) -> io::Result<Self> {
        check(name)?;
        Ok(Self {
            path: self.path.join(name),
            open: self.open,
        })
    }

    /// Opens it; what of it is not there is made.
    fn make(&self) -> io::Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        if let Ok(found) = (self.open)(&self.path, flags) {
            return Ok(found);
        }
        let mut at = (self.open)(Path::new("/"), flags)?;
        let mut path = PathBuf::from("/");
        for part in self.path.components() {
            let Component::Normal(name) = part else { continue };
            path.push(name);
            at = match (self.open)(&path, flags) {
                Err(Errno::NOENT) => {
                    match rustix::fs::mkdirat(&at, name, Mode::from_raw_mode(0o777)) {
                        // Another was first.
                        Ok(()) | Err(Errno::EXIST) => {}
                        Err(error) => return Err(error.into()),
                    }
                    (self.open)(&path, flags)?
                }
                found => found?,
            };
        }
        Ok(at)
    }

    /// The content of a file.
    pub fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        check(name)?;
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file = rustix::fs::openat(self.make()?, name, flags, Mode::empty())?;
        if FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode) != FileType::RegularFile {
            return Err(io::Error::other("is not a regular file"));
        }
        let mut bytes = Vec::new();
        let limit = u64::from(MAX_BYTES);
        File::from(file).take(limit + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > limit {
            return Err(io::Error::other(format!(
                "has more than the {limit} bytes that are read"
            )));
        }
        Ok(bytes)
    }

    /// Writes a file, which others see as a whole or not at all.
    pub fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        check(name)?;
        let directory = self.make()?;
        let unfinished = write_unfinished(directory.as_fd(), bytes)?;
        let renamed = rustix::fs::renameat(&directory, &unfinished, &directory, name);
        forget_if_failed(&directory, &unfinished, renamed)
    }

    /// The same where there must be none yet.
    pub fn create(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        check(name)?;
        let directory = self.make()?;
        let unfinished = write_unfinished(directory.as_fd(), bytes)?;
        let flags = rustix::fs::AtFlags::empty();
        let linked = rustix::fs::linkat(&directory, &unfinished, &directory, name, flags);
        rustix::fs::unlinkat(&directory, &unfinished, flags)?;
        Ok(linked?)
    }

    pub fn remove(&self, name: &str) -> io::Result<()> {
        check(name)?;
        Ok(rustix::fs::unlinkat(
            self.make()?,
            name,
            rustix::fs::AtFlags::empty(),
        )?)
    }

    /// The names of what is in it, all together not more than can be passed to a guest.
    pub fn names(&self) -> io::Result<Vec<String>> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::openat(self.make()?, ".", flags, Mode::empty())?;
        let (mut names, mut total) = (Vec::new(), 0);
        for entry in Dir::new(directory)? {
            let entry = entry?;
            // A name that is no text is nobody's key.
            let Ok(name) = entry.file_name().to_str() else {
                continue;
            };
            if matches!(name, "." | "..") || name.starts_with(UNFINISHED) {
                continue;
            }
            total += name.len() + size_of::<String>();
            if total > MAX_BYTES as usize {
                return Err(io::Error::other("holds more names than are read"));
            }
            names.push(name.to_owned());
        }
        Ok(names)
    }
}

/// Whether a name is that of a file in the directory itself.
pub fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 255
        && !matches!(name, "." | "..")
        && !name.starts_with(UNFINISHED)
        && !name.contains(['/', '\0'])
}

fn check(name: &str) -> io::Result<()> {
    if is_name(name) {
        return Ok(());
    }
    Err(io::Error::new(
        io::ErrorKind::InvalidInput,
        "is no name of a file",
    ))
}

/// Writes a file under a name that nobody has.
fn write_unfinished(directory: impl AsFd, bytes: &[u8]) -> io::Result<String> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    loop {
        // Another container, with a pid of the same number, may share the volume.
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("{UNFINISHED}{}-{next}", std::process::id());
        let file = match rustix::fs::openat(&directory, &name, flags, Mode::from_raw_mode(0o666)) {
            Err(Errno::EXIST) => continue,
            file => file?,
        };
        let written = File::from(file).write_all(bytes);
        return match written {
            Ok(()) => Ok(name),
            Err(error) => {
                // The first error tells more than what becomes of the rest.
                let _ = rustix::fs::unlinkat(&directory, &name, rustix::fs::AtFlags::empty());
                Err(error)
            }
        };
    }
}

fn forget_if_failed(
    directory: &OwnedFd,
    unfinished: &str,
    outcome: rustix::io::Result<()>,
) -> io::Result<()> {
    if outcome.is_err() {
        // The first error tells more than what becomes of the rest.
        let _ = rustix::fs::unlinkat(directory, unfinished, rustix::fs::AtFlags::empty());
    }
    Ok(outcome?)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn open(path: &Path, flags: OFlags) -> rustix::io::Result<OwnedFd> {
        rustix::fs::open(path, flags | OFlags::CLOEXEC, Mode::empty())
    }

    fn directory(name: &str, base: &Path) -> Directory {
        let env = [("TMPDIR".to_owned(), base.display().to_string())];
        Directory::named(name, &env, open).expect("a name")
    }

    #[test]
    fn files_are_kept_as_they_were_written() {
        let dir = tempfile::tempdir().expect("a directory");
        let store = directory("a/b", dir.path());
        assert_eq!(store.names().unwrap(), Vec::<String>::new());
        store.write("one", b"1").unwrap();
        store.write("one", b"2").unwrap();
        store.create("two", b"").unwrap();
        assert_eq!(
            store.create("two", b"x").unwrap_err().kind(),
            io::ErrorKind::AlreadyExists
        );
        let mut names = store.names().unwrap();
        names.sort();
        assert_eq!(names, ["one", "two"]);
        assert_eq!(store.read("one").unwrap(), b"2");
        store.remove("one").unwrap();
        assert_eq!(store.read("one").unwrap_err().kind(), io::ErrorKind::NotFound);
        assert_eq!(std::fs::read_dir(dir.path().join("a/b")).unwrap().count(), 1);
    }

    #[test]
    fn no_name_leads_elsewhere() {
        let dir = tempfile::tempdir().expect("a directory");
        let store = directory("store", dir.path());
        for name in [
            "",
            ".",
            "..",
            "a/b",
            "../x",
            "/etc/passwd",
            "a\0b",
            ".wrun-1-0",
            &"x".repeat(256),
        ] {
            assert!(store.write(name, b"x").is_err(), "{name:?}");
            assert!(store.read(name).is_err(), "{name:?}");
            assert!(store.remove(name).is_err(), "{name:?}");
            assert!(store.below(name).is_err(), "{name:?}");
        }
        std::fs::write(dir.path().join("secret"), "x").unwrap();
        store.write("made", b"").unwrap();
        symlink("../secret", dir.path().join("store/link")).unwrap();
        assert!(store.read("link").is_err());
        for name in ["", "..", "a/../../b", "a\0"] {
            assert!(Directory::named(name, &[], open).is_err(), "{name:?}");
        }
        let path = |name: &str| Directory::named(name, &[], open).unwrap().path;
        assert_eq!(path("a"), Path::new("/tmp/a"));
        assert_eq!(path("/data/a"), Path::new("/data/a"));
    }
}
