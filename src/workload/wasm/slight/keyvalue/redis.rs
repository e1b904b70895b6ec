//! Stores on a Redis server: the key of a store is the server's key `STORE:KEY`, as slight has it.

use std::collections::HashSet;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Cmd, ConnectionAddr, FromRedisValue, IntoConnectionInfo, RedisConnectionInfo,
    RedisError, cmd,
};
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::task::AbortHandle;

use super::{Error, Result};
use crate::workload::wasm::legacy_abi::MAX_BYTES;

/// How long a server may take to let us in, and to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Keys that the server is asked for at once.
const KEYS_AT_ONCE: usize = 1000;

/// A server, with one connection that all instances share.
pub struct Server {
    host: String,
    port: u16,
    settings: RedisConnectionInfo,
    /// Made when it is first needed, and again after it failed.
    connection: Mutex<Option<Connection>>,
}

struct Connection {
    queries: MultiplexedConnection,
    driver: AbortHandle,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Server {
    /// Reads `redis://USER:PASSWORD@HOST:PORT/DATABASE`.
    ///
    /// # Errors
    /// Why it is no address of a server that can be reached; it may hold a password, and is not repeated.
    pub fn parse(url: &str) -> std::result::Result<Self, &'static str> {
        match url.split_once("://").map(|(scheme, _)| scheme) {
            Some("redis") => {}
            Some("rediss") => return Err("TLS is not supported; use redis://"),
            _ => return Err("must be redis://HOST:PORT"),
        }
        let info = url
            .into_connection_info()
            .map_err(|_| "must be redis://HOST:PORT")?;
        match info.addr() {
            ConnectionAddr::Tcp(host, port) => Ok(Self {
                host: host.clone(),
                port: *port,
                settings: info.redis_settings().clone(),
                connection: Mutex::new(None),
            }),
            _ => Err("must be redis://HOST:PORT"),
        }
    }

    async fn connect(&self) -> std::result::Result<Connection, String> {
        let attempt = async {
            let stream = TcpStream::connect((self.host.as_str(), self.port)).await;
            let stream = stream.map_err(|error| error.to_string())?;
            stream.set_nodelay(true).map_err(|error| error.to_string())?;
            let config = AsyncConnectionConfig::new().set_response_timeout(Some(PATIENCE));
            let greeted = MultiplexedConnection::new_with_config(&self.settings, stream, config).await;
            greeted.map_err(|error| error.to_string())
        };
        let failed =
            |reason: &str| format!("cannot connect to redis://{}:{}: {reason}", self.host, self.port);
        match tokio::time::timeout(PATIENCE, attempt).await {
            Ok(Ok((queries, driver))) => Ok(Connection {
                queries,
                driver: tokio::spawn(driver).abort_handle(),
            }),
            Ok(Err(reason)) => Err(failed(&reason)),
            Err(_) => Err(failed("the server does not answer")),
        }
    }

    async fn connection(&self) -> Result<MultiplexedConnection> {
        let mut connection = self.connection.lock().await;
        match &*connection {
            Some(connection) => Ok(connection.queries.clone()),
            None => {
                let made = self.connect().await.map_err(Error::Connection)?;
                Ok(connection.insert(made).queries.clone())
            }
        }
    }

    async fn query<T: FromRedisValue>(&self, command: &Cmd) -> Result<T> {
        let mut again = true;
        loop {
            let mut connection = self.connection().await?;
            match command.query_async(&mut connection).await {
                Err(error) if error.is_unrecoverable_error() => {
                    *self.connection.lock().await = None;
                    // The server may have closed a connection that was long idle. All commands here may be
                    // given twice.
                    if !std::mem::replace(&mut again, false) {
                        return Err(Error::Connection(error.to_string()));
                    }
                }
                outcome => return outcome.map_err(|error: RedisError| Error::Unexpected(error.to_string())),
            }
        }
    }

    pub async fn get(&self, store: &str, key: &str) -> Result<Vec<u8>> {
        let value: Option<Vec<u8>> = self.query(cmd("GET").arg(format!("{store}:{key}"))).await?;
        let value = value.ok_or_else(|| Error::KeyNotFound(format!("{key}: key not found")))?;
        if value.len() > MAX_BYTES as usize {
            return Err(Error::Io(format!(
                "{key}: has more than the {MAX_BYTES} bytes that are read"
            )));
        }
        Ok(value)
    }

    pub async fn set(&self, store: &str, key: &str, value: &[u8]) -> Result<()> {
        self.query(cmd("SET").arg(format!("{store}:{key}")).arg(value))
            .await
    }

    /// A set, since a server may name a key twice while others come and go.
    pub async fn keys(&self, store: &str) -> Result<Vec<String>> {
        let prefix = format!("{store}:");
        let pattern = format!("{}*", literally(&prefix));
        let (mut keys, mut bytes, mut cursor) = (HashSet::new(), 0, 0_u64);
        loop {
            let mut scan = cmd("SCAN");
            scan.arg(cursor)
                .arg("MATCH")
                .arg(&pattern)
                .arg("COUNT")
                .arg(KEYS_AT_ONCE);
            let (next, some): (u64, Vec<Vec<u8>>) = self.query(&scan).await?;
            // A key that is no text was set by nobody that speaks this interface.
            for key in some.into_iter().filter_map(|key| String::from_utf8(key).ok()) {
                let Some(key) = key.strip_prefix(&prefix) else {
                    continue;
                };
                bytes += size_of::<String>() + key.len();
                if bytes > MAX_BYTES as usize {
                    return Err(Error::Io(format!("the keys have more than {MAX_BYTES} bytes")));
                }
                keys.insert(key.to_owned());
            }
            if next == 0 {
                return Ok(keys.into_iter().collect());
            }
            cursor = next;
        }
    }

    pub async fn delete(&self, store: &str, key: &str) -> Result<()> {
        let _removed: u64 = self.query(cmd("DEL").arg(format!("{store}:{key}"))).await?;
        Ok(())
    }
}

/// A pattern that matches this text alone.
fn literally(text: &str) -> String {
    let mut pattern = String::new();
    for character in text.chars() {
        if "*?[]^\\".contains(character) {
            pattern.push('\\');
        }
        pattern.push(character);
    }
    pattern
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_those_of_hosts() {
        let server = Server::parse("redis://user:secret@one.test:7000/3").expect("an address");
        assert_eq!((server.host.as_str(), server.port), ("one.test", 7000));
        for wrong in [
            "",
            "one.test:6379",
            "http://one.test",
            "redis+unix:///run/redis",
            "rediss://one.test",
        ] {
            let error = Server::parse(wrong).err().expect(wrong);
            assert!(error.contains("redis://"), "{wrong}: {error}");
        }
    }

    #[test]
    fn names_of_stores_are_no_patterns() {
        assert_eq!(literally("a*b[c]?\\:"), "a\\*b\\[c\\]\\?\\\\:");
    }
}
