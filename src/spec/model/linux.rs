//! `linux` (config-linux.md).

use std::collections::BTreeMap;
use std::path::PathBuf;

use oci_spec::runtime::LinuxResources;
use serde::{Deserialize, Serialize};

use super::{Present, Seccomp, null_as_default};

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Linux {
    #[serde(default, deserialize_with = "null_as_default")]
    pub namespaces: Vec<Namespace>,
    pub uid_mappings: Option<Vec<IdMapping>>,
    pub gid_mappings: Option<Vec<IdMapping>>,
    #[serde(default, deserialize_with = "null_as_default")]
    pub time_offsets: BTreeMap<String, TimeOffset>,
    #[serde(default, deserialize_with = "null_as_default")]
    pub devices: Vec<Device>,
    pub cgroups_path: Option<String>,
    pub resources: Option<LinuxResources>,
    #[serde(default, deserialize_with = "null_as_default")]
    pub rootfs_propagation: String,
    pub seccomp: Option<Seccomp>,
    #[serde(default, deserialize_with = "null_as_default")]
    pub sysctl: BTreeMap<String, String>,
    #[serde(default, deserialize_with = "null_as_default")]
    pub masked_paths: Vec<PathBuf>,
    #[serde(default, deserialize_with = "null_as_default")]
    pub readonly_paths: Vec<PathBuf>,
    #[serde(default, deserialize_with = "null_as_default")]
    pub mount_label: String,
    pub personality: Option<Personality>,
    pub intel_rdt: Present,
    pub memory_policy: Present,
    #[serde(default, deserialize_with = "null_as_default")]
    pub net_devices: BTreeMap<String, Present>,
}

impl Linux {
    /// The namespace of a kind, where one is listed.
    pub fn namespace(&self, kind: NamespaceKind) -> Option<&Namespace> {
        self.namespaces.iter().find(|namespace| namespace.kind == kind)
    }

    pub fn uid_mappings(&self) -> &[IdMapping] {
        self.uid_mappings.as_deref().unwrap_or_default()
    }

    pub fn gid_mappings(&self) -> &[IdMapping] {
        self.gid_mappings.as_deref().unwrap_or_default()
    }
}

/// The kinds of namespace that Linux has (namespaces(7)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NamespaceKind {
    User,
    Pid,
    Network,
    Ipc,
    Uts,
    Mount,
    Cgroup,
    Time,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Namespace {
    #[serde(rename = "type")]
    pub kind: NamespaceKind,
    /// Empty: a new one.
    #[serde(default, deserialize_with = "null_as_default")]
    pub path: PathBuf,
}

impl Namespace {
    pub fn is_new(&self) -> bool {
        self.path.as_os_str().is_empty()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct IdMapping {
    #[serde(rename = "containerID", default)]
    pub container: u32,
    #[serde(rename = "hostID", default)]
    pub host: u32,
    #[serde(default)]
    pub size: u32,
}

impl IdMapping {
    /// Whether this line maps the id of the container.
    pub fn maps(&self, id: u32) -> bool {
        id >= self.container && id - self.container < self.size
    }
}

#[derive(Debug, Clone, Copy, Deserialize)]
pub struct TimeOffset {
    #[serde(default)]
    pub secs: i64,
    #[serde(default)]
    pub nanosecs: u32,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Device {
    #[serde(rename = "type")]
    pub kind: DeviceKind,
    pub path: PathBuf,
    #[serde(default, deserialize_with = "null_as_default")]
    pub major: i64,
    #[serde(default, deserialize_with = "null_as_default")]
    pub minor: i64,
    pub file_mode: Option<u32>,
    pub uid: Option<u32>,
    pub gid: Option<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum DeviceKind {
    /// `u` is an unbuffered character device; Linux knows no difference (mknod(1)).
    #[serde(rename = "c", alias = "u")]
    Character,
    #[serde(rename = "b")]
    Block,
    #[serde(rename = "p")]
    Fifo,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Personality {
    pub domain: PersonalityDomain,
    #[serde(default, deserialize_with = "null_as_default")]
    pub flags: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum PersonalityDomain {
    #[serde(rename = "LINUX")]
    Linux,
    #[serde(rename = "LINUX32")]
    Linux32,
}
