//! Signals that would end us amid a trial wait until what it has made is gone; then they do.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::process::{Child, Command};

use nix::sys::signal::{SigSet, SigmaskHow, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

const ENDING: [Signal; 4] = [Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT, Signal::SIGTERM];

/// The signals of [`ENDING`] are held back while this lives, and never read: so they come when it is dropped.
pub(super) struct Held {
    set: SigSet,
    before: SigSet,
    pending: SignalFd,
}

impl Held {
    pub(super) fn new() -> io::Result<Self> {
        let mut set = SigSet::empty();
        ENDING.into_iter().for_each(|signal| set.add(signal));
        let pending = SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
        let before = set.thread_swap_mask(SigmaskHow::SIG_BLOCK)?;
        Ok(Self { set, before, pending })
    }

    /// Starts a program with the mask of before, since children have their parent's.
    ///
    /// # Errors
    /// Those of starting it; `Interrupted` where a signal is there already.
    pub(super) fn spawn(&self, command: &mut Command) -> io::Result<Child> {
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        if poll(&mut [PollFd::new(&self.pending, PollFlags::IN)], Some(&now))? > 0 {
            return Err(io::ErrorKind::Interrupted.into());
        }
        self.before.thread_set_mask()?;
        let child = command.spawn();
        self.set.thread_block()?;
        child
    }
}

impl AsFd for Held {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pending.as_fd()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let _ = self.before.thread_set_mask(); // It was ours before, and cannot be refused.
    }
}
