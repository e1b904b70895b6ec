//! Giving memory back to the kernel, and what must not be read in it.

use std::ffi::{CStr, c_char};

unsafe extern "C" {
    /// environ(7).
    static mut environ: *mut *mut c_char;
}

/// Overwrites the environment that the process was started with, but for the variable `kept`, also where
/// /proc/PID/environ shows it. To be called while there is one thread; nobody may ask for another variable afterwards.
pub fn forget_environment(kept: &str) {
    // SAFETY: reads one pointer, which no other thread changes.
    let mut entry = unsafe { environ };
    if entry.is_null() {
        return;
    }
    loop {
        // SAFETY: the list ends with a null pointer, at which this loop ends.
        let text = unsafe { *entry };
        if text.is_null() {
            return;
        }
        // SAFETY: every entry of the list is a C string, and nobody writes to it while this borrow lives.
        let bytes = unsafe { CStr::from_ptr(text) }.to_bytes();
        let name = bytes.split(|byte| *byte == b'=').next().unwrap_or_default();
        if name != kept.as_bytes() {
            let length = bytes.len();
            // SAFETY: these bytes are the string's, which lies at our own stack's end, writable, and which nobody borrows
            // any more.
            unsafe { text.write_bytes(0, length) };
        }
        // SAFETY: it was not the last one.
        entry = unsafe { entry.add(1) };
    }
}

/// Returns what the allocator holds and nobody uses (malloc_trim(3)).
///
/// For a process that is about to be cloned: its child keeps a copy of every page that was written, used or not.
pub fn give_back() {
    // SAFETY: the call takes a number and looks at the allocator's own state only.
    unsafe { libc::malloc_trim(0) };
}

/// Bytes of stack below the caller's that are given back at most; more than any call of ours has gone down.
const STACK: usize = 1 << 20;

/// Returns the pages of the main thread's stack that earlier, deeper calls have written (madvise(2)); does nothing in
/// other threads, whose stacks may be too small for that.
///
/// For a process that waits for long where it is: they are its own, and count for as long as it lives.
pub fn give_back_stack() {
    if rustix::thread::gettid() != rustix::process::getpid() {
        return;
    }
    let here = 0u8;
    let page = rustix::param::page_size();
    // Two pages are left for the frames of this call itself.
    let end = ((&raw const here).addr() & !(page - 1)) - 2 * page;
    // SAFETY: nothing that lives is below the frames of the running call, and this stack is this thread's alone: the
    // kernel leaves at least 128 MB below the main thread's for it to grow, and maps nothing else there by itself.
    // Pages that are needed again come back zeroed. What is not mapped of the range is an error that changes nothing.
    unsafe { libc::madvise((end - STACK) as *mut libc::c_void, STACK, libc::MADV_DONTNEED) };
}
