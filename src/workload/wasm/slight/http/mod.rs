//! The capability `http`: `on-server-init` names an address, routes and a handler for each; then every request is
//! answered by an instance of its own.
//!
//! The server is that of wasi:http, with its bounds. What slight does is done here: routes match in their order, and
//! every answer may be read by any other origin (CORS).

mod answer;
mod router;
mod site;

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use wasmtime::{Caller, Linker, TypedFunc};

pub use self::router::Router;
pub use self::site::{Instances, Site};

use self::router::Method;
use super::host::{Handle, Host, Server};
use crate::workload::wasm::kinds::http::listen;
use crate::workload::wasm::kinds::shape::printable;
use crate::workload::wasm::legacy_abi::{Call, Failure, Value};

const INVALID_URL: u8 = 0;
const UNEXPECTED: u8 = 4;

/// A handler's parameters: method, target, headers, parameters of the route, and the body, which may be missing.
type Parameters = (u32, u32, u32, u32, u32, u32, u32, u32, u32, u32);
type Handler = TypedFunc<Parameters, u32>;

/// The export that a route's handler is: its name as a function of WIT.
fn export_of(handler: &str) -> String {
    handler.replace('_', "-")
}

fn failure(case: u8, text: impl Into<String>) -> Failure {
    Failure {
        case,
        text: text.into(),
    }
}

/// Where a guest says to listen: an address, or a name, which is looked up.
async fn addresses(address: &str) -> Result<Vec<SocketAddr>, Failure> {
    if let Ok(address) = address.parse() {
        return Ok(vec![address]);
    }
    let found = tokio::net::lookup_host(address).await;
    let wrong = |reason: &dyn std::fmt::Display| {
        let text = format!("`{}` is no address to listen on: {reason}", printable(address));
        failure(INVALID_URL, text)
    };
    let found: Vec<SocketAddr> = found.map_err(|error| wrong(&error))?.collect();
    if found.is_empty() {
        return Err(wrong(&"it has no address"));
    }
    Ok(found)
}

async fn bind(address: &str) -> Result<TcpListener, Failure> {
    let mut reason = String::new();
    for address in addresses(address).await? {
        match listen(address) {
            Ok(listener) => return Ok(listener),
            Err(error) => reason = format!("cannot listen on {address}: {error}"),
        }
    }
    Err(failure(UNEXPECTED, reason))
}

async fn serve(call: &mut Call<'_, Host>, address: &str, router: Arc<Router>) -> Result<(), Failure> {
    match call.host().server {
        Server::NotStarted => {}
        Server::Forbidden => {
            return Err(failure(UNEXPECTED, "a server is started by on-server-init alone"));
        }
        Server::Started(..) | Server::Stopped => {
            return Err(failure(
                UNEXPECTED,
                "there is a server already, and there can be but one",
            ));
        }
    }
    for route in router.routes() {
        let export = export_of(&route.handler);
        if !call.exports::<Parameters, u32>(&export) {
            let text = format!("the module exports no handler `{}`", printable(&export));
            return Err(failure(UNEXPECTED, text));
        }
    }
    let listener = bind(address).await?;
    call.host().server = Server::Started(listener, router);
    Ok(())
}

/// Provides the interface under the name of this module.
pub fn link(linker: &mut Linker<Host>, module: &'static str) -> wasmtime::Result<()> {
    linker.func_wrap_async(
        module,
        "router::new",
        |caller: Caller<'_, Host>, (result,): (u32,)| {
            Box::new(async move {
                let mut call = Call::new(caller)?;
                let handle = call.host().handles.insert(Handle::Router(Arc::default()))?;
                call.answer(result, Ok(Value::Number(handle))).await
            })
        },
    )?;
    linker.func_wrap_async(
        module,
        "router::new-with-base",
        |caller: Caller<'_, Host>, (base, length, result): (u32, u32, u32)| {
            Box::new(async move {
                let mut call = Call::new(caller)?;
                // slight makes no use of it.
                call.text(base, length)?;
                let handle = call.host().handles.insert(Handle::Router(Arc::default()))?;
                call.answer(result, Ok(Value::Number(handle))).await
            })
        },
    )?;
    for method in Method::ALL {
        linker.func_wrap_async(
            module,
            &format!("router::{}", method.function()),
            move |caller: Caller<'_, Host>,
                  (router, route, length, handler, size, result): (u32, u32, u32, u32, u32, u32)| {
                Box::new(async move {
                    let mut call = Call::new(caller)?;
                    let router = call.host().router(router)?;
                    let (route, handler) = (call.text(route, length)?, call.text(handler, size)?);
                    let outcome = match Router::with(&router, method, &route, handler) {
                        Ok(router) => Ok(Value::Number(
                            call.host().handles.insert(Handle::Router(Arc::new(router)))?,
                        )),
                        Err(reason) => Err(failure(INVALID_URL, reason)),
                    };
                    call.answer(result, outcome).await
                })
            },
        )?;
    }
    linker.func_wrap_async(
        module,
        "server::serve",
        |caller: Caller<'_, Host>, (address, length, router, result): (u32, u32, u32, u32)| {
            Box::new(async move {
                let mut call = Call::new(caller)?;
                let address = call.text(address, length)?;
                let router = call.host().router(router)?;
                let outcome = match serve(&mut call, &address, router).await {
                    Ok(()) => Ok(Value::Number(call.host().handles.insert(Handle::Server)?)),
                    Err(failure) => Err(failure),
                };
                call.answer(result, outcome).await
            })
        },
    )?;
    linker.func_wrap_async(
        module,
        "server::stop",
        |caller: Caller<'_, Host>, (handle, result): (u32, u32)| {
            Box::new(async move {
                let mut call = Call::new(caller)?;
                if !matches!(call.host().handles.get(handle)?, Handle::Server) {
                    return Err(super::host::other(handle, "server"));
                }
                call.host().server = Server::Stopped;
                call.answer(result, Ok(Value::Nothing)).await
            })
        },
    )?;
    Ok(())
}
