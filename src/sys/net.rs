//! Bringing the loopback interface of a new network namespace up (netdevice(7)), and the options of sockets by
//! number, of which nix and rustix wrap only some.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

/// Sets `lo` up in the network namespace of the calling thread.
pub fn loopback_up() -> io::Result<()> {
    let socket = socket(
        AddressFamily::Inet,
        SockType::Datagram,
        SockFlag::SOCK_CLOEXEC,
        None,
    )?;
    // SAFETY: all-zero is a valid ifreq: it holds integers and byte arrays only.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = *from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: SIOCSIFFLAGS reads an ifreq, which this is, and the descriptor is an open socket.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS as _, &raw const request) };
    if result == -1 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// Reads an option of level SOL_SOCKET into `value`, and gives how much of it the kernel has written.
pub fn socket_option(socket: BorrowedFd<'_>, name: i32, value: &mut [u8]) -> rustix::io::Result<usize> {
    let mut length = libc::socklen_t::try_from(value.len()).map_err(|_| rustix::io::Errno::INVAL)?;
    // SAFETY: the descriptor is open, and the kernel writes at most `length` bytes, which `value` has.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            name,
            value.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    checked(result)?;
    Ok(value.len().min(length as usize))
}

/// Sets an option of level SOL_SOCKET.
pub fn set_socket_option(socket: BorrowedFd<'_>, name: i32, value: &[u8]) -> rustix::io::Result<()> {
    let length = libc::socklen_t::try_from(value.len()).map_err(|_| rustix::io::Errno::INVAL)?;
    // SAFETY: the descriptor is open, and the kernel reads at most `length` bytes, which `value` has.
    checked(unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            name,
            value.as_ptr().cast(),
            length,
        )
    })
}

fn checked(result: libc::c_int) -> rustix::io::Result<()> {
    if result == 0 {
        return Ok(());
    }
    let error = io::Error::last_os_error();
    Err(rustix::io::Errno::from_io_error(&error).unwrap_or(rustix::io::Errno::IO))
}
