//! What execve(2) does not reset by itself.

use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use nix::sys::signal::SigSet;
#[cfg(test)]
use nix::sys::signal::Signal;

/// Gives every signal its default action back: what is ignored stays ignored through execve(2), and our caller
/// may have ignored some (nohup(1), a shell's background job), as Rust's runtime does SIGPIPE.
pub fn default_signals() -> io::Result<()> {
    // SIGKILL and SIGSTOP have no other action; 32 and 33 belong to the C library. Of the two that Rust's runtime
    // handles, execve(2) takes the handlers away.
    let fixed = [libc::SIGKILL, libc::SIGSTOP, libc::SIGSEGV, libc::SIGBUS, 32, 33];
    for signal in (1..=64).filter(|signal| !fixed.contains(signal)) {
        // SAFETY: SIG_DFL is a valid action for each of these signals, and no handler of ours is replaced.
        if unsafe { libc::signal(signal, libc::SIG_DFL) } == libc::SIG_ERR {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Gives the command's program a signal mask of its own, whatever its parent's is while it starts it.
pub fn set_signal_mask(command: &mut Command, mask: SigSet) {
    // SAFETY: what is called between fork(2) and execve(2) is pthread_sigmask(3) with a set that is the closure's own:
    // async-signal-safe (signal-safety(7)), without any allocation.
    unsafe { command.pre_exec(move || Ok(mask.thread_set_mask()?)) };
}

/// Has the command's program send a signal to its parent, which is just starting it.
#[cfg(test)]
pub fn signal_parent_first(command: &mut Command, signal: Signal) {
    let send = move || Ok(nix::sys::signal::kill(nix::unistd::getppid(), signal)?);
    // SAFETY: getppid(2) and kill(2) are async-signal-safe (signal-safety(7)) and take integers.
    unsafe { command.pre_exec(send) };
}

/// Closes all descriptors from 3 on but those in `keep`.
///
/// For the child of a clone, which inherits copies of everything its parent has open: what it does not need
/// must not stay open in a container, and locks must not live on in it. The child may not drop any object
/// whose descriptor is closed here; it ends by execve(2) or exit, which runs no destructors.
pub fn close_all_but(keep: &[i32]) -> io::Result<()> {
    let mut keep: Vec<u32> = keep
        .iter()
        .filter_map(|fd| u32::try_from(*fd).ok())
        .filter(|fd| *fd >= 3)
        .collect();
    keep.sort_unstable();
    keep.dedup();
    let mut first = 3u32;
    for fd in keep {
        if first < fd {
            close_range(first, fd - 1)?;
        }
        first = fd + 1;
    }
    close_range(first, u32::MAX)
}

fn close_range(first: u32, last: u32) -> io::Result<()> {
    // SAFETY: three integers; by this module's contract nobody uses the descriptors closed here afterwards.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
    if result == -1 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}
