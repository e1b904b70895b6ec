//! Connections from within another process's network namespace, where a container's or a daemon's ports are.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::panic::{AssertUnwindSafe, catch_unwind};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::command::{LIMIT, patience};
use super::suite;

/// What `work` gives in the network namespace of process `pid`; threads that it starts are in there too.
#[track_caller]
pub fn within<T: Send>(pid: i32, work: impl FnOnce() -> T + Send) -> T {
    let namespace = File::open(format!("/proc/{pid}/ns/net")).expect("a process has a network namespace");
    let result = std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
                .expect("the tests are root");
            // The message of a failed assertion is the thread's.
            catch_unwind(AssertUnwindSafe(work)).map_err(|_| suite::take_panic())
        });
        thread.join().expect("a panic is caught")
    });
    result.unwrap_or_else(|message| panic!("{message}"))
}

/// A connection whose reads and writes end with an error where they hang.
pub fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let limit = LIMIT * patience();
    let stream = TcpStream::connect_timeout(&address, limit)?;
    stream.set_read_timeout(Some(limit))?;
    stream.set_write_timeout(Some(limit))?;
    Ok(stream)
}

/// What a TCP server sends until it ends, while it is sent `bytes` and then the end.
pub fn exchange(address: SocketAddr, bytes: &[u8]) -> io::Result<Vec<u8>> {
    let stream = connect(address)?;
    let mut received = Vec::new();
    std::thread::scope(|scope| {
        // At once, since a server that sends back what comes stops reading when nobody reads what it sends.
        let writer = scope.spawn(|| {
            (&stream)
                .write_all(bytes)
                .and_then(|()| stream.shutdown(Shutdown::Write))
        });
        (&stream).read_to_end(&mut received)?;
        writer.join().expect("the writer does not panic")
    })?;
    Ok(received)
}
