//! The HTTP trigger: routes, headers, who answers, and calls from component to component.
//!
//! ```text
//! client ── server (kinds::http) ── route ─┬─ reply of the manifest, health and info: at once
//!                                          ├─ handler of wasi:http ───────── instance ─┐
//!                                          ├─ fermyon:spin/inbound-http ──── instance ─┤
//!                                          └─ CGI program (wagi) ─────────── instance ─┤
//!  http://ID.spin.internal, self <─ outbound, where the manifest allows it ────────────┘
//! ```
//!
//! An instance that calls another component holds its own room meanwhile. So that those that wait for each other cannot
//! take all there is, a part of it is kept for calls within the application, and whoever waits too long for that is
//! told so.

mod headers;
pub mod inbound;
mod inner;
mod outbound;
mod printed;
pub mod router;
mod trusted;
mod wagi;
mod whole;

use std::net::{Ipv4Addr, SocketAddr};
use std::ops::ControlFlow;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HOST, HeaderValue};
use hyper::{Request, Response, StatusCode};
use tokio::sync::{Semaphore, watch};
use wasmtime_wasi_http::WasiBody;

use self::inbound::Inbound;
pub use self::outbound::HttpOut;
use self::router::{Matched, Router};
use self::wagi::Wagi;
use super::allowed_hosts::INTERNAL;
use super::manifest::{Executor, HttpTrigger, Reply, Target, WELL_KNOWN};
use super::seed::Ready;
use crate::workload::wasm::kinds::http::{
    self as server, Admission, Handler, Linked, MakeHost, Permits, Slots, Taking,
};
use crate::workload::wasm::limits::Limits;

/// How long a call within the application waits for room.
const INNER_PATIENCE: Duration = Duration::from_secs(10);

/// The client of a call within the application, as Spin has it.
const NOBODY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// What a site is made of.
pub struct Prepared<'a> {
    pub name: &'a str,
    pub version: &'a str,
    pub triggers: Vec<HttpTrigger>,
    /// Those that triggers name, and maybe others.
    pub components: &'a [Arc<Ready>],
    /// Where the components' outgoing requests look for the site.
    pub link: Link,
    /// How many there may be at once, at least two.
    pub instances: u32,
    /// Of all instances together.
    pub limits: &'a Limits,
}

/// An application that is served.
pub struct Site(Arc<App>);

pub struct App {
    /// The answer of `/.well-known/spin/info`.
    info: Bytes,
    router: Router,
    triggers: Vec<HttpTrigger>,
    members: Vec<Served>,
    /// Of requests from outside.
    outer: Slots,
    /// Of calls within the application; `None` where no component may make any.
    inner: Option<Inner>,
}

/// Room for calls within the application.
struct Inner {
    slots: Slots,
    /// One for each slot, so that who has one need not wait for the other.
    permits: Arc<Semaphore>,
}

/// A component that is served.
struct Served {
    id: String,
    http: Option<Handlers>,
    inbound: Option<Inbound>,
    wagi: Option<Wagi>,
}

struct Handlers {
    outer: Handler,
    inner: Option<Handler>,
}

/// Who asks.
enum Caller {
    Client(SocketAddr),
    Component,
}

/// Where outgoing requests find the application, once it is there.
pub type Link = Arc<OnceLock<Weak<App>>>;

impl Site {
    pub fn new(prepared: Prepared<'_>, stopping: watch::Receiver<bool>) -> wasmtime::Result<Self> {
        let Prepared {
            name,
            version,
            triggers,
            components,
            link,
            instances,
            limits,
        } = prepared;
        let router = Router::new(&triggers).map_err(wasmtime::Error::new)?;
        let chains = components.iter().any(|caller| {
            let allowed = &caller.seed.grants.allowed_hosts;
            let mut others = components.iter();
            allowed.allows_self() || others.any(|callee| allowed.allows_component(callee.id()))
        });
        let kept = if chains { (instances / 4).max(1) } else { 0 };
        let outer = Slots::new(instances.saturating_sub(kept).max(1));
        let inner = chains.then(|| Inner {
            slots: Slots::new(kept),
            permits: Arc::new(Semaphore::new(kept as usize)),
        });
        let common = Common {
            limits,
            outer: &outer,
            inner: inner.as_ref(),
            stopping: &stopping,
        };
        let members = components.iter().map(|component| common.serve(component));
        let app = Arc::new(App {
            info: info(name, version),
            members: members.collect::<wasmtime::Result<_>>()?,
            router,
            triggers,
            outer,
            inner,
        });
        // It is set nowhere else.
        let _ = link.set(Arc::downgrade(&app));
        Ok(Self(app))
    }
}

/// What the components of an application share.
struct Common<'a> {
    limits: &'a Limits,
    outer: &'a Slots,
    inner: Option<&'a Inner>,
    stopping: &'a watch::Receiver<bool>,
}

impl Common<'_> {
    fn serve(&self, component: &Ready) -> wasmtime::Result<Served> {
        let Ready {
            engine,
            linked,
            part,
            seed,
        } = component;
        let id = component.id().to_owned();
        let http = part.http().map(|wasi| -> wasmtime::Result<Handlers> {
            let handler = |slots: &Slots| -> wasmtime::Result<Handler> {
                let host: MakeHost = seed.maker();
                let linked = Linked {
                    engine: engine.clone(),
                    proxy: server::handler(linked.clone(), wasi)?,
                    wasi,
                    id: Some(Arc::from(id.as_str())),
                };
                let limits = self.limits.another();
                let stopping = self.stopping.clone();
                Ok(Handler::new(linked, host, limits, slots, stopping))
            };
            let inner = self.inner.map(|inner| handler(&inner.slots));
            Ok(Handlers {
                outer: handler(self.outer)?,
                inner: inner.transpose()?,
            })
        });
        let wagi = part.command().map(|wasi| {
            let limits = self.limits.another();
            Wagi::new(engine, linked.clone(), wasi, Arc::clone(seed), limits)
        });
        let inbound = part
            .is_inbound()
            .then(|| Inbound::new(component, self.limits.another()));
        Ok(Served {
            id,
            http: http.transpose()?,
            inbound: inbound.transpose()?,
            wagi: wagi.transpose()?,
        })
    }
}

impl server::Site for Site {
    type Way = Matched;

    fn way(&self, request: &Request<Incoming>) -> ControlFlow<Response<WasiBody>, Matched> {
        self.0.way(request.uri().path())
    }

    async fn answer(
        &self,
        matched: Matched,
        client: SocketAddr,
        request: Request<WasiBody>,
        permits: Permits,
    ) -> Result<Response<WasiBody>, StatusCode> {
        let host = request.headers().get(HOST).and_then(|host| host.to_str().ok());
        let request = if host.is_some_and(is_internal) || request.uri().host().is_some_and(is_internal) {
            headers::at_localhost(request)
        } else {
            request
        };
        self.0
            .enter(matched, Caller::Client(client), request, permits)
            .await
    }

    async fn ended(&self) {
        self.0.outer.all_free().await;
        if let Some(inner) = &self.0.inner {
            inner.slots.all_free().await;
        }
    }
}

impl App {
    /// The component that is to answer, or what is answered without one.
    fn way(&self, path: &str) -> ControlFlow<Response<WasiBody>, Matched> {
        if let Some(known) = path.strip_prefix(WELL_KNOWN) {
            return ControlFlow::Break(match known {
                "health" => full(Bytes::from_static(b"OK"), None),
                "info" => full(self.info.clone(), Some("application/json")),
                _ => empty(StatusCode::NOT_FOUND),
            });
        }
        let matched = self.router.find(path);
        let found = matched.and_then(|matched| Some((self.triggers.get(matched.trigger)?, matched)));
        match found.map(|(trigger, matched)| (&trigger.target, matched)) {
            Some((Target::Component { .. }, matched)) => ControlFlow::Continue(matched),
            Some((Target::Reply(reply), _)) => ControlFlow::Break(reply_of(reply)),
            None => ControlFlow::Break(empty(StatusCode::NOT_FOUND)),
        }
    }

    async fn enter(
        &self,
        matched: Matched,
        caller: Caller,
        mut request: Request<WasiBody>,
        permits: Permits,
    ) -> Result<Response<WasiBody>, StatusCode> {
        const NOT_SERVED: StatusCode = StatusCode::INTERNAL_SERVER_ERROR;
        let target = self.triggers.get(matched.trigger).map(|trigger| &trigger.target);
        let (id, executor) = match target.ok_or(StatusCode::NOT_FOUND)? {
            Target::Component { id, executor } => (id, executor),
            Target::Reply(reply) => return Ok(reply_of(reply)),
        };
        let served = self
            .members
            .iter()
            .find(|served| served.id == *id)
            .ok_or(NOT_SERVED)?;
        let (client, slots) = match (&caller, &self.inner) {
            (Caller::Client(client), _) => (*client, &self.outer),
            (Caller::Component, inner) => (NOBODY, &inner.as_ref().ok_or(NOT_SERVED)?.slots),
        };
        match executor {
            Executor::Http => {
                headers::set(&mut request, matched, client);
                let Some(handlers) = &served.http else {
                    let inbound = served.inbound.as_ref().ok_or(NOT_SERVED)?;
                    return inbound.answer(request, slots).await;
                };
                let handler = match caller {
                    Caller::Client(_) => &handlers.outer,
                    Caller::Component => handlers.inner.as_ref().ok_or(NOT_SERVED)?,
                };
                handler.answer(request, permits).await
            }
            Executor::Wagi { argv } => {
                let wagi = served.wagi.as_ref().ok_or(NOT_SERVED)?;
                let circumstances = wagi::Circumstances {
                    matched: &matched,
                    client,
                    argv,
                };
                wagi.answer(request, circumstances, slots).await
            }
        }
    }

    /// A call from another component, by this one's name. Whether it is allowed has been asked before.
    async fn call_component(
        &self,
        id: &str,
        request: Request<WasiBody>,
    ) -> Result<Response<WasiBody>, StatusCode> {
        // Hosts have no case.
        let is_called = |it: &HttpTrigger| it.component().is_some_and(|own| own.eq_ignore_ascii_case(id));
        let trigger = self.triggers.iter().position(is_called);
        let trigger = trigger.ok_or(StatusCode::NOT_FOUND)?;
        let matched = Matched::internal(trigger, request.uri().path());
        self.call(matched, request).await
    }

    /// A call from a component to where a client of the application's would have come, by its path. Whether it is
    /// allowed has been asked before.
    async fn call_own(&self, request: Request<WasiBody>) -> Result<Response<WasiBody>, StatusCode> {
        match self.way(request.uri().path()) {
            ControlFlow::Break(response) => Ok(response),
            ControlFlow::Continue(matched) => self.call(matched, headers::at_localhost(request)).await,
        }
    }

    async fn call(
        &self,
        matched: Matched,
        request: Request<WasiBody>,
    ) -> Result<Response<WasiBody>, StatusCode> {
        let inner = self.inner.as_ref().ok_or(StatusCode::SERVICE_UNAVAILABLE)?;
        let permit = Arc::clone(&inner.permits).acquire_owned();
        let permit = tokio::time::timeout(INNER_PATIENCE, permit).await;
        let Ok(Ok(permit)) = permit else {
            return Err(StatusCode::SERVICE_UNAVAILABLE);
        };
        let permits = Admission::new([permit]);
        let answer = self.enter(matched, Caller::Component, request, Arc::clone(&permits));
        let taking = Taking::new(permits);
        Ok(answer.await?.map(|body| inner::taken(body, taking)))
    }
}

/// Whether a host is a name that components have within the application.
fn is_internal(host: &str) -> bool {
    let host = host.split(':').next().unwrap_or_default().trim_end_matches('.');
    let end = host.len().checked_sub(INTERNAL.len());
    end.and_then(|end| host.split_at_checked(end))
        .is_some_and(|(rest, end)| rest.ends_with('.') && end.eq_ignore_ascii_case(INTERNAL))
}

fn info(name: &str, version: &str) -> Bytes {
    let mut info = serde_json::json!({ "name": name });
    if !version.is_empty() {
        info["version"] = version.into();
    }
    Bytes::from(format!("{info:#}"))
}

fn body(bytes: Bytes) -> WasiBody {
    Full::new(bytes).map_err(|never| match never {}).boxed_unsync()
}

fn empty(status: StatusCode) -> Response<WasiBody> {
    let mut response = Response::new(body(Bytes::new()));
    *response.status_mut() = status;
    response
}

fn full(bytes: Bytes, kind: Option<&'static str>) -> Response<WasiBody> {
    let mut response = Response::new(body(bytes));
    if let Some(kind) = kind {
        response
            .headers_mut()
            .insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    }
    response
}

fn reply_of(reply: &Reply) -> Response<WasiBody> {
    let mut response = Response::new(body(Bytes::from(reply.body.clone())));
    *response.status_mut() = reply.status;
    *response.headers_mut() = reply.headers.clone();
    headers::leave_connection_to_server(response.headers_mut());
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fixed_reply_does_not_say_how_long_it_is() {
        let mut reply = Reply {
            status: StatusCode::OK,
            headers: hyper::HeaderMap::new(),
            body: "hello".to_owned(),
        };
        for name in ["content-length", "transfer-encoding", "x-own"] {
            reply.headers.insert(name, HeaderValue::from_static("1"));
        }
        let names = reply_of(&reply);
        let names: Vec<&str> = names.headers().keys().map(|name| name.as_str()).collect();
        assert_eq!(names, ["x-own"]);
    }

    #[test]
    fn names_within_the_application_are_known() {
        for host in [
            "a.spin.internal",
            "a.spin.internal:80",
            "A.Spin.Internal.",
            "x.y.spin.internal",
        ] {
            assert!(is_internal(host), "{host}");
        }
        for host in [
            "spin.internal",
            "aspin.internal",
            "a.spin.internal.test",
            "",
            "a.test",
        ] {
            assert!(!is_internal(host), "{host}");
        }
    }
}
