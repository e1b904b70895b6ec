//! `fermyon:spin/postgres` of the first generation, with an address in each call.

use super::{open, parameters};
use crate::workload::wasm::spin::host::bindings::fermyon::spin::{postgres as api, rdbms_types as types};
use crate::workload::wasm::spin::host::{SpinCtxView, rdbms};

fn old(error: super::Error) -> api::PgError {
    rdbms::Error::from(error).into()
}

impl api::Host for SpinCtxView<'_> {
    async fn query(
        &mut self,
        address: String,
        statement: String,
        params: Vec<types::ParameterValue>,
    ) -> Result<types::RowSet, api::PgError> {
        let params = parameters(params).map_err(old)?;
        let opening = open(
            &address,
            None,
            &self.ctx.grants,
            &self.ctx.stores,
            &self.ctx.share,
        );
        let connection = opening.await.map_err(old)?;
        let rows = connection.opened.query(statement, params).await.map_err(old)?;
        Ok(rdbms::RowSet::from(rows).into())
    }

    async fn execute(
        &mut self,
        address: String,
        statement: String,
        params: Vec<types::ParameterValue>,
    ) -> Result<u64, api::PgError> {
        let params = parameters(params).map_err(old)?;
        let opening = open(
            &address,
            None,
            &self.ctx.grants,
            &self.ctx.stores,
            &self.ctx.share,
        );
        let connection = opening.await.map_err(old)?;
        connection.opened.execute(statement, params).await.map_err(old)
    }
}
