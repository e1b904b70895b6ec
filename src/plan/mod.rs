//! What to do, decided once, as plain data: no raw JSON, no descriptor and no syscall in here.
//!
//! Built from a checked [`crate::spec::Spec`], the facts of [`crate::host::Host`] and the command's
//! options. Everything is `Serialize`, so that golden files in `spec-fixtures/` can hold whole plans.

pub mod cgroup;
pub mod exec;
#[cfg(test)]
mod golden;
pub mod mounts;
pub mod namespaces;
pub mod net_devices;
pub mod process;
pub mod rdt;
pub mod seccomp;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use cgroup::{CgroupManager, CgroupMode, CgroupPlanError};
use namespaces::Kind;

use crate::host::Host;
use crate::spec::annotations::{self, AnnotationError};
use crate::spec::model;
use crate::spec::mount_options::{Attributes, MountOptions};
use crate::spec::runtime_options::RuntimeOptions;
use crate::spec::systemd_properties;
use crate::spec::{Spec, SpecError};

pub use crate::spec::annotations::Workload;
pub use crate::spec::guest_options::{CORE_DUMP, FUEL, GuestOptions, PROFILE, TIMEOUT};
pub use crate::spec::runtime_options::{HookOutput, PIDFD_RECEIVER};

/// Everything that `create` carries out for one container.
#[derive(Debug, Clone, Serialize)]
pub struct Plan {
    /// `ociVersion` of config.json.
    pub oci_version: String,
    pub id: String,
    /// Absolute path of the bundle.
    pub bundle: PathBuf,
    pub namespaces: namespaces::Namespaces,
    pub rootfs: mounts::Rootfs,
    pub cgroup: cgroup::CgroupPlan,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rdt: Option<rdt::Rdt>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub net_devices: Vec<net_devices::NetDevice>,
    /// `None` where config.json has no process: `create` works, `start` refuses.
    pub process: Option<process::Process>,
    pub workload: Workload,
    /// Left out where no annotation asks for anything.
    #[serde(skip_serializing_if = "GuestOptions::is_default")]
    pub guest: GuestOptions,
    pub hooks: Hooks,
    #[serde(skip_serializing_if = "HookOutput::is_default")]
    pub hook_output: HookOutput,
    /// Socket on the host to which a pidfd of the first process is sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pidfd_receiver: Option<PathBuf>,
    pub annotations: BTreeMap<String, String>,
    /// Whether root's rights on the host are missing ([`Host::rootless`]): devices are bound instead of made,
    /// and an OOM score that may not be lowered is left as it is.
    pub rootless: bool,
}

/// What the command line says about a new container.
#[derive(Debug, Clone, Default)]
pub struct Options {
    pub id: String,
    /// Absolute path of the bundle.
    pub bundle: PathBuf,
    /// `--no-pivot`.
    pub no_pivot: bool,
    /// `--no-new-keyring`.
    pub no_new_keyring: bool,
    /// `--systemd-cgroup`, `--cgroup-manager`.
    pub cgroup_manager: CgroupManager,
    /// Called as `wrun-wasm`.
    pub wasm_required: bool,
    /// Directory on the host in which the container's NOTIFY_SOCKET will be; `None` where it gets none.
    pub notify: Option<PathBuf>,
}

/// Why a valid configuration cannot be carried out here.
#[derive(Debug, Error)]
pub enum PlanError {
    #[error("{file}: {field}: {problem}")]
    Invalid {
        file: PathBuf,
        field: String,
        problem: String,
    },
    #[error(
        "a rootless container needs a user namespace: run as root, or add one (see `wrun spec --rootless`)"
    )]
    RootlessWithoutUserNamespace,
    #[error("AppArmor profile {profile:?} cannot be applied: AppArmor is not enabled on this host")]
    NoApparmor { profile: String },
    #[error("{field} {label:?} cannot be applied: SELinux is not enabled on this host")]
    NoSelinux { field: &'static str, label: String },
    #[error("the container has no process to take defaults from: use --process")]
    NoProcess,
    #[error("unknown capability {name:?}")]
    UnknownCapability { name: String },
    #[error(transparent)]
    Cgroup(#[from] CgroupPlanError),
    #[error(transparent)]
    Annotation(#[from] AnnotationError),
    #[error(transparent)]
    Spec(#[from] SpecError),
}

impl PlanError {
    /// A property whose value does not fit the host or the options.
    fn invalid(spec: &Spec, field: &str, problem: &str) -> Self {
        Self::Invalid {
            file: spec.file.clone(),
            field: field.to_owned(),
            problem: problem.to_owned(),
        }
    }
}

impl Plan {
    /// Decides all that `create` will do.
    pub fn new(spec: &Spec, options: &Options, host: &Host) -> Result<Self, PlanError> {
        let config = &spec.config;
        let asked = RuntimeOptions::parse(&config.annotations)?;
        let namespaces = namespaces::build(spec, host)?;
        let mut plan = Self {
            oci_version: config.oci_version.clone().unwrap_or_default(),
            id: options.id.clone(),
            bundle: options.bundle.clone(),
            net_devices: net_devices::build(spec, &namespaces, host)?,
            namespaces,
            rootfs: mounts::build(spec, options, asked.mount_context, host)?,
            cgroup: cgroup_plan(spec, options, &asked, host)?,
            rdt: rdt::build(spec, options)?,
            process: process::build(spec, options, &asked, host)?,
            workload: annotations::workload(&config.annotations, options.wasm_required)?,
            guest: GuestOptions::parse(&config.annotations)?,
            hooks: hooks(&config.hooks),
            hook_output: asked.hook_output,
            pidfd_receiver: asked.pidfd_receiver,
            annotations: config.annotations.clone(),
            rootless: host.rootless(),
        };
        if let Some(directory) = &options.notify {
            plan.add_notify_socket(directory);
        }
        Ok(plan)
    }

    /// As runc: the directory where it would be for any service, and the variable that says so.
    fn add_notify_socket(&mut self, directory: &Path) {
        use mounts::Attributes;
        // Without a program nobody would write to it.
        let Some(process) = &mut self.process else { return };
        process
            .env
            .push("NOTIFY_SOCKET=/run/notify/notify.sock".to_owned());
        self.rootfs.mounts.push(mounts::Mount {
            // After those of config.json, which may mount /run.
            index: self.rootfs.mounts.len(),
            destination: PathBuf::from("/run/notify"),
            source: mounts::MountSource::Bind {
                path: directory.to_owned(),
                recursive: false,
                links: mounts::Links::default(),
                inside: None,
                cleared: 0,
            },
            attributes: Attributes {
                set: Attributes::RDONLY | Attributes::NOSUID | Attributes::NODEV | Attributes::NOEXEC,
                clear: 0,
            },
            recursive_attributes: Attributes::default(),
            propagation: Vec::new(),
            copy_up: false,
            idmap: None,
        });
    }
}

/// What `mounts add` carries out.
pub struct LiveMounts {
    /// Only the mounts, their label and the root's propagation count: the root itself is there.
    pub rootfs: mounts::Rootfs,
    pub namespaces: namespaces::Namespaces,
}

impl LiveMounts {
    /// `spec` is the container's with the new mounts alone ([`crate::spec::live_mounts`]), `root` where its root file
    /// system is on the host; relative sources are taken from `directory`, which is absolute.
    pub fn new(spec: &Spec, root: &Path, directory: &Path, host: &Host) -> Result<Self, PlanError> {
        let mut spec = spec.clone();
        spec.config.root = Some(model::Root {
            path: root.to_owned(),
            readonly: false,
        });
        let options = Options {
            bundle: directory.to_owned(),
            ..Options::default()
        };
        let asked = RuntimeOptions::parse(&spec.config.annotations)?;
        Ok(Self {
            rootfs: mounts::build(&spec, &options, asked.mount_context, host)?,
            namespaces: namespaces::build(&spec, host)?,
        })
    }
}

fn cgroup_plan(
    spec: &Spec,
    options: &Options,
    asked: &RuntimeOptions,
    host: &Host,
) -> Result<cgroup::CgroupPlan, PlanError> {
    let mode = if host.unified_cgroup() {
        CgroupMode::V2
    } else {
        CgroupMode::V1
    };
    let linux = &spec.config.linux;
    let minor = spec.config.minor_version();
    let resources = linux.resources.as_ref().map(|it| cgroup::as_meant(it, minor));
    if options.cgroup_manager == CgroupManager::Disabled {
        return Ok(cgroup::none(resources.as_deref(), mode, host.rootless())?);
    }
    let systemd = options.cgroup_manager == CgroupManager::Systemd;
    let mut plan = cgroup::build(
        resources.as_deref(),
        linux.cgroups_path.as_deref(),
        &options.id,
        mode,
        systemd,
        host.rootless(),
    )?;
    if systemd {
        plan.properties = systemd_properties::parse(&spec.config.annotations)?;
    }
    if asked.delegate_cgroup.is_some() && mode == CgroupMode::V1 {
        return Err(CgroupPlanError::DelegateV1.into());
    }
    let subgroup = asked.systemd_subgroup.as_ref().filter(|_| systemd);
    if subgroup.is_some() && mode == CgroupMode::V1 {
        return Err(CgroupPlanError::SubgroupV1.into());
    }
    plan.delegate = match (subgroup, &asked.delegate_cgroup) {
        (Some(subgroup), Some(delegated)) => Some(subgroup.join(delegated)),
        (one, other) => one.or(other.as_ref()).cloned(),
    };
    plan.delegate_owner = mapped(spec, 0).filter(|_| asked.delegate_cgroup.is_some());
    plan.owner = cgroup_owner(spec).filter(|_| mode == CgroupMode::V2);
    Ok(plan)
}

/// The host's id of a user of the container, where that has a user namespace with a map of its own.
fn mapped(spec: &Spec, user: u32) -> Option<u32> {
    let map = spec
        .config
        .linux
        .uid_mappings()
        .iter()
        .find(|map| map.maps(user))?;
    map.host.checked_add(user - map.container)
}

/// Who is to own the cgroup, by the rules of the runtime spec (config-linux.md, "Cgroup ownership"): the user of the
/// process, as the host sees him, of a container that has a user namespace and a cgroup namespace of its own, and
/// the cgroup file system writable.
fn cgroup_owner(spec: &Spec) -> Option<u32> {
    let config = &spec.config;
    let linux = &config.linux;
    let is_new = |kind| linux.namespace(kind).is_some_and(model::Namespace::is_new);
    let read_only = |options: &MountOptions| {
        let set = options.attributes.set | options.recursive_attributes.set;
        set & Attributes::RDONLY != 0
    };
    let writable = config.mounts.iter().any(|mount| {
        let at_its_place = mount
            .destination
            .components()
            .eq(Path::new("/sys/fs/cgroup").components());
        mount.fstype == "cgroup" && at_its_place && !read_only(&mount.options)
    });
    if !(is_new(Kind::User) && is_new(Kind::Cgroup) && writable) {
        return None;
    }
    let user = config.process.as_ref().map_or(0, |process| process.user.uid);
    mapped(spec, user)
}

fn hooks(hooks: &model::Hooks) -> Hooks {
    let list = |hooks: &[model::Hook]| hooks.iter().map(hook).collect();
    Hooks {
        prestart: list(&hooks.prestart),
        create_runtime: list(&hooks.create_runtime),
        create_container: list(&hooks.create_container),
        start_container: list(&hooks.start_container),
        poststart: list(&hooks.poststart),
        poststop: list(&hooks.poststop),
    }
}

fn hook(hook: &model::Hook) -> Hook {
    Hook {
        path: hook.path.clone(),
        args: hook.args.clone(),
        env: hook.env.clone(),
        // Others do not pass the checks of the spec.
        timeout: hook.timeout.and_then(|seconds| u64::try_from(seconds).ok()),
    }
}

/// The six hook lists of the runtime spec, in the order they are run.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Hooks {
    pub prestart: Vec<Hook>,
    pub create_runtime: Vec<Hook>,
    pub create_container: Vec<Hook>,
    pub start_container: Vec<Hook>,
    pub poststart: Vec<Hook>,
    pub poststop: Vec<Hook>,
}

impl Hooks {
    /// Whether there are some, of those that `create` and `start` run, that write to files of the host where the
    /// annotations name some ([`HookOutput`]): all but those that run in the container.
    pub fn write_to_host(&self) -> bool {
        [
            &self.prestart,
            &self.create_runtime,
            &self.create_container,
            &self.poststart,
        ]
        .iter()
        .any(|list| !list.is_empty())
    }
}

/// One hook (runtime spec, config.md "POSIX-platform Hooks").
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hook {
    /// Absolute path, resolved in the namespace in which the hook runs.
    pub path: PathBuf,
    /// Whole argv, `args[0]` included; empty means `[path]`.
    pub args: Vec<String>,
    /// `None` where config.json has none: see [`crate::hooks`].
    pub env: Option<Vec<String>>,
    /// Seconds; at least 1.
    pub timeout: Option<u64>,
}
