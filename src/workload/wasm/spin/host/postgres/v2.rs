//! `fermyon:spin/postgres@2.0.0`.

use wasmtime::component::Resource;

use super::{Connection, Error, Opened, open, parameters};
use crate::workload::wasm::spin::host::bindings::fermyon::spin2_0_0::{
    postgres as api, rdbms_types as types,
};
use crate::workload::wasm::spin::host::{SpinCtxView, Trust, rdbms};

fn old(error: Error) -> types::Error {
    rdbms::Error::from(error).into()
}

impl SpinCtxView<'_> {
    pub(super) fn postgres(&self, connection: &Resource<Connection>) -> Result<Opened, Error> {
        let connection = self
            .table
            .get(connection)
            .map_err(|error| Error::Other(error.to_string()))?;
        Ok(connection.opened.clone())
    }

    /// Opens a connection; what comes of it is for [`Self::hold_postgres`].
    pub(super) fn opening_postgres(
        &self,
        address: &str,
        trust: Option<Trust>,
    ) -> impl Future<Output = Result<Connection, Error>> + Send + use<> {
        open(
            address,
            trust,
            &self.ctx.grants,
            &self.ctx.stores,
            &self.ctx.share,
        )
    }

    pub(super) fn hold_postgres(&mut self, connection: Connection) -> Result<Resource<Connection>, Error> {
        self.table
            .push(connection)
            .map_err(|error| Error::ConnectionFailed(error.to_string()))
    }
}

impl api::Host for SpinCtxView<'_> {}

impl api::HostConnection for SpinCtxView<'_> {
    async fn open(&mut self, address: String) -> Result<Resource<Connection>, types::Error> {
        let connection = self.opening_postgres(&address, None).await.map_err(old)?;
        self.hold_postgres(connection).map_err(old)
    }

    async fn query(
        &mut self,
        connection: Resource<Connection>,
        statement: String,
        params: Vec<types::ParameterValue>,
    ) -> Result<types::RowSet, types::Error> {
        let params = parameters(params).map_err(old)?;
        let opened = self.postgres(&connection).map_err(old)?;
        let rows = opened.query(statement, params).await.map_err(old)?;
        Ok(rdbms::RowSet::from(rows).into())
    }

    async fn execute(
        &mut self,
        connection: Resource<Connection>,
        statement: String,
        params: Vec<types::ParameterValue>,
    ) -> Result<u64, types::Error> {
        let params = parameters(params).map_err(old)?;
        let opened = self.postgres(&connection).map_err(old)?;
        opened.execute(statement, params).await.map_err(old)
    }

    async fn drop(&mut self, connection: Resource<Connection>) -> wasmtime::Result<()> {
        self.table.delete(connection)?;
        Ok(())
    }
}
