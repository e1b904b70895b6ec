//! The core dump that a trapped guest leaves where an annotation asks for one: its memories, globals and stack
//! in the format of WebAssembly's tool conventions, for wasmgdb and its like.
//!
//! Written by the guest's own process, so with the guest's rights and to a place that the guest itself could
//! write. Whether it worked is said with the trap; it changes nothing about the exit code.

use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags};
use wasmtime::{Store, WasmCoreDump};

use super::limits::Limits;
use super::verdict;

/// What is told about a core dump, attached to the error of the trap.
#[derive(Debug)]
pub struct Note(String);

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where a core dump goes.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Absolute, in the guest's view of the file system.
    pub path: PathBuf,
    /// What the dump calls the guest.
    pub program: String,
}

/// Bytes that zeros are left out by.
const PAGE: usize = 4096;

/// Writes the dump of a guest that has just trapped, and attaches to the error a [`Note`] of where it is, or of
/// why there is none. `limits` share the store's memory.
pub fn leave<T: 'static, R>(
    store: &mut Store<T>,
    outcome: wasmtime::Result<R>,
    wanted: Option<&Wanted>,
    limits: &Limits,
) -> wasmtime::Result<R> {
    let (error, wanted) = match (outcome, wanted) {
        (Err(error), Some(wanted)) if verdict::is_trap(&error) => (error, wanted),
        (outcome, _) => return outcome,
    };
    let path = wanted.path.display();
    let note = match error.downcast_ref::<WasmCoreDump>() {
        Some(dump) => match write(store, dump, wanted, limits) {
            Ok(bytes) => format!("core dump of {bytes} bytes written to {path}"),
            Err(reason) => format!("no core dump written to {path}: {reason}"),
        },
        None => format!("no core dump written to {path}: the guest had no code on its stack"),
    };
    Err(error.context(Note(note)))
}

fn write<T: 'static>(
    store: &mut Store<T>,
    dump: &WasmCoreDump,
    wanted: &Wanted,
    limits: &Limits,
) -> Result<usize, String> {
    let used: usize = dump
        .memories()
        .iter()
        .map(|memory| used_bytes(memory.data(&*store)))
        .sum();
    // The encoder holds it twice while it makes it.
    if !limits.leaves(used.saturating_mul(2)) {
        return Err(format!(
            "making it takes twice the {used} bytes that the guest uses, more than the container's memory limit leaves"
        ));
    }
    let mut file = open(&wanted.path).map_err(|error| error.to_string())?;
    let bytes = dump.serialize(store, &wanted.program);
    file.write_all(&bytes).map_err(|error| {
        // Half a dump is worth nothing, and the note says that there is none.
        let _ = file.set_len(0);
        error.to_string()
    })?;
    Ok(bytes.len())
}

fn used_bytes(memory: &[u8]) -> usize {
    let used = |page: &&[u8]| page.iter().any(|byte| *byte != 0);
    memory.chunks(PAGE).filter(used).count() * PAGE
}

/// Opens the file anew, or empties the one that is there. Anything but a file is refused, and not waited for.
fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR)?;
    if FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode) != FileType::RegularFile {
        return Err(io::Error::other("it is not a regular file"));
    }
    let file = File::from(file);
    file.set_len(0)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_of_zeros_do_not_count() {
        let mut memory = vec![0; 3 * PAGE];
        assert_eq!(used_bytes(&memory), 0);
        memory[PAGE] = 1;
        memory[2 * PAGE - 1] = 1;
        assert_eq!(used_bytes(&memory), PAGE);
    }

    #[test]
    fn only_a_file_is_written() {
        let dir = tempfile::tempdir().expect("a directory");
        let fifo = dir.path().join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).expect("a pipe");
        assert!(open(&fifo).is_err());
        assert!(open(dir.path()).is_err());
        let old = dir.path().join("core");
        std::fs::write(&old, "what was there").expect("a file");
        open(&old).expect("opened").write_all(b"new").expect("written");
        assert_eq!(std::fs::read(&old).expect("read"), b"new");
    }
}
