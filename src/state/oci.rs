//! The state as it is shown: the JSON that `state` and `list` print, field for field and in the order of
//! runc's, and the smaller one of the runtime spec (runtime.md "State") that hooks read from their stdin.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Record, Status};

/// What `state` prints, and one row of `list`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OciState<'a> {
    pub oci_version: &'a str,
    pub id: &'a str,
    /// 0 where the container has no process any more, or not yet.
    pub pid: i32,
    pub status: Status,
    pub bundle: String,
    pub rootfs: String,
    pub created: &'a str,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: &'a BTreeMap<String, String>,
    /// The owner's name in `list`; runc's `state` leaves it empty, and so do we.
    pub owner: String,
}

impl<'a> OciState<'a> {
    pub fn new(record: &'a Record, status: Status, owner: String) -> Self {
        Self {
            oci_version: &record.oci_version,
            id: &record.id,
            pid: visible_pid(record, status),
            status,
            bundle: record.bundle.to_string_lossy().into_owned(),
            rootfs: record.rootfs.to_string_lossy().into_owned(),
            created: &record.created,
            annotations: &record.annotations,
            owner,
        }
    }

    /// Indented by two spaces, without a newline at the end: what `state` prints.
    pub fn to_pretty_json(&self) -> String {
        serde_json::to_string_pretty(self)
            .expect("strings, a number and a map of strings always have a JSON form")
    }
}

/// The state that a hook is given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HookState<'a> {
    pub oci_version: &'a str,
    pub id: &'a str,
    pub status: Status,
    #[serde(skip_serializing_if = "is_zero")]
    pub pid: i32,
    pub bundle: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: &'a BTreeMap<String, String>,
}

impl<'a> HookState<'a> {
    pub fn new(record: &'a Record, status: Status) -> Self {
        Self {
            oci_version: &record.oci_version,
            id: &record.id,
            status,
            pid: visible_pid(record, status),
            bundle: record.bundle.to_string_lossy().into_owned(),
            annotations: &record.annotations,
        }
    }

    /// The same for a process whose record is not written yet, or who sees itself under another pid
    /// (`startContainer` runs inside the container's pid namespace).
    pub fn with_pid(self, pid: i32) -> Self {
        Self { pid, ..self }
    }

    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("strings, a number and a map of strings always have a JSON form")
    }
}

fn visible_pid(record: &Record, status: Status) -> i32 {
    match (status, record.init) {
        (Status::Stopped, _) | (_, None) => 0,
        (_, Some(init)) => init.pid,
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(pid: &i32) -> bool {
    *pid == 0
}

#[cfg(test)]
mod tests {
    use super::super::record::tests::sample;
    use super::*;

    #[test]
    fn state_has_runcs_shape() {
        let record = sample("sx");
        let state = OciState::new(&record, Status::Created, String::new());
        let expected = r#"{
  "ociVersion": "1.0.2",
  "id": "sx",
  "pid": 42,
  "status": "created",
  "bundle": "/b",
  "rootfs": "/b/rootfs",
  "created": "2026-11-25T18:20:27.638239927Z",
  "annotations": {
    "a": "<x>",
    "b": "1"
  },
  "owner": ""
}"#;
        assert_eq!(state.to_pretty_json(), expected);
    }

    #[test]
    fn a_stopped_container_has_no_pid_and_no_annotations_are_left_out() {
        let record = Record {
            annotations: BTreeMap::new(),
            ..sample("sx")
        };
        let json = serde_json::to_string(&OciState::new(&record, Status::Stopped, "root".into())).unwrap();
        assert!(json.contains(r#""pid":0,"status":"stopped""#), "{json}");
        assert!(!json.contains("annotations"), "{json}");
        assert!(json.ends_with(r#""owner":"root"}"#), "{json}");
    }

    #[test]
    fn hooks_get_the_specs_state() {
        let record = Record {
            annotations: BTreeMap::new(),
            init: None,
            ..sample("sx")
        };
        let state = HookState::new(&record, Status::Creating);
        assert_eq!(
            state.to_json(),
            br#"{"ociVersion":"1.0.2","id":"sx","status":"creating","bundle":"/b"}"#
        );
        let json = String::from_utf8(state.with_pid(7).to_json()).unwrap();
        assert!(json.contains(r#""status":"creating","pid":7,"#), "{json}");
    }
}
