//! Where the cgroup is: `linux.cgroupsPath` by runc's rules.

use std::path::{Component, Path, PathBuf};

use super::{CgroupMode, CgroupPlanError, Location};

/// The prefix of a scope's name where cgroupsPath gives none.
const SCOPE_PREFIX: &str = "wrun";

pub(super) fn build(
    cgroups_path: Option<&str>,
    id: &str,
    mode: CgroupMode,
    systemd: bool,
    rootless: bool,
) -> Result<Location, CgroupPlanError> {
    let path = cgroups_path.filter(|path| !path.is_empty());
    if systemd {
        if rootless && mode == CgroupMode::V1 {
            return Err(CgroupPlanError::RootlessSystemdV1);
        }
        return scope(path, id, rootless);
    }
    let Some(path) = path else {
        return Ok(Location::Cgroupfs {
            path: PathBuf::from(id),
        });
    };
    // `slice:prefix:name` too: Docker asks for it in the steps of its builds, without --systemd-cgroup, and counts on
    // the directory of that name, which runc makes.
    let cleaned = clean(Path::new(path));
    if cleaned == Path::new("/") || cleaned.as_os_str().is_empty() {
        return Err(CgroupPlanError::Root {
            path: path.to_owned(),
        });
    }
    Ok(Location::Cgroupfs { path: cleaned })
}

fn is_slice(name: &str) -> bool {
    name.ends_with(".slice")
}

/// The path with every `.` and `..` resolved as if the tree's root were `/`.
fn clean(path: &Path) -> PathBuf {
    let mut cleaned = PathBuf::new();
    for component in path.components() {
        match component {
            Component::RootDir => cleaned.push("/"),
            Component::Normal(name) => cleaned.push(name),
            Component::ParentDir => {
                cleaned.pop();
            }
            Component::CurDir | Component::Prefix(_) => {}
        }
    }
    cleaned
}

fn scope(path: Option<&str>, id: &str, rootless: bool) -> Result<Location, CgroupPlanError> {
    let malformed = |path: &str| CgroupPlanError::SystemdPath {
        path: path.to_owned(),
    };
    let (slice, prefix, name) = match path {
        None => ("", SCOPE_PREFIX, id),
        Some(path) => {
            let mut parts = path.split(':');
            match (parts.next(), parts.next(), parts.next(), parts.next()) {
                (Some(slice), Some(prefix), Some(name), None) if !name.is_empty() => (slice, prefix, name),
                _ => return Err(malformed(path)),
            }
        }
    };
    if name.contains('/') || prefix.contains('/') || is_slice(name) {
        return Err(malformed(path.unwrap_or(name)));
    }
    let slice = match slice {
        "" if rootless => "user.slice",
        "" => "system.slice",
        slice => slice,
    };
    expand_slice(slice)?;
    Ok(Location::Systemd {
        slice: slice.to_owned(),
        scope: format!("{prefix}-{name}.scope"),
        user: rootless,
    })
}

/// The directory of a slice below the manager's own: `a-b.slice` is `a.slice/a-b.slice`, and `-.slice` is
/// the root itself (systemd.slice(5)).
///
/// # Errors
/// A name that systemd would not take: no `.slice` at its end, an empty part, or a `/`.
pub fn expand_slice(slice: &str) -> Result<PathBuf, CgroupPlanError> {
    let invalid = || CgroupPlanError::Slice {
        name: slice.to_owned(),
    };
    let name = slice
        .strip_suffix(".slice")
        .filter(|name| !name.is_empty())
        .ok_or_else(invalid)?;
    if name == "-" {
        return Ok(PathBuf::new());
    }
    let mut path = PathBuf::new();
    let mut prefix = String::new();
    for part in name.split('-') {
        if part.is_empty() || part.contains('/') {
            return Err(invalid());
        }
        prefix.push_str(part);
        path.push(format!("{prefix}.slice"));
        prefix.push('-');
    }
    Ok(path)
}
