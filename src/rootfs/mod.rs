//! Carries out the file-system part of a plan: the root, the mounts, the devices, the masks, the pivot.
//!
//! The parent prepares, before the clone, what needs the host's rights ([`source::Sources`]); init does the
//! rest in its own mount namespace, in the order of [`Tree`]'s methods. Every path of the container goes
//! through [`resolve`]; nothing of the host is reached by a path that a container could have written.

mod again;
mod bind_flags;
mod cgroup_mount;
mod copy_up;
mod device;
mod guest_view;
mod host_root;
pub mod live;
mod long_option;
mod mask;
mod mount;
mod pivot;
pub mod resolve;
mod source;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::mount::{MoveMountFlags, OpenTreeFlags};

pub use again::protect_again;
pub use guest_view::{enter_guest_view, make_directory};
pub use host_root::HostRoot;
pub use mask::open_host_null;
pub use mount::MapIds;
pub use source::{Sources, map_ids};

use crate::plan::cgroup::Placement;
use crate::plan::mounts::{Mount, PropagationKind, Rootfs};
use crate::sys::mount::{MountAttr, mount_setattr};

/// What went wrong, and with which part of config.json.
#[derive(Debug, thiserror::Error)]
pub enum RootfsError {
    #[error("rootfs {path}: cannot {action}")]
    Root {
        path: PathBuf,
        action: &'static str,
        source: io::Error,
    },
    #[error("error mounting {origin:?} to rootfs at {destination:?} (mounts[{index}]): cannot {action}")]
    Mount {
        index: usize,
        origin: String,
        destination: PathBuf,
        action: String,
        source: io::Error,
    },
    #[error("mount to {destination:?} (mounts[{index}]): {reason}")]
    Refused {
        index: usize,
        destination: PathBuf,
        reason: &'static str,
    },
    #[error("cannot unmount {destination:?}")]
    Unmount { destination: PathBuf, source: io::Error },
    #[error("cannot unmount {destination:?}: `mounts add` has mounted nothing that is there now")]
    NotLive { destination: PathBuf },
    #[error("device {path:?}: cannot {action}")]
    Device {
        path: PathBuf,
        action: &'static str,
        source: io::Error,
    },
    #[error(
        "device {path:?}: the image has another file there; remove it from the image or the device from linux.devices"
    )]
    DeviceTaken { path: PathBuf },
    #[error("path {path:?}: cannot {action}")]
    Mask {
        path: PathBuf,
        action: &'static str,
        source: io::Error,
    },
    #[error("cannot change the root to {path}: {action}")]
    Pivot {
        path: PathBuf,
        action: &'static str,
        source: io::Error,
    },
}

/// The container's file system while init builds it.
pub struct Tree<'p> {
    plan: &'p Rootfs,
    root: OwnedFd,
    /// How many of the plan's mounts are made.
    made: usize,
    /// The container's devpts instance, if the plan mounts one.
    devpts: Option<OwnedFd>,
    /// Mounts of the plan that become read-only when all is made in them.
    unfinished: Vec<(&'p Mount, OwnedFd)>,
    undo: Undo,
}

/// The root where it is mounted on the host, otherwise nothing. Dropped, that mount goes, with all on it. After the pivot,
/// when this process gives up its rights, that is for the parent ([`HostRoot`]).
struct Undo(Option<OwnedFd>);

impl Drop for Undo {
    fn drop(&mut self) {
        if let Some(root) = self.0.take() {
            // What is wrong is told already. "." is what we have open, whatever its path leads to now.
            let _ = rustix::process::fchdir(&root)
                .and_then(|()| rustix::mount::unmount(".", rustix::mount::UnmountFlags::DETACH));
        }
    }
}

impl<'p> Tree<'p> {
    /// Makes the mount namespace's propagation what the plan says and mounts the rootfs on itself.
    ///
    /// Must come first: until the propagation is changed, mounts made here could reach the host.
    pub fn attach(plan: &'p Rootfs, sources: &mut Sources) -> Result<Self, RootfsError> {
        let fail = |action| {
            move |source: io::Error| RootfsError::Root {
                path: plan.path.clone(),
                action,
                source,
            }
        };
        if plan.on_host {
            return Self::attach_on_host(plan);
        }
        let propagation = plan.propagation.map_or((PropagationKind::Slave, true), |wanted| {
            (while_building(wanted.kind), wanted.recursive)
        });
        let host = open_tree(Path::new("/"), OpenTreeFlags::empty()).map_err(fail("open /"))?;
        set_propagation(host.as_fd(), propagation.0, propagation.1)
            .map_err(fail("set the mount propagation of /"))?;
        if !matches!(
            propagation,
            (PropagationKind::Slave | PropagationKind::Private, true)
        ) {
            // The mount that the rootfs is on may be shared still, or forbid a copy: pivot_root(2) refuses a
            // shared parent, and what is mounted below one appears on the host.
            make_parent_private(&plan.path).map_err(fail("make the mount it is on private"))?;
        }
        let root = match sources.take_root() {
            Some(root) => root,
            None => open_tree(
                &plan.path,
                OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::AT_RECURSIVE,
            )
            .map_err(fail("clone its mount"))?,
        };
        let spot = open_tree(&plan.path, OpenTreeFlags::empty()).map_err(fail("open it"))?;
        move_to(root.as_fd(), spot.as_fd()).map_err(fail("mount it"))?;
        Ok(Self {
            plan,
            root,
            made: 0,
            devpts: None,
            unfinished: Vec::new(),
            undo: Undo(None),
        })
    }

    /// Mounts the rootfs on itself in the host's namespace. Nothing of the host's gets another propagation (runc makes
    /// all of it a slave): the new mount is private, so that what is mounted below appears there alone.
    fn attach_on_host(plan: &'p Rootfs) -> Result<Self, RootfsError> {
        let fail = |action| {
            move |source: io::Error| RootfsError::Root {
                path: plan.path.clone(),
                action,
                source,
            }
        };
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::AT_RECURSIVE;
        let root = open_tree(&plan.path, flags).map_err(fail("clone its mount"))?;
        set_propagation(root.as_fd(), PropagationKind::Private, true)
            .map_err(fail("make its mount private"))?;
        let spot = open_tree(&plan.path, OpenTreeFlags::empty()).map_err(fail("open it"))?;
        // However its path was written.
        let file = |path: &Path| rustix::fs::stat(path).map(|stat| (stat.st_dev, stat.st_ino));
        let own = file(Path::new("/")).map_err(|error| fail("examine /")(error.into()))?;
        if file(&plan.path).map_err(|error| fail("examine it")(error.into()))? == own {
            return Err(fail("mount the host's root on itself")(
                io::Error::from_raw_os_error(libc::EBUSY),
            ));
        }
        let copy = root.try_clone().map_err(fail("copy its descriptor"))?;
        move_to(root.as_fd(), spot.as_fd()).map_err(fail("mount it"))?;
        Ok(Self {
            plan,
            root,
            made: 0,
            devpts: None,
            unfinished: Vec::new(),
            undo: Undo(Some(copy)),
        })
    }

    /// The root directory, for lookups with [`resolve`].
    pub fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// The root of the container's devpts, from which its console is opened.
    pub fn devpts(&self) -> Option<BorrowedFd<'_>> {
        self.devpts.as_ref().map(AsFd::as_fd)
    }

    /// Makes the first mounts, up to one for which it matters in which cgroup this process is.
    pub fn mount_early(&mut self, sources: &mut Sources) -> Result<(), RootfsError> {
        let help = mount::Help {
            label: self.plan.label(),
            cgroup: None,
            map_ids: &|_, _| Err(io::Error::from_raw_os_error(libc::EPERM)),
        };
        self.mount_while(sources, &help, mount::is_early)
    }

    /// Makes all mounts that are not made yet, in order.
    pub fn mount_all(
        &mut self,
        sources: &mut Sources,
        cgroup: &CgroupView<'_>,
        map_ids: MapIds<'_>,
    ) -> Result<(), RootfsError> {
        let help = mount::Help {
            label: self.plan.label(),
            cgroup: Some(cgroup),
            map_ids,
        };
        self.mount_while(sources, &help, |_| true)
    }

    fn mount_while(
        &mut self,
        sources: &mut Sources,
        help: &mount::Help<'_>,
        wanted: fn(&Mount) -> bool,
    ) -> Result<(), RootfsError> {
        let plan = self.plan;
        for mount in plan.mounts[self.made..].iter().take_while(|mount| wanted(mount)) {
            let tree = mount::mount(self.root.as_fd(), mount, sources, help)?;
            self.made += 1;
            if mount::is_new_devpts(mount) {
                self.devpts = tree;
            } else if mount::is_finished_later(mount) {
                self.unfinished.extend(tree.map(|tree| (mount, tree)));
            }
        }
        Ok(())
    }

    /// Makes device nodes and the usual links in /dev.
    pub fn make_devices(&self, bind: bool) -> Result<(), RootfsError> {
        device::make_all(self.root.as_fd(), self.plan, bind)
    }

    /// Masks and write-protects paths. After the mounts, which may lie on them; before the pivot, since it
    /// needs the host's /dev/null.
    pub fn protect_paths(&self) -> Result<(), RootfsError> {
        for (mount, tree) in &self.unfinished {
            mount::finish(mount, tree.as_fd())?;
        }
        mask::readonly_all(self.root.as_fd(), &self.plan.readonly_paths)?;
        mask::mask_all(self.root.as_fd(), &self.plan.masked, self.plan.label())
    }

    /// Makes the rootfs the root of this process, and the host's tree unreachable.
    pub fn pivot(mut self) -> Result<OwnedFd, RootfsError> {
        if self.plan.on_host {
            pivot::enter(self.root.as_fd(), &self.plan.path)?;
        } else if self.plan.no_pivot {
            pivot::change_root(self.root.as_fd(), &self.plan.path)?;
        } else {
            pivot::pivot_root(self.root.as_fd(), &self.plan.path)?;
        }
        if let Some(wanted) = self.plan.propagation {
            // As the root it gets what the plan says; what is mounted below has its own propagation by now.
            set_propagation(self.root.as_fd(), wanted.kind, false).map_err(|source| RootfsError::Root {
                path: self.plan.path.clone(),
                action: "set its propagation",
                source,
            })?;
        }
        if self.plan.readonly {
            let attr = MountAttr {
                set: crate::plan::mounts::Attributes::RDONLY,
                ..MountAttr::default()
            };
            mount_setattr(self.root.as_fd(), false, &attr).map_err(|source| RootfsError::Root {
                path: self.plan.path.clone(),
                action: "make it read-only",
                source,
            })?;
        }
        self.undo.0 = None;
        Ok(self.root)
    }
}

/// What a `type: cgroup` mount shows.
pub struct CgroupView<'a> {
    pub placement: &'a Placement,
    /// The container has a cgroup namespace, so that new instances show its own cgroup as the root.
    pub namespaced: bool,
}

/// A descriptor of a path of the host, or with `OPEN_TREE_CLONE` a detached copy of the mount there.
pub fn open_tree(path: &Path, flags: OpenTreeFlags) -> io::Result<OwnedFd> {
    Ok(rustix::mount::open_tree(
        rustix::fs::CWD,
        path,
        flags | OpenTreeFlags::OPEN_TREE_CLOEXEC,
    )?)
}

/// A detached copy of the mount at `fd`, showing only what lies at it.
pub fn clone_at(fd: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let flags =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    Ok(rustix::mount::open_tree(fd, "", flags)?)
}

/// Attaches a detached mount at an open place.
pub fn move_to(tree: BorrowedFd<'_>, place: BorrowedFd<'_>) -> io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    Ok(rustix::mount::move_mount(tree, "", place, "", flags)?)
}

fn set_propagation(mount: BorrowedFd<'_>, kind: PropagationKind, recursive: bool) -> io::Result<()> {
    let propagation = match kind {
        PropagationKind::Shared => libc::MS_SHARED,
        PropagationKind::Slave => libc::MS_SLAVE,
        PropagationKind::Private => libc::MS_PRIVATE,
        PropagationKind::Unbindable => libc::MS_UNBINDABLE,
    };
    mount_setattr(
        mount,
        recursive,
        &MountAttr {
            propagation,
            ..MountAttr::default()
        },
    )
}

/// Finds the mount that `path` is on, which is the nearest ancestor at which a mount attribute can be set.
fn make_parent_private(path: &Path) -> io::Result<()> {
    for ancestor in path.ancestors() {
        let spot = open_tree(ancestor, OpenTreeFlags::empty())?;
        match set_propagation(spot.as_fd(), PropagationKind::Private, false) {
            // EINVAL: not the root of a mount; go on upwards.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {}
            result => return result,
        }
    }
    Err(io::Error::from_raw_os_error(libc::EINVAL))
}

/// The propagation of the host's mounts while the container's are made. What is unbindable could not be cloned, and
/// masks and read-only paths are made so.
fn while_building(kind: PropagationKind) -> PropagationKind {
    match kind {
        PropagationKind::Unbindable => PropagationKind::Private,
        kind => kind,
    }
}

fn describe(mount: &Mount) -> String {
    use crate::plan::mounts::MountSource;
    match &mount.source {
        MountSource::Bind { path, .. } => path.display().to_string(),
        MountSource::Filesystem { source, fstype, .. } if source.is_empty() => fstype.clone(),
        MountSource::Filesystem { source, .. } => source.clone(),
        MountSource::Cgroup => "cgroup".to_owned(),
        MountSource::Remount | MountSource::Reconfigure { .. } => "remount".to_owned(),
    }
}
