//! `fermyon:spin/mysql` of the first generation, with an address in each call.

use super::open;
use crate::workload::wasm::spin::host::SpinCtxView;
use crate::workload::wasm::spin::host::bindings::fermyon::spin::{mysql as api, rdbms_types as types};

impl api::Host for SpinCtxView<'_> {
    async fn query(
        &mut self,
        address: String,
        statement: String,
        params: Vec<types::ParameterValue>,
    ) -> Result<types::RowSet, api::MysqlError> {
        let connection = open(&address, &self.ctx.grants, &self.ctx.stores, &self.ctx.share).await?;
        let params = params.into_iter().map(Into::into).collect();
        Ok(connection.opened.query(statement, params).await?.into())
    }

    async fn execute(
        &mut self,
        address: String,
        statement: String,
        params: Vec<types::ParameterValue>,
    ) -> Result<(), api::MysqlError> {
        let connection = open(&address, &self.ctx.grants, &self.ctx.stores, &self.ctx.share).await?;
        let params = params.into_iter().map(Into::into).collect();
        Ok(connection.opened.execute(statement, params).await?)
    }
}
