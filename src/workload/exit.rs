//! The one table of exit codes that a container's process ends with. Engines read meaning into them, so no
//! other place may invent one.

/// The guest, or the program, could not be started although everything was found: a broken link step, an
/// engine error.
pub const FAILURE: u8 = 1;

/// The program was found but cannot be executed (POSIX shell, "Exit Status for Commands").
pub const NOT_EXECUTABLE: u8 = 126;

/// The program was not found (POSIX shell, "Exit Status for Commands").
pub const NOT_FOUND: u8 = 127;

/// A Wasm guest trapped. The same as wasmtime's command: what a shell reports for SIGABRT.
pub const TRAP: u8 = signal(libc::SIGABRT);

/// A Wasm guest ran longer than its annotation allows: as timeout(1).
pub const TIMEOUT: u8 = 124;

/// Ended by a signal: 128 + n, as shells and engines count it.
pub const fn signal(number: i32) -> u8 {
    // A signal's number is 1 to 64, so the sum fits.
    (128 + number) as u8
}

/// The code a guest exits with, as wait(2) would carry it: its low eight bits.
pub const fn guest(code: i32) -> u8 {
    (code & 0xff) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_those_that_engines_expect() {
        assert_eq!(TRAP, 134);
        assert_eq!(signal(libc::SIGTERM), 143);
        assert_eq!(signal(libc::SIGKILL), 137);
        assert_eq!(signal(64), 192);
        assert_eq!((guest(7), guest(200), guest(256), guest(-1)), (7, 200, 0, 255));
    }
}
