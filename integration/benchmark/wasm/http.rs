//! Requests per second of a `wasi:http` service, with 1, 10 and 100 connections that are kept: the same component
//! in a container of ours, as a component of a Spin application there, and under `wasmtime serve`, in turn; and how long
//! it takes from the start of a container to the first answer, where compiled code is in the cache.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::docker::wait_for_compilers;
use crate::figures::{Figures, Plot, Table};
use crate::measure::{time, turns};
use crate::{Bench, Place, Runtime, bundle};

const CONNECTIONS: [usize; 3] = [1, 10, 100];
const ROUNDS: usize = 3;
/// Of one measurement, after as long a warm-up as a tenth of it.
const DURATION: Duration = Duration::from_secs(2);
/// How long a service may take until it listens.
const PATIENCE: Duration = Duration::from_secs(30);

/// The application of which the same component is a part.
const APPLICATION: &str = r#"
spin_manifest_version = 2
[application]
name = "bench"
[[trigger.http]]
route = "/..."
component = "one"
[component.one]
source = "http.wasm"
"#;

/// A root file system of the application, as that of all others: a manifest there would make an application of any guest.
fn application(place: &Place, guest: &Path) -> PathBuf {
    let rootfs = place.file("application");
    bundle::make_rootfs(&rootfs);
    std::fs::copy(guest, rootfs.join("http.wasm")).expect("the guest");
    std::fs::write(rootfs.join("spin.toml"), APPLICATION).expect("the manifest");
    rootfs
}

/// A container of ours that serves on a port of the host's.
struct Service {
    id: &'static str,
    bundle: PathBuf,
    port: u16,
}

impl Service {
    fn new(place: &Place, id: &'static str, rootfs: &Path, entry: &str, variable: &str) -> Self {
        let port = free_port();
        let bundle = place.bundle_with(id, &[entry], |config| {
            let namespaces = config["linux"]["namespaces"].as_array_mut().expect("a list");
            namespaces.retain(|namespace| namespace["type"] != "network");
            // Docker sets some of a network namespace, which would be the host's here.
            config["linux"]["sysctl"] = serde_json::json!({});
            config["root"]["path"] = serde_json::json!(rootfs);
            let environment = config["process"]["env"].as_array_mut().expect("a list");
            environment.push(format!("{variable}=127.0.0.1:{port}").into());
        });
        Self { id, bundle, port }
    }

    fn start(&self, place: &Place, ours: &Runtime) {
        let bundle = self.bundle.to_str().expect("UTF-8");
        time(place.command(ours, &["run", "--detach", "--bundle", bundle, self.id]));
    }

    fn end(&self, place: &Place, ours: &Runtime) {
        time(place.command(ours, &["delete", "--force", self.id]));
    }
}

pub fn measure(bench: &Bench, ours: &Runtime, wasmtime: Option<&Path>) -> Vec<Table> {
    let place = &bench.place;
    let guest = place.add_guest("http", include_bytes!("../../guests/http-02.wasm"));
    let guest = place.rootfs().join(&guest[1..]);
    let application = application(place, &guest);
    let variables = ["WASMTIME_HTTP_PROXY_SOCKET_ADDR", "SPIN_HTTP_LISTEN_ADDR"];
    let services = [
        Service::new(place, "http", &place.rootfs(), "/http.wasm", variables[0]),
        Service::new(place, "spin", &application, "/", variables[1]),
    ];
    let names = [ours.name.clone(), format!("{}, as Spin application", ours.name)];
    let starts = starts(bench, ours, &services, &names);
    for service in &services {
        service.start(place, ours);
    }
    let ports = services.iter().map(|service| service.port);
    let mut servers: Vec<(String, u16)> = names.into_iter().zip(ports).collect();
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
            for at in turns(round, servers.len()) {
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
    for service in &services {
        service.end(place, ours);
    }
    vec![table, starts]
}

/// From the start of `run` to the end of the first answer.
fn starts(bench: &Bench, ours: &Runtime, services: &[Service], names: &[String]) -> Table {
    let place = &bench.place;
    // Leaves the cache with optimised code, which is made in the background.
    for service in services {
        service.start(place, ours);
        wait_until_listening(service.port);
        service.end(place, ours);
    }
    wait_for_compilers();
    let mut times: Vec<Vec<f64>> = services.iter().map(|_| Vec::new()).collect();
    for round in 0..bench.options.rounds {
        for at in turns(round, services.len()) {
            let service = &services[at];
            let begin = Instant::now();
            service.start(place, ours);
            wait_until_listening(service.port);
            let stream = TcpStream::connect(("127.0.0.1", service.port)).expect("it listens");
            ask_once(&stream, &mut BufReader::new(&stream));
            times[at].push(begin.elapsed().as_secs_f64() * 1e3);
            service.end(place, ours);
        }
    }
    let columns = names.to_vec();
    let mut table = Table::new("http-start", "wasi:http to the first answer", "ms", columns);
    table.plot = Plot::None;
    table.add("warm", times.iter().map(|times| Figures::of(times)).collect());
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
        std::thread::sleep(Duration::from_micros(200));
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
        ask_once(&stream, &mut reader);
        answered.fetch_add(1, Ordering::Relaxed);
    }
}

fn ask_once(mut stream: &TcpStream, reader: &mut impl BufRead) {
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .expect("the service reads");
    answer(reader);
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
