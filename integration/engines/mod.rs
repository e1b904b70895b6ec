//! wrun in the place of runc under the engines that people use: real daemons with data of their own, which the tests
//! start and end. Each test runs with every runtime, and a peer's passing shows that the test asks for nothing new.

pub mod conmon;
pub mod containerd;
pub mod cri;
pub mod docker;
pub mod podman;

use std::fs;
use std::path::PathBuf;

/// The container's cgroup, by the kernel's account of its first process `pid`, and whether that is one of v1.
fn cgroup_of(pid: &str, controller: &str) -> (PathBuf, bool) {
    let table = fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("its cgroups");
    let mut paths = table.lines().filter_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        Some((fields.next()?, fields.next()?))
    });
    let on_v1 = paths.find(|(controllers, _)| controllers.split(',').any(|own| own == controller));
    if let Some((_, path)) = on_v1 {
        return (format!("/sys/fs/cgroup/{controller}{path}").into(), true);
    }
    let path = table.lines().find_map(|line| line.strip_prefix("0::"));
    (
        format!("/sys/fs/cgroup{}", path.expect("a cgroup of v2")).into(),
        false,
    )
}

/// A file of that cgroup, which v1 and v2 name each its own way.
fn cgroup_file(pid: &str, controller: &str, v1: &str, v2: &str) -> String {
    let (cgroup, on_v1) = cgroup_of(pid, controller);
    let file = cgroup.join(if on_v1 { v1 } else { v2 });
    let text = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    text.trim().to_owned()
}
