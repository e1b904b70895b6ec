//! Podman's commands and flags on containers of the runtime, by way of conmon, and Buildah's: native ones with every
//! runtime, Wasm with ours.

mod build;
mod cgroups;
mod checkpoint;
mod life;
mod mounts;
mod namespaces;
mod notify;
mod pods;
mod rootless;
mod run;
mod security;
mod wasm;

use std::fs;
use std::process::{Command, Stdio};

use crate::harness::command::eventually;
use crate::harness::podman::{NATIVE, Podman};
use crate::harness::{Case, Need, Test, test};

/// Tests for every runtime.
pub fn tests() -> Vec<Test> {
    [
        run::tests(),
        life::tests(),
        mounts::tests(),
        security::tests(),
        namespaces::tests(),
        cgroups::tests(),
        pods::tests(),
        notify::tests(),
        checkpoint::tests(),
        rootless::tests(),
        build::tests(),
    ]
    .into_iter()
    .flatten()
    .map(|test| test.needs(Need::Podman))
    .collect()
}

/// Tests for ours.
pub fn wasm_tests() -> Vec<Test> {
    let tests = wasm::tests().into_iter();
    tests
        .map(|test| test.needs(Need::Podman).wrun_only("runc runs no Wasm"))
        .collect()
}

const NO_NETWORK: &[&str] = &["--network", "none"];

/// [`NO_NETWORK`] and more flags.
fn alone<'f>(flags: &[&'f str]) -> Vec<&'f str> {
    [NO_NETWORK, flags].concat()
}

/// `command` as the arguments of another program.
fn under(wrapper: &[&str], command: &Command) -> Command {
    let mut wrapped = Command::new(wrapper[0]);
    wrapped
        .args(&wrapper[1..])
        .arg(command.get_program())
        .args(command.get_args())
        .stdin(Stdio::null());
    let own = command.get_envs();
    wrapped.envs(own.filter_map(|(name, value)| Some((name, value?))));
    wrapped
}

/// A directory of the host for a container, which anyone may write to.
fn volume(case: &Case, name: &str) -> String {
    use std::os::unix::fs::PermissionsExt;
    let path = case.dir.join(name);
    fs::create_dir(&path).expect("a directory");
    fs::set_permissions(&path, PermissionsExt::from_mode(0o777)).expect("our own directory");
    fs::write(path.join("file"), "in the volume\n").expect("a file");
    case.path(name)
}

/// Whether the file `name` is in the directory.
fn has(directory: &str, name: &str) -> bool {
    fs::exists(format!("{directory}/{name}")).expect("our own directory")
}

/// Starts what says `up` in its log when it is.
#[track_caller]
fn start_up(podman: &Podman, flags: &[&str], script: &str) -> String {
    let id = podman.start(flags, NATIVE, &["sh", "-c", script]);
    podman.wait_for_log(&id, "up");
    id
}

/// Says so, and ends with 3 when it is asked to stop.
const TRAP: &str = "trap 'echo asked to stop; exit 3' TERM; echo up; while :; do sleep 0.1; done";
