//! Components that answer HTTP requests: they export `wasi:http/incoming-handler` of WASI 0.2 or
//! `wasi:http/handler` of 0.3, and wrun serves them.
//!
//! ```text
//! client ── connection ── request ── instance
//!   │        │             │          └ a slot of the pool, memory from a budget that all share
//!   │        │             └ a permit, until its instance is done with it and its answer is sent
//!   │        └ a permit, before it is accepted
//!   └ waits in the kernel's queue where there is none
//! ```
//!
//! Each level is bounded ([`limits`]) by a constant of ours and by the container's memory, so what comes
//! faster than it can be answered waits with the client. A client that is silent in the middle of a request or
//! an answer loses its connection (`patience`).
//!
//! SIGTERM, SIGINT and SIGQUIT stop the server as `docker stop` users know it of native ones: no new
//! connections, what was asked for is answered, exit code 0. The engine kills it when that takes longer than
//! the stop period; a second signal ends it at once.

mod admission;
mod calls;
mod clients;
mod connection;
mod instances;
pub mod limits;
mod log;
mod one;
mod patience;
mod queue;
mod server;
mod service;
mod target;

use std::net::{Ipv4Addr, SocketAddr};

use wasmtime::Engine;
use wasmtime::component::Component;

#[cfg(feature = "spin")]
pub use admission::Taking;
pub use admission::{Admission, Permits};
pub use clients::Clients;
pub use instances::{Handler, Linked, MakeHost, Slots, handler, stopped};
pub use limits::{InstanceSize, Limits, guest_memory};
pub use one::One;
#[cfg(feature = "slight")]
pub use server::listen;
pub use server::{NOTICE, Server, Settings, start_runtime};
pub use service::{Site, report};

use super::{GuestKind, Refusal, Wasi, wasi};

/// The variable of the container's environment that says where to listen; other runtimes know it too.
pub const ADDRESS: &str = "WASMTIME_HTTP_PROXY_SOCKET_ADDR";
const DEFAULT_PORT: u16 = 8080;

/// The handlers that a component may export.
pub const HANDLER_02: &str = "wasi:http/incoming-handler";
pub const HANDLER_03: &str = "wasi:http/handler";

/// The generation of WASI whose handler is among a component's exports.
pub fn generation(exports: &[String]) -> Option<Wasi> {
    exports.iter().find_map(|name| match wasi::parse(name) {
        (HANDLER_02, Some(Wasi::V02)) => Some(Wasi::V02),
        (HANDLER_03, Some(Wasi::V03)) => Some(Wasi::V03),
        _ => None,
    })
}

/// Sees that every import can be linked and that the handler is one.
pub fn examine(engine: &Engine, component: &Component, wasi: Wasi) -> Result<GuestKind, Refusal> {
    let linked = wasi::check(engine, component)?;
    let link_error = |error: wasmtime::Error| Refusal::Link {
        reason: format!("{error:#}"),
    };
    instances::handler(linked, wasi).map_err(link_error)?;
    let size = InstanceSize::of(component).ok_or_else(|| Refusal::Link {
        reason: "it instantiates modules that it imports".to_owned(),
    })?;
    Ok(GuestKind::Http { wasi, size })
}

/// Where the container's environment says to listen.
pub fn address(env: &[(String, String)]) -> wasmtime::Result<SocketAddr> {
    match env.iter().rfind(|(key, _)| key == ADDRESS) {
        None => Ok((Ipv4Addr::UNSPECIFIED, DEFAULT_PORT).into()),
        Some((_, value)) => value.parse().map_err(|_| {
            wasmtime::format_err!(
                "{ADDRESS} is `{value}`; it must be an address and a port, such as 0.0.0.0:8080"
            )
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address_of(value: &str) -> wasmtime::Result<SocketAddr> {
        address(&[(ADDRESS.to_owned(), value.to_owned())])
    }

    #[test]
    fn the_environment_says_where_to_listen() {
        assert_eq!(address(&[]).unwrap().to_string(), "0.0.0.0:8080");
        assert_eq!(address_of("127.0.0.1:80").unwrap().to_string(), "127.0.0.1:80");
        assert_eq!(address_of("[::]:9000").unwrap().to_string(), "[::]:9000");
        for wrong in ["", "8080", "localhost:80", "0.0.0.0", "0.0.0.0:70000"] {
            let error = address_of(wrong).unwrap_err().to_string();
            assert!(error.contains(ADDRESS) && error.contains(wrong), "{error}");
        }
    }

    #[test]
    fn handlers_are_told_by_their_exports() {
        let of = |name: &str| generation(&[name.to_owned()]);
        assert_eq!(of("wasi:http/incoming-handler@0.2.3"), Some(Wasi::V02));
        assert_eq!(of("wasi:http/handler@0.3.0"), Some(Wasi::V03));
        assert_eq!(of("wasi:http/incoming-handler@0.3.0"), None);
        assert_eq!(of("wasi:cli/run@0.2.0"), None);
    }
}
