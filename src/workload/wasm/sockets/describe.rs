//! Sockets as preview 1 describes a descriptor: kind, flags, rights.

use std::os::fd::BorrowedFd;

use rustix::fs::OFlags;
use rustix::net::SocketType;
use rustix::net::sockopt::socket_type;

use super::connection::NONBLOCK;
use super::errno::{Errno, Result};
use super::{Arguments, Call};

/// Of preview 1's `filetype`.
const SOCKET_DGRAM: u8 = 5;
const SOCKET_STREAM: u8 = 6;

/// Of preview 1's `rights`, those that mean something for a socket: C libraries take reading and writing from
/// them.
const RIGHTS: u64 = 1 << 1 // fd_read
    | 1 << 3 // fd_fdstat_set_flags
    | 1 << 6 // fd_write
    | 1 << 21 // fd_filestat_get
    | 1 << 27 // poll_fd_readwrite
    | 1 << 28 // sock_shutdown
    | 1 << 29; // sock_accept

fn kind(socket: BorrowedFd<'_>) -> Result<u8> {
    Ok(match socket_type(socket)? {
        SocketType::DGRAM => SOCKET_DGRAM,
        _ => SOCKET_STREAM,
    })
}

/// `fd_fdstat_get`: 24 bytes.
pub fn status(call: &mut Call<'_>, [socket, result, ..]: Arguments) -> Result<()> {
    let socket = call.sockets.get(socket)?;
    let nonblocking = rustix::fs::fcntl_getfl(socket)?.contains(OFlags::NONBLOCK);
    let mut status = [0; 24];
    status[0] = kind(socket)?;
    status[2] = if nonblocking { NONBLOCK as u8 } else { 0 };
    status[8..16].copy_from_slice(&RIGHTS.to_le_bytes());
    status[16..24].copy_from_slice(&RIGHTS.to_le_bytes());
    call.memory.put(result, &status)
}

/// `fd_fdstat_set_flags`: whether the socket blocks is all that can be set.
pub fn set_flags(call: &mut Call<'_>, [socket, flags, ..]: Arguments) -> Result<()> {
    let socket = call.sockets.get(socket)?;
    let flags = match flags {
        0 => OFlags::empty(),
        NONBLOCK => OFlags::NONBLOCK,
        _ => return Err(Errno::INVAL),
    };
    Ok(rustix::fs::fcntl_setfl(socket, flags)?)
}

/// `fd_filestat_get`: 64 bytes.
pub fn file_status(call: &mut Call<'_>, [socket, result, ..]: Arguments) -> Result<()> {
    let socket = call.sockets.get(socket)?;
    let found = rustix::fs::fstat(socket)?;
    let mut status = [0; 64];
    status[..8].copy_from_slice(&found.st_dev.to_le_bytes());
    status[8..16].copy_from_slice(&found.st_ino.to_le_bytes());
    status[16] = kind(socket)?;
    // One link; size and times are 0.
    status[24] = 1;
    call.memory.put(result, &status)
}
