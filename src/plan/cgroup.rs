//! The container's cgroup: where it is, and which values are written into which of its files.
//!
//! [`build`] turns `linux.resources` and `linux.cgroupsPath` into a [`CgroupPlan`], without a look at the
//! host: whether it has a controller shows when the plan is carried out. The conversions between v1 and v2
//! are runc's, so that one config.json means the same under both runtimes. What a mode cannot express is an
//! error that names the property; only values that ask for nothing (`swappiness` of -1,
//! `disableOOMKiller: false`, 0) are passed over, since engines send them always.

mod block_io;
mod cpu;
mod devices;
mod location;
mod memory;
mod others;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::path::PathBuf;

use oci_spec::runtime::LinuxResources;
use serde::{Deserialize, Serialize};

use crate::spec::runtime_options::{DELEGATE_CGROUP, SYSTEMD_SUBGROUP};

pub use crate::spec::systemd_properties::{Kind as NumberKind, PropertyValue, SystemdProperty};
pub use devices::{DeviceException, DevicePolicy};
pub use location::expand_slice;

/// Which cgroup layout the host has (cgroups(7)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CgroupMode {
    /// One tree per controller; also hosts with a `unified` tree beside them (hybrid).
    V1,
    /// The one tree of cgroup v2.
    V2,
}

#[derive(Debug, Clone, Serialize)]
pub struct CgroupPlan {
    pub mode: CgroupMode,
    pub location: Location,
    /// Written in order after the cgroup is made and before the container's process runs.
    pub settings: Vec<Setting>,
    /// Device rules: config.json's in their order, then the spec's defaults, as runc; what they amount to
    /// is [`DevicePolicy`]. `None` leaves devices as the parent cgroup has them (no `linux.resources`
    /// cannot cause this; only [`Location::None`] does).
    pub devices: Option<Vec<DeviceRule>>,
    /// The caller is not root on the host: device rules are left out where the kernel refuses them, since
    /// such a caller can make no device node and cannot open what he could not open before.
    pub rootless: bool,
    /// Nobody asked for a cgroup (rootless, no path, no limits): where we may not make one, do without.
    pub optional: bool,
    /// What was asked for in vain, for the log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub left_out: Option<&'static str>,
    /// Further properties of the scope; only where systemd makes it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub properties: Vec<SystemdProperty>,
    /// Below the container's cgroup, on v2: where the first process runs once it has its cgroup namespace; delegated, or a
    /// subgroup of the scope.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delegate: Option<PathBuf>,
    /// The host's id of the user to whom that one is given: root of the container's user namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delegate_owner: Option<u32>,
    /// The host's id of the user to whom a cgroup of v2 is given, so that the container may divide it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<u32>,
}

impl CgroupPlan {
    /// The memory limit in bytes; `None` where there is none.
    pub fn memory_limit(&self) -> Option<u64> {
        let files = ["memory.max", "memory.limit_in_bytes"];
        // The last write of a file is the one that counts.
        let last = self
            .settings
            .iter()
            .rfind(|setting| files.contains(&setting.file.as_str()));
        last.and_then(|setting| setting.value.parse().ok())
    }

    /// How many CPUs the CPU limit is worth, rounded up; `None` where there is none.
    pub fn cpus(&self) -> Option<u32> {
        let last = |file: &str| self.settings.iter().rfind(|setting| setting.file == file);
        let number = |text: &str| text.parse::<u64>().ok().filter(|number| *number > 0);
        let (quota, period) = match last("cpu.max") {
            Some(setting) => setting.value.split_once(' ')?,
            None => (
                last("cpu.cfs_quota_us")?.value.as_str(),
                last("cpu.cfs_period_us").map_or("100000", |setting| setting.value.as_str()),
            ),
        };
        u32::try_from(number(quota)?.div_ceil(number(period)?)).ok()
    }
}

/// Who makes cgroups, as the command line says it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum CgroupManager {
    /// We, in the cgroup file systems.
    #[default]
    Cgroupfs,
    /// systemd, on our behalf.
    Systemd,
    /// Nobody: containers stay in the caller's cgroup.
    Disabled,
}

/// Who makes the cgroup, and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Location {
    /// Made by us at this path, which has no `..`. Absolute: below the root of each tree. Relative: below
    /// the runtime's own cgroup (v1) or beside it (v2, where a cgroup with processes has no children with
    /// controllers), as runc.
    Cgroupfs { path: PathBuf },
    /// A transient scope made by systemd, from `slice:prefix:name`: the unit `prefix-name.scope`.
    Systemd {
        slice: String,
        scope: String,
        /// Made by the user's systemd, not the system's.
        #[serde(default)]
        user: bool,
    },
    /// No cgroup of its own: a rootless container without delegation, or [`CgroupManager::Disabled`].
    None,
}

/// One value for one file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Setting {
    /// v1: the controller's tree (`memory`); v2: empty.
    pub controller: String,
    /// `memory.max`.
    pub file: String,
    pub value: String,
    /// The property of config.json it comes from (`linux.resources.memory.limit`), for errors.
    pub property: String,
    /// What to do where the kernel has no such file.
    pub if_absent: IfAbsent,
}

/// What to do where the kernel lacks a setting's file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum IfAbsent {
    /// An error that names property and controller.
    Fail,
    /// The value is what the kernel does anyway without the file.
    Skip,
    /// Another file holds the same property.
    Write { file: String, value: String },
}

/// One rule of `linux.resources.devices`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct DeviceRule {
    pub allow: bool,
    pub kind: DeviceRuleKind,
    /// `None`: any.
    pub major: Option<u32>,
    pub minor: Option<u32>,
    pub read: bool,
    pub write: bool,
    pub mknod: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DeviceRuleKind {
    All,
    Character,
    Block,
}

/// Where a container's cgroup was made: what the state keeps, enough to find it again without the plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placement {
    pub mode: CgroupMode,
    pub location: Location,
    /// Absolute directories: by controller on v1 (`name=systemd` for the named tree, an empty key for the
    /// `unified` tree of a hybrid host), one with an empty key on v2; empty where there is none.
    pub paths: std::collections::BTreeMap<String, PathBuf>,
}

/// Why `linux.resources` or `linux.cgroupsPath` cannot become a plan.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum CgroupPlanError {
    #[error(
        "linux.cgroupsPath {path:?} is not of the form \"slice:prefix:name\", which --systemd-cgroup needs"
    )]
    SystemdPath { path: String },
    #[error("{name:?} in linux.cgroupsPath is not a valid name of a systemd slice")]
    Slice { name: String },
    #[error("linux.cgroupsPath {path:?} is the root of the tree; a container needs a cgroup of its own")]
    Root { path: String },
    #[error("{property} cannot be set: --cgroup-manager is disabled")]
    Disabled { property: String },
    #[error("annotation {DELEGATE_CGROUP} is not supported on cgroup v1, where delegation is not safe")]
    DelegateV1,
    #[error("annotation {SYSTEMD_SUBGROUP} needs cgroup v2")]
    SubgroupV1,
    #[error("rootless containers cannot use --systemd-cgroup on cgroup v1")]
    RootlessSystemdV1,
    #[error("{property}: {value} is not valid: {reason}")]
    Invalid {
        property: String,
        value: String,
        reason: &'static str,
    },
    #[error("{property}: invalid configuration: cgroup {mode} cannot express this")]
    Inexpressible { property: String, mode: &'static str },
    #[error(
        "linux.resources.devices: denying {rule} would punch a hole into the allowed {wider}, which the \
         devices cgroup cannot express"
    )]
    DeviceHole { rule: String, wider: String },
}

/// Resources as whoever wrote them meant them. Before version 1.3 of the runtime spec `pids.limit` was a plain number in
/// Go, and 0 stood for none: runc and crun take it so, and CRI-O up to 1.26 writes it into each config.json. Since 1.3 it
/// is a limit.
pub fn as_meant(resources: &LinuxResources, minor: u64) -> Cow<'_, LinuxResources> {
    if minor >= 3 || resources.pids().is_none_or(|pids| pids.limit() != 0) {
        return Cow::Borrowed(resources);
    }
    let mut resources = resources.clone();
    resources.set_pids(None);
    Cow::Owned(resources)
}

/// Makes the plan of a container's cgroup.
///
/// `mode` is the host's, `systemd` the option `--systemd-cgroup`; `rootless` means that the caller is not
/// root on the host (also root of a user namespace).
///
/// # Errors
/// A path or a value that makes no sense, or that `mode` has no way to express; each names its property.
pub fn build(
    resources: Option<&LinuxResources>,
    cgroups_path: Option<&str>,
    id: &str,
    mode: CgroupMode,
    systemd: bool,
    rootless: bool,
) -> Result<CgroupPlan, CgroupPlanError> {
    let location = location::build(cgroups_path, id, mode, systemd, rootless)?;
    let mut settings = match resources {
        Some(resources) => settings(resources, mode)?,
        None => Vec::new(),
    };
    let left_out = fit(&mut settings, mode, &location);
    let device_rules = resources.and_then(|resources| resources.devices().as_deref());
    let devices = devices::rules(device_rules.unwrap_or_default())?;
    // Carried out later; evaluated here so that a rule nobody can keep fails before anything is made.
    DevicePolicy::new(&devices)?;
    let optional =
        rootless && !systemd && settings.is_empty() && cgroups_path.is_none_or(|path| path.is_empty());
    Ok(CgroupPlan {
        mode,
        location,
        settings,
        devices: Some(devices),
        rootless,
        optional,
        left_out,
        properties: Vec::new(),
        delegate: None,
        delegate_owner: None,
        owner: None,
    })
}

/// The plan of no cgroup at all. The device rules, which every engine sends, hold in none.
///
/// # Errors
/// A limit, which nothing would keep.
pub fn none(
    resources: Option<&LinuxResources>,
    mode: CgroupMode,
    rootless: bool,
) -> Result<CgroupPlan, CgroupPlanError> {
    let settings = resources.map_or(Ok(Vec::new()), |resources| settings(resources, mode))?;
    if let Some(setting) = settings.first() {
        return Err(CgroupPlanError::Disabled {
            property: setting.property.clone(),
        });
    }
    Ok(CgroupPlan {
        mode,
        location: Location::None,
        settings,
        devices: None,
        rootless,
        optional: true,
        left_out: None,
        properties: Vec::new(),
        delegate: None,
        delegate_owner: None,
        owner: None,
    })
}

/// Fits settings to what carries them out; what has to be left out is told.
pub fn fit(settings: &mut Vec<Setting>, mode: CgroupMode, location: &Location) -> Option<&'static str> {
    if matches!(location, Location::Systemd { .. }) {
        cpu::round_quota(settings);
    }
    leave_out_weight_of_idle(settings, mode)
}

/// An idle cgroup of v2 has a weight of its own, and the kernel takes no other (sched_group_set_shares in
/// kernel/sched/fair.c). The one asked for with it is left out, and that is told, as runc does under systemd.
fn leave_out_weight_of_idle(settings: &mut Vec<Setting>, mode: CgroupMode) -> Option<&'static str> {
    let idle = settings.iter().rfind(|setting| setting.file == "cpu.idle");
    if mode == CgroupMode::V1 || idle.is_none_or(|idle| idle.value.trim() != "1") {
        return None;
    }
    let before = settings.len();
    settings.retain(|setting| setting.file != "cpu.weight");
    (settings.len() < before).then_some("unable to apply both cpu.weight and cpu.idle, ignoring cpu.weight")
}

/// What a cgroup of `mode` is written for these limits, in the order in which it is to be written: for a new
/// cgroup, and for one that lives (`update`). Devices are not among them.
///
/// # Errors
/// A value that makes no sense, or that `mode` has no way to express; each names its property.
pub fn settings(resources: &LinuxResources, mode: CgroupMode) -> Result<Vec<Setting>, CgroupPlanError> {
    let mut settings = Settings {
        mode,
        list: Vec::new(),
    };
    // runc's order; on v2, pids first also means that nothing can fork past a limit meant for it.
    if let Some(pids) = resources.pids() {
        others::pids(pids, &mut settings);
    }
    if let Some(memory) = resources.memory() {
        memory::memory(memory, &mut settings)?;
    }
    if let Some(block_io) = resources.block_io() {
        block_io::block_io(block_io, &mut settings)?;
    }
    if let Some(cpu) = resources.cpu() {
        cpu::cpu(cpu, &mut settings)?;
    }
    others::hugepages(
        resources.hugepage_limits().as_deref().unwrap_or_default(),
        &mut settings,
    )?;
    if let Some(network) = resources.network() {
        others::network(network, &mut settings)?;
    }
    if let Some(rdma) = resources.rdma() {
        others::rdma(rdma, &mut settings)?;
    }
    if let Some(unified) = resources.unified() {
        others::unified(unified, &mut settings)?;
    }
    Ok(settings.list)
}

/// The settings made so far, and the mode they are made for.
struct Settings {
    mode: CgroupMode,
    list: Vec<Setting>,
}

impl Settings {
    /// `controller` is the v1 tree's name; on v2 the file's own name says it.
    fn push(&mut self, controller: &str, file: impl Into<String>, value: impl ToString, property: &str) {
        self.push_or(controller, file, value, property, IfAbsent::Fail);
    }

    fn push_or(
        &mut self,
        controller: &str,
        file: impl Into<String>,
        value: impl ToString,
        property: &str,
        if_absent: IfAbsent,
    ) {
        let controller = match self.mode {
            CgroupMode::V1 => controller.to_owned(),
            CgroupMode::V2 => String::new(),
        };
        self.list.push(Setting {
            controller,
            file: file.into(),
            value: value.to_string(),
            property: format!("linux.resources.{property}"),
            if_absent,
        });
    }

    fn inexpressible(&self, property: &str) -> CgroupPlanError {
        let mode = match self.mode {
            CgroupMode::V1 => "v1",
            CgroupMode::V2 => "v2",
        };
        CgroupPlanError::Inexpressible {
            property: format!("linux.resources.{property}"),
            mode,
        }
    }
}

fn invalid(property: &str, value: impl ToString, reason: &'static str) -> CgroupPlanError {
    CgroupPlanError::Invalid {
        property: format!("linux.resources.{property}"),
        value: value.to_string(),
        reason,
    }
}
