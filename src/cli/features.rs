//! `wrun features`: what wrun can do, read from the tables that the code itself works with.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Invocation, log::Log, version, write_stdout};
use crate::plan::namespaces::Kind;
use crate::security::seccomp_names;
use crate::spec::model::{MemoryPolicyFlag, MemoryPolicyMode};
use crate::spec::{
    annotations, capabilities, guest_options, mount_options, runtime_options, systemd_properties,
};

/// Print as JSON what wrun can do.
///
/// The form is that of features.md of the runtime specification. What the kernel of this machine can do
/// besides is not told, except in supportedFlags of seccomp.
#[derive(Debug, clap::Args)]
pub struct Features {}

impl Features {
    pub fn execute(&self, _invocation: &Invocation, _log: &Log) -> anyhow::Result<u8> {
        let mut text = Vec::new();
        let indent = serde_json::ser::PrettyFormatter::with_indent(b"    ");
        report().serialize(&mut serde_json::Serializer::with_formatter(&mut text, indent))?;
        text.push(b'\n');
        write_stdout(&text)?;
        Ok(0)
    }
}

/// In the order in which they run.
const HOOKS: [&str; 6] = [
    "prestart",
    "createRuntime",
    "createContainer",
    "startContainer",
    "poststart",
    "poststop",
];

/// features.md of the runtime specification. A key that is left out would say that nothing is known of it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    oci_version_min: &'static str,
    oci_version_max: &'static str,
    hooks: [&'static str; 6],
    mount_options: Vec<&'static str>,
    linux: Linux,
    annotations: BTreeMap<&'static str, String>,
    /// Those that change how a container runs, so that an engine can keep them from its users.
    potentially_unsafe_config_annotations: Vec<&'static str>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Linux {
    namespaces: Vec<String>,
    capabilities: &'static [&'static str],
    cgroup: Cgroup,
    seccomp: Seccomp,
    apparmor: Enabled,
    selinux: Enabled,
    memory_policy: MemoryPolicy,
    intel_rdt: IntelRdt,
    mount_extensions: MountExtensions,
    net_devices: Enabled,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Cgroup {
    v1: bool,
    v2: bool,
    systemd: bool,
    systemd_user: bool,
    rdma: bool,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Seccomp {
    enabled: bool,
    actions: &'static [&'static str],
    operators: &'static [&'static str],
    archs: Vec<&'static str>,
    known_flags: Vec<&'static str>,
    /// Of these, those that the running kernel knows.
    supported_flags: Vec<&'static str>,
}

#[derive(Debug, Serialize)]
struct Enabled {
    enabled: bool,
}

#[derive(Debug, Serialize)]
struct MemoryPolicy {
    modes: [MemoryPolicyMode; 7],
    flags: [MemoryPolicyFlag; 3],
}

#[derive(Debug, Serialize)]
struct IntelRdt {
    enabled: bool,
    schemata: bool,
    monitoring: bool,
}

#[derive(Debug, Serialize)]
struct MountExtensions {
    idmap: Enabled,
}

fn report() -> Report {
    let mut unsafe_annotations = annotations::ALL.to_vec();
    unsafe_annotations.extend(runtime_options::ALL);
    unsafe_annotations.extend(annotations::CONTAINER_TYPES);
    // The one that ends in a dot stands for all that begin so.
    unsafe_annotations.push(systemd_properties::PREFIX);
    // Both write a file in the container.
    unsafe_annotations.extend([guest_options::CORE_DUMP, guest_options::PROFILE]);
    unsafe_annotations.sort_unstable();
    Report {
        oci_version_min: "1.0.0",
        oci_version_max: version::SPEC_VERSION,
        hooks: HOOKS,
        mount_options: mount_options::names().collect(),
        linux: linux(),
        annotations: annotations(),
        potentially_unsafe_config_annotations: unsafe_annotations,
    }
}

fn linux() -> Linux {
    // Their names in config.json are those that serde gives them.
    let mut namespaces: Vec<String> = Kind::ALL
        .iter()
        .filter_map(|kind| serde_json::to_value(kind).ok()?.as_str().map(str::to_owned))
        .collect();
    namespaces.sort_unstable();
    Linux {
        namespaces,
        capabilities: &capabilities::NAMES,
        cgroup: Cgroup {
            v1: true,
            v2: true,
            systemd: true,
            systemd_user: true,
            rdma: true,
        },
        seccomp: Seccomp {
            enabled: true,
            actions: &seccomp_names::ACTIONS,
            operators: &seccomp_names::OPERATORS,
            archs: seccomp_names::architectures().collect(),
            known_flags: seccomp_names::FLAGS.iter().map(|(name, _)| *name).collect(),
            supported_flags: seccomp_names::supported_flags().collect(),
        },
        apparmor: Enabled { enabled: true },
        selinux: Enabled { enabled: true },
        memory_policy: MemoryPolicy {
            modes: MemoryPolicyMode::ALL,
            flags: MemoryPolicyFlag::ALL,
        },
        intel_rdt: IntelRdt {
            enabled: true,
            schemata: true,
            monitoring: true,
        },
        mount_extensions: MountExtensions {
            idmap: Enabled { enabled: true },
        },
        net_devices: Enabled { enabled: true },
    }
}

/// What has no key of its own: versions, that Wasm is run, and that there is `checkpoint`, in runc's word.
fn annotations() -> BTreeMap<&'static str, String> {
    let mut annotations = BTreeMap::from([
        ("org.opencontainers.runc.checkpoint.enabled", "true".to_owned()),
        ("org.wrun.version", version::VERSION.to_owned()),
        ("org.wrun.wasm.enabled", "true".to_owned()),
        ("org.wrun.wasmtime.version", version::WASMTIME.to_owned()),
    ]);
    if let Some(commit) = version::commit() {
        annotations.insert("org.wrun.commit", commit.to_owned());
    }
    if let Some(libseccomp) = version::libseccomp() {
        annotations.insert("io.github.seccomp.libseccomp.version", libseccomp);
    }
    annotations
}

#[cfg(test)]
mod tests {
    #[test]
    fn features_have_the_form_of_the_specification() {
        let report = serde_json::to_value(super::report()).unwrap();
        assert_eq!(report["ociVersionMax"], "1.3.0");
        assert_eq!(report["linux"]["namespaces"].as_array().unwrap().len(), 8);
        assert_eq!(report["linux"]["namespaces"][0], "cgroup");
        assert_eq!(report["linux"]["capabilities"][0], "CAP_CHOWN");
        assert_eq!(report["linux"]["mountExtensions"]["idmap"]["enabled"], true);
        let text = report.to_string();
        assert_eq!(report["linux"]["seccomp"]["actions"].as_array().unwrap().len(), 9);
        for word in [
            "\"rro\"",
            "\"tmpcopyup\"",
            "\"MPOL_WEIGHTED_INTERLEAVE\"",
            "\"MPOL_F_STATIC_NODES\"",
            "\"module.wasm.image/variant\"",
            "\"run.oci.handler\"",
            "\"run.oci.hooks.stdout\"",
            "\"org.systemd.property.\"",
            "\"org.opencontainers.runc.checkpoint.enabled\":\"true\"",
        ] {
            assert!(text.contains(word), "{word}: {text}");
        }
        assert!(!text.contains("null"), "{text}");
    }
}
