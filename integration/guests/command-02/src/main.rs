//! A component of WASI 0.2 in plain Rust: a command that does what its arguments say, one step after the other, and
//! prints what came of it.
//!
//! | step | prints |
//! |---|---|
//! | `args`, `env` | the arguments, the environment, a line each |
//! | `cat PATH` | what the file holds |
//! | `write PATH TEXT` | nothing |
//! | `list PATH` | the names in the directory, in order |
//! | `remove PATH` | nothing |
//! | `clocks` | whether time passes while it sleeps |
//! | `lookup NAME` | the addresses, in order |
//! | `tcp ADDRESS` | what a TCP server sends back for "ping" |
//! | `tcp-serve ADDRESS` | serves one TCP connection: sends back what comes until its end |
//! | `udp ADDRESS` | what a UDP server sends back for "ping" |
//! | `udp-serve ADDRESS` | sends one datagram back |
//! | `loop FAMILY` | whether TCP and UDP work within this process over the loopback; 4 or 6 |
//! | `exit N` | ends with that status, of which WASI 0.2 passes on whether it is 0 |
//!
//! An error is a line `STEP failed: …` on the standard error, and the status 1.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, TcpListener, TcpStream, ToSocketAddrs, UdpSocket};
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime};
use std::{env, fs, thread};

fn main() -> ExitCode {
    let mut words = env::args().skip(1);
    while let Some(step) = words.next() {
        if step == "exit" {
            let status = words.next().and_then(|word| word.parse().ok());
            return ExitCode::from(status.unwrap_or(2));
        }
        if let Err(error) = run(&step, &mut words) {
            eprintln!("{step} failed: {error}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

fn run(step: &str, words: &mut impl Iterator<Item = String>) -> io::Result<()> {
    let mut word = || {
        words
            .next()
            .ok_or_else(|| io::Error::other("it needs one more word"))
    };
    match step {
        "args" => env::args().for_each(|word| println!("arg {word}")),
        "env" => env::vars().for_each(|(name, value)| println!("env {name}={value}")),
        "cat" => io::stdout().write_all(&fs::read(word()?)?)?,
        "write" => fs::write(word()?, word()?)?,
        "list" => list(&word()?)?,
        "remove" => fs::remove_file(word()?)?,
        "clocks" => clocks(),
        "lookup" => lookup(&word()?)?,
        "tcp" => tcp(&word()?)?,
        "tcp-serve" => tcp_serve(&word()?)?,
        "udp" => udp(&word()?)?,
        "udp-serve" => udp_serve(&word()?)?,
        "loop" => within(match word()?.as_str() {
            "6" => Ipv6Addr::LOCALHOST.into(),
            _ => Ipv4Addr::LOCALHOST.into(),
        })?,
        _ => return Err(io::Error::other("there is no such step")),
    }
    Ok(())
}

fn list(path: &str) -> io::Result<()> {
    let mut names = Vec::new();
    for entry in fs::read_dir(path)? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    names.iter().for_each(|name| println!("entry {name}"));
    Ok(())
}

fn clocks() {
    let (start, wall) = (Instant::now(), SystemTime::now());
    thread::sleep(Duration::from_millis(20));
    let passed = start.elapsed() >= Duration::from_millis(20);
    let set = wall
        .duration_since(SystemTime::UNIX_EPOCH)
        .is_ok_and(|time| time.as_secs() > 1_700_000_000);
    println!("clocks {passed} {set}");
}

fn lookup(name: &str) -> io::Result<()> {
    let mut found: Vec<_> = (name, 80)
        .to_socket_addrs()?
        .map(|address| address.ip())
        .collect();
    found.sort();
    found.dedup();
    found.iter().for_each(|address| println!("address {address}"));
    Ok(())
}

fn tcp(address: &str) -> io::Result<()> {
    let mut stream = TcpStream::connect(address)?;
    stream.write_all(b"ping")?;
    stream.shutdown(Shutdown::Write)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    println!("tcp {answer}");
    Ok(())
}

fn tcp_serve(address: &str) -> io::Result<()> {
    let listener = TcpListener::bind(address)?;
    println!("tcp serving on {}", listener.local_addr()?);
    let (mut stream, _) = listener.accept()?;
    let mut bytes = [0; 4096];
    let mut total = 0;
    loop {
        let length = stream.read(&mut bytes)?;
        if length == 0 {
            break;
        }
        stream.write_all(&bytes[..length])?;
        total += length;
    }
    println!("tcp served {total}");
    Ok(())
}

fn udp(address: &str) -> io::Result<()> {
    let address = address
        .to_socket_addrs()?
        .next()
        .ok_or_else(|| io::Error::other("no address"))?;
    let any: IpAddr = if address.is_ipv6() {
        Ipv6Addr::UNSPECIFIED.into()
    } else {
        Ipv4Addr::UNSPECIFIED.into()
    };
    let socket = UdpSocket::bind((any, 0))?;
    socket.send_to(b"ping", address)?;
    let mut bytes = [0; 1500];
    let (length, _) = socket.recv_from(&mut bytes)?;
    println!("udp {}", String::from_utf8_lossy(&bytes[..length]));
    Ok(())
}

fn udp_serve(address: &str) -> io::Result<()> {
    let socket = UdpSocket::bind(address)?;
    println!("udp serving on {}", socket.local_addr()?);
    let mut bytes = [0; 1500];
    let (length, from) = socket.recv_from(&mut bytes)?;
    socket.send_to(&bytes[..length], from)?;
    println!("udp served {length}");
    Ok(())
}

/// Both ends in one process: the kernel finishes a TCP connection before anybody accepts it.
fn within(host: IpAddr) -> io::Result<()> {
    let listener = TcpListener::bind((host, 0))?;
    let mut client = TcpStream::connect(listener.local_addr()?)?;
    let (mut server, peer) = listener.accept()?;
    client.write_all(b"over tcp")?;
    client.shutdown(Shutdown::Write)?;
    let mut text = String::new();
    server.read_to_string(&mut text)?;
    println!("loop {text} {}", peer == client.local_addr()?);

    let (one, other) = (UdpSocket::bind((host, 0))?, UdpSocket::bind((host, 0))?);
    one.send_to(b"over udp", other.local_addr()?)?;
    let mut bytes = [0; 1500];
    let (length, from) = other.recv_from(&mut bytes)?;
    println!(
        "loop {} {}",
        String::from_utf8_lossy(&bytes[..length]),
        from == one.local_addr()?
    );
    Ok(())
}
