//! Quantities on the command line, as runc's users write them: sizes of memory and lengths of time.

use std::time::Duration;

/// A number of bytes with an optional unit of 1024 to some power (`64M`, `1.5 GiB`), or -1 for no limit, as
/// Docker's units read it.
pub(super) fn bytes(text: &str) -> Result<i64, String> {
    if text == "-1" {
        return Ok(-1);
    }
    let wrong = || format!("{text:?} is no size: give a number of bytes, one with k, M, G, T or P, or -1");
    let end = text
        .find(|character: char| !character.is_ascii_digit() && character != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let unit = unit.strip_prefix(' ').unwrap_or(unit).to_ascii_lowercase();
    let power = match unit.as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 1,
        "m" | "mb" | "mib" => 2,
        "g" | "gb" | "gib" => 3,
        "t" | "tb" | "tib" => 4,
        "p" | "pb" | "pib" => 5,
        _ => return Err(wrong()),
    };
    let factor = 1_i64 << (10 * power);
    if let Ok(whole) = number.parse::<i64>() {
        return whole.checked_mul(factor).ok_or_else(wrong);
    }
    #[expect(clippy::cast_precision_loss, reason = "a power of two is exact")]
    let size = number.parse::<f64>().map_err(|_| wrong())? * factor as f64;
    if !(0.0..9e18).contains(&size) {
        return Err(wrong());
    }
    #[expect(
        clippy::cast_possible_truncation,
        reason = "within the range of an i64, cut as Docker cuts"
    )]
    Ok(size as i64)
}

/// A value, or none where the text is empty: what a script passes that has nothing to say, and runc takes for the
/// option not being there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct OrNone<T>(pub Option<T>);

impl<T: std::str::FromStr> std::str::FromStr for OrNone<T> {
    type Err = T::Err;

    fn from_str(text: &str) -> Result<Self, T::Err> {
        if text.is_empty() {
            return Ok(Self(None));
        }
        text.parse().map(|value| Self(Some(value)))
    }
}

/// [`bytes`], or none where the text is empty.
pub(super) fn bytes_or_none(text: &str) -> Result<OrNone<i64>, String> {
    if text.is_empty() {
        return Ok(OrNone(None));
    }
    bytes(text).map(|size| OrNone(Some(size)))
}

/// A length of time as Go writes it: numbers with units, `1m30s`, `1.5s`, `100ms`; more than none, and at most
/// the 292 years that Go counts.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    const UNITS: [(&str, f64); 8] = [
        ("ns", 1.0),
        ("us", 1e3),
        ("µs", 1e3),
        ("μs", 1e3),
        ("ms", 1e6),
        ("s", 1e9),
        ("m", 6e10),
        ("h", 3.6e12),
    ];
    let wrong = || format!("{text:?} is no duration: give a number with ns, us, ms, s, m or h, as 1m30s");
    let mut rest = text;
    let mut nanoseconds = 0.0;
    while !rest.is_empty() {
        let is_number = |character: char| character.is_ascii_digit() || character == '.';
        let end = rest.find(|character| !is_number(character)).ok_or_else(wrong)?;
        let (number, after) = rest.split_at(end);
        let unit = &after[..after.find(is_number).unwrap_or(after.len())];
        let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?;
        nanoseconds += number.parse::<f64>().map_err(|_| wrong())? * factor;
        rest = &after[unit.len()..];
    }
    let most = Duration::from_nanos(i64::MAX.unsigned_abs());
    let duration = Duration::try_from_secs_f64(nanoseconds / 1e9).map_err(|_| wrong())?;
    if duration > most {
        return Err(format!("{text:?} is longer than {} hours", most.as_secs() / 3600));
    }
    if duration.is_zero() {
        return Err("it must be greater than 0".to_owned());
    }
    Ok(duration)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units_of_1024() {
        for (text, size) in [
            ("0", 0),
            ("-1", -1),
            ("33554432", 33_554_432),
            ("32m", 32 << 20),
            ("32M", 32 << 20),
            ("32MB", 32 << 20),
            ("32 MiB", 32 << 20),
            ("1.5k", 1536),
            ("7b", 7),
            ("2g", 2 << 30),
            ("1T", 1 << 40),
            ("1p", 1 << 50),
            ("9007199254740993", 9_007_199_254_740_993),
        ] {
            assert_eq!(bytes(text), Ok(size), "{text}");
        }
        for wrong in ["", "-2", "M", "1x", "1bb", "1 2", "1.2.3", "99999p", "1mm", "1ki"] {
            assert!(bytes(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_empty_text_is_no_value() {
        assert_eq!(bytes_or_none(""), Ok(OrNone(None)));
        assert_eq!(bytes_or_none("1k"), Ok(OrNone(Some(1024))));
        assert!(bytes_or_none(" ").is_err());
        assert_eq!("".parse::<OrNone<u64>>(), Ok(OrNone(None)));
        assert_eq!("7".parse(), Ok(OrNone(Some(7_u64))));
        assert!("-7".parse::<OrNone<u64>>().is_err());
    }

    #[test]
    fn durations_are_those_of_go() {
        for (text, milliseconds) in [
            ("5s", 5000),
            ("100ms", 100),
            ("1.5s", 1500),
            ("1m30s", 90_000),
            ("1h", 3_600_000),
            ("2000us", 2),
            ("2000µs", 2),
            ("3000000ns", 3),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
        for wrong in [
            "",
            "0",
            "0s",
            "5",
            "s",
            "5d",
            "-5s",
            "1..5s",
            "5s5",
            "3000000000000000h",
            "3000000h",
        ] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}
