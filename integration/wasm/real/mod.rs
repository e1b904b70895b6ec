//! Real programs: guests in Rust and C that stand on what people use (std, tokio, hyper, WasmEdge's crates, wasi-libc),
//! as `guests/build` has built them.

mod programs;
mod services;
mod wasmedge;

use std::io::Write;
use std::net::{SocketAddr, UdpSocket};

use super::*;
use crate::harness::bundle::set_namespace;
use crate::harness::command::LIMIT;
use crate::harness::network::{connect, exchange, within};
use crate::harness::{Need, http};

pub fn tests() -> Vec<Test> {
    [programs::tests(), wasmedge::tests(), services::tests()]
        .into_iter()
        .flatten()
        .collect()
}

/// Port `port` of a container in a network namespace of its own.
fn local(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// 1 MB without a pattern that a lost or doubled piece would fit.
pub fn megabyte() -> Vec<u8> {
    (0..1_000_000u32)
        .map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()[0])
        .collect()
}

/// A guest that is running, until the test kills it.
struct Server<'case> {
    container: Container<'case>,
    run: Running,
}

impl<'case> Server<'case> {
    /// Starts a guest, and waits until it has said `word`.
    fn start(case: &'case Case, name: &str, args: &[&str], env: &[&str], word: &str) -> Self {
        let container = guest_with(case, name, args, |config| {
            let list = config["process"]["env"].as_array_mut().expect("a list");
            list.extend(env.iter().map(|entry| json!(entry)));
        });
        let run = case.start(container.command("run", &[]));
        eventually(&format!("{name} says {word}"), || {
            run.stdout().contains(word).then_some(())
        });
        Server { container, run }
    }

    /// What `work` gives in the container's network namespace.
    fn within<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        within(self.container.pid(), work)
    }

    /// Ends it as an engine would, which it must obey.
    fn stop(self) {
        self.container.kill("TERM").ok();
        self.run.wait().code_is(143);
    }
}

/// The steps `tcp-serve` and `udp-serve` of a guest.
fn serves_tcp_and_udp(case: &Case, name: &str) {
    let args = ["tcp-serve", "0.0.0.0:7001", "udp-serve", "0.0.0.0:7002"];
    let server = Server::start(case, name, &args, &[], "tcp serving on 0.0.0.0:7001\n");
    let sent = megabyte();
    let received = server.within(|| exchange(local(7001), &sent).expect("it sends back"));
    assert_eq!(received.len(), sent.len());
    assert!(received == sent, "other bytes came back");
    eventually("it serves UDP", || {
        server.run.stdout().contains("udp serving").then_some(())
    });
    server.within(|| {
        let socket = UdpSocket::bind(local(0)).expect("a socket");
        socket.set_read_timeout(Some(LIMIT)).expect("a limit");
        socket.send_to(b"datagram", local(7002)).expect("it is sent");
        let mut bytes = [0; 100];
        let (length, from) = socket.recv_from(&mut bytes).expect("it is sent back");
        assert_eq!((&bytes[..length], from), (&b"datagram"[..], local(7002)));
    });
    let output = server.run.wait().ok();
    let end = ["tcp served 1000000", "udp served 8"];
    assert!(end.iter().all(|line| output.lines().contains(line)), "{output}");
}

/// 100 connections, all open before the first request is sent; each gets what it has sent.
pub fn many_at_once(address: SocketAddr, path: &str) {
    let streams: Vec<_> = (0..100).map(|_| connect(address).expect("it accepts")).collect();
    for (number, mut stream) in streams.iter().enumerate() {
        let body = format!("request {number}");
        let head = format!("POST {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n");
        let request = format!("{head}content-length: {}\r\n\r\n{body}", body.len());
        stream.write_all(request.as_bytes()).expect("it reads");
    }
    for (number, stream) in streams.into_iter().enumerate() {
        let response = http::finish(stream).expect("an answer");
        assert_eq!(
            (response.status, response.text()),
            (200, format!("request {number}"))
        );
    }
}
