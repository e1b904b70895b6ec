//! Says what it sees of a request, of its variables and of its store.

use spin_sdk::http::{IntoResponse, Request, Response};
use spin_sdk::http_component;
use spin_sdk::key_value::Store;
use spin_sdk::variables;

#[http_component]
fn handle(request: Request) -> anyhow::Result<impl IntoResponse> {
    let (status, text) = answer(&request);
    Ok(Response::builder()
        .status(status)
        .header("content-type", "text/plain")
        .body(text)
        .build())
}

fn answer(request: &Request) -> (u16, String) {
    let header = |name: &str| {
        let value = request.header(name).and_then(|value| value.as_str());
        value.unwrap_or_default().to_owned()
    };
    let rest = header("spin-path-info");
    let (what, argument) = match rest.trim_start_matches('/').split_once('/') {
        Some((what, argument)) => (what.to_owned(), argument.to_owned()),
        None => (rest.trim_start_matches('/').to_owned(), String::new()),
    };
    match what.as_str() {
        "" => (200, format!("Hello from SDK 3 at {}\n", header("spin-component-route"))),
        "variable" => match variables::get(&argument) {
            Ok(value) => (200, format!("{value}\n")),
            Err(error) => (404, format!("{error}\n")),
        },
        "count" => match count(&argument) {
            Ok(count) => (200, format!("{count}\n")),
            Err(error) => (500, format!("{error}\n")),
        },
        "file" => match std::fs::read_to_string(format!("/{argument}")) {
            Ok(text) => (200, text),
            Err(error) => (404, format!("{error}\n")),
        },
        other => (404, format!("nothing is called {other}\n")),
    }
}

/// How often it was asked for this key, kept in the default store.
fn count(key: &str) -> anyhow::Result<u64> {
    let store = Store::open_default()?;
    let before = store.get(key)?.unwrap_or_default();
    let count = String::from_utf8(before)?.parse::<u64>().unwrap_or(0) + 1;
    store.set(key, count.to_string().as_bytes())?;
    Ok(count)
}
