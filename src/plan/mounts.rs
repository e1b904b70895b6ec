//! The container's file system: root, mounts in order, devices, masks.

use std::path::{Component, Path, PathBuf};

use serde::Serialize;

use super::namespaces::{IdMap, Kind as NamespaceKind, id_maps};
use super::{Options, PlanError};
use crate::host::Host;
use crate::spec::{Spec, idmap_option, model};

pub use crate::spec::mount_options::{Attributes, Propagation, PropagationKind};
pub use crate::spec::runtime_options::MountContext;

#[derive(Debug, Clone, Serialize)]
pub struct Rootfs {
    /// Absolute path on the host.
    pub path: PathBuf,
    pub readonly: bool,
    /// `linux.rootfsPropagation`; `None` means recursive slave, as runc.
    pub propagation: Option<Propagation>,
    /// In config.json's order, which is the order of mounting.
    pub mounts: Vec<Mount>,
    /// Device nodes: the spec's defaults first, then `linux.devices`. Empty where /dev is bound from the host.
    pub devices: Vec<Device>,
    /// Whether /dev gets the default links (fd, stdin, stdout, stderr, core, ptmx): not where it is a bind.
    pub dev_links: bool,
    pub masked: Vec<PathBuf>,
    pub readonly_paths: Vec<PathBuf>,
    /// SELinux context for mounts that take one.
    pub mount_label: Option<String>,
    /// The mount option by which they get it.
    #[serde(skip_serializing_if = "MountContext::is_default")]
    pub mount_context: MountContext,
    /// chroot in place of pivot_root (`--no-pivot`).
    pub no_pivot: bool,
    /// There is no mount namespace: all is mounted on the host, below the root, and the pivot is a chroot.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub on_host: bool,
}

/// The SELinux context of the container's mounts, and the mount option by which they get it.
#[derive(Debug, Clone, Copy)]
pub struct MountLabel<'p> {
    pub option: &'static str,
    pub label: &'p str,
}

impl Rootfs {
    pub fn label(&self) -> Option<MountLabel<'_>> {
        self.mount_label.as_deref().map(|label| MountLabel {
            option: self.mount_context.name(),
            label,
        })
    }
}

#[derive(Debug, Clone, Serialize)]
pub struct Mount {
    /// Its place in config.json's `mounts`, for errors.
    pub index: usize,
    /// As seen in the container; absolute, resolved inside the rootfs when mounted.
    pub destination: PathBuf,
    pub source: MountSource,
    /// Attributes of this mount to set and to clear.
    pub attributes: Attributes,
    /// The same for the whole tree below (`rro`, `rnosuid`, …).
    pub recursive_attributes: Attributes,
    /// In the options' order.
    pub propagation: Vec<Propagation>,
    /// Copy what the rootfs has at the destination into the fresh tmpfs (`tmpcopyup`).
    pub copy_up: bool,
    pub idmap: Option<MountIdMap>,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum MountSource {
    Bind {
        /// Absolute path on the host.
        path: PathBuf,
        recursive: bool,
        #[serde(flatten)]
        links: Links,
        /// Where in the container it is, for a source below its root: it may be on a mount of the same config.json, and
        /// is looked up when its turn comes, as the container would.
        #[serde(skip_serializing_if = "Option::is_none")]
        inside: Option<PathBuf>,
        /// Attributes that options clear by name: an error where a user namespace holds the source's fast.
        #[serde(skip_serializing_if = "none_set")]
        cleared: u64,
    },
    /// A new instance of a file system.
    Filesystem {
        fstype: String,
        /// The first argument of mount(8), `tmpfs`, `proc` or a block device.
        source: String,
        /// Superblock flags in mount(2) form (`MS_SYNCHRONOUS`, `MS_LAZYTIME`, …), `MS_RDONLY` excluded.
        superblock_flags: u64,
        /// `key` or `key=value`, in order.
        data: Vec<String>,
    },
    /// `type: cgroup`: the container's own cgroup tree, whichever version the host has.
    Cgroup,
    /// What is mounted at the destination already gets new attributes (`bind` with `remount`); an error
    /// where the destination is no mount point.
    Remount,
    /// And the file system too (`remount` alone), for whoever else has it mounted.
    Reconfigure {
        /// Options of the superblock, as fsconfig(2) names them.
        flags: Vec<String>,
        data: Vec<String>,
    },
}

fn none_set(bits: &u64) -> bool {
    *bits == 0
}

/// What is done where an end of a bind mount is a symbolic link; without any of them links are followed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Links {
    /// Make the source's link anew at the destination, in place of the mount.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub copy: bool,
    /// Mount the link itself.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub source_nofollow: bool,
    /// Mount on the link itself, which must be there.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub destination_nofollow: bool,
}

/// An id-mapped mount (mount_setattr(2), MOUNT_ATTR_IDMAP).
#[derive(Debug, Clone, Serialize)]
pub struct MountIdMap {
    /// Empty: the container's own user namespace is the map.
    pub uid_map: Vec<IdMap>,
    pub gid_map: Vec<IdMap>,
    pub recursive: bool,
}

#[derive(Debug, Clone, Serialize)]
pub struct Device {
    pub path: PathBuf,
    pub kind: DeviceKind,
    pub major: u32,
    pub minor: u32,
    /// Permission bits, as of chmod(2).
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DeviceKind {
    Character,
    Block,
    Fifo,
}

/// The devices that every container has (config-linux.md, "Default Devices"): path, major and minor.
/// /dev/console, /dev/ptmx and the links are made by whoever sets up /dev.
const DEFAULT_DEVICES: [(&str, u32, u32); 6] = [
    ("/dev/null", 1, 3),
    ("/dev/zero", 1, 5),
    ("/dev/full", 1, 7),
    ("/dev/random", 1, 8),
    ("/dev/urandom", 1, 9),
    ("/dev/tty", 5, 0),
];

/// Plans the root and all that is mounted on it.
pub(super) fn build(
    spec: &Spec,
    options: &Options,
    mount_context: MountContext,
    host: &Host,
) -> Result<Rootfs, PlanError> {
    let config = &spec.config;
    let Some(root) = &config.root else {
        return Err(PlanError::invalid(spec, "root", "is missing"));
    };
    let linux = &config.linux;
    let propagation = Propagation::named(&linux.rootfs_propagation);
    // Without pivot_root the host's root stays mounted below the container's; private propagation would then
    // keep host mounts busy (runc refuses it too).
    if options.no_pivot && propagation.is_some_and(|propagation| propagation.kind == PropagationKind::Private)
    {
        return Err(PlanError::invalid(
            spec,
            "linux.rootfsPropagation",
            "is not safe with --no-pivot where it is private",
        ));
    }
    let on_host = linux.namespace(NamespaceKind::Mount).is_none();
    if options.no_pivot && on_host {
        return Err(PlanError::invalid(
            spec,
            "linux.namespaces",
            "has no mount namespace, which --no-pivot needs",
        ));
    }
    if !linux.mount_label.is_empty() && !host.selinux() {
        return Err(PlanError::NoSelinux {
            field: "linux.mountLabel",
            label: linux.mount_label.clone(),
        });
    }
    let path = normalize(&options.bundle.join(&root.path));
    let mounts = config.mounts.iter().enumerate().map(|(index, mount)| {
        let maps = mount.id_maps(linux).map_err(|problem| {
            let field = format!("mounts[{index}].options");
            PlanError::invalid(spec, &field, &format!("idmap {problem}"))
        })?;
        Ok(build_mount(mount, index, options, &path, &maps))
    });
    let mounts: Vec<Mount> = mounts.collect::<Result<_, PlanError>>()?;
    if let Some(mount) = mounts
        .iter()
        .find(|mount| mount.idmap.is_some() && host.euid != 0)
    {
        return Err(PlanError::invalid(
            spec,
            &format!("mounts[{}]", mount.index),
            "is id-mapped, which the kernel leaves to root",
        ));
    }
    let bound_dev = mounts.iter().any(|mount| {
        matches!(mount.source, MountSource::Bind { .. }) && mount.destination == Path::new("/dev")
    });
    Ok(Rootfs {
        path,
        readonly: root.readonly,
        propagation,
        mounts,
        devices: if bound_dev {
            Vec::new()
        } else {
            devices(&linux.devices)
        },
        dev_links: !bound_dev,
        masked: linux.masked_paths.iter().map(|path| inside(path)).collect(),
        readonly_paths: linux.readonly_paths.iter().map(|path| inside(path)).collect(),
        mount_label: Some(linux.mount_label.clone()).filter(|label| !label.is_empty()),
        mount_context,
        no_pivot: options.no_pivot,
        on_host,
    })
}

fn build_mount(
    mount: &model::Mount,
    index: usize,
    options: &Options,
    root: &Path,
    (uids, gids): &idmap_option::Maps,
) -> Mount {
    let parsed = &mount.options;
    let source = if parsed.remount && mount.is_bind() {
        MountSource::Remount
    } else if parsed.remount {
        MountSource::Reconfigure {
            flags: parsed.superblock_names.clone(),
            data: parsed.data.clone(),
        }
    } else if mount.is_bind() {
        let path = normalize(&options.bundle.join(&mount.source));
        MountSource::Bind {
            inside: below_root(&path, root),
            cleared: parsed.attributes.clear & Attributes::LOCKABLE,
            path,
            recursive: parsed.recursive,
            links: Links {
                copy: parsed.copy_symlink,
                source_nofollow: parsed.source_nofollow,
                destination_nofollow: parsed.destination_nofollow,
            },
        }
    } else if mount.fstype == "cgroup" {
        MountSource::Cgroup
    } else {
        MountSource::Filesystem {
            fstype: mount.fstype.clone(),
            source: mount.source.clone(),
            superblock_flags: parsed.superblock_flags,
            data: parsed.data.clone(),
        }
    };
    let attributes = match source {
        MountSource::Bind { .. } => parsed.bind_attributes(),
        _ => parsed.attributes,
    };
    Mount {
        index,
        destination: destination(&mount.destination, root),
        source,
        attributes,
        recursive_attributes: parsed.recursive_attributes,
        propagation: parsed.propagation.clone(),
        copy_up: parsed.copy_up,
        idmap: mount.is_idmapped().then(|| MountIdMap {
            uid_map: id_maps(uids),
            gid_map: id_maps(gids),
            recursive: parsed.idmap_recursive == Some(true),
        }),
    }
}

/// Where a source is in the container, if that is where it is: the rest of its path, which does not leave the root.
fn below_root(path: &Path, root: &Path) -> Option<PathBuf> {
    let rest = path.strip_prefix(root).ok()?;
    let names_only = rest.components().all(|part| matches!(part, Component::Normal(_)));
    let whole_host = root == Path::new("/");
    (names_only && !whole_host && !rest.as_os_str().is_empty()).then(|| Path::new("/").join(rest))
}

/// The default devices that the configuration does not replace, then its own but for /dev/ptmx: it is the
/// container's own, a link into its devpts. Engines list the host's with all other devices for privileged
/// containers.
fn devices(configured: &[model::Device]) -> Vec<Device> {
    let defaults = DEFAULT_DEVICES
        .iter()
        .map(|&(path, major, minor)| Device {
            path: PathBuf::from(path),
            kind: DeviceKind::Character,
            major,
            minor,
            mode: 0o666,
            uid: 0,
            gid: 0,
        })
        .filter(|default| {
            !configured
                .iter()
                .any(|device| inside(&device.path) == default.path)
        });
    let own = configured
        .iter()
        .filter(|device| inside(&device.path) != Path::new("/dev/ptmx"));
    let own = own.map(|device| Device {
        path: inside(&device.path),
        kind: match device.kind {
            model::DeviceKind::Character => DeviceKind::Character,
            model::DeviceKind::Block => DeviceKind::Block,
            model::DeviceKind::Fifo => DeviceKind::Fifo,
        },
        major: number(device.major),
        minor: number(device.minor),
        // Some engines write the whole st_mode.
        mode: device.file_mode.unwrap_or(0o666) & 0o7777,
        uid: device.uid.unwrap_or(0),
        gid: device.gid.unwrap_or(0),
    });
    defaults.chain(own).collect()
}

/// A device number; those out of range were refused with the spec, but for FIFOs, which have none.
fn number(number: i64) -> u32 {
    u32::try_from(number).unwrap_or(0)
}

/// Where in the container a mount goes whose configuration says `path`. One that begins with the path of the rootfs on the
/// host is taken from there, as with runc.
pub fn destination(path: &Path, root: &Path) -> PathBuf {
    inside(path.strip_prefix(root).unwrap_or(path))
}

/// A path of the container in its shortest form: absolute, `..` taken lexically and never above `/`.
fn inside(path: &Path) -> PathBuf {
    let mut clean = PathBuf::from("/");
    for component in path.components() {
        match component {
            Component::ParentDir => {
                clean.pop();
            }
            Component::Normal(name) => clean.push(name),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    clean
}

/// A path of the host without `.` and doubled slashes. `..` stays, since it follows symlinks.
fn normalize(path: &Path) -> PathBuf {
    path.components().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn container_paths_stay_inside() {
        assert_eq!(inside(Path::new("/a/./b//c/../d")), Path::new("/a/b/d"));
        assert_eq!(inside(Path::new("../../etc")), Path::new("/etc"));
        assert_eq!(inside(Path::new("/..")), Path::new("/"));
        assert_eq!(inside(Path::new("relative")), Path::new("/relative"));
    }

    #[test]
    fn a_destination_may_begin_with_the_rootfs() {
        let destination = |path: &str| destination(Path::new(path), Path::new("/b/rootfs"));
        assert_eq!(destination("/b/rootfs/mnt/../x"), Path::new("/x"));
        assert_eq!(destination("/b/rootfs2/mnt"), Path::new("/b/rootfs2/mnt"));
        assert_eq!(destination("/b/rootfs"), Path::new("/"));
    }

    #[test]
    fn host_paths_keep_their_meaning() {
        assert_eq!(
            normalize(Path::new("/bundle/./rootfs/")),
            Path::new("/bundle/rootfs")
        );
        assert_eq!(
            normalize(Path::new("/bundle/link/../x")),
            Path::new("/bundle/link/../x")
        );
    }

    #[test]
    fn sources_below_the_root_are_told_from_others() {
        let root = Path::new("/b/rootfs");
        let below = |path: &str| below_root(Path::new(path), root);
        assert_eq!(below("/b/rootfs/mnt/x"), Some(PathBuf::from("/mnt/x")));
        for other in ["/b/rootfs", "/b/rootfs2/x", "/b/rootfs/../x", "/etc"] {
            assert_eq!(below(other), None, "{other}");
        }
        assert_eq!(below_root(Path::new("/etc"), Path::new("/")), None);
    }

    #[test]
    fn configured_devices_replace_defaults() {
        let own = model::Device {
            kind: model::DeviceKind::Character,
            path: "/dev/./null".into(),
            major: 1,
            minor: 3,
            file_mode: Some(0o020_600),
            uid: Some(7),
            gid: None,
        };
        let devices = devices(&[own]);
        assert_eq!(devices.len(), 6);
        let null = devices.last().unwrap();
        assert_eq!(
            (null.path.as_path(), null.mode, null.uid),
            (Path::new("/dev/null"), 0o600, 7)
        );
    }
}
