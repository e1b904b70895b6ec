//! Spin applications: an image with `/spin.toml` and its components.
//!
//! ```text
//! container is made                                       container is started
//! ─────────────────                                       ────────────────────
//! manifest ── read ──> Application ── accept ──> gate ──> load ──> run
//!   checks, variables,     │ the code of each                │ listens, opens files
//!   files, stores          │ component, from the parent      ├ http: router ─> component ─> instance
//!                                                            └ beside: messages of Redis, a command
//! ```
//!
//! A component is given what the manifest grants it and nothing else of the container: its variables and environment,
//! its files for reading, the hosts it may connect to, its stores. What it prints is the container's output.
//!
//! What Spin's own containerd shim does is done here: it listens on 0.0.0.0:80 (`SPIN_HTTP_LISTEN_ADDR`), takes
//! variables from the container's environment, and keeps its state in `/.spin`.

pub mod allowed_hosts;
mod application;
mod beside;
mod componentize;
mod files;
#[cfg(all(any(test, feature = "fuzz"), feature = "slight"))]
pub mod fuzz;
pub mod host;
mod http;
mod legacy;
mod manifest;
mod pace;
mod part;
mod program;
mod read;
mod redis;
mod runtime_config;
mod seed;
mod settings;
mod unpack;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

pub use application::Loaded;
pub use part::{Part, describe, translate};
pub use read::read;
pub use unpack::{UnpackError, Unpacked, unpack};

use self::files::Mount;
use self::host::{Grants, Stores, StoresError};
use self::manifest::{HttpTrigger, ManifestError};
use self::redis::Subscription;
use self::runtime_config::RuntimeConfigError;
use self::settings::{SettingError, Settings};

const MANIFEST: &str = "/spin.toml";
const RUNTIME_CONFIG: &str = "/runtime-config.toml";
/// What the paths of stores and databases begin at; they are in `.spin` there where nothing else is said.
const DIRECTORY: &str = "/";

/// Why an application cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum SpinError {
    #[error("{path}: cannot be read")]
    Read {
        path: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("{MANIFEST}: {0}")]
    Manifest(ManifestError),
    #[error("{MANIFEST}, of which SPIN_COMPONENTS_TO_RETAIN leaves a part: {0}")]
    Retain(ManifestError),
    #[error("{RUNTIME_CONFIG}: {0}")]
    RuntimeConfig(RuntimeConfigError),
    #[error(transparent)]
    Setting(#[from] SettingError),
    #[error(transparent)]
    Stores(#[from] StoresError),
    #[error(
        "{MANIFEST}: {key}: component `{id}` cannot be used here: it is a {part}, and {wanted} is needed"
    )]
    Handler {
        key: String,
        id: String,
        part: Part,
        wanted: &'static str,
    },
}

/// An application whose manifest is read, without its code.
pub struct Application {
    name: String,
    version: String,
    /// Those that triggers name, by id.
    members: Vec<Member>,
    triggers: Vec<HttpTrigger>,
    subscriptions: Vec<Subscription>,
    /// The component that runs once, where one does.
    command: Option<String>,
    stores: Arc<Stores>,
    settings: Settings,
    /// With copies of files, see [`files`].
    directory: Option<OwnedFd>,
}

/// A component, and what it is given.
struct Member {
    id: String,
    grants: Arc<Grants>,
    /// Whether it may have sockets of its own.
    sockets: bool,
    environment: Vec<(String, String)>,
    mounts: Vec<Mount>,
}

impl Application {
    pub fn directory(&self) -> Option<BorrowedFd<'_>> {
        self.directory.as_ref().map(AsFd::as_fd)
    }
}
