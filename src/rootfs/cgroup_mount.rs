//! `type: cgroup` mounts: the container sees its own cgroups and, unless it is given the host's cgroup namespace on
//! v2, no others.
//!
//! v2: a new view of the one tree; without a cgroup namespace the host's, in which `/proc/self/cgroup` tells the
//! container where it is, as with runc and crun. v1: a tmpfs with one directory per controller tree, and links for the
//! names of controllers that share one. Without a cgroup namespace the container's own directories are bound.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::Mode;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, OpenTreeFlags};

use super::mount::{ROOT_IS_NO_PLACE, is_root, set_attributes};
use super::{CgroupView, RootfsError, move_to, open_tree, resolve, set_propagation};
use crate::plan::cgroup::CgroupMode;
use crate::plan::mounts::{Attributes, Mount, PropagationKind};
use crate::sys::mountinfo;

/// Where the host has its cgroups.
const TOP: &str = "/sys/fs/cgroup";

type Fail<'m> = &'m dyn Fn(&str, io::Error) -> RootfsError;

/// Mounts the container's cgroups at the mount's destination.
pub fn mount(root: BorrowedFd<'_>, mount: &Mount, view: &CgroupView<'_>) -> Result<(), RootfsError> {
    let fail = |action: &str, source: io::Error| RootfsError::Mount {
        index: mount.index,
        origin: "cgroup".to_owned(),
        destination: mount.destination.clone(),
        action: action.to_owned(),
        source,
    };
    let place = resolve::make_directory(root, &mount.destination)
        .map_err(|error| fail("make the place to mount on", error))?;
    if is_root(root, place.as_fd()).map_err(|error| fail("examine the place", error))? {
        return Err(RootfsError::Refused {
            index: mount.index,
            destination: mount.destination.clone(),
            reason: ROOT_IS_NO_PLACE,
        });
    }
    match view.placement.mode {
        CgroupMode::V2 => unified(place.as_fd(), mount, view, &fail),
        CgroupMode::V1 => trees(place.as_fd(), mount, view, &fail),
    }
}

fn unified(
    place: BorrowedFd<'_>,
    mount: &Mount,
    view: &CgroupView<'_>,
    fail: Fail<'_>,
) -> Result<(), RootfsError> {
    let own = view.placement.paths.get("");
    let tree = if view.namespaced {
        // In a user namespace that does not own the network or cgroup namespace the kernel refuses a new one.
        match (new_instance("cgroup2", &[]), own) {
            (Err(error), Some(own)) if error.raw_os_error() == Some(libc::EPERM) => clone_directory(own),
            (result, _) => result,
        }
    } else {
        match own {
            // A new instance would set the options of all that there are, such as nsdelegate.
            Some(_) => clone_directory(Path::new(TOP)),
            None => callers_directory().and_then(|own| clone_directory(&own)),
        }
    }
    .map_err(|error| fail("make a view of cgroup2", error))?;
    finish(tree.as_fd(), place, mount, attributes(mount, view), fail)
}

/// A container without any cgroup is in its caller's, at which it may look, as in runc.
fn attributes(mount: &Mount, view: &CgroupView<'_>) -> Attributes {
    if view.placement.paths.is_empty() {
        Attributes {
            set: mount.attributes.set | Attributes::RDONLY,
            clear: mount.attributes.clear & !Attributes::RDONLY,
        }
    } else {
        mount.attributes
    }
}

/// Where this process is in the one tree of v2.
fn callers_directory() -> io::Result<PathBuf> {
    let table = std::fs::read_to_string("/proc/self/mountinfo")?;
    let base = Path::new(TOP);
    let line = mountinfo::lines(&table)
        .filter(|line| line.fstype == "cgroup2" && line.point == base)
        .last();
    let tree = line.map(|line| HostTree {
        name: String::new(),
        path: line.point,
        root: line.root,
        fstype: line.fstype.to_owned(),
        options: Vec::new(),
    });
    // Anything else would be another's, or the host's.
    tree.and_then(|tree| tree.current()).ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::NotFound,
            "the caller's own cgroup is not to be seen",
        )
    })
}

fn finish(
    tree: BorrowedFd<'_>,
    place: BorrowedFd<'_>,
    mount: &Mount,
    attributes: Attributes,
    fail: Fail<'_>,
) -> Result<(), RootfsError> {
    set_attributes(tree, attributes, false).map_err(|error| fail("set its options", error))?;
    for propagation in &mount.propagation {
        set_propagation(tree, propagation.kind, propagation.recursive)
            .map_err(|error| fail("set its propagation", error))?;
    }
    move_to(tree, place).map_err(|error| fail("attach it", error))
}

fn trees(
    place: BorrowedFd<'_>,
    mount: &Mount,
    view: &CgroupView<'_>,
    fail: Fail<'_>,
) -> Result<(), RootfsError> {
    let tmpfs = new_instance("tmpfs", &["mode=755"]).map_err(|error| fail("make its tmpfs", error))?;
    let writable = Attributes {
        set: mount.attributes.set & !Attributes::RDONLY,
        clear: mount.attributes.clear,
    };
    set_attributes(tmpfs.as_fd(), writable, false).map_err(|error| fail("set its options", error))?;
    move_to(tmpfs.as_fd(), place).map_err(|error| fail("attach its tmpfs", error))?;
    for host in host_trees().map_err(|error| fail("read the host's cgroup mounts", error))? {
        let named = |error| fail(&format!("show the tree {}", host.name), error);
        let make = || match (view.namespaced, host.own(view)) {
            (true, _) => {
                let options: Vec<&str> = host.options.iter().map(String::as_str).collect();
                Some(new_instance(&host.fstype, &options))
            }
            (false, Some(own)) => Some(clone_directory(own)),
            (false, None) if view.placement.paths.is_empty() => {
                host.current().map(|own| clone_directory(&own))
            }
            // It would be another's, or the host's.
            (false, None) => None,
        };
        let Some(tree) = make() else { continue };
        let tree = tree.map_err(named)?;
        rustix::fs::mkdirat(&tmpfs, host.name.as_str(), Mode::from_raw_mode(0o755))
            .map_err(|e| named(e.into()))?;
        let below = resolve::locate(tmpfs.as_fd(), Path::new(&host.name)).map_err(named)?;
        set_attributes(tree.as_fd(), attributes(mount, view), false).map_err(named)?;
        move_to(tree.as_fd(), below.as_fd()).map_err(named)?;
        for controller in host
            .options
            .iter()
            .filter(|name| !name.contains('=') && **name != host.name)
        {
            rustix::fs::symlinkat(host.name.as_str(), &tmpfs, controller.as_str())
                .map_err(|e| named(e.into()))?;
        }
    }
    // Only now: the directories had to be made first.
    set_attributes(tmpfs.as_fd(), mount.attributes, false).map_err(|error| fail("set its options", error))
}

/// A cgroup tree as the host mounts it.
struct HostTree {
    /// The last part of the mount point (`cpu,cpuacct`).
    name: String,
    path: PathBuf,
    /// What of the tree is mounted there.
    root: PathBuf,
    fstype: String,
    /// The controllers it has, or `name=…`: what mounts the same tree again.
    options: Vec<String>,
}

impl HostTree {
    /// Where the container is in this tree; `None` where it has no cgroup there.
    fn own<'v>(&self, view: &'v CgroupView<'_>) -> Option<&'v PathBuf> {
        view.placement
            .paths
            .values()
            .find(|path| path.starts_with(&self.path))
    }

    /// Where this process is in this tree; `None` where that is not to be seen.
    fn current(&self) -> Option<PathBuf> {
        let table = std::fs::read_to_string("/proc/self/cgroup").ok()?;
        // `hierarchy:controllers:path` (cgroups(7)).
        let path = table.lines().find_map(|line| {
            let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
            let same = match controllers {
                "" => self.options.is_empty(),
                some => some
                    .split(',')
                    .all(|name| self.options.iter().any(|option| option == name)),
            };
            same.then_some(path)
        })?;
        Some(self.path.join(Path::new(path).strip_prefix(&self.root).ok()?))
    }
}

fn host_trees() -> io::Result<Vec<HostTree>> {
    // The host's own /proc: init has not pivoted yet.
    let table = std::fs::read_to_string("/proc/self/mountinfo")?;
    let base = Path::new(TOP);
    let mut trees: Vec<HostTree> = Vec::new();
    for line in mountinfo::lines(&table) {
        if !matches!(line.fstype, "cgroup" | "cgroup2") || line.point.parent() != Some(base) {
            continue;
        }
        let Some(name) = line
            .point
            .file_name()
            .and_then(|name| name.to_str())
            .map(str::to_owned)
        else {
            continue;
        };
        let keep = |option: &&str| {
            !matches!(*option, "rw" | "ro" | "xattr" | "none") && !option.contains("release_agent")
        };
        let options = match line.fstype {
            "cgroup" => line.options.split(',').filter(keep).map(str::to_owned).collect(),
            _ => Vec::new(),
        };
        trees.push(HostTree {
            name,
            path: line.point,
            root: line.root,
            fstype: line.fstype.to_owned(),
            options,
        });
    }
    Ok(trees)
}

/// Nothing that is mounted below it on the host later comes into the container.
fn clone_directory(path: &Path) -> io::Result<OwnedFd> {
    let clone = open_tree(path, OpenTreeFlags::OPEN_TREE_CLONE)?;
    set_propagation(clone.as_fd(), PropagationKind::Private, false)?;
    Ok(clone)
}

fn new_instance(fstype: &str, options: &[&str]) -> io::Result<OwnedFd> {
    let context = rustix::mount::fsopen(fstype, FsOpenFlags::FSOPEN_CLOEXEC)?;
    rustix::mount::fsconfig_set_string(&context, "source", "cgroup")?;
    for option in options {
        match option.split_once('=') {
            Some((key, value)) => rustix::mount::fsconfig_set_string(&context, key, value)?,
            None => rustix::mount::fsconfig_set_flag(&context, *option)?,
        }
    }
    if fstype == "cgroup" && options.iter().any(|option| option.starts_with("name=")) {
        // A named tree has no controller, which must be said.
        rustix::mount::fsconfig_set_flag(&context, "none")?;
    }
    rustix::mount::fsconfig_create(&context)?;
    Ok(rustix::mount::fsmount(
        &context,
        FsMountFlags::FSMOUNT_CLOEXEC,
        MountAttrFlags::empty(),
    )?)
}
