//! The checks of a parsed config.json: small ones, one after the other, by theme. A check sees the document
//! only: what depends on the host is for the plan, what depends on the rootfs for those who carry it out.

mod document;
mod hooks;
mod linux;
mod mounts;
mod namespaces;
mod process;
mod seccomp;
mod sysctl;

use std::path::Path;

pub(super) use linux::user_is_mapped;
pub(super) use sysctl::dotted as sysctl_key;

use super::SpecError;
use super::model::{Config, Process};

/// One broken rule.
#[derive(Debug)]
pub(super) struct Problem {
    /// Where, as a path of properties (`linux.namespaces[2].path`).
    field: String,
    what: What,
}

#[derive(Debug)]
enum What {
    Invalid(String),
    Unsupported(&'static str),
}

impl Problem {
    fn new(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            what: What::Invalid(problem.into()),
        }
    }

    fn unsupported(field: impl Into<String>, why: &'static str) -> Self {
        Self {
            field: field.into(),
            what: What::Unsupported(why),
        }
    }

    /// The same problem below `prefix`.
    fn under(mut self, prefix: &str) -> Self {
        if !prefix.is_empty() {
            self.field = format!("{prefix}.{}", self.field);
        }
        self
    }

    pub(super) fn in_file(self, file: &Path) -> SpecError {
        let (file, field) = (file.to_owned(), self.field);
        match self.what {
            What::Invalid(problem) => SpecError::Invalid { file, field, problem },
            What::Unsupported(why) => SpecError::Unsupported { file, field, why },
        }
    }
}

type Check<T> = fn(&T, &mut Vec<String>) -> Result<(), Problem>;

/// All checks of a container, in the order in which a reader meets the properties.
const CONTAINER: &[&[Check<Config>]] = &[
    document::CHECKS,
    namespaces::CHECKS,
    mounts::CHECKS,
    linux::CHECKS,
    sysctl::CHECKS,
    seccomp::CHECKS,
    hooks::CHECKS,
];

pub(super) fn config(config: &Config, warnings: &mut Vec<String>) -> Result<(), Problem> {
    for check in CONTAINER.iter().copied().flatten() {
        check(config, warnings)?;
    }
    match &config.process {
        Some(process) => self::process(process, "process", warnings),
        None => Ok(()),
    }
}

/// The checks of the mounts alone.
pub(super) fn mounts(config: &Config, warnings: &mut Vec<String>) -> Result<(), Problem> {
    mounts::CHECKS
        .iter()
        .try_for_each(|check| check(config, warnings))
}

/// The checks of a process, whose properties are named below `prefix`.
pub(super) fn process(process: &Process, prefix: &str, warnings: &mut Vec<String>) -> Result<(), Problem> {
    for check in process::CHECKS {
        check(process, warnings).map_err(|problem| problem.under(prefix))?;
    }
    Ok(())
}
