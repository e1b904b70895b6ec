//! The one place where compiled Wasm becomes executable memory. Such code is native code: whoever calls
//! these functions says that it came out of our own compiler and has not changed since.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::ptr::NonNull;

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

/// Maps a component.
///
/// The engine takes only a path for this. A descriptor has one under a mounted proc; reached through the
/// directory's descriptor and checked to be procfs itself, so that no file of the container can pose as it.
/// Where there is none the memory image of the component is copied instead of shared.
pub fn load_component(engine: &Engine, code: TrustedCode) -> wasmtime::Result<Component> {
    match enter_proc() {
        Ok(back) => {
            let path = PathBuf::from(format!("self/fd/{}", code.0.as_raw_fd()));
            // SAFETY: as for a module; the working directory is procfs, where this path leads to `code` only.
            let component = unsafe { Component::deserialize_file(engine, path) };
            rustix::process::fchdir(&back)?;
            component
        }
        Err(_no_proc_here) => map_component(engine, &File::from(code.0)),
    }
}

/// Makes the root of procfs the working directory, and returns the one before.
fn enter_proc() -> io::Result<OwnedFd> {
    let directory = OFlags::DIRECTORY | OFlags::CLOEXEC;
    let back = rustix::fs::open(".", directory | OFlags::PATH, Mode::empty())?;
    let proc = rustix::fs::open(
        "/proc",
        directory | OFlags::NOFOLLOW | OFlags::RDONLY,
        Mode::empty(),
    )?;
    if rustix::fs::fstatfs(&proc)?.f_type != libc::PROC_SUPER_MAGIC {
        return Err(io::ErrorKind::NotFound.into());
    }
    rustix::process::fchdir(&proc)?;
    Ok(back)
}

/// Maps the file for as long as the process lives, and loads the component from there.
fn map_component(engine: &Engine, code: &File) -> wasmtime::Result<Component> {
    let length = usize::try_from(code.metadata()?.len())?;
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: a new private mapping at an address of the kernel's choice touches no existing memory.
    let address = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            length,
            protection,
            libc::MAP_PRIVATE,
            code.as_raw_fd(),
            0,
        )
    };
    if address == libc::MAP_FAILED {
        return Err(io::Error::last_os_error().into());
    }
    let start = NonNull::new(address.cast::<u8>()).ok_or_else(|| wasmtime::format_err!("mapped at zero"))?;
    // SAFETY: the bytes are trusted as for a module; the mapping is never unmapped and nobody else knows it.
    unsafe { Component::deserialize_raw(engine, NonNull::slice_from_raw_parts(start, length)) }
}
