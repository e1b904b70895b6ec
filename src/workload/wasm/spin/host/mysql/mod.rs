//! MySQL and MariaDB: what the interfaces of their client have in common, whatever generation they are of.
//!
//! The client believes its server to speak the protocol: at an answer that is none (an empty key, a nonce without bytes, more
//! columns than there can be) it panics, which ends the application. It makes its connections itself, so that nothing here
//! comes between. Only a server that the manifest allows can do so; wrun-wasm(7) says it.

mod v1;
mod v2;
mod v3;

use std::sync::Arc;

use mysql_async::consts::{ColumnFlags, ColumnType};
use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Opts, OptsBuilder, Params, SslOpts, from_value_opt};
use tokio::runtime::Handle;
use tokio::sync::Mutex;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::bounds::{Bounds, CONNECT_TIME, Permit, Share};
use super::network::bare;
use super::rdbms::{Error, Kind, RowSet, Value};
use super::tls::Trust;
use super::{Grants, Stores};

/// Bytes of a password that a server's key of 2048 bits takes, with which it is told where there is no TLS. The client panics at
/// more.
const LONGEST_IN_THE_CLEAR: usize = 200;

/// A connection that an instance has opened.
pub struct Connection {
    opened: Opened,
    _permit: Permit,
}

/// What of a connection outlives a call into its instance's table.
#[derive(Clone)]
pub struct Opened {
    connection: Arc<Mutex<Conn>>,
    bounds: Bounds,
}

fn failed(text: impl Into<String>) -> Error {
    Error::ConnectionFailed(text.into())
}

/// Reads `mysql://USER:PASSWORD@HOST:PORT/DATABASE`. Nothing in it leads anywhere but to that host: neither to a
/// socket, which is the client's first choice on its own machine, nor to files.
fn parse(address: &str) -> Result<Opts, Error> {
    let (plain, asked) = without_tls(address);
    let opts = Opts::from_url(&plain).map_err(|error| failed(error.to_string()))?;
    if let Some(tls) = opts.ssl_opts()
        && (tls.accept_invalid_certs() || tls.skip_domain_validation() || tls.disable_built_in_roots())
    {
        return Err(failed(
            "verify_ca, verify_identity, built_in_roots: who a server is, is always looked at",
        ));
    }
    let tls = asked || opts.ssl_opts().is_some();
    if !tls
        && opts
            .pass()
            .is_some_and(|password| password.len() > LONGEST_IN_THE_CLEAR)
    {
        return Err(failed(format!(
            "the password has more than {LONGEST_IN_THE_CLEAR} bytes, which cannot be told without TLS"
        )));
    }
    if opts.socket().is_some() {
        return Err(failed("socket: unix sockets are not supported"));
    }
    let opts = OptsBuilder::from_opts(opts).prefer_socket(false);
    Ok(opts.ssl_opts(tls.then(SslOpts::default)).into())
}

/// With these roots, where it is to be TLS.
fn trusting(opts: Opts, trust: &Trust) -> Opts {
    let own = trust.own().iter().map(|root| root.to_vec().into());
    // Neither the client nor a certificate knows the brackets of an IPv6 address.
    let host = bare(opts.ip_or_hostname()).to_owned();
    let tls = opts.ssl_opts().map(|_| {
        SslOpts::default()
            .with_root_certs(own.collect())
            .with_disable_built_in_roots(!trust.has_usual())
    });
    OptsBuilder::from_opts(opts)
        .ip_or_hostname(host)
        .ssl_opts(tls)
        .into()
}

/// Whatever the address says: the client holds a packet before it is looked at.
fn limited(opts: Opts, bounds: &Bounds) -> Opts {
    OptsBuilder::from_opts(opts)
        .max_allowed_packet(Some(bounds.call_bytes))
        .into()
}

/// The address without the parameter that this client does not know, and whether it asks for TLS.
fn without_tls(address: &str) -> (String, bool) {
    let Some((base, query)) = address.split_once('?') else {
        return (address.to_owned(), false);
    };
    let is_mode = |parameter: &&str| {
        let name = parameter.split('=').next().unwrap_or_default();
        ["ssl-mode", "sslmode"]
            .iter()
            .any(|known| known.eq_ignore_ascii_case(name))
    };
    let (modes, others): (Vec<&str>, Vec<&str>) = query.split('&').partition(is_mode);
    let plain = |mode: &&str| {
        mode.split_once('=')
            .is_some_and(|(_, value)| value.eq_ignore_ascii_case("disabled"))
    };
    let tls = !modes.iter().all(plain);
    let query = others.join("&");
    let address = if query.is_empty() {
        base.to_owned()
    } else {
        format!("{base}?{query}")
    };
    (address, tls)
}

/// Opens a connection for an instance.
fn open(
    address: &str,
    grants: &Arc<Grants>,
    stores: &Stores,
    share: &Share,
) -> impl Future<Output = Result<Connection, Error>> + Send + use<> {
    let opts = parse(address);
    let trust = opts
        .as_ref()
        .map(|opts| stores.trust(&grants.component, opts.ip_or_hostname()));
    let trust = trust.unwrap_or_default();
    let (permit, grants) = (share.connection(), Arc::clone(grants));
    let bounds = stores.bounds.clone();
    async move {
        let opts = opts?;
        let allowed = grants.check_host("mysql", opts.ip_or_hostname(), opts.tcp_port());
        allowed.map_err(|error| failed(error.to_string()))?;
        let opts = trusting(limited(opts, &bounds), &trust);
        let permit = permit
            .await
            .map_err(|_| failed("too many connections are open"))?;
        // On a thread of its own: a server of `parsec` says how long the password is to be hashed, which may be for minutes, and
        // counts as a connection for as long.
        let runtime = Handle::current();
        let connecting = spawn_blocking(move || {
            let connection = runtime.block_on(timeout(CONNECT_TIME, Conn::new(opts)));
            (connection, permit)
        });
        let silent = |_| failed("the server does not answer");
        let connected = timeout(CONNECT_TIME, connecting).await.map_err(silent)?;
        let (connection, permit) = connected.map_err(|error| failed(error.to_string()))?;
        let connection = connection.map_err(silent)?;
        let connection = connection.map_err(|error| failed(error.to_string()))?;
        Ok(Connection {
            opened: Opened {
                connection: Arc::new(Mutex::new(connection)),
                bounds,
            },
            _permit: permit,
        })
    }
}

fn query_failed(error: mysql_async::Error) -> Error {
    Error::QueryFailed(error.to_string())
}

impl Opened {
    pub async fn execute(&self, statement: String, parameters: Vec<Value>) -> Result<(), Error> {
        let parameters = self.parameters(&statement, parameters)?;
        let mut connection = self.connection.lock().await;
        connection
            .exec_drop(statement, parameters)
            .await
            .map_err(query_failed)
    }

    pub async fn query(&self, statement: String, parameters: Vec<Value>) -> Result<RowSet, Error> {
        let parameters = self.parameters(&statement, parameters)?;
        let mut connection = self.connection.lock().await;
        let mut found = connection
            .exec_iter(statement, parameters)
            .await
            .map_err(query_failed)?;
        let columns: Vec<(String, Kind)> = found
            .columns_ref()
            .iter()
            .map(|column| (column.name_str().into_owned(), kind(column)))
            .collect();
        let (mut rows, mut bytes, mut hold) = (Vec::new(), 0, self.bounds.hold());
        while let Some(row) = found.next().await.map_err(query_failed)? {
            let mut values = Vec::with_capacity(columns.len());
            for (value, (name, kind)) in row.unwrap().into_iter().zip(&columns) {
                let value = value_of(value, *kind)
                    .map_err(|reason| Error::ValueConversionFailed(format!("column {name}: {reason}")))?;
                bytes += value.bytes();
                values.push(value);
            }
            self.bounds.check(bytes).map_err(Error::Other)?;
            hold.grow(bytes).map_err(Error::Other)?;
            rows.push(values);
        }
        Ok(RowSet { columns, rows })
    }

    fn parameters(&self, statement: &str, parameters: Vec<Value>) -> Result<Params, Error> {
        let bytes = statement.len() + parameters.iter().map(Value::bytes).sum::<usize>();
        let too_large = |_| Error::BadParameter("the parameters are too large".to_owned());
        self.bounds.check(bytes).map_err(too_large)?;
        if parameters.is_empty() {
            return Ok(Params::Empty);
        }
        Ok(Params::Positional(
            parameters.into_iter().map(parameter).collect(),
        ))
    }
}

fn parameter(value: Value) -> mysql_async::Value {
    match value {
        Value::Boolean(value) => value.into(),
        Value::Int8(value) => value.into(),
        Value::Int16(value) => value.into(),
        Value::Int32(value) => value.into(),
        Value::Int64(value) => value.into(),
        Value::Uint8(value) => value.into(),
        Value::Uint16(value) => value.into(),
        Value::Uint32(value) => value.into(),
        Value::Uint64(value) => value.into(),
        Value::Floating32(value) => value.into(),
        Value::Floating64(value) => value.into(),
        Value::Str(value) => value.into(),
        Value::Binary(value) => value.into(),
        Value::Null | Value::Unsupported => mysql_async::Value::NULL,
    }
}

fn kind(column: &mysql_async::Column) -> Kind {
    use ColumnType as C;
    let unsigned = column.flags().contains(ColumnFlags::UNSIGNED_FLAG);
    let binary = column.flags().contains(ColumnFlags::BINARY_FLAG);
    match (column.column_type(), unsigned, binary) {
        (C::MYSQL_TYPE_DOUBLE, ..) => Kind::Floating64,
        (C::MYSQL_TYPE_FLOAT, ..) => Kind::Floating32,
        (C::MYSQL_TYPE_INT24 | C::MYSQL_TYPE_LONG, false, _) => Kind::Int32,
        (C::MYSQL_TYPE_INT24 | C::MYSQL_TYPE_LONG, true, _) => Kind::Uint32,
        (C::MYSQL_TYPE_LONGLONG, false, _) => Kind::Int64,
        (C::MYSQL_TYPE_LONGLONG, true, _) => Kind::Uint64,
        (C::MYSQL_TYPE_SHORT, false, _) => Kind::Int16,
        (C::MYSQL_TYPE_SHORT, true, _) => Kind::Uint16,
        (C::MYSQL_TYPE_TINY, false, _) => Kind::Int8,
        (C::MYSQL_TYPE_TINY, true, _) => Kind::Uint8,
        (C::MYSQL_TYPE_LONG_BLOB | C::MYSQL_TYPE_MEDIUM_BLOB | C::MYSQL_TYPE_TINY_BLOB, _, true) => {
            Kind::Binary
        }
        (C::MYSQL_TYPE_BLOB | C::MYSQL_TYPE_STRING | C::MYSQL_TYPE_VAR_STRING, _, true) => Kind::Binary,
        (
            C::MYSQL_TYPE_BLOB
            | C::MYSQL_TYPE_LONG_BLOB
            | C::MYSQL_TYPE_MEDIUM_BLOB
            | C::MYSQL_TYPE_TINY_BLOB
            | C::MYSQL_TYPE_STRING
            | C::MYSQL_TYPE_VAR_STRING,
            _,
            false,
        ) => Kind::Str,
        _ => Kind::Other,
    }
}

fn value_of(value: mysql_async::Value, kind: Kind) -> Result<Value, String> {
    fn to<T: mysql_async::prelude::FromValue>(value: mysql_async::Value) -> Result<T, String> {
        from_value_opt(value).map_err(|error| error.to_string())
    }
    if value == mysql_async::Value::NULL {
        return Ok(Value::Null);
    }
    Ok(match kind {
        Kind::Boolean => Value::Boolean(to(value)?),
        Kind::Int8 => Value::Int8(to(value)?),
        Kind::Int16 => Value::Int16(to(value)?),
        Kind::Int32 => Value::Int32(to(value)?),
        Kind::Int64 => Value::Int64(to(value)?),
        Kind::Uint8 => Value::Uint8(to(value)?),
        Kind::Uint16 => Value::Uint16(to(value)?),
        Kind::Uint32 => Value::Uint32(to(value)?),
        Kind::Uint64 => Value::Uint64(to(value)?),
        Kind::Floating32 => Value::Floating32(to(value)?),
        Kind::Floating64 => Value::Floating64(to(value)?),
        Kind::Str => Value::Str(to(value)?),
        Kind::Binary => Value::Binary(to(value)?),
        Kind::Other => return Err("its type has no value here".to_owned()),
    })
}

#[cfg(test)]
mod tests;
