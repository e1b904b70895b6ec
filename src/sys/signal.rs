//! Signals of a container's first process that does not exec: the kernel drops every signal that pid 1 of a
//! pid namespace has no handler for (pid_namespaces(7)), SIGTERM included.

use std::io;

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
        // SAFETY: an all-zero sigaction is a valid value: default handler, empty mask, no flags.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        action.sa_sigaction = match signal {
            libc::SIGPIPE => libc::SIG_IGN,
            _ => end as extern "C" fn(i32) as usize,
        };
        // A guest's stack may be the reason for the signal: use the engine's alternate one where there is one.
        action.sa_flags = libc::SA_ONSTACK;
        // SAFETY: `action` is initialised and outlives the call; its handler does only what a handler may.
        if unsafe { libc::sigaction(signal, &raw const action, std::ptr::null_mut()) } != 0 {
            return Err(io::Error::last_os_error());
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
