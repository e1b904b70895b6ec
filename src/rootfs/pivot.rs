//! Leaving the host's file system for good.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use rustix::mount::{OpenTreeFlags, UnmountFlags};

use super::{RootfsError, open_tree, set_propagation};
use crate::plan::mounts::PropagationKind;

/// pivot_root(2) with both arguments the new root: the old root ends up mounted on top of it, and is
/// detached with all below. Needs no directory for it in the image.
pub fn pivot_root(root: BorrowedFd<'_>, path: &Path) -> Result<(), RootfsError> {
    let fail = |action| move |source: rustix::io::Errno| error(path, action, source);
    let old = open_tree(Path::new("/"), OpenTreeFlags::empty());
    let old = old.map_err(|source| RootfsError::Pivot {
        path: path.to_owned(),
        action: "open the old root",
        source,
    })?;
    rustix::process::fchdir(root).map_err(fail("enter it"))?;
    rustix::process::pivot_root(".", ".").map_err(fail("pivot_root"))?;
    // The old root must not send the unmount to the host; a slave still receives, and sends nothing. By
    // descriptor: "." would be the new root, of which this would take the propagation that was asked for.
    set_propagation(old.as_fd(), PropagationKind::Slave, true).map_err(|source| RootfsError::Pivot {
        path: path.to_owned(),
        action: "make the old root a slave",
        source,
    })?;
    // For an unmount "." is what is mounted last on it: the old root.
    rustix::mount::unmount(".", UnmountFlags::DETACH).map_err(fail("detach the old root"))?;
    rustix::process::chdir("/").map_err(fail("enter the new root"))
}

/// For roots that cannot be pivoted, such as an initial ramfs (`--no-pivot`): the new root is moved onto `/`.
///
/// Weaker than the pivot: the host's mounts stay in the namespace, hidden below.
pub fn change_root(root: BorrowedFd<'_>, path: &Path) -> Result<(), RootfsError> {
    let fail = |action| move |source: rustix::io::Errno| error(path, action, source);
    rustix::process::fchdir(root).map_err(fail("enter it"))?;
    rustix::mount::mount_move(".", "/").map_err(fail("move it to /"))?;
    rustix::process::chroot(".").map_err(fail("chroot"))?;
    rustix::process::chdir("/").map_err(fail("enter the new root"))
}

fn error(path: &Path, action: &'static str, source: rustix::io::Errno) -> RootfsError {
    RootfsError::Pivot {
        path: path.to_owned(),
        action,
        source: io::Error::from(source),
    }
}
