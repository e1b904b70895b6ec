//! The rest of `linux`: devices, propagation, paths, and what we do not carry out.

use super::{Check, Problem};
use crate::spec::model::{Config, DeviceKind, Linux, NamespaceKind, User};
use crate::spec::mount_options::Propagation;

pub(super) const CHECKS: &[Check<Config>] = &[
    not_carried_out,
    devices,
    propagation,
    personality,
    users_are_mapped,
];

fn not_carried_out(config: &Config, _: &mut Vec<String>) -> Result<(), Problem> {
    let linux = &config.linux;
    if linux.intel_rdt.is_some() {
        return Err(Problem::unsupported(
            "linux.intelRdt",
            "wrun does not manage Intel RDT",
        ));
    }
    if linux.memory_policy.is_some() {
        return Err(Problem::unsupported(
            "linux.memoryPolicy",
            "wrun does not set NUMA policies",
        ));
    }
    if let Some(name) = linux.net_devices.keys().next() {
        return Err(Problem::unsupported(
            format!("linux.netDevices.{name}"),
            "wrun does not move network devices",
        ));
    }
    Ok(())
}

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
