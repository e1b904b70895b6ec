//! Signals of a container's first process that does not exec: the kernel drops every signal that pid 1 of a
//! pid namespace has no handler for (pid_namespaces(7)), SIGTERM included.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout};
use rustix::event::{EventfdFlags, eventfd};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Faults, which the Wasm engine handles itself and which the kernel forces on pid 1 without a handler.
const FAULTS: [i32; 4] = [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE];

/// Signals whose default is not to end the process, or that cannot be handled.
const NOT_ENDING: [i32; 9] = [
    libc::SIGKILL,
    libc::SIGSTOP,
    libc::SIGCHLD,
    libc::SIGCONT,
    libc::SIGTSTP,
    libc::SIGTTIN,
    libc::SIGTTOU,
    libc::SIGURG,
    libc::SIGWINCH,
];

/// Ends the process with 128 + n, at once and whatever it is doing.
extern "C" fn end(signal: i32) {
    // SAFETY: _exit is async-signal-safe (signal-safety(7)), takes an integer and does not return.
    unsafe { libc::_exit(128 + signal) }
}

/// Makes every signal that would end an ordinary process end this one with exit code 128 + n, also as pid 1
/// and in the middle of a computation; SIGPIPE is ignored, so that writers see EPIPE; then unblocks all.
pub fn end_on_signals() -> io::Result<()> {
    for signal in 1..=libc::SIGRTMAX() {
        // The C library keeps the first two real-time signals to itself, and gives SIGRTMIN after them.
        let reserved = signal >= 32 && signal < libc::SIGRTMIN();
        if reserved || FAULTS.contains(&signal) || NOT_ENDING.contains(&signal) {
            continue;
        }
        match signal {
            libc::SIGPIPE => handle(signal, libc::SIG_IGN)?,
            _ => handle(signal, end as extern "C" fn(i32) as usize)?,
        }
    }
    // SAFETY: an all-zero set is the empty set on Linux.
    let none: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: `none` outlives the call; nothing is read back.
    if unsafe { libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Makes the signals that ask a process to end do so also for pid 1, until execve(2): while it waits for the start
/// of its program, where runc's process ends by them too.
pub fn end_on_requests() -> io::Result<()> {
    [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGTERM]
        .into_iter()
        .try_for_each(|signal| handle(signal, end as extern "C" fn(i32) as usize))
}

/// Signals by which engines and people ask a server to stop.
const STOPPING: [i32; 3] = [libc::SIGTERM, libc::SIGINT, libc::SIGQUIT];

/// The eventfd that [`stop`] writes to; -1 before there is one.
static STOP_EVENT: AtomicI32 = AtomicI32::new(-1);
/// The first signal that asked to stop; 0 before there was one.
static STOPPED: AtomicI32 = AtomicI32::new(0);

/// Passes the first request to stop on; the next ends the process.
extern "C" fn stop(signal: i32) {
    if STOPPED.swap(signal, Ordering::SeqCst) != 0 {
        end(signal);
    }
    // SAFETY: errno is the calling thread's own, always valid to read.
    let errno = unsafe { *libc::__errno_location() };
    let one: u64 = 1;
    // SAFETY: write(2) is async-signal-safe and reads the eight bytes of `one`. An eventfd that is not
    // written to by anyone else has room for them.
    unsafe { libc::write(STOP_EVENT.load(Ordering::SeqCst), (&raw const one).cast(), 8) };
    // SAFETY: as above; the interrupted code must find its own errno.
    unsafe { *libc::__errno_location() = errno };
}

/// Bytes of the stack of a thread that only waits.
const GUARD_STACK: usize = 64 << 10;

/// Becomes readable at the first signal that asks to stop.
pub struct StopRequest(OwnedFd);

impl StopRequest {
    /// Has the process ended as by a second signal, where nobody says within `patience` of the first that he has seen
    /// it: all threads that could may be in computations that never end. `None` where there can be no thread for that.
    pub fn guard(&self, patience: Duration) -> io::Result<Option<Sender<()>>> {
        let own = rustix::io::fcntl_dupfd_cloexec(&self.0, 0)?;
        let (seen, sees) = mpsc::channel();
        let wait = move || {
            let mut event = [PollFd::new(own.as_fd(), PollFlags::POLLIN)];
            while let Err(Errno::EINTR) = nix::poll::poll(&mut event, PollTimeout::NONE) {}
            if sees.recv_timeout(patience) == Err(RecvTimeoutError::Timeout) {
                end(STOPPED.load(Ordering::SeqCst));
            }
        };
        let thread = thread::Builder::new()
            .name("stop".to_owned())
            .stack_size(GUARD_STACK);
        Ok(thread.spawn(wait).ok().map(|_| seen))
    }

    /// Registers it with the current runtime.
    pub fn watch(self) -> io::Result<AsyncFd<OwnedFd>> {
        // SAFETY: the result owns the descriptor, which thus stays open and the same as long as it is
        // registered.
        Ok(unsafe { AsyncFd::register_with_interest(self.0, Interest::READABLE) }?)
    }
}

/// Makes the first SIGTERM, SIGINT or SIGQUIT known to the result instead of ending the process; the second
/// ends it as [`end_on_signals`] says, which is to be called before. Once in a process.
pub fn stop_on_signals() -> io::Result<StopRequest> {
    let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
    // A copy that the handler has for itself, whatever becomes of the caller's.
    let own = rustix::io::fcntl_dupfd_cloexec(&event, 0)?;
    STOP_EVENT.store(own.as_raw_fd(), Ordering::SeqCst);
    std::mem::forget(own);
    for signal in STOPPING {
        handle(signal, stop as extern "C" fn(i32) as usize)?;
    }
    Ok(StopRequest(event))
}

/// Sets the action of a signal.
fn handle(signal: i32, action: usize) -> io::Result<()> {
    // SAFETY: an all-zero sigaction is a valid value: default handler, empty mask, no flags.
    let mut description: libc::sigaction = unsafe { std::mem::zeroed() };
    description.sa_sigaction = action;
    // A guest's stack may be the reason for the signal: use the engine's alternate one where there is one.
    description.sa_flags = libc::SA_ONSTACK;
    // SAFETY: `description` is initialised and outlives the call; the handlers given to this function, all in
    // this file, do only what a handler may.
    if unsafe { libc::sigaction(signal, &raw const description, std::ptr::null_mut()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::Command;

    use super::*;

    /// Names the part of the test that a process of its own plays.
    const PART: &str = "WRUN_TEST_STOP";

    /// A process that gets SIGTERM and computes on, whether it has seen it or not.
    fn play(sees: bool) {
        end_on_signals().expect("handlers");
        let stop = stop_on_signals().expect("a request");
        let guard = stop.guard(Duration::from_millis(50)).expect("a guard");
        assert!(guard.is_some(), "a thread");
        // SAFETY: raise(3) takes an integer; its handler is the one above.
        unsafe { libc::raise(libc::SIGTERM) };
        if sees {
            drop(guard);
            thread::sleep(Duration::from_millis(500));
            std::process::exit(0);
        }
        loop {
            std::hint::spin_loop();
        }
    }

    #[test]
    fn a_signal_that_nothing_sees_ends_the_process() {
        if let Some(part) = std::env::var_os(PART) {
            play(part == "sees");
        }
        for (part, expected) in [("computes", 128 + libc::SIGTERM), ("sees", 0)] {
            let status = Command::new(std::env::current_exe().expect("this test"))
                .args([
                    "--exact",
                    "sys::signal::tests::a_signal_that_nothing_sees_ends_the_process",
                ])
                .env(PART, part)
                .status()
                .expect("a process");
            assert_eq!((status.code(), status.signal()), (Some(expected), None), "{part}");
        }
    }
}
