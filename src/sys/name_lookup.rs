//! Looking names up with the C library (getaddrinfo(3)), by /etc/hosts, /etc/services and /etc/resolv.conf of
//! whatever root the process has. The standard library's own way to it knows no hints and no names of services.

use std::ffi::{CStr, CString, c_char, c_int};
use std::io;
use std::net::{SocketAddr, SocketAddrV4, SocketAddrV6};

unsafe extern "C" {
    /// Of <nss.h>: where names of a kind are looked up from now on, whatever /etc/nsswitch.conf says.
    fn __nss_configure_lookup(database: *const c_char, sources: *const c_char) -> c_int;
}

/// Has names looked up by what the C library brings along itself, for good: files and DNS.
///
/// Else /etc/nsswitch.conf names libraries for it to load, static as it is. In a container that file and the
/// libraries are the image's, and loading one lets it have any address of this process called, also where
/// nothing can be made executable any more.
///
/// To be called in the root whose names are to be looked up, and before any are.
pub fn load_nothing() -> io::Result<()> {
    for (database, sources) in [(c"hosts", c"files dns"), (c"services", c"files")] {
        // SAFETY: both texts end with NUL and live as long as the program.
        if unsafe { __nss_configure_lookup(database.as_ptr(), sources.as_ptr()) } != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// What is asked for, in the C library's numbers; 0 is anything.
#[derive(Debug, Clone, Copy)]
pub struct Hints {
    pub flags: i32,
    pub family: i32,
    pub kind: i32,
    pub protocol: i32,
}

/// One of the results.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    pub address: SocketAddr,
    pub kind: i32,
    pub protocol: i32,
    /// Of the first result alone, where AI_CANONNAME asks for it.
    pub canonical_name: Option<CString>,
}

/// The list that getaddrinfo(3) allocates.
struct List(*mut libc::addrinfo);

impl Drop for List {
    fn drop(&mut self) {
        // SAFETY: the pointer is what a successful getaddrinfo(3) gave, and is freed only here.
        unsafe { libc::freeaddrinfo(self.0) }
    }
}

/// Every IP address of a name, with the port of a service. An error is an `EAI_` constant.
pub fn look_up(node: Option<&CStr>, service: Option<&CStr>, hints: Hints) -> Result<Vec<Found>, i32> {
    let pointer = |text: Option<&CStr>| text.map_or(std::ptr::null(), CStr::as_ptr);
    let hints = libc::addrinfo {
        ai_flags: hints.flags,
        ai_family: hints.family,
        ai_socktype: hints.kind,
        ai_protocol: hints.protocol,
        ai_addrlen: 0,
        ai_addr: std::ptr::null_mut(),
        ai_canonname: std::ptr::null_mut(),
        ai_next: std::ptr::null_mut(),
    };
    let mut head = std::ptr::null_mut();
    // SAFETY: both texts end with NUL or are absent, and the hints and the result's place outlive the call.
    let code = unsafe { libc::getaddrinfo(pointer(node), pointer(service), &raw const hints, &raw mut head) };
    if code != 0 {
        return Err(code);
    }
    let list = List(head);
    let mut found = Vec::new();
    let mut next = list.0;
    // SAFETY: the list's entries live as long as `list`, and its last points to none.
    while let Some(entry) = unsafe { next.as_ref() } {
        found.extend(read(entry));
        next = entry.ai_next;
    }
    Ok(found)
}

/// One entry; `None` for what is no IP address.
fn read(entry: &libc::addrinfo) -> Option<Found> {
    let length = entry.ai_addrlen as usize;
    let address = match entry.ai_family {
        libc::AF_INET if length >= size_of::<libc::sockaddr_in>() => {
            // SAFETY: an address of this family and length is a sockaddr_in, and the list keeps it alive.
            let address = unsafe { entry.ai_addr.cast::<libc::sockaddr_in>().read_unaligned() };
            let ip = address.sin_addr.s_addr.to_ne_bytes().into();
            SocketAddrV4::new(ip, u16::from_be(address.sin_port)).into()
        }
        libc::AF_INET6 if length >= size_of::<libc::sockaddr_in6>() => {
            // SAFETY: an address of this family and length is a sockaddr_in6, and the list keeps it alive.
            let address = unsafe { entry.ai_addr.cast::<libc::sockaddr_in6>().read_unaligned() };
            let ip = address.sin6_addr.s6_addr.into();
            SocketAddrV6::new(ip, u16::from_be(address.sin6_port), 0, address.sin6_scope_id).into()
        }
        _ => return None,
    };
    let canonical_name = (!entry.ai_canonname.is_null()).then(|| {
        // SAFETY: the name ends with NUL (getaddrinfo(3)), and the list keeps it alive.
        unsafe { CStr::from_ptr(entry.ai_canonname) }.to_owned()
    });
    Some(Found {
        address,
        kind: entry.ai_socktype,
        protocol: entry.ai_protocol,
        canonical_name,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: Hints = Hints {
        flags: libc::AI_NUMERICHOST | libc::AI_NUMERICSERV,
        family: 0,
        kind: libc::SOCK_STREAM,
        protocol: 0,
    };

    #[test]
    fn numbers_need_no_file() {
        for (node, text) in [(c"127.0.0.1", "127.0.0.1:80"), (c"::1", "[::1]:80")] {
            let found = look_up(Some(node), Some(c"80"), STREAM).expect("numbers");
            let addresses: Vec<_> = found.iter().map(|found| found.address.to_string()).collect();
            assert_eq!(addresses, [text]);
            assert_eq!(
                (found[0].kind, found[0].protocol),
                (libc::SOCK_STREAM, libc::IPPROTO_TCP)
            );
        }
    }

    #[test]
    fn failures_are_the_c_librarys() {
        assert_eq!(look_up(Some(c"no number"), None, STREAM), Err(libc::EAI_NONAME));
        assert_eq!(look_up(None, None, STREAM), Err(libc::EAI_NONAME));
    }
}
