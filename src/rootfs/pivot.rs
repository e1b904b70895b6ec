//! Leaving the host's file system for good.

use std::io;
use std::os::fd::BorrowedFd;
use std::path::Path;

use rustix::mount::{MountPropagationFlags, UnmountFlags};

use super::RootfsError;

/// pivot_root(2) with both arguments the new root: the old root ends up mounted on top of it, and is
/// detached with all below. Needs no directory for it in the image.
pub fn pivot_root(root: BorrowedFd<'_>, path: &Path) -> Result<(), RootfsError> {
    let fail = |action| move |source: rustix::io::Errno| error(path, action, source);
    rustix::process::fchdir(root).map_err(fail("enter it"))?;
    rustix::process::pivot_root(".", ".").map_err(fail("pivot_root"))?;
    // The old root must not send the unmount to the host; a slave still receives, and sends nothing.
    let slave = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
    rustix::mount::mount_change(".", slave).map_err(fail("make the old root a slave"))?;
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
    RootfsError::Pivot { path: path.to_owned(), action, source: io::Error::from(source) }
}
