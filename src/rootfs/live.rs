//! Mounts that come to a container, or go, while it runs.
//!
//! Who calls this is a process of ours in the container's namespaces, with its root as the root. What a source is has
//! been opened on the host; every destination is resolved by the kernel as if nothing but the container were there, and
//! only descriptors are used afterwards. The container may change its own tree meanwhile: what it can bring about by that
//! is another place in itself.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::mount::UnmountFlags;

use super::{RootfsError, Sources, mount, resolve};
use crate::plan::mounts::{Mount, Rootfs};

/// Symbolic links followed at the end of a path, as in the kernel.
const MAX_LINKS: usize = 40;

/// Makes all mounts of the plan, in order, or none: where one fails, those before it are taken away again.
pub fn add(plan: &Rootfs, sources: &mut Sources) -> Result<(), RootfsError> {
    let root = open_root()?;
    for (done, mount) in plan.mounts.iter().enumerate() {
        if let Err(error) = add_one(root.as_fd(), mount, plan, sources) {
            for mount in plan.mounts[..done].iter().rev() {
                // The first error is the one to report.
                let _ = unmount(root.as_fd(), &mount.destination);
            }
            return Err(error);
        }
    }
    Ok(())
}

fn add_one(
    root: BorrowedFd<'_>,
    mount: &Mount,
    plan: &Rootfs,
    sources: &mut Sources,
) -> Result<(), RootfsError> {
    if mount.destination == Path::new("/") {
        return Err(RootfsError::Refused {
            index: mount.index,
            destination: mount.destination.clone(),
            reason: "the root of a container that runs stays as it is",
        });
    }
    let tree = mount::mount(root, mount, plan.label(), sources, None)?;
    match tree {
        Some(tree) if mount::is_finished_later(mount) => mount::finish(mount, tree.as_fd()),
        _ => Ok(()),
    }
}

/// Takes away what is mounted last at each destination, in order. The first that fails ends it: what is gone before is
/// gone, as with crun.
pub fn remove(destinations: &[PathBuf]) -> Result<(), RootfsError> {
    let root = open_root()?;
    for destination in destinations {
        let failed = |source| RootfsError::Unmount {
            destination: destination.clone(),
            source,
        };
        if destination.components().count() <= 1 {
            return Err(failed(io::Error::from_raw_os_error(libc::EBUSY)));
        }
        unmount(root.as_fd(), destination).map_err(failed)?;
    }
    Ok(())
}

fn open_root() -> Result<OwnedFd, RootfsError> {
    rustix::fs::open(
        "/",
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .map_err(|error| RootfsError::Root {
        path: PathBuf::from("/"),
        action: "open it",
        source: error.into(),
    })
}

/// umount2(2) knows paths only: a single name in a directory that is ours by descriptor, and that must not be a link.
fn unmount(root: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let (directory, name) = place(root, path)?;
    rustix::process::fchdir(&directory)?;
    Ok(rustix::mount::unmount(
        name,
        UnmountFlags::DETACH | UnmountFlags::NOFOLLOW,
    )?)
}

/// The directory and the name to which a path leads when links at its end are followed.
fn place(root: BorrowedFd<'_>, path: &Path) -> io::Result<(OwnedFd, OsString)> {
    let mut path = path.to_owned();
    for _ in 0..MAX_LINKS {
        let name = path
            .file_name()
            .ok_or_else(|| io::Error::from_raw_os_error(libc::EINVAL))?;
        let parent = path.parent().unwrap_or(Path::new("/"));
        let directory = resolve::open(root, parent, OFlags::PATH | OFlags::DIRECTORY)?;
        match rustix::fs::readlinkat(&directory, name, Vec::new()) {
            Ok(target) => path = parent.join(OsStr::from_bytes(target.as_bytes())),
            Err(rustix::io::Errno::INVAL) => return Ok((directory, name.to_owned())),
            Err(error) => return Err(error.into()),
        }
    }
    Err(io::Error::from_raw_os_error(libc::ELOOP))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_place_is_found_behind_links_and_stays_inside() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let root =
            rustix::fs::open(dir.path(), OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).expect("opened");
        std::fs::create_dir_all(dir.path().join("run/x")).expect("made");
        symlink("/run", dir.path().join("var")).expect("a link");
        symlink("../../../run/x", dir.path().join("run/up")).expect("a link");
        for path in ["/run/x", "/var/x", "/var/up"] {
            let (directory, name) = place(root.as_fd(), Path::new(path)).expect("found");
            assert_eq!(name, "x", "{path}");
            let inside = rustix::fs::fstat(&directory).expect("a directory").st_ino;
            let run = std::fs::metadata(dir.path().join("run")).expect("there");
            assert_eq!(inside, std::os::unix::fs::MetadataExt::ino(&run), "{path}");
        }
        symlink("loop", dir.path().join("loop")).expect("a link");
        let error = place(root.as_fd(), Path::new("/loop")).expect_err("a loop");
        assert_eq!(error.raw_os_error(), Some(libc::ELOOP));
        assert!(place(root.as_fd(), Path::new("/none")).is_err());
    }
}
