//! HTTP services: how they are reached, what they may take, and how they end.

mod answers;
mod limits;

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::*;
use crate::harness::bundle::set_namespace;
use crate::harness::http::{get, get_eventually, post};
use crate::harness::network::{connect, within};

pub fn tests() -> Vec<Test> {
    [answers::tests(), limits::tests()]
        .into_iter()
        .flatten()
        .collect()
}

const ADDRESS: &str = "WASMTIME_HTTP_PROXY_SOCKET_ADDR";

fn local(port: u16) -> SocketAddr {
    ([127, 0, 0, 1], port).into()
}

/// A service in a container with a network of its own, which answers by now.
struct Service<'case> {
    container: Container<'case>,
    run: Running,
    pid: i32,
}

/// Serves the guest `name` on the default address.
#[track_caller]
fn serve<'case>(case: &'case Case, name: &str, edit: impl FnOnce(&mut Value)) -> Service<'case> {
    let container = guest_with(case, name, &[], edit);
    let command = container.command("run", &[]);
    serve_by(container, command)
}

/// Serves what is in a container, run by this command.
#[track_caller]
fn serve_by(container: Container<'_>, command: std::process::Command) -> Service<'_> {
    let case = container.case;
    let run = case.start(command);
    let pid = eventually("the service is running", || {
        let state = case.call(&["state", &container.id]);
        (state.status.success() && state.json()["status"] == "running").then(|| container.pid())
    });
    let service = Service { container, run, pid };
    service.within(|| get_eventually(local(8080), "/"));
    service
}

impl Service<'_> {
    #[track_caller]
    fn within<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        within(self.pid, work)
    }

    #[track_caller]
    fn get(&self, path: &str) -> (u16, String) {
        let response = self.within(|| get(local(8080), path)).expect("an answer");
        (response.status, response.text())
    }

    /// Stops it as engines do.
    #[track_caller]
    fn stop(self) -> Output {
        self.container.kill("TERM").ok();
        self.run.wait().code_is(0)
    }

    /// Waits until a signal to stop has come through.
    #[track_caller]
    fn wait_until_closed(&self) {
        let pid = self.pid;
        eventually("new connections are refused", || {
            let refused = within(pid, || connect(local(8080))).err()?;
            (refused.kind() == io::ErrorKind::ConnectionRefused).then_some(())
        });
    }

    fn threads(&self) -> usize {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.pid));
        tasks.expect("the service runs").count()
    }

    /// Kilobytes, as the kernel counts them.
    fn resident(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid)).expect("the service runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let number = line.and_then(|line| line.split_whitespace().next());
        number.expect("a size").parse().expect("a number")
    }
}

/// One connection to a service, for what takes more than a request and its answer.
struct Client(BufReader<TcpStream>);

impl Client {
    #[track_caller]
    fn connect(service: &Service) -> Self {
        let stream = service.within(|| connect(local(8080))).expect("a connection");
        Self(BufReader::new(stream))
    }

    fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.get_mut().write_all(bytes.as_ref()).expect("it is sent");
    }

    fn ask(&mut self, path: &str) {
        self.send(format!("GET {path} HTTP/1.1\r\nhost: here\r\n\r\n"));
    }

    /// A line without its end; empty where the connection has ended.
    fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).expect("a line of text");
        line.trim_end().to_owned()
    }

    /// The status line; the fields that follow are skipped.
    fn status(&mut self) -> String {
        let status = self.line();
        while !self.line().is_empty() {}
        status
    }

    /// A piece of a chunked body; empty at its end.
    fn chunk(&mut self) -> String {
        let length = usize::from_str_radix(&self.line(), 16).expect("a length");
        let mut chunk = vec![0; length + 2];
        self.0.read_exact(&mut chunk).expect("a whole chunk");
        chunk.truncate(length);
        String::from_utf8(chunk).expect("text")
    }
}

/// A frame of RFC 9113: type, flags and stream.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = u32::try_from(payload.len()).expect("small").to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// Types and flags of frames.
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// The first byte of a head that is `:status: 200`, in the static table of RFC 7541.
const OK: u8 = 0x88;

/// A frame as it was received.
struct Received {
    kind: u8,
    flags: u8,
    stream: u32,
    payload: Vec<u8>,
}

impl Client {
    /// Begins to speak HTTP/2 without having asked whether it is understood.
    fn begin_http2(&mut self) {
        self.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        self.send(frame(SETTINGS, 0, 0, &[]));
    }

    fn frame(&mut self) -> Received {
        let mut head = [0; 9];
        self.0.read_exact(&mut head).expect("a frame");
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        self.0.read_exact(&mut payload).expect("its payload");
        Received {
            kind: head[3],
            flags: head[4],
            stream: u32::from_be_bytes([head[5], head[6], head[7], head[8]]),
            payload,
        }
    }
}
