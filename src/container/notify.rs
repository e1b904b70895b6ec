//! sd_notify(3) for a container: a socket of its own in place of the service manager's, and the word that the container
//! is ready passed on.
//!
//! ```text
//! service manager ◀── NOTIFY_SOCKET ── wrun ◀── ROOT/ID/notify/notify.sock ── container, as /run/notify/notify.sock
//!   READY=1, MAINPID=, BARRIER=1                  READY=1
//! ```
//!
//! As with runc, `create` has the directory mounted, and whoever starts the container makes the socket and waits. Of all
//! that a container may write there, only that it is ready goes on: the service manager trusts what we tell it.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::PathBuf;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::process::send_bytes;
use crate::state::Entry;

/// How long the service manager gets to read what it was told, as with runc.
const BARRIER_SECONDS: i64 = 30;
/// The name in the directory that the container sees.
const SOCKET: &str = "notify.sock";
/// Longest message of the protocol that has a meaning for us.
const LONGEST: usize = 4096;
/// Messages read in a row: a container that never stops talking must not keep us from everything else.
const AT_ONCE: usize = 64;

/// Both ends of the way from the container to the service manager.
pub(super) struct Notify {
    container: UnixDatagram,
    manager: UnixDatagram,
}

impl Notify {
    /// Makes the container's socket, if its creator was told of a service manager too.
    pub(super) fn listen(entry: &Entry, manager: &OsStr) -> io::Result<Option<Self>> {
        let Some(directory) = entry.notify_directory()? else {
            return Ok(None);
        };
        // By descriptor: the path of a state directory may be longer than a socket's address.
        let path = PathBuf::from(format!("/proc/self/fd/{}/{SOCKET}", directory.as_raw_fd()));
        let container = UnixDatagram::bind(&path)?;
        // Whoever the container's program runs as.
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o777))?;
        container.set_nonblocking(true)?;
        Ok(Some(Self {
            container,
            manager: connect(manager)?,
        }))
    }

    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        self.container.as_fd()
    }

    /// Reads what has come, or some of it; whether the word was among it.
    pub(super) fn is_ready(&self) -> io::Result<bool> {
        let mut bytes = [0; LONGEST];
        for _ in 0..AT_ONCE {
            match self.container.recv(&mut bytes) {
                Ok(length) if says_ready(&bytes[..length]) => return Ok(true),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }

    /// Tells the service manager that the service runs, and which process it is.
    pub(super) fn tell(&self, main_pid: u32) -> io::Result<()> {
        self.manager.send(b"READY=1\n")?;
        self.manager.send(format!("MAINPID={main_pid}\n").as_bytes())?;
        Ok(())
    }

    /// Waits until the service manager has read it: it looks a sender up, who must not have ended before
    /// (sd_notify_barrier(3)). Whether it did so in time.
    pub(super) fn barrier(&self) -> io::Result<bool> {
        let (reader, writer) = io::pipe()?;
        send_bytes(self.manager.as_fd(), b"BARRIER=1", Some(writer.as_fd()))?;
        drop(writer);
        let patience = Timespec {
            tv_sec: BARRIER_SECONDS,
            tv_nsec: 0,
        };
        wait(&mut [PollFd::new(&reader, PollFlags::IN)], Some(&patience))
    }

    /// Waits for the word and passes it on, unless the first process ends before: `init` is its pidfd, `pid` its number.
    /// Whether all that was told has been read.
    pub(super) fn forward(&self, init: BorrowedFd<'_>, pid: i32) -> io::Result<bool> {
        loop {
            let mut fds = [
                PollFd::from_borrowed_fd(init, PollFlags::IN),
                PollFd::new(&self.container, PollFlags::IN),
            ];
            wait(&mut fds, None)?;
            let ended = !fds[0].revents().is_empty();
            // What it said last may still be there.
            if self.is_ready()? {
                self.tell(pid.cast_unsigned())?;
                return self.barrier();
            }
            if ended {
                return Ok(true);
            }
        }
    }
}

fn wait(fds: &mut [PollFd<'_>], patience: Option<&Timespec>) -> io::Result<bool> {
    loop {
        match poll(fds, patience) {
            Err(rustix::io::Errno::INTR) => {}
            result => return Ok(result? > 0),
        }
    }
}

/// A message is lines of assignments.
fn says_ready(message: &[u8]) -> bool {
    message
        .split(|byte| *byte == b'\n')
        .any(|line| line == b"READY=1")
}

/// `NOTIFY_SOCKET`: a path, or a name with `@` before it in the abstract namespace.
fn connect(address: &OsStr) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    match address.as_bytes().strip_prefix(b"@") {
        Some(name) => socket.connect_addr(&SocketAddr::from_abstract_name(name)?)?,
        None => socket.connect(PathBuf::from(OsString::from(address)))?,
    }
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_word_itself_is_it() {
        for ready in [&b"READY=1"[..], b"STATUS=up\nREADY=1\n", b"READY=1\nMAINPID=1"] {
            assert!(says_ready(ready));
        }
        for other in [&b"READY=0"[..], b"STATUS=READY=1", b"XREADY=1", b""] {
            assert!(!says_ready(other));
        }
    }

    #[test]
    fn it_is_passed_on_with_the_pid_and_a_barrier() {
        let name = format!("@wrun-notify-{}", std::process::id());
        let manager = UnixDatagram::bind_addr(
            &SocketAddr::from_abstract_name(&name.as_bytes()[1..]).expect("an address"),
        )
        .expect("bound");
        let (container, theirs) = UnixDatagram::pair().expect("a pair");
        container.set_nonblocking(true).expect("set");
        let notify = Notify {
            container,
            manager: connect(OsStr::new(&name)).expect("connected"),
        };
        theirs.send(b"STATUS=starting").expect("sent");
        assert!(!notify.is_ready().expect("asked"));
        theirs.send(b"READY=1\nMAINPID=1").expect("sent");
        assert!(notify.is_ready().expect("asked"));
        notify.tell(42).expect("told");
        let mut bytes = [0; 64];
        for expected in ["READY=1\n", "MAINPID=42\n"] {
            let length = manager.recv(&mut bytes).expect("received");
            assert_eq!(&bytes[..length], expected.as_bytes());
        }
    }
}
