//! Requests per second of a `wasi:http` service, with 1, 10 and 100 connections that are kept: the same component
//! in a container of ours and under `wasmtime serve`, in turn.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::figures::{Figures, Plot, Table};
use crate::measure::time;
use crate::{Bench, Runtime};

const CONNECTIONS: [usize; 3] = [1, 10, 100];
const ROUNDS: usize = 3;
/// Of one measurement, after as long a warm-up as a tenth of it.
const DURATION: Duration = Duration::from_secs(2);
/// How long a service may take until it listens.
const PATIENCE: Duration = Duration::from_secs(30);

pub fn measure(bench: &Bench, ours: &Runtime, wasmtime: Option<&Path>) -> Table {
    let place = &bench.place;
    let guest = place.add_guest("http", include_bytes!("../../guests/http-02.wasm"));
    let guest = place.rootfs().join(&guest[1..]);
    let own = free_port();
    let bundle = place.bundle_with("http", &["/http.wasm"], |config| {
        let namespaces = config["linux"]["namespaces"].as_array_mut().expect("a list");
        namespaces.retain(|namespace| namespace["type"] != "network");
        // Docker sets some of a network namespace, which would be the host's here.
        config["linux"]["sysctl"] = serde_json::json!({});
        let environment = config["process"]["env"].as_array_mut().expect("a list");
        environment.push(format!("WASMTIME_HTTP_PROXY_SOCKET_ADDR=127.0.0.1:{own}").into());
    });
    let arguments = [
        "run",
        "--detach",
        "--bundle",
        bundle.to_str().expect("UTF-8"),
        "http",
    ];
    time(place.command(ours, &arguments));
    let mut servers = vec![(ours.name.clone(), own)];
    let theirs = wasmtime.map(|program| {
        let port = free_port();
        servers.push(("wasmtime serve".to_owned(), port));
        serve(program, &guest, port)
    });
    for (_, port) in &servers {
        wait_until_listening(*port);
    }
    let columns = servers.iter().map(|(name, _)| name.clone()).collect();
    let mut table = Table::new(
        "http",
        "wasi:http by number of connections",
        "requests per second",
        columns,
    );
    table.plot = Plot::Bars;
    for connections in CONNECTIONS {
        let mut rates: Vec<Vec<f64>> = servers.iter().map(|_| Vec::new()).collect();
        for round in 0..ROUNDS {
            for turn in 0..servers.len() {
                let at = (round + turn) % servers.len();
                rates[at].push(rate(servers[at].1, connections));
            }
        }
        table.add(
            &connections.to_string(),
            rates.iter().map(|rates| Figures::of(rates)).collect(),
        );
    }
    if let Some(mut child) = theirs {
        child.kill().expect("it is our child");
        child.wait().expect("it is our child");
    }
    time(place.command(ours, &["delete", "--force", "http"]));
    table
}

/// A port that was free a moment ago.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("it is bound").port()
}

fn serve(program: &Path, guest: &Path, port: u16) -> Child {
    let mut command = Command::new(program);
    command.args(["serve", "-Scli", "--addr", &format!("127.0.0.1:{port}")]);
    command
        .arg(guest)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.spawn().expect("wasmtime starts")
}

fn wait_until_listening(port: u16) {
    let start = Instant::now();
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(start.elapsed() < PATIENCE, "nothing listens on port {port}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Requests that are answered in a second over so many connections.
fn rate(port: u16, connections: usize) -> f64 {
    let answered = AtomicU64::new(0);
    let ended = AtomicBool::new(false);
    let elapsed = std::thread::scope(|scope| {
        for _ in 0..connections {
            scope.spawn(|| ask(port, &answered, &ended));
        }
        std::thread::sleep(DURATION / 10);
        answered.store(0, Ordering::Relaxed);
        let start = Instant::now();
        std::thread::sleep(DURATION);
        ended.store(true, Ordering::Relaxed);
        start.elapsed()
    });
    answered.load(Ordering::Relaxed) as f64 / elapsed.as_secs_f64()
}

/// One client: asks and waits for the whole answer, over and over.
fn ask(port: u16, answered: &AtomicU64, ended: &AtomicBool) {
    let stream = TcpStream::connect(("127.0.0.1", port)).expect("the service takes connections");
    stream.set_nodelay(true).expect("a socket option");
    let mut reader = BufReader::new(&stream);
    while !ended.load(Ordering::Relaxed) {
        (&stream)
            .write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            .expect("the service reads");
        answer(&mut reader);
        answered.fetch_add(1, Ordering::Relaxed);
    }
}

/// Reads one answer to its end.
fn answer(reader: &mut impl BufRead) {
    let mut line = String::new();
    let mut length = None;
    read_line(reader, &mut line);
    assert!(line.starts_with("HTTP/1.1 200"), "{line}");
    loop {
        read_line(reader, &mut line);
        match line.split_once(':') {
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                length = Some(value.trim().parse().expect("a number"));
            }
            Some(_) => {}
            None => break,
        }
    }
    match length {
        Some(length) => skip(reader, length),
        // Chunks: a size in hexadecimal, the bytes, an empty line; the last has none.
        None => loop {
            read_line(reader, &mut line);
            let size = usize::from_str_radix(line.trim(), 16).expect("a chunk's size");
            skip(reader, size + 2);
            if size == 0 {
                break;
            }
        },
    }
}

fn read_line(reader: &mut impl BufRead, line: &mut String) {
    line.clear();
    reader.read_line(line).expect("an answer");
}

fn skip(reader: &mut impl Read, length: usize) {
    let mut bytes = vec![0; length];
    reader.read_exact(&mut bytes).expect("the whole body");
}
