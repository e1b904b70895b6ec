//! `spin:postgres/postgres@4`, which knows many more types, and has functions of both kinds.

use tokio_postgres::types::Type;
use wasmtime::component::{Accessor, FutureReader, Resource, StreamReader};

use super::{Bound, Builder, Column, Connection, Error, Opened, Rows, Value};
use crate::workload::wasm::spin::host::bindings::spin::postgres4_2_0::postgres as api;
use crate::workload::wasm::spin::host::given::{Given, given, opening};
use crate::workload::wasm::spin::host::{Spin, SpinCtxView, Trust, stream};

impl From<Error> for api::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::ConnectionFailed(text) => Self::ConnectionFailed(text),
            Error::BadParameter(text) => Self::BadParameter(text),
            Error::ValueConversionFailed(text) => Self::ValueConversionFailed(text),
            Error::Other(text) => Self::Other(text),
            Error::QueryFailed(text, None) => Self::QueryFailed(api::QueryError::Text(text)),
            Error::QueryFailed(text, Some(server)) => {
                Self::QueryFailed(api::QueryError::DbError(api::DbError {
                    as_text: text,
                    severity: server.severity,
                    code: server.code,
                    message: server.message,
                    detail: server.detail,
                    extras: server.extras,
                }))
            }
        }
    }
}

type TheirBound<T> = Option<(T, api::RangeBoundKind)>;

fn ours<T>(bound: TheirBound<T>) -> Bound<T> {
    bound.map(|(value, kind)| (value, matches!(kind, api::RangeBoundKind::Inclusive)))
}

fn theirs<T>(bound: Bound<T>) -> TheirBound<T> {
    let kind = |within| match within {
        true => api::RangeBoundKind::Inclusive,
        false => api::RangeBoundKind::Exclusive,
    };
    bound.map(|(value, within)| (value, kind(within)))
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
            P::Uuid(value) => Self::Uuid(value),
            P::Jsonb(value) => Self::Jsonb(value),
            P::Decimal(value) => Self::Decimal(value),
            P::ArrayInt32(value) => Self::ArrayInt32(value),
            P::ArrayInt64(value) => Self::ArrayInt64(value),
            P::ArrayDecimal(value) => Self::ArrayDecimal(value),
            P::ArrayStr(value) => Self::ArrayStr(value),
            P::RangeInt32((from, to)) => Self::RangeInt32(ours(from), ours(to)),
            P::RangeInt64((from, to)) => Self::RangeInt64(ours(from), ours(to)),
            P::RangeDecimal((from, to)) => Self::RangeDecimal(ours(from), ours(to)),
            P::Interval(value) => Self::Interval {
                micros: value.micros,
                days: value.days,
                months: value.months,
            },
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
            Value::Uuid(value) => Self::Uuid(value),
            Value::Jsonb(value) => Self::Jsonb(value),
            Value::Decimal(value) => Self::Decimal(value),
            Value::ArrayInt32(value) => Self::ArrayInt32(value),
            Value::ArrayInt64(value) => Self::ArrayInt64(value),
            Value::ArrayDecimal(value) => Self::ArrayDecimal(value),
            Value::ArrayStr(value) => Self::ArrayStr(value),
            Value::RangeInt32(from, to) => Self::RangeInt32((theirs(from), theirs(to))),
            Value::RangeInt64(from, to) => Self::RangeInt64((theirs(from), theirs(to))),
            Value::RangeDecimal(from, to) => Self::RangeDecimal((theirs(from), theirs(to))),
            Value::Interval { micros, days, months } => {
                Self::Interval(api::Interval { micros, days, months })
            }
            Value::Null => Self::DbNull,
            Value::Unsupported(bytes) => Self::Unsupported(bytes),
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
            Type::UUID => D::Uuid,
            Type::JSONB => D::Jsonb,
            Type::NUMERIC => D::Decimal,
            Type::INT4_RANGE => D::RangeInt32,
            Type::INT8_RANGE => D::RangeInt64,
            Type::NUM_RANGE => D::RangeDecimal,
            Type::INT4_ARRAY => D::ArrayInt32,
            Type::INT8_ARRAY => D::ArrayInt64,
            Type::NUMERIC_ARRAY => D::ArrayDecimal,
            Type::TEXT_ARRAY | Type::VARCHAR_ARRAY | Type::BPCHAR_ARRAY => D::ArrayStr,
            Type::INTERVAL => D::Interval,
            other => D::Other(other.name().to_owned()),
        };
        Self {
            name: column.name,
            data_type,
        }
    }
}

fn row_of(row: Vec<Value>) -> Vec<api::DbValue> {
    row.into_iter().map(Into::into).collect()
}

impl From<Rows> for api::RowSet {
    fn from(rows: Rows) -> Self {
        Self {
            columns: rows.columns.into_iter().map(Into::into).collect(),
            rows: rows.rows.into_iter().map(row_of).collect(),
        }
    }
}

fn parameters(params: Vec<api::ParameterValue>) -> Vec<Value> {
    params.into_iter().map(Into::into).collect()
}

fn opened<T>(
    accessor: &Accessor<T, Spin>,
    connection: &Resource<Connection>,
    statement: &str,
    parameters: &[Value],
) -> Result<Given<Opened>, Error> {
    let bytes = statement.len() + parameters.iter().map(Value::bytes).sum::<usize>();
    given(accessor, bytes, Error::Other, |view| view.postgres(connection))
}

impl SpinCtxView<'_> {
    fn built(&self, builder: &Resource<Builder>) -> Result<(String, Option<Trust>), Error> {
        let builder = self
            .table
            .get(builder)
            .map_err(|error| Error::Other(error.to_string()))?;
        let trust = builder.root.as_ref().map(|(trust, _)| trust.clone());
        Ok((builder.address.clone(), trust))
    }

    /// Beside the usual roots, as with Spin.
    fn trust_also(&mut self, builder: &Resource<Builder>, certificate: &str) -> Result<(), Error> {
        let bounds = &self.ctx.stores.bounds;
        let held = bounds
            .check(certificate.len())
            .and_then(|()| self.ctx.share.held(certificate.len()));
        let hold = held.map_err(|_| Error::Other("the certificate is too large".to_owned()))?;
        let trust = Trust::new(certificate.as_bytes(), true)
            .map_err(|reason| Error::Other(format!("the certificate {reason}")))?;
        let builder = self.table.get_mut(builder);
        builder.map_err(|error| Error::Other(error.to_string()))?.root = Some((trust, hold));
        Ok(())
    }
}

async fn open_from<T: Send>(
    accessor: &Accessor<T, Spin>,
    address: &str,
    trust: Option<Trust>,
) -> Result<Resource<Connection>, api::Error> {
    let open = |view: &mut SpinCtxView<'_>| view.opening_postgres(address, trust);
    let connection = opening(accessor, address.len(), Error::Other, open).await?;
    Ok(accessor.with(|mut access| access.get().hold_postgres(connection))?)
}

impl api::Host for SpinCtxView<'_> {}

impl api::HostConnectionBuilder for SpinCtxView<'_> {
    async fn new(&mut self, address: String) -> wasmtime::Result<Resource<Builder>> {
        let permit = self
            .ctx
            .share
            .handle()
            .map_err(|_| wasmtime::format_err!("too many handles are open"))?;
        let hold = self.ctx.share.held(address.len()).map_err(wasmtime::Error::msg)?;
        Ok(self.table.push(Builder {
            address,
            root: None,
            _permit: permit,
            _hold: hold,
        })?)
    }

    async fn set_ca_root(
        &mut self,
        builder: Resource<Builder>,
        certificate: String,
    ) -> Result<(), api::Error> {
        Ok(self.trust_also(&builder, &certificate)?)
    }

    async fn build(&mut self, builder: Resource<Builder>) -> Result<Resource<Connection>, api::Error> {
        let (address, trust) = self.built(&builder)?;
        let connection = self.opening_postgres(&address, trust).await?;
        Ok(self.hold_postgres(connection)?)
    }

    async fn drop(&mut self, builder: Resource<Builder>) -> wasmtime::Result<()> {
        self.table.delete(builder)?;
        Ok(())
    }
}

impl<T: Send> api::HostConnectionBuilderWithStore<T> for Spin {
    async fn build_async(
        accessor: &Accessor<T, Self>,
        builder: Resource<Builder>,
    ) -> Result<Resource<Connection>, api::Error> {
        let (address, trust) = accessor.with(|mut access| access.get().built(&builder))?;
        open_from(accessor, &address, trust).await
    }
}

impl api::HostConnection for SpinCtxView<'_> {
    async fn open(&mut self, address: String) -> Result<Resource<Connection>, api::Error> {
        let connection = self.opening_postgres(&address, None).await?;
        Ok(self.hold_postgres(connection)?)
    }

    async fn query(
        &mut self,
        connection: Resource<Connection>,
        statement: String,
        params: Vec<api::ParameterValue>,
    ) -> Result<api::RowSet, api::Error> {
        Ok(self
            .postgres(&connection)?
            .query(statement, parameters(params))
            .await?
            .into())
    }

    async fn execute(
        &mut self,
        connection: Resource<Connection>,
        statement: String,
        params: Vec<api::ParameterValue>,
    ) -> Result<u64, api::Error> {
        Ok(self
            .postgres(&connection)?
            .execute(statement, parameters(params))
            .await?)
    }

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
    async fn open_async(
        accessor: &Accessor<T, Self>,
        address: String,
    ) -> Result<Resource<Connection>, api::Error> {
        open_from(accessor, &address, None).await
    }

    async fn query_async(
        accessor: &Accessor<T, Self>,
        connection: Resource<Connection>,
        statement: String,
        params: Vec<api::ParameterValue>,
    ) -> wasmtime::Result<Result<Streamed, api::Error>> {
        let params = parameters(params);
        let outcome = match opened(accessor, &connection, &statement, &params) {
            Ok(opened) => opened.query(statement, params).await,
            Err(error) => Err(error),
        };
        let rows = match outcome {
            Ok(rows) => rows,
            Err(error) => return Ok(Err(error.into())),
        };
        let hold = accessor.with(|mut access| access.get().ctx.share.held(rows.bytes()));
        let hold = match hold {
            Ok(hold) => hold,
            Err(text) => return Ok(Err(Error::Other(text).into())),
        };
        let values: Vec<api::Row> = rows.rows.into_iter().map(row_of).collect();
        let (values, end) = accessor.with(|mut access| stream::of(&mut access, hold, Ok(values)))?;
        Ok(Ok((
            rows.columns.into_iter().map(Into::into).collect(),
            values,
            end,
        )))
    }

    async fn execute_async(
        accessor: &Accessor<T, Self>,
        connection: Resource<Connection>,
        statement: String,
        params: Vec<api::ParameterValue>,
    ) -> Result<u64, api::Error> {
        let params = parameters(params);
        let opened = opened(accessor, &connection, &statement, &params)?;
        Ok(opened.execute(statement, params).await?)
    }
}
