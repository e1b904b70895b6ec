//! The gate at which a created container waits until `start` opens it.
//!
//! Two named pipes in the container's state directory, which only the runtime can reach: one byte through
//! `gate` lets init go on; `result` tells `start` how that went. Both are close-on-exec in init, so the end
//! of `result` without a word means that the program runs. Plain pipes, because init waits under the
//! container's own seccomp filter: it needs no call but read(2) and write(2) here.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};

use rustix::fs::{AtFlags, FileType, Mode, OFlags};

use crate::sys::fault;

const GATE: &str = "gate";
const RESULT: &str = "result";

/// Init's side, opened by the parent before the clone and inherited.
#[derive(Debug)]
pub struct Gate {
    gate: File,
    result: File,
}

impl Gate {
    /// Makes the pipes in the state directory and opens both ends of each, so that nobody blocks in open(2).
    pub fn create(state: BorrowedFd<'_>) -> io::Result<Self> {
        let open = |name| -> io::Result<File> {
            rustix::fs::mknodat(state, name, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)?;
            let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
            Ok(File::from(rustix::fs::openat(state, name, flags, Mode::empty())?))
        };
        Ok(Self {
            gate: open(GATE)?,
            result: open(RESULT)?,
        })
    }

    /// Waits until `start` lets us go.
    pub fn wait(&mut self) -> io::Result<()> {
        let mut byte = [0u8; 1];
        self.gate.read_exact(&mut byte)
    }

    /// Tells `start` why the program does not run.
    pub fn fail(&mut self, error: &str) -> io::Result<()> {
        self.result.write_all(error.as_bytes())
    }

    /// What init must keep open.
    pub fn descriptors(&self) -> [RawFd; 2] {
        [self.gate.as_raw_fd(), self.result.as_raw_fd()]
    }
}

/// What `start` finds.
#[derive(Debug)]
pub enum Opened {
    /// The program runs, or has already ended.
    Started,
    /// It could not be run, for this reason.
    Failed(String),
    /// Nobody waits at the gate.
    NotWaiting,
}

/// Whether init waits at the gate: the pipe is there and has a reader.
pub fn is_waiting(state: BorrowedFd<'_>) -> io::Result<bool> {
    Ok(knock(state)?.is_some())
}

fn knock(state: BorrowedFd<'_>) -> io::Result<Option<OwnedFd>> {
    let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    match rustix::fs::openat(state, GATE, flags, Mode::empty()) {
        Ok(gate) => Ok(Some(gate)),
        // NXIO: no reader, as of a process that has gone on or died.
        Err(rustix::io::Errno::NXIO | rustix::io::Errno::NOENT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Opens the gate and waits for what comes of it.
pub fn open(state: BorrowedFd<'_>) -> io::Result<Opened> {
    let Some(gate) = knock(state)? else {
        return Ok(Opened::NotWaiting);
    };
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let result = rustix::fs::openat(state, RESULT, flags, Mode::empty())?;
    rustix::fs::fcntl_setfl(&result, OFlags::RDONLY)?;
    rustix::io::write(&gate, b"!")?;
    fault::point("parent:opened");
    // If we are killed before this, the gate is found without anybody who waits at it, which counts as open.
    close(state)?;
    let mut text = String::new();
    File::from(result).read_to_string(&mut text)?;
    Ok(if text.is_empty() {
        Opened::Started
    } else {
        Opened::Failed(text)
    })
}

fn close(state: BorrowedFd<'_>) -> io::Result<()> {
    for name in [GATE, RESULT] {
        rustix::fs::unlinkat(state, name, AtFlags::empty())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    fn directory() -> (tempfile::TempDir, OwnedFd) {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let fd =
            rustix::fs::open(dir.path(), OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).expect("opened");
        (dir, fd)
    }

    #[test]
    fn opening_lets_the_waiter_go_and_sees_the_program_run() {
        let (_dir, state) = directory();
        let mut gate = Gate::create(state.as_fd()).expect("made");
        assert!(is_waiting(state.as_fd()).expect("asked"));
        let waiter = std::thread::spawn(move || gate.wait());
        assert!(matches!(open(state.as_fd()).expect("opened"), Opened::Started));
        waiter.join().expect("no panic").expect("let go");
        assert!(!is_waiting(state.as_fd()).expect("asked"));
    }

    #[test]
    fn a_failure_is_told_to_the_opener() {
        let (_dir, state) = directory();
        let mut gate = Gate::create(state.as_fd()).expect("made");
        let waiter = std::thread::spawn(move || {
            gate.wait().expect("let go");
            gate.fail("exec /x: exec format error").expect("told");
        });
        let opened = open(state.as_fd()).expect("opened");
        assert!(matches!(opened, Opened::Failed(text) if text == "exec /x: exec format error"));
        waiter.join().expect("no panic");
    }

    #[test]
    fn nobody_waits_after_the_waiter_died() {
        let (_dir, state) = directory();
        drop(Gate::create(state.as_fd()).expect("made"));
        assert!(!is_waiting(state.as_fd()).expect("asked"));
        assert!(matches!(open(state.as_fd()).expect("asked"), Opened::NotWaiting));
    }
}
