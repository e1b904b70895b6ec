//! Making the container's cgroup on v2: one directory, and the controllers switched on down to it.

use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD, Uid, accessat, chownat};
use rustix::io::Errno;

use crate::plan::cgroup::CgroupPlan;

use super::tree::Tree;
use super::{CgroupError, file, mounts};

/// Where the container's directory is to be.
pub(super) fn locate(path: &Path) -> Result<Tree, CgroupError> {
    let root = Path::new(mounts::V2_ROOT);
    let path = match path.strip_prefix("/") {
        Ok(below) => root.join(below),
        Err(_) => {
            let own = mounts::own()?;
            let own = mounts::find(&own, "").unwrap_or(Path::new("/"));
            // Beside our own cgroup: processes live there, so nothing below it could have controllers.
            let beside = own.parent().unwrap_or(own);
            root.join(beside.strip_prefix("/").unwrap_or(beside)).join(path)
        }
    };
    Ok(Tree::new(vec![String::new()], path, true))
}

/// Makes the directory, with every controller that its ancestors can pass on. `None` where the caller may
/// not and the plan does without.
pub(super) fn make(
    plan: &CgroupPlan,
    mut tree: Tree,
    made: &mut Vec<PathBuf>,
) -> Result<Option<Tree>, CgroupError> {
    let fresh = match tree.make(made) {
        Err(error) if plan.optional && error.is_permission() => return Ok(None),
        result => result?,
    };
    enable_controllers(&tree.path)?;
    tree.open()?;
    if !fresh {
        super::refuse_reuse(&tree)?;
    }
    Ok(Some(tree))
}

/// Which files of a cgroup belong to who may divide it; hosts without it have those of cgroups(7).
const DELEGATE: &str = "/sys/kernel/cgroup/delegate";

/// Gives the cgroup to a user, with the files that the kernel names for that; limits are not among them. A rootless
/// caller can give it to nobody but himself, whose it is.
pub(super) fn give(tree: &Tree, owner: u32, rootless: bool) -> Result<(), CgroupError> {
    let files = std::fs::read_to_string(DELEGATE);
    let files = files
        .as_deref()
        .unwrap_or("cgroup.procs\ncgroup.subtree_control\ncgroup.threads");
    let owner = Some(Uid::from_raw(owner));
    for name in std::iter::once(".").chain(files.lines()) {
        match chownat(tree.dir()?, name, owner, None, AtFlags::SYMLINK_NOFOLLOW) {
            // Of a controller that the cgroup lacks.
            Ok(()) | Err(Errno::NOENT) => {}
            Err(Errno::PERM) if rootless => return Ok(()),
            Err(errno) => return Err(tree.file_error("change the owner of", name, errno.into())),
        }
    }
    Ok(())
}

/// Whether a process of ours may be moved from our cgroup to `path`: for that the kernel wants a right at the nearest
/// ancestor of both ("Delegation Containment" in cgroup-v2.rst).
pub(super) fn may_move_to(path: &Path) -> Result<bool, CgroupError> {
    let own = mounts::own()?;
    let own = mounts::find(&own, "").unwrap_or(Path::new("/"));
    let own = Path::new(mounts::V2_ROOT).join(own.strip_prefix("/").unwrap_or(own));
    let common = own.ancestors().find(|ancestor| path.starts_with(ancestor));
    let procs = common.unwrap_or(Path::new("/")).join("cgroup.procs");
    Ok(accessat(CWD, &procs, Access::WRITE_OK, AtFlags::EACCESS).is_ok())
}

/// Switches on, from the top down to the parent of `path`, all controllers there are, as runc: a container's
/// statistics need them, limits or not. A controller that cannot be switched on (rootless, threaded
/// ancestors, processes in them) matters only to a setting that needs it, whose write then fails by name.
pub(super) fn enable_controllers(path: &Path) -> Result<(), CgroupError> {
    let root = Path::new(mounts::V2_ROOT);
    let read = |dir: &Path, name: &str| {
        std::fs::read_to_string(dir.join(name)).map_err(|source| CgroupError::Io {
            action: "read",
            path: dir.join(name),
            source,
        })
    };
    let Some(parent) = path.parent() else {
        return Ok(());
    };
    // Mostly all is done: two reads show it.
    let wanted = read(root, "cgroup.controllers")?;
    if missing(&wanted, &read(parent, "cgroup.subtree_control")?).is_empty() {
        return Ok(());
    }
    let mut ancestors: Vec<&Path> = path
        .ancestors()
        .skip(1)
        .take_while(|dir| dir.starts_with(root))
        .collect();
    ancestors.reverse();
    for ancestor in ancestors {
        let available = read(ancestor, "cgroup.controllers")?;
        let missing = missing(&available, &read(ancestor, "cgroup.subtree_control")?);
        if missing.is_empty() {
            continue;
        }
        let dir = file::open_dir(ancestor).map_err(|source| CgroupError::Io {
            action: "open",
            path: ancestor.to_owned(),
            source,
        })?;
        if enable(dir.as_fd(), &missing).is_err() && missing.len() > 1 {
            for controller in missing {
                // One that fails is named when a setting needs it, see above.
                let _ = enable(dir.as_fd(), &[controller]);
            }
        }
    }
    Ok(())
}

fn enable(dir: std::os::fd::BorrowedFd<'_>, controllers: &[&str]) -> io::Result<()> {
    let value: Vec<String> = controllers
        .iter()
        .map(|controller| format!("+{controller}"))
        .collect();
    file::write(dir, "cgroup.subtree_control", &value.join(" "))
}

fn missing<'a>(available: &'a str, enabled: &str) -> Vec<&'a str> {
    available
        .split_whitespace()
        .filter(|controller| !enabled.split_whitespace().any(|name| name == *controller))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_controllers_that_are_off_are_switched_on() {
        assert_eq!(
            missing("cpuset cpu io memory\n", "cpu memory\n"),
            ["cpuset", "io"]
        );
        assert!(missing("cpu\n", "cpu memory\n").is_empty());
    }
}
