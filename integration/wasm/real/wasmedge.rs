//! Guests made for WasmEdge: its socket functions one by one, and servers on the tokio and the hyper that were published
//! for it.

use std::io::{BufRead, BufReader};
use std::net::{IpAddr, Ipv6Addr};

use super::*;

pub fn tests() -> Vec<Test> {
    vec![
        test!(wasmedge_sockets_within),
        test!(wasmedge_sockets_from_outside),
        test!(wasmedge_polls),
        test!(wasmedge_errors),
        test!(tokio_server),
        test!(tokio_client),
        test!(hyper_server),
        test!(hyper_server_many_at_once),
    ]
}

fn wasmedge_sockets_within(case: &Case) {
    let args = [
        "loop",
        "udp-loop",
        "127.0.0.1:0",
        "udp-loop",
        "[::1]:0",
        "options",
        "lookup",
        "host.test",
    ];
    let container = guest_with(case, "wasmedge-socket", &args, |_| {});
    container.write("etc/hosts", "192.0.2.7 host.test\n", 0o644);
    assert_eq!(
        container.run().ok().lines(),
        [
            "loop over tcp true true",
            "udp-loop over udp true",
            "udp-loop over udp true",
            "type Stream, listening false",
            "reuse-address false, keep-alive false",
            "reuse-address true, keep-alive true",
            "buffers true true",
            "receive timeout Some(1.5s)",
            "listening true, blocking true",
            "error Ok(())",
            "address 192.0.2.7",
        ]
    );
    // A listener of version 6; this crate cannot connect to one.
    let server = Server::start(
        case,
        "wasmedge-socket",
        &["tcp-serve", "[::]:7006"],
        &[],
        "tcp serving on [::]:7006\n",
    );
    let address = SocketAddr::from((IpAddr::from(Ipv6Addr::LOCALHOST), 7006));
    let received = server.within(|| exchange(address, b"over version 6").expect("it sends back"));
    assert_eq!(received, b"over version 6");
    server.run.wait().ok();
}

fn wasmedge_sockets_from_outside(case: &Case) {
    serves_tcp_and_udp(case, "wasmedge-socket");
}

fn wasmedge_polls(case: &Case) {
    assert_eq!(
        run_guest(case, "wasmedge-socket", &["poll"]).ok().lines(),
        [
            "accept Err(WouldBlock)",
            "nothing yet: 1 timeout",
            "a connection: 2 read",
            "read Err(WouldBlock)",
            "nothing yet: 1 timeout",
            "bytes: 3 read",
            "read Ok(5)",
            "the end: 3 read",
            "read Ok(0)",
        ]
    );
    // Nobody listens: the connection is refused, at once or later, and the socket keeps the reason.
    let output = run_guest(case, "wasmedge-socket", &["nonblocking", "127.0.0.1:9"]);
    assert!(
        output.stdout.ends_with("outcome Err(Some(14))\n")
            || output
                .stderr
                .starts_with("nonblocking failed: Connection refused"),
        "{output}"
    );
}

fn wasmedge_errors(case: &Case) {
    // ECONNREFUSED, EADDRINUSE, ENOTCONN (or EPIPE), EADDRNOTAVAIL, as WASI numbers them.
    let output = run_guest(case, "wasmedge-socket", &["errors"]).ok();
    let lines = output.lines();
    assert_eq!(lines[..2], ["refused Some(14)", "in use Some(3)"], "{output}");
    assert!(
        ["not connected Some(53)", "not connected Some(64)"].contains(&lines[2]),
        "{output}"
    );
    assert_eq!(lines[3], "not ours Some(4)", "{output}");
    assert!(lines[4].starts_with("unknown name Some("), "{output}");
}

fn tokio_server(case: &Case) {
    let server = Server::start(case, "tokio-echo", &[], &["PORT=7100"], "serving on port 7100");
    server.within(|| {
        // All are open before the first is used.
        let streams: Vec<_> = (0..50)
            .map(|_| connect(local(7100)).expect("it accepts"))
            .collect();
        for (number, mut stream) in streams.iter().enumerate().rev() {
            let sent = format!("line {number}\n");
            stream.write_all(sent.as_bytes()).expect("it reads");
            let mut line = String::new();
            BufReader::new(stream)
                .read_line(&mut line)
                .expect("it sends back");
            assert_eq!(line, sent);
        }
        assert_eq!(
            exchange(local(7100), b"quit\n").expect("it sends back"),
            b"quit\n"
        );
    });
    let output = server.run.wait().ok();
    assert!(
        output.stdout.ends_with("served 51 connections, ticks came\n"),
        "{output}"
    );
}

fn tokio_client(case: &Case) {
    let server = Server::start(case, "tokio-echo", &[], &[], "serving on port 7000");
    let path = format!("/proc/{}/ns/net", server.container.pid());
    let client = guest_with(
        case,
        "tokio-echo",
        &["client", "127.0.0.1:7000", "40"],
        |config| {
            set_namespace(config, "network", Some(&path));
        },
    );
    assert_eq!(client.run().ok().stdout, "40 of 40 came back\n");
    server.stop();
}

fn hyper_server(case: &Case) {
    let server = Server::start(case, "hyper-echo", &[], &[], "listening on port 8080");
    let sent = megabyte();
    server.within(|| {
        let response = http::get(local(8080), "/").expect("an answer");
        assert_eq!(
            (response.status, response.text().as_str()),
            (200, "Send a body to /echo with POST\n")
        );
        let response = http::post(local(8080), "/upper", b"in capitals").expect("an answer");
        assert_eq!(response.text(), "IN CAPITALS");
        let response = http::post(local(8080), "/echo", &sent).expect("an answer");
        assert_eq!((response.status, response.body.len()), (200, sent.len()));
        assert!(response.body == sent, "other bytes came back");
        assert_eq!(http::get(local(8080), "/nothing").expect("an answer").status, 404);
    });
    server.stop();
}

fn hyper_server_many_at_once(case: &Case) {
    let server = Server::start(case, "hyper-echo", &[], &["PORT=8081"], "listening on port 8081");
    server.within(|| many_at_once(local(8081), "/echo"));
    server.stop();
}
