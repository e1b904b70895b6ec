//! The form of one file of the cache: compiled code as the engine maps it, from the first byte on, with our
//! own data behind it.
//!
//! ```text
//! code (ELF) │ about, JSON │ "wruncode" version about-length code-length 0 │ digest
//! ```
//!
//! Numbers are little-endian: u32, u32, u64, u64. The digest covers all that comes before it and is keyed by
//! the entry's key, so that an entry under another's name is found out too.

use std::fs::File;
use std::io;

use serde::{Deserialize, Serialize};

use super::engine::{self, Build};
use super::input;
use super::kinds::GuestKind;

const MAGIC: &[u8; 8] = b"wruncode";
const VERSION: u32 = 2;
const FOOTER: usize = 64;
const DIGEST: usize = 32;
/// Most bytes of what is told about the code: room for an export's name.
const MAX_ABOUT: u32 = 64 << 10;
const CHUNK: usize = 256 * 1024;

/// What an entry tells of its code.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    pub kind: GuestKind,
    pub build: Build,
    /// The engine's release, for people.
    pub engine: String,
    /// What tells an entry for this engine, with its settings and this CPU, from one for another.
    pub fingerprint: String,
}

impl About {
    /// Of code that was just compiled.
    pub fn new(kind: GuestKind, build: Build) -> Self {
        Self {
            kind,
            build,
            engine: engine::release(),
            fingerprint: engine::fingerprint(build),
        }
    }

    /// Whether an engine of now runs it: its settings and the CPU are those that it was compiled for.
    pub fn fits(&self) -> bool {
        self.fingerprint == engine::fingerprint(self.build)
    }
}

/// Writes `length` bytes of `code` and what follows them to `output`, both from their beginning.
pub fn write(code: &File, length: u64, about: &About, key: &[u8; 32], output: &File) -> io::Result<()> {
    let about = serde_json::to_vec(about)?;
    let about_length = u32::try_from(about.len())
        .ok()
        .filter(|length| *length <= MAX_ABOUT);
    let too_long = || io::Error::other("what is to be kept about the guest is too long");
    let about_length = about_length.ok_or_else(too_long)?;
    let total = length + u64::from(about_length) + FOOTER as u64;
    // Says at once where there is no room; file systems without it say so while writing.
    if let Err(error) = rustix::fs::fallocate(output, rustix::fs::FallocateFlags::empty(), 0, total)
        && error != rustix::io::Errno::OPNOTSUPP
    {
        return Err(error.into());
    }
    let mut hasher = blake3::Hasher::new_keyed(key);
    let mut append = |bytes: &[u8]| -> io::Result<()> {
        hasher.update(bytes);
        io::Write::write_all(&mut &*output, bytes)
    };
    for_each_chunk(code, length, &mut append)?;
    append(&about)?;
    append(MAGIC)?;
    append(&VERSION.to_le_bytes())?;
    append(&about_length.to_le_bytes())?;
    append(&length.to_le_bytes())?;
    append(&0u64.to_le_bytes())?;
    let digest = hasher.finalize();
    io::Write::write_all(&mut &*output, digest.as_bytes())
}

/// The end of an entry.
pub struct Footer {
    about_length: u32,
    code_length: u64,
    digest: [u8; DIGEST],
}

/// Reads the end of an entry of `size` bytes; `None` where it is not one.
pub fn footer(file: &File, size: u64) -> io::Result<Option<Footer>> {
    let mut bytes = [0; FOOTER];
    let Some(start) = size.checked_sub(FOOTER as u64) else {
        return Ok(None);
    };
    if input::fill(file, &mut bytes, start)? != FOOTER {
        return Ok(None);
    }
    let number = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    let long = |at: usize| u64::from(number(at)) | u64::from(number(at + 4)) << 32;
    let mut digest = [0; DIGEST];
    digest.copy_from_slice(&bytes[FOOTER - DIGEST..]);
    let footer = Footer {
        about_length: number(12),
        code_length: long(16),
        digest,
    };
    let whole = footer
        .code_length
        .checked_add(u64::from(footer.about_length) + FOOTER as u64);
    let sound = bytes.starts_with(MAGIC)
        && number(8) == VERSION
        && footer.about_length <= MAX_ABOUT
        && footer.code_length > 0
        && whole == Some(size);
    Ok(sound.then_some(footer))
}

impl Footer {
    /// Whether the entry is, to the last byte, what was written under `key`.
    pub fn verify(&self, file: &File, size: u64, key: &[u8; 32]) -> io::Result<bool> {
        let mut hasher = blake3::Hasher::new_keyed(key);
        for_each_chunk(file, size - DIGEST as u64, &mut |chunk| {
            hasher.update(chunk);
            Ok(())
        })?;
        // Compared in constant time, by the type.
        Ok(hasher.finalize() == blake3::Hash::from_bytes(self.digest))
    }

    /// What the entry tells of its code; `None` where the text is none.
    pub fn about(&self, file: &File) -> io::Result<Option<About>> {
        let mut text = vec![0; self.about_length as usize];
        let length = input::fill(file, &mut text, self.code_length)?;
        Ok(serde_json::from_slice(&text[..length]).ok())
    }
}

/// The first `length` bytes of a file, in order.
fn for_each_chunk(file: &File, length: u64, each: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK.min(usize::try_from(length).unwrap_or(CHUNK))];
    let mut offset = 0;
    while offset < length {
        let wanted = buffer
            .len()
            .min(usize::try_from(length - offset).unwrap_or(CHUNK));
        let read = input::fill(file, &mut buffer[..wanted], offset)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        each(&buffer[..read])?;
        offset += read as u64;
    }
    Ok(())
}
