//! A service of WASI 0.3: a component that exports the asynchronous wasi:http/handler. It answers by the path:
//!
//! | path | answer |
//! |---|---|
//! | `/` | a line |
//! | `/echo` | the request's body, piece by piece as it arrives |
//! | `/request` | the method, the path with the query, the authority and the header fields, a line each |
//! | `/stream?chunks=N&ms=M` | N lines, one every M milliseconds |
//! | `/big?bytes=N` | N bytes |
//! | `/env` | the environment, a line each |
//! | `/count` | how many requests this instance has had, this one included |
//! | `/status?code=N` | that status and no body |
//! | `/sleep?ms=M` | after M milliseconds, how many requests this instance was in the midst of, this one included |
//! | `/out?url=U` | the status and the body of `GET U`, or 502 and why not |
//! | `/fail` | no response, but an error code of wasi:http |
//! | `/trap` | nothing: it traps before it responds |
//!
//! Numbers that the query lacks have defaults; anything else is 404.

mod outgoing;

use std::env;
use std::sync::atomic::{AtomicU32, Ordering};

use wasip3::clocks::monotonic_clock::wait_for;
use wasip3::exports::http::handler::Guest;
use wasip3::http::types::{ErrorCode, Fields, Request, Response};
use wasip3::wit_bindgen::rt::async_support::{StreamReader, StreamResult, StreamWriter};
use wasip3::{spawn_local, wit_future, wit_stream};

struct Service;

wasip3::http::service::export!(Service);

/// The requests of this instance, and those of them that are under way.
static REQUESTS: AtomicU32 = AtomicU32::new(0);
static NOW: AtomicU32 = AtomicU32::new(0);

impl Guest for Service {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        let count = REQUESTS.fetch_add(1, Ordering::Relaxed) + 1;
        let target = request.get_path_with_query().unwrap_or_default();
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        Ok(match path {
            "/" => answer(200, "Hello from WASI 0.3\n".to_owned()),
            "/echo" => echo(request),
            "/request" => answer(200, describe(&request)),
            "/stream" => stream(number(query, "chunks", 3), number(query, "ms", 100)),
            "/big" => big(number(query, "bytes", 1 << 20)),
            "/env" => answer(
                200,
                lines(env::vars().map(|(name, value)| format!("{name}={value}"))),
            ),
            "/count" => answer(200, format!("{count}\n")),
            "/status" => answer(number(query, "code", 200) as u16, String::new()),
            "/sleep" => {
                NOW.fetch_add(1, Ordering::Relaxed);
                wait_for(number(query, "ms", 100) * 1_000_000).await;
                answer(200, format!("{}\n", NOW.fetch_sub(1, Ordering::Relaxed)))
            }
            "/out" => match outgoing::get(query.strip_prefix("url=").unwrap_or_default()).await {
                Ok((status, body)) => answer(200, format!("{status}\n{}", String::from_utf8_lossy(&body))),
                Err(why) => answer(502, format!("{why}\n")),
            },
            "/fail" => return Err(ErrorCode::LoopDetected),
            "/trap" => core::arch::wasm32::unreachable(),
            _ => answer(404, "no such path\n".to_owned()),
        })
    }
}

/// A response whose body `write` makes, after the head is on its way.
fn response<F>(status: u16, write: impl FnOnce(StreamWriter<u8>) -> F) -> Response
where
    F: Future<Output = ()> + 'static,
{
    let fields = Fields::new();
    fields
        .append("content-type", b"text/plain")
        .expect("a valid field");
    let (sender, receiver) = wit_stream::new();
    let (trailers, no_trailers) = wit_future::new(|| Ok(None));
    drop(trailers); // Then the future holds its default, which is to have none.
    let (response, _sent) = Response::new(fields, Some(receiver), no_trailers);
    if response.set_status_code(status).is_err() {
        response.set_status_code(400).expect("a valid status");
    }
    spawn_local(write(sender));
    response
}

fn answer(status: u16, text: String) -> Response {
    response(status, |mut out| async move {
        out.write_all(text.into_bytes()).await;
    })
}

fn echo(request: Request) -> Response {
    let (consumed, done) = wit_future::new(|| Ok(()));
    drop(consumed);
    let (body, _trailers) = Request::consume_body(request, done);
    response(200, |out| copy(body, out))
}

/// Ends with the body, or when nobody takes what is written.
async fn copy(mut from: StreamReader<u8>, mut to: StreamWriter<u8>) {
    loop {
        let (result, piece) = from.read(Vec::with_capacity(64 * 1024)).await;
        if !to.write_all(piece).await.is_empty() || !matches!(result, StreamResult::Complete(_)) {
            break;
        }
    }
}

fn stream(chunks: u64, ms: u64) -> Response {
    response(200, move |mut out| async move {
        for number in 1..=chunks {
            if !out
                .write_all(format!("chunk {number}\n").into_bytes())
                .await
                .is_empty()
            {
                return;
            }
            if number < chunks {
                wait_for(ms * 1_000_000).await;
            }
        }
    })
}

fn big(bytes: u64) -> Response {
    response(200, move |mut out| async move {
        let mut left = bytes;
        while left > 0 {
            let now = left.min(64 * 1024);
            if !out.write_all(vec![b'x'; now as usize]).await.is_empty() {
                return;
            }
            left -= now;
        }
    })
}

fn describe(request: &Request) -> String {
    let head = [
        format!("method {:?}", request.get_method()),
        format!("path {}", request.get_path_with_query().unwrap_or_default()),
        format!("scheme {:?}", request.get_scheme()),
        format!("authority {}", request.get_authority().unwrap_or_default()),
    ];
    let fields = request.get_headers().copy_all();
    let fields = fields
        .iter()
        .map(|(name, value)| format!("field {name}: {}", String::from_utf8_lossy(value)));
    lines(head.into_iter().chain(fields))
}

fn lines(items: impl Iterator<Item = String>) -> String {
    items.map(|item| item + "\n").collect()
}

fn number(query: &str, name: &str, default: u64) -> u64 {
    let start = format!("{name}=");
    let value = query.split('&').find_map(|pair| pair.strip_prefix(&start));
    value.and_then(|value| value.parse().ok()).unwrap_or(default)
}
