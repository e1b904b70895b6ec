//! Options of sockets. Their values have the host's layout, which is the guests' as well: `int`, `struct linger`,
//! and `struct timeval` with 64-bit members; but for the numbers of errors and of kinds of socket.

use super::errno::{Errno, Result};
use super::{Arguments, Call};
use crate::sys::net;

/// SOL_SOCKET, the only level.
const SOCKET_LEVEL: u32 = 0;

/// The host's names in the order of the extension's numbers.
const NAMES: [i32; 15] = [
    libc::SO_REUSEADDR,
    libc::SO_TYPE,
    libc::SO_ERROR,
    libc::SO_DONTROUTE,
    libc::SO_BROADCAST,
    libc::SO_SNDBUF,
    libc::SO_RCVBUF,
    libc::SO_KEEPALIVE,
    libc::SO_OOBINLINE,
    libc::SO_LINGER,
    libc::SO_RCVLOWAT,
    libc::SO_RCVTIMEO,
    libc::SO_SNDTIMEO,
    libc::SO_ACCEPTCONN,
    libc::SO_BINDTODEVICE,
];

/// Bytes that no value of these needs more of.
const LARGEST: usize = 64;

fn name(level: u32, name: u32) -> Result<i32> {
    if level != SOCKET_LEVEL {
        return Err(Errno::INVAL);
    }
    NAMES.get(name as usize).copied().ok_or(Errno::INVAL)
}

pub fn get(call: &mut Call<'_>, [socket, level, option, value, size, ..]: Arguments) -> Result<()> {
    let option = name(level, option)?;
    let room = call.memory.u32(size)?;
    call.memory.check(value, room)?;
    let mut buffer = [0; LARGEST];
    let room = LARGEST.min(room as usize);
    let length = net::socket_option(call.sockets.get(socket)?, option, &mut buffer[..room])?;
    let known = &mut buffer[..length];
    if [libc::SO_ERROR, libc::SO_TYPE].contains(&option) {
        let number: &mut [u8; 4] = known.try_into().map_err(|_| Errno::INVAL)?;
        *number = translate(option, i32::from_ne_bytes(*number)).to_le_bytes();
    }
    call.memory.put(value, &buffer[..length])?;
    call.memory.put_length(size, length)
}

/// A number of the host's as the guest knows it.
fn translate(option: i32, number: i32) -> i32 {
    match (option, number) {
        (libc::SO_ERROR, number) => Errno::of_host(number).map_or(0, |errno| errno.0.into()),
        (_, libc::SOCK_DGRAM) => 1,
        (_, libc::SOCK_STREAM) => 2,
        _ => 0,
    }
}

pub fn set(call: &mut Call<'_>, [socket, level, option, value, size, ..]: Arguments) -> Result<()> {
    let option = name(level, option)?;
    call.memory.check(value, size)?;
    let value = call.memory.bytes(value, size.min(LARGEST as u32))?;
    net::set_socket_option(call.sockets.get(socket)?, option, value)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_have_names_and_numbers() {
        assert_eq!(name(0, 0), Ok(libc::SO_REUSEADDR));
        assert_eq!(name(0, 11), Ok(libc::SO_RCVTIMEO));
        assert_eq!(name(0, 14), Ok(libc::SO_BINDTODEVICE));
        assert_eq!(name(0, 15), Err(Errno::INVAL));
        assert_eq!(name(1, 0), Err(Errno::INVAL));
    }

    #[test]
    fn errors_and_kinds_are_translated() {
        assert_eq!(translate(libc::SO_ERROR, 0), 0);
        assert_eq!(translate(libc::SO_ERROR, libc::ECONNREFUSED), 14);
        assert_eq!(translate(libc::SO_TYPE, libc::SOCK_DGRAM), 1);
        assert_eq!(translate(libc::SO_TYPE, libc::SOCK_STREAM), 2);
    }
}
