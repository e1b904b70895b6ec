//! Waiting for standard input without a thread.

use std::io::{self, Stdin};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Registers descriptor 0 with the current runtime, for reading. Fails for files that epoll(7) refuses since
/// they are always ready.
pub fn register() -> io::Result<AsyncFd<Stdin>> {
    // SAFETY: the handle does not own the descriptor, and nothing in wrun closes or replaces descriptor 0
    // once a guest runs, which is the only time this is called; so it stays the same open file.
    Ok(unsafe { AsyncFd::register_with_interest(io::stdin(), Interest::READABLE) }?)
}
