//! Components of Spin's first SDKs, which export `fermyon:spin/inbound-http`: a function that takes a whole request
//! and gives a whole answer.

use std::sync::Arc;

use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, Request, Response, StatusCode};
use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, ComponentExportIndex, InstancePre, Type};
use wasmtime::{Engine, Store};
use wasmtime_wasi_http::WasiBody;

use super::super::host::http_types as types;
use super::super::seed::{Ready, Seed};
use super::whole::{MAX_BODY, MAX_HEAD, Running, collect, kept};
use super::{body, headers};
use crate::workload::wasm::kinds::http::{MakeHost, Slots, report};
use crate::workload::wasm::kinds::shape::printable;
use crate::workload::wasm::kinds::wasi::Host;
use crate::workload::wasm::limits::Limits;

pub const INTERFACE: &str = "fermyon:spin/inbound-http";
const FUNCTION: &str = "handle-request";

/// A component that answers requests.
pub struct Inbound {
    engine: Engine,
    linked: InstancePre<Host>,
    function: ComponentExportIndex,
    seed: Arc<Seed>,
    host: MakeHost,
    limits: Limits,
}

/// Finds the handler among a component's exports, and sees that it takes what it will be given.
pub fn find(component: &Component) -> wasmtime::Result<ComponentExportIndex> {
    let of = |what: &str| wasmtime::format_err!("`{INTERFACE}` {what}");
    let instance = component.get_export_index(None, INTERFACE);
    let instance = instance.ok_or_else(|| of("is not exported"))?;
    let (item, function) = component
        .get_export(Some(&instance), FUNCTION)
        .ok_or_else(|| of("has no function `handle-request`"))?;
    let is_record = |ty: Type, names: &[&str]| match ty {
        Type::Record(record) => record.fields().map(|field| field.name).eq(names.iter().copied()),
        _ => false,
    };
    let fits = match item {
        ComponentItem::ComponentFunc(function) => {
            let (mut params, mut results) = (function.params(), function.results());
            let request = params
                .next()
                .is_some_and(|(_, ty)| is_record(ty, &["method", "uri", "headers", "params", "body"]));
            let response = results
                .next()
                .is_some_and(|ty| is_record(ty, &["status", "headers", "body"]));
            request && response && params.next().is_none()
        }
        _ => false,
    };
    if fits {
        Ok(function)
    } else {
        Err(of(
            "has a function `handle-request` that does not take a request and give an answer",
        ))
    }
}

impl Inbound {
    /// `limits` are of all instances together.
    pub fn new(component: &Ready, limits: Limits) -> wasmtime::Result<Self> {
        Ok(Self {
            engine: component.engine.clone(),
            function: find(component.linked.component())?,
            linked: component.linked.clone(),
            seed: Arc::clone(&component.seed),
            host: component.seed.maker(),
            limits,
        })
    }

    /// Has a fresh instance answer.
    pub async fn answer(
        &self,
        request: Request<WasiBody>,
        slots: &Slots,
    ) -> Result<Response<WasiBody>, StatusCode> {
        let method = method(request.method()).ok_or(StatusCode::METHOD_NOT_ALLOWED)?;
        // Before anything is kept of the request: there is no more of them than of instances.
        let slot = slots.take().await.ok_or(StatusCode::SERVICE_UNAVAILABLE)?;
        // What is kept is not held to what one instance may have.
        let mut held = self.limits.another().at_most_each(None);
        let (head, body) = request.into_parts();
        let body = collect(body, &mut held).await?;
        let request = request_of(method, &head, body);
        let mut store = Store::new(&self.engine, (self.host)());
        store.set_hostcall_fuel(MAX_BODY + MAX_HEAD);
        let applied = self.limits.apply(&mut store, Host::limits);
        let (linked, function) = (self.linked.clone(), self.function);
        let task = Running::start(async move {
            applied?;
            let instance = linked.instantiate_async(&mut store).await?;
            let handler =
                instance.get_typed_func::<(types::Request,), (types::Response,)>(&mut store, &function)?;
            let (response,) = handler.call_async(&mut store, (request,)).await?;
            drop(store);
            drop(held);
            drop(slot);
            wasmtime::Result::Ok(response)
        });
        // No task fails but with its runtime: a panic ends the process.
        let outcome = task
            .outcome()
            .await
            .map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
        let limits = self.limits.another().at_most_each(None);
        outcome
            .and_then(|response| response_of(response, limits))
            .unwrap_or_else(|error| {
                report(&error, Some(Arc::from(self.seed.grants.component.as_str())));
                Err(StatusCode::INTERNAL_SERVER_ERROR)
            })
    }
}

fn method(method: &Method) -> Option<types::Method> {
    Some(match *method {
        Method::GET => types::Method::Get,
        Method::POST => types::Method::Post,
        Method::PUT => types::Method::Put,
        Method::DELETE => types::Method::Delete,
        Method::PATCH => types::Method::Patch,
        Method::HEAD => types::Method::Head,
        Method::OPTIONS => types::Method::Options,
        _ => return None,
    })
}

fn request_of(method: types::Method, head: &Parts, body: Vec<u8>) -> types::Request {
    let pair = |(name, value): (&HeaderName, &HeaderValue)| {
        // Bytes that are no text are replaced, since a text is what the interface has.
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        (name.as_str().to_owned(), value)
    };
    let target = head.uri.path_and_query();
    types::Request {
        method,
        uri: target.map_or("/", |target| target.as_str()).to_owned(),
        headers: head.headers.iter().map(pair).collect(),
        // As Spin has it: what would be here is in the target.
        params: Vec::new(),
        body: Some(body),
    }
}

/// The answer for the client, or else a status.
fn response_of(
    answer: types::Response,
    limits: Limits,
) -> wasmtime::Result<Result<Response<WasiBody>, StatusCode>> {
    let status = StatusCode::from_u16(answer.status)
        .ok()
        .filter(|status| !status.is_informational());
    let status = status
        .ok_or_else(|| wasmtime::format_err!("its answer has the status {}, which is none", answer.status))?;
    let mut fields = HeaderMap::new();
    for (name, value) in answer.headers.unwrap_or_default() {
        let wrong = || wasmtime::format_err!("the field `{}` of its answer cannot be sent", printable(&name));
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| wrong())?;
        let value = HeaderValue::try_from(value).map_err(|_| wrong())?;
        // Beyond some ten thousand the map would panic otherwise, and end all others with this one.
        let added = fields.try_append(name, value);
        added.map_err(|_| wasmtime::format_err!("its answer has more fields than can be sent"))?;
    }
    headers::leave_connection_to_server(&mut fields);
    Ok(match kept(answer.body.unwrap_or_default(), limits) {
        Some(bytes) => {
            let mut response = Response::new(body(bytes));
            *response.status_mut() = status;
            *response.headers_mut() = fields;
            Ok(response)
        }
        None => Err(StatusCode::SERVICE_UNAVAILABLE),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_passed_whole() {
        let request = Request::post("http://one.test/a?b=c")
            .header("x-own", "1")
            .header("x-own", HeaderValue::from_bytes(b"\xff").expect("a value"))
            .body(())
            .expect("a request");
        let (head, ()) = request.into_parts();
        let request = request_of(types::Method::Post, &head, b"body".to_vec());
        assert_eq!(request.uri, "/a?b=c");
        let own = |value: &str| ("x-own".to_owned(), value.to_owned());
        assert_eq!(request.headers, [own("1"), own("\u{fffd}")]);
        assert_eq!(
            (request.params.len(), request.body.as_deref()),
            (0, Some(&b"body"[..]))
        );
        assert!(method(&Method::PATCH).is_some() && method(&Method::TRACE).is_none());
    }

    fn answer(status: u16, name: &str, value: &str) -> wasmtime::Result<Response<WasiBody>> {
        let answer = types::Response {
            status,
            headers: Some(vec![(name.to_owned(), value.to_owned())]),
            body: None,
        };
        response_of(answer, Limits::none()).map(|response| response.expect("there is room"))
    }

    #[test]
    fn an_answer_is_what_can_be_sent() {
        let response = answer(201, "X-Own", "1").expect("an answer");
        assert_eq!(
            (response.status(), &response.headers()["x-own"]),
            (StatusCode::CREATED, &HeaderValue::from_static("1"))
        );
        assert!(
            answer(200, "content-length", "7")
                .expect("an answer")
                .headers()
                .is_empty()
        );
        for (status, name, value) in [
            (99, "a", "b"),
            (101, "a", "b"),
            (1000, "a", "b"),
            (200, "a b", "c"),
            (200, "a", "b\nc"),
        ] {
            answer(status, name, value).expect_err("no answer");
        }
    }
    #[test]
    fn an_answer_of_too_many_fields_is_none() {
        let answer = types::Response {
            status: 200,
            headers: Some((0..40_000).map(|at| (format!("a{at}"), String::new())).collect()),
            body: None,
        };
        let error = response_of(answer, Limits::none()).expect_err("no answer");
        assert!(error.to_string().contains("more fields"), "{error}");
    }
}
