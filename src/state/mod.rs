//! What is kept about a container between commands: one directory per container below the state root.
//!
//! ```text
//! ROOT/                0700, made on first use; on a tmpfs (/run)
//! └── ID/              0700, made exclusively: whoever makes it owns the id; its flock(2) is the lock
//!     ├── state.json   the Record; replaced atomically, so readers need no lock
//!     ├── notify/      where the container's NOTIFY_SOCKET is, for those that have one
//!     ├── criu-root/   while it is being restored: where CRIU finds the rootfs, in a mount namespace of its own
//!     └── config.json  the configuration as the engine gave it, for `exec`
//! ```
//!
//! An entry without a record, or with one that names no init process while nobody holds the lock, is what a
//! creator that was killed left behind; `delete --force` takes it away.
//!
//! This room knows files and process identities. It does not signal, start or freeze anything.

mod entry;
mod identity;
mod oci;
mod owner;
mod record;
mod status;
mod store;

pub use entry::{Entry, LockGuard};
pub use identity::Identity;
pub use oci::{HookState, OciState};
pub use owner::owner_name;
pub use record::{LiveMount, MAX_LIVE_MOUNTS, RECORD_VERSION, Record, now};
pub use status::{Refused, Status, Verb};
pub use store::Store;

use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

/// The longest name that a directory entry can have (NAME_MAX of <linux/limits.h>).
const NAME_MAX: usize = 255;

#[derive(Debug, thiserror::Error)]
pub enum StateError {
    #[error("container id cannot be empty")]
    EmptyId,

    #[error(
        "invalid container ID format: {id:?} (allowed are up to 255 ASCII letters, digits, `_`, `+`, `-` and `.`)"
    )]
    InvalidId { id: String },

    #[error("container with given ID already exists: {id}")]
    Exists { id: String },

    #[error("container does not exist: {id}")]
    NotExist { id: String },

    /// There is a directory, but its creator died before it wrote a record.
    #[error(
        "container does not exist: {id} was abandoned while it was being created (remove it with `delete --force`)"
    )]
    HalfMade { id: String },

    /// Only from [`Store::list`].
    #[error("state directory {} does not exist", .path.display())]
    NoRoot { path: PathBuf },

    #[error("cannot {operation} {}", .path.display())]
    Io {
        operation: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },

    #[error("the record {} is damaged", .path.display())]
    Damaged {
        path: PathBuf,
        #[source]
        source: serde_json::Error,
    },

    #[error("the record {} has version {found}, this program reads version {RECORD_VERSION}", .path.display())]
    Version { path: PathBuf, found: u32 },

    #[error("the record of container {id} cannot be written as JSON")]
    Encode {
        id: String,
        #[source]
        source: serde_json::Error,
    },
}

/// Checks a container's id by runc's rule: a non-empty name of ASCII letters, digits, `_`, `+`, `-` and `.`
/// that is a plain file name.
///
/// The id becomes a directory name here and part of the cgroup's path, so this is what keeps `../x` out.
pub fn validate_id(id: &str) -> Result<(), StateError> {
    if id.is_empty() {
        return Err(StateError::EmptyId);
    }
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'+' | b'-' | b'.');
    if id.len() > NAME_MAX || !id.bytes().all(allowed) || id == "." || id == ".." {
        return Err(StateError::InvalidId {
            id: id.chars().take(NAME_MAX).collect(),
        });
    }
    Ok(())
}

fn io_error(operation: &'static str, path: &Path, source: io::Error) -> StateError {
    StateError::Io {
        operation,
        path: path.to_path_buf(),
        source,
    }
}

fn failed(operation: &'static str, path: &Path) -> impl FnOnce(Errno) -> StateError {
    move |error| io_error(operation, path, error.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_plain_file_names() {
        for id in ["a", "A-b_c+d.e", "...", ".hidden", "0", &"x".repeat(255)] {
            assert!(validate_id(id).is_ok(), "{id}");
        }
        assert!(matches!(validate_id(""), Err(StateError::EmptyId)));
        for id in [
            "/",
            "../x",
            "..",
            ".",
            "a/b",
            "a b",
            "ä",
            "a\0",
            "a,b",
            "a:b",
            "@",
            &"x".repeat(256),
        ] {
            assert!(
                matches!(validate_id(id), Err(StateError::InvalidId { .. })),
                "{id}"
            );
        }
    }

    #[test]
    fn messages_begin_as_engines_expect_them() {
        let id = || "web".to_string();
        let begins = |error: StateError, text: &str| assert!(error.to_string().starts_with(text), "{error}");
        begins(
            StateError::Exists { id: id() },
            "container with given ID already exists",
        );
        begins(StateError::NotExist { id: id() }, "container does not exist");
        begins(StateError::HalfMade { id: id() }, "container does not exist");
        begins(StateError::InvalidId { id: id() }, "invalid container ID format");
    }
}
