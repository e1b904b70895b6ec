//! Stores on a Redis server that the runtime configuration names: a key of a store is one of the server's, as
//! Spin has it.

use std::collections::HashSet;

use redis::aio::MultiplexedConnection;
use redis::{Cmd, FromRedisValue, RedisError, cmd, pipe};
use tokio::sync::Mutex;

use super::{Error, Result};
use crate::workload::wasm::spin::host::bounds::Bounds;
use crate::workload::wasm::spin::host::redis::{Driver, Server, text};

/// Keys that the server is asked for at once.
const KEYS_AT_ONCE: usize = 1000;

/// A server, with one connection that all instances share.
pub struct RedisStore {
    server: Server,
    /// Made when it is first needed, and again after it failed.
    connection: Mutex<Option<(MultiplexedConnection, Driver)>>,
    bounds: Bounds,
}

impl RedisStore {
    pub fn new(url: &str, bounds: Bounds) -> std::result::Result<Self, &'static str> {
        Ok(Self {
            server: Server::parse(url)?,
            connection: Mutex::new(None),
            bounds,
        })
    }

    async fn connection(&self) -> Result<MultiplexedConnection> {
        let mut connection = self.connection.lock().await;
        match &*connection {
            Some((connection, _)) => Ok(connection.clone()),
            None => {
                let made = self.server.connect().await.map_err(Error::Other)?;
                Ok(connection.insert(made).0.clone())
            }
        }
    }

    async fn query<T: FromRedisValue>(&self, command: &Cmd) -> Result<T> {
        let mut connection = self.connection().await?;
        let outcome = command.query_async(&mut connection).await;
        outcome.map_err(|error| self.failed(&error))
    }

    /// What is tried next is tried on a new connection, where this one is of no more use.
    fn failed(&self, error: &RedisError) -> Error {
        if error.is_unrecoverable_error()
            && let Ok(mut connection) = self.connection.try_lock()
        {
            *connection = None;
        }
        Error::Other(text(error))
    }

    pub async fn get(&self, key: String) -> Result<Option<Vec<u8>>> {
        let value: Option<Vec<u8>> = self.query(cmd("GET").arg(key)).await?;
        self.bounds
            .check(value.as_ref().map_or(0, Vec::len))
            .map_err(Error::Other)?;
        Ok(value)
    }

    pub async fn exists(&self, key: String) -> Result<bool> {
        self.query(cmd("EXISTS").arg(key)).await
    }

    /// A set, since a server may name a key twice while others come and go.
    pub async fn keys(&self) -> Result<Vec<String>> {
        let (mut keys, mut bytes, mut cursor) = (HashSet::new(), 0, 0_u64);
        loop {
            let mut scan = cmd("SCAN");
            scan.arg(cursor).arg("COUNT").arg(KEYS_AT_ONCE);
            let (next, some): (u64, Vec<String>) = self.query(&scan).await?;
            for key in some {
                bytes += size_of::<String>() + key.len();
                self.bounds.check(bytes).map_err(Error::Other)?;
                keys.insert(key);
            }
            if next == 0 {
                return Ok(keys.into_iter().collect());
            }
            cursor = next;
        }
    }

    pub async fn get_many(&self, keys: Vec<String>) -> Result<Vec<(String, Option<Vec<u8>>)>> {
        let values: Vec<Option<Vec<u8>>> = self.query(cmd("MGET").arg(&keys)).await?;
        let bytes = values.iter().flatten().map(Vec::len).sum();
        self.bounds.check(bytes).map_err(Error::Other)?;
        Ok(keys.into_iter().zip(values).collect())
    }

    pub async fn set_many(&self, values: Vec<(String, Vec<u8>)>) -> Result<()> {
        let mut set = cmd("MSET");
        for (key, value) in values {
            set.arg(key).arg(value);
        }
        self.query(&set).await
    }

    pub async fn delete_many(&self, keys: Vec<String>) -> Result<()> {
        let _: u64 = self.query(cmd("DEL").arg(keys)).await?;
        Ok(())
    }

    pub async fn increment(&self, key: String, delta: i64) -> Result<i64> {
        self.query(cmd("INCRBY").arg(key).arg(delta)).await
    }

    /// By a transaction, which is the connection's: so it has one of its own.
    pub async fn swap(&self, key: String, seen: Option<Vec<u8>>, value: Vec<u8>) -> Result<bool> {
        let (mut connection, _driver) = self.server.connect().await.map_err(Error::Other)?;
        let other = |error: RedisError| Error::Other(text(&error));
        let () = cmd("WATCH")
            .arg(&key)
            .query_async(&mut connection)
            .await
            .map_err(other)?;
        let now: Option<Vec<u8>> = cmd("GET")
            .arg(&key)
            .query_async(&mut connection)
            .await
            .map_err(other)?;
        if now != seen {
            return Ok(false);
        }
        let mut transaction = pipe();
        transaction.atomic().cmd("SET").arg(&key).arg(value).ignore();
        let done: Option<()> = transaction.query_async(&mut connection).await.map_err(other)?;
        Ok(done.is_some())
    }
}
