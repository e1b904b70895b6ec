//! Mounts and devices: every kind of option, propagation, masks, read-only paths and the root itself.

mod devices;
mod links;
mod mounts;
mod paths;
mod propagation;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::harness::bundle::{add_mount, map_ids, set_namespace};
use crate::harness::{Case, Container, Need, Test, test};

pub fn tests() -> Vec<Test> {
    [
        devices::tests(),
        links::tests(),
        mounts::tests(),
        propagation::tests(),
        paths::tests(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// A line of /proc/self/mountinfo: its per-mount options, its optional fields and the filesystem's options.
#[derive(Debug)]
struct Mount {
    options: Vec<String>,
    optional: Vec<String>,
    filesystem: String,
    super_options: Vec<String>,
}

/// The topmost mount at `path`, from the text of a mountinfo file.
fn mount_at(text: &str, path: &str) -> Mount {
    let line = text.lines().rfind(|line| line.split(' ').nth(4) == Some(path));
    let line = line.unwrap_or_else(|| panic!("nothing is mounted at {path}:\n{text}"));
    let (left, right) = line
        .split_once(" - ")
        .expect("proc_pid_mountinfo(5) has a separator");
    let list = |text: Option<&str>| text.unwrap_or_default().split(',').map(str::to_owned).collect();
    let left: Vec<_> = left.split(' ').collect();
    let right: Vec<_> = right.split(' ').collect();
    Mount {
        options: list(left.get(5).copied()),
        optional: left[6..].iter().map(|word| (*word).to_owned()).collect(),
        filesystem: right[0].to_owned(),
        super_options: list(right.get(2).copied()),
    }
}

impl Mount {
    fn has(&self, option: &str) -> bool {
        self.options.iter().any(|own| own == option)
    }
}

/// Runs a container made with `edit` that prints its mounts.
fn mounts_with(case: &Case, edit: impl FnOnce(&mut Value)) -> String {
    case.container_with(&["cat", "/proc/self/mountinfo"], edit)
        .run()
        .ok()
        .stdout
}

/// A directory of the test with the file `file` in it.
fn source(case: &Case, name: &str) -> String {
    let path = case.dir.join(name);
    fs::create_dir_all(&path).expect("a directory");
    fs::write(path.join("file"), format!("in {name}\n")).expect("a file");
    case.path(name)
}

/// mount(8) on the host; the clean-up unmounts.
fn mount(arguments: &[&str]) {
    let status = Command::new("mount")
        .args(arguments)
        .status()
        .expect("mount(8) starts");
    assert!(status.success(), "mount {arguments:?}");
}

fn unmount(path: &str) {
    rustix::mount::unmount(path, rustix::mount::UnmountFlags::DETACH).expect("it is mounted");
}
