//! A container in the foreground: its terminal's bytes, our signals and its end, in one poll loop.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;

use nix::errno::Errno;
use nix::sys::signal::{SigSet, SigmaskHow, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use rustix::event::{PollFd, PollFlags};
use rustix::fs::OFlags;
use rustix::process::{WaitId, WaitIdOptions};
use rustix::termios::{OptionalActions, OutputModes, Termios};

use super::{ConsoleError, fail};
use crate::sys::pidfd::send_signal;

/// What the process ended with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waited {
    Exited(u8),
    Signaled(u8),
}

impl Waited {
    /// The exit code that a shell gives: 128 plus the signal's number for a process ended by one.
    pub fn code(self) -> u8 {
        match self {
            Self::Exited(code) => code,
            Self::Signaled(signal) => 128u8.saturating_add(signal),
        }
    }
}

/// Our standard input and output, past the buffers of the standard library.
fn stdin() -> BorrowedFd<'static> {
    // The handle is a constant of the program; only the descriptor is used.
    static STDIN: OnceLock<io::Stdin> = OnceLock::new();
    STDIN.get_or_init(io::stdin).as_fd()
}

fn stdout() -> BorrowedFd<'static> {
    static STDOUT: OnceLock<io::Stdout> = OnceLock::new();
    STDOUT.get_or_init(io::stdout).as_fd()
}

/// Bytes under way in one direction, at most this many.
const BUFFER: usize = 16 * 1024;

/// Something else to look after while one waits.
pub struct Watched<'a> {
    pub fd: BorrowedFd<'a>,
    /// Called when there is something to read; false ends the watch.
    pub ready: &'a mut dyn FnMut() -> bool,
}

/// The foreground side. Made before the container starts, so that no signal is lost.
pub struct Relay {
    signals: SignalFd,
    old_mask: SigSet,
}

impl Relay {
    /// Blocks all signals that can be blocked and collects them. Children made later inherit the mask: they
    /// must call [`Relay::restore`] first.
    pub fn new() -> io::Result<Self> {
        let mut wanted = SigSet::all();
        for fault in [
            Signal::SIGSEGV,
            Signal::SIGBUS,
            Signal::SIGILL,
            Signal::SIGFPE,
            Signal::SIGABRT,
        ] {
            wanted.remove(fault);
        }
        let old_mask = wanted.thread_swap_mask(SigmaskHow::SIG_SETMASK)?;
        let signals = SignalFd::with_flags(&wanted, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
        Ok(Self { signals, old_mask })
    }

    /// Gives the calling process the mask it had before.
    pub fn restore(&self) -> io::Result<()> {
        Ok(self.old_mask.thread_set_mask()?)
    }

    /// Where the signals by which a user ends a program can be seen before there is a process to forward them to.
    /// They are not to be read there.
    pub fn ends() -> io::Result<SignalFd> {
        let ends = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGQUIT];
        let ends: SigSet = ends.into_iter().collect();
        Ok(SignalFd::with_flags(
            &ends,
            SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK,
        )?)
    }

    /// Forwards signals to the process, and bytes between our standard streams and its terminal's master if
    /// there is one, until it ends. Reaps other children of ours meanwhile (`subreaper`).
    pub fn wait(
        &mut self,
        pidfd: BorrowedFd<'_>,
        pid: i32,
        master: Option<OwnedFd>,
        mut watched: Option<Watched<'_>>,
    ) -> io::Result<Waited> {
        let mut pump = master.map(Pump::new).transpose()?;
        loop {
            let mut fds = vec![
                PollFd::new(&self.signals, PollFlags::IN),
                PollFd::from_borrowed_fd(pidfd, PollFlags::IN),
            ];
            let wishes = pump.as_ref().map(Pump::wishes).unwrap_or_default();
            for (fd, flags) in &wishes {
                fds.push(PollFd::from_borrowed_fd(*fd, *flags));
            }
            if let Some(watched) = &watched {
                fds.push(PollFd::from_borrowed_fd(watched.fd, PollFlags::IN));
            }
            match rustix::event::poll(&mut fds, None) {
                Err(rustix::io::Errno::INTR) => continue,
                other => other?,
            };
            let ended = !fds[1].revents().is_empty();
            let signaled = !fds[0].revents().is_empty();
            let noticed = watched.is_some() && fds.last().is_some_and(|fd| !fd.revents().is_empty());
            drop(fds);
            drop(wishes);
            if let Some(pump) = &mut pump {
                pump.turn()?;
            }
            if noticed && watched.as_mut().is_some_and(|watched| !(watched.ready)()) {
                watched = None;
            }
            if signaled {
                self.forward(pidfd, pid, pump.as_ref())?;
            }
            if ended {
                let waited = reap(pidfd)?;
                if let Some(pump) = &mut pump {
                    pump.drain()?;
                }
                return Ok(waited);
            }
        }
    }

    fn forward(&mut self, pidfd: BorrowedFd<'_>, pid: i32, pump: Option<&Pump>) -> io::Result<()> {
        while let Some(info) = self.signals.read_signal()? {
            match Signal::try_from(info.ssi_signo as i32) {
                Ok(Signal::SIGCHLD) => reap_others(pid)?,
                Ok(Signal::SIGWINCH) => {
                    if let Some(pump) = pump {
                        copy_size(&pump.master).map_err(io::Error::other)?;
                    }
                }
                // Go's and our own internal wake-ups have no business in a container; SIGPIPE is ours.
                Ok(Signal::SIGURG | Signal::SIGPIPE) => {}
                _ => {
                    match send_signal(pidfd, info.ssi_signo as i32) {
                        Ok(()) => {}
                        // It has just ended: the next turn sees it.
                        Err(error) if error.raw_os_error() == Some(libc::ESRCH) => {}
                        Err(error) => return Err(error),
                    }
                }
            }
        }
        Ok(())
    }
}

/// Waits for the end of a child through its pidfd.
pub fn reap(pidfd: BorrowedFd<'_>) -> io::Result<Waited> {
    loop {
        match rustix::process::waitid(WaitId::PidFd(pidfd), WaitIdOptions::EXITED) {
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
            Ok(None) => return Err(io::Error::other("the kernel reported no end of the process")),
            Ok(Some(status)) => {
                return Ok(match (status.exit_status(), status.terminating_signal()) {
                    (Some(code), _) => Waited::Exited(code as u8),
                    (None, signal) => Waited::Signaled(signal.unwrap_or(0) as u8),
                });
            }
        }
    }
}

/// Reaps what was re-parented to us, but not the container's process itself.
fn reap_others(init: i32) -> io::Result<()> {
    let look = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    loop {
        let ended = match waitid(Id::All, look) {
            Ok(status) => status.pid(),
            Err(Errno::ECHILD) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        match ended {
            None => return Ok(()),
            Some(pid) if pid.as_raw() == init => return Ok(()),
            Some(pid) => waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG)?,
        };
    }
}

/// Makes a container's terminal as large as ours, if our standard input is one.
pub fn copy_size(master: &OwnedFd) -> Result<(), ConsoleError> {
    if rustix::termios::isatty(stdin()) {
        let size = rustix::termios::tcgetwinsize(stdin()).map_err(fail("ask our terminal for its size"))?;
        rustix::termios::tcsetwinsize(master, size).map_err(fail("set the terminal's size"))?;
    }
    Ok(())
}

/// Lets the bytes that the program writes pass without a CR before every LF, as runc does for a terminal that
/// it relays itself: a pipe behind us gets them so. Must come before the program starts.
pub fn keep_line_ends(master: &OwnedFd) -> Result<(), ConsoleError> {
    let action = "set the terminal's output modes";
    let mut modes = rustix::termios::tcgetattr(master).map_err(fail(action))?;
    modes.output_modes -= OutputModes::ONLCR;
    rustix::termios::tcsetattr(master, OptionalActions::Now, &modes).map_err(fail(action))
}

/// Our terminal, in raw mode, and the container's, joined by two buffers.
struct Pump {
    master: OwnedFd,
    /// What our terminal was like before; put back at the end.
    before: Option<Termios>,
    to_container: VecDeque<u8>,
    to_us: VecDeque<u8>,
    input_open: bool,
    output_open: bool,
}

impl Pump {
    fn new(master: OwnedFd) -> io::Result<Self> {
        let stdin = stdin();
        let before = if rustix::termios::isatty(stdin) {
            let before = rustix::termios::tcgetattr(stdin)?;
            let mut raw = before.clone();
            raw.make_raw();
            // The container's terminal leaves line ends alone ([`keep_line_ends`]); ours makes of them what it made before.
            raw.output_modes |= before.output_modes & OutputModes::OPOST;
            rustix::termios::tcsetattr(stdin, OptionalActions::Now, &raw)?;
            Some(before)
        } else {
            None
        };
        rustix::fs::fcntl_setfl(&master, OFlags::NONBLOCK)?;
        Ok(Self {
            master,
            before,
            to_container: VecDeque::new(),
            to_us: VecDeque::new(),
            input_open: true,
            output_open: true,
        })
    }

    /// What to wait for. Nothing is read while its buffer is full: a slow reader slows the writer.
    fn wishes(&self) -> Vec<(BorrowedFd<'_>, PollFlags)> {
        let mut wishes = Vec::new();
        if self.input_open && self.to_container.len() < BUFFER {
            wishes.push((stdin(), PollFlags::IN));
        }
        let mut master = PollFlags::empty();
        if !self.to_container.is_empty() {
            master |= PollFlags::OUT;
        }
        if self.output_open && self.to_us.len() < BUFFER {
            master |= PollFlags::IN;
        }
        if self.output_open && !master.is_empty() {
            wishes.push((self.master.as_fd(), master));
        }
        if !self.to_us.is_empty() {
            wishes.push((stdout(), PollFlags::OUT));
        }
        wishes
    }

    /// Moves what can be moved without waiting.
    fn turn(&mut self) -> io::Result<()> {
        if self.input_open && self.to_container.len() < BUFFER && ready(stdin(), PollFlags::IN)? {
            self.input_open = read_into(stdin(), &mut self.to_container)?;
        }
        if self.output_open && self.to_us.len() < BUFFER {
            self.output_open = read_into(self.master.as_fd(), &mut self.to_us)?;
        }
        write_from(self.master.as_fd(), &mut self.to_container)?;
        if !self.to_us.is_empty() && ready(stdout(), PollFlags::OUT)? {
            write_from(stdout(), &mut self.to_us)?;
        }
        Ok(())
    }

    /// The container has ended: shows what it wrote last.
    fn drain(&mut self) -> io::Result<()> {
        while self.output_open && read_into(self.master.as_fd(), &mut self.to_us)? {
            let before = self.to_us.len();
            write_from(stdout(), &mut self.to_us)?;
            if before == 0 {
                break;
            }
        }
        while !self.to_us.is_empty() && ready(stdout(), PollFlags::OUT)? {
            write_from(stdout(), &mut self.to_us)?;
        }
        Ok(())
    }
}

impl Drop for Pump {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            // The terminal may be gone, and there is nobody left to tell.
            let _ = rustix::termios::tcsetattr(stdin(), OptionalActions::Now, before);
        }
    }
}

fn ready(fd: BorrowedFd<'_>, flags: PollFlags) -> io::Result<bool> {
    let zero = rustix::event::Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    Ok(rustix::event::poll(&mut [PollFd::from_borrowed_fd(fd, flags)], Some(&zero))? > 0)
}

/// Reads once; false at the end of the stream.
fn read_into(fd: BorrowedFd<'_>, buffer: &mut VecDeque<u8>) -> io::Result<bool> {
    let mut chunk = [0u8; BUFFER];
    match rustix::io::read(fd, &mut chunk) {
        Ok(0) => Ok(false),
        Ok(length) => {
            buffer.extend(&chunk[..length]);
            Ok(true)
        }
        Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => Ok(true),
        // EIO: every process has closed the terminal's other end.
        Err(rustix::io::Errno::IO) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn write_from(fd: BorrowedFd<'_>, buffer: &mut VecDeque<u8>) -> io::Result<()> {
    while !buffer.is_empty() {
        match rustix::io::write(fd, buffer.as_slices().0) {
            Ok(length) => {
                buffer.drain(..length);
            }
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => return Ok(()),
            // The reader is gone: what it would have read is dropped, as by a shell's pipe.
            Err(rustix::io::Errno::PIPE | rustix::io::Errno::IO) => buffer.clear(),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
