//! Places at which a test can have wrun killed, to prove that nothing is left behind from any of them.
//!
//! Only builds with debug assertions have them; a release build compiles to nothing here.

/// Every place, in the order in which `create` and `start` reach them: `parent:` in the command itself,
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

/// Kills the calling process with SIGKILL if the environment asks for it (`WRUN_FAULT=<point>`).
#[cfg(debug_assertions)]
pub fn point(name: &str) {
    debug_assert!(
        POINTS.contains(&name),
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
