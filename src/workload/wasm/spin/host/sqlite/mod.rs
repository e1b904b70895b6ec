//! SQLite databases: what their interfaces have in common, whatever generation they are of.
//!
//! A connection is a guest's own, with its transactions, and is closed with its handle. What its statements may
//! do is in [`guard`].

mod functions;
mod guard;
mod place;
mod v1;
mod v2;
mod v3;

use std::sync::Arc;
use std::time::{Duration, Instant};

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, ToSql, ffi};
use tokio::sync::{Mutex, OwnedSemaphorePermit};

use self::guard::Watch;
pub use self::place::Place;
use super::apart::apart;
use super::bounds::{Bounds, OfComponent, Permit, Share};
use super::workers::{Spot, Workers};
use super::{Grants, Stores};

/// How long a statement may take.
const STATEMENT_TIME: Duration = Duration::from_secs(30);
/// The same where there is no thread for it, so that it holds up all others.
const IN_PLACE_TIME: Duration = Duration::from_secs(1);
/// How long it waits for other connections besides, and the first and the longest pause between looks.
const BUSY_TIME: Duration = Duration::from_secs(5);
const PAUSES: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(50));

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

impl Rows {
    /// About as many as they take of memory.
    fn bytes(&self) -> usize {
        let row = |row: &Vec<Value>| size_of::<Vec<Value>>() + row.iter().map(Value::bytes).sum::<usize>();
        self.rows.iter().map(row).sum()
    }
}

/// A connection that an instance has opened.
pub struct Database {
    opened: Opened,
}

/// A connection with its places among the others, which is closed where it holds up nobody: closing may write.
struct Slot {
    held: Option<(Connection, Permit, OwnedSemaphorePermit)>,
    workers: Arc<Workers>,
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let Some(held) = self.held.take() {
            self.workers.drop_there(held);
        }
    }
}

/// What of a connection outlives a call into its instance's table.
#[derive(Clone)]
pub struct Opened {
    slot: Arc<Mutex<Slot>>,
    in_memory: bool,
    watch: Watch,
    workers: Arc<Workers>,
    component: OfComponent,
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
    let (permit, component) = (share.connection(), stores.bounds.of_component(&grants.component));
    let all = bounds.clone();
    let opening = async move {
        let place = place?;
        let in_memory = place == Place::Memory;
        let too_many = |_| Error::Io("too many connections are open".to_owned());
        let of_component = component.database().await.map_err(too_many)?;
        let permit = permit.await.map_err(too_many)?;
        let turn = component.statement().await.map_err(too_many)?;
        let watch = Watch::default();
        let opening = {
            let (bounds, watch) = (bounds.clone(), watch.clone());
            move |_| {
                let _turn = turn;
                let mut connection = place.open(&bounds).map_err(Error::Io)?;
                guard::confine(&mut connection, &bounds, &watch)?;
                Ok::<_, Error>(connection)
            }
        };
        let connection = workers
            .run(opening)
            .await
            .map_err(|error| Error::Io(error.to_string()))??;
        let slot = Slot {
            held: Some((connection, permit, of_component)),
            workers: Arc::clone(&workers),
        };
        Ok(Database {
            opened: Opened {
                slot: Arc::new(Mutex::new(slot)),
                in_memory,
                watch,
                workers,
                component,
                bounds,
            },
        })
    };
    async move { apart(&all, (|_| 0, Error::Io), opening).await }
}

/// Ends a call that nobody waits for any more, whether it has begun or not.
struct LeaveOnDrop<'a> {
    watch: &'a Watch,
    call: u64,
}

impl Drop for LeaveOnDrop<'_> {
    fn drop(&mut self) {
        self.watch.leave(self.call);
    }
}

fn given_up(error: impl std::fmt::Display) -> Error {
    Error::Io(error.to_string())
}

/// Why a statement failed, and whether it may go once others are done.
#[derive(Debug)]
struct Failed {
    error: Error,
    busy: bool,
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self { error, busy: false }
    }
}

impl From<rusqlite::Error> for Failed {
    fn from(error: rusqlite::Error) -> Self {
        Self {
            busy: error.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseBusy),
            error: error.into(),
        }
    }
}

impl Opened {
    /// `size` is of what comes of the work.
    async fn with<T: Send + 'static>(
        &self,
        size: fn(&T) -> usize,
        work: impl FnOnce(&Connection) -> T + Send + 'static,
    ) -> Result<T, Error> {
        let opened = self.clone();
        let doing = async move { opened.work(work).await };
        apart(&self.bounds, (size, Error::Io), doing).await
    }

    async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> T + Send + 'static,
    ) -> Result<T, Error> {
        let slot = Arc::clone(&self.slot).lock_owned().await;
        let turn = self.component.statement().await;
        let turn = turn.map_err(|_| given_up("there are no more turns"))?;
        // The number is this call's for as long as the connection is.
        let call = self.watch.begin();
        let _leave = LeaveOnDrop {
            watch: &self.watch,
            call,
        };
        let watch = self.watch.clone();
        let done = self.workers.run(move |spot| {
            let _turn = turn;
            let (connection, ..) = slot.held.as_ref().filter(|_| !watch.left())?;
            let time = match spot {
                Spot::Beside => STATEMENT_TIME,
                Spot::InPlace => IN_PLACE_TIME,
            };
            watch.set_deadline(Instant::now() + time);
            Some(work(connection))
        });
        let outcome = done.await.map_err(given_up)?;
        outcome.ok_or_else(|| given_up("the statement was given up"))
    }

    /// Runs one statement to its end. Where it has to wait for another connection it does so here, not on a
    /// thread.
    pub async fn execute(&self, statement: String, parameters: Vec<Value>) -> Result<Rows, Error> {
        let asked = Arc::new((statement, parameters));
        let (began, mut pause) = (Instant::now(), PAUSES.0);
        loop {
            let (opened, asked) = (self.clone(), Arc::clone(&asked));
            let size = |outcome: &Result<Rows, Failed>| outcome.as_ref().map_or(0, Rows::bytes);
            let outcome = self
                .with(size, move |connection| {
                    let (in_memory, bounds, watch) = (opened.in_memory, &opened.bounds, &opened.watch);
                    let (before, _) = (connection.is_autocommit(), watch.was_busy());
                    let outcome = guard::bound(connection, in_memory, bounds, watch)
                        .map_err(Failed::from)
                        .and_then(|()| execute(connection, bounds, watch, &asked.0, &asked.1));
                    // Not where the transaction that it was part of is gone.
                    let again = watch.was_busy() && connection.is_autocommit() == before;
                    outcome.map_err(|failed| Failed {
                        busy: failed.busy && again,
                        ..failed
                    })
                })
                .await?;
            match outcome {
                Ok(rows) => return Ok(rows),
                Err(failed) if failed.busy && began.elapsed() < BUSY_TIME => {
                    tokio::time::sleep(pause).await;
                    pause = PAUSES.1.min(pause * 2);
                }
                Err(Failed {
                    error: Error::Io(text),
                    ..
                }) if self.watch.passed() => {
                    return Err(Error::Io(format!(
                        "{text}: a statement may take {} seconds, and {} where the container's limit on \
                         processes leaves no thread for it",
                        STATEMENT_TIME.as_secs(),
                        IN_PLACE_TIME.as_secs()
                    )));
                }
                Err(failed) => return Err(failed.error),
            }
        }
    }

    pub async fn last_insert_rowid(&self) -> Result<i64, Error> {
        self.with(|_| 0, Connection::last_insert_rowid).await
    }

    pub async fn changes(&self) -> Result<u64, Error> {
        self.with(|_| 0, Connection::changes).await
    }
}

fn execute(
    connection: &Connection,
    bounds: &Bounds,
    watch: &Watch,
    statement: &str,
    parameters: &[Value],
) -> Result<Rows, Failed> {
    watch.preparing(true);
    let prepared = connection.prepare_cached(statement);
    watch.preparing(false);
    let mut statement = prepared?;
    let columns: Vec<String> = statement.column_names().map(str::to_owned).collect();
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
