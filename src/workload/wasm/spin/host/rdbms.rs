//! What the interfaces of relational databases have in common: the values of the first and second generation,
//! which those of MySQL still have in the third.

/// A value of a row or of a parameter.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Boolean(bool),
    Int8(i8),
    Int16(i16),
    Int32(i32),
    Int64(i64),
    Uint8(u8),
    Uint16(u16),
    Uint32(u32),
    Uint64(u64),
    Floating32(f32),
    Floating64(f64),
    Str(String),
    Binary(Vec<u8>),
    Null,
    /// Of a type that has none here.
    Unsupported,
}

impl Value {
    /// About as many as it takes of memory.
    pub fn bytes(&self) -> usize {
        size_of::<Self>()
            + match self {
                Self::Str(text) => text.len(),
                Self::Binary(bytes) => bytes.len(),
                _ => 0,
            }
    }
}

/// The type of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Boolean,
    Int8,
    Int16,
    Int32,
    Int64,
    Uint8,
    Uint16,
    Uint32,
    Uint64,
    Floating32,
    Floating64,
    Str,
    Binary,
    Other,
}

/// What a query gives.
#[derive(Debug, Clone, PartialEq)]
pub struct RowSet {
    pub columns: Vec<(String, Kind)>,
    pub rows: Vec<Vec<Value>>,
}

impl RowSet {
    /// About as many as its rows take of memory.
    pub fn bytes(&self) -> usize {
        let row = |row: &Vec<Value>| size_of::<Vec<Value>>() + row.iter().map(Value::bytes).sum::<usize>();
        self.rows.iter().map(row).sum()
    }
}

/// Why an operation failed, as all generations can say it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    ConnectionFailed(String),
    BadParameter(String),
    QueryFailed(String),
    ValueConversionFailed(String),
    Other(String),
}

/// The conversions between a generation's values and these, which differ in their module alone.
macro_rules! values {
    ($api:path) => {
        const _: () = {
            use $api as api;

            impl From<Value> for api::DbValue {
                fn from(value: Value) -> Self {
                    match value {
                        Value::Boolean(value) => Self::Boolean(value),
                        Value::Int8(value) => Self::Int8(value),
                        Value::Int16(value) => Self::Int16(value),
                        Value::Int32(value) => Self::Int32(value),
                        Value::Int64(value) => Self::Int64(value),
                        Value::Uint8(value) => Self::Uint8(value),
                        Value::Uint16(value) => Self::Uint16(value),
                        Value::Uint32(value) => Self::Uint32(value),
                        Value::Uint64(value) => Self::Uint64(value),
                        Value::Floating32(value) => Self::Floating32(value),
                        Value::Floating64(value) => Self::Floating64(value),
                        Value::Str(value) => Self::Str(value),
                        Value::Binary(value) => Self::Binary(value),
                        Value::Null => Self::DbNull,
                        Value::Unsupported => Self::Unsupported,
                    }
                }
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
                        P::Uint8(value) => Self::Uint8(value),
                        P::Uint16(value) => Self::Uint16(value),
                        P::Uint32(value) => Self::Uint32(value),
                        P::Uint64(value) => Self::Uint64(value),
                        P::Floating32(value) => Self::Floating32(value),
                        P::Floating64(value) => Self::Floating64(value),
                        P::Str(value) => Self::Str(value),
                        P::Binary(value) => Self::Binary(value),
                        P::DbNull => Self::Null,
                    }
                }
            }

            impl From<(String, Kind)> for api::Column {
                fn from((name, kind): (String, Kind)) -> Self {
                    use api::DbDataType as D;
                    let data_type = match kind {
                        Kind::Boolean => D::Boolean,
                        Kind::Int8 => D::Int8,
                        Kind::Int16 => D::Int16,
                        Kind::Int32 => D::Int32,
                        Kind::Int64 => D::Int64,
                        Kind::Uint8 => D::Uint8,
                        Kind::Uint16 => D::Uint16,
                        Kind::Uint32 => D::Uint32,
                        Kind::Uint64 => D::Uint64,
                        Kind::Floating32 => D::Floating32,
                        Kind::Floating64 => D::Floating64,
                        Kind::Str => D::Str,
                        Kind::Binary => D::Binary,
                        Kind::Other => D::Other,
                    };
                    Self { name, data_type }
                }
            }
        };
    };
}
values!(super::bindings::fermyon::spin::rdbms_types);
values!(super::bindings::fermyon::spin2_0_0::rdbms_types);
values!(super::bindings::spin::mysql::mysql);

macro_rules! row_sets {
    ($api:path) => {
        const _: () = {
            use $api as api;

            impl From<RowSet> for api::RowSet {
                fn from(set: RowSet) -> Self {
                    Self {
                        columns: set.columns.into_iter().map(Into::into).collect(),
                        rows: set.rows.into_iter().map(row).collect(),
                    }
                }
            }
        };
    };
}
row_sets!(super::bindings::fermyon::spin::rdbms_types);
row_sets!(super::bindings::fermyon::spin2_0_0::rdbms_types);

/// A row in the values of a generation.
pub fn row<T: From<Value>>(row: Vec<Value>) -> Vec<T> {
    row.into_iter().map(T::from).collect()
}

macro_rules! errors {
    ($error:path, $other:ident) => {
        impl From<Error> for $error {
            fn from(error: Error) -> Self {
                match error {
                    Error::ConnectionFailed(text) => Self::ConnectionFailed(text),
                    Error::BadParameter(text) => Self::BadParameter(text),
                    Error::QueryFailed(text) => Self::QueryFailed(text),
                    Error::ValueConversionFailed(text) => Self::ValueConversionFailed(text),
                    Error::Other(text) => Self::$other(text),
                }
            }
        }
    };
}
errors!(super::bindings::fermyon::spin::mysql::MysqlError, OtherError);
errors!(super::bindings::fermyon::spin::postgres::PgError, OtherError);
errors!(super::bindings::fermyon::spin2_0_0::rdbms_types::Error, Other);
errors!(super::bindings::spin::mysql::mysql::Error, Other);
errors!(super::bindings::spin::postgres3_0_0::postgres::Error, Other);

impl super::bindings::fermyon::spin::rdbms_types::Host for super::SpinCtxView<'_> {}
impl super::bindings::fermyon::spin2_0_0::rdbms_types::Host for super::SpinCtxView<'_> {}
