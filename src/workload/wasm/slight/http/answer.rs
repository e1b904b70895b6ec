//! What a client is told: a handler's answer, or why there is none. Any other origin may read all of it (CORS).

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue,
    RETRY_AFTER, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use hyper::{Method, Response, StatusCode};
use wasmtime_wasi_http::WasiBody;

use crate::workload::wasm::kinds::shape::printable;
use crate::workload::wasm::legacy_abi;

/// Fields that are the connection's, and so the server's to set. A handler that sends its request's fields back, as
/// slight's examples do, sends them too.
const OF_THE_CONNECTION: [HeaderName; 6] = [
    CONTENT_LENGTH,
    TRANSFER_ENCODING,
    CONNECTION,
    UPGRADE,
    TE,
    TRAILER,
];
const KEEP_ALIVE: [&str; 2] = ["keep-alive", "proxy-connection"];

fn open_to_all(response: &mut Response<WasiBody>) {
    for name in [
        ACCESS_CONTROL_ALLOW_ORIGIN,
        ACCESS_CONTROL_ALLOW_METHODS,
        ACCESS_CONTROL_ALLOW_HEADERS,
        ACCESS_CONTROL_EXPOSE_HEADERS,
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static("*"));
    }
}

fn body(bytes: Bytes) -> WasiBody {
    Full::new(bytes).map_err(|never| match never {}).boxed_unsync()
}

/// Without a handler's help.
pub fn plain(status: StatusCode) -> Response<WasiBody> {
    let text = match status {
        StatusCode::NO_CONTENT => Bytes::new(),
        status => Bytes::from(format!("{status}\n")),
    };
    let empty = text.is_empty();
    let mut response = Response::new(body(text));
    *response.status_mut() = status;
    if !empty {
        let kind = HeaderValue::from_static("text/plain; charset=utf-8");
        response.headers_mut().insert(CONTENT_TYPE, kind);
    }
    if status == StatusCode::SERVICE_UNAVAILABLE {
        response
            .headers_mut()
            .insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    open_to_all(&mut response);
    response
}

/// Where no route is for a request: other origins ask before they send what they may.
pub fn without_route(method: &Method) -> Response<WasiBody> {
    plain(match *method {
        Method::OPTIONS => StatusCode::NO_CONTENT,
        _ => StatusCode::NOT_FOUND,
    })
}

/// What a handler has answered. `whole` makes the body's bytes of it.
pub fn of(
    answer: legacy_abi::Response,
    whole: impl FnOnce(Vec<u8>) -> Bytes,
) -> wasmtime::Result<Response<WasiBody>> {
    let status = StatusCode::from_u16(answer.status)
        .ok()
        .filter(|status| !status.is_informational());
    let status = status
        .ok_or_else(|| wasmtime::format_err!("the handler's status is {}, which is none", answer.status))?;
    let mut response = Response::new(body(whole(answer.body)));
    *response.status_mut() = status;
    for (name, value) in answer.headers {
        let wrong = || wasmtime::format_err!("the handler's field `{}` cannot be sent", printable(&name));
        let field = HeaderName::from_bytes(name.as_bytes()).map_err(|_| wrong())?;
        let value = HeaderValue::from_bytes(value.as_bytes()).map_err(|_| wrong())?;
        if !OF_THE_CONNECTION.contains(&field) && !KEEP_ALIVE.contains(&field.as_str()) {
            response.headers_mut().append(field, value);
        }
    }
    open_to_all(&mut response);
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, headers: &[(&str, &str)]) -> wasmtime::Result<Response<WasiBody>> {
        let pair = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let answer = legacy_abi::Response {
            status,
            headers: headers.iter().map(pair).collect(),
            body: b"body".to_vec(),
        };
        of(answer, Bytes::from)
    }

    #[test]
    fn any_origin_may_read_an_answer() {
        for response in [
            answer(200, &[]).expect("an answer"),
            plain(StatusCode::NOT_FOUND),
            without_route(&Method::OPTIONS),
        ] {
            assert_eq!(response.headers()[ACCESS_CONTROL_ALLOW_ORIGIN], "*");
        }
        assert_eq!(without_route(&Method::OPTIONS).status(), StatusCode::NO_CONTENT);
        assert_eq!(without_route(&Method::GET).status(), StatusCode::NOT_FOUND);
    }

    #[test]
    fn fields_of_the_connection_are_the_server_s() {
        let fields = [
            ("Host", "here"),
            ("Content-Length", "3"),
            ("Keep-Alive", "x"),
            ("transfer-encoding", "chunked"),
            ("x-own", "1"),
            ("x-own", "2"),
        ];
        let response = answer(201, &fields).expect("an answer");
        assert_eq!(response.status(), StatusCode::CREATED);
        assert_eq!(response.headers().get_all("x-own").iter().count(), 2);
        assert!(response.headers().contains_key("host"));
        for gone in ["content-length", "keep-alive", "transfer-encoding"] {
            assert!(!response.headers().contains_key(gone), "{gone}");
        }
    }

    #[test]
    fn what_cannot_be_sent_is_an_error() {
        for status in [0, 99, 101, 1000] {
            let error = answer(status, &[]).expect_err("no status").to_string();
            assert!(error.contains(&status.to_string()), "{error}");
        }
        for field in [("a b", "c"), ("", "c"), ("a", "b\r\nc: d")] {
            assert!(answer(200, &[field]).is_err(), "{field:?}");
        }
    }
}
