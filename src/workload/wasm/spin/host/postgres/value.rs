//! Values of PostgreSQL as guests have them, and their parameters as the server takes them: in its text form,
//! which it reads itself.

use std::error::Error;
use std::fmt::Write as _;

use bytes::BytesMut;
use tokio_postgres::types::{Format, IsNull, ToSql, Type, to_sql_checked};

/// A bound of a range, and whether it is within.
pub type Bound<T> = Option<(T, bool)>;

/// A value of a row or of a parameter.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Boolean(bool),
    Int8(i8),
    Int16(i16),
    Int32(i32),
    Int64(i64),
    Floating32(f32),
    Floating64(f64),
    Str(String),
    Binary(Vec<u8>),
    Date((i32, u8, u8)),
    Time((u8, u8, u8, u32)),
    Datetime((i32, u8, u8, u8, u8, u8, u32)),
    /// Seconds since 1970; only of a parameter.
    Timestamp(i64),
    Uuid(String),
    Jsonb(Vec<u8>),
    Decimal(String),
    RangeInt32(Bound<i32>, Bound<i32>),
    RangeInt64(Bound<i64>, Bound<i64>),
    RangeDecimal(Bound<String>, Bound<String>),
    ArrayInt32(Vec<Option<i32>>),
    ArrayInt64(Vec<Option<i64>>),
    ArrayDecimal(Vec<Option<String>>),
    ArrayStr(Vec<Option<String>>),
    Interval {
        micros: i64,
        days: i32,
        months: i32,
    },
    Null,
    /// Of a type that has none here; only of a row.
    Unsupported(Vec<u8>),
}

impl Value {
    /// About as many as it takes of memory.
    pub fn bytes(&self) -> usize {
        let texts = |texts: &[Option<String>]| -> usize {
            let each =
                |text: &Option<String>| size_of::<Option<String>>() + text.as_ref().map_or(0, String::len);
            texts.iter().map(each).sum()
        };
        size_of::<Self>()
            + match self {
                Self::Str(text) | Self::Uuid(text) | Self::Decimal(text) => text.len(),
                Self::Binary(bytes) | Self::Jsonb(bytes) | Self::Unsupported(bytes) => bytes.len(),
                Self::ArrayInt32(numbers) => size_of_val(numbers.as_slice()),
                Self::ArrayInt64(numbers) => size_of_val(numbers.as_slice()),
                Self::ArrayDecimal(all) | Self::ArrayStr(all) => texts(all),
                Self::RangeDecimal(from, to) => {
                    let bounds = [from, to].into_iter().flatten();
                    bounds.map(|(text, _)| text.len()).sum()
                }
                _ => 0,
            }
    }

    /// Whether a parameter of the server's type can be this; nothing is converted silently.
    fn is_for(&self, ty: &Type) -> bool {
        let types: &[Type] = match self {
            Self::Null => return true,
            Self::Boolean(_) => &[Type::BOOL],
            Self::Int8(_) => &[Type::CHAR],
            Self::Int16(_) => &[Type::INT2],
            Self::Int32(_) => &[Type::INT4],
            Self::Int64(_) => &[Type::INT8],
            Self::Floating32(_) => &[Type::FLOAT4],
            Self::Floating64(_) => &[Type::FLOAT8],
            Self::Str(_) => return is_text(ty),
            Self::Binary(_) => &[Type::BYTEA],
            Self::Date(_) => &[Type::DATE],
            Self::Time(_) => &[Type::TIME],
            Self::Datetime(_) => &[Type::TIMESTAMP],
            Self::Timestamp(_) => &[Type::TIMESTAMPTZ],
            Self::Uuid(_) => &[Type::UUID],
            Self::Jsonb(_) => &[Type::JSONB, Type::JSON],
            Self::Decimal(_) => &[Type::NUMERIC],
            Self::RangeInt32(..) => &[Type::INT4_RANGE],
            Self::RangeInt64(..) => &[Type::INT8_RANGE],
            Self::RangeDecimal(..) => &[Type::NUM_RANGE],
            Self::ArrayInt32(_) => &[Type::INT4_ARRAY],
            Self::ArrayInt64(_) => &[Type::INT8_ARRAY],
            Self::ArrayDecimal(_) => &[Type::NUMERIC_ARRAY],
            Self::ArrayStr(_) => &[
                Type::TEXT_ARRAY,
                Type::VARCHAR_ARRAY,
                Type::BPCHAR_ARRAY,
                Type::NAME_ARRAY,
            ],
            Self::Interval { .. } => &[Type::INTERVAL],
            Self::Unsupported(_) => &[],
        };
        types.contains(ty)
    }

    /// The text form, of all but bytes.
    fn text(&self) -> Result<String, Box<dyn Error + Sync + Send>> {
        Ok(match self {
            Self::Boolean(value) => value.to_string(),
            Self::Int16(value) => value.to_string(),
            Self::Int32(value) => value.to_string(),
            Self::Int64(value) => value.to_string(),
            Self::Floating32(value) => value.to_string(),
            Self::Floating64(value) => value.to_string(),
            Self::Str(value) | Self::Uuid(value) | Self::Decimal(value) => value.clone(),
            Self::Jsonb(value) => std::str::from_utf8(value)
                .map_err(|_| "the JSON is not UTF-8")?
                .to_owned(),
            Self::Date((year, month, day)) => date(*year, *month, *day, ""),
            Self::Time((hour, minute, second, nanos)) => time(*hour, *minute, *second, *nanos),
            Self::Datetime((year, month, day, hour, minute, second, nanos)) => date(
                *year,
                *month,
                *day,
                &format!(" {}", time(*hour, *minute, *second, *nanos)),
            ),
            Self::Timestamp(seconds) => timestamp(*seconds)?,
            Self::RangeInt32(from, to) => range(from.as_ref(), to.as_ref()),
            Self::RangeInt64(from, to) => range(from.as_ref(), to.as_ref()),
            Self::RangeDecimal(from, to) => {
                for (value, _) in [from, to].into_iter().flatten() {
                    check_decimal(value)?;
                }
                range(from.as_ref(), to.as_ref())
            }
            Self::ArrayInt32(values) => array(values),
            Self::ArrayInt64(values) => array(values),
            Self::ArrayDecimal(values) | Self::ArrayStr(values) => array(values),
            Self::Interval { micros, days, months } => {
                format!("{months} months {days} days {micros} microseconds")
            }
            Self::Int8(_) | Self::Binary(_) | Self::Null | Self::Unsupported(_) => {
                return Err("a value without a text form".into());
            }
        })
    }
}

fn is_text(ty: &Type) -> bool {
    [Type::TEXT, Type::VARCHAR, Type::BPCHAR, Type::NAME, Type::UNKNOWN].contains(ty)
        || ["citext", "ltree", "lquery", "ltxtquery"].contains(&ty.name())
}

fn date(year: i32, month: u8, day: u8, time: &str) -> String {
    // There is no year 0: it is the first before.
    let (year, era) = if year > 0 {
        (year.unsigned_abs(), "")
    } else {
        ((1 - year).unsigned_abs(), " BC")
    };
    format!("{year:04}-{month:02}-{day:02}{time}{era}")
}

fn time(hour: u8, minute: u8, second: u8, nanos: u32) -> String {
    format!("{hour:02}:{minute:02}:{second:02}.{:06}", nanos / 1000)
}

fn timestamp(seconds: i64) -> Result<String, &'static str> {
    let (days, rest) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, day) = super::decode::civil(days).ok_or("a time that is out of range")?;
    let clock = format!(" {:02}:{:02}:{:02}+00", rest / 3600, rest / 60 % 60, rest % 60);
    Ok(date(year, month, day, &clock))
}

/// A number within a range must not look like the range's own characters.
fn check_decimal(value: &str) -> Result<(), &'static str> {
    let plain = value
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
    (plain && !value.is_empty())
        .then_some(())
        .ok_or("is not a decimal number")
}

fn range<T: ToString>(from: Option<&(T, bool)>, to: Option<&(T, bool)>) -> String {
    let value = |bound: Option<&(T, bool)>| bound.map(|(value, _)| value.to_string()).unwrap_or_default();
    let within = |bound: Option<&(T, bool)>| bound.is_some_and(|(_, within)| *within);
    let open = if within(from) { '[' } else { '(' };
    let close = if within(to) { ']' } else { ')' };
    format!("{open}{},{}{close}", value(from), value(to))
}

/// Each element quoted, so that none is taken for NULL or for more than one.
fn array<T: ToString>(values: &[Option<T>]) -> String {
    let mut text = String::from("{");
    for (index, value) in values.iter().enumerate() {
        if index > 0 {
            text.push(',');
        }
        match value {
            None => text.push_str("NULL"),
            Some(value) => {
                text.push('"');
                for character in value.to_string().chars() {
                    if ['"', '\\'].contains(&character) {
                        text.push('\\');
                    }
                    text.push(character);
                }
                text.push('"');
            }
        }
    }
    text.push('}');
    text
}

impl ToSql for Value {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        if !self.is_for(ty) {
            return Err(format!("a parameter of this kind cannot be of type {}", ty.name()).into());
        }
        match self {
            Self::Null => return Ok(IsNull::Yes),
            Self::Binary(bytes) => out.extend_from_slice(bytes),
            Self::Int8(value) => out.extend_from_slice(&value.to_be_bytes()),
            _ => out.write_str(&self.text()?)?,
        }
        Ok(IsNull::No)
    }

    /// It is seen for each value.
    fn accepts(_: &Type) -> bool {
        true
    }

    fn encode_format(&self, _: &Type) -> Format {
        match self {
            Self::Binary(_) | Self::Int8(_) => Format::Binary,
            _ => Format::Text,
        }
    }

    to_sql_checked!();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_the_text_that_the_server_reads() {
        for (value, expected) in [
            (Value::Date((2024, 2, 29)), "2024-02-29"),
            (Value::Date((0, 1, 2)), "0001-01-02 BC"),
            (Value::Time((1, 2, 3, 4_567_000)), "01:02:03.004567"),
            (
                Value::Datetime((1999, 12, 31, 23, 59, 58, 0)),
                "1999-12-31 23:59:58.000000",
            ),
            (Value::Timestamp(-1), "1969-12-31 23:59:59+00"),
            (Value::Timestamp(951_782_400), "2000-02-29 00:00:00+00"),
            (Value::RangeInt32(Some((1, true)), Some((5, false))), "[1,5)"),
            (Value::RangeInt64(None, Some((5, true))), "(,5]"),
            (Value::ArrayInt32(vec![Some(1), None]), r#"{"1",NULL}"#),
            (
                Value::ArrayStr(vec![Some(r#"a"b\c,}"#.to_owned()), Some("NULL".to_owned())]),
                r#"{"a\"b\\c,}","NULL"}"#,
            ),
            (
                Value::Interval {
                    micros: -1,
                    days: 2,
                    months: 3,
                },
                "3 months 2 days -1 microseconds",
            ),
        ] {
            assert_eq!(value.text().expect("a text"), expected);
        }
        let evil = Value::RangeDecimal(Some(("1,2".to_owned(), true)), None);
        assert_eq!(
            evil.text().expect_err("two numbers").to_string(),
            "is not a decimal number"
        );
    }

    #[test]
    fn nothing_is_converted_silently() {
        let mut out = BytesMut::new();
        let text = Value::Str("1".to_owned());
        assert!(text.to_sql(&Type::INT4, &mut out).is_err(), "a text is no number");
        assert!(
            Value::Int32(1).to_sql(&Type::INT8, &mut out).is_err(),
            "of another size"
        );
        assert!(out.is_empty());
        assert!(matches!(
            Value::Null.to_sql(&Type::INT8, &mut out),
            Ok(IsNull::Yes)
        ));
        assert!(matches!(
            Value::Binary(vec![7]).to_sql(&Type::BYTEA, &mut out),
            Ok(IsNull::No)
        ));
        assert_eq!(&out[..], [7]);
    }
}
