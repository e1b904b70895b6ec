//! The kinds of Wasm guest that wrun runs, chosen from what a guest imports and exports: core modules
//! ([`core`]), components that are commands ([`command`]), those that answer HTTP requests ([`http`]), and
//! those of which one function is called ([`function`]). What components of all kinds import is in [`wasi`].
//!
//! [`decide`] chooses the way, from the guest's [`shape`] alone. Each kind has the same two functions:
//! `examine`, called in the compiler's process, sees that the compiled guest can be linked; `run`, called in
//! the container, links it and runs it to its end.

pub mod command;
pub mod core;
mod decide;
pub mod function;
pub mod http;
mod origin;
pub mod read;
mod refusal;
pub mod shape;
pub mod wasi;

use std::borrow::Cow;

pub use decide::{Way, decide, provider};
pub use origin::origin;
pub use refusal::{Listing, Missing, MissingImports, Refusal};
use serde::{Deserialize, Serialize};
use wasmtime_wasi::WasiCtxBuilder;

use self::shape::printable;
use super::core_dump::Wanted;
use super::limits::Limits;
use crate::workload::detect::{self, Format};

/// What a guest is made for: says what it may import besides WASI, and what it may export to be entered at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum World {
    /// A program or a service by itself.
    #[default]
    Wasi,
    /// A component of a Spin application.
    Spin,
    /// The module of a SpiderLightning application.
    Slight,
}

impl World {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Wasi => "wasi",
            Self::Spin => "spin",
            Self::Slight => "slight",
        }
    }
}

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
    /// A component that exports a handler of `wasi:http`, to be served.
    Http { wasi: Wasi, size: http::InstanceSize },
    /// A component of which one exported function is called.
    ComponentFunction {
        /// The exported interface that the function is in; `None` where it is exported by itself.
        interface: Option<String>,
        function: String,
    },
    /// A component of a Spin application.
    #[cfg(feature = "spin")]
    Spin(super::spin::Part),
    /// The module of a SpiderLightning application.
    #[cfg(feature = "slight")]
    Slight(super::slight::Part),
}

impl std::fmt::Display for GuestKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::CorePreview1 { entry } => write!(f, "core module entered at `{}`", printable(entry)),
            Self::Command { wasi: Wasi::V02 } => f.write_str("component with wasi:cli/run of WASI 0.2"),
            Self::Command { wasi: Wasi::V03 } => f.write_str("component with wasi:cli/run of WASI 0.3"),
            Self::Http { wasi: Wasi::V02, .. } => f.write_str("HTTP service of WASI 0.2"),
            Self::Http { wasi: Wasi::V03, .. } => f.write_str("HTTP service of WASI 0.3"),
            Self::ComponentFunction {
                interface: Some(interface),
                function,
            } => write!(
                f,
                "component entered at `{}#{}`",
                printable(interface),
                printable(function)
            ),
            Self::ComponentFunction { function, .. } => {
                write!(f, "component entered at `{}`", printable(function))
            }
            #[cfg(feature = "spin")]
            Self::Spin(part) => part.fmt(f),
            #[cfg(feature = "slight")]
            Self::Slight(part) => part.fmt(f),
        }
    }
}

/// The generation of WASI whose `wasi:cli/run` or `wasi:http` handler a component exports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Wasi {
    #[serde(rename = "0.2")]
    V02,
    #[serde(rename = "0.3")]
    V03,
}

impl Wasi {
    /// As it is written.
    pub const fn version(self) -> &'static str {
        match self {
            Self::V02 => "0.2",
            Self::V03 => "0.3",
        }
    }
}

/// The binary form of a guest's bytes, which may be text.
pub fn binary(bytes: &[u8]) -> Result<Cow<'_, [u8]>, Refusal> {
    match detect::detect(bytes, "") {
        Format::WasmModule | Format::WasmComponent => Ok(Cow::Borrowed(bytes)),
        _ => wat::parse_bytes(bytes).map_err(Refusal::text),
    }
}

/// What the container gives a guest; each kind makes its own context of it.
pub struct Surroundings {
    pub wasi: WasiCtxBuilder,
    /// For `Limits::apply`.
    pub limits: Limits,
    /// For `core_dump::leave`.
    pub core_dump: Option<Wanted>,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `wrun wasm list` shows it, and the names are an image's.
    #[test]
    fn names_of_entries_cannot_steer_a_terminal() {
        let kind = GuestKind::CorePreview1 {
            entry: "\x1b[31m".to_owned(),
        };
        assert_eq!(kind.to_string(), "core module entered at `\\u{1b}[31m`");
    }
}
