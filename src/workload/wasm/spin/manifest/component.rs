//! What a manifest of either version says of a component, and of variables: checks of one key each.

use std::collections::{BTreeMap, BTreeSet};

use super::error::ManifestError;
use super::raw::{self, TextOr};
use super::template::Template;
use super::{Component, Files, Variable, name};
use crate::workload::wasm::spin::allowed_hosts::AllowedHosts;

type Result<T> = std::result::Result<T, ManifestError>;

/// Most bytes of a pattern, as of a path: larger ones make matchers that are refused, or take much memory.
const MAX_PATTERN: usize = 4096;
/// Most entries of `files`, and of `exclude_files`.
const MAX_FILES: usize = 1024;

/// Tells what is wrong with a name at its key.
pub fn named(checked: std::result::Result<(), String>, key: &str) -> Result<()> {
    checked.map_err(|reason| ManifestError::at(key, reason))
}

pub fn variables_of(raw: BTreeMap<String, raw::Variable>) -> Result<BTreeMap<String, Variable>> {
    let mut variables = BTreeMap::new();
    for (name, raw) in raw {
        let key = format!("variables.{name}");
        named(name::variable(&name), &key)?;
        match (raw.required, &raw.default) {
            (true, Some(_)) => {
                return Err(ManifestError::at(
                    key,
                    "is required, and so has no use for a default",
                ));
            }
            (false, None) => return Err(ManifestError::at(key, "has no default, and is not required")),
            _ => {}
        }
        let variable = Variable {
            default: raw.default,
            secret: raw.secret,
        };
        variables.insert(name, variable);
    }
    Ok(variables)
}

/// A text whose variables are all declared.
pub fn template(text: &str, key: &str, variables: &BTreeMap<String, Variable>) -> Result<Template> {
    let template = Template::parse(text).map_err(|reason| ManifestError::at(key, reason))?;
    let unknown = template.variables().find(|name| !variables.contains_key(*name));
    match unknown {
        Some(unknown) => Err(ManifestError::at(
            key,
            format!("there is no variable `{unknown}` in [variables]"),
        )),
        None => Ok(template),
    }
}

/// What a component of either version has.
pub struct Parts {
    pub source: TextOr<raw::Elsewhere>,
    pub variables: BTreeMap<String, String>,
    pub variables_key: &'static str,
    pub environment: BTreeMap<String, String>,
    pub files: Vec<TextOr<raw::Placement>>,
    pub exclude_files: Vec<String>,
    pub allowed_http_hosts: Vec<String>,
    pub allowed_outbound_hosts: Vec<String>,
    pub any_database: bool,
    pub key_value_stores: Vec<String>,
    pub sqlite_databases: Vec<String>,
    pub ai_models: Vec<String>,
}

impl Parts {
    pub fn component(self, key: &str, declared: &BTreeMap<String, Variable>) -> Result<Component> {
        let within = |name: &str| format!("{key}.{name}");
        if let Some(model) = self.ai_models.first() {
            let reason = format!("`{model}` is granted by fermyon:spin/llm, for which wrun has no models");
            return Err(ManifestError::at(within("ai_models"), reason));
        }
        Ok(Component {
            key: key.to_owned(),
            source: source(self.source, &within("source"))?,
            environment: environment(self.environment, &within("environment"))?,
            variables: values(self.variables, &within(self.variables_key), declared)?,
            files: files(self.files, &within("files"))?,
            exclude_files: patterns(self.exclude_files, &within("exclude_files"))?,
            allowed_outbound_hosts: hosts(
                &self.allowed_outbound_hosts,
                &within("allowed_outbound_hosts"),
                declared,
            )?,
            allowed_http_hosts: old_hosts(self.allowed_http_hosts, &within("allowed_http_hosts"))?,
            any_database: self.any_database,
            key_value_stores: labels(self.key_value_stores, &within("key_value_stores"))?,
            sqlite_databases: labels(self.sqlite_databases, &within("sqlite_databases"))?,
        })
    }
}

fn source(raw: TextOr<raw::Elsewhere>, key: &str) -> Result<String> {
    let elsewhere = match raw {
        TextOr::Text(path) if path.is_empty() => return Err(ManifestError::at(key, "is empty")),
        TextOr::Text(path) => return Ok(path),
        TextOr::Table(elsewhere) => elsewhere,
    };
    let wrong = |reason: String| Err(ManifestError::at(key, reason));
    match elsewhere {
        raw::Elsewhere {
            url: Some(url),
            digest: Some(digest),
            registry: None,
            package: None,
            version: None,
        } => {
            let hex = digest.strip_prefix("sha256:").unwrap_or_default();
            if hex.len() != 64 || !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                let reason = format!("is {digest:?}, not `sha256:` and 64 hexadecimal digits");
                return Err(ManifestError::at(format!("{key}.digest"), reason));
            }
            wrong(format!(
                "is to be downloaded from {url:?}, which wrun never does; put the file into the image and name its path"
            ))
        }
        raw::Elsewhere {
            url: None,
            digest: None,
            package: Some(package),
            version: Some(version),
            ..
        } => wrong(format!(
            "is the package `{package}@{version}` of a registry, which wrun never asks; \
             put the file into the image and name its path"
        )),
        _ => wrong("is a path, { url, digest } or { registry, package, version }".to_owned()),
    }
}

fn environment(raw: BTreeMap<String, String>, key: &str) -> Result<BTreeMap<String, String>> {
    let wrong = |(name, value): &(&String, &String)| {
        name.is_empty() || name.contains(['=', '\0']) || value.contains('\0')
    };
    match raw.iter().find(wrong) {
        Some((name, _)) => Err(ManifestError::at(
            key,
            format!("{name:?} is no variable of an environment: a name has no `=`, and neither part a NUL"),
        )),
        None => Ok(raw),
    }
}

fn values(
    raw: BTreeMap<String, String>,
    key: &str,
    declared: &BTreeMap<String, Variable>,
) -> Result<BTreeMap<String, Template>> {
    let mut values = BTreeMap::new();
    for (name, text) in raw {
        let key = format!("{key}.{name}");
        named(name::variable(&name), &key)?;
        values.insert(name, template(&text, &key, declared)?);
    }
    Ok(values)
}

fn files(raw: Vec<TextOr<raw::Placement>>, key: &str) -> Result<Vec<Files>> {
    check_count(raw.len(), key)?;
    let mut files = Vec::new();
    for (at, raw) in raw.into_iter().enumerate() {
        let key = format!("{key}[{at}]");
        files.push(match raw {
            TextOr::Text(pattern) => {
                inside(&pattern, &key)?;
                let last = pattern.rsplit('/').next().unwrap_or_default();
                if pattern.is_empty() || last == "." {
                    let reason = format!("{pattern:?} names no files; `**/*` does below a directory");
                    return Err(ManifestError::at(key, reason));
                }
                glob(&pattern, &key)?;
                Files::Pattern(pattern)
            }
            TextOr::Table(raw::Placement { source, destination }) => {
                inside(&source, &format!("{key}.source"))?;
                inside(&destination, &format!("{key}.destination"))?;
                if destination.is_empty() {
                    return Err(ManifestError::at(format!("{key}.destination"), "is empty"));
                }
                Files::Placed { source, destination }
            }
        });
    }
    Ok(files)
}

fn patterns(raw: Vec<String>, key: &str) -> Result<Vec<String>> {
    check_count(raw.len(), key)?;
    for (at, pattern) in raw.iter().enumerate() {
        glob(pattern, &format!("{key}[{at}]"))?;
    }
    Ok(raw)
}

fn check_count(count: usize, key: &str) -> Result<()> {
    if count <= MAX_FILES {
        return Ok(());
    }
    let reason = format!("there are {count}, and at most {MAX_FILES} are looked for");
    Err(ManifestError::at(key, reason))
}

fn glob(pattern: &str, key: &str) -> Result<()> {
    if pattern.len() > MAX_PATTERN {
        let reason = format!("has {} bytes, and a pattern at most {MAX_PATTERN}", pattern.len());
        return Err(ManifestError::at(key, reason));
    }
    globset::Glob::new(pattern)
        .map(drop)
        .map_err(|error| ManifestError::at(key, format!("{pattern:?} is no pattern: {}", error.kind())))
}

/// A path that has no way out.
fn inside(path: &str, key: &str) -> Result<()> {
    if path.contains('\0') {
        return Err(ManifestError::at(key, format!("{path:?} has a NUL")));
    }
    if path.split('/').any(|part| part == "..") {
        return Err(ManifestError::at(key, format!("{path:?} leads out with `..`")));
    }
    Ok(())
}

fn hosts(raw: &[String], key: &str, declared: &BTreeMap<String, Variable>) -> Result<Vec<Template>> {
    let mut hosts = Vec::new();
    for (at, text) in raw.iter().enumerate() {
        let key = format!("{key}[{at}]");
        let template = template(text, &key, declared)?;
        if let Some(literal) = template.literal() {
            AllowedHosts::parse(&[literal]).map_err(|error| ManifestError::at(key, error.to_string()))?;
        }
        hosts.push(template);
    }
    Ok(hosts)
}

fn old_hosts(raw: Vec<String>, key: &str) -> Result<Vec<String>> {
    AllowedHosts::parse_old(&raw, false).map_err(|error| ManifestError::at(key, error.to_string()))?;
    Ok(raw)
}

fn labels(raw: Vec<String>, key: &str) -> Result<BTreeSet<String>> {
    for (at, label) in raw.iter().enumerate() {
        named(name::label(label), &format!("{key}[{at}]"))?;
    }
    Ok(raw.into_iter().collect())
}
