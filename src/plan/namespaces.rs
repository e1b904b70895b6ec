//! Which namespaces a container gets new, which it joins, and what is set in them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::PlanError;
use crate::host::Host;
use crate::spec::model::IdMapping;
use crate::spec::{Spec, sysctl_key};

pub use crate::spec::model::NamespaceKind as Kind;

impl Kind {
    /// All kinds, in the order in which they are joined: user first, since it decides what may be joined.
    pub const ALL: [Self; 8] = [
        Self::User,
        Self::Pid,
        Self::Network,
        Self::Ipc,
        Self::Uts,
        Self::Cgroup,
        Self::Time,
        Self::Mount,
    ];

    /// The `CLONE_NEW*` flag of clone3(2) and setns(2).
    pub const fn flag(self) -> u64 {
        match self {
            Self::User => 0x1000_0000,
            Self::Pid => 0x2000_0000,
            Self::Network => 0x4000_0000,
            Self::Ipc => 0x0800_0000,
            Self::Uts => 0x0400_0000,
            Self::Mount => 0x0002_0000,
            Self::Cgroup => 0x0200_0000,
            Self::Time => 0x0000_0080,
        }
    }

    /// The name of its link under /proc/PID/ns.
    pub const fn link(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Pid => "pid",
            Self::Network => "net",
            Self::Ipc => "ipc",
            Self::Uts => "uts",
            Self::Mount => "mnt",
            Self::Cgroup => "cgroup",
            Self::Time => "time",
        }
    }
}

/// One line of a uid_map or gid_map (user_namespaces(7)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdMap {
    pub container: u32,
    pub host: u32,
    pub size: u32,
}

/// Offset of one clock of a new time namespace (time_namespaces(7)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct TimeOffset {
    pub seconds: i64,
    pub nanoseconds: u32,
}

#[derive(Debug, Clone, Default, Serialize)]
pub struct Namespaces {
    /// Made new for the container; no kind twice.
    pub new: Vec<Kind>,
    /// Joined by path; no kind twice, none that is also in `new`.
    pub join: Vec<(Kind, PathBuf)>,
    /// Empty unless a user namespace is new.
    pub uid_map: Vec<IdMap>,
    pub gid_map: Vec<IdMap>,
    pub hostname: Option<String>,
    pub domainname: Option<String>,
    /// Key in dotted form (`net.ipv4.ip_forward`), checked to be namespaced. A `/` in it stands for a dot of
    /// the file's name (`net.ipv4.conf.eth0/1.mtu`): to get the path below /proc/sys, swap the two.
    pub sysctl: BTreeMap<String, String>,
    /// By clock name, `monotonic` or `boottime`.
    pub time_offsets: BTreeMap<String, TimeOffset>,
}

impl Namespaces {
    pub fn is_new(&self, kind: Kind) -> bool {
        self.new.contains(&kind)
    }

    pub fn joins(&self, kind: Kind) -> Option<&std::path::Path> {
        self.join
            .iter()
            .find(|(joined, _)| *joined == kind)
            .map(|(_, path)| path.as_path())
    }

    /// Whether the container has a namespace of this kind other than the runtime's.
    pub fn has(&self, kind: Kind) -> bool {
        self.is_new(kind) || self.joins(kind).is_some()
    }
}

/// Plans the namespaces and what is set in them.
pub(super) fn build(spec: &Spec, host: &Host) -> Result<Namespaces, PlanError> {
    let config = &spec.config;
    let linux = &config.linux;
    let listed = |kind: &Kind| linux.namespace(*kind).map(|namespace| (*kind, namespace));
    let (new, join): (Vec<_>, Vec<_>) = Kind::ALL
        .iter()
        .filter_map(listed)
        .partition(|(_, namespace)| namespace.is_new());
    let mut plan = Namespaces {
        new: new.into_iter().map(|(kind, _)| kind).collect(),
        join: join
            .into_iter()
            .map(|(kind, namespace)| (kind, namespace.path.clone()))
            .collect(),
        hostname: Some(config.hostname.clone()).filter(|name| !name.is_empty()),
        domainname: Some(config.domainname.clone()).filter(|name| !name.is_empty()),
        sysctl: linux
            .sysctl
            .iter()
            .map(|(key, value)| (sysctl_key(key), value.clone()))
            .collect(),
        time_offsets: linux
            .time_offsets
            .iter()
            .map(|(clock, offset)| {
                (
                    clock.clone(),
                    TimeOffset {
                        seconds: offset.secs,
                        nanoseconds: offset.nanosecs,
                    },
                )
            })
            .collect(),
        ..Namespaces::default()
    };
    if plan.is_new(Kind::User) {
        plan.uid_map = id_maps(linux.uid_mappings());
        plan.gid_map = id_maps(linux.gid_mappings());
    } else if host.euid != 0 && !plan.has(Kind::User) {
        return Err(PlanError::RootlessWithoutUserNamespace);
    }
    own_network(spec, &plan, host)?;
    Ok(plan)
}

/// Joining our own network namespace by path gives the container none of its own, so that its sysctls would
/// be the host's.
fn own_network(spec: &Spec, plan: &Namespaces, host: &Host) -> Result<(), PlanError> {
    let Some(path) = plan.joins(Kind::Network) else {
        return Ok(());
    };
    match plan.sysctl.keys().find(|key| key.starts_with("net.")) {
        Some(key) if host.is_own_namespace(Kind::Network.link(), path) => Err(PlanError::invalid(
            spec,
            &format!("linux.sysctl.{key}"),
            "would be set in the host's network namespace",
        )),
        _ => Ok(()),
    }
}

/// The lines of a map, in order.
pub(super) fn id_maps(maps: &[IdMapping]) -> Vec<IdMap> {
    maps.iter()
        .map(|map| IdMap {
            container: map.container,
            host: map.host,
            size: map.size,
        })
        .collect()
}
