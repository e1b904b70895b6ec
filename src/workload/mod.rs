//! What runs in a container: recognising it, and starting it. A native program is exec'd ([`native`]), a
//! Wasm guest runs inside this very process, on our own engine ([`wasm`]). Nothing here confines the
//! process: that has been done before either is called.

pub mod detect;
pub mod exit;
pub mod native;
pub mod wasm;

/// Why an entry point cannot be run as what it is asked to be.
#[derive(Debug, thiserror::Error)]
pub enum WorkloadError {
    /// Compiled code from an image is native code that no sandbox has seen: never run.
    #[error(
        "{path}: is precompiled Wasm, which is native code and is not trusted; \
         ship the .wasm file itself, it is compiled once and cached"
    )]
    Precompiled { path: String },
    #[error("{path}: a Wasm module, component or .wat text is required here, but this is {found}")]
    NotWasm { path: String, found: &'static str },
    #[error(transparent)]
    Wasm(#[from] wasm::WasmError),
}
