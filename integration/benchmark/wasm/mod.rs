//! Wasm: how long a start takes for modules of several sizes, what idle containers keep in memory, and what a
//! `wasi:http` service answers in a second; against the `wasmtime` command where it is installed.

mod http;
mod idle;
mod start;

use std::path::PathBuf;

use crate::{Place, Runtime, facts};

/// Measures and prints, for the runtimes that run Wasm: ours.
pub fn measure(place: &Place, runtimes: &[Runtime], rounds: usize) {
    let Some(ours) = runtimes.iter().find(|runtime| runtime.name == "wrun") else {
        println!("\nno runtime here runs Wasm");
        return;
    };
    let wasmtime = wasmtime();
    if wasmtime.is_none() {
        println!("\n(no wasmtime command here to compare with: put it in PATH, or name it in WASMTIME)");
    }
    start::measure(place, ours, wasmtime.as_deref(), rounds);
    idle::measure(place, ours);
    http::measure(place, ours, wasmtime.as_deref());
}

/// The `wasmtime` command: `WASMTIME`, or of PATH.
fn wasmtime() -> Option<PathBuf> {
    let named = std::env::var_os("WASMTIME").map(PathBuf::from);
    named.or_else(|| facts::find_program("wasmtime"))
}
