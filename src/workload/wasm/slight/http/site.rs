//! Requests and the instances that answer them: each has one of its own, which is made for it and ends with it.

use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::sync::Arc;

use http_body_util::BodyExt;
use hyper::body::{Bytes, Incoming};
use hyper::{HeaderMap, Request, Response, StatusCode};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use wasmtime::{Engine, Instance, InstancePre, Store};
use wasmtime_wasi_http::WasiBody;

use super::super::host::{App, Host, Server};
use super::super::part::INIT;
use super::router::{Parameters, Route, decoded};
use super::{Handler, answer, export_of};
use crate::workload::wasm::kinds::core::INITIALIZE;
use crate::workload::wasm::kinds::http::{self as server, Permits, Slots, report};
use crate::workload::wasm::kinds::shape::printable;
use crate::workload::wasm::legacy_abi;
use crate::workload::wasm::legacy_abi::{Abi, MAX_BYTES, beyond};
use crate::workload::wasm::limits::Limits;
use crate::workload::wasm::run::{self, Guest};

/// Bodies are counted in pieces of so many bytes, against what all requests may hold outside their instances.
const PIECE: usize = 4 << 10;
/// Where the container's memory is not limited, in bytes.
const MOST_BODIES: u64 = 256 << 20;

/// What instances are made from.
pub struct Instances {
    pub engine: Engine,
    pub linked: InstancePre<Host>,
    pub app: Arc<App>,
    /// Of all together.
    pub limits: Limits,
    pub guest: Guest,
}

impl Instances {
    async fn make(&self, server: Server) -> wasmtime::Result<(Store<Host>, Instance)> {
        let mut wasi = run::context(&self.guest);
        run::directories(&mut wasi, &self.guest)?;
        let (limits, app) = (self.limits.another(), Arc::clone(&self.app));
        let mut store = Store::new(&self.engine, Host::new(wasi.build_p1(), limits, app, server));
        self.limits.apply(&mut store, Host::limits)?;
        let instance = self.linked.instantiate_async(&mut store).await?;
        if let Ok(initialize) = instance.get_typed_func::<(), ()>(&mut store, INITIALIZE) {
            initialize.call_async(&mut store, ()).await?;
        }
        Ok((store, instance))
    }

    /// Has the module say what is to be served, and how.
    pub async fn init(&self) -> wasmtime::Result<Server> {
        let (mut store, instance) = self.make(Server::NotStarted).await?;
        let init = instance.get_typed_func::<(), u32>(&mut store, INIT)?;
        let result = init.call_async(&mut store, ()).await?;
        let abi = Abi::of_instance(&mut store, &instance)?;
        if abi.byte(&store, result)? != 0 {
            let text = abi.text(&store, abi.span(&store, beyond(result, 4)?)?)?;
            wasmtime::bail!("{INIT} has failed: {}", printable(&text));
        }
        Ok(std::mem::replace(&mut store.data_mut().server, Server::Stopped))
    }

    async fn handle(&self, call: Call) -> wasmtime::Result<legacy_abi::Response> {
        let (mut store, instance) = self.make(Server::Forbidden).await?;
        let abi = Abi::of_instance(&mut store, &instance)?;
        let handler: Handler = instance.get_typed_func(&mut store, &call.export)?;
        let uri = abi.place(&mut store, call.target.as_bytes()).await?;
        let headers = abi.place_pairs(&mut store, &call.headers).await?;
        let parameters = abi.place_pairs(&mut store, &call.parameters).await?;
        let body = abi.place(&mut store, &call.body).await?;
        // Nothing of it is needed any more, and the handler may take long.
        let method = call.method;
        drop(call);
        let arguments = (
            method,
            uri.0,
            uri.1,
            headers.0,
            headers.1,
            parameters.0,
            parameters.1,
            1,
            body.0,
            body.1,
        );
        let result = handler.call_async(&mut store, arguments).await?;
        if abi.byte(&store, result)? == 0 {
            return abi.response(&store, beyond(result, 4)?);
        }
        Err(failed(&abi, &store, result))
    }
}

/// The error that a handler has answered with.
fn failed(abi: &Abi, store: &Store<Host>, result: u32) -> wasmtime::Error {
    const STATUS_ERROR: u8 = 3;
    let describe = || -> wasmtime::Result<String> {
        let payload = beyond(result, 8)?;
        Ok(match abi.byte(store, beyond(result, 4)?)? {
            STATUS_ERROR => format!("status {}", abi.half(store, payload)?),
            _ => printable(&abi.text(store, abi.span(store, payload)?)?),
        })
    };
    match describe() {
        Ok(text) => wasmtime::format_err!("the handler has failed: {text}"),
        Err(error) => error.context("the handler has failed, and says so in a wrong way"),
    }
}

/// A request as a handler is given it.
struct Call {
    export: String,
    method: u32,
    target: String,
    headers: Vec<(String, String)>,
    parameters: Parameters,
    body: Vec<u8>,
    /// As long as the body is here.
    _held: Vec<OwnedSemaphorePermit>,
}

/// An application that is served.
pub struct Site {
    instances: Arc<Instances>,
    routes: Vec<Route>,
    slots: Slots,
    bodies: Arc<Semaphore>,
}

impl Site {
    /// `memory` is in bytes, what the container may use.
    pub fn new(instances: Instances, routes: Vec<Route>, slots: u32, memory: Option<u64>) -> Self {
        let bytes = memory.map_or(MOST_BODIES, |memory| memory / 8);
        let pieces = usize::try_from(bytes).unwrap_or(usize::MAX) / PIECE;
        Self {
            instances: Arc::new(instances),
            routes,
            slots: Slots::new(slots),
            bodies: Arc::new(Semaphore::new(pieces.min(Semaphore::MAX_PERMITS))),
        }
    }

    fn find(&self, method: &hyper::Method, path: &str) -> Option<(&Route, Parameters)> {
        let path = decoded(path)?;
        let mut routes = self.routes.iter();
        routes.find_map(|route| Some((route, route.matches(method, &path)?)))
    }

    /// Room for bytes of a body; `None` where others have all that there is.
    fn room(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let pieces = u32::try_from(bytes.div_ceil(PIECE)).ok()?;
        Arc::clone(&self.bodies).try_acquire_many_owned(pieces).ok()
    }

    async fn collect(&self, mut body: WasiBody) -> Result<(Vec<u8>, Vec<OwnedSemaphorePermit>), StatusCode> {
        let (mut bytes, mut held) = (Vec::new(), Vec::new());
        let mut room = 0;
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| StatusCode::BAD_REQUEST)?;
            let Ok(data) = frame.into_data() else { continue };
            let length = bytes.len() + data.len();
            if length > MAX_BYTES as usize {
                return Err(StatusCode::PAYLOAD_TOO_LARGE);
            }
            if length > room {
                // As a vector grows, and a little to begin with.
                let more = (length - room).max(room).max(PIECE);
                held.push(self.room(more).ok_or(StatusCode::SERVICE_UNAVAILABLE)?);
                room += more;
                bytes.reserve_exact(room - bytes.len());
            }
            bytes.extend_from_slice(&data);
        }
        Ok((bytes, held))
    }

    async fn enter(
        &self,
        request: Request<WasiBody>,
        permits: Permits,
    ) -> Result<Response<WasiBody>, StatusCode> {
        let (head, body) = request.into_parts();
        let found = self.find(&head.method, head.uri.path());
        let Some((route, parameters)) = found else {
            return Ok(answer::without_route(&head.method));
        };
        let (body, held) = self.collect(body).await?;
        let call = Call {
            export: export_of(&route.handler),
            method: number(&head.method).ok_or(StatusCode::NOT_FOUND)?,
            // As the client has sent it.
            target: head
                .uri
                .path_and_query()
                .map_or("/", |target| target.as_str())
                .to_owned(),
            headers: pairs(&head.headers),
            parameters,
            body,
            _held: held,
        };
        let slot = self.slots.take().await.ok_or(StatusCode::SERVICE_UNAVAILABLE)?;
        let instances = Arc::clone(&self.instances);
        // In a task of its own: a client that leaves does not end what it has asked for in the middle.
        let task = tokio::spawn(async move {
            let outcome = instances.handle(call).await;
            drop((slot, permits));
            outcome
        });
        let outcome = task.await.map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
        let answered = outcome.and_then(|answered| {
            let room = self.room(answered.body.len());
            Ok(match room {
                Some(room) => answer::of(answered, |bytes| Bytes::from_owner(Held { bytes, _room: room }))?,
                None => answer::plain(StatusCode::SERVICE_UNAVAILABLE),
            })
        });
        answered.map_err(|error| {
            report(
                &error.context(format!("handler `{}`", printable(&route.handler))),
                None,
            );
            StatusCode::INTERNAL_SERVER_ERROR
        })
    }
}

/// The body of an answer, with its room.
struct Held {
    bytes: Vec<u8>,
    _room: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// The number that the interface has for a method.
fn number(method: &hyper::Method) -> Option<u32> {
    let known = [
        hyper::Method::GET,
        hyper::Method::POST,
        hyper::Method::PUT,
        hyper::Method::DELETE,
    ];
    let at = known.iter().position(|known| known == method)?;
    u32::try_from(at).ok()
}

/// The fields of a request; bytes that are no text are replaced.
fn pairs(headers: &HeaderMap) -> Vec<(String, String)> {
    let pair = |(name, value): (&hyper::header::HeaderName, &hyper::header::HeaderValue)| {
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        (name.as_str().to_owned(), value)
    };
    headers.iter().map(pair).collect()
}

impl server::Site for Site {
    type Way = ();

    fn way(&self, request: &Request<Incoming>) -> ControlFlow<Response<WasiBody>> {
        match self.find(request.method(), request.uri().path()) {
            Some(_) => ControlFlow::Continue(()),
            None => ControlFlow::Break(answer::without_route(request.method())),
        }
    }

    async fn answer(
        &self,
        (): (),
        _: SocketAddr,
        request: Request<WasiBody>,
        permits: Permits,
    ) -> Result<Response<WasiBody>, StatusCode> {
        Ok(self.enter(request, permits).await.unwrap_or_else(answer::plain))
    }

    async fn ended(&self) {
        self.slots.all_free().await;
    }
}
