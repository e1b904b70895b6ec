//! SQLite databases: what their interfaces have in common, whatever generation they are of.
//!
//! A connection is a guest's own, with its transactions, and is closed with its handle. What its statements may
//! do is in [`guard`].

mod guard;
mod place;
mod v1;
mod v2;
mod v3;

use std::sync::Arc;
use std::time::{Duration, Instant};

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, InterruptHandle, ToSql, ffi};
use tokio::sync::Mutex;

use self::guard::Deadline;
pub use self::place::Place;
use super::bounds::{Bounds, Permit, Share};
use super::workers::Workers;
use super::{Grants, Stores};

/// How long a statement may take.
const STATEMENT_TIME: Duration = Duration::from_secs(30);

/// Why an operation failed, as all generations can say it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    NoSuchDatabase,
    AccessDenied,
    InvalidConnection,
    DatabaseFull,
    Io(String),
}

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error().map(|error| error.extended_code) {
            Some(ffi::SQLITE_FULL) => Self::DatabaseFull,
            _ => Self::Io(error.to_string()),
        }
    }
}

/// A value of a row or of a parameter.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Integer(i64),
    Real(f64),
    Text(String),
    Blob(Vec<u8>),
    Null,
}

impl Value {
    fn bytes(&self) -> usize {
        size_of::<Self>()
            + match self {
                Self::Text(text) => text.len(),
                Self::Blob(bytes) => bytes.len(),
                Self::Integer(_) | Self::Real(_) | Self::Null => 0,
            }
    }
}

impl ToSql for Value {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Integer(number) => ValueRef::Integer(*number),
            Self::Real(number) => ValueRef::Real(*number),
            Self::Text(text) => ValueRef::Text(text.as_bytes()),
            Self::Blob(bytes) => ValueRef::Blob(bytes),
            Self::Null => ValueRef::Null,
        }))
    }
}

impl TryFrom<ValueRef<'_>> for Value {
    type Error = Error;

    fn try_from(value: ValueRef<'_>) -> Result<Self, Error> {
        Ok(match value {
            ValueRef::Null => Self::Null,
            ValueRef::Integer(number) => Self::Integer(number),
            ValueRef::Real(number) => Self::Real(number),
            ValueRef::Text(bytes) => match std::str::from_utf8(bytes) {
                Ok(text) => Self::Text(text.to_owned()),
                Err(_) => return Err(Error::Io("a text of the result is not UTF-8".to_owned())),
            },
            ValueRef::Blob(bytes) => Self::Blob(bytes.to_vec()),
        })
    }
}

/// What a statement gives.
#[derive(Debug, Clone, PartialEq)]
pub struct Rows {
    pub columns: Vec<String>,
    pub rows: Vec<Vec<Value>>,
}

/// A connection that an instance has opened.
pub struct Database {
    opened: Opened,
    _permit: Permit,
}

/// What of a connection outlives a call into its instance's table.
#[derive(Clone)]
pub struct Opened {
    connection: Arc<Mutex<Connection>>,
    interrupt: Arc<InterruptHandle>,
    deadline: Deadline,
    workers: Arc<Workers>,
    bounds: Bounds,
}

/// Opens the database of a label for an instance, which may hold it until the future is done with `share`.
fn open(
    label: &str,
    grants: &Grants,
    stores: &Stores,
    share: &Share,
) -> impl Future<Output = Result<Database, Error>> + Send + use<> {
    let place = if grants.sqlite_databases.contains(label) {
        stores.databases.get(label).cloned().ok_or(Error::NoSuchDatabase)
    } else {
        Err(Error::AccessDenied)
    };
    let (workers, bounds) = (Arc::clone(&stores.workers), stores.bounds.clone());
    let permit = share.connection();
    async move {
        let place = place?;
        let permit = permit
            .await
            .map_err(|_| Error::Io("too many connections are open".to_owned()))?;
        let deadline = Deadline::default();
        let opening = {
            let (bounds, deadline) = (bounds.clone(), deadline.clone());
            move || {
                let mut connection = place.open(&bounds).map_err(Error::Io)?;
                guard::confine(&mut connection, &bounds, deadline)?;
                Ok::<_, Error>(connection)
            }
        };
        let connection = workers
            .run(opening)
            .await
            .map_err(|error| Error::Io(error.to_string()))??;
        Ok(Database {
            _permit: permit,
            opened: Opened {
                interrupt: Arc::new(connection.get_interrupt_handle()),
                connection: Arc::new(Mutex::new(connection)),
                deadline,
                workers,
                bounds,
            },
        })
    }
}

/// Stops a statement that nobody waits for any more.
struct StopOnDrop(Option<Arc<InterruptHandle>>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        if let Some(interrupt) = &self.0 {
            interrupt.interrupt();
        }
    }
}

impl Opened {
    async fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> T + Send + 'static,
    ) -> Result<T, Error> {
        let connection = Arc::clone(&self.connection).lock_owned().await;
        let mut stop = StopOnDrop(Some(Arc::clone(&self.interrupt)));
        let deadline = self.deadline.clone();
        let done = self.workers.run(move || {
            deadline.set(Instant::now() + STATEMENT_TIME);
            work(&connection)
        });
        let outcome = done.await.map_err(|error| Error::Io(error.to_string()));
        stop.0 = None;
        outcome
    }

    /// Runs one statement to its end.
    pub async fn execute(&self, statement: String, parameters: Vec<Value>) -> Result<Rows, Error> {
        let bounds = self.bounds.clone();
        let outcome = self
            .with(move |connection| execute(connection, &bounds, &statement, &parameters))
            .await?;
        outcome.map_err(|error| match error {
            Error::Io(text) if self.deadline.passed() => Error::Io(format!(
                "{text}: a statement may take {} seconds",
                STATEMENT_TIME.as_secs()
            )),
            error => error,
        })
    }

    pub async fn last_insert_rowid(&self) -> Result<i64, Error> {
        self.with(Connection::last_insert_rowid).await
    }

    pub async fn changes(&self) -> Result<u64, Error> {
        self.with(Connection::changes).await
    }
}

fn execute(
    connection: &Connection,
    bounds: &Bounds,
    statement: &str,
    parameters: &[Value],
) -> Result<Rows, Error> {
    let mut statement = connection.prepare_cached(statement)?;
    let columns: Vec<String> = statement.column_names().into_iter().map(str::to_owned).collect();
    let mut bytes: usize = columns.iter().map(String::len).sum();
    let mut found = statement.query(rusqlite::params_from_iter(parameters))?;
    let mut rows = Vec::new();
    while let Some(row) = found.next()? {
        let mut values = Vec::with_capacity(columns.len());
        bytes += size_of::<Vec<Value>>();
        for column in 0..columns.len() {
            let value = row.get_ref(column)?;
            // Before it is copied.
            let length = value.as_bytes_or_null().ok().flatten().map_or(0, <[u8]>::len);
            bounds.check(bytes.saturating_add(length)).map_err(Error::Io)?;
            let value = Value::try_from(value)?;
            bytes += value.bytes();
            values.push(value);
        }
        bounds.check(bytes).map_err(Error::Io)?;
        rows.push(values);
    }
    Ok(Rows { columns, rows })
}

/// The conversions between a generation's types and these, which differ in their module alone.
macro_rules! generation {
    ($api:path) => {
        use $api as generated;

        impl From<$crate::workload::wasm::spin::host::sqlite::Error> for generated::Error {
            fn from(error: $crate::workload::wasm::spin::host::sqlite::Error) -> Self {
                use $crate::workload::wasm::spin::host::sqlite::Error;
                match error {
                    Error::NoSuchDatabase => Self::NoSuchDatabase,
                    Error::AccessDenied => Self::AccessDenied,
                    Error::InvalidConnection => Self::InvalidConnection,
                    Error::DatabaseFull => Self::DatabaseFull,
                    Error::Io(text) => Self::Io(text),
                }
            }
        }

        impl From<$crate::workload::wasm::spin::host::sqlite::Value> for generated::Value {
            fn from(value: $crate::workload::wasm::spin::host::sqlite::Value) -> Self {
                use $crate::workload::wasm::spin::host::sqlite::Value;
                match value {
                    Value::Integer(number) => Self::Integer(number),
                    Value::Real(number) => Self::Real(number),
                    Value::Text(text) => Self::Text(text),
                    Value::Blob(bytes) => Self::Blob(bytes),
                    Value::Null => Self::Null,
                }
            }
        }

        impl From<generated::Value> for $crate::workload::wasm::spin::host::sqlite::Value {
            fn from(value: generated::Value) -> Self {
                match value {
                    generated::Value::Integer(number) => Self::Integer(number),
                    generated::Value::Real(number) => Self::Real(number),
                    generated::Value::Text(text) => Self::Text(text),
                    generated::Value::Blob(bytes) => Self::Blob(bytes),
                    generated::Value::Null => Self::Null,
                }
            }
        }

        fn row_of(values: Vec<$crate::workload::wasm::spin::host::sqlite::Value>) -> generated::RowResult {
            generated::RowResult {
                values: values.into_iter().map(Into::into).collect(),
            }
        }

        impl From<$crate::workload::wasm::spin::host::sqlite::Rows> for generated::QueryResult {
            fn from(rows: $crate::workload::wasm::spin::host::sqlite::Rows) -> Self {
                Self {
                    columns: rows.columns,
                    rows: rows.rows.into_iter().map(row_of).collect(),
                }
            }
        }
    };
}
use generation;

#[cfg(test)]
mod tests;
