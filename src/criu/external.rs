//! What of a container comes from outside of it, and so is not in the images: bind mounts, what hides files, host
//! devices, cgroups without a namespace, namespaces that were joined. At the dump each gets a name, at the restore
//! the host's path (or descriptor) for that name. The names are runc's: the path inside the container.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use super::{CriuError, options, rpc, text};
use crate::plan::Plan;
use crate::plan::cgroup::{CgroupMode, Placement};
use crate::plan::mounts::MountSource;
use crate::plan::namespaces::Kind;
use crate::rootfs::resolve;
use crate::sys::mountinfo;

/// A mount of the container, and the host's path of what is mounted there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct External {
    pub key: PathBuf,
    pub source: PathBuf,
}

/// What CRIU calls the mount of a hidden file; at a restore there is one such mount for all of them.
const NULL: &str = "/dev/null";

/// Where the host has its cgroups.
const TOP: &str = "/sys/fs/cgroup";

/// Names what is mounted in the container of process `pid` and comes from outside.
///
/// # Errors
/// A container that cannot be looked into, or a path that is no text.
pub fn dumped(opts: &mut rpc::Criu_opts, pid: i32, plan: &Plan) -> Result<(), CriuError> {
    let table = read(Path::new(&format!("/proc/{pid}/mountinfo")))?;
    let mounts: Vec<_> = mountinfo::lines(&table).collect();
    let root = root_of(pid)?;
    let find = |index: usize, path: &Path| {
        inside(root.as_fd(), path).map_err(|source| CriuError::Destination {
            index,
            destination: path.to_owned(),
            source,
        })
    };
    let mut own = Vec::new();
    for mount in &plan.rootfs.mounts {
        own.push(find(mount.index, &mount.destination)?);
    }
    let mut keys: Vec<(PathBuf, &str)> = Vec::new();
    let namespaced = plan.namespaces.has(Kind::Cgroup);
    for (mount, at) in plan.rootfs.mounts.iter().zip(&own) {
        match &mount.source {
            // What has no mount there is a copied link, or was unmounted by the container.
            MountSource::Bind { recursive, .. } if mounts.iter().any(|line| line.point == *at) => {
                keys.push((at.clone(), ""));
                let below = mounts.iter().filter(|line| {
                    *recursive && line.point != *at && owner(&line.point, &own) == Some(at.as_path())
                });
                keys.extend(below.map(|line| (line.point.clone(), "")));
            }
            MountSource::Cgroup if !namespaced => {
                let trees = mounts
                    .iter()
                    .filter(|line| line.fstype.starts_with("cgroup") && line.point.starts_with(at));
                keys.extend(trees.map(|line| (line.point.clone(), "")));
            }
            _ => {}
        }
    }
    let covered = |path: &Path| -> Result<Option<PathBuf>, CriuError> {
        let at = inside(root.as_fd(), path).map_err(|source| CriuError::Inside {
            path: path.to_owned(),
            source,
        })?;
        let is_mount = mounts.iter().any(|line| line.point == at);
        Ok(Some(at).filter(|at| is_mount && !is_directory(root.as_fd(), at)))
    };
    for path in &plan.rootfs.masked {
        keys.extend(covered(path)?.map(|at| (at, NULL)));
    }
    for device in &plan.rootfs.devices {
        keys.extend(covered(&device.path)?.map(|at| (at, "")));
    }
    for (key, name) in keys {
        let key = text(&key)?;
        let name = if name.is_empty() { &key } else { name };
        opts.ext_mnt.push(options::mount(&key, name));
    }
    Namespace::dumped(opts, pid, plan)
}

/// Says where on the host is what a dump has named; `binds` are found by [`super::prepare`].
///
/// # Errors
/// A path that is no text.
pub fn restored(
    opts: &mut rpc::Criu_opts,
    binds: &[External],
    plan: &Plan,
    placement: &Placement,
) -> Result<(), CriuError> {
    let mut all = binds.to_vec();
    if !plan.namespaces.has(Kind::Cgroup) {
        let cgroups = plan
            .rootfs
            .mounts
            .iter()
            .filter(|mount| matches!(mount.source, MountSource::Cgroup));
        all.extend(cgroups.flat_map(|mount| shown_cgroups(&mount.destination, placement)));
    }
    let same = |path: &Path| External {
        key: path.to_owned(),
        source: path.to_owned(),
    };
    if !plan.rootfs.masked.is_empty() {
        all.push(same(Path::new(NULL)));
    }
    // A name more than once would be a question which of them is meant.
    for device in &plan.rootfs.devices {
        if !all.iter().any(|external| external.key == device.path) {
            all.push(same(&device.path));
        }
    }
    for External { key, source } in &all {
        opts.ext_mnt.push(options::mount(&text(key)?, &text(source)?));
    }
    Ok(())
}

/// What a `type: cgroup` mount without a namespace shows: the host's one tree, or the container's directories in those
/// of v1.
fn shown_cgroups(at: &Path, placement: &Placement) -> Vec<External> {
    let mut shown: Vec<External> = Vec::new();
    for path in placement.paths.values() {
        let tree = path.strip_prefix(TOP).ok().and_then(|below| below.iter().next());
        let (key, source) = match (placement.mode, tree) {
            (CgroupMode::V2, _) => (at.to_owned(), TOP.into()),
            (CgroupMode::V1, Some(tree)) => (at.join(tree), path.clone()),
            (CgroupMode::V1, None) => continue,
        };
        if !shown.iter().any(|external| external.key == key) {
            shown.push(External { key, source });
        }
    }
    shown
}

/// Has CRIU put cgroups that it makes below the container's own, wherever that was at the dump.
pub fn cgroup_roots(opts: &mut rpc::Criu_opts, placement: &Placement) {
    for (controller, path) in &placement.paths {
        let Ok(mut below) = path.strip_prefix(TOP) else {
            continue;
        };
        if placement.mode == CgroupMode::V1 {
            // Each tree is a directory there.
            let Some(tree) = below.iter().next() else { continue };
            below = below.strip_prefix(tree).unwrap_or(below);
        }
        let mut root = rpc::Cgroup_root::new();
        root.set_ctrl(controller.clone());
        root.set_path(Path::new("/").join(below).to_string_lossy().into_owned());
        opts.cg_root.push(root);
    }
}

/// The mount of config.json that `point` belongs to: the one nearest above it.
fn owner<'a>(point: &Path, own: &'a [PathBuf]) -> Option<&'a Path> {
    own.iter()
        .filter(|at| point.starts_with(at))
        .max_by_key(|at| at.components().count())
        .map(PathBuf::as_path)
}

/// What is mounted on the host below `source`, as a recursive bind to `at` shows it.
pub(super) fn below(table: &str, source: &Path, at: &Path) -> Vec<External> {
    mountinfo::lines(table)
        .filter_map(|line| {
            let rest = line.point.strip_prefix(source).ok()?;
            (!rest.as_os_str().is_empty()).then(|| External {
                key: at.join(rest),
                source: line.point.clone(),
            })
        })
        .collect()
}

/// A namespace that was joined by path. CRIU leaves these alone, and restores the container into them.
#[derive(Debug)]
pub struct Namespace {
    kind: Kind,
    descriptor: OwnedFd,
}

/// The kinds that CRIU knows as external ones, with runc's names for them.
const EXTERNAL: [(Kind, &str); 2] = [(Kind::Network, "extRootNetNS"), (Kind::Pid, "extRootPidNS")];

impl Namespace {
    fn dumped(opts: &mut rpc::Criu_opts, pid: i32, plan: &Plan) -> Result<(), CriuError> {
        for (kind, key) in EXTERNAL {
            if plan.namespaces.joins(kind).is_none() {
                continue;
            }
            // That of the process rather than of the path, which may be another's by now.
            let path = PathBuf::from(format!("/proc/{pid}/ns/{}", kind.link()));
            let number = path
                .metadata()
                .map_err(|source| CriuError::Proc { path, source })?
                .ino();
            opts.external.push(format!("{}[{number}]:{key}", kind.link()));
        }
        Ok(())
    }

    /// Opens those of a plan that a restored container gets by descriptor.
    ///
    /// # Errors
    /// A namespace that is not there.
    pub fn open_all(plan: &Plan) -> Result<Vec<Self>, CriuError> {
        let mut opened = Vec::new();
        for (kind, _) in EXTERNAL {
            if let Some(path) = plan.namespaces.joins(kind) {
                let file = File::open(path).map_err(|source| CriuError::Path {
                    option: "namespace",
                    path: path.to_owned(),
                    action: "open it",
                    source,
                })?;
                opened.push(Self {
                    kind,
                    descriptor: file.into(),
                });
            }
        }
        Ok(opened)
    }

    /// Tells CRIU of it, and of those that it joins by path itself.
    ///
    /// # Errors
    /// A path that is no text.
    pub fn restored(opts: &mut rpc::Criu_opts, opened: &[Self], plan: &Plan) -> Result<(), CriuError> {
        for namespace in opened {
            for (_, key) in EXTERNAL.iter().filter(|(kind, _)| *kind == namespace.kind) {
                let number = namespace.descriptor.as_raw_fd();
                opts.inherit_fd.push(options::inherited(key, number));
            }
        }
        let by_path = |kind: &Kind| EXTERNAL.iter().all(|(external, _)| external != kind);
        for (kind, path) in plan.namespaces.join.iter().filter(|(kind, _)| by_path(kind)) {
            let mut join = rpc::Join_namespace::new();
            join.set_ns(kind.link().to_owned());
            join.set_ns_file(text(path)?);
            opts.join_ns.push(join);
        }
        Ok(())
    }
}

impl AsRawFd for Namespace {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        self.descriptor.as_raw_fd()
    }
}

fn read(path: &Path) -> Result<String, CriuError> {
    std::fs::read_to_string(path).map_err(|source| CriuError::Proc {
        path: path.to_owned(),
        source,
    })
}

fn root_of(pid: i32) -> Result<OwnedFd, CriuError> {
    let path = format!("/proc/{pid}/root");
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(&path, flags, Mode::empty()).map_err(|error| CriuError::Proc {
        path: path.into(),
        source: error.into(),
    })
}

fn is_directory(root: BorrowedFd<'_>, path: &Path) -> bool {
    resolve::locate(root, path).is_ok_and(|fd| resolve::is_directory(fd).unwrap_or(false))
}

/// A path of the container without links in it, as far as it exists.
pub(super) fn inside(root: BorrowedFd<'_>, path: &Path) -> io::Result<PathBuf> {
    let top = name(root)?;
    for ancestor in path.ancestors() {
        let found = match resolve::locate(root, ancestor) {
            Ok(found) => name(found.as_fd())?,
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR)) => continue,
            Err(error) => return Err(error),
        };
        let below = found.strip_prefix(&top).unwrap_or(&found);
        let rest = path.strip_prefix(ancestor).unwrap_or(Path::new(""));
        let whole = Path::new("/").join(below);
        // Joining nothing would add a slash.
        return Ok(if rest.as_os_str().is_empty() {
            whole
        } else {
            whole.join(rest)
        });
    }
    Ok(path.to_owned())
}

/// The path behind a descriptor.
pub(super) fn name(fd: BorrowedFd<'_>) -> io::Result<PathBuf> {
    std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_followed_inside_as_far_as_there_is_something() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(directory.path().join("real/conf")).unwrap();
        std::os::unix::fs::symlink("/real/conf", directory.path().join("conf")).unwrap();
        let root =
            rustix::fs::open(directory.path(), OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap();
        let at = |path: &str| inside(root.as_fd(), Path::new(path)).unwrap();
        assert_eq!(at("/conf"), Path::new("/real/conf"));
        assert_eq!(at("/conf/a/b"), Path::new("/real/conf/a/b"));
        assert_eq!(at("/nowhere/x"), Path::new("/nowhere/x"));
        assert_eq!(at("/"), Path::new("/"));
        let slash = rustix::fs::open("/", OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap();
        assert_eq!(
            inside(slash.as_fd(), Path::new("/dev/null")).unwrap(),
            Path::new("/dev/null")
        );
    }

    #[test]
    fn a_mount_belongs_to_the_nearest_above_it() {
        let own = ["/a", "/a/b", "/c"].map(PathBuf::from);
        assert_eq!(owner(Path::new("/a/b/x"), &own), Some(Path::new("/a/b")));
        assert_eq!(owner(Path::new("/a/bb"), &own), Some(Path::new("/a")));
        assert_eq!(owner(Path::new("/x"), &own), None);
    }

    #[test]
    fn a_recursive_bind_has_what_is_mounted_below_its_source() {
        let table =
            "1 0 0:1 / / rw - ext4 x rw\n2 1 0:2 / /src rw - ext4 x rw\n3 2 0:3 / /src/in rw - tmpfs x rw\n";
        assert_eq!(
            below(table, Path::new("/src"), Path::new("/data")),
            [External {
                key: "/data/in".into(),
                source: "/src/in".into()
            }]
        );
    }

    #[test]
    fn cgroups_are_named_as_their_trees() {
        let mut placement = Placement {
            mode: CgroupMode::V1,
            location: crate::plan::cgroup::Location::None,
            paths: [
                ("cpu", "cpu,cpuacct"),
                ("cpuacct", "cpu,cpuacct"),
                ("pids", "pids"),
            ]
            .map(|(name, tree)| (name.to_owned(), Path::new(TOP).join(tree).join("c")))
            .into(),
        };
        let keys = |placement: &Placement| -> Vec<PathBuf> {
            shown_cgroups(Path::new("/cg"), placement)
                .into_iter()
                .map(|external| external.key)
                .collect()
        };
        assert_eq!(
            keys(&placement),
            [Path::new("/cg/cpu,cpuacct"), Path::new("/cg/pids")]
        );
        let roots = |placement: &Placement| {
            let mut opts = rpc::Criu_opts::new();
            cgroup_roots(&mut opts, placement);
            let roots = opts.cg_root.iter();
            roots
                .map(|root| format!("{}:{}", root.ctrl(), root.path()))
                .collect::<Vec<_>>()
        };
        assert_eq!(roots(&placement), ["cpu:/c", "cpuacct:/c", "pids:/c"]);
        placement.mode = CgroupMode::V2;
        placement.paths = [(String::new(), PathBuf::from("/sys/fs/cgroup/c"))].into();
        assert_eq!(
            shown_cgroups(Path::new("/cg"), &placement),
            [External {
                key: "/cg".into(),
                source: TOP.into()
            }]
        );
        assert_eq!(roots(&placement), [":/c"]);
    }
}
