//! Property names in letters of another case: `readOnly` for `readonly`, `CPU` for `cpu`. Go's JSON takes them, and so
//! does runc; passed over as unknown, they would leave out what the configuration asks for.
//!
//! A document that has none, as all that engines write, costs one pass over its bytes and is not copied.

use std::borrow::Cow;

use serde_json::{Map, Value};

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
pub(super) fn in_their_case(bytes: &[u8]) -> Cow<'_, [u8]> {
    if keys(bytes).all(|key| other_case(key).is_none()) {
        return Cow::Borrowed(bytes);
    }
    let renamed = serde_json::from_slice(bytes).and_then(|mut document| {
        rename(&mut document);
        serde_json::to_vec(&document)
    });
    renamed.map_or(Cow::Borrowed(bytes), Cow::Owned)
}

/// The property that a key in another case stands for.
fn other_case(key: &[u8]) -> Option<&'static str> {
    if NAMES.binary_search_by(|name| name.as_bytes().cmp(key)).is_ok() {
        return None;
    }
    let same = |name: &&&str| name.as_bytes().eq_ignore_ascii_case(key);
    NAMES.iter().find(same).copied()
}

/// The keys of all objects, as far as they have no escapes: names of properties need none.
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

fn rename(value: &mut Value) {
    match value {
        Value::Object(members) => {
            rename_keys(members);
            for (name, member) in members.iter_mut() {
                match member {
                    Value::Object(free) if MAPS.contains(&name.as_str()) => {
                        free.values_mut().for_each(rename)
                    }
                    member => rename(member),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(rename),
        _ => {}
    }
}

/// A property that is also there in its own case keeps that value; of objects there is then what either has.
fn rename_keys(members: &mut Map<String, Value>) {
    let wrong: Vec<(String, &str)> = members
        .keys()
        .filter_map(|key| Some((key.clone(), other_case(key.as_bytes())?)))
        .collect();
    for (key, name) in wrong {
        if let Some(value) = members.remove(&key) {
            match (members.get_mut(name), value) {
                (None, value) => {
                    members.insert(name.to_owned(), value);
                }
                (Some(Value::Object(own)), Value::Object(other)) => {
                    for (key, value) in other {
                        own.entry(key).or_insert(value);
                    }
                }
                (Some(_), _) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn renamed(json: &str) -> String {
        String::from_utf8(in_their_case(json.as_bytes()).into_owned()).unwrap()
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
        assert_eq!(renamed(r#"{"Gid": 1, "gid": 2}"#), r#"{"gid":2}"#);
        assert_eq!(
            renamed(r#"{"CPU": {"Cpus": "0", "Shares": 1}, "cpu": {"shares": 2}}"#),
            r#"{"cpu":{"cpus":"0","shares":2}}"#
        );
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
            r#"{ "root": {"path": "Root"}, "unknown": 1, "\"Root": "a\\" }"#,
            r#"{"Root"#,
            r#"{"Root": "\"#,
            r#"{"Root": }"#,
            "",
        ] {
            assert_eq!(renamed(json), json);
        }
    }
}
