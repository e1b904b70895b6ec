//! Wasm guests in containers: started like any program, given only what the spec gives them, ended like any
//! process. A peer that knows no Wasm cannot pass any of these.

mod cache;
mod databases;
mod detection;
mod entries;
mod escape;
mod exec;
mod figures;
mod http;
mod inspect;
mod limits;
mod proposals;
pub mod real;
mod refused;
mod running;
mod sandbox;
mod slight;
mod sockets;
pub mod spin;
mod stores;
mod tiers;
mod traps;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;

use serde_json::{Value, json};

use crate::harness::bundle::add_mount;
use crate::harness::command::{Running, eventually};
use crate::harness::terminal::{DescriptorSocket, Terminal};
use crate::harness::{Case, Container, Output, Test, guest, test};

pub fn tests() -> Vec<Test> {
    [
        running::tests(),
        detection::tests(),
        entries::tests(),
        inspect::tests(),
        proposals::tests(),
        figures::tests(),
        refused::tests(),
        cache::tests(),
        tiers::tests(),
        sandbox::tests(),
        escape::tests(),
        exec::tests(),
        limits::tests(),
        traps::tests(),
        sockets::tests(),
        stores::tests(),
        databases::tests(),
        http::tests(),
        spin::tests(),
        slight::tests(),
        real::tests(),
    ]
    .into_iter()
    .flatten()
    .map(|test| test.wrun_only("runc runs no Wasm"))
    .collect()
}

/// A container whose root filesystem has the guest `name` as `/name.wasm`, run with `args` after it.
pub fn guest_with<'case>(
    case: &'case Case,
    name: &str,
    args: &[&str],
    edit: impl FnOnce(&mut Value),
) -> Container<'case> {
    let path = format!("/{name}.wasm");
    let container = case.container_with(&[&[path.as_str()], args].concat(), edit);
    container.write(&path[1..], guest::binary(name), 0o644);
    container
}

fn run_guest(case: &Case, name: &str, args: &[&str]) -> Output {
    guest_with(case, name, args, |_| {}).run()
}

/// Starts a guest that never ends, in the background, when it has said `word`.
fn start_endless<'case>(case: &'case Case, name: &str, word: &str) -> (Container<'case>, Running) {
    let container = guest_with(case, name, &[], |_| {});
    let run = case.start(container.command("run", &[]));
    eventually(&format!("{name} says {word}"), || {
        run.stdout().contains(word).then_some(())
    });
    (container, run)
}
