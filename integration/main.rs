//! The tests on the real binary: each takes the runtime as a parameter and is run on wrun and, where it is
//! installed, on runc, which proves the tests. Run with `integration/test`; README.md tells the rest.

mod harness;

mod annotations;
mod cgroups;
mod checkpoint;
mod commands;
mod completion;
mod console;
mod counts;
mod doctor;
mod engines;
mod errors;
mod events;
mod exec;
mod faults;
mod features;
mod hooks;
mod install;
mod lifecycle;
mod live_mounts;
mod machine;
mod namespaces;
mod nested;
mod notify;
mod package;
mod process;
mod properties;
mod rootfs;
mod rootless;
mod seccomp;
mod security;
mod update;
mod wasm;

use std::process::ExitCode;

use harness::cri::Kind;
use harness::runtime::Runtime;
use harness::suite::Suite;

fn main() -> ExitCode {
    let mut suite = Suite::new(Runtime::all());
    if let Some(reason) = Runtime::refusal_of_crun() {
        suite.skip("peer::crun", reason);
    }
    suite.add("lifecycle", lifecycle::tests());
    suite.add("commands", commands::tests());
    suite.add("completion", completion::tests());
    suite.add("console", console::tests());
    suite.add("exec", exec::tests());
    suite.add("namespaces", namespaces::tests());
    suite.add("process", process::tests());
    suite.add("seccomp", seccomp::tests());
    suite.add("rootfs", rootfs::tests());
    suite.add("live_mounts", live_mounts::tests());
    suite.add("hooks", hooks::tests());
    suite.add("annotations", annotations::tests());
    suite.add("notify", notify::tests());
    suite.add("cgroups", cgroups::tests());
    suite.add("update", update::tests());
    suite.add("events", events::tests());
    suite.add("checkpoint", checkpoint::tests());
    suite.add("machine", machine::tests());
    suite.add("counts", counts::tests());
    suite.add("faults", faults::tests());
    suite.add("security", security::tests());
    suite.add("wasm", wasm::tests());
    suite.add("containerd", engines::containerd::tests());
    suite.add("containerd", engines::containerd::wasm_tests());
    suite.add("cri", engines::cri::tests(Kind::Containerd));
    suite.add("crio", engines::cri::tests(Kind::Crio));
    suite.add("conmon", engines::conmon::tests());
    suite.add("conmon", engines::conmon::wasm_tests());
    suite.add("podman", engines::podman::tests());
    suite.add("podman", engines::podman::wasm_tests());
    suite.add("docker", engines::docker::tests());
    suite.add("docker::wasm", engines::docker::wasm_tests());
    suite.add("install", install::tests());
    suite.add("doctor", doctor::tests());
    suite.add("package", package::tests());
    suite.add("rootless", rootless::tests());
    suite.add("errors", errors::tests());
    suite.add("features", features::tests());
    suite.add("nested", nested::tests());
    suite.add_trials(harness::comparison::trials());
    suite.add_checks(properties::trials);
    suite.run()
}
