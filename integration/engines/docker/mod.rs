//! Docker's commands and flags on containers of the runtime: native ones with every runtime, Wasm with ours.

mod build;
mod checkpoint;
mod commands;
mod compose;
mod daemon;
mod days;
mod devices;
mod life;
mod limits;
mod mounts;
mod namespaces;
mod platform;
mod run;
mod security;
mod userns;
mod wasm;

use std::fs;

use crate::harness::command::{Running, eventually};
use crate::harness::docker::{Daemon, Docker, NATIVE};
use crate::harness::terminal::Terminal;
use crate::harness::{Case, Need, Output, Test, test};

/// Tests for every runtime.
pub fn tests() -> Vec<Test> {
    let topics = [
        run::tests(),
        commands::tests(),
        life::tests(),
        limits::tests(),
        security::tests(),
        devices::tests(),
        mounts::tests(),
        namespaces::tests(),
        userns::tests(),
        build::tests(),
        compose::tests(),
        days::tests(),
        daemon::tests(),
        checkpoint::tests(),
        platform::tests(),
    ];
    let tests = topics.into_iter().flatten();
    tests.map(|test| test.needs(Need::Docker)).collect()
}

/// Tests for ours.
pub fn wasm_tests() -> Vec<Test> {
    let topics = [
        wasm::tests(),
        life::wasm_tests(),
        limits::wasm_tests(),
        security::wasm_tests(),
        devices::wasm_tests(),
        mounts::wasm_tests(),
        namespaces::wasm_tests(),
        build::wasm_tests(),
        compose::wasm_tests(),
        days::wasm_tests(),
        platform::wasm_tests(),
    ];
    let tests = topics.into_iter().flatten();
    tests
        .map(|test| test.needs(Need::Docker).wrun_only("runc runs no Wasm"))
        .collect()
}

/// The docker client on a terminal of ours.
fn on_a_terminal(command: std::process::Command, case: &Case) -> (Terminal, Running) {
    let (terminal, slave) = Terminal::open(33, 88);
    let mut setsid = std::process::Command::new("setsid");
    setsid
        .args(["--ctty", "--wait"])
        .arg(command.get_program())
        .args(command.get_args());
    setsid.envs(
        command
            .get_envs()
            .filter_map(|(name, value)| Some((name, value?))),
    );
    setsid.env(crate::harness::case::MARK, &case.mark);
    (terminal, Running::start_on(setsid, &slave))
}

/// A directory of the host with a file.
fn volume_of(case: &Case) -> String {
    let path = case.dir.join("volume");
    fs::create_dir(&path).expect("a directory");
    fs::write(path.join("file"), "in the volume\n").expect("a file");
    case.path("volume")
}

/// A file of the container's cgroup; see [`super::cgroup_file`].
fn cgroup_file(docker: &Docker, id: &str, controller: &str, v1: &str, v2: &str) -> String {
    super::cgroup_file(&docker.inspect(id, "{{.State.Pid}}"), controller, v1, v2)
}
