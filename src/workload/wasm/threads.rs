//! Whether there may be more threads: the container's pids limit decides, and a failure in the middle of
//! things is worse than doing without.

use std::sync::Mutex;
use std::sync::mpsc;
use std::thread;

/// Whether `count` threads can be started beside this one, found out by starting them.
pub fn can_start(count: usize) -> bool {
    let (release, wait) = mpsc::channel::<()>();
    let wait = Mutex::new(wait);
    thread::scope(|scope| {
        let wait = &wait;
        let threads: Vec<_> = (0..count)
            .map(|_| {
                thread::Builder::new().spawn_scoped(scope, move || {
                    // Ends when the sender is gone, which is all that is waited for.
                    let _ = wait.lock().map(|wait| wait.recv());
                })
            })
            .collect();
        drop(release);
        threads.iter().all(Result::is_ok)
    })
}
