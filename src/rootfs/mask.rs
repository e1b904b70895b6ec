//! Paths that the container may not write, or not see at all.
//!
//! A path is looked up once; what covers it is a detached mount made by us: a clone of the host's /dev/null,
//! checked by number, or an empty tmpfs (CVE-2025-31133: a container's /dev/null may be anything). Both are read-only:
//! that keeps no one from writing to the null device, but root in the container from changing the mode, owner and times
//! of the host's.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};

use super::{RootfsError, clone_at, move_to, resolve};
use crate::plan::mounts::{Attributes, MountLabel};
use crate::sys::mount::{MountAttr, mount_setattr};

fn fail<E: Into<io::Error>>(path: &Path, action: &'static str) -> impl FnOnce(E) -> RootfsError {
    let path = path.to_owned();
    move |source| RootfsError::Mask {
        path,
        action,
        source: source.into(),
    }
}

/// Looks a path up; `None` where there is nothing to protect.
fn find(root: BorrowedFd<'_>, path: &Path) -> Result<Option<OwnedFd>, RootfsError> {
    match resolve::locate(root, path) {
        Ok(fd) => Ok(Some(fd)),
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR)) => Ok(None),
        Err(error) => Err(fail(path, "look it up to protect it")(error)),
    }
}

/// Makes each path that exists read-only, with all that is mounted below.
pub fn readonly_all(root: BorrowedFd<'_>, paths: &[PathBuf]) -> Result<(), RootfsError> {
    for path in paths {
        let Some(place) = find(root, path)? else { continue };
        let tree = clone_recursive(place.as_fd()).map_err(fail(path, "clone it to make it read-only"))?;
        let attr = MountAttr {
            set: Attributes::RDONLY,
            ..MountAttr::default()
        };
        mount_setattr(tree.as_fd(), true, &attr).map_err(fail(path, "make it read-only"))?;
        move_to(tree.as_fd(), place.as_fd()).map_err(fail(path, "mount it read-only"))?;
    }
    Ok(())
}

fn clone_recursive(fd: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    use rustix::mount::OpenTreeFlags as Flags;
    let flags =
        Flags::OPEN_TREE_CLONE | Flags::OPEN_TREE_CLOEXEC | Flags::AT_EMPTY_PATH | Flags::AT_RECURSIVE;
    Ok(rustix::mount::open_tree(fd, "", flags)?)
}

/// Hides each path that exists: a directory behind an empty one, anything else behind /dev/null.
pub fn mask_all(
    root: BorrowedFd<'_>,
    paths: &[PathBuf],
    label: Option<MountLabel<'_>>,
) -> Result<(), RootfsError> {
    let mut covers = Covers::default();
    for path in paths {
        let Some(place) = find(root, path)? else { continue };
        let directory = resolve::is_directory(&place).map_err(fail(path, "examine it"))?;
        let cover = covers
            .get(directory, label)
            .map_err(fail(path, "make what hides it"))?;
        move_to(cover.as_fd(), place.as_fd()).map_err(fail(path, "hide it"))?;
    }
    Ok(())
}

/// What hides paths: made once, and cloned for each but the first, which it hides itself. One that is mounted nowhere at the
/// end would have to be taken apart, for which the kernel waits until no processor looks at mounts any more.
#[derive(Default)]
struct Covers {
    null: Option<OwnedFd>,
    empty: Option<OwnedFd>,
}

impl Covers {
    fn get(&mut self, directory: bool, label: Option<MountLabel<'_>>) -> io::Result<OwnedFd> {
        let (slot, make): (_, &dyn Fn() -> io::Result<OwnedFd>) = if directory {
            (&mut self.empty, &|| empty_directory(label))
        } else {
            (&mut self.null, &host_null)
        };
        match slot {
            Some(first) => clone_at(first.as_fd()),
            None => {
                let first = make()?;
                *slot = Some(first.try_clone()?);
                Ok(first)
            }
        }
    }
}

/// A read-only mount of the host's null device.
fn host_null() -> io::Result<OwnedFd> {
    let null = rustix::fs::open(
        "/dev/null",
        OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    let stat = rustix::fs::fstat(&null)?;
    let device = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice;
    if !device || stat.st_rdev != rustix::fs::makedev(1, 3) {
        return Err(io::Error::other("the host's /dev/null is not the null device"));
    }
    let cover = clone_at(null.as_fd())?;
    let attr = MountAttr {
        set: Attributes::RDONLY,
        ..MountAttr::default()
    };
    mount_setattr(cover.as_fd(), false, &attr)?;
    Ok(cover)
}

/// The host's null device, opened for a process of the container. It lies on a read-only mount that is nowhere else, so that
/// nobody can change its mode, owner or times by the descriptor.
///
/// `None` where we may make no mounts and are not the device's owner: then nobody of the container is either, whose
/// ids are no more than ours.
///
/// # Errors
/// A /dev/null that is not the null device, or that cannot be cloned or opened.
pub fn open_host_null() -> io::Result<Option<OwnedFd>> {
    let mount = match host_null() {
        Err(error) if error.raw_os_error() == Some(libc::EPERM) && !owns_null()? => return Ok(None),
        result => result?,
    };
    let path = format!("/proc/self/fd/{}", mount.as_raw_fd());
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    Ok(Some(rustix::fs::open(path, flags, Mode::empty())?))
}

fn owns_null() -> io::Result<bool> {
    Ok(rustix::fs::stat("/dev/null")?.st_uid == rustix::process::geteuid().as_raw())
}

/// An empty directory that cannot be written.
pub fn empty_directory(label: Option<MountLabel<'_>>) -> io::Result<OwnedFd> {
    let context = rustix::mount::fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    rustix::mount::fsconfig_set_string(&context, "nr_blocks", "1")?;
    rustix::mount::fsconfig_set_string(&context, "nr_inodes", "1")?;
    if let Some(MountLabel { option, label }) = label {
        rustix::mount::fsconfig_set_string(&context, option, label)?;
    }
    rustix::mount::fsconfig_create(&context)?;
    Ok(rustix::mount::fsmount(
        &context,
        FsMountFlags::FSMOUNT_CLOEXEC,
        MountAttrFlags::MOUNT_ATTR_RDONLY,
    )?)
}
