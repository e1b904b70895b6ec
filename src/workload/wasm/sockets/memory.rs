//! The guest's memory: every pointer and length comes from the guest, and none is trusted.

use std::io::{IoSlice, IoSliceMut};
use std::ops::Range;

use wiggle::GuestMemory;

use super::errno::{Errno, Result};

/// Most buffers in one call, as of the host's own (IOV_MAX); bounds what a call makes us allocate.
const MOST_BUFFERS: u32 = 1024;

/// Bytes of an `iovec` and of a `ciovec`: pointer, length.
const VECTOR: u32 = 8;

pub struct Memory<'a>(&'a mut [u8]);

impl<'a> Memory<'a> {
    pub fn new(bytes: &'a mut [u8]) -> Self {
        Self(bytes)
    }

    /// The same for the engine's own functions.
    pub fn as_guest(&mut self) -> GuestMemory<'_> {
        GuestMemory::Unshared(self.0)
    }

    fn range(&self, pointer: u32, length: u32) -> Result<Range<usize>> {
        let start = pointer as usize;
        let end = start.checked_add(length as usize).ok_or(Errno::FAULT)?;
        if end > self.0.len() {
            return Err(Errno::FAULT);
        }
        Ok(start..end)
    }

    /// Sees that results can be written, before anything is done that they report.
    pub fn check(&self, pointer: u32, length: u32) -> Result<()> {
        self.range(pointer, length).map(drop)
    }

    pub fn bytes(&self, pointer: u32, length: u32) -> Result<&[u8]> {
        self.range(pointer, length).map(|range| &self.0[range])
    }

    pub fn array<const N: usize>(&self, pointer: u32) -> Result<[u8; N]> {
        let bytes = self.bytes(pointer, N as u32)?;
        Ok(std::array::from_fn(|index| bytes[index]))
    }

    pub fn u32(&self, pointer: u32) -> Result<u32> {
        self.array(pointer).map(u32::from_le_bytes)
    }

    pub fn put(&mut self, pointer: u32, bytes: &[u8]) -> Result<()> {
        let length = u32::try_from(bytes.len()).map_err(|_| Errno::FAULT)?;
        let range = self.range(pointer, length)?;
        self.0[range].copy_from_slice(bytes);
        Ok(())
    }

    pub fn put_u16(&mut self, pointer: u32, value: u16) -> Result<()> {
        self.put(pointer, &value.to_le_bytes())
    }

    pub fn put_u32(&mut self, pointer: u32, value: u32) -> Result<()> {
        self.put(pointer, &value.to_le_bytes())
    }

    /// A length that a call returned; the kernel takes less than 2³¹ bytes at once.
    pub fn put_length(&mut self, pointer: u32, length: usize) -> Result<()> {
        self.put_u32(pointer, u32::try_from(length).map_err(|_| Errno::IO)?)
    }

    /// Where the buffers of an array of `iovec` lie.
    fn buffers(&self, pointer: u32, count: u32) -> Result<Vec<Range<usize>>> {
        if count > MOST_BUFFERS {
            return Err(Errno::INVAL);
        }
        let vectors = self.bytes(pointer, count * VECTOR)?;
        let buffer = |vector: &[u8]| {
            let word = |at: usize| u32::from_le_bytes(std::array::from_fn(|index| vector[at + index]));
            self.range(word(0), word(4))
        };
        vectors.chunks_exact(VECTOR as usize).map(buffer).collect()
    }

    /// The buffers to send, in order.
    pub fn gather(&self, pointer: u32, count: u32) -> Result<Vec<IoSlice<'_>>> {
        let buffers = self.buffers(pointer, count)?;
        Ok(buffers
            .into_iter()
            .map(|range| IoSlice::new(&self.0[range]))
            .collect())
    }

    /// The buffers to receive into, in order, without the empty ones. Buffers that overlap are refused: no
    /// guest has a use for them.
    pub fn scatter(&mut self, pointer: u32, count: u32) -> Result<Vec<IoSliceMut<'_>>> {
        let mut buffers: Vec<_> = self.buffers(pointer, count)?.into_iter().enumerate().collect();
        buffers.retain(|(_, range)| !range.is_empty());
        buffers.sort_unstable_by_key(|(_, range)| range.start);
        let mut slices = Vec::with_capacity(buffers.len());
        let (mut rest, mut position) = (&mut *self.0, 0);
        for (index, range) in buffers {
            let skipped = range.start.checked_sub(position).ok_or(Errno::INVAL)?;
            let (_, tail) = rest.split_at_mut(skipped);
            let (own, tail) = tail.split_at_mut(range.len());
            slices.push((index, IoSliceMut::new(own)));
            (rest, position) = (tail, range.end);
        }
        slices.sort_unstable_by_key(|(index, _)| *index);
        Ok(slices.into_iter().map(|(_, slice)| slice).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 256 bytes that begin with these vectors.
    fn memory(vectors: &[(u32, u32)]) -> [u8; 256] {
        let mut bytes = [0; 256];
        for (index, (pointer, length)) in vectors.iter().enumerate() {
            bytes[index * 8..index * 8 + 4].copy_from_slice(&pointer.to_le_bytes());
            bytes[index * 8 + 4..index * 8 + 8].copy_from_slice(&length.to_le_bytes());
        }
        bytes
    }

    #[test]
    fn nothing_outside_is_reached() {
        let mut bytes = memory(&[]);
        let mut memory = Memory::new(&mut bytes);
        for (pointer, length) in [
            (256, 1),
            (255, 2),
            (0, 257),
            (u32::MAX, 1),
            (u32::MAX, u32::MAX),
            (1, u32::MAX),
        ] {
            assert_eq!(memory.check(pointer, length), Err(Errno::FAULT));
            assert_eq!(memory.bytes(pointer, length), Err(Errno::FAULT));
        }
        assert_eq!(memory.check(256, 0), Ok(()));
        assert_eq!(memory.u32(253), Err(Errno::FAULT));
        assert_eq!(memory.put_u32(253, 1), Err(Errno::FAULT));
        assert_eq!(memory.put_u32(252, 0x0403_0201), Ok(()));
        assert_eq!(memory.u32(252), Ok(0x0403_0201));
    }

    #[test]
    fn buffers_are_received_into_in_their_order() {
        let mut bytes = memory(&[(200, 4), (100, 0), (100, 2), (102, 3)]);
        let mut memory = Memory::new(&mut bytes);
        let mut slices = memory.scatter(0, 4).expect("good buffers");
        assert_eq!(
            slices.iter().map(|slice| slice.len()).collect::<Vec<_>>(),
            [4, 2, 3]
        );
        for (number, slice) in slices.iter_mut().enumerate() {
            slice.fill(number as u8 + 1);
        }
        drop(slices);
        assert_eq!(bytes[98..106], [0, 0, 2, 2, 3, 3, 3, 0]);
        assert_eq!(bytes[200..204], [1; 4]);
    }

    #[test]
    fn bad_buffers_are_refused() {
        let check = |vectors: &[(u32, u32)], count| {
            let mut bytes = memory(vectors);
            let mut memory = Memory::new(&mut bytes);
            memory.scatter(0, count).map(|slices| slices.len())
        };
        assert_eq!(check(&[(100, 10), (109, 1)], 2), Err(Errno::INVAL));
        assert_eq!(check(&[(100, 10), (110, 1)], 2), Ok(2));
        assert_eq!(check(&[(250, 10)], 1), Err(Errno::FAULT));
        assert_eq!(check(&[(0, u32::MAX)], 1), Err(Errno::FAULT));
        assert_eq!(check(&[], 33), Err(Errno::FAULT));
        assert_eq!(check(&[], 1025), Err(Errno::INVAL));
        assert_eq!(check(&[], u32::MAX), Err(Errno::INVAL));
    }

    #[test]
    fn what_is_sent_may_overlap() {
        let mut bytes = memory(&[(16, 8), (20, 8)]);
        let memory = Memory::new(&mut bytes);
        assert_eq!(memory.gather(0, 2).expect("good buffers").len(), 2);
        assert_eq!(memory.gather(0, 1025).expect_err("too many"), Errno::INVAL);
    }
}
