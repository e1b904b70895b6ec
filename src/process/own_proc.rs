//! Our own directory in a procfs that no image and no container can have touched: what a process is told there, it
//! believes. Must not look at the container's /proc.

use std::cell::OnceCell;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};

/// `PROC_SUPER_MAGIC` of statfs(2).
pub(super) const PROC_MAGIC: i64 = 0x9fa0;

const DIRECTORY: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// Our own directory, made only when it is asked for where that has a price: most processes never ask.
pub(super) struct OwnProc<'a> {
    directory: OnceCell<OwnedFd>,
    make: &'a dyn Fn() -> io::Result<OwnedFd>,
}

impl<'a> OwnProc<'a> {
    pub(super) fn opened(directory: OwnedFd) -> Self {
        Self {
            directory: OnceCell::from(directory),
            make: &|| Err(io::Error::from_raw_os_error(libc::ENOENT)),
        }
    }

    pub(super) fn to_be_made(make: &'a dyn Fn() -> io::Result<OwnedFd>) -> Self {
        Self {
            directory: OnceCell::new(),
            make,
        }
    }

    /// # Errors
    /// Those of making it.
    pub(super) fn directory(&self) -> io::Result<BorrowedFd<'_>> {
        let made = match self.directory.get() {
            Some(directory) => return Ok(directory.as_fd()),
            None => (self.make)()?,
        };
        Ok(self.directory.get_or_init(|| made).as_fd())
    }
}

/// In the host's procfs, as long as that is ours to see.
///
/// From there a path leads to all of the host's processes: a process that holds this must be out of reach for those of the
/// container.
pub(super) fn open() -> io::Result<OwnedFd> {
    checked(rustix::fs::open("/proc/self", DIRECTORY, Mode::empty())?)
}

/// The host's procfs, for a process to come that will not see it any more.
pub(super) fn open_host() -> io::Result<OwnedFd> {
    checked(rustix::fs::open("/proc", DIRECTORY, Mode::empty())?)
}

/// In a procfs that was opened before.
pub(super) fn open_in(proc: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    Ok(rustix::fs::openat(
        proc,
        Path::new("self"),
        DIRECTORY,
        Mode::empty(),
    )?)
}

/// In a procfs made for this, of our own pid namespace: whoever gets hold of it finds there the processes of that, and
/// nothing else. It is mounted nowhere. The second descriptor is of its mount, and not needed any more; but whoever closes
/// the last of it waits for the kernel to take the mount apart, which somebody else may do meanwhile.
///
/// # Errors
/// `EPERM` without CAP_SYS_ADMIN of the namespace; in a user namespace also where parts of its procfs are covered.
pub(super) fn make() -> io::Result<(OwnedFd, OwnedFd)> {
    let context = rustix::mount::fsopen("proc", FsOpenFlags::FSOPEN_CLOEXEC)?;
    rustix::mount::fsconfig_set_string(&context, "subset", "pid")?;
    rustix::mount::fsconfig_create(&context)?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let mount = rustix::mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)?;
    Ok((open_in(mount.as_fd())?, mount))
}

fn checked(directory: OwnedFd) -> io::Result<OwnedFd> {
    if rustix::fs::fstatfs(&directory)?.f_type != PROC_MAGIC {
        return Err(io::Error::other("/proc is not a proc file system"));
    }
    Ok(directory)
}
