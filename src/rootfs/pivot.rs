//! Leaving the host's file system for good.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use rustix::mount::{OpenTreeFlags, UnmountFlags};

use super::mask::empty_directory;
use super::{RootfsError, move_to, open_tree, set_propagation};
use crate::plan::mounts::PropagationKind;
use crate::sys::mountinfo;

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

/// Without a mount namespace: the new root becomes this process's alone.
///
/// Weaker than the pivot: who may chroot gets out of it again (chroot(2)).
pub fn enter(root: BorrowedFd<'_>, path: &Path) -> Result<(), RootfsError> {
    let fail = |action| move |source: rustix::io::Errno| error(path, action, source);
    rustix::process::fchdir(root).map_err(fail("enter it"))?;
    rustix::process::chroot(".").map_err(fail("chroot"))?;
    rustix::process::chdir("/").map_err(fail("enter the new root"))
}

/// For roots that cannot be pivoted, such as an initial ramfs (`--no-pivot`): the new root is moved onto `/`.
///
/// Weaker than the pivot: the host's mounts stay in the namespace, hidden below.
pub fn change_root(root: BorrowedFd<'_>, path: &Path) -> Result<(), RootfsError> {
    let fail = |action| move |source: rustix::io::Errno| error(path, action, source);
    remove_kernel_views(path).map_err(|source| RootfsError::Pivot {
        path: path.to_owned(),
        action: "remove the host's procfs and sysfs mounts",
        source,
    })?;
    rustix::process::fchdir(root).map_err(fail("enter it"))?;
    rustix::mount::mount_move(".", "/").map_err(fail("move it to /"))?;
    rustix::process::chroot(".").map_err(fail("chroot"))?;
    rustix::process::chdir("/").map_err(fail("enter the new root"))
}

/// Takes the host's procfs and sysfs mounts out of the namespace: while a whole one is there, the kernel lets
/// the container mount another, without our masks (mount_namespaces(7), "Restrictions on mount namespaces").
///
/// Nothing may be looked up in the host's /proc by path after this.
fn remove_kernel_views(rootfs: &Path) -> io::Result<()> {
    let table = std::fs::read_to_string("/proc/self/mountinfo")?;
    let views = mountinfo::lines(&table)
        .filter(|line| matches!(line.fstype, "proc" | "sysfs") && line.root == Path::new("/"))
        .filter(|line| !line.point.starts_with(rootfs));
    for view in views.collect::<Vec<_>>().iter().rev() {
        let place = match open_tree(&view.point, OpenTreeFlags::empty()) {
            // Hidden below another mount: nobody gets at it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            other => other?,
        };
        // Or the host would lose it as well.
        match set_propagation(place.as_fd(), PropagationKind::Private, true) {
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => continue,
            other => other?,
        }
        match rustix::mount::unmount(&view.point, UnmountFlags::DETACH) {
            Ok(()) => {}
            // Locked together with others by a user namespace.
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::PERM) => {
                move_to(empty_directory(None)?.as_fd(), place.as_fd())?;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn error(path: &Path, action: &'static str, source: rustix::io::Errno) -> RootfsError {
    RootfsError::Pivot {
        path: path.to_owned(),
        action,
        source: io::Error::from(source),
    }
}
