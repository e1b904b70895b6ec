//! Places at which a test can have wrun killed, to prove that nothing is left behind from any of them; and some
//! at which it can have wrun held, to look at what goes on meanwhile.
//!
//! Only builds with debug assertions have them; a release build compiles to nothing here.

/// Every place of `create`, in the order in which it reaches them: `parent:` in the command itself,
/// `init:` in the container's first process.
pub const POINTS: &[&str] = &[
    "parent:reserved",
    "parent:recorded",
    "parent:cgroup",
    "parent:cloned",
    "init:cloned",
    "parent:mapped",
    "init:namespaces",
    "init:mounted",
    "parent:hooks",
    "init:pivoted",
    "init:confined",
    "parent:ready",
    "parent:committed",
    "init:waiting",
];

/// Those of `start` alone: the gate is open, and init may go on.
pub const POINTS_OF_START: &[&str] = &["parent:opened"];

/// Those of `checkpoint` alone: CRIU runs; it has stopped the container; the checkpoint is whole.
pub const POINTS_OF_CHECKPOINT: &[&str] = &["checkpoint:started", "checkpoint:locked", "checkpoint:dumped"];

/// Every place of `restore`, in the order in which it reaches them.
pub const POINTS_OF_RESTORE: &[&str] = &[
    "parent:reserved",
    "parent:recorded",
    "parent:cgroup",
    "restore:started",
    "parent:hooks",
    "restore:recorded",
    "parent:committed",
];

/// Every place at which a process can be held: any compiler, and the one in the background alone, in the
/// container's cgroup before it compiles.
pub const HOLDS: &[&str] = &["compiler:entered", "background:entered"];

/// Stops the calling process with SIGSTOP if the environment asks for it (`WRUN_HOLD=<place>`); whoever asked
/// lets it go on with SIGCONT.
#[cfg(debug_assertions)]
pub fn hold(name: &str) {
    debug_assert!(HOLDS.contains(&name), "{name} is not in the list of places");
    if std::env::var_os("WRUN_HOLD").is_some_and(|wanted| wanted == name) {
        // SAFETY: kill(2) with our own pid and a signal that no handler runs for.
        unsafe { libc::kill(libc::getpid(), libc::SIGSTOP) };
    }
}

/// Does nothing in a release build.
#[cfg(not(debug_assertions))]
#[inline(always)]
pub fn hold(_name: &str) {}

/// Kills the calling process with SIGKILL if the environment asks for it (`WRUN_FAULT=<point>`).
#[cfg(debug_assertions)]
pub fn point(name: &str) {
    debug_assert!(
        [POINTS, POINTS_OF_START, POINTS_OF_CHECKPOINT, POINTS_OF_RESTORE]
            .iter()
            .any(|points| points.contains(&name)),
        "{name} is not in the list of fault points"
    );
    if std::env::var_os("WRUN_FAULT").is_some_and(|wanted| wanted == name) {
        // SAFETY: kill(2) with our own pid; the process ends here, as a test asked.
        unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
        // As pid 1 of its namespace a process cannot kill itself: end at once, without clean-up.
        // SAFETY: _exit runs no code of ours.
        unsafe { libc::_exit(137) };
    }
}

/// Does nothing in a release build.
#[cfg(not(debug_assertions))]
#[inline(always)]
pub fn point(_name: &str) {}
