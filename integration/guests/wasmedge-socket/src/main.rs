//! A core module that uses WasmEdge's socket functions through the crate that WasmEdge published for them. It does
//! what its arguments say, one step after the other, and prints what came of it.
//!
//! | step | prints |
//! |---|---|
//! | `lookup NAME` | the addresses that the host finds, in order |
//! | `tcp ADDRESS` | what a TCP server sends back for "ping" |
//! | `tcp-serve ADDRESS` | serves one TCP connection: sends back what comes until its end |
//! | `udp ADDRESS` | what a UDP server sends back for "ping" |
//! | `udp-serve ADDRESS` | sends one datagram back |
//! | `loop` | whether both ends of a TCP connection work within this process |
//! | `udp-loop ADDRESS` | the same for datagrams; the address may be of version 6 |
//! | `nonblocking ADDRESS` | how a connection that is not waited for ends |
//! | `poll` | what a poll of sockets and clocks says, before and after there is something to read |
//! | `options` | what the options of a socket are, and that they can be set |
//! | `errors` | the numbers of the errors of calls that must fail |
//!
//! An error is a line `STEP failed: …` on the standard error, and the status 1.

mod polling;

use std::env;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use wasmedge_wasi_socket::socket::{AddressFamily, Socket, SocketOptLevel, SocketOptName, SocketType};
use wasmedge_wasi_socket::{nslookup, TcpListener, TcpStream, UdpSocket};

fn main() -> ExitCode {
    let mut words = env::args().skip(1);
    while let Some(step) = words.next() {
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
        "lookup" => lookup(&word()?),
        "tcp" => tcp(&word()?),
        "tcp-serve" => tcp_serve(&word()?),
        "udp" => udp(&word()?),
        "udp-serve" => udp_serve(&word()?),
        "loop" => within(),
        "udp-loop" => datagrams_within(&word()?),
        "nonblocking" => polling::nonblocking(&word()?),
        "poll" => polling::mixed(),
        "options" => options(),
        "errors" => errors(),
        _ => Err(io::Error::other("there is no such step")),
    }
}

fn lookup(name: &str) -> io::Result<()> {
    let mut found: Vec<_> = nslookup(name, "http")?.iter().map(SocketAddr::ip).collect();
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
    let listener = TcpListener::bind(address, false)?;
    println!("tcp serving on {}", listener.local_addr()?);
    let (mut stream, _) = listener.accept(false)?;
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
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.send_to(b"ping", address)?;
    let mut bytes = [0; 1500];
    let (length, _) = socket.recv_from(&mut bytes)?;
    println!("udp {}", String::from_utf8_lossy(&bytes[..length]));
    Ok(())
}

fn udp_serve(address: &str) -> io::Result<()> {
    let socket = UdpSocket::bind(address)?;
    println!("udp serving");
    let mut bytes = [0; 1500];
    let (length, from) = socket.recv_from(&mut bytes)?;
    socket.send_to(&bytes[..length], from)?;
    println!("udp served {length}");
    Ok(())
}

/// The kernel finishes a connection before anybody accepts it.
fn within() -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0", false)?;
    let mut client = TcpStream::connect(listener.local_addr()?)?;
    let (mut server, peer) = listener.accept(false)?;
    client.write_all(b"over tcp")?;
    client.shutdown(Shutdown::Write)?;
    let mut text = String::new();
    server.read_to_string(&mut text)?;
    println!(
        "loop {text} {} {}",
        peer == client.local_addr()?,
        server.local_addr()? == client.peer_addr()?
    );
    Ok(())
}

fn datagrams_within(address: &str) -> io::Result<()> {
    let (one, other) = (UdpSocket::bind(address)?, UdpSocket::bind(address)?);
    let to = other.as_ref().get_local()?;
    one.send_to(b"over udp", to)?;
    let mut bytes = [0; 1500];
    let (length, from) = other.recv_from(&mut bytes)?;
    println!(
        "udp-loop {} {}",
        String::from_utf8_lossy(&bytes[..length]),
        from == one.as_ref().get_local()?
    );
    Ok(())
}

fn options() -> io::Result<()> {
    let socket = Socket::new(AddressFamily::Inet4, SocketType::Stream)?;
    println!("type {:?}, listening {}", socket.r#type()?, socket.is_listener()?);
    println!(
        "reuse-address {}, keep-alive {}",
        socket.reuse_address()?,
        socket.keepalive()?
    );
    socket.setsockopt(SocketOptLevel::SolSocket, SocketOptName::SoReuseaddr, 1i32)?;
    socket.setsockopt(SocketOptLevel::SolSocket, SocketOptName::SoKeepalive, 1i32)?;
    println!(
        "reuse-address {}, keep-alive {}",
        socket.reuse_address()?,
        socket.keepalive()?
    );
    println!(
        "buffers {} {}",
        socket.recv_buffer_size()? > 0,
        socket.send_buffer_size()? > 0
    );
    socket.set_recv_timeout(Some(Duration::from_millis(1500)))?;
    println!("receive timeout {:?}", socket.get_recv_timeout()?);
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)))?;
    socket.listen(1)?;
    println!(
        "listening {}, blocking {}",
        socket.is_listener()?,
        !socket.nonblocking()?
    );
    println!("error {:?}", socket.take_error());
    Ok(())
}

fn errors() -> io::Result<()> {
    let number = |result: io::Result<()>| result.err().and_then(|error| error.raw_os_error());
    // A port of the loopback that nobody listens on any more.
    let address = TcpListener::bind("127.0.0.1:0", false)?.local_addr()?;
    println!("refused {:?}", number(TcpStream::connect(address).map(drop)));
    let taken = TcpListener::bind("127.0.0.1:0", false)?;
    println!(
        "in use {:?}",
        number(TcpListener::bind(taken.local_addr()?, false).map(drop))
    );
    let socket = Socket::new(AddressFamily::Inet4, SocketType::Stream)?;
    println!("not connected {:?}", number(socket.send(b"x").map(drop)));
    println!(
        "not ours {:?}",
        number(socket.bind(&SocketAddr::from(([192, 0, 2, 1], 0))))
    );
    println!(
        "unknown name {:?}",
        number(nslookup("no-such-host.invalid", "http").map(drop))
    );
    Ok(())
}
