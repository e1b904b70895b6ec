//! A service of WASI 0.2: a component that exports wasi:http/incoming-handler. It answers by the path:
//!
//! | path | answer |
//! |---|---|
//! | `/` | a line |
//! | `/echo` | the request's body, piece by piece as it arrives |
//! | `/request` | the method, the path with the query, the authority and the header fields, a line each |
//! | `/stream?chunks=N&ms=M` | N lines, one every M milliseconds |
//! | `/big?bytes=N` | N bytes |
//! | `/env`, `/args` | the environment, the arguments, a line each |
//! | `/file?path=P` | what the file P holds, or 404 and why not |
//! | `/count` | how many requests this instance has had, this one included |
//! | `/status?code=N` | that status and no body |
//! | `/sleep?ms=M` | a line, after M milliseconds |
//! | `/log?text=T` | a line, and T on the standard output and the standard error |
//! | `/out?url=U` | the status and the body of `GET U`, or 502 and why not |
//! | `/fail` | no response, but an error code of wasi:http |
//! | `/silent` | nothing: the handler returns without a response |
//! | `/trap` | nothing: it traps before it responds |
//! | `/late-trap` | some of a body, then it traps |
//! | `/spin` | nothing: it computes without an end |
//!
//! Numbers that the query lacks have defaults; anything else is 404.

mod outgoing;
mod response;

use std::sync::atomic::{AtomicU32, Ordering};
use std::{env, fs, thread, time::Duration};

use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{ErrorCode, IncomingBody, IncomingRequest, ResponseOutparam};

use response::{answer, start};

struct Service;

wasip2::http::proxy::export!(Service);

/// The requests of this instance.
static REQUESTS: AtomicU32 = AtomicU32::new(0);

impl Guest for Service {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let count = REQUESTS.fetch_add(1, Ordering::Relaxed) + 1;
        let target = request.path_with_query().unwrap_or_default();
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        match path {
            "/" => answer(out, 200, "Hello from WASI 0.2\n"),
            "/echo" => echo(request, out),
            "/request" => answer(out, 200, &describe(&request)),
            "/stream" => stream(out, number(query, "chunks", 3), number(query, "ms", 100)),
            "/big" => big(out, number(query, "bytes", 1 << 20)),
            "/env" => answer(
                out,
                200,
                &lines(env::vars().map(|(name, value)| format!("{name}={value}"))),
            ),
            "/args" => answer(out, 200, &lines(env::args())),
            "/file" => match fs::read_to_string(text(query, "path")) {
                Ok(text) => answer(out, 200, &text),
                Err(error) => answer(out, 404, &format!("{error}\n")),
            },
            "/count" => answer(out, 200, &format!("{count}\n")),
            "/status" => answer(out, number(query, "code", 200) as u16, ""),
            "/sleep" => {
                thread::sleep(Duration::from_millis(number(query, "ms", 100)));
                answer(out, 200, "slept\n");
            }
            "/log" => {
                println!("{}", text(query, "text"));
                eprintln!("{}", text(query, "text"));
                answer(out, 200, "logged\n");
            }
            "/out" => match outgoing::get(text(query, "url")) {
                Ok((status, body)) => {
                    answer(out, 200, &format!("{status}\n{}", String::from_utf8_lossy(&body)))
                }
                Err(why) => answer(out, 502, &format!("{why}\n")),
            },
            "/fail" => ResponseOutparam::set(out, Err(ErrorCode::LoopDetected)),
            "/silent" => {}
            "/trap" => core::arch::wasm32::unreachable(),
            "/late-trap" => {
                start(out, 200).write(b"some of it\n");
                core::arch::wasm32::unreachable();
            }
            "/spin" => loop {
                core::hint::spin_loop();
            },
            _ => answer(out, 404, "no such path\n"),
        }
    }
}

fn echo(request: IncomingRequest, out: ResponseOutparam) {
    let body = request.consume().expect("the body is consumed once");
    let input = body.stream().expect("the body has one stream");
    let output = start(out, 200);
    // Ends with the body; if the client is gone, so is the reason to go on.
    while let Ok(piece) = input.blocking_read(64 * 1024) {
        if !output.write(&piece) {
            break;
        }
    }
    drop(input);
    IncomingBody::finish(body);
    output.finish();
}

fn stream(out: ResponseOutparam, chunks: u64, ms: u64) {
    let output = start(out, 200);
    for number in 1..=chunks {
        if !output.write(format!("chunk {number}\n").as_bytes()) {
            return;
        }
        if number < chunks {
            thread::sleep(Duration::from_millis(ms));
        }
    }
    output.finish();
}

fn big(out: ResponseOutparam, bytes: u64) {
    let output = start(out, 200);
    let piece = [b'x'; 4096];
    let mut left = bytes;
    while left > 0 {
        let now = left.min(piece.len() as u64);
        if !output.write(&piece[..now as usize]) {
            return;
        }
        left -= now;
    }
    output.finish();
}

fn describe(request: &IncomingRequest) -> String {
    let head = [
        format!("method {:?}", request.method()),
        format!("path {}", request.path_with_query().unwrap_or_default()),
        format!("scheme {:?}", request.scheme()),
        format!("authority {}", request.authority().unwrap_or_default()),
    ];
    let fields = request.headers().entries();
    let fields = fields
        .iter()
        .map(|(name, value)| format!("field {name}: {}", String::from_utf8_lossy(value)));
    lines(head.into_iter().chain(fields))
}

fn lines(items: impl Iterator<Item = String>) -> String {
    items.map(|item| item + "\n").collect()
}

/// The value of `name` in the query, as it is written there; empty without one. Values that hold an `&` come last.
fn text<'a>(query: &'a str, name: &str) -> &'a str {
    let start = format!("{name}=");
    if name == "url" {
        return query.strip_prefix(&start).unwrap_or_default();
    }
    query
        .split('&')
        .find_map(|pair| pair.strip_prefix(&start))
        .unwrap_or_default()
}

fn number(query: &str, name: &str, default: u64) -> u64 {
    text(query, name).parse().unwrap_or(default)
}
