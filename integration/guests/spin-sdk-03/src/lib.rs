//! Says what it sees of a request, and does with the stores and servers of its host what it is asked to. The rest of
//! the path after its route says what:
//!
//! | path | answer |
//! |---|---|
//! | | a line with the route |
//! | `/variable/NAME` | its value |
//! | `/file/NAME` | its text |
//! | `/count/KEY` | how often it was asked for this key, kept in the default store |
//! | `/request` | the method, the path, the query and the header fields, a line each |
//! | `/echo` | the request's body, piece by piece as it arrives |
//! | `/lines/N` | N lines, one every 20 milliseconds |
//! | `/out` | status and body of the answer to a GET of the URL in the request's body, or 502 and why not |
//! | `/forward` | the answer to a POST of the request's body to the URL in the header `x-address` |
//! | `/many` | how many of the URLs in the request's body answered, asked for all at once |
//! | `/sleep/MS` | how many requests this instance was in the midst of after that, this one included |
//! | `/take/BYTES` | how many bytes it could have |
//! | `/compute/MS` | none: it computes for ever, after that time |
//! | `/trap` | none: it traps |
//!
//! Others are in [`servers`]. A message from Redis is appended to the value of the key `messages` in the default store.

mod servers;

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::{SinkExt as _, StreamExt as _};
use spin_sdk::http::body::{IncomingBodyExt as _, stream};
use spin_sdk::http::{BoxBody, FullBody, Request, Response, StatusCode, box_body, get, post};
use spin_sdk::key_value::Store;
use spin_sdk::{http_service, redis_subscriber, variables, wasip3};

/// Status and text.
type Said = (u16, String);

/// Requests that this instance is in the midst of.
static NOW: AtomicU32 = AtomicU32::new(0);

#[http_service]
async fn handle(request: Request) -> anyhow::Result<Response<BoxBody>> {
    let rest = field(&request, "spin-path-info");
    let (what, argument) = match rest.trim_start_matches('/').split_once('/') {
        Some((what, argument)) => (what, argument),
        None => (rest.trim_start_matches('/'), ""),
    };
    Ok(match what {
        "echo" => echo(request),
        "lines" => lines(argument.parse()?),
        "forward" => forward(request).await?,
        _ => {
            let (status, text) = answer(what, argument, request).await?;
            let body = box_body(FullBody::new(Bytes::from(text)));
            Response::builder()
                .status(status)
                .header("content-type", "text/plain")
                .body(body)?
        }
    })
}

#[redis_subscriber]
async fn on_message(message: Bytes) -> anyhow::Result<()> {
    let store = Store::open_default().await?;
    let mut all = store.get("messages").await?.unwrap_or_default();
    all.extend_from_slice(&message);
    store.set("messages", &all).await?;
    Ok(())
}

fn field(request: &Request, name: &str) -> String {
    let value = request.headers().get(name);
    value.and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
}

async fn answer(what: &str, argument: &str, request: Request) -> anyhow::Result<Said> {
    Ok(match what {
        "" => (200, format!("Hello from SDK 7 at {}\n", field(&request, "spin-component-route"))),
        "variable" => match variables::get(argument).await {
            Ok(value) => (200, format!("{value}\n")),
            Err(error) => (404, format!("{error}\n")),
        },
        "file" => match std::fs::read_to_string(format!("/{argument}")) {
            Ok(text) => (200, text),
            Err(error) => (404, format!("{error}\n")),
        },
        "count" => (200, format!("{}\n", count(argument).await?)),
        "request" => (200, describe(&request)),
        "out" => match out(&text(request).await?).await {
            Ok(said) => said,
            Err(error) => (502, format!("{error:?}\n")),
        },
        "many" => {
            let urls = text(request).await?;
            let all = futures::future::join_all(urls.lines().map(out)).await;
            (200, format!("{}\n", all.iter().flatten().count()))
        }
        "sleep" => {
            let time = Duration::from_millis(argument.parse()?);
            NOW.fetch_add(1, Ordering::Relaxed);
            spin_sdk::time::sleep(time).await;
            (200, format!("{}\n", NOW.fetch_sub(1, Ordering::Relaxed)))
        }
        "take" => (200, format!("{}\n", take(argument.parse()?))),
        "compute" => {
            spin_sdk::time::sleep(Duration::from_millis(argument.parse()?)).await;
            loop {
                std::hint::black_box(());
            }
        }
        "trap" => core::arch::wasm32::unreachable(),
        what => {
            let address = match field(&request, "x-address") {
                address if address.is_empty() => "default".to_owned(),
                address => address,
            };
            match servers::answer(what, &address, &text(request).await?).await {
                Ok(text) => (200, text),
                Err(error) => (500, error),
            }
        }
    })
}

async fn text(request: Request) -> anyhow::Result<String> {
    Ok(String::from_utf8(request.into_body().bytes().await?.into())?)
}

async fn count(key: &str) -> anyhow::Result<u64> {
    let store = Store::open_default().await?;
    let before = store.get(key).await?.unwrap_or_default();
    let count = String::from_utf8(before)?.parse::<u64>().unwrap_or(0) + 1;
    store.set(key, count.to_string().as_bytes()).await?;
    Ok(count)
}

fn describe(request: &Request) -> String {
    let mut text = format!(
        "method {}\npath {}\nquery {}\n",
        request.method(),
        request.uri().path(),
        request.uri().query().unwrap_or_default()
    );
    for (name, value) in request.headers() {
        text += &format!("field {name}: {}\n", String::from_utf8_lossy(value.as_bytes()));
    }
    text
}

async fn out(url: &str) -> anyhow::Result<Said> {
    let response = get(url.trim()).await?;
    let status = response.status().as_u16();
    let body = response.into_body().bytes().await?;
    Ok((200, format!("{status}\n{}", String::from_utf8_lossy(&body))))
}

/// As far as memory goes, in steps of a megabyte.
fn take(bytes: usize) -> usize {
    const STEP: usize = 1 << 20;
    let mut all: Vec<Vec<u8>> = Vec::new();
    let mut taken = 0;
    while taken < bytes {
        let mut piece = Vec::new();
        if piece.try_reserve_exact(STEP).is_err() {
            break;
        }
        piece.resize(STEP, 1);
        all.push(piece);
        taken += STEP;
    }
    std::hint::black_box(&all);
    taken
}

fn echo(request: Request) -> Response<BoxBody> {
    let (mut sender, body) = stream::<Bytes>();
    let mut pieces = request.into_body().stream();
    wasip3::spawn(async move {
        while let Some(Ok(piece)) = pieces.next().await {
            if sender.send(piece).await.is_err() {
                return;
            }
        }
    });
    Response::new(box_body(body))
}

fn lines(number: u32) -> Response<BoxBody> {
    let (mut sender, body) = stream::<String>();
    wasip3::spawn(async move {
        for number in 1..=number {
            if sender.send(format!("line {number}\n")).await.is_err() {
                return;
            }
            spin_sdk::time::sleep(Duration::from_millis(20)).await;
        }
    });
    Response::new(box_body(body))
}

async fn forward(request: Request) -> anyhow::Result<Response<BoxBody>> {
    let url = field(&request, "x-address");
    let answer = post(url, text(request).await?).await?;
    let status = StatusCode::from_u16(answer.status().as_u16())?;
    let bytes = answer.into_body().bytes().await?;
    let mut response = Response::new(box_body(FullBody::new(bytes)));
    *response.status_mut() = status;
    Ok(response)
}
