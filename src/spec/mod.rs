//! config.json: parse it, check it, and name every problem by file, property and value. Raw JSON stops here;
//! what follows works on checked types.
//!
//! Nothing is looked up on the host here: what depends on it is for the plan.

pub mod annotations;
pub mod capabilities;
mod document;
pub mod example;
pub mod guest_options;
pub mod idmap_option;
pub mod live_mounts;
pub mod model;
pub mod mount_options;
mod names;
pub mod runtime_options;
pub mod systemd_properties;
pub mod update;
mod validate;

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use thiserror::Error;

pub use example::example;
use model::{Config, Process};

/// Why a config.json or process.json is refused.
#[derive(Debug, Error)]
pub enum SpecError {
    #[error("{file} is not a valid JSON document")]
    Syntax {
        file: PathBuf,
        source: serde_json::Error,
    },
    #[error("{file}: {field} has a wrong value")]
    Value {
        file: PathBuf,
        field: String,
        source: serde_json::Error,
    },
    #[error("{file}: {field}: {problem}")]
    Invalid {
        file: PathBuf,
        field: String,
        problem: String,
    },
    #[error("{file}: {field} is not supported: {why}")]
    Unsupported {
        file: PathBuf,
        field: String,
        why: &'static str,
    },
}

/// A checked config.json.
#[derive(Debug, Clone)]
pub struct Spec {
    /// Where it was read from, for errors.
    pub file: PathBuf,
    pub config: Config,
    /// What was passed over or corrected, for the log.
    pub warnings: Vec<String>,
}

impl Spec {
    /// Parses and checks the bytes of a config.json; `file` is only named in errors.
    pub fn parse(bytes: &[u8], file: &Path) -> Result<Self, SpecError> {
        let config: Config = deserialize(bytes, file)?;
        let mut warnings = Vec::new();
        validate::config(&config, &mut warnings).map_err(|problem| problem.in_file(file))?;
        Ok(Self {
            file: file.to_owned(),
            config,
            warnings,
        })
    }
}

/// Parses and checks the process that `exec --process FILE` names; also gives the warnings.
pub fn process_from_json(bytes: &[u8], file: &Path) -> Result<(Process, Vec<String>), SpecError> {
    let process: Process = deserialize(bytes, file)?;
    let mut warnings = Vec::new();
    validate::process(&process, "", &mut warnings).map_err(|problem| problem.in_file(file))?;
    Ok((process, warnings))
}

/// Checks a process for `exec`, wherever it comes from, and that it fits the container.
pub fn check_exec(process: &Process, container: &Spec) -> Result<(), SpecError> {
    let mut seen_before = Vec::new();
    validate::process(process, "", &mut seen_before)
        .and_then(|()| validate::user_is_mapped(&container.config.linux, &process.user, "user"))
        .map_err(|problem| problem.in_file(Path::new("process")))
}

/// Deserializes, and on failure once more, to find out where: keeping track of the place costs time that
/// good documents need not spend.
fn deserialize<T: DeserializeOwned>(bytes: &[u8], file: &Path) -> Result<T, SpecError> {
    let bytes = &*names::in_their_case(bytes).map_err(|names::Twice { property, spellings }| {
        let [one, other] = spellings;
        SpecError::Invalid {
            file: file.to_owned(),
            field: property,
            problem: format!("is there twice, as {one:?} and as {other:?}; leave one of them"),
        }
    })?;
    let parsed = match serde_json::from_slice(bytes) {
        Ok(value) => value,
        Err(_) => {
            let mut deserializer = serde_json::Deserializer::from_slice(bytes);
            match serde_path_to_error::deserialize(&mut deserializer) {
                Ok(value) => {
                    let rest: Result<(), _> = deserializer.end();
                    rest.map_err(|source| SpecError::Syntax {
                        file: file.to_owned(),
                        source,
                    })?;
                    value
                }
                Err(error) => return Err(located(error, file)),
            }
        }
    };
    reject_nul(bytes, file)?;
    Ok(parsed)
}

fn located(error: serde_path_to_error::Error<serde_json::Error>, file: &Path) -> SpecError {
    let field = error.path().to_string();
    let source = error.into_inner();
    let file = file.to_owned();
    if source.is_data() && field != "." {
        SpecError::Value { file, field, source }
    } else {
        SpecError::Syntax { file, source }
    }
}

/// Refuses strings with a NUL: no path, argument or option can hold one, and the kernel would see the
/// string end there. JSON can write a NUL only as an escape, so that documents without it need no search.
fn reject_nul(bytes: &[u8], file: &Path) -> Result<(), SpecError> {
    const ESCAPE: &[u8] = b"\\u0000";
    if !bytes.contains(&b'\\') || !bytes.windows(ESCAPE.len()).any(|window| window == ESCAPE) {
        return Ok(());
    }
    let document: serde_json::Value = serde_json::from_slice(bytes).map_err(|source| SpecError::Syntax {
        file: file.to_owned(),
        source,
    })?;
    match find_nul(&document, String::new()) {
        None => Ok(()),
        Some(field) => Err(SpecError::Invalid {
            file: file.to_owned(),
            field,
            problem: "contains a NUL character".to_owned(),
        }),
    }
}

/// The place of the first string with a NUL.
fn find_nul(value: &serde_json::Value, place: String) -> Option<String> {
    use serde_json::Value;
    match value {
        Value::String(text) => text.contains('\0').then_some(place),
        Value::Array(items) => items
            .iter()
            .enumerate()
            .find_map(|(index, item)| find_nul(item, format!("{place}[{index}]"))),
        Value::Object(members) => members.iter().find_map(|(key, member)| {
            let dot = if place.is_empty() { "" } else { "." };
            let place = format!("{place}{dot}{}", key.replace('\0', "\\u0000"));
            if key.contains('\0') {
                Some(place)
            } else {
                find_nul(member, place)
            }
        }),
        _ => None,
    }
}

/// The dotted form of a sysctl's name, which may be given with dots or with slashes (sysctl.d(5)).
pub fn sysctl_key(key: &str) -> String {
    validate::sysctl_key(key)
}
