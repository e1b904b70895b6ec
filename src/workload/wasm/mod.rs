//! Wasm guests on our own engine. Two sides, which share the description of the engine and of a guest:
//!
//! ```text
//! init, in the container              the privileged parent
//! ──────────────────────              ─────────────────────
//! opens the entry point ── its fd ──> provide: cache ─ hit ──────────────┐
//!                                        └─ miss ─> compiler, confined   │
//! load, run      <── fd of compiled code, GuestKind ──┴── into the cache ┘
//!                     once for each file of an application
//!                                     background: where that code was compiled quickly, a process that is
//!                                     left behind has the compiler make optimised code for the next start
//! ```
//!
//! Nothing from an image is ever taken as compiled code, and bytes from an image are parsed only in the
//! confined compiler and, once compiled, in the container itself.

pub mod application;
mod background;
pub mod cache;
mod compile;
mod confine;
mod core_dump;
mod engine;
mod entry;
mod evict;
#[cfg(all(any(test, feature = "fuzz"), feature = "spin", feature = "slight"))]
pub mod fuzz;
mod guest_filter;
mod input;
pub mod inspect;
mod key;
pub mod kinds;
#[cfg(feature = "slight")]
mod legacy_abi;
mod limits;
mod locks;
pub mod proposals;
mod provide;
mod record;
pub mod run;
#[cfg(feature = "slight")]
pub mod slight;
mod sockets;
#[cfg(feature = "spin")]
pub mod spin;
mod stdio;
mod survey;
mod threads;
mod verdict;
mod verify;

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

pub use background::{Later, Ties};
pub use cache::{Cache, CacheError};
pub use engine::{Build, Tier};
pub use evict::{Bounds, Freed};
use key::Purpose;
pub use kinds::{GuestKind, Missing, Refusal, Wasi, World};
pub use provide::provide;
pub use run::{Code, Guest, Loaded, Work, load, run};
#[cfg(feature = "spin")]
pub use spin::{UnpackError, Unpacked, unpack};
pub use survey::Entry;
pub use verify::{Finding, Verified};

use crate::plan::{CORE_DUMP, GuestOptions};

/// Why there is no compiled code for an entry point.
#[derive(Debug, thiserror::Error)]
pub enum WasmError {
    #[error("{path}: cannot be read")]
    Read {
        path: String,
        #[source]
        source: io::Error,
    },
    #[error("{path}: is not a regular file")]
    NotAFile { path: String },
    #[error("{path}: has {size} bytes, more than the {limit} that are compiled")]
    TooLarge { path: String, size: u64, limit: u64 },
    #[error(
        "{path}: is precompiled Wasm, which is native code and is not trusted; \
         ship the .wasm file itself, it is compiled once and cached"
    )]
    Precompiled { path: String },
    /// What the guest itself lacks; decided by the compiler's process.
    #[error("{path}: {refusal}")]
    Refused { path: String, refusal: Refusal },
    #[error(
        "{path}: annotation {CORE_DUMP}: an HTTP service goes on after a trap and leaves no core dump; remove it"
    )]
    CoreDumpOfService { path: String },
    #[error("{path}: compiling it took more memory than the container may use{}; raise its memory limit", limit_text(*.limit))]
    OutOfMemory { path: String, limit: Option<u64> },
    #[error("{path}: the compiler {how}")]
    Crashed { path: String, how: String },
    #[error("{path}: the compiler could not be started or confined: {step}")]
    Confine {
        path: String,
        step: &'static str,
        #[source]
        source: io::Error,
    },
}

fn limit_text(limit: Option<u64>) -> String {
    limit.map(|bytes| format!(" ({bytes} bytes)")).unwrap_or_default()
}

/// How the compiler's process is tied to the container.
pub struct Confine<'a> {
    /// Called first in that process: moves the calling process into the container's cgroup.
    pub enter_cgroup: &'a dyn Fn() -> io::Result<()>,
    /// Bytes, of that cgroup; for the error when it is hit.
    pub memory_limit: Option<u64>,
    /// Whether it may start threads, as far as the container's limit on processes lets it.
    pub threads: bool,
}

impl Confine<'_> {
    /// For code that is compiled ahead, for no container.
    pub fn outside_containers() -> Self {
        Self {
            enter_cgroup: &|| Ok(()),
            memory_limit: None,
            threads: true,
        }
    }
}

/// What is to be compiled.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// Path of the entry point in the container, for errors.
    pub name: &'a str,
    /// The function asked for by `file.wasm#function`.
    pub export: Option<&'a str>,
    pub world: World,
    pub options: &'a GuestOptions,
}

impl<'a> Request<'a> {
    fn purpose(&self) -> Purpose<'a> {
        Purpose {
            export: self.export,
            world: self.world,
        }
    }

    fn build(&self) -> Build {
        Build {
            fuel: self.options.fuel.is_some(),
            // Its components share threads with each other.
            yields: self.world == World::Spin,
            ..Build::default()
        }
    }
}

/// What a container needs to run a guest.
#[derive(Debug)]
pub struct Provided {
    /// Compiled code, for [`load`] alone.
    pub code: OwnedFd,
    pub kind: GuestKind,
    /// For [`load`]: what the engine must be made for.
    pub build: Build,
    /// Whether anything had to be compiled.
    pub compiled: bool,
    /// Why the code is not in the cache; the container runs all the same.
    pub uncached: Option<CacheError>,
    /// What is to be compiled for the next start, once the container has been served.
    pub later: Option<Later>,
}

/// Where the cache is: WRUN_CACHE_DIR; else /var/cache/wrun for root, and `wrun` in XDG_CACHE_HOME (by
/// default ~/.cache) for others.
pub fn default_dir(rootless: bool) -> Result<PathBuf, CacheError> {
    let variable = |name: &str| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    if let Some(chosen) = variable("WRUN_CACHE_DIR") {
        return Ok(chosen);
    }
    if !rootless {
        return Ok(PathBuf::from("/var/cache/wrun"));
    }
    let base = variable("XDG_CACHE_HOME").filter(|path| path.is_absolute());
    let base = base.or_else(|| variable("HOME").map(|home| home.join(".cache")));
    base.map(|base| base.join("wrun")).ok_or(CacheError::NoHome)
}

#[cfg(all(test, any(feature = "spin", feature = "slight")))]
mod golden;
#[cfg(test)]
mod tests;
