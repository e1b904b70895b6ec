//! `fermyon:spin/mysql@2.0.0`.

use wasmtime::component::Resource;

use super::{Connection, Error, Opened, open};
use crate::workload::wasm::spin::host::SpinCtxView;
use crate::workload::wasm::spin::host::bindings::fermyon::spin2_0_0::{mysql as api, rdbms_types as types};

impl SpinCtxView<'_> {
    pub(super) fn mysql(&self, connection: &Resource<Connection>) -> Result<Opened, Error> {
        let connection = self
            .table
            .get(connection)
            .map_err(|error| Error::Other(error.to_string()))?;
        Ok(connection.opened.clone())
    }

    /// Opens a connection; what comes of it is for [`Self::hold_mysql`].
    pub(super) fn opening_mysql(
        &self,
        address: &str,
    ) -> impl Future<Output = Result<Connection, Error>> + Send + use<> {
        open(address, &self.ctx.grants, &self.ctx.stores, &self.ctx.share)
    }

    pub(super) fn hold_mysql(&mut self, connection: Connection) -> Result<Resource<Connection>, Error> {
        self.table
            .push(connection)
            .map_err(|error| Error::ConnectionFailed(error.to_string()))
    }
}

impl api::Host for SpinCtxView<'_> {}

impl api::HostConnection for SpinCtxView<'_> {
    async fn open(&mut self, address: String) -> Result<Resource<Connection>, types::Error> {
        let connection = self.opening_mysql(&address).await?;
        Ok(self.hold_mysql(connection)?)
    }

    async fn query(
        &mut self,
        connection: Resource<Connection>,
        statement: String,
        params: Vec<types::ParameterValue>,
    ) -> Result<types::RowSet, types::Error> {
        let params = params.into_iter().map(Into::into).collect();
        Ok(self.mysql(&connection)?.query(statement, params).await?.into())
    }

    async fn execute(
        &mut self,
        connection: Resource<Connection>,
        statement: String,
        params: Vec<types::ParameterValue>,
    ) -> Result<(), types::Error> {
        let params = params.into_iter().map(Into::into).collect();
        Ok(self.mysql(&connection)?.execute(statement, params).await?)
    }

    async fn drop(&mut self, connection: Resource<Connection>) -> wasmtime::Result<()> {
        self.table.delete(connection)?;
        Ok(())
    }
}
