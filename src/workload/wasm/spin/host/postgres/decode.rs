//! Values of rows, from the binary form that the server sends them in (its `*_send` functions).

use std::cell::Cell;

use tokio_postgres::types::{FromSql, Type};

use super::value::{Bound, Value};

/// Days between 1970 and 2000, where the server's time begins.
const EPOCH: i64 = 10_957;
const DAY_MICROS: i64 = 86_400_000_000;

type Result<T> = std::result::Result<T, &'static str>;
const SHORT: &str = "the value is cut off";
const LARGE: &str = "the result has more bytes than are allowed";

/// The bytes of a value of whatever type.
pub struct Raw<'a>(pub &'a [u8]);

impl<'a> FromSql<'a> for Raw<'a> {
    fn from_sql(
        _: &Type,
        raw: &'a [u8],
    ) -> std::result::Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Self(raw))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

/// A value of a type, which may take so many bytes of memory: a number of a few bytes may have very many digits.
pub fn value(ty: &Type, raw: &[u8], most: usize) -> Result<Value> {
    let left = Cell::new(most);
    let mut bytes = Bytes(raw, &left);
    let value = match *ty {
        Type::BOOL => Value::Boolean(bytes.u8()? != 0),
        Type::CHAR => Value::Int8(bytes.u8()?.cast_signed()),
        Type::INT2 => Value::Int16(bytes.i16()?),
        Type::INT4 => Value::Int32(bytes.i32()?),
        Type::INT8 => Value::Int64(bytes.i64()?),
        Type::FLOAT4 => Value::Floating32(f32::from_be_bytes(bytes.array()?)),
        Type::FLOAT8 => Value::Floating64(f64::from_be_bytes(bytes.array()?)),
        Type::TEXT | Type::VARCHAR | Type::BPCHAR | Type::NAME => Value::Str(text(&mut bytes)?),
        Type::BYTEA => Value::Binary(bytes.copied()?),
        Type::DATE => Value::Date(date(bytes.i32()?)?),
        Type::TIME => Value::Time(time(bytes.i64()?)?),
        Type::TIMESTAMP | Type::TIMESTAMPTZ => Value::Datetime(datetime(bytes.i64()?)?),
        Type::UUID => Value::Uuid(uuid(bytes.array()?)),
        Type::JSONB => match bytes.u8()? {
            1 => Value::Jsonb(bytes.copied()?),
            _ => return Err("JSON of a form that is not known"),
        },
        Type::NUMERIC => Value::Decimal(numeric(&mut bytes)?),
        Type::INTERVAL => Value::Interval {
            micros: bytes.i64()?,
            days: bytes.i32()?,
            months: bytes.i32()?,
        },
        Type::INT4_RANGE => {
            let (from, to) = range(&mut bytes, Bytes::i32, 0)?;
            Value::RangeInt32(from, to)
        }
        Type::INT8_RANGE => {
            let (from, to) = range(&mut bytes, Bytes::i64, 0)?;
            Value::RangeInt64(from, to)
        }
        Type::NUM_RANGE => {
            let (from, to) = range(&mut bytes, numeric, "0".to_owned())?;
            Value::RangeDecimal(from, to)
        }
        Type::INT4_ARRAY => Value::ArrayInt32(array(&mut bytes, Bytes::i32)?),
        Type::INT8_ARRAY => Value::ArrayInt64(array(&mut bytes, Bytes::i64)?),
        Type::NUMERIC_ARRAY => Value::ArrayDecimal(array(&mut bytes, numeric)?),
        Type::TEXT_ARRAY | Type::VARCHAR_ARRAY | Type::BPCHAR_ARRAY => {
            Value::ArrayStr(array(&mut bytes, text)?)
        }
        _ => Value::Unsupported(bytes.copied()?),
    };
    Ok(value)
}

/// Bytes that are taken from the front, and how many may still be made of them.
struct Bytes<'a>(&'a [u8], &'a Cell<usize>);

impl<'a> Bytes<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(SHORT)?;
        self.0 = rest;
        Ok(taken)
    }

    /// Before memory is taken.
    fn spend(&self, bytes: usize) -> Result<()> {
        self.1.set(self.1.get().checked_sub(bytes).ok_or(LARGE)?);
        Ok(())
    }

    fn copied(&mut self) -> Result<Vec<u8>> {
        self.spend(self.0.len())?;
        Ok(self.rest().to_vec())
    }

    fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        self.take(N)?.try_into().map_err(|_| SHORT)
    }

    fn u8(&mut self) -> Result<u8> {
        Ok(self.array::<1>()?[0])
    }

    fn i16(&mut self) -> Result<i16> {
        Ok(i16::from_be_bytes(self.array()?))
    }

    fn i32(&mut self) -> Result<i32> {
        Ok(i32::from_be_bytes(self.array()?))
    }

    fn i64(&mut self) -> Result<i64> {
        Ok(i64::from_be_bytes(self.array()?))
    }

    /// What a length precedes; `None` where the length says so.
    fn sized(&mut self) -> Result<Option<Bytes<'a>>> {
        match usize::try_from(self.i32()?) {
            Ok(length) => Ok(Some(Bytes(self.take(length)?, self.1))),
            Err(_) => Ok(None),
        }
    }
}

fn text(bytes: &mut Bytes<'_>) -> Result<String> {
    String::from_utf8(bytes.copied()?).map_err(|_| "a text is not UTF-8")
}

/// Year, month and day of a number of days since 1970, by the calendar that the server has for all time.
pub fn civil(days: i64) -> Option<(i32, u8, u8)> {
    // Years begin in March here, so that the day that comes and goes is their last.
    let days = days.checked_add(719_468)?;
    let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year + era * 400 + i64::from(month <= 2);
    Some((
        i32::try_from(year).ok()?,
        u8::try_from(month).ok()?,
        u8::try_from(day).ok()?,
    ))
}

fn date(days: i32) -> Result<(i32, u8, u8)> {
    if [i32::MAX, i32::MIN].contains(&days) {
        return Err("a date is infinite");
    }
    civil(i64::from(days) + EPOCH).ok_or("a date is out of range")
}

fn time(micros: i64) -> Result<(u8, u8, u8, u32)> {
    let seconds = micros / 1_000_000;
    let nanos = u32::try_from(micros % 1_000_000 * 1000).map_err(|_| "a time is negative")?;
    let part = |value: i64| u8::try_from(value).map_err(|_| "a time is out of range");
    Ok((
        part(seconds / 3600)?,
        part(seconds / 60 % 60)?,
        part(seconds % 60)?,
        nanos,
    ))
}

fn datetime(micros: i64) -> Result<(i32, u8, u8, u8, u8, u8, u32)> {
    if [i64::MAX, i64::MIN].contains(&micros) {
        return Err("a time is infinite");
    }
    let (year, month, day) = civil(micros.div_euclid(DAY_MICROS) + EPOCH).ok_or("a date is out of range")?;
    let (hour, minute, second, nanos) = time(micros.rem_euclid(DAY_MICROS))?;
    Ok((year, month, day, hour, minute, second, nanos))
}

fn uuid(bytes: [u8; 16]) -> String {
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

/// A digit of base 10,000 in full.
fn four(text: &mut String, digit: i16) {
    for power in [1000, 100, 10, 1] {
        let decimal = u8::try_from(digit / power % 10).unwrap_or(0);
        text.push(char::from(b'0' + decimal));
    }
}

/// Digits of base 10,000, the power of the first, and how many decimal places are shown.
fn numeric(bytes: &mut Bytes<'_>) -> Result<String> {
    let count = bytes.i16()?;
    let weight = bytes.i16()?;
    let sign = bytes.i16()?.cast_unsigned();
    let scale = usize::try_from(bytes.i16()?).map_err(|_| "a number has a negative scale")?;
    let mut digits = Vec::new();
    for _ in 0..count {
        let digit = bytes.i16()?;
        if !(0..10_000).contains(&digit) {
            return Err("a number has a digit that is none");
        }
        digits.push(digit);
    }
    let minus = match sign {
        0x0000 => "",
        0x4000 => "-",
        0xc000 => return Ok("NaN".to_owned()),
        0xd000 => return Ok("Infinity".to_owned()),
        0xf000 => return Ok("-Infinity".to_owned()),
        _ => return Err("a number has a sign that is none"),
    };
    let digit = |place: i32| {
        let index = usize::try_from(i32::from(weight) - place).ok();
        index.and_then(|index| digits.get(index)).copied().unwrap_or(0)
    };
    let whole = usize::try_from(i32::from(weight) + 1).map_or(0, |groups| groups * 4);
    let groups = i32::try_from(scale.div_ceil(4)).map_err(|_| "a number is too long")?;
    // A sign, a nought where there is nothing whole, and a point; fractions are written in whole groups.
    let length = 3 + whole + scale.next_multiple_of(4);
    bytes.spend(length)?;
    let mut text = String::with_capacity(length);
    text.push_str(minus);
    let mut begun = false;
    for place in (0..=i32::from(weight)).rev() {
        match (begun, digit(place)) {
            (false, 0) => {}
            (false, first) => {
                begun = true;
                text.push_str(&first.to_string());
            }
            (true, next) => four(&mut text, next),
        }
    }
    if !begun {
        text.push('0');
    }
    if scale > 0 {
        text.push('.');
        let from = text.len();
        for place in 1..=groups {
            four(&mut text, digit(-place));
        }
        text.truncate(from + scale);
    }
    Ok(text)
}

/// Bits of <utils/rangetypes.h>.
fn range<'a, T>(
    bytes: &mut Bytes<'a>,
    element: impl Fn(&mut Bytes<'a>) -> Result<T>,
    zero: T,
) -> Result<(Bound<T>, Bound<T>)>
where
    T: Clone,
{
    const EMPTY: u8 = 1;
    const FROM_WITHIN: u8 = 2;
    const TO_WITHIN: u8 = 4;
    const NO_FROM: u8 = 8;
    const NO_TO: u8 = 16;
    let flags = bytes.u8()?;
    if flags & EMPTY != 0 {
        // Guests know no other way to write what nothing is in.
        return Ok((Some((zero.clone(), false)), Some((zero, false))));
    }
    let mut bound = |none: u8, within: u8| -> Result<Bound<T>> {
        if flags & none != 0 {
            return Ok(None);
        }
        let mut value = bytes.sized()?.ok_or(SHORT)?;
        Ok(Some((element(&mut value)?, flags & within != 0)))
    };
    Ok((bound(NO_FROM, FROM_WITHIN)?, bound(NO_TO, TO_WITHIN)?))
}

/// Of one dimension: guests know no more.
fn array<'a, T>(
    bytes: &mut Bytes<'a>,
    element: impl Fn(&mut Bytes<'a>) -> Result<T>,
) -> Result<Vec<Option<T>>> {
    let (dimensions, _has_nulls, _type) = (bytes.i32()?, bytes.i32()?, bytes.i32()?);
    let count = match dimensions {
        0 => return Ok(Vec::new()),
        1 => bytes.i32()?,
        _ => return Err("an array has more than one dimension"),
    };
    let _first = bytes.i32()?;
    let mut values = Vec::new();
    for _ in 0..count {
        // Twice, since a vector that grows has as much to spare.
        bytes.spend(2 * size_of::<Option<T>>())?;
        let value = bytes.sized()?;
        values.push(value.map(|mut value| element(&mut value)).transpose()?);
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(ty: &Type, raw: &[u8]) -> Result<Value> {
        super::value(ty, raw, 1 << 20)
    }

    fn number(weight: i16, sign: u16, scale: i16, digits: &[i16]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for field in [digits.len() as i16, weight, sign.cast_signed(), scale] {
            bytes.extend(field.to_be_bytes());
        }
        bytes.extend(digits.iter().flat_map(|digit| digit.to_be_bytes()));
        bytes
    }

    #[test]
    fn numbers_have_all_their_digits() {
        for (bytes, expected) in [
            (number(0, 0, 0, &[]), "0"),
            (number(0, 0, 2, &[123, 4500]), "123.45"),
            (number(0, 0x4000, 3, &[1, 500]), "-1.050"),
            (number(-1, 0, 4, &[12]), "0.0012"),
            (number(-2, 0, 8, &[12]), "0.00000012"),
            (number(2, 0, 0, &[1]), "100000000"),
            (number(1, 0, 1, &[1, 2, 3000]), "10002.3"),
            (number(0, 0xc000, 0, &[]), "NaN"),
        ] {
            assert_eq!(
                value(&Type::NUMERIC, &bytes),
                Ok(Value::Decimal(expected.to_owned()))
            );
        }
        assert!(value(&Type::NUMERIC, &number(0, 0, 0, &[10_000])).is_err());
        assert_eq!(value(&Type::NUMERIC, &[0, 1]), Err(SHORT));
    }

    /// Ten bytes make 131,072 digits.
    #[test]
    fn numbers_are_not_written_beyond_what_is_allowed() {
        let huge = number(32_767, 0, 0, &[1]);
        let written = value(&Type::NUMERIC, &huge).expect("within");
        assert!(matches!(written, Value::Decimal(text) if text.len() == 4 * 32_767 + 1));
        assert_eq!(super::value(&Type::NUMERIC, &huge, 100_000), Err(LARGE));
        let mut many: Vec<u8> = [1, 0, 1700, 100, 1]
            .into_iter()
            .flat_map(i32::to_be_bytes)
            .collect();
        for _ in 0..100 {
            many.extend((huge.len() as i32).to_be_bytes());
            many.extend(&huge);
        }
        assert_eq!(value(&Type::NUMERIC_ARRAY, &many), Err(LARGE));
        let one = [1_i32, 0, 1700, 1, 1].into_iter().flat_map(i32::to_be_bytes);
        let one: Vec<u8> = one.chain((huge.len() as i32).to_be_bytes()).chain(huge).collect();
        value(&Type::NUMERIC_ARRAY, &one).expect("within");
        let fraction = number(-1, 0, 16_383, &[]);
        assert_eq!(super::value(&Type::NUMERIC, &fraction, 16_000), Err(LARGE));
        assert_eq!(super::value(&Type::TEXT, b"abc", 2), Err(LARGE));
    }

    #[test]
    fn days_are_of_the_calendar() {
        for (days, expected) in [
            (0, (1970, 1, 1)),
            (-1, (1969, 12, 31)),
            (10_957, (2000, 1, 1)),
            (11_016, (2000, 2, 29)),
            (11_017, (2000, 3, 1)),
            (-719_528, (0, 1, 1)),
            (2_932_896, (9999, 12, 31)),
        ] {
            assert_eq!(civil(days), Some(expected), "{days}");
        }
        assert_eq!(civil(i64::MAX), None);
    }

    #[test]
    fn times_are_split() {
        assert_eq!(
            value(&Type::TIMESTAMP, &(-1_i64).to_be_bytes()),
            Ok(Value::Datetime((1999, 12, 31, 23, 59, 59, 999_999_000)))
        );
        assert_eq!(
            value(&Type::TIME, &3_723_000_004_i64.to_be_bytes()),
            Ok(Value::Time((1, 2, 3, 4000)))
        );
        assert!(value(&Type::DATE, &i32::MAX.to_be_bytes()).is_err());
        assert!(value(&Type::TIMESTAMP, &i64::MIN.to_be_bytes()).is_err());
    }

    #[test]
    fn ranges_and_arrays_are_bounded_by_their_bytes() {
        let mut bytes = vec![2 | 16];
        bytes.extend([0, 0, 0, 4, 0, 0, 0, 7]);
        assert_eq!(
            value(&Type::INT4_RANGE, &bytes),
            Ok(Value::RangeInt32(Some((7, true)), None))
        );
        assert_eq!(
            value(&Type::INT8_RANGE, &[1]),
            Ok(Value::RangeInt64(Some((0, false)), Some((0, false))))
        );
        let mut bytes: Vec<u8> = [1, 1, 23, 2, 1, 4, 5, -1]
            .into_iter()
            .flat_map(i32::to_be_bytes)
            .collect();
        assert_eq!(
            value(&Type::INT4_ARRAY, &bytes),
            Ok(Value::ArrayInt32(vec![Some(5), None]))
        );
        bytes[12..16].copy_from_slice(&i32::MAX.to_be_bytes());
        assert_eq!(value(&Type::INT4_ARRAY, &bytes), Err(SHORT));
        bytes[..4].copy_from_slice(&2_i32.to_be_bytes());
        assert_eq!(
            value(&Type::INT4_ARRAY, &bytes),
            Err("an array has more than one dimension")
        );
        assert_eq!(
            value(&Type::UUID, &[0x12; 16]),
            Ok(Value::Uuid("12121212-1212-1212-1212-121212121212".to_owned()))
        );
        assert_eq!(value(&Type::POINT, &[1, 2]), Ok(Value::Unsupported(vec![1, 2])));
    }
}
