//! wrun in the place of runc under the engines that people use: real daemons with data of their own, which the tests
//! start and end. Each test runs with every runtime, and a peer's passing shows that the test asks for nothing new.

pub mod conmon;
pub mod containerd;
pub mod cri;
pub mod docker;
pub mod podman;

use std::fs;

/// A file of the container's cgroup, by the kernel's account of its first process `pid`. v1 and v2 name it each its own way.
fn cgroup_file(pid: &str, controller: &str, v1: &str, v2: &str) -> String {
    let table = fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("its cgroups");
    let mut paths = table.lines().filter_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        Some((fields.next()?, fields.next()?))
    });
    let on_v1 = paths.find(|(controllers, _)| controllers.split(',').any(|own| own == controller));
    let file = match on_v1 {
        Some((_, path)) => format!("/sys/fs/cgroup/{controller}{path}/{v1}"),
        None => {
            let path = table.lines().find_map(|line| line.strip_prefix("0::"));
            format!("/sys/fs/cgroup{}/{v2}", path.expect("a cgroup of v2"))
        }
    };
    let text = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{file}: {error}"));
    text.trim().to_owned()
}
