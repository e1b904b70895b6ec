//! SpiderLightning applications: an image with `/slightfile.toml` and `/app.wasm`, a core module of the time before
//! components.
//!
//! ```text
//! container is made                                      container is started
//! ─────────────────                                      ────────────────────
//! slightfile ── read ──> Application ── accept ──> gate ──> load ──> run ─┬─ with `http`: on-server-init, which names
//!   versions, names,        │ the code, from the                          │    address and routes; then an instance
//!   configs                 │ parent                                      │    for each request
//!                                                                         └─ else `_start`
//! ```
//!
//! The slightfile names capabilities, and what stands behind each. A module that imports another is refused when the
//! container is made, as is a capability that there is not here.
//!
//! | capability | behind it |
//! |---|---|
//! | `http` | a server, one and the same as for wasi:http |
//! | `http-client` | HTTP/1.1 with TLS |
//! | `keyvalue` (`kv`) | `filesystem`: files in a directory; `redis` |
//! | `messaging` (`mq`) | `filesystem`, `nats`, `mosquitto`: any broker of MQTT |
//! | `configs` | `envvars`: the container's environment |

mod application;
mod configs;
mod directory;
#[cfg(all(any(test, feature = "fuzz"), feature = "spin"))]
pub mod fuzz;
mod host;
mod http;
mod http_client;
mod keyvalue;
mod link;
mod messaging;
mod part;
mod read;
mod slightfile;

use std::io;

pub use application::{Application, Loaded};
pub use part::{Part, translate};
pub use read::read;

use self::link::Interface;
use self::slightfile::SlightfileError;

const SLIGHTFILE: &str = "/slightfile.toml";
const MODULE: &str = "/app.wasm";

/// Why an application cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum SlightError {
    #[error("{path}: cannot be read")]
    Read {
        path: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("{SLIGHTFILE}: has more than the {limit} bytes that are read")]
    TooLarge { limit: u64 },
    #[error("{SLIGHTFILE}: {0}")]
    Slightfile(#[from] SlightfileError),
    #[error("{SLIGHTFILE}: no capability is a {interface}, of which {MODULE} imports functions; add one")]
    NotGranted { interface: Interface },
    #[error(
        "{SLIGHTFILE}: there is the capability `http`, but {MODULE} has no function `on-server-init() -> i32`, \
         which would start a server"
    )]
    ServesNothing,
    #[error(
        "{SLIGHTFILE}: without the capability `http`, {MODULE} is entered at its function `_start()`, which it lacks"
    )]
    StartsNowhere,
}
