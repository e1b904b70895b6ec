//! Wasm: how long a start takes for modules of several sizes, with other runtimes that run Wasm and with the `wasmtime`
//! command where they are; what idle containers keep in memory; what a `wasi:http` service answers in a second.

pub mod http;
pub mod idle;
pub mod runtimes;
pub mod start;

use std::path::PathBuf;

use crate::installed;

/// The `wasmtime` command: `WASMTIME`, or of PATH.
pub fn wasmtime() -> Option<PathBuf> {
    let named = std::env::var_os("WASMTIME").map(PathBuf::from);
    named.or_else(|| installed::find_program("wasmtime"))
}
