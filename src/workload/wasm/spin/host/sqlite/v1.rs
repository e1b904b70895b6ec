//! `fermyon:spin/sqlite` of the first generation, whose connections are numbers.

use wasmtime::component::Resource;

use super::{Database, generation, open};
use crate::workload::wasm::spin::host::SpinCtxView;
use crate::workload::wasm::spin::host::bindings::fermyon::spin::sqlite as api;

generation!(crate::workload::wasm::spin::host::bindings::fermyon::spin::sqlite);

impl api::Host for SpinCtxView<'_> {
    async fn open(&mut self, database: String) -> Result<u32, api::Error> {
        let opening = open(&database, &self.ctx.grants, &self.ctx.stores, &self.ctx.share);
        let database = self.table.push(opening.await?);
        Ok(database.map_err(|error| api::Error::Io(error.to_string()))?.rep())
    }

    async fn execute(
        &mut self,
        connection: u32,
        statement: String,
        parameters: Vec<api::Value>,
    ) -> Result<api::QueryResult, api::Error> {
        // The number is a guest's: it may name anything or nothing.
        let database = self.table.get(&Resource::<Database>::new_borrow(connection));
        let opened = database
            .map_err(|_| api::Error::InvalidConnection)?
            .opened
            .clone();
        let parameters = parameters.into_iter().map(Into::into).collect();
        Ok(opened.execute(statement, parameters).await?.into())
    }

    async fn close(&mut self, connection: u32) {
        // What there is not needs no closing.
        let _ = self.table.delete(Resource::<Database>::new_own(connection));
    }
}
