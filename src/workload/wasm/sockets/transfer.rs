//! What goes through sockets.

use rustix::io::retry_on_intr;
use rustix::net::{self, RecvAncillaryBuffer, RecvFlags, ReturnFlags, SendAncillaryBuffer, SendFlags};

use super::address::{Buffer, Known, Target, Version};
use super::connection::unix_to_reach;
use super::errno::{Errno, Result};
use super::{Arguments, Call};

/// Of `riflags`.
const PEEK: u32 = 1;
const WAITALL: u32 = 2;
/// Of `roflags`: the datagram was longer than the buffers.
const TRUNCATED: u16 = 1;

/// What a call has received, all of it in the guest's buffers already.
struct Received {
    length: usize,
    truncated: bool,
    from: Option<Known>,
}

fn receive(call: &mut Call<'_>, socket: u32, vectors: u32, count: u32, flags: u32) -> Result<Received> {
    if flags & !(PEEK | WAITALL) != 0 {
        return Err(Errno::INVAL);
    }
    let mut wanted = RecvFlags::empty();
    wanted.set(RecvFlags::PEEK, flags & PEEK != 0);
    wanted.set(RecvFlags::WAITALL, flags & WAITALL != 0);
    let socket = call.sockets.get(socket)?;
    let mut buffers = call.memory.scatter(vectors, count)?;
    // No room for control messages: descriptors that a peer sends along are dropped by the kernel.
    let mut nothing = RecvAncillaryBuffer::default();
    let message = retry_on_intr(|| net::recvmsg(socket, &mut buffers, &mut nothing, wanted))?;
    Ok(Received {
        length: message.bytes,
        truncated: message.flags.contains(ReturnFlags::TRUNC),
        from: message.address.as_ref().and_then(Known::of),
    })
}

fn report(call: &mut Call<'_>, received: &Received, length: u32, flags: u32) -> Result<()> {
    call.memory.put_length(length, received.length)?;
    call.memory
        .put_u16(flags, if received.truncated { TRUNCATED } else { 0 })
}

pub fn recv(
    call: &mut Call<'_>,
    [socket, vectors, count, flags, length, result_flags, ..]: Arguments,
) -> Result<()> {
    call.memory.check(length, 4)?;
    call.memory.check(result_flags, 2)?;
    let received = receive(call, socket, vectors, count, flags)?;
    report(call, &received, length, result_flags)
}

/// V1 gives the sender's address, as far as the buffer has room for it, and no port.
pub fn recv_from_v1(
    call: &mut Call<'_>,
    [socket, vectors, count, address, flags, length, result_flags, _]: Arguments,
) -> Result<()> {
    let buffer = Buffer::read(&call.memory, address)?;
    call.memory.check(length, 4)?;
    call.memory.check(result_flags, 2)?;
    let received = receive(call, socket, vectors, count, flags)?;
    if let Some(from) = &received.from {
        buffer.put_address(&mut call.memory, from)?;
    }
    report(call, &received, length, result_flags)
}

pub fn recv_from_v2(
    call: &mut Call<'_>,
    [socket, vectors, count, address, flags, port, length, result_flags]: Arguments,
) -> Result<()> {
    let buffer = Buffer::read(&call.memory, address)?;
    if !buffer.is_storage() && ![4, 16].contains(&buffer.length) {
        return Err(Errno::INVAL);
    }
    call.memory.check(port, 2)?;
    call.memory.check(length, 4)?;
    call.memory.check(result_flags, 2)?;
    let received = receive(call, socket, vectors, count, flags)?;
    if buffer.is_storage() {
        buffer.put_storage(&mut call.memory, received.from.as_ref())?;
    } else if let Some(from) = &received.from {
        buffer.put_address(&mut call.memory, from)?;
    }
    // Two bytes, though guests keep it in four: WasmEdge writes no more, and so they clear it before.
    call.memory
        .put_u16(port, received.from.as_ref().map_or(0, Known::port))?;
    report(call, &received, length, result_flags)
}

pub fn send(call: &mut Call<'_>, [socket, vectors, count, flags, length, ..]: Arguments) -> Result<()> {
    transmit(call, socket, (vectors, count), flags, None, length)
}

pub fn send_to_v1(call: &mut Call<'_>, arguments: Arguments) -> Result<()> {
    send_to(call, arguments, Version::V1)
}

pub fn send_to_v2(call: &mut Call<'_>, arguments: Arguments) -> Result<()> {
    send_to(call, arguments, Version::V2)
}

fn send_to(
    call: &mut Call<'_>,
    [socket, vectors, count, address, port, flags, length, _]: Arguments,
    version: Version,
) -> Result<()> {
    let target = Target::read(&call.memory, address, port, version)?;
    transmit(call, socket, (vectors, count), flags, Some(target), length)
}

/// Sends to `target`, or to the peer.
fn transmit(
    call: &mut Call<'_>,
    socket: u32,
    (vectors, count): (u32, u32),
    flags: u32,
    target: Option<Target>,
    length: u32,
) -> Result<()> {
    // Preview 1 has no flags for sending.
    if flags != 0 {
        return Err(Errno::INVAL);
    }
    call.memory.check(length, 4)?;
    let socket = call.sockets.get(socket)?;
    let buffers = call.memory.gather(vectors, count)?;
    let flags = SendFlags::NOSIGNAL;
    let mut nothing = SendAncillaryBuffer::default();
    let sent = match target {
        None | Some(Target::Unspecified) => {
            retry_on_intr(|| net::sendmsg(socket, &buffers, &mut nothing, flags))?
        }
        Some(Target::Internet(address)) => {
            retry_on_intr(|| net::sendmsg_addr(socket, &address, &buffers, &mut nothing, flags))?
        }
        Some(Target::Unix(path)) => {
            let address = unix_to_reach(&path)?;
            retry_on_intr(|| net::sendmsg_addr(socket, &address, &buffers, &mut nothing, flags))?
        }
    };
    drop(buffers);
    call.memory.put_length(length, sent)
}

/// `fd_read` of a socket.
pub fn read(call: &mut Call<'_>, [socket, vectors, count, length, ..]: Arguments) -> Result<()> {
    call.memory.check(length, 4)?;
    let received = receive(call, socket, vectors, count, 0)?;
    call.memory.put_length(length, received.length)
}

/// `fd_write` of a socket.
pub fn write(call: &mut Call<'_>, [socket, vectors, count, length, ..]: Arguments) -> Result<()> {
    transmit(call, socket, (vectors, count), 0, None, length)
}
