//! The guest's sockets, by the numbers it knows them by.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::errno::{Errno, Result};

/// The first number of ours. The engine numbers its own descriptors upward from 0 and cannot be told which to
/// leave out; nothing but the limit on open files keeps it from reaching this.
pub const FIRST: u32 = 1 << 20;

/// Most that fits the `int` that guests keep a descriptor in.
const LAST: u32 = i32::MAX as u32;

pub struct Sockets {
    /// Bounded by the limit on open files alone. Below [`FIRST`] there are only those that `fd_renumber` has
    /// put over a descriptor of the engine's, which stays open underneath and so keeps its number taken.
    open: BTreeMap<u32, OwnedFd>,
    /// Numbers that were used, and are free again.
    free: BTreeSet<u32>,
    /// The first that was never used.
    next: u32,
    /// The numbers of the container's own standard streams, as far as they are still open.
    streams: [Option<u32>; 3],
}

impl Sockets {
    pub const fn new() -> Self {
        Self {
            open: BTreeMap::new(),
            free: BTreeSet::new(),
            next: FIRST,
            streams: [Some(0), Some(1), Some(2)],
        }
    }

    pub fn contains(&self, number: u32) -> bool {
        self.open.contains_key(&number)
    }

    /// A socket; an error says what else the number is, as far as this table knows.
    pub fn get(&self, number: u32) -> Result<BorrowedFd<'_>> {
        match self.open.get(&number) {
            Some(socket) => Ok(socket.as_fd()),
            None if self.stream(number).is_some() => Err(Errno::NOTSOCK),
            None => Err(Errno::BADF),
        }
    }

    /// Takes a new socket in, under the lowest number that is free.
    pub fn insert(&mut self, socket: OwnedFd) -> Result<u32> {
        let number = match self.free.pop_first() {
            Some(number) => number,
            None if self.next > LAST => return Err(Errno::MFILE),
            None => {
                self.next += 1;
                self.next - 1
            }
        };
        self.open.insert(number, socket);
        Ok(number)
    }

    /// Takes a socket out, to be closed or moved.
    pub fn remove(&mut self, number: u32) -> Option<OwnedFd> {
        let socket = self.open.remove(&number)?;
        if number >= FIRST {
            self.free.insert(number);
        }
        Some(socket)
    }

    /// Puts a socket where a descriptor is: another socket, or one of the engine's.
    pub fn cover(&mut self, number: u32, socket: OwnedFd) {
        self.forget_stream(number);
        self.free.remove(&number);
        self.open.insert(number, socket);
    }

    /// Which of the host's descriptors 0, 1 and 2 a number stands for.
    pub fn stream(&self, number: u32) -> Option<usize> {
        self.streams.iter().position(|known| *known == Some(number))
    }

    /// The engine has closed a number.
    pub fn forget_stream(&mut self, number: u32) {
        if let Some(stream) = self.stream(number) {
            self.streams[stream] = None;
        }
    }

    /// The engine has moved one of its own.
    pub fn move_stream(&mut self, from: u32, to: u32) {
        if from == to {
            return;
        }
        self.forget_stream(to);
        if let Some(stream) = self.stream(from) {
            self.streams[stream] = Some(to);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn socket() -> OwnedFd {
        std::net::UdpSocket::bind("127.0.0.1:0").expect("a socket").into()
    }

    #[test]
    fn numbers_are_lowest_first_and_used_again() {
        let mut sockets = Sockets::new();
        let mut numbers: Vec<_> = (0..3)
            .map(|_| sockets.insert(socket()).expect("room") - FIRST)
            .collect();
        sockets.remove(FIRST + 1).expect("it is open");
        assert_eq!(sockets.get(FIRST + 1).expect_err("closed"), Errno::BADF);
        numbers.push(sockets.insert(socket()).expect("room") - FIRST);
        assert_eq!(numbers, [0, 1, 2, 1]);
        assert!(sockets.remove(FIRST + 9).is_none());
        assert_eq!(sockets.get(1).expect_err("stdout"), Errno::NOTSOCK);
    }

    #[test]
    fn streams_are_followed() {
        let mut sockets = Sockets::new();
        assert_eq!(sockets.stream(2), Some(2));
        sockets.move_stream(2, 7);
        assert_eq!((sockets.stream(2), sockets.stream(7)), (None, Some(2)));
        sockets.move_stream(1, 1);
        assert_eq!(sockets.stream(1), Some(1));
        sockets.cover(7, socket());
        assert_eq!(sockets.stream(7), None);
        assert!(sockets.contains(7));
        sockets.remove(7).expect("it is open");
        // A number of the engine's is not ours to give out again.
        assert_eq!(sockets.insert(socket()), Ok(FIRST));
        sockets.forget_stream(0);
        assert_eq!(sockets.stream(0), None);
    }
}
