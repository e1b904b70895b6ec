//! From an entry point to compiled code, by way of the cache: the privileged parent's side.
//!
//! ```text
//!                            small, or asked to wait          large
//! optimised code is cached   run it                           run it
//! provisional code is        -                                run it ──────────────┐
//! neither is                 compile optimised, keep, run     compile quickly, keep, run ──┴─> later:
//!                                                                         optimised, see `background`
//! ```

use std::fs::File;

use super::background::Later;
use super::cache::{Cache, CacheError};
use super::compile::{self, Compiled};
use super::engine::{Build, Tier};
use super::entry::About;
use super::input::Input;
use super::key::Key;
use super::{Confine, GuestKind, Provided, Refusal, Request, WasmError};
use crate::workload::detect::{self, Format};

/// From this size on an entry point that is not in the cache starts on quickly compiled code. Optimising so
/// much takes a quarter of a second or more, baseline code a third of that; below, two compilations would cost
/// more than the wait.
pub const LARGE: u64 = 256 << 10;

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
    let provided = match cache {
        Err(trouble) => without_cache(&input, request, confine, trouble),
        Ok(cache) => provide_through(cache, input, request, confine),
    }?;
    let serves = !matches!(
        provided.kind,
        GuestKind::CorePreview1 { .. } | GuestKind::Command { .. } | GuestKind::ComponentFunction { .. }
    );
    if serves && request.options.core_dump.is_some() {
        let path = name.to_owned();
        return Err(WasmError::CoreDumpOfService { path });
    }
    Ok(provided)
}

/// There is no next start that could gain from optimised code, so nothing is left to be done later.
fn without_cache(
    input: &Input,
    request: &Request<'_>,
    confine: &Confine<'_>,
    trouble: CacheError,
) -> Result<Provided, WasmError> {
    let bytes = input.read()?;
    let (compiled, build) = compile_first(&bytes, request, tiers(input, request), confine)?;
    uncached(compiled, input.name(), build, trouble)
}

fn provide_through(
    cache: Cache,
    input: Input,
    request: &Request<'_>,
    confine: &Confine<'_>,
) -> Result<Provided, WasmError> {
    let (purpose, build) = (request.purpose(), request.build());
    let tiers = tiers(&input, request);
    let key = match cache.recall(&input, purpose, build) {
        Some(key) => key,
        None => Key::new(&input.hash()?, purpose, build),
    };
    match find(&cache, &key, tiers) {
        Ok(Some(found)) => {
            cache.remember(&input, purpose, build, &key);
            return Ok(found.provided(cache, key, input));
        }
        Ok(None) => {}
        Err(trouble) => return without_cache(&input, request, confine, trouble),
    }
    let wanted = if tiers.len() > 1 { key.provisional() } else { key };
    let lock = match cache.lock(&wanted) {
        Ok(lock) => lock,
        Err(trouble) => return without_cache(&input, request, confine, trouble),
    };
    // Another container's start may have compiled it while we waited.
    match find(&cache, &key, tiers) {
        Ok(Some(found)) => {
            drop(lock);
            return Ok(found.provided(cache, key, input));
        }
        Ok(None) => {}
        Err(trouble) => return without_cache(&input, request, confine, trouble),
    }
    let bytes = input.read()?;
    // Of these very bytes: the file may have changed since it was hashed.
    let key = Key::new(&blake3::hash(&bytes), purpose, build);
    let (compiled, build) = compile_first(&bytes, request, tiers, confine)?;
    let about = About::new(compiled.kind.clone(), build);
    let code = match cache.insert(&key.of(build.tier), &compiled.code, compiled.length, &about) {
        Ok(code) => code,
        Err(trouble) => return uncached(compiled, input.name(), build, trouble),
    };
    if build.tier == Tier::Optimized {
        cache.drop_provisional(&key);
    }
    drop(lock);
    let later = (build.tier != Tier::Optimized).then(|| Later::of_bytes(cache, key, bytes));
    Ok(Provided {
        code,
        kind: compiled.kind,
        build,
        compiled: true,
        uncached: None,
        later,
    })
}

/// The ways to compile an entry point that is not in the cache, in the order in which they are tried. More
/// than one where the start is not to wait.
fn tiers(input: &Input, request: &Request<'_>) -> &'static [Tier] {
    if input.metadata().len() < LARGE || request.options.wait_for_optimized {
        &[Tier::Optimized]
    } else if request.options.fuel.is_some() {
        // Winch counts in its own way, and a guest is to run out of fuel at the same point at every start.
        &[Tier::Quick, Tier::Optimized]
    } else {
        &[Tier::Baseline, Tier::Quick, Tier::Optimized]
    }
}

/// Code that is in the cache.
struct Found {
    code: std::os::fd::OwnedFd,
    about: About,
}

impl Found {
    fn provided(self, cache: Cache, key: Key, input: Input) -> Provided {
        let About { kind, build, .. } = self.about;
        let later = (build.tier != Tier::Optimized).then(|| Later::of_input(cache, key, input));
        Provided {
            code: self.code,
            kind,
            build,
            compiled: false,
            uncached: None,
            later,
        }
    }
}

/// The best that there is.
fn find(cache: &Cache, key: &Key, tiers: &[Tier]) -> Result<Option<Found>, CacheError> {
    let found = |hit: Option<_>| hit.map(|(code, about)| Found { code, about });
    match cache.lookup(key)? {
        None if tiers.len() > 1 => Ok(found(cache.lookup(&key.provisional())?)),
        hit => Ok(found(hit)),
    }
}

/// Compiles in the first way that the module takes. What is wrong with it is told by the last, so that it is
/// the same whatever was tried first.
fn compile_first(
    bytes: &[u8],
    request: &Request<'_>,
    tiers: &[Tier],
    confine: &Confine<'_>,
) -> Result<(Compiled, Build), WasmError> {
    let (last, before) = tiers.split_last().unwrap_or((&Tier::Optimized, &[]));
    let with = |tier: &Tier| Build {
        tier: *tier,
        ..request.build()
    };
    for build in before.iter().map(with) {
        match compile(bytes, request, build, confine) {
            Err(error) if may_be_of_the_tier(&error) => {}
            other => return other.map(|compiled| (compiled, build)),
        }
    }
    let build = with(last);
    compile(bytes, request, build, confine).map(|compiled| (compiled, build))
}

/// Compiles, and once more where the compiler was killed: with one thread, which takes less memory, and for the
/// case that somebody killed it whose business it was not.
fn compile(
    bytes: &[u8],
    request: &Request<'_>,
    build: Build,
    confine: &Confine<'_>,
) -> Result<Compiled, WasmError> {
    match compile::compile(bytes, request, build, confine) {
        Err(WasmError::OutOfMemory { .. } | WasmError::Crashed { .. }) if confine.threads => {
            let alone = Confine {
                threads: false,
                ..*confine
            };
            compile::compile(bytes, request, build, &alone)
        }
        other => other,
    }
}

/// Whether compiling in another way may have another end. What a guest imports and exports, memory and
/// confinement are the same for all.
fn may_be_of_the_tier(error: &WasmError) -> bool {
    match error {
        WasmError::Refused { refusal, .. } => {
            matches!(refusal, Refusal::Invalid { .. } | Refusal::Engine { .. })
        }
        WasmError::Crashed { .. } => true,
        _ => false,
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
    Ok(Provided {
        code: compiled.code.into(),
        kind: compiled.kind,
        build,
        compiled: true,
        uncached: Some(trouble),
        later: None,
    })
}
