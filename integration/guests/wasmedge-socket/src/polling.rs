//! Sockets that are not waited for, and polls.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use wasmedge_wasi_socket::poll::{poll, Event, EventType, Subscription};
use wasmedge_wasi_socket::socket::{AddressFamily, Socket, SocketType};
use wasmedge_wasi_socket::{TcpListener, TcpStream};

/// Starts to connect, polls until that is over, and asks the socket how it went.
pub fn nonblocking(address: &str) -> io::Result<()> {
    let address: SocketAddr = address.parse().map_err(io::Error::other)?;
    let socket = Socket::new(AddressFamily::Inet4, SocketType::Stream)?;
    socket.set_nonblocking(true)?;
    match socket.connect(&address) {
        Ok(()) => println!("connected at once"),
        // 26 is WASI's EINPROGRESS.
        Err(error) if error.raw_os_error() == Some(26) => println!("in progress"),
        Err(error) => return Err(error),
    }
    let events = poll(&[Subscription::io(7, &socket, false, true, Some(later(20_000)))])?;
    println!("poll {}", describe(&events));
    println!(
        "outcome {:?}",
        socket.take_error().map_err(|error| error.raw_os_error())
    );
    Ok(())
}

pub fn mixed() -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0", true)?;
    println!(
        "accept {:?}",
        listener.accept(true).map(drop).map_err(|error| error.kind())
    );
    let clock = |ms| Subscription::timeout(1, later(ms));
    let incoming = Subscription::io(2, &listener, true, false, None);
    println!(
        "nothing yet: {}",
        describe(&poll(&[clock(30), incoming.clone()])?)
    );

    let mut client = TcpStream::connect(listener.local_addr()?)?;
    println!("a connection: {}", describe(&poll(&[clock(20_000), incoming])?));
    let (mut server, _) = listener.accept(true)?;
    server.set_nonblocking(true)?;
    println!(
        "read {:?}",
        server.read(&mut [0; 8]).map_err(|error| error.kind())
    );
    let readable = Subscription::io(3, &server, true, false, None);
    println!(
        "nothing yet: {}",
        describe(&poll(&[clock(30), readable.clone()])?)
    );
    client.write_all(b"bytes")?;
    println!("bytes: {}", describe(&poll(&[clock(20_000), readable.clone()])?));
    println!(
        "read {:?}",
        server.read(&mut [0; 8]).map_err(|error| error.kind())
    );
    drop(client);
    println!("the end: {}", describe(&poll(&[clock(20_000), readable])?));
    println!(
        "read {:?}",
        server.read(&mut [0; 8]).map_err(|error| error.kind())
    );
    Ok(())
}

fn later(ms: u64) -> SystemTime {
    SystemTime::now() + Duration::from_millis(ms)
}

fn describe(events: &[Event]) -> String {
    let one = |event: &Event| match &event.event_type {
        EventType::Timeout => format!("{} timeout", event.userdata),
        EventType::Read => format!("{} read", event.userdata),
        EventType::Write => format!("{} write", event.userdata),
        EventType::Error(error) => format!("{} error {:?}", event.userdata, error.raw_os_error()),
    };
    events.iter().map(one).collect::<Vec<_>>().join(", ")
}
