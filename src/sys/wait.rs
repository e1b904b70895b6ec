//! Waiting for a descriptor, and not for ever.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

/// Whether it becomes readable (poll(2)) before the deadline. A pidfd does when its process has ended.
pub fn becomes_readable(fd: BorrowedFd<'_>, deadline: Instant) -> io::Result<bool> {
    becomes(fd, PollFlags::IN, deadline)
}

/// Whether poll(2) says one of `wanted` of it before the deadline, or that it is broken.
pub fn becomes(fd: BorrowedFd<'_>, wanted: PollFlags, deadline: Instant) -> io::Result<bool> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).map_err(io::Error::other)?;
        match poll(&mut [PollFd::from_borrowed_fd(fd, wanted)], Some(&left)) {
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
            Ok(ready) => return Ok(ready > 0),
        }
    }
}
