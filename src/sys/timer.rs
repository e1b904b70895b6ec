//! A limit on how long a process may run, which holds whatever it is doing.

use std::io;
use std::sync::OnceLock;
use std::time::Duration;

/// `SI_KERNEL` of <asm-generic/siginfo.h>: not sent by a process, as the timer's signal is not.
const SI_KERNEL: i32 = 0x80;

/// What the handler says and ends with.
static ENDING: OnceLock<(String, u8)> = OnceLock::new();

/// Ends the process: with the message and code where its time is up, else as for any other signal.
extern "C" fn on_alarm(signal: i32, info: *mut libc::siginfo_t, _context: *mut libc::c_void) {
    // SAFETY: with SA_SIGINFO the kernel passes a valid siginfo_t, which is only read.
    let from_timer = unsafe { (*info).si_code } == SI_KERNEL;
    let Some((message, code)) = ENDING.get().filter(|_| from_timer) else {
        // SAFETY: _exit is async-signal-safe (signal-safety(7)), takes an integer and does not return.
        unsafe { libc::_exit(128 + signal) }
    };
    let mut stderr = libc::pollfd {
        fd: 2,
        events: libc::POLLOUT,
        revents: 0,
    };
    // A reader that does not read must not keep the process alive: a pipe or terminal that is ready takes a line.
    // SAFETY: poll is async-signal-safe; one pollfd of ours is given, and the call does not wait.
    let ready = unsafe { libc::poll(&raw mut stderr, 1, 0) };
    if ready > 0 && stderr.revents & libc::POLLOUT != 0 {
        // SAFETY: write is async-signal-safe; the bytes live as long as the process.
        unsafe { libc::write(2, message.as_ptr().cast(), message.len()) };
    }
    // SAFETY: as above.
    unsafe { libc::_exit((*code).into()) }
}

/// Ends this process in `limit`, once, with `message` on standard error and `code`, even in the middle of a
/// computation. SIGALRM from others ends it with 128 + 14.
///
/// Not inherited by children. `message` should be a line that a pipe takes whole (4096 bytes).
///
/// # Errors
/// Called twice (`EALREADY`), or a limit that no timer can hold.
pub fn end_after(limit: Duration, message: String, code: u8) -> io::Result<()> {
    ENDING
        .set((message, code))
        .map_err(|_| io::Error::from_raw_os_error(libc::EALREADY))?;
    // SAFETY: an all-zero sigaction is a valid value: default handler, empty mask, no flags.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = on_alarm as extern "C" fn(i32, *mut libc::siginfo_t, *mut libc::c_void) as usize;
    action.sa_flags = libc::SA_ONSTACK | libc::SA_SIGINFO;
    // SAFETY: `action` is initialised and outlives the call; its handler does only what a handler may.
    if unsafe { libc::sigaction(libc::SIGALRM, &raw const action, std::ptr::null_mut()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let seconds =
        libc::time_t::try_from(limit.as_secs()).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
    let timer = libc::itimerval {
        it_interval: libc::timeval {
            tv_sec: 0,
            tv_usec: 0,
        },
        it_value: libc::timeval {
            tv_sec: seconds,
            // Rounded up: all zero would be no limit at all.
            tv_usec: limit.subsec_nanos().div_ceil(1000).min(999_999).into(),
        },
    };
    // SAFETY: `timer` is initialised and outlives the call; the old value is not asked for.
    if unsafe { libc::setitimer(libc::ITIMER_REAL, &raw const timer, std::ptr::null_mut()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
