//! `fermyon:spin/sqlite@2.0.0`.

use wasmtime::component::Resource;

use super::{Database, Error, Opened, generation, open};
use crate::workload::wasm::spin::host::SpinCtxView;
use crate::workload::wasm::spin::host::bindings::fermyon::spin2_0_0::sqlite as api;

generation!(crate::workload::wasm::spin::host::bindings::fermyon::spin2_0_0::sqlite);

impl SpinCtxView<'_> {
    pub(super) fn database(&self, connection: &Resource<Database>) -> Result<Opened, Error> {
        let database = self.table.get(connection).map_err(|_| Error::InvalidConnection)?;
        Ok(database.opened.clone())
    }

    /// Opens the database of a label; what comes of it is for [`Self::hold_database`].
    pub(super) fn opening(
        &self,
        label: &str,
    ) -> impl Future<Output = Result<Database, Error>> + Send + use<> {
        open(label, &self.ctx.grants, &self.ctx.stores, &self.ctx.share)
    }

    pub(super) fn hold_database(&mut self, database: Database) -> Result<Resource<Database>, Error> {
        self.table
            .push(database)
            .map_err(|error| Error::Io(error.to_string()))
    }
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

    async fn drop(&mut self, connection: Resource<Database>) -> wasmtime::Result<()> {
        self.table.delete(connection)?;
        Ok(())
    }
}
