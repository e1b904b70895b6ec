//! Spin applications: how they are told, what is wrong with their manifests, and what their components see.

mod answers;
mod greedy;
mod legacy;
mod redis;
mod refused;
mod sdk;
mod triggers;
mod unpacked;

use std::net::SocketAddr;

use super::*;
use crate::harness::http::{Response, get, get_eventually, request};
use crate::harness::network::within;

pub fn tests() -> Vec<Test> {
    [
        answers::tests(),
        greedy::tests(),
        legacy::tests(),
        refused::tests(),
        sdk::tests(),
        triggers::tests(),
        unpacked::tests(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// A manifest with this after its head.
pub fn manifest(rest: &str) -> String {
    format!("spin_manifest_version = 2\n[application]\nname = \"shop\"\nversion = \"1.2.0\"\n{rest}")
}

/// A container that holds the application, with the guests that it names.
fn application<'case>(
    case: &'case Case,
    manifest: &str,
    guests: &[&str],
    edit: impl FnOnce(&mut Value),
) -> Container<'case> {
    let container = case.container_with(&["/"], edit);
    container.write("spin.toml", manifest, 0o644);
    for name in guests {
        container.write(&format!("{name}.wasm"), guest::binary(name), 0o644);
    }
    container
}

/// An application that answers by now.
struct Served<'case> {
    container: Container<'case>,
    run: Running,
    pid: i32,
    address: SocketAddr,
}

#[track_caller]
fn serve(container: Container<'_>) -> Served<'_> {
    serve_at(container, 80)
}

#[track_caller]
fn serve_at(container: Container<'_>, port: u16) -> Served<'_> {
    let case = container.case;
    let run = case.start(container.command("run", &[]));
    let pid = eventually("the application is running", || {
        let state = case.call(&["state", &container.id]);
        (state.status.success() && state.json()["status"] == "running").then(|| container.pid())
    });
    let served = Served {
        container,
        run,
        pid,
        address: ([127, 0, 0, 1], port).into(),
    };
    within(pid, || get_eventually(served.address, "/.well-known/spin/health"));
    served
}

impl Served<'_> {
    #[track_caller]
    fn get(&self, path: &str) -> Response {
        let address = self.address;
        within(self.pid, || get(address, path)).expect("an answer")
    }

    /// Status and body.
    #[track_caller]
    fn says(&self, path: &str) -> (u16, String) {
        let response = self.get(path);
        (response.status, response.text())
    }

    #[track_caller]
    fn request(&self, method: &str, path: &str, fields: &[&str], body: &str) -> Response {
        let address = self.address;
        let asked = || request(address, method, path, fields, body.as_bytes());
        within(self.pid, asked).expect("an answer")
    }

    /// Status and body of the answer to a body.
    #[track_caller]
    fn told(&self, path: &str, body: &str) -> (u16, String) {
        let response = self.request("POST", path, &[], body);
        (response.status, response.text())
    }

    /// The processor time that it has taken by now, in clock ticks (proc_pid_stat(5): utime and stime).
    fn processor_time(&self) -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid)).expect("it runs");
        let (_, after_name) = stat.rsplit_once(')').expect("a name in brackets");
        let ticks = after_name.split_whitespace().skip(11).take(2);
        ticks.map(|field| field.parse::<u64>().expect("ticks")).sum()
    }

    /// Waits until instances compute, which shows in nothing but the processor time since it was `before`: far more
    /// than answers take, and a turn for each of a few.
    #[track_caller]
    fn wait_for_computing(&self, before: u64) {
        eventually("instances compute", || {
            (self.processor_time() >= before + 30).then_some(())
        });
    }

    #[track_caller]
    fn stop(self) -> Output {
        self.container.kill("TERM").ok();
        self.run.wait().code_is(0)
    }
}
