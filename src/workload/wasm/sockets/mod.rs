//! WasmEdge's socket extension of WASI preview 1, on our own engine, so that guests made for it run unchanged.
//!
//! ```text
//! guest ── import, by name and type ──> signature: which function is meant
//!            sock_open, sock_connect …   ──> connection, transfer, options, lookup ── Sockets: host sockets
//!            fd_read, fd_close, poll … ──> standard ─┬─ of a socket: the same, poll
//!                                                    └─ of anything else: the engine's own preview 1
//! ```
//!
//! The engine's preview 1 keeps its descriptors to itself and knows no sockets, so sockets have a table and a
//! range of numbers of their own. Linked only for modules that import something of the extension: others do
//! not pay for it. A guest sees what the container's network namespace and root offer, and no more; abstract
//! unix sockets, which belong to no file system, are refused.
//!
//! Calls may block the thread: a guest has no other, and nothing else runs in its process.

mod address;
mod connection;
mod describe;
mod errno;
mod link;
mod lookup;
mod memory;
mod options;
mod poll;
mod signature;
mod standard;
mod table;
mod transfer;

pub use link::{Parts, add_to_linker};
pub use signature::{described, extends, is_wanted, provided_name, provides};
pub use table::Sockets;

use errno::Result;
use memory::Memory;

/// The module whose functions the extension adds to.
const PREVIEW1: &str = "wasi_snapshot_preview1";

/// What a function is called with; those it does not have are zero.
type Arguments = [u32; 8];

/// What a function of the extension works on.
struct Call<'a> {
    memory: Memory<'a>,
    sockets: &'a mut Sockets,
}

/// A function of the extension. What it gives to the guest goes through the guest's memory.
type Body = fn(&mut Call<'_>, Arguments) -> Result<()>;
