//! Wasm guests on our own engine. Two sides, which share the description of the engine and of a guest:
//!
//! ```text
//! init, in the container              the privileged parent
//! ──────────────────────              ─────────────────────
//! opens the entry point ── its fd ──> provide: cache ─ hit ──────────────┐
//!                                        └─ miss ─> compiler, confined   │
//! load, run      <── fd of compiled code, GuestKind ──┴── into the cache ┘
//! ```
//!
//! Nothing from an image is ever taken as compiled code, and bytes from an image are parsed only in the
//! confined compiler and, once compiled, in the container itself.

pub mod cache;
mod compile;
mod confine;
mod engine;
mod entry;
mod evict;
mod guest_filter;
mod input;
mod key;
pub mod kinds;
mod record;
pub mod run;
mod stdio;

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

pub use cache::{Cache, CacheError};
pub use engine::Build;
pub use kinds::{GuestKind, Missing, Refusal, Wasi};
pub use run::{Guest, Loaded, load, run};

use crate::plan::GuestOptions;
use crate::workload::detect::{self, Format};
use compile::Compiled;
use input::Input;
use key::Key;

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
}

impl Confine<'_> {
    /// For code that is compiled ahead, for no container.
    pub fn outside_containers() -> Self {
        Self {
            enter_cgroup: &|| Ok(()),
            memory_limit: None,
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
    pub options: &'a GuestOptions,
}

impl Request<'_> {
    fn build(&self) -> Build {
        Build {
            fuel: self.options.fuel.is_some(),
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
}

/// Gives compiled code for an entry point: from the cache, or compiled now in a confined process.
///
/// `entry` is an untrusted file, open for reading. Trouble with the cache never fails a container.
pub fn provide(
    entry: File,
    request: &Request<'_>,
    cache: Result<Cache, CacheError>,
    confine: &Confine<'_>,
) -> Result<Provided, WasmError> {
    let name = request.name;
    let input = Input::new(entry, name)?;
    if detect::detect(input.head(), name) == Format::Precompiled {
        return Err(WasmError::Precompiled {
            path: name.to_owned(),
        });
    }
    let trouble = match cache {
        Err(trouble) => trouble,
        Ok(cache) => match provide_through(&cache, &input, request, confine)? {
            Ok(provided) => return Ok(provided),
            Err(trouble) => trouble,
        },
    };
    let bytes = input.read()?;
    let build = request.build();
    let compiled = compile::compile(&bytes, request, build, confine)?;
    uncached(compiled, name, build, trouble)
}

/// The same by way of the cache; the inner error is the cache's own, met before anything was compiled.
fn provide_through(
    cache: &Cache,
    input: &Input,
    request: &Request<'_>,
    confine: &Confine<'_>,
) -> Result<Result<Provided, CacheError>, WasmError> {
    let (export, build) = (request.export, request.build());
    let key = match cache.recall(input, export, build) {
        Some(key) => key,
        None => Key::new(&input.hash()?, export, build),
    };
    let found = |(code, kind)| Provided {
        code,
        kind,
        build,
        compiled: false,
        uncached: None,
    };
    match cache.lookup(&key) {
        Ok(Some(hit)) => {
            cache.remember(input, export, build, &key);
            return Ok(Ok(found(hit)));
        }
        Ok(None) => {}
        Err(trouble) => return Ok(Err(trouble)),
    }
    let _lock = match cache.lock(&key) {
        Ok(lock) => lock,
        Err(trouble) => return Ok(Err(trouble)),
    };
    // Another container's start may have compiled it while we waited.
    match cache.lookup(&key) {
        Ok(Some(hit)) => return Ok(Ok(found(hit))),
        Ok(None) => {}
        Err(trouble) => return Ok(Err(trouble)),
    }
    let bytes = input.read()?;
    // Of these very bytes: the file may have changed since it was hashed.
    let key = Key::new(&blake3::hash(&bytes), export, build);
    let compiled = compile::compile(&bytes, request, build, confine)?;
    drop(bytes);
    match cache.insert(&key, &compiled.code, compiled.length, &compiled.kind) {
        Ok(code) => Ok(Ok(Provided {
            code,
            kind: compiled.kind,
            build,
            compiled: true,
            uncached: None,
        })),
        Err(trouble) => uncached(compiled, input.name(), build, trouble).map(Ok),
    }
}

/// Hands out the compiler's output itself, sealed against any change.
fn uncached(
    compiled: Compiled,
    name: &str,
    build: Build,
    trouble: CacheError,
) -> Result<Provided, WasmError> {
    let confine_error = |source: rustix::io::Errno| WasmError::Confine {
        path: name.to_owned(),
        step: "sealing its output",
        source: source.into(),
    };
    use rustix::fs::SealFlags;
    let seals = SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
    rustix::fs::fcntl_add_seals(&compiled.code, seals).map_err(confine_error)?;
    let code = compiled.code.into();
    Ok(Provided {
        code,
        kind: compiled.kind,
        build,
        compiled: true,
        uncached: Some(trouble),
    })
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

#[cfg(test)]
mod tests;
