//! `spin:sqlite/sqlite@3`, with functions of both kinds.

use wasmtime::component::{Accessor, FutureReader, Resource, StreamReader};

use super::{Database, Error, Opened, Value, generation};
use crate::workload::wasm::spin::host::bindings::spin::sqlite::sqlite as api;
use crate::workload::wasm::spin::host::given::{Given, given, opening};
use crate::workload::wasm::spin::host::{Spin, SpinCtxView, stream};

generation!(crate::workload::wasm::spin::host::bindings::spin::sqlite::sqlite);

fn trap(error: Error) -> wasmtime::Error {
    wasmtime::format_err!("{error:?}")
}

fn opened<T>(
    accessor: &Accessor<T, Spin>,
    connection: &Resource<Database>,
    bytes: usize,
) -> Result<Given<Opened>, Error> {
    given(accessor, bytes, Error::Io, |view| view.database(connection))
}

impl api::Host for SpinCtxView<'_> {}

impl api::HostConnection for SpinCtxView<'_> {
    async fn open(&mut self, database: String) -> Result<Resource<Database>, api::Error> {
        let database = self.opening(&database).await?;
        Ok(self.hold_database(database)?)
    }

    async fn execute(
        &mut self,
        connection: Resource<Database>,
        statement: String,
        parameters: Vec<api::Value>,
    ) -> Result<api::QueryResult, api::Error> {
        let parameters = parameters.into_iter().map(Into::into).collect();
        Ok(self
            .database(&connection)?
            .execute(statement, parameters)
            .await?
            .into())
    }

    async fn last_insert_rowid(&mut self, connection: Resource<Database>) -> wasmtime::Result<i64> {
        self.database(&connection)
            .map_err(trap)?
            .last_insert_rowid()
            .await
            .map_err(trap)
    }

    async fn changes(&mut self, connection: Resource<Database>) -> wasmtime::Result<u64> {
        self.database(&connection)
            .map_err(trap)?
            .changes()
            .await
            .map_err(trap)
    }

    async fn drop(&mut self, connection: Resource<Database>) -> wasmtime::Result<()> {
        self.table.delete(connection)?;
        Ok(())
    }
}

type Streamed = (
    Vec<String>,
    StreamReader<api::RowResult>,
    FutureReader<Result<(), api::Error>>,
);

impl<T: Send> api::HostConnectionWithStore<T> for Spin {
    async fn open_async(
        accessor: &Accessor<T, Self>,
        database: String,
    ) -> Result<Resource<Database>, api::Error> {
        let open = |view: &mut SpinCtxView<'_>| view.opening(&database);
        let database = opening(accessor, database.len(), Error::Io, open).await?;
        Ok(accessor.with(|mut access| access.get().hold_database(database))?)
    }

    async fn execute_async(
        accessor: &Accessor<T, Self>,
        connection: Resource<Database>,
        statement: String,
        parameters: Vec<api::Value>,
    ) -> wasmtime::Result<Result<Streamed, api::Error>> {
        let parameters: Vec<Value> = parameters.into_iter().map(Into::into).collect();
        let bytes = statement.len() + parameters.iter().map(Value::bytes).sum::<usize>();
        let outcome = match opened(accessor, &connection, bytes) {
            Ok(opened) => opened.execute(statement, parameters).await,
            Err(error) => Err(error),
        };
        let rows = match outcome {
            Ok(rows) => rows,
            Err(error) => return Ok(Err(error.into())),
        };
        let hold = accessor.with(|mut access| access.get().ctx.share.held(rows.bytes()));
        let hold = match hold {
            Ok(hold) => hold,
            Err(text) => return Ok(Err(Error::Io(text).into())),
        };
        let values: Vec<api::RowResult> = rows.rows.into_iter().map(row_of).collect();
        let (values, end) = accessor.with(|mut access| stream::of(&mut access, hold, Ok(values)))?;
        Ok(Ok((rows.columns, values, end)))
    }

    async fn last_insert_rowid_async(
        accessor: &Accessor<T, Self>,
        connection: Resource<Database>,
    ) -> wasmtime::Result<i64> {
        let opened = opened(accessor, &connection, 0).map_err(trap)?;
        opened.last_insert_rowid().await.map_err(trap)
    }

    async fn changes_async(
        accessor: &Accessor<T, Self>,
        connection: Resource<Database>,
    ) -> wasmtime::Result<u64> {
        let opened = opened(accessor, &connection, 0).map_err(trap)?;
        opened.changes().await.map_err(trap)
    }
}
