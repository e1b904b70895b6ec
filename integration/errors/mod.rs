//! Bad input: each gives one error that names the culprit, the right exit code, and leaves nothing behind.

mod command;
mod config;

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

use serde_json::{Value, json};

use crate::harness::bundle::add_mount;
use crate::harness::{Case, Container, Output, Test, leaks, test};

pub fn tests() -> Vec<Test> {
    [config::tests(), command::tests()]
        .into_iter()
        .flatten()
        .collect()
}

/// `create` must fail with one error that names `culprits`, and leave nothing.
#[track_caller]
fn refused(container: &Container, culprits: &[&str]) -> Output {
    let output = container.try_create(&[]).code_is(1);
    container.case.names(&output, culprits);
    container.case.nothing_left();
    let output = container.run().code_is(1);
    container.case.names(&output, culprits);
    container.case.nothing_left();
    output
}
