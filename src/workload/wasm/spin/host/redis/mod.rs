//! Redis: what the interfaces of its client have in common, whatever generation they are of, and the connections
//! that key-value stores use too.

mod replies;
mod v1;
mod v2;
mod v3;

use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Cmd, ConnectionAddr, FromRedisValue, IntoConnectionInfo, RedisConnectionInfo,
    RedisError, cmd,
};
use tokio::net::TcpStream;
use tokio::task::AbortHandle;

pub use self::replies::Replies;
/// The errors of handlers of messages, of both generations.
pub use super::bindings::fermyon::spin::redis_types::Error as HandlerErrorV1;
pub use super::bindings::spin::redis::redis::Error as HandlerErrorV3;
use super::bounds::{ANSWER_TIME, Bounds, CONNECT_TIME, Permit, Share};
use super::capped::{Allowance, Capped};
use super::network::{Unreachable, connect};
use super::tls::{Stream, Trust};
use super::{Grants, Stores};

/// A server, and how to be let in there.
pub struct Server {
    scheme: &'static str,
    host: String,
    port: u16,
    settings: RedisConnectionInfo,
}

/// The schemes of TLS.
const SECURE: [&str; 2] = ["rediss", "valkeys"];
/// What other clients take for leave to believe any server.
const INSECURE: &str = "#insecure";

impl Server {
    /// Reads `redis://USER:PASSWORD@HOST:PORT/DATABASE`; `rediss` is the same with TLS.
    ///
    /// # Errors
    /// Why it is no address of a server that can be reached.
    pub fn parse(url: &str) -> Result<Self, &'static str> {
        let (scheme, rest) = url.split_once("://").ok_or("must be redis://HOST:PORT")?;
        let scheme = ["redis", "valkey"]
            .into_iter()
            .chain(SECURE)
            .find(|known| known.eq_ignore_ascii_case(scheme))
            .ok_or("must begin with redis:// or rediss://")?;
        if SECURE.contains(&scheme) && rest.ends_with(INSECURE) {
            return Err("must not end with #insecure: who a server is, is always looked at");
        }
        // The client reads no address of TLS, which is not its own here.
        let info = format!("redis://{rest}")
            .into_connection_info()
            .map_err(|_| "is not redis://HOST:PORT/DATABASE")?;
        match info.addr() {
            ConnectionAddr::Tcp(host, port) => Ok(Self {
                scheme,
                host: host.clone(),
                port: *port,
                settings: info.redis_settings().clone(),
            }),
            _ => Err("must be the address of a host"),
        }
    }

    /// Its address for people, without what is secret in it.
    pub fn name(&self) -> String {
        format!("{}://{}:{}", self.scheme, self.host, self.port)
    }

    /// By whom it is to be known: where there is no TLS, nobody is asked.
    pub fn trust<E>(&self, of: impl FnOnce(&str) -> Result<Trust, E>) -> Result<Trust, E> {
        match SECURE.contains(&self.scheme) {
            true => of(&self.host),
            false => Ok(Trust::default()),
        }
    }

    /// What `allowed_outbound_hosts` calls it: with TLS, as the address does.
    fn allowed_scheme(&self) -> &'static str {
        match SECURE.contains(&self.scheme) {
            true => self.scheme,
            false => "redis",
        }
    }

    pub fn username(&self) -> Option<&str> {
        self.settings.username()
    }

    pub fn password(&self) -> Option<&str> {
        self.settings.password()
    }

    /// A way to it, whoever asks; [`Self::secured`] makes it what is spoken on.
    pub async fn reach(&self) -> Result<TcpStream, String> {
        connect(&self.host, self.port).await
    }

    /// A connection to it, whoever asks.
    pub async fn connect(
        &self,
        trust: &Trust,
        allowance: Allowance,
    ) -> Result<(MultiplexedConnection, Driver), String> {
        self.greet(self.reach().await?, trust, allowance).await
    }

    async fn greet(
        &self,
        stream: TcpStream,
        trust: &Trust,
        allowance: Allowance,
    ) -> Result<(MultiplexedConnection, Driver), String> {
        let stream = Capped::redis(self.secured(stream, trust).await?, allowance);
        let config = AsyncConnectionConfig::new().set_response_timeout(Some(ANSWER_TIME));
        let greeting = MultiplexedConnection::new_with_config(&self.settings, stream, config);
        let greeted = tokio::time::timeout(CONNECT_TIME, greeting).await;
        let greeted = greeted.map_err(|_| "the server does not answer".to_owned())?;
        let (connection, driver) = greeted.map_err(|error| text(&error))?;
        Ok((connection, Driver(tokio::spawn(driver).abort_handle())))
    }
}

impl Server {
    /// The connection as it is spoken on: with TLS where the address says so.
    pub async fn secured(&self, stream: TcpStream, trust: &Trust) -> Result<Box<dyn Stream>, String> {
        if !SECURE.contains(&self.scheme) {
            return Ok(Box::new(stream));
        }
        let securing = trust.secure(stream, &self.host, None);
        let secured = tokio::time::timeout(CONNECT_TIME, securing).await;
        let failed = |reason: &dyn std::fmt::Display| format!("{}: TLS: {reason}", self.name());
        match secured {
            Ok(Ok(stream)) => Ok(Box::new(stream)),
            Ok(Err(error)) => Err(failed(&error)),
            Err(_) => Err(failed(&"the server does not answer")),
        }
    }
}

/// The task that a connection's bytes go through. It ends with this, also where a server owes it an answer.
#[derive(Debug)]
pub struct Driver(AbortHandle);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// An error as a guest is told it.
pub fn text(error: &RedisError) -> String {
    error.to_string()
}

/// Why an operation failed, as all generations can say it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    InvalidAddress,
    TooManyConnections,
    TypeError,
    Other(String),
}

impl From<RedisError> for Error {
    fn from(error: RedisError) -> Self {
        if error.code() == Some("WRONGTYPE") {
            return Self::TypeError;
        }
        Self::Other(text(&error))
    }
}

type Outcome<T> = Result<T, Error>;

/// An argument of any command.
#[derive(Debug, Clone)]
pub enum Parameter {
    Int64(i64),
    Binary(Vec<u8>),
}

impl Parameter {
    /// About as many as it takes of memory.
    fn bytes(&self) -> usize {
        size_of::<Self>()
            + match self {
                Self::Int64(_) => 0,
                Self::Binary(bytes) => bytes.len(),
            }
    }
}

/// One value of an answer; lists are told one after another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    Nil,
    Status(String),
    Int64(i64),
    Binary(Vec<u8>),
}

/// A connection that an instance has opened.
pub struct Connection {
    opened: Opened,
    _driver: Driver,
    _permit: Permit,
}

/// What of a connection outlives a call into its instance's table.
#[derive(Clone)]
pub struct Opened {
    connection: MultiplexedConnection,
    allowance: Allowance,
    bounds: Bounds,
}

/// Opens a connection for an instance.
fn open(
    address: &str,
    grants: &std::sync::Arc<Grants>,
    stores: &Stores,
    share: &Share,
) -> impl Future<Output = Outcome<Connection>> + Send + use<> {
    let server = Server::parse(address);
    let trust = server
        .as_ref()
        .map(|server| stores.trust(&grants.component, &server.host));
    let trust = trust.unwrap_or_default();
    let (permit, grants) = (share.connection(), std::sync::Arc::clone(grants));
    let bounds = stores.bounds.clone();
    async move {
        let server = server.map_err(|reason| match reason.contains(INSECURE) {
            true => Error::Other(reason.to_owned()),
            false => Error::InvalidAddress,
        })?;
        let permit = permit.await.map_err(|_| Error::TooManyConnections)?;
        let stream = grants
            .connect(server.allowed_scheme(), &server.host, server.port)
            .await;
        let stream = stream.map_err(|error| match error {
            Unreachable::NotAllowed(_) => Error::InvalidAddress,
            Unreachable::Failed(text) => Error::Other(text),
        })?;
        let allowance = Allowance::new(&bounds);
        let greeted = server.greet(stream, &trust, allowance.clone()).await;
        let (connection, driver) = greeted.map_err(Error::Other)?;
        Ok(Connection {
            opened: Opened {
                connection,
                allowance,
                bounds,
            },
            _driver: driver,
            _permit: permit,
        })
    }
}

impl Opened {
    async fn query<T: FromRedisValue>(&self, command: &Cmd) -> Outcome<T> {
        let _call = self.allowance.call_of_many();
        Ok(command.query_async(&mut self.connection.clone()).await?)
    }

    pub async fn publish(&self, channel: String, payload: Vec<u8>) -> Outcome<()> {
        let _: i64 = self.query(cmd("PUBLISH").arg(channel).arg(payload)).await?;
        Ok(())
    }

    pub async fn get(&self, key: String) -> Outcome<Option<Vec<u8>>> {
        let value: Option<Vec<u8>> = self.query(cmd("GET").arg(key)).await?;
        self.bounds
            .check(value.as_ref().map_or(0, Vec::len))
            .map_err(Error::Other)?;
        Ok(value)
    }

    pub async fn set(&self, key: String, value: Vec<u8>) -> Outcome<()> {
        self.query(cmd("SET").arg(key).arg(value)).await
    }

    pub async fn incr(&self, key: String) -> Outcome<i64> {
        self.query(cmd("INCR").arg(key)).await
    }

    pub async fn del(&self, keys: Vec<String>) -> Outcome<u32> {
        self.query(cmd("DEL").arg(keys)).await
    }

    pub async fn sadd(&self, key: String, values: Vec<String>) -> Outcome<u32> {
        self.query(cmd("SADD").arg(key).arg(values)).await
    }

    pub async fn smembers(&self, key: String) -> Outcome<Vec<String>> {
        let members: Vec<String> = self.query(cmd("SMEMBERS").arg(key)).await?;
        let bytes = members
            .iter()
            .map(|member| size_of::<String>() + member.len())
            .sum();
        self.bounds.check(bytes).map_err(Error::Other)?;
        Ok(members)
    }

    pub async fn srem(&self, key: String, values: Vec<String>) -> Outcome<u32> {
        self.query(cmd("SREM").arg(key).arg(values)).await
    }

    /// Any command. Not those after which a connection answers otherwise than asked.
    pub async fn execute(&self, command: String, arguments: Vec<Parameter>) -> Outcome<Vec<Answer>> {
        const OTHERWISE: [&str; 7] = [
            "SUBSCRIBE",
            "PSUBSCRIBE",
            "SSUBSCRIBE",
            "MONITOR",
            "HELLO",
            "SYNC",
            "PSYNC",
        ];
        if OTHERWISE
            .iter()
            .any(|refused| command.trim().eq_ignore_ascii_case(refused))
        {
            return Err(Error::Other(format!("{} is not possible here", command.trim())));
        }
        let mut query = cmd(&command);
        for argument in arguments {
            match argument {
                Parameter::Int64(number) => query.arg(number),
                Parameter::Binary(bytes) => query.arg(bytes),
            };
        }
        let mut answers = Vec::new();
        flatten(self.query(&query).await?, &mut answers)?;
        let bytes = answers.iter().map(|answer| {
            size_of::<Answer>()
                + match answer {
                    Answer::Status(text) => text.len(),
                    Answer::Binary(bytes) => bytes.len(),
                    Answer::Nil | Answer::Int64(_) => 0,
                }
        });
        self.bounds.check(bytes.sum()).map_err(Error::Other)?;
        Ok(answers)
    }
}

fn flatten(value: redis::Value, answers: &mut Vec<Answer>) -> Outcome<()> {
    use redis::Value;
    answers.push(match value {
        Value::Nil => Answer::Nil,
        Value::Int(number) => Answer::Int64(number),
        Value::BulkString(bytes) => Answer::Binary(bytes),
        Value::SimpleString(text) => Answer::Status(text),
        Value::Okay => Answer::Status("OK".to_owned()),
        Value::Double(number) => Answer::Binary(number.to_string().into_bytes()),
        Value::Boolean(truth) => Answer::Int64(truth.into()),
        Value::Array(values) | Value::Set(values) => {
            return values.into_iter().try_for_each(|value| flatten(value, answers));
        }
        Value::ServerError(error) => {
            return Err(RedisError::from(error).into());
        }
        other => {
            return Err(Error::Other(format!(
                "an answer of this kind cannot be told: {other:?}"
            )));
        }
    });
    Ok(())
}

#[cfg(test)]
mod tests;
