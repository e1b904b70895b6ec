//! wrun, an OCI container runtime for native and WebAssembly workloads: the plan of the house.
//!
//! A container is made once, in one direction:
//!
//! ```text
//! bundle ──> spec ──> plan ──> container ──> process: parent ═ socketpair ═ init
//!  config.json  parse,   pure data    state, cgroup              │ rootfs, security, console
//!  rootfs       check    what to do   lifecycle                  ▼
//!                                                     workload: native exec │ Wasm engine
//! ```
//!
//! Raw JSON stops in [`spec`]; [`plan`] turns it, with the facts of [`host`], into plain data without a
//! syscall that changes anything; the rest carries the plan out. A room uses only the rooms above it in the
//! list below; `integration/policy.rs` holds the code to that.

#![deny(unsafe_code)]

pub mod reason;
pub mod sys;

pub mod bundle;
pub mod host;
pub mod spec;

pub mod plan;

pub mod cgroup;
pub mod console;
pub mod hooks;
pub mod rdt;
pub mod rootfs;
pub mod security;
pub mod state;

pub mod criu;
pub mod workload;

pub mod process;

pub mod container;

pub mod install;

pub mod trial;

pub mod doctor;

pub mod cli;
