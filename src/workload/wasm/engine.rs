//! The one description of our engine. Compiled code fits only an engine that is configured as the one that
//! compiled it was, so both sides are built here and nowhere else.

use serde::{Deserialize, Serialize};
use wasmtime::{
    Config, Engine, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig, ProfilingStrategy,
    RegallocAlgorithm, Strategy, WasmBacktraceDetails,
};

use super::kinds::Wasi;
use super::kinds::http::{InstanceSize, Limits};
use crate::plan::{GuestOptions, PROFILE};

use super::proposals;

/// The release of the engine, which it does not tell itself; a test holds it to Cargo.lock.
const WASMTIME: &str = "48.0.8";

/// How code is made, as far as an engine that runs it must be made for it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Build {
    /// Counts the guest's work, so that it can be limited; costs some speed.
    pub fuel: bool,
    /// Looks now and then whether others want the thread; costs some speed in loops.
    #[serde(default)]
    pub yields: bool,
    /// How much work goes into the code.
    #[serde(default)]
    pub tier: Tier,
}

/// How much work goes into compiling, and so how fast the code is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tier {
    /// Cranelift with all that it can do.
    #[default]
    Optimized,
    /// Cranelift without optimisation, registers given out in one pass.
    Quick,
    /// Winch, which translates in one pass. It knows no GC, exceptions, tail calls and relaxed SIMD, and not
    /// every other SIMD instruction.
    Baseline,
}

impl Tier {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Optimized => "optimized",
            Self::Quick => "quick",
            Self::Baseline => "baseline",
        }
    }
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

/// What a fingerprint in an entry is compared with, to tell code for this engine from that for another.
pub fn fingerprint(build: Build) -> String {
    blake3::hash(identity(build).as_bytes()).to_hex().to_string()
}

/// The release, for people.
pub fn release() -> String {
    format!("wasmtime {WASMTIME}")
}

/// Settings that both sides share: the proposals of [`proposals::ALL`], memory images copied on write, epochs only
/// where guests of one process must leave the thread to each other: a container is stopped by a signal.
fn settings(build: Build) -> Config {
    let mut config = Config::new();
    proposals::configure(&mut config, build.tier == Tier::Baseline);
    config.memory_init_cow(true);
    config.consume_fuel(build.fuel);
    config.epoch_interruption(build.yields);
    // By default an environment variable decides this, which would differ between the two sides.
    config.wasm_backtrace_details(WasmBacktraceDetails::Enable);
    if build.tier == Tier::Baseline {
        config.strategy(Strategy::Winch);
    }
    config
}

/// The engine of the compiling process.
pub fn compiler_engine(build: Build, parallel: bool) -> wasmtime::Result<Engine> {
    let mut config = settings(build);
    config.parallel_compilation(parallel);
    if build.tier == Tier::Quick {
        // An engine runs code of either kind, whatever its own settings of these.
        config.cranelift_opt_level(OptLevel::None);
        config.cranelift_regalloc_algorithm(RegallocAlgorithm::SinglePass);
    }
    Engine::new(&config)
}

/// The engine of a container: it has no compiler, which saves 0.3 ms and 50 page faults at each start. Only
/// for Winch's code it has one, since there is no other way to tell an engine that it is to load such code.
pub fn runtime_engine(build: Build, options: &GuestOptions) -> wasmtime::Result<Engine> {
    runtime_settings(build, options).and_then(|config| Engine::new(&config))
}

/// What the options ask of an engine that runs code is no part of what that code must be compiled for.
fn runtime_settings(build: Build, options: &GuestOptions) -> wasmtime::Result<Config> {
    let mut config = settings(build);
    if build.tier != Tier::Baseline {
        config.enable_compiler(false);
    }
    config.coredump_on_trap(options.core_dump.is_some());
    if options.perf_map {
        make_perf_map()?;
        config.profiler(ProfilingStrategy::PerfMap);
    }
    Ok(config)
}

/// Makes the file where perf(1) looks for it, and the engine adds to it: in the container, by our pid there. What
/// another process of this number has left is removed.
fn make_perf_map() -> wasmtime::Result<()> {
    let map = format!("/tmp/perf-{}.map", std::process::id());
    let removed = match std::fs::remove_file(&map) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        result => result,
    };
    removed
        .and_then(|()| std::fs::File::create_new(&map).map(drop))
        .map_err(|error| {
            let hint = format!("{map}: cannot write the map for perf (annotation {PROFILE})");
            wasmtime::Error::from(error).context(hint)
        })
}

/// The engine of a service: what its instances need is reserved at once, so that starting one costs little.
pub fn serving_engine(
    build: Build,
    wasi: Wasi,
    limits: Limits,
    size: InstanceSize,
    options: &GuestOptions,
) -> wasmtime::Result<Engine> {
    let mut config = runtime_settings(build, options)?;
    if let Some(pool) = pool(wasi, limits, size) {
        config.allocation_strategy(pool);
        if let Ok(engine) = Engine::new(&config) {
            return Ok(engine);
        }
        // The address space may be too small for the pool; instances cost more then, but run.
        config.allocation_strategy(InstanceAllocationStrategy::OnDemand);
    }
    Engine::new(&config)
}

/// Bytes that the engine reserves for each linear memory, by its own default.
const RESERVATION: u64 = 4 << 30;
/// Most elements of a table that the pool has room for, and the least; the first is far more than any program
/// has functions, the second is the engine's own default.
const TABLE_ELEMENTS: std::ops::RangeInclusive<u64> = 20_000..=1 << 20;

/// Bytes of a linear memory, and of a table, that may stay in memory while their slot waits for an instance.
const WIPED_MEMORY: u64 = 256 << 10;
const WIPED_TABLE: usize = 16 << 10;

/// Room for as many instances as there may be at once; `None` where one of them does not fit into a pool.
fn pool(wasi: Wasi, limits: Limits, size: InstanceSize) -> Option<PoolingAllocationConfig> {
    /// Far more than any instance's bookkeeping takes; the pool itself reserves nothing for it.
    const BOOKKEEPING: usize = 1 << 30;
    /// Most memories, tables or stacks; each costs a call or two at the start.
    const MOST: u32 = 4096;
    let each = |count: u32| limits.instances.checked_mul(count).filter(|total| *total <= MOST);
    if size.memory_bytes > RESERVATION || size.table_elements > *TABLE_ELEMENTS.end() {
        return None;
    }
    let elements = size.table_elements.saturating_mul(2);
    let elements = elements.clamp(*TABLE_ELEMENTS.start(), *TABLE_ELEMENTS.end());
    // One for each instance; calls of 0.3 may wait, each on its own.
    let waiting = match wasi {
        Wasi::V02 => 0,
        Wasi::V03 => limits.requests,
    };
    // Small memories are wiped: to give their pages back and take new ones costs more.
    let wiped = if size.memory_bytes <= WIPED_MEMORY {
        size.memory_bytes
    } else {
        0
    };
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(limits.instances)
        .max_component_instance_size(BOOKKEEPING)
        .total_core_instances(u32::MAX)
        .max_core_instance_size(BOOKKEEPING)
        .total_memories(each(size.memories)?)
        .max_memories_per_module(size.memories.max(1))
        .total_tables(each(size.tables)?)
        .max_tables_per_module(size.tables.max(1))
        .table_elements(usize::try_from(elements).ok()?)
        .total_stacks(limits.instances.checked_add(waiting)?)
        .linear_memory_keep_resident(usize::try_from(wiped).ok()?)
        .table_keep_resident(WIPED_TABLE)
        .total_gc_heaps(limits.instances);
    Some(pool)
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
        for tier in [Tier::Optimized, Tier::Quick, Tier::Baseline] {
            for (fuel, yields) in [(false, false), (true, false), (false, true)] {
                let build = Build { fuel, yields, tier };
                let compiler = compiler_engine(build, false).expect("a compiler");
                let code = compiler
                    .precompile_module(b"(module (func (export \"f\")))")
                    .expect("compiles");
                let file = tempfile::tempfile().expect("a file");
                std::os::unix::fs::FileExt::write_all_at(&file, &code, 0).expect("written");
                let trusted = crate::sys::wasm_code::TrustedCode::vouch(file.into());
                let runtime = runtime_engine(build, &GuestOptions::default()).expect("a runtime");
                let module = crate::sys::wasm_code::load_module(&runtime, trusted).expect("loads");
                assert_eq!(module.exports().count(), 1);
            }
        }
    }

    #[test]
    fn the_identity_is_stable_and_names_this_release() {
        let plain = Build::default();
        let counting = Build { fuel: true, ..plain };
        assert_eq!(identity(plain), identity(plain));
        assert_ne!(identity(plain), identity(counting));
        let yielding = Build {
            yields: true,
            ..plain
        };
        assert_ne!(identity(plain), identity(yielding));
        let lock = include_str!("../../../Cargo.lock");
        assert!(
            lock.contains(&format!("name = \"wasmtime\"\nversion = \"{WASMTIME}\"")),
            "raise WASMTIME"
        );
    }

    #[test]
    fn a_service_has_a_pool_for_what_fits_into_one() {
        let limits = |wasi, size| Limits::new(wasi, None, 1024, size);
        let service = |wasi, size| {
            let limits = limits(wasi, size);
            let engine = serving_engine(Build::default(), wasi, limits, size, &GuestOptions::default())
                .expect("an engine");
            engine.pooling_allocator_metrics().is_some()
        };
        let plain = InstanceSize {
            memories: 1,
            memory_bytes: 1 << 20,
            tables: 2,
            table_elements: 30_000,
        };
        assert!(service(Wasi::V02, plain) && service(Wasi::V03, plain));
        assert!(service(Wasi::V02, InstanceSize::default()));
        let vast = InstanceSize {
            table_elements: u64::MAX,
            ..plain
        };
        assert!(!service(Wasi::V02, vast));
        let many = InstanceSize {
            memories: 1000,
            ..plain
        };
        assert!(!service(Wasi::V02, many));
    }

    #[test]
    fn the_engine_of_a_container_cannot_compile() {
        let engine = runtime_engine(Build::default(), &GuestOptions::default()).expect("a runtime");
        assert!(wasmtime::Module::new(&engine, b"(module)").is_err());
    }
}
