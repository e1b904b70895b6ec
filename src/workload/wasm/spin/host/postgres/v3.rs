//! `spin:postgres/postgres@3.0.0`, which knows dates and times.

use tokio_postgres::types::Type;
use wasmtime::component::Resource;

use super::{Column, Connection, Error, Rows, Value};
use crate::workload::wasm::spin::host::bindings::spin::postgres3_0_0::postgres as api;
use crate::workload::wasm::spin::host::{SpinCtxView, rdbms};

fn old(error: Error) -> api::Error {
    rdbms::Error::from(error).into()
}

impl From<api::ParameterValue> for Value {
    fn from(value: api::ParameterValue) -> Self {
        use api::ParameterValue as P;
        match value {
            P::Boolean(value) => Self::Boolean(value),
            P::Int8(value) => Self::Int8(value),
            P::Int16(value) => Self::Int16(value),
            P::Int32(value) => Self::Int32(value),
            P::Int64(value) => Self::Int64(value),
            P::Floating32(value) => Self::Floating32(value),
            P::Floating64(value) => Self::Floating64(value),
            P::Str(value) => Self::Str(value),
            P::Binary(value) => Self::Binary(value),
            P::Date(value) => Self::Date(value),
            P::Time(value) => Self::Time(value),
            P::Datetime(value) => Self::Datetime(value),
            P::Timestamp(value) => Self::Timestamp(value),
            P::DbNull => Self::Null,
        }
    }
}

impl From<Value> for api::DbValue {
    fn from(value: Value) -> Self {
        match value {
            Value::Boolean(value) => Self::Boolean(value),
            Value::Int8(value) => Self::Int8(value),
            Value::Int16(value) => Self::Int16(value),
            Value::Int32(value) => Self::Int32(value),
            Value::Int64(value) => Self::Int64(value),
            Value::Floating32(value) => Self::Floating32(value),
            Value::Floating64(value) => Self::Floating64(value),
            Value::Str(value) => Self::Str(value),
            Value::Binary(value) => Self::Binary(value),
            Value::Date(value) => Self::Date(value),
            Value::Time(value) => Self::Time(value),
            Value::Datetime(value) => Self::Datetime(value),
            Value::Timestamp(value) => Self::Timestamp(value),
            Value::Null => Self::DbNull,
            _ => Self::Unsupported,
        }
    }
}

impl From<Column> for api::Column {
    fn from(column: Column) -> Self {
        use api::DbDataType as D;
        let data_type = match column.ty {
            Type::BOOL => D::Boolean,
            Type::CHAR => D::Int8,
            Type::INT2 => D::Int16,
            Type::INT4 => D::Int32,
            Type::INT8 => D::Int64,
            Type::FLOAT4 => D::Floating32,
            Type::FLOAT8 => D::Floating64,
            Type::TEXT | Type::VARCHAR | Type::BPCHAR | Type::NAME => D::Str,
            Type::BYTEA => D::Binary,
            Type::DATE => D::Date,
            Type::TIME => D::Time,
            Type::TIMESTAMP | Type::TIMESTAMPTZ => D::Datetime,
            _ => D::Other,
        };
        Self {
            name: column.name,
            data_type,
        }
    }
}

impl From<Rows> for api::RowSet {
    fn from(rows: Rows) -> Self {
        let row = |row: Vec<Value>| row.into_iter().map(Into::into).collect();
        Self {
            columns: rows.columns.into_iter().map(Into::into).collect(),
            rows: rows.rows.into_iter().map(row).collect(),
        }
    }
}

impl api::Host for SpinCtxView<'_> {}

impl api::HostConnection for SpinCtxView<'_> {
    async fn open(&mut self, address: String) -> Result<Resource<Connection>, api::Error> {
        let connection = self.opening_postgres(&address, None).await.map_err(old)?;
        self.hold_postgres(connection).map_err(old)
    }

    async fn query(
        &mut self,
        connection: Resource<Connection>,
        statement: String,
        params: Vec<api::ParameterValue>,
    ) -> Result<api::RowSet, api::Error> {
        let params = params.into_iter().map(Into::into).collect();
        let opened = self.postgres(&connection).map_err(old)?;
        Ok(opened.query(statement, params).await.map_err(old)?.into())
    }

    async fn execute(
        &mut self,
        connection: Resource<Connection>,
        statement: String,
        params: Vec<api::ParameterValue>,
    ) -> Result<u64, api::Error> {
        let params = params.into_iter().map(Into::into).collect();
        let opened = self.postgres(&connection).map_err(old)?;
        opened.execute(statement, params).await.map_err(old)
    }

    async fn drop(&mut self, connection: Resource<Connection>) -> wasmtime::Result<()> {
        self.table.delete(connection)?;
        Ok(())
    }
}
