//! The engine's side of a container's terminal: a pseudo-terminal of our own, or the one that a runtime hands
//! over through `--console-socket`.

use std::io::{ErrorKind, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use super::command::{LIMIT, patience};

/// The master's end of a terminal, and all that has been read from it.
pub struct Terminal {
    master: std::fs::File,
    seen: String,
}

impl Terminal {
    /// A new pseudo-terminal of `rows` and `columns`, and its slave's end.
    pub fn open(rows: u16, columns: u16) -> (Self, OwnedFd) {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = openpt(flags).expect("a pseudo-terminal");
        grantpt(&master).expect("grantpt");
        unlockpt(&master).expect("unlockpt");
        let name = ptsname(&master, Vec::new()).expect("ptsname");
        let path = name.to_str().expect("a terminal's name is ASCII");
        let slave = std::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .open(path)
            .expect("the slave's end");
        let terminal = Terminal::from(master);
        terminal.resize(rows, columns);
        (terminal, slave.into())
    }

    /// Sets the window's size; the kernel tells the foreground processes with SIGWINCH.
    pub fn resize(&self, rows: u16, columns: u16) {
        let size = Winsize {
            ws_row: rows,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        tcsetwinsize(&self.master, size).expect("a window size");
    }

    /// Types `text`.
    pub fn write(&mut self, text: &str) {
        self.master
            .write_all(text.as_bytes())
            .expect("the terminal takes input");
    }

    /// Reads until `text` has been seen; everything read so far.
    #[track_caller]
    pub fn expect(&mut self, text: &str) -> &str {
        let deadline = Instant::now() + LIMIT * patience();
        while !self.seen.contains(text) {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "{text:?} never came; seen: {:?}", self.seen);
            let timeout = Timespec::try_from(left).expect("a minute fits a timespec");
            let ready = poll(&mut [PollFd::new(&self.master, PollFlags::IN)], Some(&timeout));
            if ready.expect("poll") == 0 {
                continue;
            }
            let mut bytes = [0; 4096];
            match self.master.read(&mut bytes) {
                Ok(count) => self.seen.push_str(&String::from_utf8_lossy(&bytes[..count])),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // EIO: the last slave is closed.
                Err(error) => panic!("{text:?} never came ({error}); seen: {:?}", self.seen),
            }
        }
        &self.seen
    }
}

impl From<OwnedFd> for Terminal {
    fn from(master: OwnedFd) -> Self {
        Terminal {
            master: master.into(),
            seen: String::new(),
        }
    }
}

/// A socket that receives one descriptor, as engines make for `--console-socket` and `--pidfd-socket`.
pub struct DescriptorSocket(UnixListener);

impl DescriptorSocket {
    /// Listens at `path`.
    pub fn listen(path: &Path) -> Self {
        DescriptorSocket(UnixListener::bind(path).expect("a socket in the test's directory"))
    }

    /// The descriptor that the runtime sent, or sends soon.
    #[track_caller]
    pub fn receive(&self) -> OwnedFd {
        self.receive_with_data().1
    }

    /// The message, and the descriptor that came with it.
    #[track_caller]
    pub fn receive_with_data(&self) -> (String, OwnedFd) {
        let timeout = Timespec {
            tv_sec: 20 * i64::from(patience()),
            tv_nsec: 0,
        };
        let ready = poll(&mut [PollFd::new(&self.0, PollFlags::IN)], Some(&timeout)).expect("poll");
        assert_eq!(ready, 1, "the runtime did not connect to the socket");
        let (stream, _) = self.0.accept().expect("a connection");
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut data = [0; 16384];
        let mut buffers = [std::io::IoSliceMut::new(&mut data)];
        let received = recvmsg(
            stream.as_fd(),
            &mut buffers,
            &mut control,
            RecvFlags::CMSG_CLOEXEC,
        );
        let length = received.expect("a message").bytes;
        let descriptor = control.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
            _ => None,
        });
        let text = String::from_utf8_lossy(&data[..length]).into_owned();
        (text, descriptor.expect("a descriptor came with the message"))
    }
}
