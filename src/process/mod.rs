//! Processes of the runtime: how the container's process is made, what it and the command say to each other,
//! and the recipes by which it becomes the program. See protocol.rs for the drawing.
//!
//! There is one thread, no async runtime and no engine here until a process has been cloned for good.

pub mod compare;
mod confine;
mod conversation;
pub mod gate;
mod init;
mod join;
mod joiner;
mod launch;
mod lookup;
mod net_devices;
mod own_proc;
mod program;
mod protect;
mod protocol;
mod remount;
mod restored;
mod spawn;
mod streams;
mod userns;

use std::io;
use std::path::PathBuf;

pub use conversation::{Child, Service, hand_over};
pub use joiner::Exec;
pub use launch::Launch;
pub use protect::{ProtectError, executable as protect_executable};
pub use protocol::send_bytes;

pub use crate::reason::chain;
pub use remount::{Change, Remount};
pub use restored::{protect_mounts, renew_network};
pub use userns::own_map;

/// Why a container's process could not be brought up to the point where it waits or runs.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    #[error(transparent)]
    Spawn(#[from] spawn::SpawnError),
    #[error(transparent)]
    Join(#[from] join::JoinError),
    #[error(transparent)]
    Map(#[from] userns::MapError),
    #[error(transparent)]
    Rootfs(#[from] crate::rootfs::RootfsError),
    #[error(transparent)]
    Cgroup(#[from] crate::cgroup::CgroupError),
    #[error(transparent)]
    Rdt(#[from] crate::rdt::RdtError),
    #[error(transparent)]
    NetDevice(#[from] net_devices::NetDeviceError),
    #[error(transparent)]
    Hook(#[from] crate::hooks::HookError),
    #[error(transparent)]
    Console(#[from] crate::console::ConsoleError),
    #[error(transparent)]
    Security(#[from] crate::security::SecurityError),
    #[error(transparent)]
    Wasm(#[from] crate::workload::wasm::WasmError),
    #[error(transparent)]
    Channel(#[from] protocol::ChannelError),
    /// In the words of the container's process, with all causes.
    #[error("{0}")]
    Said(String),
    #[error("the container's process ended before it was ready: {0}")]
    Ended(String),
    #[error(
        "not done within {0} s (does a path lead to a file system of the container's own?); mounts that were made \
         before stay, and can be removed"
    )]
    Slow(u64),
    #[error("failed to connect with seccomp agent {path}, to which the filter's descriptor goes")]
    Listener { path: PathBuf, source: io::Error },
    #[error("cannot {0}")]
    Step(&'static str, #[source] io::Error),
}
