//! The kinds of Wasm guest that wrun runs, one file each, chosen from what a guest imports and exports.
//!
//! Each file has the same two functions: `examine`, called in the compiler's process, decides whether a guest
//! is of this kind and can be linked; `run`, called in the container, links it and runs it to its end.

pub mod command;
pub mod core;

use serde::{Deserialize, Serialize};
use wasmtime::{StoreLimits, StoreLimitsBuilder};
use wasmtime_wasi::WasiCtxBuilder;

/// What a guest is and where it is entered: all that a container needs to know besides the code.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GuestKind {
    /// A core module for WASI preview 1 (or its forerunner `wasi_unstable`).
    CorePreview1 {
        /// The exported function that is called.
        entry: String,
    },
    /// A component that exports `wasi:cli/run`.
    Command { wasi: Wasi },
}

impl std::fmt::Display for GuestKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::CorePreview1 { entry } => write!(f, "core module entered at `{entry}`"),
            Self::Command { wasi: Wasi::V02 } => f.write_str("component with wasi:cli/run of WASI 0.2"),
            Self::Command { wasi: Wasi::V03 } => f.write_str("component with wasi:cli/run of WASI 0.3"),
        }
    }
}

/// The generation of WASI whose `wasi:cli/run` a component exports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Wasi {
    #[serde(rename = "0.2")]
    V02,
    #[serde(rename = "0.3")]
    V03,
}

/// Why a guest cannot be run: said by the compiler's process, before the container starts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "kebab-case")]
pub enum Refusal {
    #[error("not a valid Wasm binary: {reason}")]
    Invalid { reason: String },
    #[error("not valid Wasm text: {reason}")]
    Text { reason: String },
    #[error("imports that nothing here provides: {}", join(missing))]
    Imports { missing: Vec<Missing> },
    #[error("cannot be linked: {reason}")]
    Link { reason: String },
    #[error("exports nothing to run ({wanted}); it exports {}", list(exports))]
    NothingToRun { wanted: String, exports: Vec<String> },
    #[error(
        "has no function `{name}` without parameters to call; it exports {}",
        list(exports)
    )]
    NoSuchExport { name: String, exports: Vec<String> },
    #[error("is {what}, which wrun does not run yet")]
    Unsupported { what: String },
    #[error("the engine failed: {reason}")]
    Engine { reason: String },
}

/// One import that nothing provides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missing {
    /// `module.name` of a core module, the interface of a component.
    pub name: String,
    /// What it belongs to, where that is known.
    pub note: Option<String>,
}

impl std::fmt::Display for Missing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.note {
            Some(note) => write!(f, "`{}` ({note})", self.name),
            None => write!(f, "`{}`", self.name),
        }
    }
}

fn join(missing: &[Missing]) -> String {
    missing
        .iter()
        .map(Missing::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}

fn list(names: &[String]) -> String {
    if names.is_empty() {
        "nothing at all".to_owned()
    } else {
        names.join(", ")
    }
}

/// What the container gives a guest; each kind makes its own context of it.
pub struct Surroundings {
    pub wasi: WasiCtxBuilder,
    /// Bytes that a linear memory may grow to; a guest that asks for more is told that there is none.
    pub memory_limit: Option<u64>,
}

impl Surroundings {
    fn limits(&self) -> StoreLimits {
        let limit = self.memory_limit.and_then(|bytes| usize::try_from(bytes).ok());
        limit.map_or_else(StoreLimits::default, |bytes| {
            StoreLimitsBuilder::new().memory_size(bytes).build()
        })
    }
}
