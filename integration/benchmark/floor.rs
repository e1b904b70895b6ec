//! Starting the floor program (floor/main.rs): the kernel's own cost, and the least that a command can cost.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Bench;
use crate::lifecycle::quiet;

/// Before the instructions in an entry of wrun's cache of filters: magic and digest.
const HEADER: usize = 8 + 32;
const MAGIC: &[u8] = b"wrunbpf1";

/// A static program that writes a line.
pub fn hello(bench: &Bench) -> Command {
    let mut command = Command::new(&bench.floor);
    command.arg("hello");
    command
}

/// What the floor needs to make a container.
pub struct Floor<'a> {
    bench: &'a Bench,
    filter: PathBuf,
    groups: Vec<PathBuf>,
}

impl<'a> Floor<'a> {
    /// With the filter that wrun has made of Docker's profile. wrun has run a container of that by now.
    pub fn new(bench: &'a Bench) -> Self {
        let cached = std::fs::read_dir(bench.place.cache().join("seccomp")).expect("wrun keeps filters");
        let entry = cached
            .flatten()
            .next()
            .expect("wrun has run a container with a filter");
        let bytes = std::fs::read(entry.path()).expect("an entry of the cache");
        assert!(
            bytes.starts_with(MAGIC) && bytes.len() > HEADER,
            "the cache has another form now"
        );
        let filter = bench.place.file("filter");
        std::fs::write(&filter, &bytes[HEADER..]).expect("the filter");
        Floor {
            bench,
            filter,
            groups: groups(Path::new("/sys/fs/cgroup")),
        }
    }

    /// A container running `program`.
    pub fn launch(&self, program: &[&str]) -> Command {
        let mut command = Command::new(&self.bench.floor);
        command
            .arg("launch")
            .arg(self.bench.place.rootfs())
            .arg(&self.filter);
        command.args(&self.groups).arg("--").args(program);
        quiet(command)
    }
}

/// The directories that a container's cgroups get: one of v2, or one in each hierarchy of v1. Nobody may join one of
/// `cpuset` of v1 before it was given processors, so that is left out: the floor is lower for it.
fn groups(root: &Path) -> Vec<PathBuf> {
    let name = "wrun-bench-floor";
    if root.join("cgroup.procs").exists() {
        return vec![root.join(name)];
    }
    let entries = std::fs::read_dir(root).expect("cgroups are mounted there");
    let mut groups: Vec<PathBuf> = entries
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .filter(|hierarchy| {
            let left_out = ["cpuset", "unified"].iter().any(|name| hierarchy.ends_with(name));
            !left_out && hierarchy.join("cgroup.procs").exists()
        })
        .map(|hierarchy| hierarchy.join(name))
        .collect();
    groups.sort();
    groups
}
