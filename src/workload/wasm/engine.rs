//! The one description of our engine. Compiled code fits only an engine that is configured as the one that
//! compiled it was, so both sides are built here and nowhere else.

use serde::{Deserialize, Serialize};
use wasmtime::{Config, Engine, WasmBacktraceDetails};

/// The release of the engine, which it does not tell itself; a test holds it to Cargo.lock.
const WASMTIME: &str = "48.0.8";

/// How code is made, as far as an engine that runs it must be made for it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Build {
    /// Counts the guest's work, so that it can be limited; costs some speed.
    pub fuel: bool,
}

/// Names what compiled code fits: part of the name of every entry of the cache.
///
/// The engine's own compatibility hash is to be had only where a compiler is made, which a warm start must
/// not do. It is made of the release, the settings and the CPU's features; so is this. Should the two ever
/// differ the engine refuses to load the code, as it checks all of these again.
pub fn identity(build: Build) -> String {
    let mut identity = format!(
        "wasmtime {WASMTIME} {:?} {}",
        settings(build),
        std::env::consts::ARCH
    );
    for feature in cpu_features() {
        identity.push(' ');
        identity.push_str(feature);
    }
    identity
}

/// Settings that both sides share: Wasmtime's own defaults for the proposals (all that are finished, with GC,
/// exceptions, memory64, tail calls, SIMD and asynchronous components), memory images copied on write, no
/// epochs, since a container is stopped by a signal.
fn settings(build: Build) -> Config {
    let mut config = Config::new();
    config.memory_init_cow(true);
    config.consume_fuel(build.fuel);
    // By default an environment variable decides this, which would differ between the two sides.
    config.wasm_backtrace_details(WasmBacktraceDetails::Enable);
    config
}

/// The engine of the compiling process.
pub fn compiler_engine(build: Build, parallel: bool) -> wasmtime::Result<Engine> {
    let mut config = settings(build);
    config.parallel_compilation(parallel);
    Engine::new(&config)
}

/// The engine of a container: it has no compiler, which saves 0.3 ms and 50 page faults at each start.
pub fn runtime_engine(build: Build) -> wasmtime::Result<Engine> {
    let mut config = settings(build);
    config.enable_compiler(false);
    Engine::new(&config)
}

/// The features of this CPU that compiled code may use. Code compiled with one of them does not run where it
/// is missing, as on another machine that shares the cache's file system.
fn cpu_features() -> Vec<&'static str> {
    let mut present = Vec::new();
    macro_rules! probe {
        ($detected:ident: $($feature:tt),*) => { $( if std::arch::$detected!($feature) { present.push($feature); } )* };
    }
    #[cfg(target_arch = "x86_64")]
    probe!(is_x86_feature_detected: "sse3", "ssse3", "sse4.1", "sse4.2", "popcnt", "lzcnt", "bmi1", "bmi2",
        "cmpxchg16b", "avx", "avx2", "fma", "avxvnni", "avx512f", "avx512bitalg", "avx512dq", "avx512vl",
        "avx512vbmi", "avx512vnni");
    #[cfg(target_arch = "aarch64")]
    probe!(is_aarch64_feature_detected: "lse", "paca", "pacg", "fp16", "bti", "dotprod", "i8mm");
    present
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_side_compiles_the_other_loads() {
        let compiler = compiler_engine(Build::default(), false).expect("a compiler");
        let code = compiler
            .precompile_module(b"(module (func (export \"f\")))")
            .expect("compiles");
        let file = tempfile::tempfile().expect("a file");
        std::os::unix::fs::FileExt::write_all_at(&file, &code, 0).expect("written");
        let trusted = crate::sys::wasm_code::TrustedCode::vouch(file.into());
        let runtime = runtime_engine(Build::default()).expect("a runtime");
        let module = crate::sys::wasm_code::load_module(&runtime, trusted).expect("loads");
        assert_eq!(module.exports().count(), 1);
    }

    #[test]
    fn the_identity_is_stable_and_names_this_release() {
        let (plain, counting) = (Build::default(), Build { fuel: true });
        assert_eq!(identity(plain), identity(plain));
        assert_ne!(identity(plain), identity(counting));
        let lock = include_str!("../../../Cargo.lock");
        assert!(
            lock.contains(&format!("name = \"wasmtime\"\nversion = \"{WASMTIME}\"")),
            "raise WASMTIME"
        );
    }

    #[test]
    fn the_engine_of_a_container_cannot_compile() {
        let engine = runtime_engine(Build::default()).expect("a runtime");
        assert!(wasmtime::Module::new(&engine, b"(module)").is_err());
    }
}
