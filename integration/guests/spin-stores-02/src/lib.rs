//! Does with the stores and servers of its host what it is asked to. A request's path says what, its header
//! `x-address` with which store or server, and its body the statement, the message or the key and the value:
//!
//! | path | body | answer |
//! |---|---|---|
//! | `/set` | KEY=VALUE | nothing |
//! | `/get`, `/delete` | KEY | the value; nothing |
//! | `/keys` | | the keys, sorted |
//! | `/increment` | KEY | the number, by wasi:keyvalue |
//! | `/variables` | | each with its value, by wasi:config |
//! | `/sqlite`, `/old-sqlite`, `/postgres`, `/old-postgres`, `/mysql` | a statement | its rows |
//! | `/redis` | a command, words | the answers |
//! | `/mqtt` | TOPIC=MESSAGE | nothing |
//!
//! An error is 500 and its text.

use std::fmt::Debug;

use spin_sdk::http::{IntoResponse, Request, Response};
use spin_sdk::http_component;
use spin_sdk::key_value::Store;
use spin_sdk::wit::wasi::{config, keyvalue};
use spin_sdk::{mqtt, mysql, pg, pg4, redis, sqlite, sqlite3};

#[http_component]
fn handle(request: Request) -> anyhow::Result<impl IntoResponse> {
    let address = request.header("x-address").and_then(|value| value.as_str());
    let body = String::from_utf8(request.body().to_vec())?;
    let (status, text) = match answer(request.path(), address.unwrap_or("default"), &body) {
        Ok(text) => (200, text),
        Err(error) => (500, error),
    };
    Ok(Response::builder()
        .status(status)
        .header("content-type", "text/plain")
        .body(text)
        .build())
}

fn text(error: impl Debug) -> String {
    format!("{error:?}")
}

fn rows<T: Debug>(rows: impl IntoIterator<Item = T>) -> String {
    rows.into_iter().map(|row| format!("{row:?}\n")).collect()
}

fn answer(path: &str, address: &str, body: &str) -> Result<String, String> {
    let (key, value) = body.split_once('=').unwrap_or((body, ""));
    let store = || Store::open(address).map_err(text);
    Ok(match path {
        "/set" => store()?.set(key, value.as_bytes()).map_err(text).map(|()| String::new())?,
        "/get" => match store()?.get(key).map_err(text)? {
            Some(value) => String::from_utf8(value).map_err(text)?,
            None => return Err("there is none".to_owned()),
        },
        "/delete" => store()?.delete(key).map_err(text).map(|()| String::new())?,
        "/keys" => {
            let mut keys = store()?.get_keys().map_err(text)?;
            keys.sort();
            keys.join("\n")
        }
        "/increment" => {
            let bucket = keyvalue::store::open(address).map_err(text)?;
            keyvalue::atomics::increment(&bucket, key, 1).map_err(text)?.to_string()
        }
        "/variables" => rows(config::store::get_all().map_err(text)?),
        "/sqlite" => {
            let connection = sqlite3::Connection::open(address).map_err(text)?;
            rows(connection.execute(body, &[]).map_err(text)?.rows)
        }
        "/old-sqlite" => {
            let connection = sqlite::Connection::open(address).map_err(text)?;
            rows(connection.execute(body, &[]).map_err(text)?.rows)
        }
        "/postgres" => {
            let connection = pg4::Connection::open(address).map_err(text)?;
            rows(connection.query(body, &[]).map_err(text)?.rows)
        }
        "/old-postgres" => {
            let connection = pg::Connection::open(address).map_err(text)?;
            rows(connection.query(body, &[]).map_err(text)?.rows)
        }
        "/mysql" => {
            let connection = mysql::Connection::open(address).map_err(text)?;
            rows(connection.query(body, &[]).map_err(text)?.rows)
        }
        "/redis" => {
            let connection = redis::Connection::open(address).map_err(text)?;
            let mut words = body.split(' ');
            let command = words.next().unwrap_or_default();
            let arguments: Vec<_> = words
                .map(|word| redis::RedisParameter::Binary(word.as_bytes().to_vec()))
                .collect();
            rows(connection.execute(command, &arguments).map_err(text)?)
        }
        "/mqtt" => {
            let connection = mqtt::Connection::open(address, "", "", 30).map_err(text)?;
            let sent = connection.publish(key, value.as_bytes(), mqtt::Qos::AtLeastOnce);
            sent.map_err(text).map(|()| String::new())?
        }
        other => return Err(format!("nothing is called {other}")),
    })
}
