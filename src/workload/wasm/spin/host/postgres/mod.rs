//! PostgreSQL: what the interfaces of its client have in common, whatever generation they are of.

mod decode;
mod tls;
mod v1;
mod v2;
mod v3;
mod v4;
mod value;

use std::sync::Arc;

use futures_util::StreamExt as _;
use tokio::sync::Mutex;
use tokio::task::AbortHandle;
use tokio_postgres::Client;
use tokio_postgres::config::{Config, Host, SslMode, TargetSessionAttrs};

use self::tls::Tls;
pub use self::value::{Bound, Value};
use super::bounds::{Bounds, CONNECT_TIME, Hold, Permit, Share};
use super::capped::{Allowance, Capped};
use super::tls::Trust;
use super::{Grants, Stores, rdbms};

/// Why an operation failed, as all generations can say it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    ConnectionFailed(String),
    BadParameter(String),
    /// Of the server, where it said why.
    QueryFailed(String, Option<Box<ServerError>>),
    ValueConversionFailed(String),
    Other(String),
}

/// What the server says of an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerError {
    pub severity: String,
    pub code: String,
    pub message: String,
    pub detail: Option<String>,
    pub extras: Vec<(String, String)>,
}

/// A column: its name, and the server's name of its type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    pub name: String,
    pub ty: tokio_postgres::types::Type,
}

/// What a query gives.
#[derive(Debug, Clone, PartialEq)]
pub struct Rows {
    pub columns: Vec<Column>,
    pub rows: Vec<Vec<Value>>,
}

impl Rows {
    /// About as many as they take of memory.
    fn bytes(&self) -> usize {
        let row = |row: &Vec<Value>| size_of::<Vec<Value>>() + row.iter().map(Value::bytes).sum::<usize>();
        self.rows.iter().map(row).sum()
    }
}

/// A connection that an instance has opened.
pub struct Connection {
    opened: Opened,
    _driver: Driver,
    _permit: Permit,
}

/// A connection that is yet to be opened.
pub struct Builder {
    pub address: String,
    /// Where the component has named one of its own; with its bytes.
    root: Option<(Trust, Hold)>,
    _permit: Permit,
    _hold: Hold,
}

/// What of a connection outlives a call into its instance's table.
#[derive(Clone)]
pub struct Opened {
    client: Arc<Client>,
    /// The server answers one call after another, so that they lose nothing by it; what comes is the answer of one.
    turn: Arc<Mutex<()>>,
    allowance: Allowance,
    bounds: Bounds,
}

/// The task that a connection's bytes go through. It ends with this, also where a server owes it an answer.
struct Driver(AbortHandle);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn failed(text: impl Into<String>) -> Error {
    Error::ConnectionFailed(text.into())
}

/// The hosts of an address with their ports, and the settings that are the server's to know.
fn parse(address: &str) -> Result<(Config, Vec<(String, u16)>), Error> {
    let config: Config = address.parse().map_err(|error| failed(with_reason(&error)))?;
    if !config.get_hostaddrs().is_empty() {
        return Err(failed("hostaddr is not supported; name the host"));
    }
    if config.get_target_session_attrs() != TargetSessionAttrs::Any {
        return Err(failed("target_session_attrs is not supported"));
    }
    let ports = config.get_ports();
    let mut hosts = Vec::new();
    for (index, host) in config.get_hosts().iter().enumerate() {
        let port = ports
            .get(index)
            .or_else(|| ports.first())
            .copied()
            .unwrap_or(5432);
        match host {
            Host::Tcp(host) => hosts.push((host.clone(), port)),
            Host::Unix(path) => {
                return Err(failed(format!(
                    "{}: unix sockets are not supported",
                    path.display()
                )));
            }
        }
    }
    if hosts.is_empty() {
        return Err(failed("the address names no host"));
    }
    Ok((config, hosts))
}

/// Where it was said who a server is to be, it is to show it: with `prefer`, the default, whoever is in between could say
/// that it has no TLS. `disable` is asked for.
fn strict(config: &Config, named: bool) -> Config {
    let mut config = config.clone();
    if named && config.get_ssl_mode() == SslMode::Prefer {
        config.ssl_mode(SslMode::Require);
    }
    config
}

/// Opens a connection for an instance, to the first of the hosts that lets it in. `trust` is for servers of which nothing
/// else is said.
fn open(
    address: &str,
    trust: Option<Trust>,
    grants: &Arc<Grants>,
    stores: &Arc<Stores>,
    share: &Share,
) -> impl Future<Output = Result<Connection, Error>> + Send + use<> {
    let parsed = parse(address);
    let (permit, grants, stores) = (share.connection(), Arc::clone(grants), Arc::clone(stores));
    let bounds = stores.bounds.clone();
    async move {
        let (config, hosts) = parsed?;
        let permit = permit
            .await
            .map_err(|_| failed("too many connections are open"))?;
        // All of them, before any is told that we are there.
        for (host, port) in &hosts {
            grants
                .check_host("postgres", host, *port)
                .map_err(|error| failed(error.to_string()))?;
        }
        let mut last = failed("the address names no host");
        for (host, port) in &hosts {
            let allowance = Allowance::new(&bounds);
            let own = trust
                .clone()
                .or_else(|| stores.own_trust(&grants.component, host));
            let config = strict(&config, own.is_some());
            let tls = Tls {
                trust: own.unwrap_or_default(),
                host: host.clone(),
            };
            match greet(&config, tls, &grants, *port, allowance.clone()).await {
                Ok((client, driver)) => {
                    let client = Arc::new(client);
                    return Ok(Connection {
                        opened: Opened {
                            client,
                            turn: Arc::default(),
                            allowance,
                            bounds,
                        },
                        _driver: driver,
                        _permit: permit,
                    });
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

async fn greet(
    config: &Config,
    tls: Tls,
    grants: &Grants,
    port: u16,
    allowance: Allowance,
) -> Result<(Client, Driver), Error> {
    let host = tls.host.clone();
    let stream = grants
        .connect("postgres", &host, port)
        .await
        .map_err(|error| failed(error.to_string()))?;
    let stream = Capped::new(stream, allowance);
    let greeted = tokio::time::timeout(CONNECT_TIME, config.connect_raw(stream, tls)).await;
    let greeted = greeted.map_err(|_| failed(format!("{host}:{port} does not answer")))?;
    let (client, connection) = greeted.map_err(|error| failed(with_reason(&error)))?;
    let driver = tokio::spawn(async move {
        // How it ended is told to whoever waits for an answer.
        let _ = connection.await;
    });
    Ok((client, Driver(driver.abort_handle())))
}

/// The errors of this client name their reason only as their source.
fn with_reason(error: &tokio_postgres::Error) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

impl From<tokio_postgres::Error> for Error {
    fn from(error: tokio_postgres::Error) -> Self {
        let text = with_reason(&error);
        let Some(said) = error.as_db_error() else {
            return Self::QueryFailed(text, None);
        };
        let texts = [
            ("column", said.column()),
            ("constraint", said.constraint()),
            ("routine", said.routine()),
            ("hint", said.hint()),
            ("table", said.table()),
            ("datatype", said.datatype()),
            ("schema", said.schema()),
            ("file", said.file()),
            ("where_", said.where_()),
        ];
        let texts = texts
            .into_iter()
            .filter_map(|(name, text)| Some((name.to_owned(), text?.to_owned())));
        let line = said.line().map(|line| ("line".to_owned(), line.to_string()));
        let server = ServerError {
            severity: said.severity().to_owned(),
            code: said.code().code().to_owned(),
            message: said.message().to_owned(),
            detail: said.detail().map(str::to_owned),
            extras: texts.chain(line).collect(),
        };
        Self::QueryFailed(text, Some(Box::new(server)))
    }
}

impl Opened {
    pub async fn execute(&self, statement: String, parameters: Vec<Value>) -> Result<u64, Error> {
        self.check(&statement, &parameters)?;
        let _turn = self.turn.lock().await;
        let _call = self.allowance.call();
        Ok(self.client.execute_raw(statement.as_str(), parameters).await?)
    }

    pub async fn query(&self, statement: String, parameters: Vec<Value>) -> Result<Rows, Error> {
        self.check(&statement, &parameters)?;
        let _turn = self.turn.lock().await;
        let _call = self.allowance.call();
        let statement = self.client.prepare(&statement).await?;
        let columns = statement.columns().iter().map(|column| Column {
            name: column.name().to_owned(),
            ty: column.type_().clone(),
        });
        let columns: Vec<Column> = columns.collect();
        let mut found = Box::pin(self.client.query_raw(&statement, parameters).await?);
        let left = |bytes: usize| self.bounds.call_bytes.saturating_sub(bytes);
        let (mut rows, mut bytes, mut hold) = (Vec::new(), 0, self.bounds.hold());
        while let Some(row) = found.next().await {
            let row = row?;
            let mut values = Vec::with_capacity(columns.len());
            bytes += size_of::<Vec<Value>>();
            for (index, column) in columns.iter().enumerate() {
                let raw: Option<decode::Raw<'_>> = row.try_get(index)?;
                let value = match raw {
                    None => Value::Null,
                    Some(raw) => decode::value(&column.ty, raw.0, left(bytes)).map_err(|reason| {
                        Error::ValueConversionFailed(format!("column {}: {reason}", column.name))
                    })?,
                };
                bytes += value.bytes();
                values.push(value);
            }
            let too_much = |text| Error::QueryFailed(text, None);
            self.bounds.check(bytes).map_err(too_much)?;
            // Beside what was read of them, which the allowance holds: a NULL has four bytes there and many here.
            hold.grow(bytes).map_err(too_much)?;
            rows.push(values);
        }
        Ok(Rows { columns, rows })
    }

    fn check(&self, statement: &str, parameters: &[Value]) -> Result<(), Error> {
        let bytes = statement.len() + parameters.iter().map(Value::bytes).sum::<usize>();
        self.bounds
            .check(bytes)
            .map_err(|_| Error::BadParameter("the parameters are too large".to_owned()))
    }
}

/// The generations that know fewer types.
impl TryFrom<rdbms::Value> for Value {
    type Error = Error;

    fn try_from(value: rdbms::Value) -> Result<Self, Error> {
        use rdbms::Value as Old;
        Ok(match value {
            Old::Boolean(value) => Self::Boolean(value),
            Old::Int8(value) => Self::Int8(value),
            Old::Int16(value) => Self::Int16(value),
            Old::Int32(value) => Self::Int32(value),
            Old::Int64(value) => Self::Int64(value),
            Old::Floating32(value) => Self::Floating32(value),
            Old::Floating64(value) => Self::Floating64(value),
            Old::Str(value) => Self::Str(value),
            Old::Binary(value) => Self::Binary(value),
            Old::Null => Self::Null,
            Old::Uint8(_) | Old::Uint16(_) | Old::Uint32(_) | Old::Uint64(_) => {
                let text = "PostgreSQL has no unsigned integers";
                return Err(Error::ValueConversionFailed(text.to_owned()));
            }
            Old::Unsupported => return Err(Error::BadParameter("a value of no type".to_owned())),
        })
    }
}

impl From<Value> for rdbms::Value {
    fn from(value: Value) -> Self {
        match value {
            Value::Boolean(value) => Self::Boolean(value),
            Value::Int8(value) => Self::Int8(value),
            Value::Int16(value) => Self::Int16(value),
            Value::Int32(value) => Self::Int32(value),
            Value::Int64(value) => Self::Int64(value),
            Value::Floating32(value) => Self::Floating32(value),
            Value::Floating64(value) => Self::Floating64(value),
            Value::Str(value) => Self::Str(value),
            Value::Binary(value) => Self::Binary(value),
            Value::Null => Self::Null,
            _ => Self::Unsupported,
        }
    }
}

impl From<Rows> for rdbms::RowSet {
    fn from(rows: Rows) -> Self {
        use rdbms::Kind;
        use tokio_postgres::types::Type;
        let kind = |ty: &Type| match *ty {
            Type::BOOL => Kind::Boolean,
            Type::CHAR => Kind::Int8,
            Type::INT2 => Kind::Int16,
            Type::INT4 => Kind::Int32,
            Type::INT8 => Kind::Int64,
            Type::FLOAT4 => Kind::Floating32,
            Type::FLOAT8 => Kind::Floating64,
            Type::TEXT | Type::VARCHAR | Type::BPCHAR | Type::NAME => Kind::Str,
            Type::BYTEA => Kind::Binary,
            _ => Kind::Other,
        };
        let row = |row: Vec<Value>| row.into_iter().map(Into::into).collect();
        Self {
            columns: rows
                .columns
                .into_iter()
                .map(|column| (column.name, kind(&column.ty)))
                .collect(),
            rows: rows.rows.into_iter().map(row).collect(),
        }
    }
}

impl From<Error> for rdbms::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::ConnectionFailed(text) => Self::ConnectionFailed(text),
            Error::BadParameter(text) => Self::BadParameter(text),
            Error::QueryFailed(text, _) => Self::QueryFailed(text),
            Error::ValueConversionFailed(text) => Self::ValueConversionFailed(text),
            Error::Other(text) => Self::Other(text),
        }
    }
}

/// Parameters of a generation that knows fewer types.
fn parameters<T: Into<rdbms::Value>>(parameters: Vec<T>) -> Result<Vec<Value>, Error> {
    parameters
        .into_iter()
        .map(|value| Value::try_from(value.into()))
        .collect()
}

#[cfg(test)]
mod tests;
