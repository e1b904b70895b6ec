//! Keeping our own executable out of the container's reach (CVE-2019-5736).
//!
//! A process of ours inside a container can be reached as /proc/PID/exe, and the image can make us execute
//! ourselves (`#!/proc/self/exe`). So before any process of ours enters a container we become a process whose
//! executable lies on a read-only detached mount that belongs to no namespace: writing through it fails.
//! Nothing is copied; the pages are those of the file.

use std::ffi::{CString, OsString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, OFlags, StatVfsMountFlags};
use rustix::mount::OpenTreeFlags;
use rustix::process::DumpableBehavior;

use crate::plan::mounts::Attributes;
use crate::rootfs::open_tree;
use crate::sys::mount::{MountAttr, mount_setattr};

/// Why the executable could not be protected.
#[derive(Debug, thiserror::Error)]
pub enum ProtectError {
    #[error("cannot open our own executable")]
    Open(#[source] io::Error),
    #[error("cannot make a read-only clone of our own executable (needs CAP_SYS_ADMIN and Linux 5.12)")]
    Clone(#[source] io::Error),
    #[error("cannot execute the read-only clone of our own executable")]
    Execute(#[source] io::Error),
    #[error("cannot make this process undumpable")]
    Dumpable(#[source] io::Error),
    #[error(
        "our own executable {0} is writable by its user; install it as root, without write permission for others"
    )]
    Writable(PathBuf),
}

/// Makes sure that this process runs from a protected executable: returns at once if it does, and executes
/// the clone with the same arguments and environment if not. Also makes the process undumpable, so that
/// neither it nor its clones can be traced or read through /proc by a container's processes.
///
/// Must be the first thing of a command that enters a container: it starts the program anew.
///
/// A caller without the right to clone mounts is let through where he may not write the executable either.
pub fn executable() -> Result<(), ProtectError> {
    if is_detached_and_read_only().map_err(ProtectError::Open)? {
        return undumpable();
    }
    let clone = match open_tree(Path::new("/proc/self/exe"), OpenTreeFlags::OPEN_TREE_CLONE) {
        Err(error) if error.raw_os_error() == Some(libc::EPERM) => return not_writable(),
        other => other.map_err(ProtectError::Clone)?,
    };
    let attr = MountAttr {
        set: Attributes::RDONLY,
        ..MountAttr::default()
    };
    mount_setattr(clone.as_fd(), false, &attr).map_err(ProtectError::Clone)?;
    Err(ProtectError::Execute(execute(&clone)))
}

/// Keeps the process from being traced, and its files in /proc from other users. A change of ids or
/// capabilities can undo it.
pub fn undumpable() -> Result<(), ProtectError> {
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map_err(|error| ProtectError::Dumpable(error.into()))
}

/// Whether /proc/self/exe is on a read-only mount that no path of our namespace leads to. A read-only mount
/// with a path would not do: it could be mounted writable again, or elsewhere.
fn is_detached_and_read_only() -> io::Result<bool> {
    let exe = rustix::fs::open(
        "/proc/self/exe",
        OFlags::PATH | OFlags::CLOEXEC,
        rustix::fs::Mode::empty(),
    )?;
    if !rustix::fs::fstatvfs(&exe)?
        .f_flag
        .contains(StatVfsMountFlags::RDONLY)
    {
        return Ok(false);
    }
    // A detached mount has no parent, so its root is shown as "/", whatever the file is called.
    Ok(std::fs::read_link("/proc/self/exe")?.as_os_str() == "/")
}

fn execute(clone: &OwnedFd) -> io::Error {
    let strings = |items: Vec<OsString>| -> io::Result<Vec<CString>> {
        items
            .into_iter()
            .map(|item| CString::new(item.into_vec()).map_err(io::Error::from))
            .collect()
    };
    let environment = std::env::vars_os().map(|(mut name, value)| {
        name.push("=");
        name.push(value);
        name
    });
    let prepared =
        strings(std::env::args_os().collect()).and_then(|args| Ok((args, strings(environment.collect())?)));
    let (args, env) = match prepared {
        Ok(prepared) => prepared,
        Err(error) => return error,
    };
    let flags = nix::fcntl::AtFlags::from_bits_truncate(AtFlags::EMPTY_PATH.bits() as i32);
    match nix::unistd::execveat(clone.as_fd(), c"", &args, &env, flags) {
        Ok(never) => match never {},
        Err(error) => error.into(),
    }
}

/// Without the right to mount: what matters is that the container, which runs as this user, cannot write it.
fn not_writable() -> Result<(), ProtectError> {
    let exe = rustix::fs::open(
        "/proc/self/exe",
        OFlags::PATH | OFlags::CLOEXEC,
        rustix::fs::Mode::empty(),
    )
    .map_err(|error| ProtectError::Open(error.into()))?;
    let stat = rustix::fs::fstat(&exe).map_err(|error| ProtectError::Open(error.into()))?;
    let owner = stat.st_uid == rustix::process::geteuid().as_raw();
    let path = format!("/proc/self/fd/{}", exe.as_raw_fd());
    let writable = rustix::fs::access(path.as_str(), rustix::fs::Access::WRITE_OK).is_ok();
    if owner || writable {
        let name = std::fs::read_link("/proc/self/exe").map_err(ProtectError::Open)?;
        return Err(ProtectError::Writable(name));
    }
    Ok(())
}
