//! Sockets from their opening to their shutdown, and the addresses of their two ends.

use std::ffi::OsStr;
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::event::{PollFd, PollFlags};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::io::retry_on_intr;
use rustix::net::{self, AddressFamily, Shutdown, SocketAddrUnix, SocketFlags, SocketType};

use super::address::{self, Buffer, Known, Target, Version};
use super::errno::{Errno, Result};
use super::{Arguments, Call};

/// Of preview 1's `fdflags`.
pub const NONBLOCK: u32 = 4;

/// V1's `getlocaladdr` and `getpeeraddr` give the family by these, not by the extension's numbers.
const TYPE_INET4: u32 = 4;
const TYPE_INET6: u32 = 6;

pub fn open(call: &mut Call<'_>, [family, kind, result, ..]: Arguments) -> Result<()> {
    call.memory.check(result, 4)?;
    let family = match u8::try_from(family) {
        Ok(address::INET4) => AddressFamily::INET,
        Ok(address::INET6) => AddressFamily::INET6,
        Ok(address::UNIX) => AddressFamily::UNIX,
        _ => return Err(Errno::INVAL),
    };
    let kind = match kind {
        1 => SocketType::DGRAM,
        2 => SocketType::STREAM,
        _ => return Err(Errno::INVAL),
    };
    let socket = net::socket_with(family, kind, SocketFlags::CLOEXEC, None)?;
    let number = call.sockets.insert(socket)?;
    call.memory.put_u32(result, number)
}

pub fn bind_v1(call: &mut Call<'_>, [socket, address, port, ..]: Arguments) -> Result<()> {
    bind(call, socket, address, port, Version::V1)
}

pub fn bind_v2(call: &mut Call<'_>, [socket, address, port, ..]: Arguments) -> Result<()> {
    bind(call, socket, address, port, Version::V2)
}

fn bind(call: &mut Call<'_>, socket: u32, address: u32, port: u32, version: Version) -> Result<()> {
    let target = Target::read(&call.memory, address, port, version)?;
    let socket = call.sockets.get(socket)?;
    match target {
        Target::Unspecified => return Err(Errno::INVAL),
        Target::Internet(address) => net::bind(socket, &address)?,
        Target::Unix(path) => net::bind(socket, &unix_to_bind(&path)?)?,
    }
    Ok(())
}

pub fn listen(call: &mut Call<'_>, [socket, backlog, ..]: Arguments) -> Result<()> {
    // The kernel reads a negative one as unsigned, and takes what it allows at most.
    Ok(net::listen(call.sockets.get(socket)?, backlog as i32)?)
}

pub fn connect_v1(call: &mut Call<'_>, [socket, address, port, ..]: Arguments) -> Result<()> {
    connect(call, socket, address, port, Version::V1)
}

pub fn connect_v2(call: &mut Call<'_>, [socket, address, port, ..]: Arguments) -> Result<()> {
    connect(call, socket, address, port, Version::V2)
}

fn connect(call: &mut Call<'_>, socket: u32, address: u32, port: u32, version: Version) -> Result<()> {
    let target = Target::read(&call.memory, address, port, version)?;
    let socket = call.sockets.get(socket)?;
    let outcome = match target {
        Target::Unspecified => net::connect_unspec(socket),
        Target::Internet(address) => net::connect(socket, &address),
        Target::Unix(path) => net::connect(socket, &unix_to_reach(&path)?),
    };
    match outcome {
        // Interrupted, a connection is made all the same (connect(2)); calling again would say EALREADY.
        Err(rustix::io::Errno::INTR) => connected(socket),
        other => Ok(other?),
    }
}

/// Waits for a connection that is being made.
fn connected(socket: BorrowedFd<'_>) -> Result<()> {
    let mut poll = [PollFd::from_borrowed_fd(socket, PollFlags::OUT)];
    retry_on_intr(|| rustix::event::poll(&mut poll, None))?;
    Ok(net::sockopt::socket_error(socket)??)
}

pub fn accept_v1(call: &mut Call<'_>, [socket, result, ..]: Arguments) -> Result<()> {
    accept(call, socket, 0, result)
}

pub fn accept_v2(call: &mut Call<'_>, [socket, flags, result, ..]: Arguments) -> Result<()> {
    accept(call, socket, flags, result)
}

fn accept(call: &mut Call<'_>, socket: u32, flags: u32, result: u32) -> Result<()> {
    call.memory.check(result, 4)?;
    let flags = match flags {
        0 => SocketFlags::CLOEXEC,
        NONBLOCK => SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        _ => return Err(Errno::INVAL),
    };
    let socket = call.sockets.get(socket)?;
    let accepted = retry_on_intr(|| net::accept_with(socket, flags))?;
    let number = call.sockets.insert(accepted)?;
    call.memory.put_u32(result, number)
}

pub fn shutdown(call: &mut Call<'_>, [socket, how, ..]: Arguments) -> Result<()> {
    let how = match how {
        1 => Shutdown::Read,
        2 => Shutdown::Write,
        3 => Shutdown::Both,
        _ => return Err(Errno::INVAL),
    };
    Ok(net::shutdown(call.sockets.get(socket)?, how)?)
}

pub fn local_address_v1(call: &mut Call<'_>, [socket, address, kind, port, ..]: Arguments) -> Result<()> {
    let known = local(call, socket);
    put_v1(call, known, address, kind, port)
}

pub fn local_address_v2(call: &mut Call<'_>, [socket, address, port, ..]: Arguments) -> Result<()> {
    let known = local(call, socket);
    put_v2(call, known, address, port)
}

pub fn peer_address_v1(call: &mut Call<'_>, [socket, address, kind, port, ..]: Arguments) -> Result<()> {
    let known = peer(call, socket);
    put_v1(call, known, address, kind, port)
}

pub fn peer_address_v2(call: &mut Call<'_>, [socket, address, port, ..]: Arguments) -> Result<()> {
    let known = peer(call, socket);
    put_v2(call, known, address, port)
}

fn local(call: &Call<'_>, socket: u32) -> Result<Known> {
    let address = net::getsockname(call.sockets.get(socket)?)?;
    Known::of(&address).ok_or(Errno::NOSYS)
}

fn peer(call: &Call<'_>, socket: u32) -> Result<Known> {
    // The end of a pair of unix sockets has a peer without an address.
    match net::getpeername(call.sockets.get(socket)?)? {
        Some(address) => Known::of(&address).ok_or(Errno::NOSYS),
        None => Ok(Known::Unix(Vec::new())),
    }
}

fn put_v1(call: &mut Call<'_>, known: Result<Known>, address: u32, kind: u32, port: u32) -> Result<()> {
    let buffer = Buffer::read(&call.memory, address)?;
    if ![4, 16].contains(&buffer.length) {
        return Err(Errno::INVAL);
    }
    call.memory.check(kind, 4)?;
    call.memory.check(port, 4)?;
    let known = known?;
    if !buffer.put_address(&mut call.memory, &known)? {
        return Err(Errno::NOMEM);
    }
    let number = if known.family() == address::INET4 {
        TYPE_INET4
    } else {
        TYPE_INET6
    };
    call.memory.put_u32(kind, number)?;
    call.memory.put_u32(port, known.port().into())
}

fn put_v2(call: &mut Call<'_>, known: Result<Known>, address: u32, port: u32) -> Result<()> {
    let buffer = Buffer::read(&call.memory, address)?;
    if !buffer.is_storage() {
        return Err(Errno::INVAL);
    }
    call.memory.check(port, 4)?;
    let known = known?;
    buffer.put_storage(&mut call.memory, Some(&known))?;
    call.memory.put_u32(port, known.port().into())
}

/// The address of a unix socket that is there. Its path is the guest's own, resolved in its root; but not
/// through the magic links of /proc, by which a path leads out of it.
pub fn unix_to_reach(path: &[u8]) -> Result<SocketAddrUnix> {
    resolve(Path::new(OsStr::from_bytes(path)))?;
    Ok(SocketAddrUnix::new(path)?)
}

/// The address of a unix socket that is to be made.
fn unix_to_bind(path: &[u8]) -> Result<SocketAddrUnix> {
    let whole = Path::new(OsStr::from_bytes(path));
    match whole.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => resolve(parent)?,
        _ => {}
    }
    Ok(SocketAddrUnix::new(path)?)
}

/// Sees that a path leads through no magic link. Who shares the file system (another process of the container, or
/// of another on the same volume) may change it before it is used: then the kernel's own rule for such links is
/// what stands, which asks for the right to trace the process that they belong to.
fn resolve(path: &Path) -> Result<()> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    rustix::fs::openat2(CWD, path, flags, Mode::empty(), ResolveFlags::NO_MAGICLINKS)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Such links lead out of a root, to whatever another process has open or for its root.
    #[test]
    fn magic_links_lead_nowhere() {
        let out = Errno::from(rustix::io::Errno::LOOP);
        assert_eq!(resolve(Path::new("/proc/self/root/tmp")), Err(out));
        assert_eq!(unix_to_bind(b"/proc/self/root/tmp/new.sock").map(drop), Err(out));
        assert_eq!(unix_to_reach(b"/proc/self/root/tmp/old.sock").map(drop), Err(out));
        assert_eq!(resolve(Path::new("/tmp")), Ok(()));
        assert_eq!(unix_to_bind(b"new.sock").map(drop), Ok(()));
    }
}
