//! SpiderLightning applications: what their modules are given, and what is wrong with their slightfiles.

mod http;
mod messaging;
mod refused;
mod stores;

use std::net::SocketAddr;

use super::*;
use crate::harness::http::{Response, get, get_eventually, request};
use crate::harness::network::within;

pub fn tests() -> Vec<Test> {
    [
        http::tests(),
        stores::tests(),
        messaging::tests(),
        refused::tests(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// A slightfile that grants the guest `slight` all that it imports, with these stores and brokers.
fn slightfile(rest: &str) -> String {
    format!(
        "specversion = \"0.2\"\n{}{}{}{rest}",
        capability("http", "rest"),
        capability("http-client", "any"),
        capability("configs.envvars", "*"),
    )
}

fn capability(resource: &str, name: &str) -> String {
    format!("[[capability]]\nresource = \"{resource}\"\nname = \"{name}\"\n")
}

/// Stores and queues in files.
fn filesystem() -> String {
    capability("keyvalue.filesystem", "files") + &capability("messaging.filesystem", "queue")
}

/// A container that holds the application.
fn application<'case>(
    case: &'case Case,
    slightfile: &str,
    guest: &str,
    edit: impl FnOnce(&mut Value),
) -> Container<'case> {
    let container = case.container_with(&["/"], edit);
    container.write("slightfile.toml", slightfile, 0o644);
    container.write("app.wasm", guest::binary(guest), 0o644);
    container
}

/// An application that answers by now.
struct Served<'case> {
    container: Container<'case>,
    run: Running,
    pid: i32,
}

fn address() -> SocketAddr {
    ([127, 0, 0, 1], 3000).into()
}

#[track_caller]
fn serve(container: Container<'_>) -> Served<'_> {
    let case = container.case;
    let run = case.start(container.command("run", &[]));
    let pid = eventually("the application is running", || {
        let state = case.call(&["state", &container.id]);
        (state.status.success() && state.json()["status"] == "running").then(|| container.pid())
    });
    within(pid, || get_eventually(address(), "/echo/ready"));
    Served { container, run, pid }
}

impl Served<'_> {
    #[track_caller]
    fn ask(&self, method: &str, path: &str, body: &[u8]) -> Response {
        within(self.pid, || request(address(), method, path, &[], body)).expect("an answer")
    }

    /// Status and body.
    #[track_caller]
    fn says(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        let response = self.ask(method, path, body.as_bytes());
        (response.status, response.text())
    }

    /// The body of an answer that is as it should be.
    #[track_caller]
    fn get(&self, path: &str) -> String {
        let (status, text) = self.says("GET", path, "");
        assert_eq!(status, 200, "{path}: {text}");
        text
    }

    /// Starts a server in the application's network.
    #[track_caller]
    fn start_server(&self, program: &str, arguments: &[&str], port: u16) -> Running {
        let mut command = std::process::Command::new("nsenter");
        command.arg(format!("--net=/proc/{}/ns/net", self.pid));
        command.arg("--").arg(program).args(arguments);
        let server = self.container.case.start(command);
        eventually(&format!("{program} listens"), || {
            let address = ([127, 0, 0, 1], port).into();
            within(self.pid, || crate::harness::network::connect(address)).ok()
        });
        server
    }

    #[track_caller]
    fn stop(self) -> Output {
        self.container.kill("TERM").ok();
        self.run.wait().code_is(0)
    }
}

/// Ends a server that the test has started.
fn end(server: Running) {
    server.signal(rustix::process::Signal::KILL);
    server.wait();
}
