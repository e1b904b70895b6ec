//! Mounts that come to a container, or go, while it runs.
//!
//! Who calls this is a process of ours in the container's mount namespace, with its root as the root. What a source is has
//! been opened on the host; every destination is resolved by the kernel as if nothing but the container were there, and
//! only descriptors are used afterwards. The container may change its own tree meanwhile: what it can bring about by that
//! is another place in itself.
//!
//! What is taken away is named by the id that it had when it was made here, never by a path alone: at any path the
//! container may have put a link to what protects the host from it (/proc/sys, a mask).

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags, StatxAttributes, StatxFlags};
use rustix::mount::UnmountFlags;

use super::{RootfsError, Sources, mount, resolve};
use crate::plan::mounts::{Mount, Rootfs};

/// `STATX_MNT_ID_UNIQUE` of statx(2), Linux 6.8: an id that no later mount gets.
const MNT_ID_UNIQUE: u32 = 0x4000;

/// How often a mount is unmounted that the container covers again and again.
const MAX_COVERS: usize = 64;

/// What has changed, told as it happens.
#[derive(Debug, PartialEq, Eq)]
pub enum Changed<'a> {
    Mounted { destination: &'a Path, id: u64 },
    Unmounted { id: u64 },
}

/// A mount that `mounts add` has made: where it was wanted, and its id.
#[derive(Debug, Clone, Copy)]
pub struct Known<'a> {
    pub destination: &'a Path,
    pub id: u64,
}

/// Who changes the mounts.
pub struct Changer<'a> {
    /// Our own /proc/self/fd on the host's procfs, opened before the container was entered.
    pub descriptors: OwnedFd,
    pub tell: &'a dyn Fn(Changed<'_>) -> io::Result<()>,
}

impl Changer<'_> {
    /// Makes all mounts of the plan, in order, or none: where one fails, those before it are taken away again. What stays
    /// is what was made for them: directories, files, links.
    pub fn add(&self, plan: &Rootfs, sources: &mut Sources) -> Result<(), RootfsError> {
        let root = open_root()?;
        let mut made = Vec::with_capacity(plan.mounts.len());
        for mount in &plan.mounts {
            if let Err(error) = self.add_one(root.as_fd(), mount, plan, sources, &mut made) {
                for (tree, id) in made.iter().rev() {
                    // The first error is the one to report.
                    if self.unmount(tree.as_fd()).is_ok() {
                        let _ = (self.tell)(Changed::Unmounted { id: *id });
                    }
                }
                return Err(error);
            }
        }
        Ok(())
    }

    fn add_one(
        &self,
        root: BorrowedFd<'_>,
        mount: &Mount,
        plan: &Rootfs,
        sources: &mut Sources,
        made: &mut Vec<(OwnedFd, u64)>,
    ) -> Result<(), RootfsError> {
        if mount.destination == Path::new("/") {
            return Err(RootfsError::Refused {
                index: mount.index,
                destination: mount.destination.clone(),
                reason: "the root of a container that runs stays as it is",
            });
        }
        let help = mount::Help {
            label: plan.label(),
            cgroup: None,
            // The host has opened every source, and mapped its ids.
            map_ids: &|_, _| Err(io::Error::from_raw_os_error(libc::EPERM)),
        };
        let Some(tree) = mount::mount(root, mount, sources, &help)? else {
            return Ok(());
        };
        let id = mount_id(tree.as_fd());
        made.push((tree, id.as_ref().map_or(0, |(id, _)| *id)));
        let failed = |source| RootfsError::Root {
            path: mount.destination.clone(),
            action: "find out the id of the mount that was made there",
            source,
        };
        let (id, _) = id.map_err(failed)?;
        let destination = &mount.destination;
        (self.tell)(Changed::Mounted { destination, id }).map_err(failed)?;
        match made.last() {
            Some((tree, _)) if mount::is_finished_later(mount) => mount::finish(mount, tree.as_fd()),
            _ => Ok(()),
        }
    }

    /// Takes away what [`Self::add`] has mounted last at each destination, in order. The first that fails ends it: what is
    /// gone before is gone, as with crun.
    ///
    /// # Errors
    /// [`RootfsError::NotLive`] where something else, or nothing, is there.
    pub fn remove(&self, destinations: &[PathBuf], known: &[Known<'_>]) -> Result<(), RootfsError> {
        let root = open_root()?;
        for destination in destinations {
            let failed = |source| RootfsError::Unmount {
                destination: destination.clone(),
                source,
            };
            let (place, id) = find(root.as_fd(), destination, known).ok_or_else(|| RootfsError::NotLive {
                destination: destination.clone(),
            })?;
            self.unmount(place.as_fd()).map_err(failed)?;
            (self.tell)(Changed::Unmounted { id }).map_err(failed)?;
        }
        Ok(())
    }

    /// Detaches the mount that the descriptor is the root of. umount2(2) knows paths only: the one that leads to a
    /// descriptor of ours, and nowhere else. The call takes what covers the mount first, which can only be the container's.
    fn unmount(&self, mount: BorrowedFd<'_>) -> io::Result<()> {
        rustix::process::fchdir(&self.descriptors)?;
        let name = mount.as_raw_fd().to_string();
        for turn in 0..MAX_COVERS {
            match rustix::mount::unmount(name.as_str(), UnmountFlags::DETACH) {
                Ok(()) => {}
                // It is in no mount namespace any more.
                Err(rustix::io::Errno::INVAL) if turn > 0 => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
        Err(io::Error::from_raw_os_error(libc::EBUSY))
    }
}

/// The mount at a destination, if it is one of those known to have been made for it; itself or behind a link at the end.
fn find(root: BorrowedFd<'_>, destination: &Path, known: &[Known<'_>]) -> Option<(OwnedFd, u64)> {
    [resolve::locate_link, resolve::locate].iter().find_map(|locate| {
        let place = locate(root, destination).ok()?;
        let (id, is_root) = mount_id(place.as_fd()).ok()?;
        let ours = known
            .iter()
            .any(|known| known.id == id && known.destination == destination);
        (is_root && ours).then_some((place, id))
    })
}

/// The id of the mount that a descriptor is on, and whether it is the root of it. Asks nobody but the kernel: behind the
/// mount may be the container's own file system.
pub fn mount_id(fd: BorrowedFd<'_>) -> io::Result<(u64, bool)> {
    let wanted = StatxFlags::from_bits_retain(MNT_ID_UNIQUE) | StatxFlags::MNT_ID;
    let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
    let found = rustix::fs::statx(fd, "", flags, wanted)?;
    let is_root = found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT);
    Ok((found.stx_mnt_id, is_root))
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn only_what_is_known_is_found() {
        let root = open_root().expect("opened");
        let proc = resolve::locate(root.as_fd(), Path::new("/proc")).expect("there is one");
        let (id, is_root) = mount_id(proc.as_fd()).expect("on a mount");
        assert!(is_root, "/proc is a mount point");
        let known = |destination, id| Known {
            destination: Path::new(destination),
            id,
        };
        let found = |path: &str, known: &[Known<'_>]| find(root.as_fd(), Path::new(path), known).is_some();
        assert!(found("/proc", &[known("/x", 1), known("/proc", id)]));
        assert!(!found("/proc", &[known("/proc", id + 1)]));
        // Known by another name.
        assert!(!found("/proc", &[known("/sys", id)]));
        // On that mount, but not its root.
        assert!(!found("/proc/sys", &[known("/proc/sys", id)]));
        assert!(!found("/no/such/place", &[known("/no/such/place", id)]));
    }

    #[test]
    fn a_link_is_followed_to_what_is_known() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let link = dir.path().join("link");
        symlink("/proc", &link).expect("a link");
        let root = open_root().expect("opened");
        let proc = resolve::locate(root.as_fd(), Path::new("/proc")).expect("there is one");
        let (id, _) = mount_id(proc.as_fd()).expect("on a mount");
        let known = |id| {
            [Known {
                destination: &link,
                id,
            }]
        };
        assert!(find(root.as_fd(), &link, &known(id)).is_some());
        assert!(find(root.as_fd(), &link, &known(id + 1)).is_none());
    }
}
