//! Property names in letters of another case: `readOnly` for `readonly`, `CPU` for `cpu`. Go's JSON takes them, and so
//! does runc; passed over as unknown, they would leave out what the configuration asks for.
//!
//! A document that has none, as all that engines write, costs one pass over its bytes and is not copied.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::document::Document;

/// The properties of config.json, sorted.
const NAMES: [&str; 155] = [
    "access",
    "action",
    "additionalGids",
    "allow",
    "ambient",
    "annotations",
    "apparmorProfile",
    "architectures",
    "args",
    "blockIO",
    "bounding",
    "burst",
    "capabilities",
    "cgroupsPath",
    "checkBeforeUpdate",
    "class",
    "classID",
    "closID",
    "commandLine",
    "consoleSize",
    "containerID",
    "cpu",
    "cpus",
    "createContainer",
    "createRuntime",
    "cwd",
    "deadline",
    "defaultAction",
    "defaultErrnoRet",
    "destination",
    "devices",
    "disableOOMKiller",
    "domain",
    "domainname",
    "effective",
    "enableCMT",
    "enableMBM",
    "enableMonitoring",
    "env",
    "errnoRet",
    "execCPUAffinity",
    "fileMode",
    "final",
    "flags",
    "gid",
    "gidMappings",
    "hard",
    "hcaHandles",
    "hcaObjects",
    "height",
    "hooks",
    "hostID",
    "hostname",
    "hugepageLimits",
    "idle",
    "index",
    "inheritable",
    "initial",
    "intelRdt",
    "ioPriority",
    "kernel",
    "kernelTCP",
    "l3CacheSchema",
    "leafWeight",
    "limit",
    "linux",
    "listenerMetadata",
    "listenerPath",
    "major",
    "maskedPaths",
    "memBwSchema",
    "memory",
    "memoryPolicy",
    "mems",
    "minor",
    "mode",
    "mountLabel",
    "mounts",
    "name",
    "names",
    "namespaces",
    "nanosecs",
    "netDevices",
    "network",
    "nice",
    "noNewPrivileges",
    "nodes",
    "ociVersion",
    "oomScoreAdj",
    "op",
    "options",
    "pageSize",
    "path",
    "period",
    "permitted",
    "personality",
    "pids",
    "policy",
    "poststart",
    "poststop",
    "prestart",
    "priorities",
    "priority",
    "process",
    "quota",
    "rate",
    "rdma",
    "readonly",
    "readonlyPaths",
    "realtimePeriod",
    "realtimeRuntime",
    "reservation",
    "resources",
    "rlimits",
    "root",
    "rootfsPropagation",
    "runtime",
    "scheduler",
    "schemata",
    "seccomp",
    "secs",
    "selinuxLabel",
    "shares",
    "size",
    "soft",
    "solaris",
    "source",
    "startContainer",
    "swap",
    "swappiness",
    "syscalls",
    "sysctl",
    "terminal",
    "throttleReadBpsDevice",
    "throttleReadIOPSDevice",
    "throttleWriteBpsDevice",
    "throttleWriteIOPSDevice",
    "timeOffsets",
    "timeout",
    "type",
    "uid",
    "uidMappings",
    "umask",
    "unified",
    "useHierarchy",
    "user",
    "username",
    "value",
    "valueTwo",
    "vm",
    "weight",
    "weightDevice",
    "width",
    "windows",
    "zos",
];

/// Properties whose members have names of the user's own.
const MAPS: [&str; 6] = [
    "annotations",
    "netDevices",
    "rdma",
    "sysctl",
    "timeOffsets",
    "unified",
];

/// The document with the names as the specification writes them. What is no JSON is given back, for the parser to
/// say so.
///
/// # Errors
/// [`Twice`].
pub(super) fn in_their_case(bytes: &[u8]) -> Result<Cow<'_, [u8]>, Twice> {
    if keys(bytes).all(|key| is_plain(key) && other_case(key).is_none()) {
        return Ok(Cow::Borrowed(bytes));
    }
    let Ok(document) = serde_json::from_slice::<Document>(bytes) else {
        return Ok(Cow::Borrowed(bytes));
    };
    let renamed = renamed(document, "")?;
    Ok(serde_json::to_vec(&renamed).map_or(Cow::Borrowed(bytes), Cow::Owned))
}

/// A property that stands there twice. Which value counts would depend on the order, for Go on that of the document.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Twice {
    /// `linux.maskedPaths`.
    pub property: String,
    pub spellings: [String; 2],
}

/// Whether a key is written as it is: without escapes, and without letters that Go takes for those of ASCII.
fn is_plain(key: &[u8]) -> bool {
    key.iter().all(|byte| byte.is_ascii() && *byte != b'\\')
}

/// The property that a key in another case stands for.
fn other_case(key: &[u8]) -> Option<&'static str> {
    if NAMES.binary_search_by(|name| name.as_bytes().cmp(key)).is_ok() {
        return None;
    }
    let same = |name: &&&str| name.as_bytes().eq_ignore_ascii_case(key);
    NAMES.iter().find(same).copied()
}

/// The keys of all objects, as they are written.
fn keys(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        loop {
            let begin = rest.iter().position(|byte| *byte == b'"')? + 1;
            let string = &rest[begin..];
            let end = end_of_string(string)?;
            rest = &string[end + 1..];
            let next = rest.iter().find(|byte| !byte.is_ascii_whitespace());
            if next == Some(&b':') {
                return Some(&string[..end]);
            }
        }
    })
}

/// Where the quote is that ends a string.
fn end_of_string(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        at += bytes[at..].iter().position(|byte| matches!(byte, b'"' | b'\\'))?;
        if bytes[at] == b'"' {
            return Some(at);
        }
        at += 2;
        if at > bytes.len() {
            return None;
        }
    }
}

fn renamed(document: Document, place: &str) -> Result<Value, Twice> {
    Ok(match document {
        Document::Object(members) => Value::Object(renamed_members(members, place, false)?),
        Document::Array(items) => {
            let items = items.into_iter().enumerate();
            let items = items.map(|(index, item)| renamed(item, &format!("{place}[{index}]")));
            Value::Array(items.collect::<Result<_, _>>()?)
        }
        Document::Plain(value) => value,
    })
}

/// Objects under one name in two cases are one, as in Go: runc's own tests write `cpu` and `CPU`. `free`: the names are
/// the user's own.
fn renamed_members(
    members: Vec<(String, Document)>,
    place: &str,
    free: bool,
) -> Result<Map<String, Value>, Twice> {
    let mut by_name: BTreeMap<String, Vec<(String, Document)>> = BTreeMap::new();
    for (key, member) in members {
        let name = if free { key.clone() } else { name_of(&key) };
        by_name.entry(name).or_default().push((key, member));
    }
    let mut all = Map::new();
    for (name, mut written) in by_name {
        let property = if place.is_empty() {
            name.clone()
        } else {
            format!("{place}.{name}")
        };
        let member = match written.len() {
            1 => written.swap_remove(0).1,
            _ => merged(written, &property)?,
        };
        let value = match member {
            Document::Object(members) if !free && MAPS.contains(&name.as_str()) => {
                Value::Object(renamed_members(members, &property, true)?)
            }
            member => renamed(member, &property)?,
        };
        all.insert(name, value);
    }
    Ok(all)
}

fn name_of(key: &str) -> String {
    // Go's folding of case takes these two for `s` and `k`.
    let folded = key.replace('\u{17f}', "s").replace('\u{212a}', "k");
    other_case(folded.as_bytes()).map_or(
        if NAMES.binary_search(&folded.as_str()).is_ok() {
            folded
        } else {
            key.to_owned()
        },
        str::to_owned,
    )
}

fn merged(written: Vec<(String, Document)>, property: &str) -> Result<Document, Twice> {
    let mut spellings: Vec<String> = written.iter().map(|(key, _)| key.clone()).collect();
    spellings.sort();
    let same = spellings.windows(2).find(|pair| pair[0] == pair[1]);
    let first = same.map_or(0, |same| spellings.partition_point(|key| *key < same[0]));
    let twice = Twice {
        property: property.to_owned(),
        spellings: [spellings[first].clone(), spellings[first + 1].clone()],
    };
    if same.is_some() {
        return Err(twice);
    }
    let mut all = Vec::new();
    for (_, member) in written {
        match member {
            Document::Object(members) => all.extend(members),
            _ => return Err(twice),
        }
    }
    Ok(Document::Object(all))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn renamed(json: &str) -> String {
        String::from_utf8(in_their_case(json.as_bytes()).unwrap().into_owned()).unwrap()
    }

    fn twice(json: &str) -> (String, [String; 2]) {
        let twice = in_their_case(json.as_bytes()).unwrap_err();
        (twice.property, twice.spellings)
    }

    #[test]
    fn names_are_sorted_and_differ_in_more_than_case() {
        assert!(NAMES.is_sorted());
        for (index, name) in NAMES.iter().enumerate() {
            let twice = NAMES[index + 1..]
                .iter()
                .any(|other| other.eq_ignore_ascii_case(name));
            assert!(!twice, "{name}");
            assert_eq!(other_case(name.as_bytes()), None);
        }
        assert!(MAPS.iter().all(|name| NAMES.contains(name)));
    }

    /// A property that the parser knows and this list does not would be passed over in another case.
    #[test]
    fn the_names_of_all_good_configurations_are_known() {
        fn check(value: &Value) {
            match value {
                Value::Object(members) => {
                    for (name, member) in members {
                        assert!(NAMES.contains(&name.as_str()), "{name}");
                        match member {
                            Value::Object(free) if MAPS.contains(&name.as_str()) => {
                                free.values().for_each(check);
                            }
                            member => check(member),
                        }
                    }
                }
                Value::Array(items) => items.iter().for_each(check),
                _ => {}
            }
        }
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("spec-fixtures/good");
        for entry in std::fs::read_dir(fixtures).unwrap() {
            let name = entry.as_ref().unwrap().file_name().into_string().unwrap();
            let other = [
                ".setup.json",
                ".plan.json",
                "-properties.json",
                "-in-another-case.json",
            ];
            if !other.iter().any(|end| name.ends_with(end)) {
                let bytes = std::fs::read(entry.unwrap().path()).unwrap();
                check(&serde_json::from_slice(&bytes).unwrap());
            }
        }
    }

    #[test]
    fn names_in_another_case_are_those_of_the_specification() {
        assert_eq!(
            renamed(r#"{"Root": {"readOnly": true}}"#),
            r#"{"root":{"readonly":true}}"#
        );
        assert_eq!(
            renamed(r#"{"hugepageLimits" : [{"pagesize": "2MB"}], "CPU": {"Cpus": "0"}}"#),
            r#"{"cpu":{"cpus":"0"},"hugepageLimits":[{"pageSize":"2MB"}]}"#
        );
        assert_eq!(
            renamed(r#"{"CPU": {"Cpus": "0"}, "cpu": {"shares": 2}}"#),
            r#"{"cpu":{"cpus":"0","shares":2}}"#
        );
    }

    #[test]
    fn a_property_in_two_spellings_is_refused() {
        let pair = |one: &str, other: &str| [one.to_owned(), other.to_owned()];
        for (json, property, spellings) in [
            (
                r#"{"root": {"readonly": false, "readOnly": true}}"#,
                "root.readonly",
                pair("readOnly", "readonly"),
            ),
            (
                r#"{"linux": {"MaskedPaths": [], "maskedPaths": ["/x"]}}"#,
                "linux.maskedPaths",
                pair("MaskedPaths", "maskedPaths"),
            ),
            (
                r#"{"linux": {"\u004daskedPaths": [], "maskedPaths": ["/x"]}}"#,
                "linux.maskedPaths",
                pair("MaskedPaths", "maskedPaths"),
            ),
            (
                r#"{"CPU": {"Cpus": "0", "Shares": 1}, "cpu": {"shares": 2}}"#,
                "cpu.shares",
                pair("Shares", "shares"),
            ),
            (
                r#"{"mounts": [{"Type": "x", "options": [], "options": ["ro"]}]}"#,
                "mounts[0].options",
                pair("options", "options"),
            ),
        ] {
            assert_eq!(twice(json), (property.to_owned(), spellings), "{json}");
        }
    }

    #[test]
    fn escapes_and_letters_that_fold_to_ascii_hide_no_name() {
        assert_eq!(renamed(r#"{"\u004daskedPaths":[]}"#), r#"{"maskedPaths":[]}"#);
        assert_eq!(
            renamed("{\"mas\u{212a}edPath\u{17f}\":[]}"),
            r#"{"maskedPaths":[]}"#
        );
        assert_eq!(renamed(r#"{"\u0072oot":{}}"#), r#"{"root":{}}"#);
    }

    #[test]
    fn names_of_the_user_stay() {
        let json = r#"{"Linux":{"Sysctl":{"Kernel":"1"}},"annotations":{"Name":"x"}}"#;
        assert_eq!(
            renamed(json),
            r#"{"annotations":{"Name":"x"},"linux":{"sysctl":{"Kernel":"1"}}}"#
        );
    }

    #[test]
    fn other_documents_are_not_touched() {
        for json in [
            r#"{ "root": {"path": "Root"}, "unknown": 1, "x": "\"Root\": a\\" }"#,
            r#"{"Root"#,
            r#"{"Root": "\"#,
            r#"{"Root": }"#,
            "",
        ] {
            assert_eq!(renamed(json), json);
        }
    }
}
