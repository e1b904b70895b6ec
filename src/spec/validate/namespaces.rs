//! Namespaces, the maps of user namespaces and the offsets of time namespaces.

use super::{Check, Problem};
use crate::spec::model::{Config, IdMapping, NamespaceKind};

pub(super) const CHECKS: &[Check<Config>] = &[
    listed_once,
    mount_namespace,
    user_maps,
    root_is_mapped,
    time_offsets,
];

fn listed_once(config: &Config, _: &mut Vec<String>) -> Result<(), Problem> {
    let namespaces = &config.linux.namespaces;
    for (index, namespace) in namespaces.iter().enumerate() {
        let field = format!("linux.namespaces[{index}]");
        if namespaces[..index]
            .iter()
            .any(|earlier| earlier.kind == namespace.kind)
        {
            return Err(Problem::new(
                field,
                format!("a second {} namespace", name(namespace.kind)),
            ));
        }
        if !namespace.is_new() && !namespace.path.is_absolute() {
            return Err(Problem::new(
                format!("{field}.path"),
                format!("{:?} is not an absolute path", namespace.path),
            ));
        }
    }
    Ok(())
}

/// Without one, the container's mounts are the host's, made below its root as with runc, and stay there. What needs a
/// namespace is refused: a user namespace's root may not mount in the host's, and a path that is masked there only
/// is not out of reach.
fn mount_namespace(config: &Config, warnings: &mut Vec<String>) -> Result<(), Problem> {
    let linux = &config.linux;
    if linux.namespace(NamespaceKind::Mount).is_some() {
        return Ok(());
    }
    let whole_host = config
        .root
        .as_ref()
        .is_some_and(|root| !root.path.as_os_str().is_empty() && root.path.parent().is_none());
    let refused = [
        ("linux.maskedPaths", !linux.masked_paths.is_empty()),
        ("linux.readonlyPaths", !linux.readonly_paths.is_empty()),
        (
            "linux.namespaces: a user namespace",
            linux.namespace(NamespaceKind::User).is_some(),
        ),
        ("root.path \"/\"", whole_host),
    ];
    if let Some((what, _)) = refused.iter().find(|(_, given)| *given) {
        return Err(Problem::new(
            *what,
            "needs a mount namespace, and linux.namespaces has none",
        ));
    }
    warnings.push(
        "linux.namespaces has no mount namespace: the container's mounts are the host's, and stay when it is deleted"
            .to_owned(),
    );
    Ok(())
}

/// A new user namespace without maps could hold no process of ours. A joined one has its maps; some engines
/// repeat them, which is no error.
fn user_maps(config: &Config, _: &mut Vec<String>) -> Result<(), Problem> {
    let linux = &config.linux;
    let namespace = linux.namespace(NamespaceKind::User);
    for (field, maps) in [
        ("linux.uidMappings", linux.uid_mappings()),
        ("linux.gidMappings", linux.gid_mappings()),
    ] {
        match namespace {
            None if !maps.is_empty() => {
                return Err(Problem::new(field, "is set without a user namespace"));
            }
            Some(namespace) if namespace.is_new() && maps.is_empty() => {
                return Err(Problem::new(field, "is missing: a new user namespace needs it"));
            }
            _ => check_maps(field, maps)?,
        }
    }
    Ok(())
}

/// The init process sets up the container as its root.
fn root_is_mapped(config: &Config, _: &mut Vec<String>) -> Result<(), Problem> {
    let linux = &config.linux;
    if !linux
        .namespace(NamespaceKind::User)
        .is_some_and(|namespace| namespace.is_new())
    {
        return Ok(());
    }
    for (field, maps) in [
        ("linux.uidMappings", linux.uid_mappings()),
        ("linux.gidMappings", linux.gid_mappings()),
    ] {
        if !maps.iter().any(|map| map.maps(0)) {
            return Err(Problem::new(field, "does not map id 0 of the container"));
        }
    }
    Ok(())
}

/// The most lines that a map can have since Linux 4.15 (user_namespaces(7)).
const MAX_LINES: usize = 340;

/// The rules of the kernel for uid_map and gid_map, found here to name the line.
pub(super) fn check_maps(field: &str, maps: &[IdMapping]) -> Result<(), Problem> {
    if maps.len() > MAX_LINES {
        return Err(Problem::new(
            field,
            format!("has {} lines, the kernel takes {MAX_LINES}", maps.len()),
        ));
    }
    for (index, map) in maps.iter().enumerate() {
        let field = format!("{field}[{index}]");
        if map.size == 0 {
            return Err(Problem::new(format!("{field}.size"), "must not be 0"));
        }
        if map.container.checked_add(map.size).is_none() || map.host.checked_add(map.size).is_none() {
            return Err(Problem::new(field, "goes beyond the largest id"));
        }
        let overlaps = |first: u32, second: u32, size: u32| {
            first < second.saturating_add(size) && second < first.saturating_add(map.size)
        };
        for (before, earlier) in maps[..index].iter().enumerate() {
            if overlaps(map.container, earlier.container, earlier.size)
                || overlaps(map.host, earlier.host, earlier.size)
            {
                return Err(Problem::new(field, format!("overlaps with line {before}")));
            }
        }
    }
    Ok(())
}

fn time_offsets(config: &Config, _: &mut Vec<String>) -> Result<(), Problem> {
    let offsets = &config.linux.time_offsets;
    if offsets.is_empty() {
        return Ok(());
    }
    match config.linux.namespace(NamespaceKind::Time) {
        None => {
            return Err(Problem::new(
                "linux.timeOffsets",
                "is set without a time namespace",
            ));
        }
        Some(namespace) if !namespace.is_new() => {
            return Err(Problem::new(
                "linux.timeOffsets",
                "cannot be set in a time namespace that is joined",
            ));
        }
        Some(_) => {}
    }
    for (clock, offset) in offsets {
        let field = format!("linux.timeOffsets.{clock}");
        if !matches!(clock.as_str(), "monotonic" | "boottime") {
            return Err(Problem::new(field, "no such clock: use monotonic or boottime"));
        }
        if offset.nanosecs >= 1_000_000_000 {
            return Err(Problem::new(
                format!("{field}.nanosecs"),
                format!("{} is a second or more", offset.nanosecs),
            ));
        }
    }
    Ok(())
}

/// The name of a kind in config.json.
pub(super) fn name(kind: NamespaceKind) -> &'static str {
    match kind {
        NamespaceKind::User => "user",
        NamespaceKind::Pid => "pid",
        NamespaceKind::Network => "network",
        NamespaceKind::Ipc => "ipc",
        NamespaceKind::Uts => "uts",
        NamespaceKind::Mount => "mount",
        NamespaceKind::Cgroup => "cgroup",
        NamespaceKind::Time => "time",
    }
}
