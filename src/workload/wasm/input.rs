//! The entry point's file as the parent sees it: untrusted, perhaps being written to, never mapped.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::FileExt;

use super::WasmError;
use crate::workload::detect::HEAD;

/// Most bytes of an entry point that are read and compiled.
pub const MAX_SIZE: u64 = 512 << 20;

/// Bytes read at a time when hashing: enough to keep the hash busy, and few pages to touch.
const CHUNK: usize = 128 * 1024;

#[derive(Debug)]
pub struct Input {
    file: File,
    name: String,
    metadata: Metadata,
    head: Vec<u8>,
}

impl Input {
    /// Looks at the file without reading it all.
    pub fn new(file: File, name: &str) -> Result<Self, WasmError> {
        let read_error = |source| WasmError::Read {
            path: name.to_owned(),
            source,
        };
        let metadata = file.metadata().map_err(read_error)?;
        if !metadata.is_file() {
            return Err(WasmError::NotAFile {
                path: name.to_owned(),
            });
        }
        if metadata.len() > MAX_SIZE {
            return Err(too_large(name, metadata.len()));
        }
        let mut head = vec![0; HEAD];
        let length = fill(&file, &mut head, 0).map_err(read_error)?;
        head.truncate(length);
        Ok(Self {
            file,
            name: name.to_owned(),
            metadata,
            head,
        })
    }

    pub fn file(&self) -> &File {
        &self.file
    }

    /// As it was when the file was first looked at.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Up to [`HEAD`] bytes.
    pub fn head(&self) -> &[u8] {
        &self.head
    }

    /// Hashes the content without keeping it.
    pub fn hash(&self) -> Result<blake3::Hash, WasmError> {
        let mut hasher = blake3::Hasher::new();
        self.for_each_chunk(|chunk| {
            hasher.update(chunk);
        })?;
        Ok(hasher.finalize())
    }

    /// Reads the content, once, into memory that nobody else can change.
    pub fn read(&self) -> Result<Vec<u8>, WasmError> {
        // The length is bounded by MAX_SIZE, which fits.
        let mut bytes = Vec::with_capacity(self.metadata.len() as usize);
        self.for_each_chunk(|chunk| bytes.extend_from_slice(chunk))?;
        Ok(bytes)
    }

    fn for_each_chunk(&self, mut each: impl FnMut(&[u8])) -> Result<(), WasmError> {
        let mut buffer = vec![0; CHUNK.min(self.metadata.len() as usize + 1)];
        let mut offset = 0;
        loop {
            let read = fill(&self.file, &mut buffer, offset);
            let length = read.map_err(|source| WasmError::Read {
                path: self.name.clone(),
                source,
            })?;
            if length == 0 {
                return Ok(());
            }
            each(&buffer[..length]);
            offset += length as u64;
            // The file may be growing.
            if offset > MAX_SIZE {
                return Err(too_large(&self.name, offset));
            }
        }
    }
}

fn too_large(name: &str, size: u64) -> WasmError {
    WasmError::TooLarge {
        path: name.to_owned(),
        size,
        limit: MAX_SIZE,
    }
}

/// Reads at `offset` until the buffer is full or the file ends.
pub fn fill(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut length = 0;
    while length < buffer.len() {
        match file.read_at(&mut buffer[length..], offset + length as u64) {
            Ok(0) => break,
            Ok(read) => length += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(length)
}
