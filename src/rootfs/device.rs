//! Device nodes and the usual links in /dev.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Gid, Mode, Uid};

use super::{RootfsError, move_to, open_tree, resolve};
use crate::plan::mounts::{Device, DeviceKind, Rootfs};
use rustix::mount::OpenTreeFlags;

/// Links that programs expect in /dev (runtime spec, "Default Devices" and "/dev symbolic links").
const LINKS: &[(&str, &str)] = &[
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
];

/// Makes all devices of the plan; with `bind` (a user namespace, which may not make nodes) the host's nodes
/// of the same names are bound instead.
pub fn make_all(root: BorrowedFd<'_>, plan: &Rootfs, bind: bool) -> Result<(), RootfsError> {
    for device in &plan.devices {
        if bind {
            bind_node(root, device)?;
        } else {
            make_node(root, device)?;
        }
    }
    if plan.dev_links { make_links(root) } else { Ok(()) }
}

fn fail<E: Into<io::Error>>(path: &Path, action: &'static str) -> impl FnOnce(E) -> RootfsError {
    let path = path.to_owned();
    move |source| RootfsError::Device {
        path,
        action,
        source: source.into(),
    }
}

fn make_node(root: BorrowedFd<'_>, device: &Device) -> Result<(), RootfsError> {
    let path = device.path.as_path();
    let (parent, name) = resolve::make_parent(root, path).map_err(fail(path, "make its directory"))?;
    let kind = match device.kind {
        DeviceKind::Character => FileType::CharacterDevice,
        DeviceKind::Block => FileType::BlockDevice,
        DeviceKind::Fifo => FileType::Fifo,
    };
    let number = rustix::fs::makedev(device.major, device.minor);
    // The umask of init is zero, so the mode is the one asked for.
    match rustix::fs::mknodat(&parent, name, kind, Mode::from_raw_mode(device.mode), number) {
        Ok(()) => {}
        Err(rustix::io::Errno::EXIST) => {
            let stat = rustix::fs::statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW)
                .map_err(fail(path, "examine it"))?;
            let same = FileType::from_raw_mode(stat.st_mode) == kind
                && (kind == FileType::Fifo || stat.st_rdev == number);
            if !same {
                return Err(RootfsError::DeviceTaken {
                    path: path.to_owned(),
                });
            }
        }
        Err(error) => return Err(fail(path, "make it")(error)),
    }
    if device.uid != 0 || device.gid != 0 {
        let owner = (Some(Uid::from_raw(device.uid)), Some(Gid::from_raw(device.gid)));
        rustix::fs::chownat(&parent, name, owner.0, owner.1, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(fail(path, "change its owner"))?;
    }
    Ok(())
}

fn bind_node(root: BorrowedFd<'_>, device: &Device) -> Result<(), RootfsError> {
    let path = device.path.as_path();
    let node =
        open_tree(path, OpenTreeFlags::OPEN_TREE_CLONE).map_err(fail(path, "open the host's device"))?;
    let place = resolve::make_file(root, path).map_err(fail(path, "make a place for it"))?;
    move_to(node.as_fd(), place.as_fd()).map_err(fail(path, "bind the host's device"))
}

fn make_links(root: BorrowedFd<'_>) -> Result<(), RootfsError> {
    let path = Path::new("/dev");
    let dev = resolve::make_directory(root, path).map_err(fail(path, "make it"))?;
    for (name, target) in LINKS {
        link(dev.as_fd(), name, target)?;
    }
    if Path::new("/proc/kcore").exists() {
        link(dev.as_fd(), "core", "/proc/kcore")?;
    }
    // An image may bring its own ptmx, which would open another container's or the host's terminals.
    match rustix::fs::unlinkat(&dev, "ptmx", AtFlags::empty()) {
        Ok(()) | Err(rustix::io::Errno::NOENT) => {}
        Err(error) => return Err(fail(Path::new("/dev/ptmx"), "replace it")(error)),
    }
    link(dev.as_fd(), "ptmx", "pts/ptmx")
}

fn link(dev: BorrowedFd<'_>, name: &str, target: &str) -> Result<(), RootfsError> {
    match rustix::fs::symlinkat(target, dev, name) {
        Ok(()) | Err(rustix::io::Errno::EXIST) => Ok(()),
        Err(error) => Err(fail(&Path::new("/dev").join(name), "make the link")(error)),
    }
}
