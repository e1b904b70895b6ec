//! `spin:mysql/mysql@3.0.0`, whose functions are asynchronous.

use wasmtime::component::{Accessor, FutureReader, Resource, StreamReader};

use super::{Connection, Error, Opened};
use crate::workload::wasm::spin::host::bindings::spin::mysql::mysql as api;
use crate::workload::wasm::spin::host::given::{Given, given, opening};
use crate::workload::wasm::spin::host::rdbms::Value;
use crate::workload::wasm::spin::host::{Spin, SpinCtxView, rdbms, stream};

fn opened<T>(
    accessor: &Accessor<T, Spin>,
    connection: &Resource<Connection>,
    statement: &str,
    parameters: &[Value],
) -> Result<Given<Opened>, Error> {
    let bytes = statement.len() + parameters.iter().map(Value::bytes).sum::<usize>();
    given(accessor, bytes, Error::Other, |view| view.mysql(connection))
}

impl api::Host for SpinCtxView<'_> {}

impl api::HostConnection for SpinCtxView<'_> {
    async fn drop(&mut self, connection: Resource<Connection>) -> wasmtime::Result<()> {
        self.table.delete(connection)?;
        Ok(())
    }
}

type Streamed = (
    Vec<api::Column>,
    StreamReader<api::Row>,
    FutureReader<Result<(), api::Error>>,
);

impl<T: Send> api::HostConnectionWithStore<T> for Spin {
    async fn open(accessor: &Accessor<T, Self>, address: String) -> Result<Resource<Connection>, api::Error> {
        let open = |view: &mut SpinCtxView<'_>| view.opening_mysql(&address);
        let connection = opening(accessor, address.len(), Error::Other, open).await?;
        Ok(accessor.with(|mut access| access.get().hold_mysql(connection))?)
    }

    async fn query(
        accessor: &Accessor<T, Self>,
        connection: Resource<Connection>,
        statement: String,
        params: Vec<api::ParameterValue>,
    ) -> wasmtime::Result<Result<Streamed, api::Error>> {
        let params: Vec<Value> = params.into_iter().map(Into::into).collect();
        let outcome = match opened(accessor, &connection, &statement, &params) {
            Ok(opened) => opened.query(statement, params).await,
            Err(error) => Err(error),
        };
        let set = match outcome {
            Ok(set) => set,
            Err(error) => return Ok(Err(error.into())),
        };
        let hold = accessor.with(|mut access| access.get().ctx.share.held(set.bytes()));
        let hold = match hold {
            Ok(hold) => hold,
            Err(text) => return Ok(Err(rdbms::Error::Other(text).into())),
        };
        let rows: Vec<api::Row> = set.rows.into_iter().map(rdbms::row).collect();
        let (rows, end) = accessor.with(|mut access| stream::of(&mut access, hold, Ok(rows)))?;
        Ok(Ok((set.columns.into_iter().map(Into::into).collect(), rows, end)))
    }

    async fn execute(
        accessor: &Accessor<T, Self>,
        connection: Resource<Connection>,
        statement: String,
        params: Vec<api::ParameterValue>,
    ) -> Result<(), api::Error> {
        let params: Vec<Value> = params.into_iter().map(Into::into).collect();
        let opened = opened(accessor, &connection, &statement, &params)?;
        Ok(opened.execute(statement, params).await?)
    }
}
