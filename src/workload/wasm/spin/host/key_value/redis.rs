//! Stores on a Redis server that the runtime configuration names: a key of a store is one of the server's, as
//! Spin has it.

use std::collections::HashSet;

use redis::aio::MultiplexedConnection;
use redis::{Cmd, FromRedisValue, RedisError, cmd, pipe};
use tokio::sync::{Mutex, Semaphore};

use super::{Error, Result, Seen, seen};
use crate::workload::wasm::spin::host::Trust;
use crate::workload::wasm::spin::host::bounds::{Bounds, Share};
use crate::workload::wasm::spin::host::capped::Allowance;
use crate::workload::wasm::spin::host::redis::{Driver, Server, text};

/// Keys that the server is asked for at once.
const KEYS_AT_ONCE: usize = 1000;

/// Connections for transactions, of all instances together.
const SWAPS: usize = 4;

/// A server, with one connection that all instances share.
pub struct RedisStore {
    server: Server,
    trust: Trust,
    /// Made when it is first needed, and again after it failed.
    connection: Mutex<Shared>,
    swaps: Semaphore,
    share: Share,
    bounds: Bounds,
}

#[derive(Clone)]
struct Made {
    connection: MultiplexedConnection,
    allowance: Allowance,
}

#[derive(Default)]
struct Shared {
    made: Option<(Made, Driver)>,
    /// How many were made.
    number: u64,
}

impl RedisStore {
    pub fn new(server: Server, trust: Trust, bounds: Bounds) -> Self {
        Self {
            server,
            trust,
            connection: Mutex::default(),
            swaps: Semaphore::new(SWAPS),
            share: bounds.share(),
            bounds,
        }
    }

    /// The connection, and its number.
    async fn connection(&self) -> Result<(Made, u64)> {
        let mut shared = self.connection.lock().await;
        if let Some((made, _)) = &shared.made {
            return Ok((made.clone(), shared.number));
        }
        let allowance = Allowance::new(&self.bounds);
        let connected = self.server.connect(&self.trust, allowance.clone()).await;
        let (connection, driver) = connected.map_err(Error::Other)?;
        let made = Made {
            connection,
            allowance,
        };
        shared.number += 1;
        shared.made = Some((made.clone(), driver));
        Ok((made, shared.number))
    }

    async fn query<T: FromRedisValue>(&self, command: &Cmd) -> Result<T> {
        let (mut made, number) = self.connection().await?;
        let _call = made.allowance.call_of_many();
        match command.query_async(&mut made.connection).await {
            Ok(value) => Ok(value),
            Err(error) => Err(self.failed(&error, number).await),
        }
    }

    /// What is tried next is tried on a new connection, where this one is of no more use and nobody has made
    /// another since.
    async fn failed(&self, error: &RedisError, number: u64) -> Error {
        if error.is_unrecoverable_error() {
            let mut shared = self.connection.lock().await;
            if shared.number == number {
                shared.made = None;
            }
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
    pub async fn swap(&self, key: String, before: Seen, value: Vec<u8>) -> Result<bool> {
        let closed = |_| Error::Other("the store is closed".to_owned());
        let _turn = self.swaps.acquire().await.map_err(closed)?;
        let _permit = self.share.connection().await?;
        let allowance = Allowance::new(&self.bounds);
        let (mut connection, _driver) = self
            .server
            .connect(&self.trust, allowance)
            .await
            .map_err(Error::Other)?;
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
        if seen(now.as_deref()) != before {
            return Ok(false);
        }
        let mut transaction = pipe();
        transaction.atomic().cmd("SET").arg(&key).arg(value).ignore();
        let done: Option<()> = transaction.query_async(&mut connection).await.map_err(other)?;
        Ok(done.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::wasm::spin::host::servers;

    fn store(url: &str) -> RedisStore {
        let server = Server::parse(url).expect("an address");
        RedisStore::new(server, Trust::default(), Bounds::new(None, None))
    }

    #[tokio::test]
    async fn a_late_failure_leaves_the_next_connection_alone() {
        let Some(server) = servers::redis() else { return };
        let store = store(&format!("redis://:secret@127.0.0.1:{}", server.port));
        let (_, first) = store.connection().await.expect("a connection");
        let broken = || RedisError::from(std::io::Error::from(std::io::ErrorKind::BrokenPipe));
        store.failed(&broken(), first).await;
        let (_, second) = store.connection().await.expect("another");
        assert_ne!(first, second);
        store.failed(&broken(), first).await;
        assert!(store.connection.lock().await.made.is_some(), "it did not fail");
        store.failed(&broken(), second).await;
        assert!(store.connection.lock().await.made.is_none(), "it did");
    }

    /// Nobody listens there, which whoever does not wait for their turn is told at once.
    #[tokio::test]
    async fn a_swap_waits_for_a_place_for_its_connection() {
        let store = store("redis://127.0.0.1:1");
        let swap = || store.swap("k".to_owned(), None, Vec::new());
        swap().await.expect_err("nobody listens");
        let others = u32::try_from(SWAPS).expect("a few");
        let _others = store.swaps.acquire_many(others).await.expect("all of them");
        let waited = tokio::time::timeout(std::time::Duration::from_millis(200), swap()).await;
        waited.expect_err("it waits for the others");
    }
}
