//! Making the container's cgroup on v1 and hybrid hosts: one directory in each mounted tree.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use crate::plan::cgroup::CgroupPlan;

use super::tree::Tree;
use super::{CgroupError, file, mounts};

const CPUSET: [&str; 2] = ["cpuset.cpus", "cpuset.mems"];

/// Where the container's directories are to be: `path` in each mounted tree.
pub(super) fn locate(path: &Path) -> Result<Vec<Tree>, CgroupError> {
    let own = if path.is_absolute() {
        Vec::new()
    } else {
        mounts::own()?
    };
    Ok(mounts::v1()?
        .into_iter()
        .map(|mount| {
            let path = mount.resolve(path, &own);
            let unified = mount.controllers.first().is_some_and(String::is_empty);
            Tree::new(mount.controllers, path, unified)
        })
        .collect())
}

/// Makes the directories. Trees that the caller may not write are left out where the plan allows it.
pub(super) fn make(
    plan: &CgroupPlan,
    trees: Vec<Tree>,
    made: &mut Vec<PathBuf>,
) -> Result<Vec<Tree>, CgroupError> {
    let mut kept = Vec::with_capacity(trees.len());
    for mut tree in trees {
        let fresh = match tree.make(made) {
            Err(error) if plan.optional && error.is_permission() => continue,
            result => result?,
        };
        tree.open()?;
        if !fresh {
            super::refuse_reuse(&tree)?;
        }
        fill_if_cpuset(&tree)?;
        kept.push(tree);
    }
    Ok(kept)
}

/// A new cpuset has no processors and no memory, and takes no process before it has: it gets its parent's,
/// which may need its own parent's first (cpuset(7)).
fn fill_cpuset(path: &Path, dir: BorrowedFd<'_>) -> Result<[String; 2], CgroupError> {
    let error = |action, name: &str, source| CgroupError::Io {
        action,
        path: path.join(name),
        source,
    };
    let mut values = [String::new(), String::new()];
    for (name, value) in CPUSET.into_iter().zip(&mut values) {
        file::read(dir, name)
            .map_err(|source| error("read", name, source))?
            .trim()
            .clone_into(value);
    }
    if values.iter().all(|value| !value.is_empty()) {
        return Ok(values);
    }
    let Some(parent) = path.parent() else {
        return Ok(values);
    };
    let parent_dir = file::open_dir(parent).map_err(|source| CgroupError::Io {
        action: "open",
        path: parent.to_owned(),
        source,
    })?;
    let parents = fill_cpuset(parent, parent_dir.as_fd())?;
    for ((name, value), parents) in CPUSET.into_iter().zip(&mut values).zip(parents) {
        if value.is_empty() {
            file::write(dir, name, &parents).map_err(|source| error("write", name, source))?;
            *value = parents;
        }
    }
    Ok(values)
}

/// What a cpuset that systemd or we have just made needs before a process is in it.
pub(super) fn fill_if_cpuset(tree: &Tree) -> Result<(), CgroupError> {
    if tree.has("cpuset") {
        fill_cpuset(&tree.path, tree.dir()?)?;
    }
    Ok(())
}

/// Makes the directory of a scope where systemd has not, and moves its process into it.
pub(super) fn join(tree: &mut Tree, pid: i32) -> Result<(), CgroupError> {
    // Removed with the scope: its parents are systemd's or other scopes'.
    let mut made = Vec::new();
    tree.make(&mut made)?;
    tree.open()?;
    fill_if_cpuset(tree)?;
    file::write(tree.dir()?, "cgroup.procs", &pid.to_string())
        .map_err(|source| tree.file_error("write", "cgroup.procs", source))
}
