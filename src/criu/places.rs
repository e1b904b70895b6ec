//! The root file system that a container is restored on. CRIU mounts, but makes no places to mount on, and demands
//! a root that is a mount point with nothing mounted over its parent.
//!
//! All mounting here happens in a mount namespace of our own, which CRIU inherits, so that nothing stays mounted on
//! the host, whatever is killed. We ourselves go back: hooks are run on the host.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::CloneFlags;
use rustix::fs::{Mode, OFlags};
use rustix::mount::OpenTreeFlags;

use super::CriuError;
use super::external::{self, External};
use crate::plan::mounts::{Mount, MountSource, Rootfs};
use crate::rootfs::{move_to, open_tree, resolve};

fn failed<E: Into<io::Error>>(action: &'static str) -> impl FnOnce(E) -> CriuError {
    move |source| CriuError::Start {
        action,
        source: source.into(),
    }
}

/// Where we were before.
struct Home {
    namespace: File,
    root: OwnedFd,
    cwd: OwnedFd,
}

impl Home {
    fn leave() -> Result<Self, CriuError> {
        let open = |path: &str| {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            rustix::fs::open(path, flags, Mode::empty()).map_err(failed("open where we are"))
        };
        let home = Self {
            namespace: File::open("/proc/self/ns/mnt").map_err(failed("open our mount namespace"))?,
            root: open("/")?,
            cwd: open(".")?,
        };
        nix::sched::unshare(CloneFlags::CLONE_NEWNS).map_err(failed("make a mount namespace"))?;
        let flags = MsFlags::MS_SLAVE | MsFlags::MS_REC;
        match mount(None::<&str>, "/", None::<&str>, flags, None::<&str>) {
            Ok(()) => Ok(home),
            Err(error) => {
                home.come_back()?;
                Err(failed("keep mounts from the host")(error))
            }
        }
    }

    /// setns(2) makes the top of the namespace our root, which it need not have been.
    fn come_back(self) -> Result<(), CriuError> {
        nix::sched::setns(&self.namespace, CloneFlags::CLONE_NEWNS)
            .and_then(|()| nix::unistd::fchdir(&self.root))
            .and_then(|()| nix::unistd::chroot("."))
            .and_then(|()| nix::unistd::fchdir(&self.cwd))
            .map_err(failed("come back to our mount namespace"))
    }
}

/// Does `work` in a mount namespace of its own, in which what the host mounts appears, but from which nothing comes
/// back. Processes that `work` starts stay there, and so does what it opens.
///
/// # Errors
/// Those of `work`, or a namespace that cannot be made or left.
pub fn in_own_mounts<T, E: From<CriuError>>(work: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
    let home = Home::leave()?;
    let done = work();
    home.come_back()?;
    done
}

/// Mounts the rootfs at `at`, an empty directory of ours without links in its path, makes the places of all mounts
/// that are missing in it, and finds the names of what is to be bound there.
///
/// # Errors
/// A place that cannot be made, or a source that is missing.
pub fn prepare(at: &Path, rootfs: &Rootfs) -> Result<Vec<External>, CriuError> {
    let host = std::fs::read_to_string("/proc/self/mountinfo").map_err(failed("read the host's mounts"))?;
    bind(&rootfs.path, at)?;
    let places = Places { at, rootfs };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root =
        rustix::fs::open(at, flags, Mode::empty()).map_err(failed("open the rootfs where it is mounted"))?;
    let mut binds = Vec::new();
    for mount in &rootfs.mounts {
        let found = places
            .one(root.as_fd(), mount, &host)
            .map_err(|source| CriuError::Place {
                index: mount.index,
                destination: mount.destination.clone(),
                source,
            })?;
        binds.extend(found);
    }
    drop(root);
    // What was bound to make places in it is CRIU's to mount.
    umount2(at, MntFlags::MNT_DETACH).map_err(failed("unmount the rootfs"))?;
    bind(&rootfs.path, at)?;
    Ok(binds)
}

fn bind(source: &Path, target: &Path) -> Result<(), CriuError> {
    let flags = MsFlags::MS_BIND | MsFlags::MS_REC;
    mount(Some(source), target, None::<&str>, flags, None::<&str>).map_err(|error| CriuError::Path {
        option: "rootfs",
        path: source.to_owned(),
        action: "mount it for criu",
        source: error.into(),
    })
}

struct Places<'a> {
    at: &'a Path,
    rootfs: &'a Rootfs,
}

impl Places<'_> {
    fn one(&self, root: BorrowedFd<'_>, mount: &Mount, host: &str) -> io::Result<Vec<External>> {
        let (source, recursive) = match &mount.source {
            // The link itself, which was made in the rootfs.
            MountSource::Bind { path, links, .. } if links.copy && path.is_symlink() => return Ok(Vec::new()),
            MountSource::Bind { path, recursive, .. } => (Some(path.canonicalize()?), *recursive),
            MountSource::Filesystem { .. } => (None, false),
            // CRIU restores what these are on (a tmpfs, or sysfs), or the mount is there already.
            MountSource::Cgroup | MountSource::Remount | MountSource::Reconfigure { .. } => {
                return Ok(Vec::new());
            }
        };
        let destination = &mount.destination;
        let at = if self.is_on_tmpfs(destination) {
            // CRIU restores what is in it.
            external::inside(root, destination)?
        } else {
            self.make(root, destination, source.as_deref(), recursive)?
        };
        let Some(source) = source else {
            return Ok(Vec::new());
        };
        let mut found = if recursive {
            external::below(host, &source, &at)
        } else {
            Vec::new()
        };
        found.insert(0, External { key: at, source });
        Ok(found)
    }

    fn is_on_tmpfs(&self, destination: &Path) -> bool {
        self.rootfs.mounts.iter().any(|mount| {
            let tmpfs = matches!(&mount.source, MountSource::Filesystem { fstype, .. } if fstype == "tmpfs");
            tmpfs && mount.destination != destination && destination.starts_with(&mount.destination)
        })
    }

    /// Makes a place, mounts there what is bound, since later places may be in that, and gives its path.
    fn make(
        &self,
        root: BorrowedFd<'_>,
        destination: &Path,
        source: Option<&Path>,
        recursive: bool,
    ) -> io::Result<PathBuf> {
        let place = match source {
            Some(source) if !source.is_dir() => resolve::make_file(root, destination)?,
            _ => resolve::make_directory(root, destination)?,
        };
        let path = external::name(place.as_fd())?;
        let inside = path.strip_prefix(self.at).unwrap_or(&path);
        let at = Path::new("/").join(inside);
        if let Some(source) = source {
            let mut flags = OpenTreeFlags::OPEN_TREE_CLONE;
            flags.set(OpenTreeFlags::AT_RECURSIVE, recursive);
            let tree = open_tree(source, flags)?;
            move_to(tree.as_fd(), place.as_fd())?;
        }
        Ok(at)
    }
}
