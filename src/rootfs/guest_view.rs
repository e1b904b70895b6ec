//! What a Wasm guest may reach: the container's file system without any /proc.
//!
//! A guest's file accesses are made by the very process that runs it. Through a procfs it could open that
//! process's memory and rewrite the engine, or see descriptors, environment and arguments that the container
//! was not given; and by a thread's number as well as by `self`. So the process gets a root of its own, in
//! which every procfs is covered. Its mount namespace stays the container's: `exec` finds all in place there.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::sched::CloneFlags;
use rustix::fs::{Mode, OFlags};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, OpenTreeFlags};

use super::mask::empty_directory;
use super::mount::is_proc;
use super::{RootfsError, move_to, open_tree, resolve, set_propagation};
use crate::plan::mounts::PropagationKind;
use crate::sys::mountinfo;

/// Gives the calling process such a root. What is returned keeps the view's mounts together and must stay open
/// as long as the guest runs. The working directory is the new root then.
///
/// `proc_self` is our own directory in a trusted procfs. Needs CAP_SYS_ADMIN and CAP_SYS_CHROOT.
pub fn enter_guest_view(proc_self: BorrowedFd<'_>) -> Result<OwnedFd, RootfsError> {
    let fail = |action| {
        move |source: io::Error| RootfsError::Root {
            path: PathBuf::from("/"),
            action,
            source,
        }
    };
    let namespace = || -> io::Result<OwnedFd> {
        Ok(rustix::fs::openat(
            proc_self,
            "ns/mnt",
            OFlags::RDONLY | OFlags::CLOEXEC,
            Mode::empty(),
        )?)
    };
    let container = namespace().map_err(fail("open the container's mount namespace"))?;
    nix::sched::unshare(CloneFlags::CLONE_NEWNS)
        .map_err(|error| fail("make a view of it for the guest")(error.into()))?;
    let root = open_tree(Path::new("/"), OpenTreeFlags::empty()).map_err(fail("open it"))?;
    set_propagation(root.as_fd(), PropagationKind::Private, true)
        .map_err(fail("make the guest's view private"))?;
    cover_procfs(proc_self, root.as_fd()).map_err(fail("cover /proc in the guest's view"))?;
    let view = namespace().map_err(fail("open the guest's view"))?;
    nix::sched::setns(&container, CloneFlags::CLONE_NEWNS)
        .map_err(|error| fail("go back to the container's mount namespace")(error.into()))?;
    rustix::process::fchdir(&root).map_err(|error| fail("enter the guest's view")(error.into()))?;
    rustix::process::chroot(".").map_err(|error| fail("make the guest's view the root")(error.into()))?;
    Ok(view)
}

/// Makes an empty directory in memory that is nowhere among the container's files and that only this user can write.
/// What is put there counts as the container's memory. Needs CAP_SYS_ADMIN.
pub fn make_directory(uid: u32, gid: u32) -> Result<OwnedFd, RootfsError> {
    let make = || -> io::Result<OwnedFd> {
        let context = rustix::mount::fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
        for (key, value) in [
            ("mode", "0700"),
            ("uid", &uid.to_string()),
            ("gid", &gid.to_string()),
        ] {
            rustix::mount::fsconfig_set_string(&context, key, value)?;
        }
        rustix::mount::fsconfig_create(&context)?;
        let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID
            | MountAttrFlags::MOUNT_ATTR_NODEV
            | MountAttrFlags::MOUNT_ATTR_NOEXEC;
        Ok(rustix::mount::fsmount(
            &context,
            FsMountFlags::FSMOUNT_CLOEXEC,
            attributes,
        )?)
    };
    make().map_err(|source| RootfsError::Root {
        path: PathBuf::from("/"),
        action: "make a directory for the files of an application",
        source,
    })
}

fn cover_procfs(proc_self: BorrowedFd<'_>, root: BorrowedFd<'_>) -> io::Result<()> {
    let table = rustix::fs::openat(
        proc_self,
        "mountinfo",
        OFlags::RDONLY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    let mut text = Vec::new();
    File::from(table).read_to_end(&mut text)?;
    for line in mountinfo::lines(&String::from_utf8_lossy(&text)).filter(|line| line.fstype == "proc") {
        let place = match resolve::locate(root, &line.point) {
            Ok(place) => place,
            // Below one that is covered by now.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        if is_proc(place.as_fd())? && resolve::is_directory(&place)? {
            move_to(empty_directory(None)?.as_fd(), place.as_fd())?;
        }
    }
    Ok(())
}
