//! `fermyon:spin/http` of the first generation: a request and its whole answer in one call. Newer guests have
//! `wasi:http`.

use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::header::HOST;
use hyper::{Request, Response, Uri};
use wasmtime_wasi_http::RequestOptions;

use super::bindings::fermyon::spin::{http as api, http_types as types};
use super::bounds::{ANSWER_TIME, CONNECT_TIME};
use super::{Grants, SpinCtxView};
use crate::workload::wasm::spin::allowed_hosts::{INTERNAL, usual_port};

/// A way of its own to send requests, for hosts that are within the application.
pub trait Fetch: Send + Sync {
    /// Sends a request, of whose answer at most `most` bytes are taken.
    fn fetch(&self, request: Request<Full<Bytes>>, most: usize) -> Fetching;
}
pub type Fetching = Pin<Box<dyn Future<Output = Result<Response<Bytes>, FetchError>> + Send>>;

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FetchError {
    NotAllowed,
    InvalidUrl,
    Failed,
}

impl From<FetchError> for types::HttpError {
    fn from(error: FetchError) -> Self {
        match error {
            FetchError::NotAllowed => Self::DestinationNotAllowed,
            FetchError::InvalidUrl => Self::InvalidUrl,
            FetchError::Failed => Self::RuntimeError,
        }
    }
}

/// Sends a request to where the component may, and takes the whole answer, as far as it is not too large.
async fn fetch(
    grants: &Grants,
    request: Request<Full<Bytes>>,
    most: usize,
) -> Result<Response<Bytes>, FetchError> {
    let uri = request.uri();
    let scheme = uri.scheme_str().ok_or(FetchError::InvalidUrl)?;
    let host = uri.host().ok_or(FetchError::InvalidUrl)?;
    let port = uri
        .port_u16()
        .or_else(|| usual_port(scheme))
        .ok_or(FetchError::InvalidUrl)?;
    if !["http", "https"].contains(&scheme) {
        return Err(FetchError::InvalidUrl);
    }
    // Names of the application's own, which no name server knows.
    if host.strip_suffix(INTERNAL).is_some_and(|id| id.ends_with('.')) {
        return Err(FetchError::NotAllowed);
    }
    grants
        .check_host(scheme, host, port)
        .map_err(|_| FetchError::NotAllowed)?;
    let options = RequestOptions {
        connect_timeout: Some(CONNECT_TIME),
        first_byte_timeout: Some(ANSWER_TIME),
        between_bytes_timeout: Some(ANSWER_TIME),
    };
    let request = request.map(|body| body.map_err(|never| match never {}));
    let sending = wasmtime_wasi_http::default_send_request(request, Some(options));
    let (response, connection) = sending.await.map_err(|_| FetchError::Failed)?;
    let connection = tokio::spawn(async move {
        // How it ended is told by the body.
        let _ = connection.await;
    });
    let (head, body) = response.into_parts();
    let body = tokio::time::timeout(WHOLE_TIME, Limited::new(body, most).collect()).await;
    connection.abort();
    let body = body
        .map_err(|_| FetchError::Failed)?
        .map_err(|_| FetchError::Failed)?;
    Ok(Response::from_parts(head, body.to_bytes()))
}

/// How long a whole answer may take.
const WHOLE_TIME: Duration = Duration::from_secs(300);

fn request_of(request: types::Request) -> Result<Request<Full<Bytes>>, types::HttpError> {
    let method = match request.method {
        types::Method::Get => "GET",
        types::Method::Post => "POST",
        types::Method::Put => "PUT",
        types::Method::Delete => "DELETE",
        types::Method::Patch => "PATCH",
        types::Method::Head => "HEAD",
        types::Method::Options => "OPTIONS",
    };
    let uri: Uri = request.uri.parse().map_err(|_| types::HttpError::InvalidUrl)?;
    let mut built = Request::builder().method(method).uri(&uri);
    if let Some(authority) = uri.authority() {
        let named = request
            .headers
            .iter()
            .any(|(name, _)| name.eq_ignore_ascii_case(HOST.as_str()));
        if !named {
            // Who asks is no part of it.
            let host = authority.as_str().rsplit('@').next().unwrap_or_default();
            built = built.header(HOST, host);
        }
    }
    for (name, value) in request.headers {
        built = built.header(name, value);
    }
    let body = Full::from(request.body.unwrap_or_default());
    built.body(body).map_err(|_| types::HttpError::RequestError)
}

impl types::Host for SpinCtxView<'_> {}

impl api::Host for SpinCtxView<'_> {
    async fn send_request(&mut self, request: types::Request) -> Result<types::Response, types::HttpError> {
        let request = request_of(request)?;
        let most = self.ctx.stores.bounds.call_bytes;
        let response = match &self.ctx.http {
            Some(own) => own.fetch(request, most).await?,
            None => {
                let _permit = self
                    .ctx
                    .share
                    .connection()
                    .await
                    .map_err(|_| types::HttpError::TooManyRequests)?;
                fetch(&self.ctx.grants, request, most).await?
            }
        };
        let header = |(name, value): (&hyper::header::HeaderName, &hyper::header::HeaderValue)| {
            // What is no text cannot be told.
            value
                .to_str()
                .ok()
                .map(|value| (name.as_str().to_owned(), value.to_owned()))
        };
        Ok(types::Response {
            status: response.status().as_u16(),
            headers: Some(response.headers().iter().filter_map(header).collect()),
            body: Some(response.into_body().into()),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};

    use super::*;
    use crate::workload::wasm::spin::allowed_hosts::AllowedHosts;

    fn request(uri: &str) -> types::Request {
        types::Request {
            method: types::Method::Post,
            uri: uri.to_owned(),
            headers: vec![("x-a".to_owned(), "b".to_owned())],
            params: Vec::new(),
            body: Some(b"body".to_vec()),
        }
    }

    async fn fetched(allowed: &str, uri: &str, most: usize) -> Result<Response<Bytes>, FetchError> {
        let grants = Grants {
            allowed_hosts: AllowedHosts::parse(&[allowed]).expect("an entry"),
            ..Grants::default()
        };
        let request = request_of(request(uri)).map_err(|_| FetchError::InvalidUrl)?;
        fetch(&grants, request, most).await
    }

    #[test]
    fn a_server_is_not_told_who_asks_in_its_name() {
        let Ok(built) = request_of(request("https://user:secret@one.test:8443/x")) else {
            panic!("a request")
        };
        assert_eq!(built.headers()[HOST], "one.test:8443");
    }

    #[tokio::test]
    async fn a_request_goes_where_it_may_and_its_answer_is_bounded() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let server = std::thread::spawn(move || {
            for _ in 0..2 {
                let (mut stream, _) = listener.accept().expect("a client");
                let mut asked = Vec::new();
                while !asked.ends_with(b"body") {
                    let mut byte = [0];
                    stream.read_exact(&mut byte).expect("a request");
                    asked.push(byte[0]);
                }
                let asked = String::from_utf8(asked).expect("text");
                assert!(asked.starts_with("POST /p?q HTTP/1.1\r\n"), "{asked}");
                assert!(
                    asked.contains("x-a: b\r\n") && asked.contains("host: 127.0.0.1"),
                    "{asked}"
                );
                stream
                    .write_all(b"HTTP/1.1 201 Created\r\ncontent-length: 5\r\n\r\nhello")
                    .expect("sent");
            }
        });
        let (allowed, uri) = (
            format!("http://127.0.0.1:{port}"),
            format!("http://127.0.0.1:{port}/p?q"),
        );
        let response = fetched(&allowed, &uri, 100).await.expect("an answer");
        assert_eq!(
            (response.status().as_u16(), &response.body()[..]),
            (201, &b"hello"[..])
        );
        assert_eq!(
            fetched(&allowed, &uri, 4).await.expect_err("too large"),
            FetchError::Failed
        );
        server.join().expect("no panic");
        for (uri, expected) in [
            ("http://127.0.0.1:1/", FetchError::NotAllowed),
            ("http://a.spin.internal/", FetchError::NotAllowed),
            ("/relative", FetchError::InvalidUrl),
            ("ftp://127.0.0.1/", FetchError::InvalidUrl),
            ("not a url", FetchError::InvalidUrl),
        ] {
            assert_eq!(fetched(&allowed, uri, 9).await.expect_err(uri), expected, "{uri}");
        }
        let all = fetched("*://*:*", "http://a.spin.internal/", 9).await;
        assert_eq!(all.expect_err("not by a name server"), FetchError::NotAllowed);
    }
}
