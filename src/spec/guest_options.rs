//! What annotations ask for a Wasm guest: limits, and help for those who write guests. A native container is
//! not touched by any of them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use super::annotations::{self, AnnotationError};

/// Units of work, about one per executed instruction, after which the guest traps.
pub const FUEL: &str = "org.wrun.wasm.fuel";
/// Seconds of wall clock, as a decimal number, after which the guest is ended.
pub const TIMEOUT: &str = "org.wrun.wasm.timeout";
/// `true` writes a line for each request of a `wasi:http` service to its standard output.
pub const ACCESS_LOG: &str = "org.wrun.wasm.http.access-log";
/// Absolute path in the container of the core dump that a trapped guest leaves.
pub const CORE_DUMP: &str = "org.wrun.wasm.core-dump";
/// `perf-map` tells perf(1) the names of the guest's functions.
pub const PROFILE: &str = "org.wrun.wasm.profile";
/// `quick` (the default: a large module that is not in the cache starts on quickly compiled code) or
/// `optimized` (it waits for the optimised code).
pub const FIRST_RUN: &str = "org.wrun.wasm.first-run";

/// Each key above.
pub const ALL: [&str; 6] = [FUEL, TIMEOUT, ACCESS_LOG, CORE_DUMP, PROFILE, FIRST_RUN];

/// Ours alone: in this name space an unknown key is an error, since it would be a setting that has no effect.
const NAMESPACE: &str = "org.wrun.";

/// Longest wall clock limit, in seconds: a hundred years, which every timer of the kernel can hold.
const MAX_TIMEOUT: f64 = 3.2e9;

/// What the annotations of a container say about its guest.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GuestOptions {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fuel: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
    pub access_log: bool,
    /// Absolute, in the container.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub core_dump: Option<PathBuf>,
    pub perf_map: bool,
    /// Wait for optimised code even where quickly compiled code could start at once.
    pub wait_for_optimized: bool,
}

impl GuestOptions {
    /// Whether nothing is asked for.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// Reads the annotations; one that is ours and is not known, or has another value than it may, is an error.
    pub fn parse(annotations: &BTreeMap<String, String>) -> Result<Self, AnnotationError> {
        let ours = annotations.keys().filter(|key| key.starts_with(NAMESPACE));
        if let Some(key) = ours.into_iter().find(|key| !is_known(key)) {
            return Err(AnnotationError::UnknownKey { key: key.clone() });
        }
        let value = |key| annotations.get(key).map(String::as_str);
        let invalid = |key, expected| {
            move |value: &str| AnnotationError::Invalid {
                key,
                value: value.to_owned(),
                expected,
            }
        };
        let number = "a whole number from 1 to 18446744073709551615";
        let seconds = "a positive number of seconds, such as 30 or 0.5";
        Ok(Self {
            fuel: parsed(value(FUEL), whole, invalid(FUEL, number))?,
            timeout: parsed(value(TIMEOUT), duration, invalid(TIMEOUT, seconds))?,
            access_log: choice(annotations, ACCESS_LOG, ["false", "true"])?,
            core_dump: parsed(
                value(CORE_DUMP),
                absolute,
                invalid(CORE_DUMP, "an absolute path in the container"),
            )?,
            perf_map: choice(annotations, PROFILE, ["none", "perf-map"])?,
            wait_for_optimized: choice(annotations, FIRST_RUN, ["quick", "optimized"])?,
        })
    }
}

fn is_known(key: &str) -> bool {
    annotations::ALL.contains(&key) || ALL.contains(&key)
}

fn parsed<T>(
    value: Option<&str>,
    parse: impl Fn(&str) -> Option<T>,
    error: impl Fn(&str) -> AnnotationError,
) -> Result<Option<T>, AnnotationError> {
    value
        .map(|text| parse(text).ok_or_else(|| error(text)))
        .transpose()
}

fn whole(text: &str) -> Option<u64> {
    text.parse().ok().filter(|number| *number > 0)
}

fn duration(text: &str) -> Option<Duration> {
    let seconds: f64 = text.parse().ok()?;
    let limit = (seconds > 0.0 && seconds <= MAX_TIMEOUT).then(|| Duration::from_secs_f64(seconds));
    // What rounds to nothing would be no limit at all.
    limit.filter(|limit| !limit.is_zero())
}

fn absolute(text: &str) -> Option<PathBuf> {
    Some(PathBuf::from(text)).filter(|path| path.is_absolute() && path.file_name().is_some())
}

/// Whether the second of two values is chosen; the first is the default.
fn choice(
    annotations: &BTreeMap<String, String>,
    key: &'static str,
    [off, on]: [&'static str; 2],
) -> Result<bool, AnnotationError> {
    match annotations.get(key).map(String::as_str) {
        None => Ok(false),
        Some(value) if value == off => Ok(false),
        Some(value) if value == on => Ok(true),
        Some(other) => Err(annotations::unknown(key, other, &[off, on])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(pairs: &[(&str, &str)]) -> Result<GuestOptions, AnnotationError> {
        let annotations = pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        GuestOptions::parse(&annotations.collect())
    }

    #[test]
    fn nothing_asks_for_nothing() {
        assert_eq!(parse(&[("other", "x")]).unwrap(), GuestOptions::default());
    }

    #[test]
    fn each_key_is_read() {
        let options = parse(&[
            (FUEL, "1000"),
            (TIMEOUT, "0.5"),
            (ACCESS_LOG, "true"),
            (CORE_DUMP, "/dumps/core"),
            (PROFILE, "perf-map"),
            (FIRST_RUN, "optimized"),
        ]);
        let expected = GuestOptions {
            fuel: Some(1000),
            timeout: Some(Duration::from_millis(500)),
            access_log: true,
            core_dump: Some(PathBuf::from("/dumps/core")),
            perf_map: true,
            wait_for_optimized: true,
        };
        assert_eq!(options.unwrap(), expected);
    }

    #[test]
    fn wrong_values_are_named() {
        let wrong = [
            (FUEL, "0"),
            (FUEL, "many"),
            (TIMEOUT, "-1"),
            (TIMEOUT, "NaN"),
            (TIMEOUT, "1e300"),
            (TIMEOUT, "1e-10"),
            (CORE_DUMP, "dumps/core"),
            (CORE_DUMP, "/"),
            (ACCESS_LOG, "yes"),
            (PROFILE, "jitdump"),
            (FIRST_RUN, ""),
        ];
        for (key, value) in wrong {
            let error = parse(&[(key, value)]).unwrap_err().to_string();
            assert!(error.contains(key), "{error}");
        }
    }

    #[test]
    fn an_unknown_key_of_ours_is_an_error() {
        let error = parse(&[("org.wrun.wasm.feul", "1")]).unwrap_err().to_string();
        assert!(
            error.contains("org.wrun.wasm.feul") && error.contains(FUEL),
            "{error}"
        );
    }
}
