//! Signals that would end us amid a trial wait until what it has made is gone; then they do.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::process::{Child, Command};

use nix::sys::signal::{SigSet, SigmaskHow, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::sys::exec::set_signal_mask;

const ENDING: [Signal; 4] = [Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT, Signal::SIGTERM];

/// The signals of [`ENDING`] are held back while this lives, and never read: so they come when it is dropped.
pub(super) struct Held {
    before: SigSet,
    pending: SignalFd,
}

impl Held {
    pub(super) fn new() -> io::Result<Self> {
        let mut set = SigSet::empty();
        ENDING.into_iter().for_each(|signal| set.add(signal));
        let pending = SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
        let before = set.thread_swap_mask(SigmaskHow::SIG_BLOCK)?;
        Ok(Self { before, pending })
    }

    /// Starts a program with the mask of before, since children have their parent's.
    ///
    /// # Errors
    /// Those of starting it; `Interrupted` where a signal is there already.
    pub(super) fn spawn(&self, command: &mut Command) -> io::Result<Child> {
        if self.is_pending()? {
            return Err(io::ErrorKind::Interrupted.into());
        }
        set_signal_mask(command, self.before);
        command.spawn()
    }

    fn is_pending(&self) -> io::Result<bool> {
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        Ok(poll(&mut [PollFd::new(&self.pending, PollFlags::IN)], Some(&now))? > 0)
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

#[cfg(test)]
mod tests {
    use nix::sys::wait::{WaitStatus, waitpid};

    use super::*;
    use crate::sys::exec::signal_parent_first;
    use crate::sys::fork;

    /// In a process of its own, which the signal would end.
    #[test]
    fn a_signal_that_comes_while_a_program_starts_waits_too() {
        let child = fork::run_in_child(|| {
            let held = Held::new().expect("a mask");
            let mut program = Command::new("grep");
            program.args(["-q", "^SigBlk:.0*$", "/proc/self/status"]);
            signal_parent_first(&mut program, Signal::SIGTERM);
            let mut child = held.spawn(&mut program).expect("grep");
            let well = child.wait().expect("our child").success() && held.is_pending().expect("a poll");
            std::mem::forget(held);
            u8::from(!well)
        });
        let ended = waitpid(child.expect("a child"), None).expect("our child");
        assert!(matches!(ended, WaitStatus::Exited(_, 0)), "{ended:?}");
    }
}
