//! `exec`: its flags, and that the added process is confined as the first one is.

mod confinement;
mod flags;

use std::fs;

use serde_json::{Value, json};

use crate::harness::bundle::map_ids;
use crate::harness::command::eventually;
use crate::harness::terminal::{DescriptorSocket, Terminal};
use crate::harness::{Case, Container, Need, Test, leaks, test};

pub fn tests() -> Vec<Test> {
    [flags::tests(), confinement::tests()]
        .into_iter()
        .flatten()
        .collect()
}

/// A running container that sleeps, made with `edit`.
fn sleeper_with<'case>(case: &'case Case, edit: impl FnOnce(&mut Value)) -> Container<'case> {
    let container = case.container_with(&["sleep", "1000"], edit);
    container.run_detached();
    container
}

fn sleeper(case: &Case) -> Container<'_> {
    sleeper_with(case, |_| {})
}
