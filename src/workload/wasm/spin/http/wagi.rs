//! Programs that answer a request as CGI has it (RFC 3875): the request is in their environment, arguments and standard
//! input, the answer what they print.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, COOKIE, HeaderMap, HeaderName, HeaderValue, LOCATION};
use hyper::{Request, Response, StatusCode};
use wasmtime::component::InstancePre;
use wasmtime::{Engine, Store};
use wasmtime_wasi::I32Exit;
use wasmtime_wasi::p2::pipe::MemoryInputPipe;
use wasmtime_wasi_http::WasiBody;

use super::super::program::Program;
use super::super::seed::Seed;
use super::printed::Output;
use super::router::Matched;
use super::whole::{MAX_HEAD, Running, collect, take};
use super::{body, headers};
use crate::workload::wasm::kinds::Wasi;
use crate::workload::wasm::kinds::http::{Slots, report};
use crate::workload::wasm::kinds::wasi::{Context, Host};
use crate::workload::wasm::limits::Limits;

/// A component that is a program.
pub struct Wagi {
    engine: Engine,
    program: Arc<Program>,
    seed: Arc<Seed>,
    limits: Limits,
}

/// What is known of a request besides itself.
pub struct Circumstances<'a> {
    pub matched: &'a Matched,
    pub client: SocketAddr,
    /// The manifest's template of the arguments.
    pub argv: &'a str,
}

/// What a program is told of a request.
struct Call {
    args: Vec<String>,
    env: Vec<(String, String)>,
}

impl Wagi {
    pub fn new(
        engine: &Engine,
        linked: InstancePre<Host>,
        wasi: Wasi,
        seed: Arc<Seed>,
        limits: Limits,
    ) -> wasmtime::Result<Self> {
        Ok(Self {
            engine: engine.clone(),
            program: Arc::new(Program::new(linked, wasi)?),
            seed,
            limits,
        })
    }

    /// Runs the program for a request.
    pub async fn answer(
        &self,
        request: Request<WasiBody>,
        circumstances: Circumstances<'_>,
        slots: &Slots,
    ) -> Result<Response<WasiBody>, StatusCode> {
        // Before anything is kept of the request: there is no more of them than of instances.
        let slot = slots.take().await.ok_or(StatusCode::SERVICE_UNAVAILABLE)?;
        // What is kept is not held to what one instance may have.
        let mut held = self.limits.another().at_most_each(None);
        let mut call = Call::new(&request, circumstances);
        if !take(&mut held, call.bytes()) {
            return Err(StatusCode::SERVICE_UNAVAILABLE);
        }
        let input = Bytes::from(collect(request.into_body(), &mut held).await?);
        let output = Output::new(self.limits.another().at_most_each(None));
        call.env
            .push(("CONTENT_LENGTH".to_owned(), input.len().to_string()));
        let mut wasi = self.seed.wasi(&call.env);
        wasi.args(&call.args);
        wasi.stdin(MemoryInputPipe::new(input)).stdout(output.clone());
        let context = Context::Made(Box::new(self.seed.finish(&mut wasi)));
        let mut store = Store::new(&self.engine, self.seed.host_with(context));
        let applied = self.limits.apply(&mut store, Host::limits);
        let program = Arc::clone(&self.program);
        let task = Running::start(async move {
            applied?;
            let outcome = run(&mut store, &program).await;
            drop(store);
            drop(held);
            drop(slot);
            outcome
        });
        let outcome = match task.outcome().await {
            Ok(Ok(())) => output
                .into_bytes()
                .map_err(|lack| wasmtime::format_err!("{lack}")),
            Ok(Err(error)) => Err(error),
            // No task fails but with its runtime: a panic ends the process.
            Err(_) => return Err(StatusCode::INTERNAL_SERVER_ERROR),
        };
        match outcome {
            Ok(printed) => Ok(response(&printed)),
            Err(error) => {
                report(&error, Some(Arc::from(self.seed.grants.component.as_str())));
                Err(StatusCode::INTERNAL_SERVER_ERROR)
            }
        }
    }
}

async fn run(store: &mut Store<Host>, program: &Program) -> wasmtime::Result<()> {
    match program.run(store).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(())) => Err(wasmtime::format_err!("the program has failed")),
        Err(error) if matches!(error.downcast_ref::<I32Exit>(), Some(I32Exit(0))) => Ok(()),
        Err(error) => Err(error),
    }
}

impl Call {
    fn new(request: &Request<WasiBody>, circumstances: Circumstances<'_>) -> Self {
        let Circumstances {
            matched,
            client,
            argv,
        } = circumstances;
        let uri = request.uri();
        let facts = headers::facts(uri, matched, client);
        let (path, query) = (uri.path(), uri.query().unwrap_or_default());
        let args = filled(argv, path, query);
        let header = |name: HeaderName| {
            let value = request.headers().get(name);
            value.and_then(|value| value.to_str().ok()).unwrap_or_default()
        };
        let mut env: Vec<(String, String)> = of_fields(request.headers()).into_iter().collect();
        let client = client.ip().to_string();
        let info = decoded(&matched.rest);
        let standard = [
            ("AUTH_TYPE", ""),
            ("CONTENT_TYPE", header(CONTENT_TYPE)),
            ("GATEWAY_INTERFACE", "CGI/1.1"),
            ("PATH_INFO", &info),
            ("PATH_TRANSLATED", &info),
            ("QUERY_STRING", query),
            ("REMOTE_ADDR", &client),
            ("REMOTE_HOST", &client),
            ("REMOTE_USER", ""),
            ("REQUEST_METHOD", request.method().as_str()),
            ("SCRIPT_NAME", matched.text.based_or_prefix()),
            ("SERVER_NAME", uri.host().unwrap_or("localhost")),
            ("SERVER_PORT", &uri.port_u16().unwrap_or(80).to_string()),
            ("SERVER_PROTOCOL", &format!("{:?}", request.version())),
            ("SERVER_SOFTWARE", "WAGI/1"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
        env.extend(standard);
        for (name, value) in facts {
            let name = name.to_uppercase().replace('-', "_");
            let name = match name.strip_prefix("SPIN_").unwrap_or(&name) {
                "PATH_INFO" => "X_RAW_PATH_INFO".to_owned(),
                name => format!("X_{name}"),
            };
            env.push((name, value));
        }
        Self {
            args: args.split(' ').map(str::to_owned).collect(),
            env,
        }
    }

    /// About as many as it takes of memory, here and in the program's surroundings.
    fn bytes(&self) -> usize {
        let args = self.args.iter().map(|arg| size_of::<String>() + arg.len());
        let env = self.env.iter().map(|(name, value)| {
            let texts = name.len() + value.len();
            size_of::<(String, String)>() + texts
        });
        2 * args.chain(env).sum::<usize>()
    }
}

/// A template of arguments with a request's path and query in it. These are a client's: what looks like a part of the
/// template in them is none, or a short path could become as many long queries.
fn filled(argv: &str, path: &str, query: &str) -> String {
    let query = query.replace('&', " ");
    let parts = argv
        .split("${SCRIPT_NAME}")
        .map(|part| part.replace("${ARGS}", &query));
    parts.collect::<Vec<_>>().join(path)
}

/// A variable for each field; one that comes more than once is put together (RFC 3875, section 4.1.18).
fn of_fields(fields: &HeaderMap) -> BTreeMap<String, String> {
    let mut variables = BTreeMap::new();
    for name in fields.keys() {
        // It would become the variable of another field, which a proxy before us may vouch for: `X_Real_IP` that of
        // `X-Real-IP`. Apache and nginx leave them out too.
        if name.as_str().contains('_') {
            continue;
        }
        let key = name.as_str().to_uppercase().replace('-', "_");
        // A client's Proxy would become HTTP_PROXY, which programs take for their proxy (CVE-2016-5385).
        if ["AUTHORIZATION", "CONNECTION", "PROXY"].contains(&key.as_str()) {
            continue;
        }
        let separator = if name == COOKIE { "; " } else { ", " };
        for value in fields.get_all(name) {
            let Ok(value) = value.to_str() else { continue };
            let joined: &mut String = variables.entry(format!("HTTP_{key}")).or_default();
            if !joined.is_empty() {
                joined.push_str(separator);
            }
            joined.push_str(value);
        }
    }
    variables
}

/// A path without its percent-encoding. A zero byte stays encoded: no variable can have one.
fn decoded(path: &str) -> String {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let digits = (*first == b'%').then(|| after.get(..2)).flatten();
        let code = digits
            .filter(|digits| digits.iter().all(u8::is_ascii_hexdigit))
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 16).ok())
            .filter(|code| *code != 0);
        bytes.push(code.unwrap_or(*first));
        rest = if code.is_some() { &after[2..] } else { after };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The answer that a program has printed: fields, an empty line, a body.
fn response(printed: &Bytes) -> Response<WasiBody> {
    let (head, rest) = split(printed);
    if head.len() > MAX_HEAD {
        return failed("the program has printed more than the 1 MiB of fields that an answer may have\n");
    }
    let mut answer = Response::new(body(printed.slice_ref(rest)));
    let (mut says_something, mut status) = (false, None);
    for line in String::from_utf8_lossy(head).lines() {
        let Some((name, value)) = line.split_once(':') else {
            continue;
        };
        let (name, value) = (name.trim().to_ascii_lowercase(), value.trim());
        if name == "status" {
            let code = value.split(' ').next().unwrap_or_default().parse::<StatusCode>();
            // One that tells of an answer to come is none: the client would wait for it, or speak another protocol.
            let code = code.ok().filter(|code| !code.is_informational());
            status = Some(code.unwrap_or(StatusCode::BAD_GATEWAY));
            says_something = true;
            continue;
        }
        let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) else {
            continue;
        };
        says_something |= name == CONTENT_TYPE || name == LOCATION;
        // Beyond some ten thousand the map would panic otherwise, and end all others with this one.
        if answer.headers_mut().try_append(name, value).is_err() {
            return failed("the program has printed more fields than can be sent\n");
        }
    }
    if !says_something {
        return failed("the program has printed no Content-Type, Location or Status\n");
    }
    headers::leave_connection_to_server(answer.headers_mut());
    let moved = answer.headers().contains_key(LOCATION);
    let usual = if moved { StatusCode::FOUND } else { StatusCode::OK };
    *answer.status_mut() = status.unwrap_or(usual);
    answer
}

fn failed(text: &'static str) -> Response<WasiBody> {
    let mut failed = Response::new(body(Bytes::from_static(text.as_bytes())));
    *failed.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
    failed
}

/// Head and body; the head ends with its empty line.
fn split(printed: &[u8]) -> (&[u8], &[u8]) {
    let mut start = 0;
    for line in printed.split_inclusive(|byte| *byte == b'\n') {
        if matches!(line, b"\n" | b"\r\n") {
            return (&printed[..start], &printed[start + line.len()..]);
        }
        start += line.len();
    }
    (printed, &[])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(text: &str) -> (u16, Option<String>) {
        let response = response(&Bytes::copy_from_slice(text.as_bytes()));
        let kind = response.headers().get(CONTENT_TYPE);
        (
            response.status().as_u16(),
            kind.map(|kind| kind.to_str().expect("text").to_owned()),
        )
    }

    #[test]
    fn what_is_printed_becomes_an_answer() {
        let plain = Some("text/plain".to_owned());
        assert_eq!(printed("Content-Type: text/plain\n\nhello"), (200, plain.clone()));
        assert_eq!(
            printed("Status: 418 teapot\r\nContent-Type: text/plain\r\n\r\nhello"),
            (418, plain)
        );
        assert_eq!(printed("Location: /other\n\n"), (302, None));
        assert_eq!(printed("Status: none\n\n"), (502, None));
        assert_eq!(printed("Status: 101\n\n"), (502, None));
        assert_eq!(printed("hello\n").0, 500);
        assert_eq!(printed("").0, 500);
    }

    #[test]
    fn more_fields_than_can_be_sent_are_no_answer() {
        let fields = |count: usize, value: &str| {
            let fields: String = (0..count).map(|at| format!("a{at}: {value}\n")).collect();
            printed(&format!("Status: 200\n{fields}\nhello")).0
        };
        assert_eq!(fields(1000, "b"), 200);
        assert_eq!(fields(40_000, "b"), 500);
        assert_eq!(fields(20, &"b".repeat(60_000)), 500);
    }

    #[test]
    fn a_client_does_not_write_the_template() {
        assert_eq!(filled("x ${SCRIPT_NAME} ${ARGS}", "/a", "b=1&c"), "x /a b=1 c");
        assert_eq!(
            filled("${SCRIPT_NAME} ${ARGS}", "/${ARGS}${ARGS}", "${SCRIPT_NAME}"),
            "/${ARGS}${ARGS} ${SCRIPT_NAME}"
        );
    }

    #[test]
    fn a_program_does_not_say_where_its_answer_ends() {
        let text = "Content-Type: text/plain\nContent-Length: 2\nTransfer-Encoding: chunked\nConnection: keep-alive\n\
                    X-Own: a\n\nhello";
        let response = response(&Bytes::from_static(text.as_bytes()));
        let names: Vec<&str> = response.headers().keys().map(HeaderName::as_str).collect();
        assert_eq!(names, ["content-type", "x-own"]);
    }

    #[test]
    fn paths_are_decoded() {
        for (path, expected) in [
            ("/a%20b", "/a b"),
            ("/%C3%A9/%2f", "/\u{e9}//"),
            ("/%00", "/%00"),
            ("/%", "/%"),
            ("/%4", "/%4"),
            ("/%zz%+1", "/%zz%+1"),
            ("", ""),
        ] {
            assert_eq!(decoded(path), expected, "{path}");
        }
    }

    #[test]
    fn the_head_ends_at_the_first_empty_line() {
        assert_eq!(split(b"a: b\n\nc\n\nd"), (&b"a: b\n"[..], &b"c\n\nd"[..]));
        assert_eq!(split(b"a: b\r\n\r\n"), (&b"a: b\r\n"[..], &b""[..]));
        assert_eq!(split(b"\nbody"), (&b""[..], &b"body"[..]));
        assert_eq!(split(b"a: b"), (&b"a: b"[..], &b""[..]));
    }

    #[test]
    fn a_request_becomes_an_environment() {
        let request = Request::post("http://one.test:81/cgi/x%20y?a=1&b=2")
            .header("x-own", "another")
            .header("cookie", "a=1")
            .header("cookie", "b=2")
            .header("content-type", "text/plain")
            .header("x-own", "value")
            .header("x_own", "forged")
            .header("proxy", "http://evil.test")
            .header("authorization", "secret")
            .body(body(Bytes::new()))
            .expect("a request");
        let matched = Matched {
            trigger: 0,
            text: super::super::router::Text::new("/cgi/...", "/cgi/...").into(),
            rest: "/x%20y".to_owned(),
            named: Vec::new(),
        };
        let client = SocketAddr::from(([10, 0, 0, 7], 42));
        let circumstances = Circumstances {
            matched: &matched,
            client,
            argv: "${SCRIPT_NAME} ${ARGS}",
        };
        let call = Call::new(&request, circumstances);
        let (least, most) = (2 * size_of::<String>() * 3, 8 << 10);
        assert!((least..most).contains(&call.bytes()), "{}", call.bytes());
        assert_eq!(call.args, ["/cgi/x%20y", "a=1", "b=2"]);
        let get = |name: &str| {
            let mut found = call.env.iter().filter(|(key, _)| key == name);
            let first = found.next().map(|(_, value)| value.as_str());
            assert!(found.next().is_none(), "{name} is there twice");
            first
        };
        for (name, value) in [
            ("REQUEST_METHOD", "POST"),
            ("QUERY_STRING", "a=1&b=2"),
            ("PATH_INFO", "/x y"),
            ("PATH_TRANSLATED", "/x y"),
            ("X_RAW_PATH_INFO", "/x%20y"),
            ("SCRIPT_NAME", "/cgi"),
            ("X_MATCHED_ROUTE", "/cgi/..."),
            ("X_FULL_URL", "http://one.test:81/cgi/x%20y?a=1&b=2"),
            ("REMOTE_ADDR", "10.0.0.7"),
            ("SERVER_PORT", "81"),
            ("HTTP_X_OWN", "another, value"),
            ("HTTP_COOKIE", "a=1; b=2"),
            ("CONTENT_TYPE", "text/plain"),
        ] {
            assert_eq!(get(name), Some(value), "{name}");
        }
        assert_eq!((get("HTTP_PROXY"), get("HTTP_AUTHORIZATION")), (None, None));
    }
}
