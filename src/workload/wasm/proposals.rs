//! The proposals of WebAssembly: which of them our engine has on, and why. One table, by which the engine is
//! configured, guests are inspected and errors are explained.

use wasmparser::{Validator, WasmFeatures};
use wasmtime::Config;

/// One switch of the engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Proposal {
    /// As the field calls it.
    pub name: &'static str,
    pub on: bool,
    /// Whether Winch, the compiler that is quick, has it too.
    pub winch: bool,
    /// Why it is on, or off.
    pub why: &'static str,
    features: WasmFeatures,
}

const FINISHED: &str = "finished, and part of WebAssembly 3.0";
const COMPONENTS_UNFINISHED: &str = "unfinished, and no WASI interface uses it";

const fn on(name: &'static str, features: WasmFeatures, why: &'static str) -> Proposal {
    Proposal {
        name,
        on: true,
        winch: true,
        why,
        features,
    }
}

/// On, but not with Winch.
const fn optimised(name: &'static str, features: WasmFeatures, why: &'static str) -> Proposal {
    Proposal {
        winch: false,
        ..on(name, features, why)
    }
}

const fn off(name: &'static str, features: WasmFeatures, why: &'static str) -> Proposal {
    Proposal {
        on: false,
        winch: false,
        ..on(name, features, why)
    }
}

/// Every proposal, in the order in which they became part of WebAssembly.
pub const ALL: [Proposal; 39] = [
    on("mutable globals", WasmFeatures::MUTABLE_GLOBAL, FINISHED),
    on(
        "saturating float to int",
        WasmFeatures::SATURATING_FLOAT_TO_INT,
        FINISHED,
    ),
    on("sign extension", WasmFeatures::SIGN_EXTENSION, FINISHED),
    on("multi-value", WasmFeatures::MULTI_VALUE, FINISHED),
    on("reference types", WasmFeatures::REFERENCE_TYPES, FINISHED),
    on("bulk memory", WasmFeatures::BULK_MEMORY, FINISHED),
    on("SIMD", WasmFeatures::SIMD, FINISHED),
    on(
        "floats",
        WasmFeatures::FLOATS,
        "no proposal: part of WebAssembly 1.0, which some hosts forbid",
    ),
    optimised("tail calls", WasmFeatures::TAIL_CALL, FINISHED),
    on("extended const", WasmFeatures::EXTENDED_CONST, FINISHED),
    on("multi-memory", WasmFeatures::MULTI_MEMORY, FINISHED),
    on("memory64", WasmFeatures::MEMORY64, FINISHED),
    optimised("function references", WasmFeatures::FUNCTION_REFERENCES, FINISHED),
    optimised("GC", WasmFeatures::GC, FINISHED),
    optimised(
        "references to objects",
        WasmFeatures::GC_TYPES,
        "no proposal: the types externref and anyref, which GC needs",
    ),
    optimised("exceptions", WasmFeatures::EXCEPTIONS, FINISHED),
    optimised(
        "relaxed SIMD",
        WasmFeatures::RELAXED_SIMD,
        "finished, and part of WebAssembly 3.0; each CPU's fastest way, so that results may differ between x86-64 and \
         AArch64, as the proposal has it",
    ),
    on(
        "component model",
        WasmFeatures::COMPONENT_MODEL,
        "what WASI 0.2 and 0.3 are made of",
    ),
    on(
        "asynchronous components",
        WasmFeatures::CM_ASYNC,
        "what WASI 0.3 is made of",
    ),
    off(
        "threads",
        WasmFeatures::THREADS,
        "shared memory is no safe part of Wasmtime 48, which gives it no security fixes, and wasi-threads, without which \
         no guest could start a thread, is gone from it",
    ),
    off(
        "shared-everything threads",
        WasmFeatures::SHARED_EVERYTHING_THREADS,
        "unfinished, and it builds on threads",
    ),
    off(
        "legacy exceptions",
        WasmFeatures::LEGACY_EXCEPTIONS,
        "given up by WebAssembly for the finished exceptions; Wasmtime has no code for it; build with \
         -mllvm -wasm-use-legacy-eh=false",
    ),
    off(
        "stack switching",
        WasmFeatures::STACK_SWITCHING,
        "unfinished, and Wasmtime has it for x86-64 alone",
    ),
    off("custom page sizes", WasmFeatures::CUSTOM_PAGE_SIZES, "unfinished"),
    off("wide arithmetic", WasmFeatures::WIDE_ARITHMETIC, "unfinished"),
    off(
        "memory control",
        WasmFeatures::MEMORY_CONTROL,
        "unfinished, and Wasmtime has no code for it",
    ),
    off(
        "custom descriptors",
        WasmFeatures::CUSTOM_DESCRIPTORS,
        "unfinished, and Wasmtime has no code for it",
    ),
    off(
        "compact imports",
        WasmFeatures::COMPACT_IMPORTS,
        "unfinished, and Wasmtime has no code for it",
    ),
    off(
        "values in components",
        WasmFeatures::CM_VALUES,
        COMPONENTS_UNFINISHED,
    ),
    off(
        "nested names in components",
        WasmFeatures::CM_NESTED_NAMES,
        COMPONENTS_UNFINISHED,
    ),
    off(
        "asynchronous components, stackful",
        WasmFeatures::CM_ASYNC_STACKFUL,
        COMPONENTS_UNFINISHED,
    ),
    off(
        "asynchronous components, more built-ins",
        WasmFeatures::CM_MORE_ASYNC_BUILTINS,
        COMPONENTS_UNFINISHED,
    ),
    off(
        "threads in components",
        WasmFeatures::CM_THREADING,
        COMPONENTS_UNFINISHED,
    ),
    off(
        "error contexts in components",
        WasmFeatures::CM_ERROR_CONTEXT,
        COMPONENTS_UNFINISHED,
    ),
    off(
        "fixed-length lists in components",
        WasmFeatures::CM_FIXED_LENGTH_LISTS,
        COMPONENTS_UNFINISHED,
    ),
    off("GC in components", WasmFeatures::CM_GC, COMPONENTS_UNFINISHED),
    off("maps in components", WasmFeatures::CM_MAP, COMPONENTS_UNFINISHED),
    off(
        "64-bit memories in components",
        WasmFeatures::CM64,
        COMPONENTS_UNFINISHED,
    ),
    off(
        "implements in components",
        WasmFeatures::CM_IMPLEMENTS,
        COMPONENTS_UNFINISHED,
    ),
];

/// Sets every switch, so that none is left to a default of the engine's that its next release may change.
///
/// `winch`: the engine is one for code of Winch's, which takes fewer.
pub fn configure(config: &mut Config, winch: bool) {
    for proposal in &ALL {
        config.wasm_features(proposal.features, proposal.on && (proposal.winch || !winch));
    }
    // Each CPU's own way of relaxed SIMD; and no memory that threads could share, whatever a module says.
    config.relaxed_simd_deterministic(false);
    config.shared_memory(false);
}

/// What the engine takes.
fn enabled() -> WasmFeatures {
    union(ALL.iter().filter(|proposal| proposal.on))
}

fn union<'a>(proposals: impl Iterator<Item = &'a Proposal>) -> WasmFeatures {
    proposals.fold(WasmFeatures::empty(), |all, proposal| {
        all.union(proposal.features)
    })
}

/// The proposals without which the binary is not valid, in the table's order; the error is that of a binary
/// that no proposal makes valid.
pub fn used(binary: &[u8]) -> Result<Vec<&'static Proposal>, String> {
    let needed = needed(binary)?;
    Ok(ALL
        .iter()
        .filter(|proposal| proposal.features.intersects(needed))
        .collect())
}

/// Those of a binary's that are off, for the error, where it is not valid because of them.
pub fn switched_off(used: &[&Proposal]) -> Vec<String> {
    let off = used.iter().filter(|proposal| !proposal.on);
    off.map(|Proposal { name, why, .. }| format!("{name} ({why})"))
        .collect()
}

/// Why our engine does not take a binary: what is off, or the error itself; `None` where it is valid.
pub fn explain(binary: &[u8]) -> Option<super::kinds::Refusal> {
    use super::kinds::Refusal;
    let error = validate(binary, enabled()).err()?;
    Some(match used(binary).map(|used| switched_off(&used)) {
        Ok(list) if !list.is_empty() => Refusal::Proposals { list },
        _ => Refusal::invalid(error),
    })
}

fn validate(binary: &[u8], features: WasmFeatures) -> wasmparser::Result<()> {
    Validator::new_with_features(features)
        .validate_all(binary)
        .map(drop)
}

/// Adds what validation asks for until it asks for nothing more. The error is that of a binary which is not
/// valid with everything either: found out first, so that it costs no more.
fn needed(binary: &[u8]) -> Result<WasmFeatures, String> {
    let known = union(ALL.iter());
    validate(binary, known).map_err(|error| error.to_string())?;
    let mut features = WasmFeatures::FLOATS | WasmFeatures::GC_TYPES;
    let mut needed = WasmFeatures::empty();
    while let Err(error) = validate(binary, features) {
        let asked = error.missing_wasm_feature();
        match asked.filter(|asked| known.contains(*asked) && !features.contains(*asked)) {
            Some(asked) => {
                features |= asked;
                needed |= asked;
            }
            // Not every error names its proposal.
            None => return Ok(needed | indispensable(binary, known, features)),
        }
    }
    Ok(needed)
}

/// Those of `known`, beside `features`, without any of which the binary is not valid.
fn indispensable(binary: &[u8], known: WasmFeatures, features: WasmFeatures) -> WasmFeatures {
    let mut left = known;
    for candidate in ALL.iter().map(|proposal| proposal.features) {
        let without = left.difference(candidate) | features;
        if validate(binary, without).is_ok() {
            left = without;
        }
    }
    left.difference(features)
}

#[cfg(test)]
mod tests {
    use wasmtime::Engine;

    use super::*;

    fn names(text: &str) -> Vec<&'static str> {
        let binary = wat::parse_str(text).expect("text");
        let used = used(&binary).expect("valid with some");
        used.iter().map(|proposal| proposal.name).collect()
    }

    #[test]
    fn each_feature_is_in_the_table_once() {
        let mut all = WasmFeatures::empty();
        for proposal in &ALL {
            assert!(
                !proposal.features.is_empty() && !all.intersects(proposal.features),
                "{}",
                proposal.name
            );
            assert!(proposal.on || !proposal.winch, "{}", proposal.name);
            all |= proposal.features;
        }
        // Changes what names mean, and no tool makes it.
        let left = WasmFeatures::all().difference(all);
        let known = WasmFeatures::CM_CANON_NAMES;
        assert!(known.contains(left), "{:?}", left.difference(known));
    }

    /// The table changes nothing: it writes down what Wasmtime's release does by itself.
    #[test]
    fn the_table_is_what_the_engine_does_by_default() {
        let hash = |config: &Config| {
            use std::hash::{DefaultHasher, Hash, Hasher};
            let mut hasher = DefaultHasher::new();
            let engine = Engine::new(config).expect("an engine");
            engine.precompile_compatibility_hash().hash(&mut hasher);
            hasher.finish()
        };
        let mut ours = Config::new();
        configure(&mut ours, false);
        assert_eq!(hash(&ours), hash(&Config::new()));
        let mut winch = Config::new();
        winch.strategy(wasmtime::Strategy::Winch);
        let default = hash(&winch);
        configure(&mut winch, true);
        assert_eq!(hash(&winch), default);
    }

    #[test]
    fn what_a_module_uses_is_found() {
        assert_eq!(names("(module (func (export \"f\")))"), [""; 0]);
        assert_eq!(
            names("(module (func (result i32 i32) i32.const 0 i32.const 0))"),
            ["multi-value"]
        );
        assert_eq!(names("(module (memory 1) (memory 1))"), ["multi-memory"]);
        assert_eq!(names("(module (memory i64 1))"), ["memory64"]);
        assert_eq!(names("(module (func $f (return_call $f)))"), ["tail calls"]);
        assert_eq!(names("(module (memory 1 1 shared))"), ["threads"]);
        assert_eq!(names("(module (memory 1 (pagesize 1)))"), ["custom page sizes"]);
        assert!(names("(module (func (result v128) (v128.const i64x2 0 0)))").contains(&"SIMD"));
        assert!(names("(module (type (struct (field i32))))").contains(&"GC"));
        assert!(names("(module (tag))").contains(&"exceptions"));
        assert!(names("(component)").contains(&"component model"));
    }

    /// What C++ compilers made until the finished exceptions were there; the text format has no words for it.
    #[test]
    fn legacy_exceptions_are_known_by_name() {
        let mut binary = b"\0asm\x01\0\0\0".to_vec();
        binary.extend(b"\x01\x04\x01\x60\0\0"); // a type of functions
        binary.extend(b"\x03\x02\x01\0"); // a function
        binary.extend(b"\x0d\x03\x01\0\0"); // a tag
        binary.extend(b"\x0a\x09\x01\x07\0\x06\x40\x07\0\x0b\x0b"); // try, catch, end, end
        let refusal = explain(&binary).map(|it| it.to_string()).unwrap_or_default();
        assert!(refusal.contains("legacy exceptions (given up"), "{refusal}");
    }

    #[test]
    fn what_is_off_is_explained() {
        let explained = |text: &str| {
            let refusal = explain(&wat::parse_str(text).expect("text"));
            refusal.map(|it| it.to_string()).unwrap_or_default()
        };
        assert_eq!(explained("(module (memory 1 2))"), "");
        let error = explained("(module (memory 1 2 shared) (memory 1 (pagesize 1)))");
        assert!(
            error.contains("threads (") && error.contains("custom page sizes ("),
            "{error}"
        );
        let error = explained("(module (func (result i32)))");
        assert!(
            error.contains("not a valid Wasm binary") && error.contains("offset"),
            "{error}"
        );
    }
}
