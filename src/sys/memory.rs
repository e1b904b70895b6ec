//! Giving memory back to the kernel.

/// Returns what the allocator holds and nobody uses (malloc_trim(3)).
///
/// For a process that is about to be cloned: its child keeps a copy of every page that was written, used or not.
pub fn give_back() {
    // SAFETY: the call takes a number and looks at the allocator's own state only.
    unsafe { libc::malloc_trim(0) };
}
