//! Golden tests: every configuration in `spec-fixtures/good` against its whole plan, every one in
//! `spec-fixtures/bad` against its error. `BLESS=1` rewrites what is expected; read the difference then.
//! A file that belongs to no test fails the test.
//!
//! Beside `NAME.json` there may be a `NAME.setup.json`, which says what is unlike the usual host and options.

use std::cell::OnceCell;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Options, Plan, PlanError};
use crate::host::Host;
use crate::spec::Spec;

/// The host and the options of one fixture; what is left out is as in [`Host::for_tests`].
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
struct Setup {
    euid: u32,
    in_user_namespace: bool,
    cgroup_v1: bool,
    apparmor: bool,
    selinux: bool,
    last_capability: Option<u8>,
    no_pivot: bool,
    no_new_keyring: bool,
    systemd_cgroup: bool,
    wasm_required: bool,
}

impl Setup {
    fn host(&self) -> Host {
        let usual = Host::for_tests();
        Host {
            euid: self.euid,
            egid: self.euid,
            in_user_namespace: OnceCell::from(self.in_user_namespace),
            unified_cgroup: OnceCell::from(!self.cgroup_v1),
            apparmor: OnceCell::from(self.apparmor),
            selinux: OnceCell::from(self.selinux),
            last_capability: self
                .last_capability
                .map_or(usual.last_capability.clone(), OnceCell::from),
            ..usual
        }
    }

    fn options(&self) -> Options {
        Options {
            id: "golden".to_owned(),
            bundle: PathBuf::from("/bundle"),
            no_pivot: self.no_pivot,
            no_new_keyring: self.no_new_keyring,
            cgroup_manager: if self.systemd_cgroup {
                super::cgroup::CgroupManager::Systemd
            } else {
                super::cgroup::CgroupManager::Cgroupfs
            },
            wasm_required: self.wasm_required,
            notify: None,
        }
    }
}

#[test]
fn good_configurations_give_their_plans() {
    check("good", "plan.json", |bytes, setup| {
        let (spec, plan) =
            plan(bytes, setup).map_err(|error| format!("is refused: {}", crate::reason::chain(&error)))?;
        let golden = json!({ "warnings": spec.warnings, "plan": plan });
        let mut text = String::new();
        write_json(&golden, 0, &mut text);
        Ok(text)
    });
}

#[test]
fn bad_configurations_give_their_errors() {
    check("bad", "error.txt", |bytes, setup| match plan(bytes, setup) {
        Ok(_) => Err("is accepted".to_owned()),
        Err(error) => Ok(crate::reason::chain(&error)),
    });
}

fn plan(bytes: &[u8], setup: &Setup) -> Result<(Spec, Plan), PlanError> {
    let spec = Spec::parse(bytes, Path::new("config.json"))?;
    let plan = Plan::new(&spec, &setup.options(), &setup.host())?;
    Ok((spec, plan))
}

/// Lines as long as they may be, so that a golden plan can be read and a difference seen.
fn write_json(value: &Value, indent: usize, text: &mut String) {
    let flat = value.to_string();
    let items: Vec<(String, &Value)> = match value {
        Value::Object(members) => members
            .iter()
            .map(|(key, value)| (format!("{key:?}: "), value))
            .collect(),
        Value::Array(items) => items.iter().map(|item| (String::new(), item)).collect(),
        _ => Vec::new(),
    };
    if items.is_empty() || indent + flat.len() <= 110 {
        text.push_str(&flat);
        return;
    }
    let (open, close) = if value.is_object() { ('{', '}') } else { ('[', ']') };
    text.push(open);
    for (index, (key, item)) in items.iter().enumerate() {
        text.push_str(if index == 0 { "\n" } else { ",\n" });
        text.push_str(&" ".repeat(indent + 2));
        text.push_str(key);
        write_json(item, indent + 2, text);
    }
    text.push('\n');
    text.push_str(&" ".repeat(indent));
    text.push(close);
}

/// Runs `produce` on every configuration in a folder of fixtures and compares with the golden file.
fn check(folder: &str, golden: &str, produce: impl Fn(&[u8], &Setup) -> Result<String, String>) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("spec-fixtures")
        .join(folder);
    let mut files: BTreeSet<String> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let names: Vec<String> = files
        .iter()
        .filter_map(|file| file.strip_suffix(".json"))
        .filter(|name| !name.contains('.'))
        .map(String::from)
        .collect();
    assert!(!names.is_empty(), "no fixture in {}", folder.display());
    let bless = std::env::var_os("BLESS").is_some();
    let mut failures = Vec::new();
    for name in names {
        let bytes = std::fs::read(folder.join(format!("{name}.json"))).unwrap();
        let setup_file = format!("{name}.setup.json");
        let setup = match files.remove(&setup_file) {
            true => serde_json::from_slice(&std::fs::read(folder.join(setup_file)).unwrap()).unwrap(),
            false => Setup::default(),
        };
        let golden_file = format!("{name}.{golden}");
        files.remove(&format!("{name}.json"));
        files.remove(&golden_file);
        let expected = folder.join(golden_file);
        match produce(&bytes, &setup) {
            Err(problem) => failures.push(format!("{name}: {problem}")),
            Ok(text) if bless => std::fs::write(&expected, text + "\n").unwrap(),
            Ok(text) => {
                let wanted = std::fs::read_to_string(&expected).unwrap_or_default();
                if wanted.trim_end() != text {
                    failures.push(format!("{name}: expected\n{wanted}\nfound\n{text}"));
                }
            }
        }
    }
    assert!(files.is_empty(), "files that belong to no fixture: {files:?}");
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}
