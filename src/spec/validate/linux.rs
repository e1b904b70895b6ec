//! The rest of `linux`: devices, propagation, what is set for the process, and what belongs to the machine.

use super::{Check, Problem};
use crate::spec::model::{
    Config, DeviceKind, Linux, MemoryPolicyFlag, MemoryPolicyMode, NamespaceKind, RESERVED_CLASSES, User,
};
use crate::spec::mount_options::Propagation;

pub(super) const CHECKS: &[Check<Config>] = &[
    devices,
    propagation,
    personality,
    users_are_mapped,
    memory_policy,
    intel_rdt,
    net_devices,
];

/// The largest numbers of a dev_t of the kernel, 12 and 20 bits.
const MAJOR_MAX: i64 = 0xfff;
const MINOR_MAX: i64 = 0xf_ffff;

fn devices(config: &Config, _: &mut Vec<String>) -> Result<(), Problem> {
    for (index, device) in config.linux.devices.iter().enumerate() {
        let field = format!("linux.devices[{index}]");
        if !device.path.is_absolute() {
            return Err(Problem::new(
                format!("{field}.path"),
                format!("{:?} is not an absolute path", device.path),
            ));
        }
        if device.kind == DeviceKind::Fifo {
            continue;
        }
        for (name, number, max) in [
            ("major", device.major, MAJOR_MAX),
            ("minor", device.minor, MINOR_MAX),
        ] {
            if !(0..=max).contains(&number) {
                return Err(Problem::new(
                    format!("{field}.{name}"),
                    format!("{number} is not a device number (0 to {max})"),
                ));
            }
        }
    }
    Ok(())
}

fn propagation(config: &Config, _: &mut Vec<String>) -> Result<(), Problem> {
    let name = &config.linux.rootfs_propagation;
    if name.is_empty() || Propagation::named(name).is_some() {
        return Ok(());
    }
    Err(Problem::new(
        "linux.rootfsPropagation",
        format!("{name:?} is unknown"),
    ))
}

fn personality(config: &Config, _: &mut Vec<String>) -> Result<(), Problem> {
    match &config.linux.personality {
        Some(personality) if !personality.flags.is_empty() => Err(Problem::unsupported(
            "linux.personality.flags",
            "the runtime spec defines no flag",
        )),
        _ => Ok(()),
    }
}

fn users_are_mapped(config: &Config, _: &mut Vec<String>) -> Result<(), Problem> {
    match &config.process {
        Some(process) => user_is_mapped(&config.linux, &process.user, "process.user"),
        None => Ok(()),
    }
}

/// Where the container has a new user namespace, its maps must know the user: the kernel would refuse to
/// become another one with no more than EINVAL.
pub(in crate::spec) fn user_is_mapped(linux: &Linux, user: &User, field: &str) -> Result<(), Problem> {
    if !linux
        .namespace(NamespaceKind::User)
        .is_some_and(|namespace| namespace.is_new())
    {
        return Ok(());
    }
    let groups = user
        .additional_gids
        .iter()
        .enumerate()
        .map(|(index, gid)| (format!("additionalGids[{index}]"), *gid, linux.gid_mappings()));
    let ids = [
        ("uid".to_owned(), user.uid, linux.uid_mappings()),
        ("gid".to_owned(), user.gid, linux.gid_mappings()),
    ];
    for (name, id, maps) in ids.into_iter().chain(groups) {
        if !maps.iter().any(|map| map.maps(id)) {
            return Err(Problem::new(
                format!("{field}.{name}"),
                format!("{id} is not mapped by the container's user namespace"),
            ));
        }
    }
    Ok(())
}

/// The rules of set_mempolicy(2) that hold on every kernel.
fn memory_policy(config: &Config, _: &mut Vec<String>) -> Result<(), Problem> {
    let Some(policy) = &config.linux.memory_policy else {
        return Ok(());
    };
    let problem = match policy.mode {
        MemoryPolicyMode::MpolDefault | MemoryPolicyMode::MpolLocal if !policy.nodes.is_empty() => {
            Some("must be empty with MPOL_DEFAULT and MPOL_LOCAL")
        }
        MemoryPolicyMode::MpolBind
        | MemoryPolicyMode::MpolInterleave
        | MemoryPolicyMode::MpolPreferredMany
        | MemoryPolicyMode::MpolWeightedInterleave
            if policy.nodes.is_empty() =>
        {
            Some("is empty: this mode needs a node")
        }
        _ => None,
    };
    if let Some(problem) = problem {
        return Err(Problem::new("linux.memoryPolicy.nodes", problem));
    }
    let both = [MemoryPolicyFlag::StaticNodes, MemoryPolicyFlag::RelativeNodes];
    if both.iter().all(|flag| policy.flags.contains(flag)) {
        return Err(Problem::new(
            "linux.memoryPolicy.flags",
            "MPOL_F_STATIC_NODES and MPOL_F_RELATIVE_NODES exclude each other",
        ));
    }
    Ok(())
}

/// A class is a directory right below resctrl's root; a schema is one line, a write of its own.
fn intel_rdt(config: &Config, _: &mut Vec<String>) -> Result<(), Problem> {
    let Some(rdt) = &config.linux.intel_rdt else {
        return Ok(());
    };
    if rdt.enable_cmt || rdt.enable_mbm {
        let field = if rdt.enable_cmt { "enableCMT" } else { "enableMBM" };
        return Err(Problem::unsupported(
            format!("linux.intelRdt.{field}"),
            "runtime spec 1.3 has enableMonitoring in its place",
        ));
    }
    let class = rdt.clos_id.as_str();
    if class != "/"
        && (class.contains('/') || [".", ".."].contains(&class) || RESERVED_CLASSES.contains(&class))
    {
        return Err(Problem::new(
            "linux.intelRdt.closID",
            format!("{class:?} cannot be the name of a class"),
        ));
    }
    let bandwidth = rdt.mem_bw_schema.as_str();
    if !bandwidth.is_empty() && (!bandwidth.starts_with("MB:") || bandwidth.contains('\n')) {
        return Err(Problem::new(
            "linux.intelRdt.memBwSchema",
            format!("{bandwidth:?} is not one line that begins with MB:"),
        ));
    }
    for (index, line) in rdt.schemata.iter().enumerate() {
        if line.contains('\n') || !line.contains(':') {
            return Err(Problem::new(
                format!("linux.intelRdt.schemata[{index}]"),
                format!("{line:?} is not one line RESOURCE:DOMAIN=VALUE;…"),
            ));
        }
    }
    Ok(())
}

fn net_devices(config: &Config, _: &mut Vec<String>) -> Result<(), Problem> {
    let devices = &config.linux.net_devices;
    if !devices.is_empty() && config.linux.namespace(NamespaceKind::Network).is_none() {
        return Err(Problem::new(
            "linux.netDevices",
            "needs a network namespace, which linux.namespaces does not have",
        ));
    }
    let mut names: Vec<&str> = Vec::new();
    for (host, device) in devices {
        let field = format!("linux.netDevices.{host}");
        let name = device.as_ref().map_or("", |device| device.name.as_str());
        if !is_device_name(host) {
            return Err(Problem::new(field, "is not the name of a network device"));
        }
        let template = name.replacen("%d", "0", 1);
        if !name.is_empty() && (!is_device_name(name) || template.contains('%')) {
            return Err(Problem::new(
                format!("{field}.name"),
                format!("{name:?} is not the name of a network device"),
            ));
        }
        let name = if name.is_empty() { host } else { name };
        if names.contains(&name) && template == name {
            return Err(Problem::new(
                format!("{field}.name"),
                format!("{name:?} is the name of another device too"),
            ));
        }
        names.push(name);
    }
    Ok(())
}

/// The kernel's rule, dev_valid_name of net/core/dev.c.
fn is_device_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() < libc::IFNAMSIZ
        && ![".", ".."].contains(&name)
        && !name.contains(|c: char| c == '/' || c == ':' || c.is_ascii_whitespace() || c == '\x0b')
}
