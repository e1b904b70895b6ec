//! Stores in a file of SQLite, in the table that Spin has there, so that a volume of Spin's goes on being used.

use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};
use tokio::sync::Mutex;

use super::{Error, Result, Seen, incremented, seen};
use crate::workload::wasm::spin::host::bounds::Bounds;
use crate::workload::wasm::spin::host::sqlite::Place;
use crate::workload::wasm::spin::host::workers::{Spot, Workers};

/// How long an operation waits for other processes and connections.
const BUSY: Duration = Duration::from_secs(5);

const TABLE: &str = "CREATE TABLE IF NOT EXISTS spin_key_value (store TEXT NOT NULL, key TEXT NOT NULL, \
                     value BLOB NOT NULL, PRIMARY KEY (store, key))";
const GET: &str = "SELECT value FROM spin_key_value WHERE store = ?1 AND key = ?2";
const EXISTS: &str = "SELECT 1 FROM spin_key_value WHERE store = ?1 AND key = ?2";
const KEYS: &str = "SELECT key FROM spin_key_value WHERE store = ?1";
const SET: &str = "INSERT INTO spin_key_value (store, key, value) VALUES (?1, ?2, ?3) \
                   ON CONFLICT (store, key) DO UPDATE SET value = excluded.value";
const DELETE: &str = "DELETE FROM spin_key_value WHERE store = ?1 AND key = ?2";

/// One file, or memory, with one connection that all instances take turns on.
pub struct SqliteStore {
    place: Place,
    /// Made when it is first needed.
    connection: Arc<Mutex<Option<Connection>>>,
    /// Its own: whoever waits for the file holds up nobody but those who need the same.
    workers: Workers,
    bounds: Bounds,
}

impl SqliteStore {
    pub fn new(place: Place, bounds: Bounds) -> Self {
        Self {
            place,
            connection: Arc::new(Mutex::new(None)),
            workers: Workers::new(1),
            bounds,
        }
    }

    /// Does something with the connection, where it holds up nobody else.
    async fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> rusqlite::Result<Result<T>> + Send + 'static,
    ) -> Result<T> {
        // Those who wait for the connection wait here, not on a thread.
        let mut connection = Arc::clone(&self.connection).lock_owned().await;
        let (place, bounds) = (self.place.clone(), self.bounds.clone());
        let done = self.workers.run(move |spot| {
            // In place it would hold up everybody.
            let patience = match spot {
                Spot::Beside => BUSY,
                Spot::InPlace => Duration::ZERO,
            };
            let connection = match &mut *connection {
                Some(connection) => connection,
                none => {
                    let opened = place.open(&bounds).map_err(Error::Other)?;
                    opened.busy_timeout(patience).map_err(other)?;
                    let made = opened.execute(TABLE, []);
                    made.map_err(|error| Error::Other(place.named(&error)))?;
                    none.insert(opened)
                }
            };
            connection.busy_timeout(patience).map_err(other)?;
            work(connection).map_err(other)?
        });
        done.await.map_err(|error| Error::Other(error.to_string()))?
    }

    pub async fn get(&self, label: &Arc<str>, key: String) -> Result<Option<Vec<u8>>> {
        let label = Arc::clone(label);
        self.with(move |connection| get(connection, &label, &key).map(Ok))
            .await
    }

    pub async fn exists(&self, label: &Arc<str>, key: String) -> Result<bool> {
        let label = Arc::clone(label);
        let work = move |connection: &mut Connection| {
            connection
                .prepare_cached(EXISTS)?
                .exists(params![&*label, key])
                .map(Ok)
        };
        self.with(work).await
    }

    pub async fn keys(&self, label: &Arc<str>) -> Result<Vec<String>> {
        let (label, bounds) = (Arc::clone(label), self.bounds.clone());
        let work = move |connection: &mut Connection| {
            let mut statement = connection.prepare_cached(KEYS)?;
            let mut rows = statement.query(params![&*label])?;
            let (mut keys, mut bytes) = (Vec::new(), 0);
            while let Some(row) = rows.next()? {
                let key: String = row.get(0)?;
                bytes += size_of::<String>() + key.len();
                if let Err(error) = bounds.check(bytes) {
                    return Ok(Err(Error::Other(error)));
                }
                keys.push(key);
            }
            Ok(Ok(keys))
        };
        self.with(work).await
    }

    pub async fn get_many(
        &self,
        label: &Arc<str>,
        keys: Vec<String>,
    ) -> Result<Vec<(String, Option<Vec<u8>>)>> {
        let (label, bounds) = (Arc::clone(label), self.bounds.clone());
        let work = move |connection: &mut Connection| {
            // Within one, so that no other's changes come between.
            let transaction = connection.transaction()?;
            let (mut values, mut bytes) = (Vec::with_capacity(keys.len()), 0);
            for key in keys {
                let value = get(&transaction, &label, &key)?;
                bytes += value.as_ref().map_or(0, Vec::len);
                if let Err(error) = bounds.check(bytes) {
                    return Ok(Err(Error::Other(error)));
                }
                values.push((key, value));
            }
            Ok(Ok(values))
        };
        self.with(work).await
    }

    pub async fn set_many(&self, label: &Arc<str>, values: Vec<(String, Vec<u8>)>) -> Result<()> {
        let label = Arc::clone(label);
        let work = move |connection: &mut Connection| {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            for (key, value) in values {
                transaction
                    .prepare_cached(SET)?
                    .execute(params![&*label, key, value])?;
            }
            transaction.commit().map(Ok)
        };
        self.with(work).await
    }

    pub async fn delete_many(&self, label: &Arc<str>, keys: Vec<String>) -> Result<()> {
        let label = Arc::clone(label);
        let work = move |connection: &mut Connection| {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            for key in keys {
                transaction
                    .prepare_cached(DELETE)?
                    .execute(params![&*label, key])?;
            }
            transaction.commit().map(Ok)
        };
        self.with(work).await
    }

    pub async fn increment(&self, label: &Arc<str>, key: String, delta: i64) -> Result<i64> {
        let label = Arc::clone(label);
        let work = move |connection: &mut Connection| {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let sum = match incremented(get(&transaction, &label, &key)?.as_deref(), delta) {
                Ok(sum) => sum,
                Err(error) => return Ok(Err(error)),
            };
            transaction
                .prepare_cached(SET)?
                .execute(params![&*label, key, sum.to_string().into_bytes()])?;
            transaction.commit()?;
            Ok(Ok(sum))
        };
        self.with(work).await
    }

    pub async fn swap(&self, label: &Arc<str>, key: String, before: Seen, value: Vec<u8>) -> Result<bool> {
        let label = Arc::clone(label);
        let work = move |connection: &mut Connection| {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            if seen(get(&transaction, &label, &key)?.as_deref()) != before {
                return Ok(Ok(false));
            }
            transaction
                .prepare_cached(SET)?
                .execute(params![&*label, key, value])?;
            transaction.commit()?;
            Ok(Ok(true))
        };
        self.with(work).await
    }
}

fn get(connection: &Connection, label: &str, key: &str) -> rusqlite::Result<Option<Vec<u8>>> {
    let mut statement = connection.prepare_cached(GET)?;
    statement
        .query_row(params![label, key], |row| row.get(0))
        .optional()
}

fn other(error: rusqlite::Error) -> Error {
    Error::Other(error.to_string())
}
