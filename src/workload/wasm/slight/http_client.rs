//! The capability `http-client`: requests that a guest sends, to wherever the container's network leads; redirects are
//! followed as slight's client does.

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::header::{
    AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, HOST, HeaderName, HeaderValue, LOCATION,
};
use hyper::{HeaderMap, Method, Request, Response, StatusCode, Uri};
use wasmtime::{Caller, Linker};
use wasmtime_wasi_http::WasiBody;

use super::host::Host;
use crate::workload::wasm::kinds::shape::printable;
use crate::workload::wasm::kinds::wasi::send;
use crate::workload::wasm::legacy_abi::{self, Call, Failure, MAX_BYTES, Value};

/// Most redirects that are followed for one request.
const MAX_REDIRECTS: usize = 10;

const INVALID_URL: u8 = 0;
const UNEXPECTED: u8 = 4;

/// The interface's methods by their numbers.
const METHODS: [Method; 7] = [
    Method::GET,
    Method::POST,
    Method::PUT,
    Method::DELETE,
    Method::PATCH,
    Method::HEAD,
    Method::OPTIONS,
];

struct Sending {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
}

fn unexpected(text: impl Into<String>) -> Failure {
    Failure {
        case: UNEXPECTED,
        text: text.into(),
    }
}

/// An address with a scheme and a host.
fn absolute(uri: &str) -> Result<Uri, Failure> {
    let parsed = uri.parse::<Uri>().ok();
    let sound =
        parsed.filter(|uri| matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some());
    sound.ok_or_else(|| Failure {
        case: INVALID_URL,
        text: format!("`{}` is no address of a resource on the web", printable(uri)),
    })
}

impl Sending {
    fn new(
        method: Method,
        uri: &str,
        headers: Vec<(String, String)>,
        body: Vec<u8>,
    ) -> Result<Self, Failure> {
        let mut fields = HeaderMap::new();
        for (name, value) in headers {
            let wrong = || unexpected(format!("the field `{}` cannot be sent", printable(&name)));
            let field = HeaderName::from_bytes(name.as_bytes()).map_err(|_| wrong())?;
            let value = HeaderValue::from_bytes(value.as_bytes()).map_err(|_| wrong())?;
            fields.append(field, value);
        }
        // Both follow from the rest.
        fields.remove(HOST);
        fields.remove(CONTENT_LENGTH);
        Ok(Self {
            method,
            uri: absolute(uri)?,
            headers: fields,
            body: Bytes::from(body),
        })
    }

    fn request(&self) -> Result<Request<WasiBody>, Failure> {
        let body = Full::new(self.body.clone()).map_err(|never| match never {});
        let mut request = Request::new(body.boxed_unsync());
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = self.headers.clone();
        let host = self.uri.authority().map(|authority| authority.as_str());
        let host = host.and_then(|host| host.rsplit('@').next()).unwrap_or_default();
        let host = HeaderValue::from_str(host).map_err(|_| unexpected("the host has no name"))?;
        request.headers_mut().insert(HOST, host);
        Ok(request)
    }

    /// Turns to where a redirect leads; says whether there is one to follow.
    fn follow(&mut self, status: StatusCode, headers: &HeaderMap) -> Result<bool, Failure> {
        let becomes_get = match status {
            StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND => self.method == Method::POST,
            StatusCode::SEE_OTHER => self.method != Method::HEAD,
            StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT => false,
            _ => return Ok(false),
        };
        let Some(location) = headers.get(LOCATION).and_then(|value| value.to_str().ok()) else {
            return Ok(false);
        };
        let next = self.resolve(location)?;
        let elsewhere = next.authority() != self.uri.authority() || next.scheme() != self.uri.scheme();
        if elsewhere {
            // What lets us in here is nobody else's to know.
            for secret in [AUTHORIZATION, COOKIE, hyper::header::PROXY_AUTHORIZATION] {
                self.headers.remove(secret);
            }
        }
        if becomes_get {
            self.method = Method::GET;
            self.body = Bytes::new();
            self.headers.remove(CONTENT_TYPE);
        }
        self.uri = next;
        Ok(true)
    }

    fn resolve(&self, location: &str) -> Result<Uri, Failure> {
        if location.contains("://") {
            return absolute(location);
        }
        let (scheme, authority) = (self.uri.scheme_str().unwrap_or("http"), self.uri.authority());
        let authority = authority.map_or("", |authority| authority.as_str());
        if location.starts_with("//") {
            return absolute(&format!("{scheme}:{location}"));
        }
        let path = match location.strip_prefix('/') {
            Some(_) => location.to_owned(),
            None => {
                let here = self.uri.path();
                let directory = here.rfind('/').and_then(|end| here.get(..=end)).unwrap_or("/");
                format!("{directory}{location}")
            }
        };
        absolute(&format!("{scheme}://{authority}{path}"))
    }

    async fn send(mut self) -> Result<legacy_abi::Response, Failure> {
        for _ in 0..=MAX_REDIRECTS {
            let sent = send(self.request()?, None).await;
            let (response, driver) = sent.map_err(|error| unexpected(error.to_string()))?;
            let driver = tokio::spawn(Box::into_pin(driver));
            let (status, headers) = (response.status(), response.headers().clone());
            if !self.follow(status, &headers)? {
                let answer = collect(response).await;
                driver.abort();
                return answer;
            }
            driver.abort();
        }
        Err(unexpected(format!(
            "there are more than {MAX_REDIRECTS} redirects"
        )))
    }
}

async fn collect(response: Response<WasiBody>) -> Result<legacy_abi::Response, Failure> {
    let (head, mut body) = response.into_parts();
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| unexpected(error.to_string()))?;
        let Ok(data) = frame.into_data() else { continue };
        if bytes.len() + data.len() > MAX_BYTES as usize {
            return Err(unexpected(format!("the answer has more than {MAX_BYTES} bytes")));
        }
        bytes.extend_from_slice(&data);
    }
    let pair = |(name, value): (&HeaderName, &HeaderValue)| {
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        (name.as_str().to_owned(), value)
    };
    Ok(legacy_abi::Response {
        status: head.status.as_u16(),
        headers: head.headers.iter().map(pair).collect(),
        body: bytes,
    })
}

/// Method, target, headers, parameters, the body, which may be missing, and where the answer goes.
type Parameters = (u32, u32, u32, u32, u32, u32, u32, u32, u32, u32, u32);

pub fn link(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    linker.func_wrap_async(
        "http-client",
        "request",
        |caller: Caller<'_, Host>,
         (method, uri, length, headers, count, _, _, has_body, body, size, result): Parameters| {
            Box::new(async move {
                let call = Call::new(caller)?;
                let method = METHODS.get(method as usize).cloned();
                let method = method
                    .ok_or_else(|| wasmtime::format_err!("the guest passes a method that there is not"))?;
                let (uri, headers) = (call.text(uri, length)?, call.pairs(headers, count)?);
                let body = match has_body {
                    0 => Vec::new(),
                    _ => call.bytes(body, size)?,
                };
                let outcome = match Sending::new(method, &uri, headers, body) {
                    Ok(sending) => sending.send().await.map(Value::Response),
                    Err(failure) => Err(failure),
                };
                call.answer(result, outcome).await
            })
        },
    )?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sending(method: Method) -> Sending {
        let headers = vec![
            ("Authorization".to_owned(), "secret".to_owned()),
            ("Content-Type".to_owned(), "text/plain".to_owned()),
            ("Host".to_owned(), "other.test".to_owned()),
        ];
        Sending::new(method, "http://one.test:81/a/b?c", headers, b"body".to_vec()).expect("an address")
    }

    fn redirected(method: Method, status: u16, location: &'static str) -> Sending {
        let mut sending = sending(method);
        let mut headers = HeaderMap::new();
        headers.insert(LOCATION, HeaderValue::from_static(location));
        let status = StatusCode::from_u16(status).expect("a status");
        assert!(sending.follow(status, &headers).expect("an address"));
        sending
    }

    #[test]
    fn a_request_names_its_host() {
        let request = sending(Method::POST).request().expect("a request");
        assert_eq!(request.headers()[HOST], "one.test:81");
        for wrong in ["", "/a", "one.test", "ftp://one.test/", "http://"] {
            let failure = Sending::new(Method::GET, wrong, Vec::new(), Vec::new())
                .err()
                .expect(wrong);
            assert_eq!(failure.case, INVALID_URL);
        }
    }

    #[test]
    fn redirects_are_followed() {
        let uri = |location| redirected(Method::GET, 302, location).uri.to_string();
        assert_eq!(uri("/x?y"), "http://one.test:81/x?y");
        assert_eq!(uri("x"), "http://one.test:81/a/x");
        assert_eq!(uri("//two.test/x"), "http://two.test/x");
        assert_eq!(uri("https://two.test/"), "https://two.test/");
        let mut sending = sending(Method::GET);
        assert!(
            !sending
                .follow(StatusCode::FOUND, &HeaderMap::new())
                .expect("none")
        );
        assert!(!sending.follow(StatusCode::OK, &HeaderMap::new()).expect("none"));
    }

    #[test]
    fn a_redirect_takes_only_what_it_may_along() {
        let kept = redirected(Method::POST, 307, "/x");
        assert_eq!((kept.method, kept.body.len()), (Method::POST, 4));
        assert!(kept.headers.contains_key(AUTHORIZATION));
        let changed = redirected(Method::POST, 303, "http://two.test/");
        assert_eq!((changed.method, changed.body.len()), (Method::GET, 0));
        assert!(!changed.headers.contains_key(AUTHORIZATION) && !changed.headers.contains_key(CONTENT_TYPE));
    }
}
