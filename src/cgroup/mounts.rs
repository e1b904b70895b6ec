//! Where the host's cgroup trees are mounted, and where this process is in them. Pure parsers, and the two
//! reads of /proc that feed them.

use std::io;
use std::path::{Path, PathBuf};

use super::CgroupError;
use crate::sys::mountinfo;

/// Where the one tree of v2 is; every distribution and runtime has it there.
pub(super) const V2_ROOT: &str = "/sys/fs/cgroup";

/// Controllers that a container is put into wherever they are mounted. Named trees of other managers than
/// systemd are theirs alone.
const CONTROLLERS: [&str; 15] = [
    "cpuset",
    "devices",
    "memory",
    "cpu",
    "cpuacct",
    "pids",
    "blkio",
    "hugetlb",
    "net_cls",
    "net_prio",
    "perf_event",
    "freezer",
    "rdma",
    "misc",
    "name=systemd",
];

/// One mounted cgroup tree of a v1 or hybrid host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mount {
    /// `cpu` and `cpuacct` where both share a tree; one empty name for the v2 tree of a hybrid host.
    pub controllers: Vec<String>,
    pub point: PathBuf,
    /// The cgroup that is seen at `point`: `/`, except inside a container without a cgroup namespace.
    pub root: PathBuf,
}

pub(super) fn v1() -> Result<Vec<Mount>, CgroupError> {
    let mounts = parse_mountinfo(&read_proc("/proc/self/mountinfo")?);
    if mounts.is_empty() {
        Err(CgroupError::NotMounted)
    } else {
        Ok(mounts)
    }
}

/// This process's cgroup in each tree: controllers and path.
pub(super) fn own() -> Result<Vec<(String, PathBuf)>, CgroupError> {
    Ok(parse_cgroup(&read_proc("/proc/self/cgroup")?))
}

pub(super) fn read_proc(path: &str) -> Result<String, CgroupError> {
    std::fs::read_to_string(path).map_err(|source| io_error("read", path, source))
}

fn io_error(action: &'static str, path: &str, source: io::Error) -> CgroupError {
    CgroupError::Io {
        action,
        path: PathBuf::from(path),
        source,
    }
}

/// The first mount of each cgroup tree.
fn parse_mountinfo(text: &str) -> Vec<Mount> {
    let mut mounts: Vec<Mount> = Vec::new();
    for line in mountinfo::lines(text) {
        let controllers: Vec<String> = match line.fstype {
            "cgroup2" => vec![String::new()],
            "cgroup" => {
                let known = line
                    .options
                    .split(',')
                    .filter(|option| CONTROLLERS.contains(option));
                known.map(str::to_owned).collect()
            }
            _ => continue,
        };
        if controllers.is_empty() || mounts.iter().any(|mount| mount.controllers == controllers) {
            continue;
        }
        mounts.push(Mount {
            controllers,
            point: line.point,
            root: line.root,
        });
    }
    mounts
}

/// Lines of `/proc/PID/cgroup`: `hierarchy:controllers:path` (cgroups(7)).
pub(super) fn parse_cgroup(text: &str) -> Vec<(String, PathBuf)> {
    text.lines()
        .filter_map(|line| {
            let mut fields = line.splitn(3, ':').skip(1);
            Some((fields.next()?.to_owned(), PathBuf::from(fields.next()?)))
        })
        .collect()
}

/// The path in the tree whose controllers include `controller`.
pub(super) fn find<'a>(own: &'a [(String, PathBuf)], controller: &str) -> Option<&'a Path> {
    own.iter()
        .find(|(controllers, _)| controllers.split(',').any(|name| name == controller))
        .map(|(_, path)| path.as_path())
}

impl Mount {
    /// The directory of `path`: absolute from the top of what is mounted, relative from this process's own
    /// cgroup.
    pub(super) fn resolve(&self, path: &Path, own: &[(String, PathBuf)]) -> PathBuf {
        if let Ok(below) = path.strip_prefix("/") {
            return self.point.join(below);
        }
        let own = self
            .controllers
            .first()
            .and_then(|controller| find(own, controller));
        // Outside of what is mounted here (a cgroup namespace shows `/..`): the top is all we have.
        let below = own
            .and_then(|own| own.strip_prefix(&self.root).ok())
            .unwrap_or(Path::new(""));
        self.point.join(below).join(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:9 - cgroup cgroup rw,cpu,cpuacct
33 31 0:30 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
34 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd
35 31 0:37 / /sys/fs/cgroup/openrc rw,relatime - cgroup cgroup rw,name=openrc
36 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
37 23 0:30 / /mnt/a\\040b rw,relatime - cgroup cgroup rw,memory
";

    #[test]
    fn a_hybrid_host_has_one_mount_per_tree() {
        let mounts = parse_mountinfo(HYBRID);
        let seen: Vec<_> = mounts
            .iter()
            .map(|mount| (mount.controllers.join("+"), mount.point.to_str().unwrap()))
            .collect();
        assert_eq!(
            seen,
            [
                ("cpu+cpuacct".to_owned(), "/sys/fs/cgroup/cpu,cpuacct"),
                ("memory".to_owned(), "/sys/fs/cgroup/memory"),
                ("name=systemd".to_owned(), "/sys/fs/cgroup/systemd"),
                (String::new(), "/sys/fs/cgroup/unified"),
            ]
        );
    }

    #[test]
    fn absolute_paths_start_at_the_mount_and_relative_ones_at_our_own_cgroup() {
        let own = parse_cgroup("4:memory:/docker/abc/x\n1:cpu,cpuacct:/\n0::/\n");
        let mount = Mount {
            controllers: vec!["memory".to_owned()],
            point: PathBuf::from("/cg"),
            root: PathBuf::from("/docker/abc"),
        };
        assert_eq!(mount.resolve(Path::new("/a/b"), &own), PathBuf::from("/cg/a/b"));
        assert_eq!(mount.resolve(Path::new("b"), &own), PathBuf::from("/cg/x/b"));
        assert_eq!(find(&own, "cpuacct"), Some(Path::new("/")));
        assert_eq!(find(&own, ""), Some(Path::new("/")));
        assert_eq!(find(&own, "pids"), None);
    }
}
