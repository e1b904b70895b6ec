//! New limits for a container that exists: what `update` asks for, laid over the `linux.resources` of the
//! config.json that was kept.
//!
//! What is not mentioned stays. 0 and "" are "not mentioned", since engines send them always, except where 0 is
//! a limit of its own (pids since version 1.3 of the specification, idle, burst, rates). Values that the kernel takes only together (a quota and its
//! period; memory with memory and swap) are written together, the one that was not mentioned as it was kept.

#[cfg(test)]
mod tests;

use std::path::Path;

use oci_spec::runtime::LinuxResources;
use serde::Serialize;
use serde_json::{Map, Value};

use super::{SpecError, deserialize, model};

/// Limits given by options; `None` is "not mentioned". They take the form of `linux.resources`.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Limits {
    pub memory: Memory,
    pub cpu: Cpu,
    #[serde(rename = "blockIO")]
    pub block_io: BlockIo,
    pub pids: Pids,
}

/// In bytes; -1 is no limit.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Memory {
    pub limit: Option<i64>,
    pub swap: Option<i64>,
    pub reservation: Option<i64>,
    pub kernel: Option<i64>,
    #[serde(rename = "kernelTCP")]
    pub kernel_tcp: Option<i64>,
}

/// Times in microseconds.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Cpu {
    pub shares: Option<u64>,
    pub period: Option<u64>,
    pub quota: Option<i64>,
    pub burst: Option<u64>,
    pub realtime_period: Option<u64>,
    pub realtime_runtime: Option<i64>,
    pub idle: Option<i64>,
    pub cpus: Option<String>,
    pub mems: Option<String>,
}

#[derive(Debug, Clone, Default, Serialize)]
pub struct BlockIo {
    pub weight: Option<u16>,
}

#[derive(Debug, Clone, Default, Serialize)]
pub struct Pids {
    pub limit: Option<i64>,
}

/// Schemata of Intel RDT given by options; empty is "not mentioned".
#[derive(Debug, Clone, Default)]
pub struct Schemata {
    pub l3_cache: String,
    pub memory_bandwidth: String,
}

/// What an update comes to.
#[derive(Debug)]
pub struct Update {
    /// The limits to be written.
    pub resources: LinuxResources,
    /// Whether limits below the present use are to be refused.
    pub check_memory: bool,
    /// The config.json to be kept from now on.
    pub config: Vec<u8>,
    /// What was passed over, for the log.
    pub warnings: Vec<&'static str>,
}

/// Values of 0 and "" that mean "not mentioned".
const UNSET: [(&str, &[&str]); 3] = [
    ("memory", &["limit", "reservation", "swap"]),
    (
        "cpu",
        &[
            "shares",
            "quota",
            "period",
            "realtimeRuntime",
            "realtimePeriod",
            "cpus",
            "mems",
        ],
    ),
    ("blockIO", &["weight", "leafWeight"]),
];

impl Limits {
    /// # Errors
    /// Those of [`from_json`], which there is no reason for.
    pub fn update(&self, schemata: &Schemata, config: &[u8], file: &Path) -> Result<Update, SpecError> {
        let bytes = serde_json::to_vec(self).map_err(|source| SpecError::Syntax {
            file: file.to_owned(),
            source,
        })?;
        from_json(&bytes, Path::new("options"), schemata, config, file)
    }
}

/// Lays the limits in `change`, the JSON of a `linux.resources`, over those of `config`. The files are named in
/// errors.
///
/// # Errors
/// JSON that is none, or a value of the wrong type, by its place.
pub fn from_json(
    change: &[u8],
    change_file: &Path,
    schemata: &Schemata,
    config: &[u8],
    config_file: &Path,
) -> Result<Update, SpecError> {
    let mut change: Value = deserialize(change, change_file)?;
    check(&mut change, change_file)?;
    let mut config: Map<String, Value> = deserialize(config, config_file)?;
    let check_memory = change["memory"]["checkBeforeUpdate"] == true;
    let mut warnings = Vec::new();
    let version = config.get("ociVersion").and_then(Value::as_str);
    let minor = model::minor_version(version.unwrap_or_default());
    keep_what_is_asked(&mut change, minor, &mut warnings);

    let linux = object(&mut config, "linux", config_file)?;
    object(linux, "resources", config_file)?;
    let kept = &mut linux["resources"];
    forget_what_ends(kept, &change);
    merge(kept, &change);
    let mut written = change;
    for (section, pair) in [("memory", ["limit", "swap"]), ("cpu", ["quota", "period"])] {
        complete(&mut written, kept, section, pair);
    }
    if let Some(rdt) = linux.get_mut("intelRdt").and_then(Value::as_object_mut) {
        for (key, schema) in [
            ("l3CacheSchema", &schemata.l3_cache),
            ("memBwSchema", &schemata.memory_bandwidth),
        ] {
            if !schema.is_empty() {
                rdt.insert(key.to_owned(), Value::String(schema.clone()));
            }
        }
    }
    let syntax = |source| SpecError::Syntax {
        file: config_file.to_owned(),
        source,
    };
    let config = serde_json::to_vec(&config).map_err(syntax)?;
    Ok(Update {
        resources: serde_json::from_value(written).map_err(syntax)?,
        check_memory,
        config,
        warnings,
    })
}

/// That it has the types of `linux.resources`. Go's JSON, and so runc, takes `null` for "not mentioned".
fn check(change: &mut Value, file: &Path) -> Result<(), SpecError> {
    remove_nulls(change);
    if !change.is_object() {
        return Err(SpecError::Invalid {
            file: file.to_owned(),
            field: "resources".to_owned(),
            problem: "it is no JSON object".to_owned(),
        });
    }
    let bytes = serde_json::to_vec(change).map_err(|source| SpecError::Syntax {
        file: file.to_owned(),
        source,
    })?;
    deserialize::<LinuxResources>(&bytes, file).map(|_| ())
}

/// The object under a key, made where there is none.
fn object<'a>(
    config: &'a mut Map<String, Value>,
    key: &'static str,
    file: &Path,
) -> Result<&'a mut Map<String, Value>, SpecError> {
    let member = config.entry(key).or_insert(Value::Null);
    if member.is_null() {
        *member = Value::Object(Map::new());
    }
    member.as_object_mut().ok_or_else(|| SpecError::Invalid {
        file: file.to_owned(),
        field: key.to_owned(),
        problem: "it is no JSON object".to_owned(),
    })
}

/// Takes away what says nothing and what cannot be changed.
fn keep_what_is_asked(change: &mut Value, minor: u64, warnings: &mut Vec<&'static str>) {
    let Value::Object(change) = change else { return };
    // The rules stay as they were made, as with runc: an engine sends all that it knows of a container.
    change.remove("devices");
    let memory = change.get_mut("memory").and_then(Value::as_object_mut);
    if let Some(memory) = memory {
        memory.remove("checkBeforeUpdate");
        let kernel = [memory.remove("kernel"), memory.remove("kernelTCP")];
        if kernel.iter().any(Option::is_some) {
            warnings.push("Kernel memory settings are ignored and will be removed");
        }
    }
    for (section, names) in UNSET {
        if let Some(section) = change.get_mut(section).and_then(Value::as_object_mut) {
            section.retain(|name, value| !(names.contains(&name.as_str()) && (*value == 0 || *value == "")));
        }
    }
    // Without a number in it, it would read as 0; and what that means, `plan::cgroup::as_meant` says.
    let is_none = |pids: &Value| match pids.get("limit") {
        Some(limit) => minor < 3 && *limit == 0,
        None => true,
    };
    if change.get("pids").is_some_and(is_none) {
        change.remove("pids");
    }
}

fn remove_nulls(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.retain(|_, member| !member.is_null());
            members.values_mut().for_each(remove_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(remove_nulls),
        _ => {}
    }
}

/// Takes away what the change ends without naming it.
fn forget_what_ends(kept: &mut Value, change: &Value) {
    let mentions = |section: &str, name: &str| change[section].get(name).is_some();
    let mut forget = |section: &str, name: &str| {
        if let Some(section) = kept.get_mut(section).and_then(Value::as_object_mut) {
            section.remove(name);
        }
    };
    // Unlimited memory is unlimited memory and swap, unless a limit on that comes with it.
    if change["memory"]["limit"] == -1 && !mentions("memory", "swap") {
        forget("memory", "swap");
    }
    // The kernel sets the weight when it makes a cgroup idle or ends that.
    if mentions("cpu", "idle") && !mentions("cpu", "shares") {
        forget("cpu", "shares");
    }
}

/// Where one of a pair is to be written, the other is, too, as it was kept.
fn complete(written: &mut Value, kept: &Value, section: &str, pair: [&str; 2]) {
    let Some(members) = written.get_mut(section).and_then(Value::as_object_mut) else {
        return;
    };
    if !pair.iter().any(|name| members.contains_key(*name)) {
        return;
    }
    for name in pair {
        if let (None, Some(value)) = (members.get(name), kept[section].get(name)) {
            members.insert(name.to_owned(), value.clone());
        }
    }
}

/// Members of objects one by one; of lists the item for the same device, page size or interface is replaced.
fn merge(old: &mut Value, new: &Value) {
    match (old, new) {
        (Value::Object(old), Value::Object(new)) => {
            for (name, value) in new {
                match old.get_mut(name) {
                    Some(old) => merge(old, value),
                    None => {
                        old.insert(name.clone(), value.clone());
                    }
                }
            }
        }
        (Value::Array(old), Value::Array(new)) => {
            for item in new {
                // The last of several is the one that counts.
                match old.iter_mut().rfind(|old| same(old, item)) {
                    Some(old) => merge(old, item),
                    None => old.push(item.clone()),
                }
            }
        }
        (old, new) => *old = new.clone(),
    }
}

fn same(one: &Value, other: &Value) -> bool {
    ["major", "minor", "pageSize", "name"]
        .iter()
        .all(|key| one.get(key) == other.get(key))
}
