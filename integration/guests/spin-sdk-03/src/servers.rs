//! What it does with stores and servers. The header `x-address` of a request says with which, and its body has the
//! statement, the message or the key and the value:
//!
//! | path | body | answer |
//! |---|---|---|
//! | `/set` | KEY=VALUE | nothing |
//! | `/get`, `/delete`, `/exists` | KEY | the value; nothing; true or false |
//! | `/keys` | | the keys, sorted |
//! | `/increment` | KEY | the number, by wasi:keyvalue |
//! | `/variables` | | each with its value, by wasi:config |
//! | `/sqlite`, `/postgres`, `/mysql` | a statement | its rows |
//! | `/changes` | statements, a line each | how many rows the last changed, and the number of the last inserted |
//! | `/hoard` | a statement | how many of 100 results it had at once of which it takes no row, and why no more |
//! | `/sets` | N | how many of N values of a megabyte it could set at once, and why the others not |
//! | `/redis` | a command, words | the answers |
//! | `/publish`, `/mqtt` | CHANNEL=MESSAGE | nothing |
//!
//! An error is its text.

use std::fmt::Debug;

use spin_sdk::experimental::wasi::{config, keyvalue};
use spin_sdk::key_value::Store;
use spin_sdk::{mqtt, mysql, pg, redis, sqlite};

fn text(error: impl Debug) -> String {
    format!("{error:?}")
}

fn rows<T: Debug>(rows: impl IntoIterator<Item = T>) -> String {
    rows.into_iter().map(|row| format!("{row:?}\n")).collect()
}

pub async fn answer(what: &str, address: &str, body: &str) -> Result<String, String> {
    let (key, value) = body.split_once('=').unwrap_or((body, ""));
    Ok(match what {
        "set" | "get" | "delete" | "exists" | "keys" => return store(what, address, key, value).await,
        "increment" => {
            let bucket = keyvalue::store::open(address).map_err(text)?;
            keyvalue::atomics::increment(&bucket, key, 1).map_err(text)?.to_string()
        }
        "variables" => rows(config::store::get_all().map_err(text)?),
        "sqlite" => {
            let connection = sqlite::Connection::open(address).await.map_err(text)?;
            let result = connection.execute(body, []).await.map_err(text)?;
            rows(result.collect().await.map_err(text)?)
        }
        "changes" => {
            let connection = sqlite::Connection::open(address).await.map_err(text)?;
            for statement in body.lines() {
                let result = connection.execute(statement, []).await.map_err(text)?;
                result.result().await.map_err(text)?;
            }
            let (changes, id) = (connection.changes().await, connection.last_insert_rowid().await);
            format!("{changes} {id}\n")
        }
        "hoard" => {
            let connection = sqlite::Connection::open(address).await.map_err(text)?;
            let (mut results, mut why) = (Vec::new(), String::new());
            while results.len() < 100 && why.is_empty() {
                match connection.execute(body, []).await {
                    Ok(result) => results.push(result),
                    Err(error) => why = text(error),
                }
            }
            format!("{} {why}\n", results.len())
        }
        "sets" => {
            let store = Store::open(address).await.map_err(text)?;
            let (store, value) = (&store, vec![1; 1 << 20]);
            let keys = 0..body.parse::<usize>().map_err(text)?;
            let setting = keys.map(|key| store.set(format!("set {key}"), &value));
            let results = futures::future::join_all(setting).await;
            let why = results.iter().find_map(|result| result.as_ref().err()).map(text);
            format!("{} {}\n", results.iter().flatten().count(), why.unwrap_or_default())
        }
        "postgres" => {
            let connection = pg::Connection::open(address).await.map_err(text)?;
            let mut result = connection.query(body, []).await.map_err(text)?;
            let mut all = Vec::new();
            while let Some(row) = result.rows().next().await {
                all.push(row);
            }
            result.result().await.map_err(text)?;
            rows(all)
        }
        "mysql" => {
            let connection = mysql::Connection::open(address).await.map_err(text)?;
            let mut result = connection.query(body, []).await.map_err(text)?;
            let mut all = Vec::new();
            while let Some(row) = result.rows().next().await {
                all.push(row);
            }
            result.result().await.map_err(text)?;
            rows(all)
        }
        "redis" => {
            let connection = redis::Connection::open(address).await.map_err(text)?;
            let mut words = body.split(' ');
            let command = words.next().unwrap_or_default();
            let arguments = words.map(|word| redis::RedisParameter::Binary(word.as_bytes().to_vec()));
            rows(connection.execute(command, arguments).await.map_err(text)?)
        }
        "publish" => {
            let connection = redis::Connection::open(address).await.map_err(text)?;
            connection.publish(key, value).await.map_err(text)?;
            String::new()
        }
        "mqtt" => {
            let connection = mqtt::Connection::open(address, "", "", 30).await.map_err(text)?;
            let sent = connection.publish(key, value.into(), mqtt::Qos::AtLeastOnce).await;
            sent.map_err(text)?;
            String::new()
        }
        other => return Err(format!("nothing is called {other}")),
    })
}

async fn store(what: &str, label: &str, key: &str, value: &str) -> Result<String, String> {
    let store = Store::open(label).await.map_err(text)?;
    Ok(match what {
        "set" => {
            store.set(key, value.as_bytes()).await.map_err(text)?;
            String::new()
        }
        "get" => match store.get(key).await.map_err(text)? {
            Some(value) => String::from_utf8(value).map_err(text)?,
            None => return Err("there is none".to_owned()),
        },
        "delete" => {
            store.delete(key).await.map_err(text)?;
            String::new()
        }
        "exists" => store.exists(key).await.map_err(text)?.to_string(),
        _ => {
            let mut keys = store.get_keys().await.collect().await.map_err(text)?;
            keys.sort();
            keys.join("\n")
        }
    })
}
