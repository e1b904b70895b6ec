//! `linux` (config-linux.md).

use std::collections::BTreeMap;
use std::path::PathBuf;

use oci_spec::runtime::LinuxResources;
use serde::{Deserialize, Serialize};

use super::{NumberList, Seccomp, null_as_default};

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
    pub intel_rdt: Option<IntelRdt>,
    pub memory_policy: Option<MemoryPolicy>,
    #[serde(default, deserialize_with = "null_as_default")]
    pub net_devices: BTreeMap<String, Option<NetDevice>>,
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

/// `memoryPolicy` (set_mempolicy(2)).
#[derive(Debug, Clone, Deserialize)]
pub struct MemoryPolicy {
    pub mode: MemoryPolicyMode,
    #[serde(default, deserialize_with = "null_as_default")]
    pub nodes: NumberList,
    #[serde(default, deserialize_with = "null_as_default")]
    pub flags: Vec<MemoryPolicyFlag>,
}

/// Numbers of linux/mempolicy.h.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum MemoryPolicyMode {
    MpolDefault = 0,
    MpolPreferred = 1,
    MpolBind = 2,
    MpolInterleave = 3,
    MpolLocal = 4,
    MpolPreferredMany = 5,
    MpolWeightedInterleave = 6,
}

impl MemoryPolicyMode {
    pub const ALL: [Self; 7] = [
        Self::MpolDefault,
        Self::MpolPreferred,
        Self::MpolBind,
        Self::MpolInterleave,
        Self::MpolLocal,
        Self::MpolPreferredMany,
        Self::MpolWeightedInterleave,
    ];
}

/// Bits of linux/mempolicy.h.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum MemoryPolicyFlag {
    #[serde(rename = "MPOL_F_NUMA_BALANCING")]
    NumaBalancing = 1 << 13,
    #[serde(rename = "MPOL_F_RELATIVE_NODES")]
    RelativeNodes = 1 << 14,
    #[serde(rename = "MPOL_F_STATIC_NODES")]
    StaticNodes = 1 << 15,
}

impl MemoryPolicyFlag {
    pub const ALL: [Self; 3] = [Self::NumaBalancing, Self::RelativeNodes, Self::StaticNodes];
}

/// `intelRdt`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IntelRdt {
    #[serde(default, rename = "closID", deserialize_with = "null_as_default")]
    pub clos_id: String,
    #[serde(default, deserialize_with = "null_as_default")]
    pub l3_cache_schema: String,
    #[serde(default, deserialize_with = "null_as_default")]
    pub mem_bw_schema: String,
    #[serde(default, deserialize_with = "null_as_default")]
    pub schemata: Vec<String>,
    #[serde(default, deserialize_with = "null_as_default")]
    pub enable_monitoring: bool,
    #[serde(default, rename = "enableCMT", deserialize_with = "null_as_default")]
    pub enable_cmt: bool,
    #[serde(default, rename = "enableMBM", deserialize_with = "null_as_default")]
    pub enable_mbm: bool,
}

/// Directories of resctrl itself, which no class can be named after.
pub const RESERVED_CLASSES: [&str; 3] = ["info", "mon_data", "mon_groups"];

/// One of `netDevices`.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct NetDevice {
    /// In the container; empty: as on the host.
    #[serde(default, deserialize_with = "null_as_default")]
    pub name: String,
}
