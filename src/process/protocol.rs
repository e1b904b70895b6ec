//! What the command (the parent) and the container's process (init, or the joiner of `exec`) say to each
//! other, over one socketpair of sequenced packets, from the clone until the process is confined.
//!
//! ```text
//!  parent                                             init
//!    │ clone3 ──────────────────────────────────────▶ │
//!    │ (id maps)                                       │ waits
//!    │ ── Begin ────────────────────────────────────▶ │   where systemd makes the scope: namespaces, and the
//!    │ (systemd scope, RDT, network devices)           │   mounts for which it matters not in which cgroup; waits
//!    │ ── Proceed ──────────────────────────────────▶ │ namespaces, mounts, devices, console
//!    │ ◀────────────────────────────────── MapIds+fd ─ │   where an id-mapped source is on a mount made here
//!    │ (sets the id map)                               │ waits
//!    │ ── IdsMapped ────────────────────────────────▶ │
//!    │ ◀───────────────────────────────── Console+fd ─ │   where there is a terminal
//!    │ ◀─────────────────────────────────── RunHooks ─ │   where prestart or createRuntime hooks are
//!    │ (runs them in the runtime's namespaces)         │ waits
//!    │ ── HooksDone ────────────────────────────────▶ │ createContainer hooks, pivot
//!    │ ◀──────────────────────────────────── Null ─ │   where a standard stream is the host's null device and
//!    │ (opens it through a read-only mount)            │ the container has none, waits
//!    │ ── Null+fd ──────────────────────────────────▶ │ confinement
//!    │ ◀────────────────────────────────── Module+fd ─ │   where the entry point is Wasm; for each file of an
//!    │ (compiled code, from the cache or made now)     │   application, of which there are not too many; waits
//!    │ ── Code+fd ──────────────────────────────────▶ │
//!    │ ◀──────────────────────────────── Listener+fd ─ │   where seccomp notifies
//!    │ ◀────────────────────────────────────── Ready ─ │ waits
//!    │ (writes state and pid file)                     │
//!    │ ── Committed ────────────────────────────────▶ │ waits at the gate; `start` opens it
//! ```
//!
//! The joiner says the same without hooks and the gate, and it waits for `Committed` only where somebody is told of it
//! before it runs. `Warning` and `Failed` may come from the child at any
//! time; the latter is its last word. Each side takes the end of the other for the end of the container: init exits, the
//! parent cleans up.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::Instant;

use rustix::buffer::spare_capacity;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};
use serde::{Deserialize, Serialize};

use crate::sys::wait::becomes_readable;
use crate::workload::wasm::{Build, GuestKind, World};

/// One word of the conversation.
#[derive(Debug, Serialize, Deserialize)]
pub enum Message {
    /// What the child needs for its namespaces is set; it is not in its cgroup yet.
    Begin,
    /// Everything that needs the host's rights is set for the child. Without `waits` nobody has anything to do between
    /// `Ready` and `Committed`, which is not said then.
    Proceed {
        waits: bool,
    },
    /// With a detached mount; `index` is its place in the plan.
    MapIds {
        index: usize,
    },
    IdsMapped,
    RunHooks,
    HooksDone,
    /// The intermediate process has made the real one; with its pidfd.
    Cloned {
        pid: i32,
    },
    /// With a mount for the parent to close, see [`super::own_proc::make`].
    Procfs,
    /// Asks for a null device that the container cannot change, and answers with one, see [`super::streams`].
    Null,
    /// With the master of the container's terminal.
    Console,
    /// With the entry point's file, or that of an application's component. `name` is as the guest's argv has it, or
    /// the component with its file.
    Module {
        name: String,
        export: Option<String>,
        world: World,
    },
    /// With the compiled code.
    Code {
        kind: GuestKind,
        build: Build,
    },
    /// With the descriptor of a notifying seccomp filter.
    Listener,
    /// Something that the user should know and that is no reason to fail.
    Warning {
        text: String,
    },
    /// A mount has come to a container that runs; see [`crate::state::LiveMount`].
    Mounted {
        destination: PathBuf,
        id: u64,
    },
    /// Or has gone.
    Unmounted {
        id: u64,
    },
    Ready,
    Committed,
    /// The whole chain of errors.
    Failed {
        error: String,
    },
}

/// Largest message: an error that quotes a module's imports.
const MAX_MESSAGE: usize = 64 * 1024;

/// One end of the conversation.
#[derive(Debug)]
pub struct Channel(OwnedFd);

/// The other end is gone, or what it said makes no sense.
#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    #[error("the other process has ended")]
    Ended,
    #[error("cannot talk to the other process")]
    Io(#[from] io::Error),
    #[error("a message between our processes is damaged")]
    Json(#[from] serde_json::Error),
    #[error("unexpected message {0}")]
    Unexpected(String),
    #[error("the other process has not answered in time")]
    Late,
}

impl Channel {
    /// Both ends.
    pub fn pair() -> io::Result<(Self, Self)> {
        let (a, b) = rustix::net::socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )?;
        Ok((Self(a), Self(b)))
    }

    pub fn send(&self, message: &Message) -> Result<(), ChannelError> {
        self.send_packet(message, None)
    }

    /// Sends a message and a copy of a descriptor.
    pub fn send_with(&self, message: &Message, fd: BorrowedFd<'_>) -> Result<(), ChannelError> {
        self.send_packet(message, Some(fd))
    }

    fn send_packet(&self, message: &Message, fd: Option<BorrowedFd<'_>>) -> Result<(), ChannelError> {
        let mut bytes = serde_json::to_vec(message)?;
        if bytes.len() > MAX_MESSAGE {
            // Only an error text can be so long.
            bytes = serde_json::to_vec(&Message::Failed {
                error: "an error too long to be told".to_owned(),
            })?;
        }
        let sent = match fd {
            Some(fd) => send_bytes(self.0.as_fd(), &bytes, Some(fd)),
            None => write(self.0.as_fd(), &bytes),
        };
        sent.map_err(|error| match error.raw_os_error() {
            Some(libc::EPIPE | libc::ECONNRESET) => ChannelError::Ended,
            _ => ChannelError::Io(error),
        })
    }

    /// Waits for the next message.
    pub fn receive(&self) -> Result<(Message, Option<OwnedFd>), ChannelError> {
        // Room for the longest would be sixteen pages to be cleared, in each process anew after the clone.
        let mut bytes = vec![0u8; self.next_length()?.min(MAX_MESSAGE)];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let received = loop {
            let mut iov = [IoSliceMut::new(&mut bytes)];
            match rustix::net::recvmsg(&self.0, &mut iov, &mut control, RecvFlags::CMSG_CLOEXEC) {
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::CONNRESET) => return Err(ChannelError::Ended),
                other => break other.map_err(io::Error::from)?,
            }
        };
        if received.bytes == 0 {
            return Err(ChannelError::Ended);
        }
        let mut descriptor = None;
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(fds) = message {
                descriptor = fds.last();
            }
        }
        Ok((serde_json::from_slice(&bytes[..received.bytes])?, descriptor))
    }

    /// Waits for the next message, and leaves it there; its length, which is 0 where the other end is gone.
    fn next_length(&self) -> Result<usize, ChannelError> {
        loop {
            let flags = RecvFlags::PEEK | RecvFlags::TRUNC;
            match rustix::net::recv(&self.0, &mut [0u8; 1], flags) {
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::CONNRESET) => return Err(ChannelError::Ended),
                other => break Ok(other.map_err(io::Error::from)?.1),
            }
        }
    }

    /// Waits for the next message, and not longer than to `deadline`.
    pub fn receive_until(&self, deadline: Instant) -> Result<(Message, Option<OwnedFd>), ChannelError> {
        if becomes_readable(self.0.as_fd(), deadline)? {
            self.receive()
        } else {
            Err(ChannelError::Late)
        }
    }

    /// Waits for a message that must be the one that `wanted` accepts, as [`Self::read`].
    pub fn expect(&self, wanted: fn(&Message) -> bool) -> Result<(), ChannelError> {
        let message = self.read()?;
        if wanted(&message) {
            Ok(())
        } else {
            Err(ChannelError::Unexpected(format!("{message:?}")))
        }
    }

    /// Waits for a message that comes without a descriptor.
    ///
    /// By read(2): a child waits so under the container's own seccomp filter, which may know no more than that.
    pub fn read(&self) -> Result<Message, ChannelError> {
        let mut bytes = Vec::with_capacity(MAX_MESSAGE);
        loop {
            match rustix::io::read(&self.0, spare_capacity(&mut bytes)) {
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::CONNRESET) | Ok(0) => return Err(ChannelError::Ended),
                Err(error) => return Err(io::Error::from(error).into()),
                Ok(_) => break,
            }
        }
        Ok(serde_json::from_slice(&bytes)?)
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// One packet without a descriptor, by write(2), see [`Channel::read`].
fn write(socket: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<()> {
    loop {
        match rustix::io::write(socket, bytes) {
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
            Ok(_) => return Ok(()),
        }
    }
}

/// Sends bytes with at most one descriptor over a connected unix socket (unix(7), SCM_RIGHTS).
pub fn send_bytes(socket: BorrowedFd<'_>, bytes: &[u8], fd: Option<BorrowedFd<'_>>) -> io::Result<()> {
    let fds: Vec<BorrowedFd<'_>> = fd.into_iter().collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(&fds)) {
        return Err(io::Error::other("no room for a descriptor in the message"));
    }
    loop {
        match rustix::net::sendmsg(socket, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL) {
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
            Ok(_) => return Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::time::Duration;

    #[test]
    fn a_message_carries_a_descriptor() {
        let (a, b) = Channel::pair().expect("a pair");
        let (reader, writer) = std::io::pipe().expect("a pipe");
        a.send_with(&Message::Console, writer.as_fd()).expect("sent");
        drop(writer);
        let (message, fd) = b.receive().expect("received");
        assert!(matches!(message, Message::Console));
        drop(fd.expect("the descriptor"));
        let mut text = String::new();
        (&reader)
            .read_to_string(&mut text)
            .expect("the end: all writers are closed");
        assert_eq!(text, "");
    }

    #[test]
    fn the_end_of_the_other_side_is_seen() {
        let (a, b) = Channel::pair().expect("a pair");
        drop(a);
        assert!(matches!(b.receive(), Err(ChannelError::Ended)));
        assert!(matches!(b.send(&Message::Ready), Err(ChannelError::Ended)));
    }

    #[test]
    fn a_late_answer_is_not_waited_for() {
        let (a, b) = Channel::pair().expect("a pair");
        let soon = || Instant::now() + Duration::from_millis(1);
        assert!(matches!(a.receive_until(soon()), Err(ChannelError::Late)));
        b.send(&Message::Ready).expect("sent");
        assert!(matches!(a.receive_until(soon()), Ok((Message::Ready, None))));
    }

    #[test]
    fn a_wrong_message_is_named() {
        let (a, b) = Channel::pair().expect("a pair");
        a.send(&Message::RunHooks).expect("sent");
        let error = b
            .expect(|message| matches!(message, Message::Proceed { .. }))
            .expect_err("the wrong one");
        assert_eq!(error.to_string(), "unexpected message RunHooks");
    }
}
