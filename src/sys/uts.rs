//! The NIS domain name of the UTS namespace, which nix cannot set.

use std::io;

/// setdomainname(2).
pub fn set_domainname(name: &str) -> io::Result<()> {
    // SAFETY: the pointer and the length are those of one string, which outlives the call.
    let result = unsafe { libc::setdomainname(name.as_ptr().cast(), name.len()) };
    if result == -1 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}
