//! Paths inside the rootfs, resolved by the kernel as if the rootfs were `/` already.
//!
//! Nothing here follows a link out of the rootfs or through a magic link, however the tree changes meanwhile
//! (CVE-2021-30465): every lookup is one openat2(2), and only its descriptor is used afterwards.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};

/// Symbolic links followed on the way to one path, as in the kernel.
const MAX_LINKS: usize = 40;

/// Opens an existing path of the container without access to its content (`O_PATH`), links followed inside.
pub fn locate(root: BorrowedFd<'_>, path: &Path) -> io::Result<OwnedFd> {
    open(root, path, OFlags::PATH)
}

/// [`locate`], but a link at the end is opened itself.
pub fn locate_link(root: BorrowedFd<'_>, path: &Path) -> io::Result<OwnedFd> {
    open(root, path, OFlags::PATH | OFlags::NOFOLLOW)
}

/// Makes a link to `target` at `path`, and the directories above it; one that points there already is as good.
pub fn make_link(root: BorrowedFd<'_>, path: &Path, target: &Path) -> io::Result<()> {
    let (parent, name) = make_parent(root, path)?;
    match rustix::fs::symlinkat(target, &parent, name) {
        Err(rustix::io::Errno::EXIST) => {
            let there = rustix::fs::readlinkat(&parent, name, Vec::new());
            let same = there.is_ok_and(|there| there.as_bytes() == target.as_os_str().as_bytes());
            same.then_some(())
                .ok_or_else(|| io::Error::from_raw_os_error(libc::EEXIST))
        }
        result => Ok(result?),
    }
}

/// Opens an existing path of the container with `flags`, links followed inside.
pub fn open(root: BorrowedFd<'_>, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    retry(|| rustix::fs::openat2(root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve))
}

/// openat2(2) with `IN_ROOT` fails with EAGAIN when a rename anywhere races with a `..` in the path.
fn retry(mut call: impl FnMut() -> rustix::io::Result<OwnedFd>) -> io::Result<OwnedFd> {
    for _ in 0..128 {
        match call() {
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {}
            result => return Ok(result?),
        }
    }
    Ok(call()?)
}

/// Whether it is a directory.
pub fn is_directory(fd: impl AsFd) -> io::Result<bool> {
    Ok(FileType::from_raw_mode(rustix::fs::fstat(fd)?.st_mode) == FileType::Directory)
}

/// Whether it is a symbolic link.
pub fn is_link(fd: impl AsFd) -> io::Result<bool> {
    Ok(FileType::from_raw_mode(rustix::fs::fstat(fd)?.st_mode) == FileType::Symlink)
}

/// Opens `path`, making the directories that are missing (mode 0755), the last one included.
pub fn make_directory(root: BorrowedFd<'_>, path: &Path) -> io::Result<OwnedFd> {
    match locate(root, path) {
        Ok(fd) if is_directory(&fd)? => Ok(fd),
        Ok(_) => Err(io::Error::from_raw_os_error(libc::ENOTDIR)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Walk::new(root, path)?.directory(),
        Err(error) => Err(error),
    }
}

/// Opens `path`, making an empty file there, and the directories above it, if it is missing.
pub fn make_file(root: BorrowedFd<'_>, path: &Path) -> io::Result<OwnedFd> {
    match locate(root, path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Walk::new(root, path)?.file(),
        result => result,
    }
}

/// Opens the directory above `path`, making it if it is missing, and gives the last name.
pub fn make_parent<'p>(root: BorrowedFd<'_>, path: &'p Path) -> io::Result<(OwnedFd, &'p OsStr)> {
    let name = path
        .file_name()
        .ok_or_else(|| io::Error::from_raw_os_error(libc::EINVAL))?;
    let parent = path.parent().unwrap_or(Path::new("/"));
    Ok((make_directory(root, parent)?, name))
}

/// A walk from the root of the container, one name at a time, which makes what is missing. Needed only where
/// the kernel has found a part missing, perhaps behind a dangling link such as `/var/run -> /run`.
struct Walk<'r> {
    root: BorrowedFd<'r>,
    pending: VecDeque<OsString>,
    /// Where we are, free of links, relative to the root.
    at: PathBuf,
    here: OwnedFd,
    links: usize,
}

enum Found {
    Directory(OwnedFd),
    Other(OwnedFd),
    Missing(OsString),
}

impl<'r> Walk<'r> {
    fn new(root: BorrowedFd<'r>, path: &Path) -> io::Result<Self> {
        let here = root.try_clone_to_owned()?;
        Ok(Self {
            root,
            pending: names(path),
            at: PathBuf::new(),
            here,
            links: 0,
        })
    }

    fn directory(mut self) -> io::Result<OwnedFd> {
        while let Some(found) = self.step()? {
            match found {
                Found::Directory(fd) => self.here = fd,
                Found::Other(_) => return Err(io::Error::from_raw_os_error(libc::ENOTDIR)),
                Found::Missing(name) => self.enter_new(&name)?,
            }
        }
        Ok(self.here)
    }

    fn file(mut self) -> io::Result<OwnedFd> {
        while let Some(found) = self.step()? {
            let last = self.pending.is_empty();
            match found {
                Found::Directory(fd) => self.here = fd,
                Found::Other(fd) if last => return Ok(fd),
                Found::Other(_) => return Err(io::Error::from_raw_os_error(libc::ENOTDIR)),
                Found::Missing(name) if last => {
                    let flags = OFlags::CREATE
                        | OFlags::NOFOLLOW
                        | OFlags::CLOEXEC
                        | OFlags::WRONLY
                        | OFlags::NONBLOCK;
                    rustix::fs::openat(&self.here, name.as_os_str(), flags, Mode::from_raw_mode(0o644))?;
                    return self.open_here(&name);
                }
                Found::Missing(name) => self.enter_new(&name)?,
            }
        }
        Ok(self.here)
    }

    /// Takes the next name; `None` at the end. Links are spliced into what is pending.
    fn step(&mut self) -> io::Result<Option<Found>> {
        while let Some(name) = self.pending.pop_front() {
            if name == ".." {
                self.at.pop();
                self.here = self.reopen()?;
                continue;
            }
            let fd = match self.open_here(&name) {
                Ok(fd) => fd,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    return Ok(Some(Found::Missing(name)));
                }
                Err(error) => return Err(error),
            };
            match FileType::from_raw_mode(rustix::fs::fstat(&fd)?.st_mode) {
                FileType::Symlink => self.splice(&fd)?,
                FileType::Directory => {
                    self.at.push(&name);
                    return Ok(Some(Found::Directory(fd)));
                }
                _ => return Ok(Some(Found::Other(fd))),
            }
        }
        Ok(None)
    }

    fn splice(&mut self, link: &OwnedFd) -> io::Result<()> {
        self.links += 1;
        if self.links > MAX_LINKS {
            return Err(io::Error::from_raw_os_error(libc::ELOOP));
        }
        let target = rustix::fs::readlinkat(link, "", Vec::new())?;
        let target = Path::new(OsStr::from_bytes(target.as_bytes()));
        if target.is_absolute() {
            self.at.clear();
            self.here = self.root.try_clone_to_owned()?;
        }
        for name in names(target).into_iter().rev() {
            self.pending.push_front(name);
        }
        Ok(())
    }

    fn enter_new(&mut self, name: &OsStr) -> io::Result<()> {
        match rustix::fs::mkdirat(&self.here, name, Mode::from_raw_mode(0o755)) {
            // Someone else was first: what is there is checked by the open below.
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        self.here = self.open_here(name)?;
        if !is_directory(&self.here)? {
            return Err(io::Error::from_raw_os_error(libc::ENOTDIR));
        }
        self.at.push(name);
        Ok(())
    }

    fn open_here(&self, name: &OsStr) -> io::Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        retry(|| rustix::fs::openat2(&self.here, name, flags, Mode::empty(), resolve))
    }

    fn reopen(&self) -> io::Result<OwnedFd> {
        if self.at.as_os_str().is_empty() {
            return self.root.try_clone_to_owned();
        }
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS;
        retry(|| rustix::fs::openat2(self.root, &self.at, flags, Mode::empty(), resolve))
    }
}

fn names(path: &Path) -> VecDeque<OsString> {
    path.components()
        .filter_map(|part| match part {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some(OsString::from("..")),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn tree() -> (tempfile::TempDir, OwnedFd) {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let root = rustix::fs::open(dir.path(), OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
            .expect("its descriptor");
        (dir, root)
    }

    #[test]
    fn a_dangling_absolute_link_is_made_inside() {
        let (dir, root) = tree();
        std::fs::create_dir(dir.path().join("var")).expect("var");
        symlink("/run", dir.path().join("var/run")).expect("the link");
        make_directory(root.as_fd(), Path::new("/var/run/secrets")).expect("made");
        assert!(dir.path().join("run/secrets").is_dir());
    }

    #[test]
    fn a_link_cannot_climb_out() {
        let (dir, root) = tree();
        let name = format!("wrun-escape-{}", std::process::id());
        symlink("../../../../../tmp", dir.path().join("up")).expect("the link");
        make_directory(root.as_fd(), &Path::new("/up").join(&name)).expect("made inside");
        assert!(dir.path().join("tmp").join(&name).is_dir());
        assert!(!Path::new("/tmp").join(&name).exists());
    }

    #[test]
    fn a_loop_of_links_is_an_error() {
        let (dir, root) = tree();
        symlink("b", dir.path().join("a")).expect("the link");
        symlink("a", dir.path().join("b")).expect("the link");
        let error = make_directory(root.as_fd(), Path::new("/a/c")).expect_err("a loop");
        assert_eq!(error.raw_os_error(), Some(libc::ELOOP));
    }

    #[test]
    fn a_file_is_made_with_its_directories() {
        let (dir, root) = tree();
        make_file(root.as_fd(), Path::new("/etc/deep/resolv.conf")).expect("made");
        assert!(dir.path().join("etc/deep/resolv.conf").is_file());
    }

    #[test]
    fn a_file_in_the_way_of_a_directory_is_an_error() {
        let (dir, root) = tree();
        std::fs::write(dir.path().join("etc"), "").expect("a file");
        let error = make_directory(root.as_fd(), Path::new("/etc/ssl")).expect_err("not a directory");
        assert_eq!(error.raw_os_error(), Some(libc::ENOTDIR));
    }
}
