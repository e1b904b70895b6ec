//! Mounts: what each says about itself. Whether sources exist and destinations stay inside the rootfs shows
//! when they are mounted.

use super::namespaces::check_maps;
use super::{Check, Problem};
use crate::spec::model::{Config, IdMapping, Mount, NamespaceKind};

pub(super) const CHECKS: &[Check<Config>] = &[
    destinations,
    links,
    sources,
    bind_mounts,
    idmaps,
    owners_are_mapped,
];

fn each(config: &Config, mut check: impl FnMut(&Mount, &str) -> Result<(), Problem>) -> Result<(), Problem> {
    config
        .mounts
        .iter()
        .enumerate()
        .try_for_each(|(index, mount)| check(mount, &format!("mounts[{index}]")))
}

/// Relative destinations are taken from `/`, as runc still does (config.md has forbidden them since 1.0.1).
fn destinations(config: &Config, warnings: &mut Vec<String>) -> Result<(), Problem> {
    each(config, |mount, field| {
        if mount.destination.as_os_str().is_empty() {
            return Err(Problem::new(format!("{field}.destination"), "is missing"));
        }
        if mount.destination.is_relative() {
            warnings.push(format!(
                "{field}.destination: {:?} is not absolute, it is taken from /",
                mount.destination
            ));
        }
        Ok(())
    })
}

/// What is done about links at the ends of a bind mount.
fn links(config: &Config, _: &mut Vec<String>) -> Result<(), Problem> {
    each(config, |mount, field| {
        let options = &mount.options;
        let given = [
            ("copy-symlink", options.copy_symlink),
            ("src-nofollow", options.source_nofollow),
            ("dest-nofollow", options.destination_nofollow),
        ];
        let Some((name, _)) = given.iter().find(|(_, given)| *given) else {
            return Ok(());
        };
        if !mount.is_bind() || options.remount {
            return Err(Problem::new(
                format!("{field}.options"),
                format!("{name:?} is for a bind mount only"),
            ));
        }
        if options.copy_symlink && (options.source_nofollow || options.destination_nofollow) {
            return Err(Problem::new(
                format!("{field}.options"),
                "\"copy-symlink\" excludes \"src-nofollow\" and \"dest-nofollow\"",
            ));
        }
        Ok(())
    })
}

fn sources(config: &Config, _: &mut Vec<String>) -> Result<(), Problem> {
    each(config, |mount, field| {
        if mount.options.remount {
            return Ok(());
        }
        if mount.is_bind() {
            if mount.source.is_empty() {
                return Err(Problem::new(
                    format!("{field}.source"),
                    "is missing: a bind mount needs it",
                ));
            }
        } else if mount.fstype.is_empty() || mount.fstype == "none" {
            return Err(Problem::new(
                format!("{field}.type"),
                format!(
                    "{:?} is no file system, and the options have neither bind nor rbind",
                    mount.fstype
                ),
            ));
        }
        Ok(())
    })
}

/// A bind mount shares the superblock of its source: options for the file system would be ignored by the
/// kernel, which is worse than an error (a `size=` or `context=` that is not there).
fn bind_mounts(config: &Config, warnings: &mut Vec<String>) -> Result<(), Problem> {
    each(config, |mount, field| {
        if !mount.is_bind() {
            return Ok(());
        }
        if let Some(data) = mount.options.data.first() {
            return Err(Problem::new(
                format!("{field}.options"),
                format!("{data:?} is for a file system and cannot be set on a bind mount"),
            ));
        }
        if mount.options.copy_up {
            return Err(Problem::new(
                format!("{field}.options"),
                "\"tmpcopyup\" is for a tmpfs only",
            ));
        }
        for option in &mount.options.superblock_names {
            warnings.push(format!(
                "{field}.options: {option:?} has no effect on a bind mount"
            ));
        }
        Ok(())
    })?;
    each(config, |mount, field| {
        if mount.options.copy_up && mount.fstype != "tmpfs" {
            return Err(Problem::new(
                format!("{field}.options"),
                "\"tmpcopyup\" is for a tmpfs only",
            ));
        }
        Ok(())
    })
}

fn idmaps(config: &Config, _: &mut Vec<String>) -> Result<(), Problem> {
    each(config, |mount, field| {
        if !mount.is_idmapped() {
            return Ok(());
        }
        if !mount.is_bind() || mount.options.remount {
            return Err(Problem::unsupported(
                field,
                "id-mapped mounts are for bind mounts",
            ));
        }
        let (uid, gid) = mount
            .id_maps(&config.linux)
            .map_err(|problem| Problem::new(format!("{field}.options"), format!("idmap {problem}")))?;
        match (uid.is_empty(), gid.is_empty()) {
            (true, true) => {
                if config.linux.namespace(NamespaceKind::User).is_none() {
                    return Err(Problem::new(
                        field,
                        "is id-mapped without uidMappings and gidMappings, and the container has no user \
                         namespace whose maps could be used",
                    ));
                }
            }
            (true, false) => return Err(Problem::new(format!("{field}.uidMappings"), "is missing")),
            (false, true) => return Err(Problem::new(format!("{field}.gidMappings"), "is missing")),
            (false, false) => {
                check_maps(&format!("{field}.uidMappings"), &uid)?;
                check_maps(&format!("{field}.gidMappings"), &gid)?;
            }
        }
        Ok(())
    })
}

/// `uid=` and `gid=` of a file system are ids in the user namespace that mounts it.
fn owners_are_mapped(config: &Config, _: &mut Vec<String>) -> Result<(), Problem> {
    let linux = &config.linux;
    if !linux
        .namespace(NamespaceKind::User)
        .is_some_and(|namespace| namespace.is_new())
    {
        return Ok(());
    }
    let unmapped = |option: &str, key: &str, maps: &[IdMapping]| {
        option
            .strip_prefix(key)
            .and_then(|value| value.parse::<u32>().ok())
            .is_some_and(|id| !maps.iter().any(|map| map.maps(id)))
    };
    each(config, |mount, field| {
        for option in mount.options.data.iter().flat_map(|option| option.split(',')) {
            if unmapped(option, "uid=", linux.uid_mappings())
                || unmapped(option, "gid=", linux.gid_mappings())
            {
                return Err(Problem::new(
                    format!("{field}.options"),
                    format!("{option:?} names an id that the container's user namespace does not map"),
                ));
            }
        }
        Ok(())
    })
}
