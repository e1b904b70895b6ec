//! Reading and writing the files of a cgroup, always below a directory's descriptor. Nothing here knows
//! what a file means.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use rustix::fs::{CWD, Mode, OFlags, openat};

use crate::sys::wait::becomes;

/// Opens a directory of a cgroup tree. `O_RDONLY`, since clone3(2) and bpf(2) take such a descriptor on every
/// kernel, and it can be listed.
pub(super) fn open_dir(path: &Path) -> io::Result<OwnedFd> {
    Ok(openat(
        CWD,
        path,
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )?)
}

/// Opens one file for writing; never makes one.
pub(super) fn open_write(dir: BorrowedFd<'_>, name: &str) -> io::Result<OwnedFd> {
    Ok(openat(
        dir,
        name,
        OFlags::WRONLY | OFlags::CLOEXEC,
        Mode::empty(),
    )?)
}

pub(super) fn open_read(dir: BorrowedFd<'_>, name: &str) -> io::Result<OwnedFd> {
    Ok(openat(
        dir,
        name,
        OFlags::RDONLY | OFlags::CLOEXEC,
        Mode::empty(),
    )?)
}

/// Hands the kernel one value, in one write as its files need it.
pub(super) fn write_to(fd: BorrowedFd<'_>, value: &str) -> io::Result<()> {
    loop {
        match rustix::io::write(fd, value.as_bytes()) {
            Ok(written) if written == value.len() => return Ok(()),
            Ok(_) => return Err(io::Error::from(io::ErrorKind::WriteZero)),
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

pub(super) fn write(dir: BorrowedFd<'_>, name: &str, value: &str) -> io::Result<()> {
    write_to(open_write(dir, name)?.as_fd(), value)
}

/// Reads from the start to the end, at any position of the descriptor.
pub(super) fn read_from(fd: BorrowedFd<'_>) -> io::Result<String> {
    let mut text = Vec::new();
    let mut buffer = [0_u8; 4096];
    loop {
        match rustix::io::pread(fd, &mut buffer, text.len() as u64) {
            Ok(0) => break,
            Ok(count) => text.extend_from_slice(&buffer[..count]),
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    String::from_utf8(text).map_err(|_| io::Error::from(io::ErrorKind::InvalidData))
}

pub(super) fn read(dir: BorrowedFd<'_>, name: &str) -> io::Result<String> {
    read_from(open_read(dir, name)?.as_fd())
}

/// The number behind `key` in a file of `key number` lines.
pub(super) fn keyed(text: &str, key: &str) -> Option<u64> {
    text.lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok())
}

/// A limit in bytes. `max` means none on v2; on v1 the largest multiple of a page does.
pub(super) fn limit(text: &str) -> Option<u64> {
    const PAGE: u64 = 1 << 16;
    text.trim()
        .parse()
        .ok()
        .filter(|bytes| *bytes < i64::MAX.unsigned_abs() - PAGE)
}

/// Waits until `key` has `value` in `cgroup.events`, which poll(2) reports (cgroups(7)). `false` when
/// `limit` passes before.
pub(super) fn wait_event(dir: BorrowedFd<'_>, key: &str, value: u64, limit: Duration) -> io::Result<bool> {
    let events = open_read(dir, "cgroup.events")?;
    let deadline = Instant::now() + limit;
    loop {
        // The read takes note of the state that the next poll compares with.
        if keyed(&read_from(events.as_fd())?, key) == Some(value) {
            return Ok(true);
        }
        if !becomes(events.as_fd(), PollFlags::PRI, deadline)? {
            return Ok(false);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_limit_is_told_from_one() {
        assert_eq!(limit("67108864\n"), Some(64 << 20));
        assert_eq!(limit("max\n"), None);
        assert_eq!(limit("9223372036854771712\n"), None);
    }
}
