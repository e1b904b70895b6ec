//! How processes get into a cgroup: the container's first one, and those that `exec` adds.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::{Component, Path, PathBuf};

use crate::plan::cgroup::{CgroupMode, CgroupPlan, Location};

use super::tree::{self, Tree};
use super::{Cgroup, CgroupError, file, mounts, systemd, v2};

/// How a new process gets into a cgroup.
#[derive(Debug)]
pub enum Entry {
    /// It is born there: the directory is for `CLONE_INTO_CGROUP`.
    Into(OwnedFd),
    /// It moves itself: the `tasks` file of each v1 tree. On a hybrid host it is also born into the v2 tree.
    Tasks {
        tasks: Vec<OwnedFd>,
        unified: Option<OwnedFd>,
    },
    /// The parent calls [`Cgroup::attach`] before it lets the child go on.
    Systemd,
    /// A user's process that may not cross to the scope itself; the user's systemd has it moved.
    Scope(Scope),
    /// The caller's own cgroup.
    None,
}

/// A cgroup in a scope of the user's systemd.
#[derive(Debug)]
pub struct Scope {
    unit: String,
    /// Below the scope's own; empty for that.
    below: PathBuf,
}

impl Entry {
    /// The directory for clone3(2)'s `CLONE_INTO_CGROUP`, where there is one.
    pub fn clone_into(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::Into(dir) => Some(dir.as_fd()),
            Self::Tasks { unified, .. } => unified.as_ref().map(AsFd::as_fd),
            Self::Systemd | Self::Scope(_) | Self::None => None,
        }
    }

    /// All descriptors that [`Self::move_self`] needs, for who closes the rest.
    pub fn descriptors(&self) -> Vec<RawFd> {
        let tasks = match self {
            Self::Tasks { tasks, .. } => tasks.as_slice(),
            Self::Into(_) | Self::Systemd | Self::Scope(_) | Self::None => &[],
        };
        let dir = self.clone_into().map(|fd| fd.as_raw_fd());
        tasks.iter().map(AsRawFd::as_raw_fd).chain(dir).collect()
    }

    /// The child's part after a clone into [`Self::clone_into`], before it has a second thread: only writes, no
    /// allocation.
    ///
    /// # Errors
    /// What the kernel says to the move.
    pub fn enter(&self) -> io::Result<()> {
        if let Self::Tasks { tasks, .. } = self {
            for tasks in tasks {
                file::write_to(tasks.as_fd(), "0")?;
            }
        }
        Ok(())
    }

    /// The parent's part after the clone, before it lets the child go on: has a process moved that cannot enter by
    /// itself. Otherwise nothing is to be done.
    ///
    /// # Errors
    /// No bus, or systemd's refusal.
    pub fn attach(&self, pid: i32) -> Result<(), CgroupError> {
        match self {
            Self::Scope(scope) => systemd::attach(&scope.unit, &scope.below, pid),
            Self::Into(_) | Self::Tasks { .. } | Self::Systemd | Self::None => Ok(()),
        }
    }

    /// For a process that was made without [`Self::clone_into`]: moves it, with all its threads. On v2 this
    /// waits for the kernel's global lock.
    ///
    /// # Errors
    /// What the kernel or systemd says to the move.
    pub fn move_self(&self) -> io::Result<()> {
        self.attach(std::process::id().cast_signed())
            .map_err(io::Error::other)?;
        if let Some(dir) = self.clone_into() {
            file::write(dir, "cgroup.procs", "0")?;
        }
        self.enter()
    }
}

impl Cgroup {
    /// How a further process gets in: into the cgroup itself, or below it as `exec --cgroup` says: on v2 one
    /// path, on v1 one for all trees or `controller,…:path` for some. `init` is the container's first
    /// process: where the container has made its own cgroup an inner one, which takes no processes (systemd
    /// does on v2), the new process joins it.
    ///
    /// # Errors
    /// A path that leads out of the container's cgroup or that is not there.
    pub fn entry_for_exec(&self, subs: &[String], init: i32) -> Result<Entry, CgroupError> {
        for sub in subs {
            let named = sub.split_once(':').map_or("", |(controllers, _)| controllers);
            let known = |name: &str| name.is_empty() || self.trees.iter().any(|tree| tree.has(name));
            if !named.split(',').all(known) {
                return Err(CgroupError::SubCgroup {
                    argument: sub.clone(),
                    reason: "unknown controller before the colon",
                });
            }
        }
        let mut trees = Vec::with_capacity(self.trees.len());
        for tree in &self.trees {
            let path = match sub_path(subs, tree)? {
                Some(sub) => tree.path.join(sub),
                None => tree.path.clone(),
            };
            trees.push(Tree::new(tree.controllers.clone(), path, tree.unified));
        }
        if subs.is_empty() && self.mode == CgroupMode::V2 {
            for tree in &mut trees {
                follow_init(tree, init)?;
            }
        }
        match self.scope_to_ask_for(&trees)? {
            Some(scope) => Ok(Entry::Scope(scope)),
            None => {
                for tree in &mut trees {
                    tree.open().map_err(join_error)?;
                }
                of(&mut trees, self.mode)
            }
        }
    }

    /// The scope that a process of ours may only get into with systemd's help: as a user's process that is not below
    /// the user's systemd, but in a session's scope or a service of the system.
    fn scope_to_ask_for(&self, trees: &[Tree]) -> Result<Option<Scope>, CgroupError> {
        let (
            Location::Systemd {
                scope, user: true, ..
            },
            [own],
            [tree],
        ) = (&self.location, self.trees.as_slice(), trees)
        else {
            return Ok(None);
        };
        if v2::may_move_to(&tree.path)? {
            return Ok(None);
        }
        let below = tree.path.strip_prefix(&own.path).unwrap_or(Path::new(""));
        Ok(Some(Scope {
            unit: scope.clone(),
            below: below.to_owned(),
        }))
    }
}

impl Cgroup {
    /// Moves the container's first process, which is in the cgroup, to the one below that its plan delegates, made
    /// for it; that one gets every controller that the container's has, and root of the container's user namespace as
    /// its owner. What the cgroup's limits are holds for it as well, and its files of limits stay root's.
    ///
    /// # Errors
    /// A directory that cannot be made or given away, or a process that cannot be moved.
    pub fn delegate(&self, plan: &CgroupPlan, pid: i32) -> Result<(), CgroupError> {
        let Some(below) = &plan.delegate else {
            return Ok(());
        };
        let tree = self.tree("").ok_or(CgroupError::NoTree { verb: "delegate" })?;
        let path = tree.path.join(below);
        // With the cgroup goes all that is below it.
        tree::make(&path, &mut Vec::new())?;
        let mut delegated = Tree::new(tree.controllers.clone(), path, tree.unified);
        let moved = file::write(delegated.open()?, "cgroup.procs", &pid.to_string());
        moved.map_err(|source| delegated.error("move the process to", source))?;
        // Now: a cgroup with processes in it passes no controllers on.
        v2::enable_controllers(&delegated.path)?;
        plan.delegate_owner
            .map_or(Ok(()), |owner| v2::give(&delegated, owner, plan.rootless))
    }
}

/// For `exec`, a cgroup that cannot be opened is one that cannot be joined.
fn join_error(error: CgroupError) -> CgroupError {
    match error {
        CgroupError::Io { path, source, .. } => CgroupError::Join { path, source },
        other => other,
    }
}

/// Opens what an entry needs.
pub(super) fn of(trees: &mut [Tree], mode: CgroupMode) -> Result<Entry, CgroupError> {
    let mut tasks = Vec::with_capacity(trees.len());
    let mut unified = None;
    for tree in trees {
        tree.open()?;
        let dir = tree.dir()?;
        if tree.unified {
            let dir = dir
                .try_clone_to_owned()
                .map_err(|source| tree.error("open", source))?;
            unified = Some(dir);
        } else {
            let opened = file::open_write(dir, "tasks");
            tasks.push(opened.map_err(|source| tree.file_error("open", "tasks", source))?);
        }
    }
    Ok(match (mode, unified) {
        (CgroupMode::V2, Some(dir)) => Entry::Into(dir),
        (CgroupMode::V2, None) => Entry::None,
        (CgroupMode::V1, None) if tasks.is_empty() => Entry::None,
        (CgroupMode::V1, unified) => Entry::Tasks { tasks, unified },
    })
}

/// The path below the container's cgroup that `exec --cgroup` gives for this tree.
pub(super) fn sub_path<'a>(subs: &'a [String], tree: &Tree) -> Result<Option<&'a Path>, CgroupError> {
    for sub in subs {
        let refuse = |reason| CgroupError::SubCgroup {
            argument: sub.clone(),
            reason,
        };
        let path = match sub.split_once(':') {
            Some((controllers, path)) => {
                if controllers.split(',').any(str::is_empty) {
                    return Err(refuse("it names no controller before the colon"));
                }
                if !controllers.split(',').any(|controller| tree.has(controller)) {
                    continue;
                }
                path
            }
            None if subs.len() > 1 => return Err(refuse("more than one needs a controller before each")),
            None => sub.as_str(),
        };
        let path = path.trim_start_matches('/');
        if Path::new(path)
            .components()
            .any(|component| !matches!(component, Component::Normal(_)))
        {
            return Err(refuse("it leads out of the container's cgroup"));
        }
        return Ok(Some(Path::new(path)));
    }
    Ok(None)
}

/// Moves the directory to the cgroup of `init` where the container's own has controllers for those below:
/// then it takes no processes ("no internal processes", cgroups(7)).
fn follow_init(tree: &mut Tree, init: i32) -> Result<(), CgroupError> {
    let control = file::read(tree.open()?, "cgroup.subtree_control")
        .map_err(|source| tree.file_error("read", "cgroup.subtree_control", source))?;
    if control.trim().is_empty() {
        return Ok(());
    }
    let own = mounts::parse_cgroup(&mounts::read_proc(&format!("/proc/{init}/cgroup"))?);
    let path = mounts::find(&own, "").unwrap_or(Path::new("/"));
    let below = v2::locate(path)?;
    if below.path.starts_with(&tree.path) {
        *tree = below;
    }
    Ok(())
}
