//! The record of one container: what the commands after `create` must know. Small, since every `state` reads
//! it; what only `exec` needs stays in the entry's copy of config.json.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::Identity;
use crate::plan::Hook;
use crate::plan::cgroup::Placement;
use crate::plan::namespaces::Kind;
use crate::plan::rdt;

/// Version of the record's own format; raised when an older reader would misunderstand it.
pub const RECORD_VERSION: u32 = 1;

/// How many mounts can come to one container while it runs: the record is read by every command.
pub const MAX_LIVE_MOUNTS: usize = 1024;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// [`RECORD_VERSION`].
    pub version: u32,
    /// `ociVersion` of config.json.
    pub oci_version: String,
    pub id: String,
    /// Absolute.
    pub bundle: PathBuf,
    /// Absolute, on the host.
    pub rootfs: PathBuf,
    /// The container's first process. `None` while it is being created: such a record is written before the
    /// cgroup is made, so that a creator that is killed leaves behind what is needed to clean up.
    pub init: Option<Identity>,
    /// When it was created: RFC 3339, UTC, nanoseconds (see [`now`]).
    pub created: String,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    pub placement: Placement,
    /// Its groups in resctrl.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rdt: Option<rdt::Placement>,
    /// The kinds of namespace in which the container differs from the runtime: those that `exec` joins,
    /// through the init process.
    pub namespaces: Vec<Kind>,
    /// Whether the pid namespace was made for this container: then the death of init ends all in it. In a
    /// shared one the cgroup must be killed.
    pub own_pid_namespace: bool,
    /// A rootless container whose cgroup may not be ours to change.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub rootless: bool,
    /// Whether the first process made a session keyring for the container, which those of `exec` join.
    #[serde(default)]
    pub new_keyring: bool,
    /// What standard input, output and error were when it was made, as readlink(2) names them: a checkpoint tells
    /// by these which pipes it may not look into. Empty in the records of versions that made no checkpoints.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub streams: Vec<String>,
    /// Kept here rather than found in config.json, so that `start` and `delete` need not parse it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub poststart: Vec<Hook>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub poststop: Vec<Hook>,
    /// What `mounts add` has mounted, and nothing has taken away by `mounts remove`; at most [`MAX_LIVE_MOUNTS`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub live_mounts: Vec<LiveMount>,
}

/// A mount that came to the container while it ran.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveMount {
    /// As the caller named it, in its shortest form: absolute, as seen in the container.
    pub destination: PathBuf,
    /// Its id: `STATX_MNT_ID_UNIQUE` of statx(2), which no other mount gets as long as the host runs; before Linux 6.8
    /// `STATX_MNT_ID`.
    pub id: u64,
}

/// The time now, as [`Record::created`] holds it.
pub fn now() -> String {
    format_time(OffsetDateTime::now_utc())
}

fn format_time(time: OffsetDateTime) -> String {
    time.format(&Rfc3339)
        .expect("RFC 3339 has a form for every UTC time of the years 0 to 9999")
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::plan::cgroup::{CgroupMode, Location};

    pub fn sample(id: &str) -> Record {
        Record {
            version: RECORD_VERSION,
            oci_version: "1.0.2".into(),
            id: id.into(),
            bundle: "/b".into(),
            rootfs: "/b/rootfs".into(),
            init: Some(Identity {
                pid: 42,
                start_time: 4711,
            }),
            created: "2026-11-25T18:20:27.638239927Z".into(),
            annotations: BTreeMap::from([("b".into(), "1".into()), ("a".into(), "<x>".into())]),
            placement: Placement {
                mode: CgroupMode::V1,
                location: Location::Cgroupfs { path: "/web".into() },
                paths: BTreeMap::from([("memory".into(), "/sys/fs/cgroup/memory/web".into())]),
            },
            rdt: Some(rdt::Placement {
                class: "/sys/fs/resctrl/web".into(),
                own_class: true,
                monitoring: None,
            }),
            namespaces: vec![Kind::Pid, Kind::Mount],
            own_pid_namespace: true,
            rootless: false,
            new_keyring: true,
            streams: Vec::new(),
            poststart: Vec::new(),
            poststop: vec![Hook {
                path: "/bin/true".into(),
                args: vec!["true".into()],
                env: Some(vec![]),
                timeout: Some(3),
            }],
            live_mounts: vec![LiveMount {
                destination: "/mnt".into(),
                id: u64::MAX,
            }],
        }
    }

    #[test]
    fn comes_back_from_json_as_it_went() {
        let record = sample("web");
        let json = serde_json::to_string(&record).unwrap();
        assert!(!json.contains("poststart"), "empty lists cost nothing: {json}");
        assert_eq!(serde_json::from_str::<Record>(&json).unwrap(), record);
        let creating = Record { init: None, ..record };
        let json = serde_json::to_string(&creating).unwrap();
        assert_eq!(serde_json::from_str::<Record>(&json).unwrap(), creating);
    }

    #[test]
    fn time_is_utc_with_nanoseconds() {
        let time = OffsetDateTime::from_unix_timestamp_nanos(1_795_630_827_638_239_927).unwrap();
        assert_eq!(format_time(time), "2026-11-25T18:20:27.638239927Z");
        assert!(now().ends_with('Z'));
    }
}
