//! Thin, safe wrappers of the syscalls that nix and rustix lack: the only room with `unsafe`, together with
//! the one place that loads compiled Wasm. Nothing here decides anything.

#![allow(
    unsafe_code,
    reason = "this is the room that wraps raw syscalls for all others"
)]

pub mod bpf;
pub mod clone;
pub mod entry;
pub mod escape;
pub mod exec;
pub mod fault;
pub mod fd;
pub mod file_handle;
pub mod fork;
pub mod keyring;
pub mod memory;
pub mod mount;
pub mod mountinfo;
pub mod name_lookup;
pub mod namespace;
pub mod net;
pub mod pidfd;
pub mod regex;
pub mod scheduling;
pub mod seccomp;
pub mod signal;
#[cfg(known_libc)]
pub mod start;
pub mod stdin;
pub mod timer;
pub mod title;
pub mod uts;
pub mod wait;
pub mod wasm_code;
