//! Docker's daemon.json with our part and without it (dockerd(8)). Must touch no file.

use serde_json::{Value, json};

use super::edit::{NAME, Part};
use super::json;

/// What it says of us.
///
/// # Errors
/// What is wrong with the text, with its line.
pub(super) fn found(text: &str) -> Result<Option<Part>, String> {
    let value = json::parse(text)?;
    let program = value["runtimes"][NAME]["path"].as_str();
    Ok(program.map(|program| Part {
        program: program.to_owned(),
        default: value["default-runtime"] == NAME,
        systemd_cgroup: false,
        annotations: false,
        file_version: 0,
    }))
}

/// The text with our part.
///
/// # Errors
/// What is wrong with the text, with its line or key.
pub(super) fn insert(before: &str, part: &Part) -> Result<String, String> {
    let value = json::parse(before)?;
    let own = &value["runtimes"][NAME];
    let program = Value::from(part.program.as_str());
    // A shim's entry (`runtimeType`) has no room for a path.
    let text = if own.is_object() && own.get("runtimeType").is_none() && own.get("options").is_none() {
        match own["path"] == program {
            true => before.to_owned(),
            false => json::set(before, &["runtimes", NAME, "path"], &program)?,
        }
    } else if own.is_null() {
        json::set(before, &["runtimes", NAME, "path"], &program)?
    } else {
        json::set(before, &["runtimes", NAME], &json!({ "path": part.program }))?
    };
    if part.default && value["default-runtime"] != NAME {
        return json::set(&text, &["default-runtime"], &Value::from(NAME));
    }
    Ok(text)
}

/// The text without our part; what stood in its place in `original` comes back.
///
/// # Errors
/// What is wrong with the text, with its line.
pub(super) fn remove(text: &str, original: Option<&str>) -> Result<String, String> {
    let value = json::parse(text)?;
    let original = original
        .and_then(|text| json::parse(text).ok())
        .unwrap_or_default();
    let other = &original["runtimes"][NAME];
    let text = if other.is_object() && other.get("path").is_none() {
        json::set(text, &["runtimes", NAME], other)?
    } else {
        json::remove(text, &["runtimes", NAME])
    };
    if value["default-runtime"] != NAME {
        return Ok(text);
    }
    match original["default-runtime"].as_str() {
        Some(name) if name != NAME => json::set(&text, &["default-runtime"], &Value::from(name)),
        _ => Ok(json::remove(&text, &["default-runtime"])),
    }
}
