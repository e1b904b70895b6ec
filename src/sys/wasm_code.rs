//! The one place where compiled Wasm becomes executable memory. Such code is native code: whoever calls
//! these functions says that it came out of our own compiler and has not changed since.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use rustix::fs::{Mode, OFlags};
use wasmtime::component::Component;
use wasmtime::{Engine, Module};

/// A descriptor whose content is compiled code of ours: made by our compiler's process, its digest verified
/// by the cache, and in a place that nothing but wrun writes to. Only `workload::wasm` makes one.
#[derive(Debug)]
pub struct TrustedCode(OwnedFd);

impl TrustedCode {
    /// The caller vouches for the descriptor as said above. Safe to call only in that sense: a wrong promise
    /// lets the file's bytes run as native code.
    pub(crate) fn vouch(code: OwnedFd) -> Self {
        Self(code)
    }
}

/// Maps a core module; pages are shared with every other process that maps the same entry.
pub fn load_module(engine: &Engine, code: TrustedCode) -> wasmtime::Result<Module> {
    // SAFETY: `TrustedCode` says that these bytes are our compiler's and stay as they are; entries are never
    // written in place, and memory files are sealed.
    unsafe { Module::deserialize_open_file(engine, File::from(code.0)) }
}

/// Maps a component; pages are shared as those of a module.
///
/// The engine takes only a path for this. A descriptor has one in `proc_self`, our own directory in a procfs
/// that no image can have touched. Where it may not be opened anew there, the code is copied instead of
/// shared.
pub fn load_component(
    engine: &Engine,
    code: TrustedCode,
    proc_self: BorrowedFd<'_>,
) -> wasmtime::Result<Component> {
    let back = rustix::fs::open(
        ".",
        OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::PATH,
        Mode::empty(),
    )?;
    rustix::process::fchdir(proc_self)?;
    let path = PathBuf::from(format!("fd/{}", code.0.as_raw_fd()));
    let readable = rustix::fs::open(&path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).is_ok();
    // SAFETY: as for a module; the working directory is ours in procfs, where this path leads to `code` only.
    let component = readable.then(|| unsafe { Component::deserialize_file(engine, path) });
    rustix::process::fchdir(&back)?;
    component.unwrap_or_else(|| copy_component(engine, code))
}

/// Copies a core module into memory of this process alone, where perf(1) takes the names of code from the map that
/// the engine writes; of code that is mapped from a file it asks that file.
pub fn copy_module(engine: &Engine, code: TrustedCode) -> wasmtime::Result<Module> {
    let mut bytes = Vec::new();
    File::from(code.0).read_to_end(&mut bytes)?;
    // SAFETY: these bytes are trusted as for a module that is mapped, and are copied once more by the engine.
    unsafe { Module::deserialize(engine, bytes) }
}

/// The same of a component.
pub fn copy_component(engine: &Engine, code: TrustedCode) -> wasmtime::Result<Component> {
    let mut bytes = Vec::new();
    File::from(code.0).read_to_end(&mut bytes)?;
    // SAFETY: these bytes are trusted as for a module, and are copied once more by the engine.
    unsafe { Component::deserialize(engine, bytes) }
}
