//! CRIU (criu.org), the program that writes a process tree to files and makes it anew from them: found, asked what
//! it can do, and driven over its RPC. What is dumped or restored, and what becomes of the container, the
//! lifecycle decides; this room changes no state and no cgroup.
//!
//! ```text
//! wrun                                           criu swrk FD
//!   │ fork ─── waits ─── goes on: cgroup, mounts ─── exec │
//!   │ ──── DUMP, PRE_DUMP or RESTORE, with options ─────> │
//!   │ <─── NOTIFY "setup-namespaces", "post-dump", … ──── │  some with a descriptor
//!   │ ──── NOTIFY, success or not ──────────────────────> │  …
//!   │ <─── the same type as asked for: success or why not │
//!   │ ──── end of stream ───────────────────────────────> │ exits
//! ```
//!
//! The messages are those of CRIU's own rpc.proto, as its project's crate has them. Where wrun is killed, CRIU
//! meets the end of the stream at its next notification and undoes what it has done.

mod config;
mod external;
mod images;
mod log;
mod options;
mod places;
mod program;
mod session;
mod task;

use std::io;
use std::path::PathBuf;

pub use config::Config;
pub use external::{External, Namespace, cgroup_roots, dumped, restored};
pub use images::Images;
pub use options::{CgroupsMode, EmptyNamespace, Lsm, PageServer, Shared};
pub use places::{in_own_mounts, prepare};
pub use program::{Feature, Program, Version};
pub use session::{Notice, Session, Stdio, Waiting};
pub use task::Task;

/// The messages of CRIU's RPC.
pub use rust_criu::rust_criu_protobuf::rpc;

/// Why CRIU did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum CriuError {
    #[error(
        "criu is not installed: it is in no directory of PATH ({path}); checkpoint and restore need CRIU \
         {MINIMUM} or later (package criu)",
        MINIMUM = program::MINIMUM
    )]
    Missing { path: String },
    #[error("{program} is CRIU {found}; checkpoint and restore need {MINIMUM} or later (package criu)", MINIMUM = program::MINIMUM)]
    TooOld { program: PathBuf, found: Version },
    #[error("{option} cannot be done: criu says that this kernel does not offer {feature}")]
    Feature {
        option: &'static str,
        feature: &'static str,
    },
    #[error("cannot start criu: cannot {action}")]
    Start { action: &'static str, source: io::Error },
    #[error("cannot start criu: {0}")]
    Said(String),
    #[error("the conversation with criu broke off")]
    Conversation(#[source] io::Error),
    #[error("criu did not answer: {0}")]
    Ended(String),
    #[error("criu hangs: it has not ended within {0} s of the container's first process, and was killed")]
    Stuck(u64),
    #[error("interrupted by a signal")]
    Interrupted,
    #[error("criu's answer is not understood")]
    Answer(#[from] protobuf::Error),
    #[error("criu failed to {action} the container: {reason}")]
    Failed { action: &'static str, reason: String },
    #[error("{option} {path}: cannot {action}")]
    Path {
        option: &'static str,
        path: PathBuf,
        action: &'static str,
        source: io::Error,
    },
    #[error("invalid --parent-path {0}: it must be relative (to --image-path)")]
    AbsoluteParent(PathBuf),
    #[error("{option} {path}: criu would follow it: only regular files may be there{besides}; take it away")]
    NotRegular {
        option: &'static str,
        path: PathBuf,
        /// What may be there as well.
        besides: &'static str,
    },
    #[error("annotation org.criu.config: {path}: {problem}")]
    Config { path: PathBuf, problem: String },
    #[error("{path}: is no list of descriptors")]
    Descriptors {
        path: PathBuf,
        source: serde_json::Error,
    },
    #[error("mounts[{index}] to {destination:?}: cannot make the place to mount on")]
    Place {
        index: usize,
        destination: PathBuf,
        source: io::Error,
    },
    #[error("mounts[{index}] to {destination:?}: cannot find it in the container")]
    Destination {
        index: usize,
        destination: PathBuf,
        source: io::Error,
    },
    #[error("{path}: cannot find it in the container")]
    Inside { path: PathBuf, source: io::Error },
    #[error("{path}: is no UTF-8 text, as criu's messages demand")]
    NotText { path: PathBuf },
    #[error("cannot read {path}")]
    Proc { path: PathBuf, source: io::Error },
}

/// A path as CRIU's messages carry it.
fn text(path: &std::path::Path) -> Result<String, CriuError> {
    path.to_str()
        .map(str::to_owned)
        .ok_or_else(|| CriuError::NotText {
            path: path.to_owned(),
        })
}
