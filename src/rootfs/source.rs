//! Mounts that the parent must open before the clone, since the container's process may not: bind sources
//! that its user namespace cannot reach, and id-mapped mounts, whose map the host's root has to set.
//!
//! The descriptors are inherited by the clone; nothing is sent.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};

use rustix::mount::OpenTreeFlags;

use super::live::mount_id;
use super::{RootfsError, bind_flags, describe, open_tree, resolve, set_propagation, while_building};
use crate::plan::mounts::{Links, Mount, MountIdMap, MountSource, PropagationKind, Rootfs};
use crate::sys::mount::{MOUNT_ATTR_IDMAP, MountAttr, mount_setattr};
use crate::sys::mountinfo;

/// Makes a descriptor of a user namespace with the given maps; the room `process` knows how.
pub type MakeUserNamespace<'f> = &'f dyn Fn(&MountIdMap) -> io::Result<OwnedFd>;

/// Detached mounts, by the place of their entry in config.json.
#[derive(Debug, Default)]
pub struct Sources {
    root: Option<OwnedFd>,
    mounts: BTreeMap<usize, OwnedFd>,
    /// Of sources that are symbolic links and are to be copied: where they point.
    links: BTreeMap<usize, PathBuf>,
    /// They were opened by the host for a user namespace: their flags are as locked as if it had got them the usual way.
    pub(super) locked: bool,
    /// Where recursive options are to be set on locked ones: the attributes of the mounts below each.
    below: BTreeMap<usize, Vec<u64>>,
}

/// Who sees to it that flags stay which a user namespace may not change.
#[derive(Debug)]
pub enum Locks {
    /// The kernel, if anybody.
    OfTheKernel,
    /// We, since the kernel does not know. With the attributes of the mounts below.
    Ours(Vec<u64>),
}

impl Sources {
    /// Opens what the plan needs opened by the host: with `user_namespace` every bind and the root, otherwise
    /// only id-mapped mounts. Not what lies below the root, which init finds when the mounts before it are made.
    pub fn open(
        plan: &Rootfs,
        user_namespace: bool,
        make: MakeUserNamespace<'_>,
    ) -> Result<Self, RootfsError> {
        let mut sources = Self {
            locked: user_namespace,
            ..Self::default()
        };
        if user_namespace {
            let fail = |action| {
                move |source: io::Error| RootfsError::Root {
                    path: plan.path.clone(),
                    action,
                    source,
                }
            };
            let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::AT_RECURSIVE;
            let tree = open_tree(&plan.path, flags).map_err(fail("clone its mount"))?;
            set_propagation(tree.as_fd(), PropagationKind::Slave, true)
                .map_err(fail("make its mount a slave"))?;
            sources.root = Some(tree);
        }
        for mount in &plan.mounts {
            if let Some(target) = link_to_copy(mount)? {
                sources.links.insert(mount.index, target);
                continue;
            }
            if matches!(mount.source, MountSource::Bind { inside: Some(_), .. }) {
                continue;
            }
            if (user_namespace && matches!(mount.source, MountSource::Bind { .. })) || mount.idmap.is_some() {
                sources.open_host(mount, plan, make)?;
            }
        }
        Ok(sources)
    }

    /// Opens the source of every bind mount that is not below the container's root: for a container that runs, from
    /// which no path of the host is seen.
    /// `user_namespace`: the container has one that is not ours.
    pub fn open_binds(
        plan: &Rootfs,
        user_namespace: bool,
        make: MakeUserNamespace<'_>,
    ) -> Result<Self, RootfsError> {
        let mut sources = Self {
            locked: user_namespace,
            ..Self::default()
        };
        for mount in &plan.mounts {
            if let Some(target) = link_to_copy(mount)? {
                sources.links.insert(mount.index, target);
            } else if matches!(mount.source, MountSource::Bind { inside: Some(_), .. }) {
                // The container may have put a link there that leads to the host: it is found from within.
                if mount.idmap.is_some() {
                    return Err(RootfsError::Refused {
                        index: mount.index,
                        destination: mount.destination.clone(),
                        reason: "its source is the running container's own, and gets no id map",
                    });
                }
            } else if matches!(mount.source, MountSource::Bind { .. }) || mount.idmap.is_some() {
                sources.open_host(mount, plan, make)?;
            }
        }
        Ok(sources)
    }

    fn open_host(
        &mut self,
        mount: &Mount,
        plan: &Rootfs,
        make: MakeUserNamespace<'_>,
    ) -> Result<(), RootfsError> {
        if self.locked && !mount.recursive_attributes.is_empty() {
            let below = attributes_below(mount).map_err(|source| RootfsError::Mount {
                index: mount.index,
                origin: describe(mount),
                destination: mount.destination.clone(),
                action: "look at the mounts below the source".to_owned(),
                source,
            })?;
            self.below.insert(mount.index, below);
        }
        self.mounts.insert(mount.index, open_one(mount, plan, make)?);
        Ok(())
    }

    /// What holds for a mount that [`Self::take`] gives.
    pub(super) fn locks(&mut self, index: usize) -> Locks {
        match self.locked {
            true => Locks::Ours(self.below.remove(&index).unwrap_or_default()),
            false => Locks::OfTheKernel,
        }
    }

    /// What the clone must keep open.
    pub fn descriptors(&self) -> Vec<RawFd> {
        self.root
            .iter()
            .chain(self.mounts.values())
            .map(AsRawFd::as_raw_fd)
            .collect()
    }

    pub fn take_root(&mut self) -> Option<OwnedFd> {
        self.root.take()
    }

    /// Where the link points that this mount is to copy.
    pub fn link(&self, index: usize) -> Option<&Path> {
        self.links.get(&index).map(PathBuf::as_path)
    }

    pub fn take(&mut self, index: usize) -> Option<OwnedFd> {
        self.mounts.remove(&index)
    }
}

/// The target of a source that is a symbolic link and is to be copied as one.
fn link_to_copy(mount: &Mount) -> Result<Option<PathBuf>, RootfsError> {
    let MountSource::Bind { path, links, .. } = &mount.source else {
        return Ok(None);
    };
    if !links.copy {
        return Ok(None);
    }
    match std::fs::read_link(path) {
        Ok(target) => Ok(Some(target)),
        // Anything but a link is mounted.
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(None),
        Err(source) => Err(RootfsError::Mount {
            index: mount.index,
            origin: describe(mount),
            destination: mount.destination.clone(),
            action: "look at the source".to_owned(),
            source,
        }),
    }
}

/// How to open the source of a bind mount.
pub(super) fn open_flags(recursive: bool, links: Links) -> OpenTreeFlags {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    if links.source_nofollow {
        flags |= OpenTreeFlags::AT_SYMLINK_NOFOLLOW;
    }
    flags
}

/// The attributes of all mounts that a recursive bind takes along, by the host's table.
fn attributes_below(mount: &Mount) -> io::Result<Vec<u64>> {
    let MountSource::Bind {
        path,
        recursive: true,
        ..
    } = &mount.source
    else {
        return Ok(Vec::new());
    };
    let path = std::fs::canonicalize(path)?;
    let table = std::fs::read_to_string("/proc/self/mountinfo")?;
    let below = mountinfo::lines(&table).filter(|line| line.point.starts_with(&path));
    Ok(below
        .map(|line| bind_flags::attributes_named(line.attributes))
        .collect())
}

fn open_one(mount: &Mount, plan: &Rootfs, make: MakeUserNamespace<'_>) -> Result<OwnedFd, RootfsError> {
    let fail = |action: &str| {
        let action = action.to_owned();
        move |source: io::Error| RootfsError::Mount {
            index: mount.index,
            origin: describe(mount),
            destination: mount.destination.clone(),
            action,
            source,
        }
    };
    let MountSource::Bind {
        path,
        recursive,
        links,
        ..
    } = &mount.source
    else {
        return Err(RootfsError::Refused {
            index: mount.index,
            destination: mount.destination.clone(),
            reason: "an id map needs a bind mount",
        });
    };
    let tree = open_tree(path, open_flags(*recursive, *links)).map_err(fail("open the source"))?;
    // Cloned here, it would be a peer of the host's mount. As runc's, it gets what the root's propagation gives.
    let kind = plan.propagation.map_or(PropagationKind::Slave, |propagation| {
        while_building(propagation.kind)
    });
    if kind != PropagationKind::Shared {
        set_propagation(tree.as_fd(), kind, true).map_err(fail("set the propagation of the source"))?;
    }
    map_ids(tree.as_fd(), mount, make)?;
    Ok(tree)
}

/// Gives a detached mount the id map that the plan has for it, with the host's rights.
pub fn map_ids(tree: BorrowedFd<'_>, mount: &Mount, make: MakeUserNamespace<'_>) -> Result<(), RootfsError> {
    let Some(idmap) = &mount.idmap else {
        return Ok(());
    };
    let fail = |action: &str| {
        let action = action.to_owned();
        move |source: io::Error| RootfsError::Mount {
            index: mount.index,
            origin: describe(mount),
            destination: mount.destination.clone(),
            action,
            source,
        }
    };
    let namespace = make(idmap).map_err(fail("make a user namespace for the id map"))?;
    let attr = MountAttr {
        set: MOUNT_ATTR_IDMAP,
        userns_fd: namespace.as_raw_fd() as u64,
        ..MountAttr::default()
    };
    mount_setattr(tree, idmap.recursive, &attr).map_err(fail(
        "set the id map (does the file system support id-mapped mounts?)",
    ))
}

/// Opens a source that lies below the container's root, by its path in there; also tells whether it is on the root's mount.
pub(super) fn open_inside(
    root: BorrowedFd<'_>,
    path: &Path,
    recursive: bool,
    links: Links,
) -> io::Result<(OwnedFd, bool)> {
    let place = if links.source_nofollow {
        resolve::locate_link(root, path)?
    } else {
        resolve::locate(root, path)?
    };
    let mut flags =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    let of_the_root = mount_id(place.as_fd())?.0 == mount_id(root)?.0;
    Ok((rustix::mount::open_tree(&place, "", flags)?, of_the_root))
}
