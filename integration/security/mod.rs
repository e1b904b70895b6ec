//! The container reaches nothing of the host: not our descriptors, executable or working directory, no path
//! outside of its root filesystem, and no process before that is confined.

mod caller;
mod links;
mod mounts;
mod reach;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::harness::bundle::add_mount;
use crate::harness::terminal::{DescriptorSocket, Terminal};
use crate::harness::{Case, Container, Test, test};

pub fn tests() -> Vec<Test> {
    [links::tests(), reach::tests(), caller::tests(), mounts::tests()]
        .into_iter()
        .flatten()
        .collect()
}

/// The host's file that no container may reach.
fn secret(case: &Case) -> PathBuf {
    let path = case.dir.join("outside");
    fs::create_dir_all(&path).expect("a directory");
    fs::write(path.join("secret"), "the secret\n").expect("a file");
    path
}

/// Asserts that the container was refused with one error, or ran without reaching the secret.
#[track_caller]
fn harmless(container: &Container) {
    let output = container.run();
    assert!(!output.stdout.contains("the secret"), "{output}");
    if !output.status.success() && container.case.runtime.ours {
        assert!(!output.stderr.is_empty(), "failed without a word: {output}");
    }
    let outside = container.case.dir.join("outside");
    let names: Vec<_> = fs::read_dir(&outside)
        .expect("it is there")
        .flatten()
        .map(|entry| entry.file_name())
        .collect();
    assert_eq!(names, ["secret"], "something was made on the host");
    assert_eq!(
        fs::read_to_string(outside.join("secret")).expect("it"),
        "the secret\n"
    );
    container.case.nothing_left();
}
