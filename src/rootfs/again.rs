//! The protection of a restored container's mounts. CRIU restores mounts with their flags, but not in all
//! constellations: of several binds of one file system a read-only one can come back writable. So what config.json
//! asks for is set once more, which changes nothing where all is well; and what it hides is hidden where it is not.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use rustix::fs::{AtFlags, Mode, OFlags, StatxAttributes, StatxFlags};

use super::{RootfsError, mask, resolve};
use crate::plan::mounts::{Attributes, Rootfs};
use crate::sys::mount::{MountAttr, mount_setattr};

/// Those that keep a container from something.
const PROTECTING: u64 = Attributes::RDONLY
    | Attributes::NOSUID
    | Attributes::NODEV
    | Attributes::NOEXEC
    | Attributes::NOSYMFOLLOW;

/// Sets what protects, on every mount that is where the plan has it. To be called in the container's mount namespace,
/// before its processes go on.
///
/// # Errors
/// A mount that cannot be protected, for example since a file on it is open for writing.
pub fn protect_again(plan: &Rootfs) -> Result<(), RootfsError> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root =
        rustix::fs::open("/", flags, Mode::empty()).map_err(|error| fail(Path::new("/"))(error.into()))?;
    for mount in &plan.mounts {
        let destination = &mount.destination;
        set(root.as_fd(), destination, mount.attributes.set, false)?;
        set(root.as_fd(), destination, mount.recursive_attributes.set, true)?;
    }
    for path in &plan.readonly_paths {
        // One that came into being after the creation, or with another kernel.
        if is_bare(root.as_fd(), path)? {
            mask::readonly_all(root.as_fd(), std::slice::from_ref(path))?;
        } else {
            set(root.as_fd(), path, Attributes::RDONLY, true)?;
        }
    }
    for path in &plan.masked {
        if is_bare(root.as_fd(), path)? {
            mask::mask_all(root.as_fd(), std::slice::from_ref(path), plan.label())?;
        }
    }
    if plan.readonly {
        set(root.as_fd(), Path::new("/"), Attributes::RDONLY, false)?;
    }
    Ok(())
}

/// Whether something is at `path`, and no mount on it.
fn is_bare(root: BorrowedFd<'_>, path: &Path) -> Result<bool, RootfsError> {
    let place = match resolve::locate(root, path) {
        Ok(place) => place,
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR)) => return Ok(false),
        Err(error) => return Err(fail(path)(error)),
    };
    let found = rustix::fs::statx(&place, "", AtFlags::EMPTY_PATH, StatxFlags::empty())
        .map_err(|error| fail(path)(error.into()))?;
    Ok(!found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
}

fn fail(path: &Path) -> impl FnOnce(io::Error) -> RootfsError {
    let path = path.to_owned();
    move |source| RootfsError::Mask {
        path,
        action: "protect its mount again",
        source,
    }
}

fn set(root: BorrowedFd<'_>, path: &Path, attributes: u64, recursive: bool) -> Result<(), RootfsError> {
    let attr = MountAttr {
        set: attributes & PROTECTING,
        ..MountAttr::default()
    };
    if attr.set == 0 {
        return Ok(());
    }
    let place = match resolve::locate(root, path) {
        Ok(place) => place,
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR)) => return Ok(()),
        Err(error) => return Err(fail(path)(error)),
    };
    match mount_setattr(place.as_fd(), recursive, &attr) {
        // No mount is there: a container that may has unmounted it itself, before its checkpoint.
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Ok(()),
        result => result.map_err(fail(path)),
    }
}
