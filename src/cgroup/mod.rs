//! The container's cgroup: made, entered, limited, frozen, killed and removed as its plan says.
//!
//! ```text
//! locate(plan) ──> make(plan) ──> entry() ──> clone ──> [attach(pid): systemd only]
//!    │                │ directories, settings, device filter before any process is in
//!    │                └─ on failure removes what it made
//!    └─ placement() ──> state
//! open(placement) ──> processes, signal_all, kill_and_wait, freeze, thaw, entry_for_exec, remove,
//!                     stats, watch_oom, present ──> update [──> restore]
//! ```
//!
//! A process gets in without the kernel's global thread-group lock, on which a write of its pid into
//! `cgroup.procs` may wait for 10 ms: on v2 it is born there (`CLONE_INTO_CGROUP`), on v1 the child, still
//! of one thread, writes "0" into each tree's `tasks`. systemd moves processes itself, so a scope pays.
//!
//! A cgroup namespace has its root where the process is when it is made, and clone3(2) makes it from the
//! *parent's* cgroup, also under `CLONE_INTO_CGROUP`. So the child unshares it, after it has entered.
//!
//! This room decides nothing about limits; that is [`crate::plan::cgroup`]'s.

mod dbus;
mod devices;
mod entry;
mod error;
mod file;
mod freeze;
mod kill;
mod mounts;
mod oom;
mod properties;
mod room;
mod stats;
mod systemd;
#[cfg(test)]
mod tests;
mod tree;
mod update;
mod v1;
mod v2;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::plan::cgroup::{CgroupMode, CgroupPlan, Location, Placement, Setting};

pub use dbus::BusError;
pub use entry::Entry;
pub use error::CgroupError;
pub use oom::{Notice, OomWatch};
pub use room::Room;
pub use stats::Stats;
use systemd::Pending;
use tree::Tree;

/// Whether systemd can be asked for cgroups: the host's, or that of the calling user.
///
/// # Errors
/// Why its bus does not answer.
pub fn bus_answers(user: bool) -> Result<(), BusError> {
    dbus::Bus::connect(user)?.greet()
}

/// A container's cgroup in all trees of the host.
#[derive(Debug)]
pub struct Cgroup {
    mode: CgroupMode,
    location: Location,
    trees: Vec<Tree>,
    /// What `create` made, parents first.
    made: Vec<PathBuf>,
    /// What `attach` has to do yet: systemd needs a process for a scope.
    pending: Option<Pending>,
}

impl Cgroup {
    /// [`Self::locate`] and [`Self::make`] in one.
    ///
    /// # Errors
    /// As those.
    pub fn create(plan: &CgroupPlan) -> Result<Self, CgroupError> {
        let mut cgroup = Self::locate(plan)?;
        cgroup.make(plan)?;
        Ok(cgroup)
    }

    /// Finds where the plan's cgroup is to be, without making anything: its [`Self::placement`] is what whoever
    /// cleans up after a killed creator must know beforehand.
    ///
    /// # Errors
    /// No cgroup file system, or a systemd that cannot be reached.
    pub fn locate(plan: &CgroupPlan) -> Result<Self, CgroupError> {
        let (trees, pending) = match &plan.location {
            Location::Cgroupfs { path } => (locate(plan.mode, path)?, None),
            Location::Systemd { scope, user, .. } => (
                locate(plan.mode, &systemd::control_group(&plan.location)?)?,
                Some(Pending::begin(plan, scope, *user)?),
            ),
            Location::None => (Vec::new(), None),
        };
        Ok(Self {
            mode: plan.mode,
            location: plan.location.clone(),
            trees,
            made: Vec::new(),
            pending,
        })
    }

    /// Makes a located cgroup and sets it up, so that its first process is limited from its first instruction.
    /// For a systemd scope nothing can be done before [`Self::attach`] but to look whether somebody is there.
    ///
    /// # Errors
    /// No right to make it, a cgroup in use, a setting that cannot be made (its property is named). What was
    /// made is removed again.
    pub fn make(&mut self, plan: &CgroupPlan) -> Result<(), CgroupError> {
        if !matches!(plan.location, Location::Cgroupfs { .. }) {
            return self.trees.iter().try_for_each(refuse_reuse);
        }
        let made = self.make_trees(plan);
        if made.is_err() {
            // The first error is the one to report; this is what can be done about it.
            let _ = self.discard();
        }
        made
    }

    fn make_trees(&mut self, plan: &CgroupPlan) -> Result<(), CgroupError> {
        self.make_directories(plan)
            .map_err(|error| match plan.settings.first() {
                Some(setting) if plan.rootless && error.is_permission() => CgroupError::NotAllowed {
                    what: setting.file.split('.').next().unwrap_or_default().to_owned(),
                    property: setting.property.clone(),
                    source: Box::new(error),
                },
                _ => error,
            })?;
        if self.trees.is_empty() && plan.settings.is_empty() {
            // The caller may not make one. That is fine where nothing was asked of it, and only there.
            self.location = Location::None;
            return Ok(());
        }
        self.set_up(plan)
    }

    fn make_directories(&mut self, plan: &CgroupPlan) -> Result<(), CgroupError> {
        let located = std::mem::take(&mut self.trees);
        match plan.mode {
            CgroupMode::V1 => self.trees = v1::make(plan, located, &mut self.made)?,
            CgroupMode::V2 => {
                for tree in located {
                    self.trees.extend(v2::make(plan, tree, &mut self.made)?);
                }
            }
        }
        Ok(())
    }

    fn set_up(&self, plan: &CgroupPlan) -> Result<(), CgroupError> {
        self.apply(&plan.settings)?;
        if let (Some(owner), Some(tree)) = (plan.owner, self.tree("")) {
            v2::give(tree, owner, plan.rootless)?;
        }
        let Some(rules) = &plan.devices else { return Ok(()) };
        match plan.mode {
            CgroupMode::V2 => match self.trees.first() {
                Some(tree) => devices::apply_v2(tree.dir()?, &tree.path, rules, plan.rootless),
                None => Ok(()),
            },
            CgroupMode::V1 => match self.tree("devices") {
                Some(tree) => devices::apply_v1(tree.dir()?, &tree.path, rules, plan.rootless),
                None if plan.rootless => Ok(()),
                None => Err(CgroupError::NoDevices),
            },
        }
    }

    /// Writes settings, in order. Some values bound each other (a limit and memsw, a quota and its period),
    /// and which must come first depends on the old ones: what the kernel calls invalid is tried once more
    /// after the others.
    ///
    /// # Errors
    /// The first setting that cannot be made, by its property.
    pub fn apply(&self, settings: &[Setting]) -> Result<(), CgroupError> {
        let mut again = Vec::new();
        for setting in settings {
            let Some(tree) = self.tree(&setting.controller) else {
                return Err(CgroupError::NoController {
                    property: setting.property.clone(),
                    controller: setting.controller.clone(),
                });
            };
            match tree.write(setting) {
                Err(CgroupError::Setting { source, .. }) if source.raw_os_error() == Some(libc::EINVAL) => {
                    again.push((tree, setting));
                }
                result => result?,
            }
        }
        again
            .into_iter()
            .try_for_each(|(tree, setting)| tree.write(setting))
    }

    /// The cgroup of a stored container. Reads nothing yet.
    pub fn open(placement: &Placement) -> Self {
        let mut trees: Vec<Tree> = Vec::new();
        for (controller, path) in &placement.paths {
            match trees.iter_mut().find(|tree| tree.path == *path) {
                Some(tree) => tree.controllers.push(controller.clone()),
                None => trees.push(Tree::new(
                    vec![controller.clone()],
                    path.clone(),
                    controller.is_empty(),
                )),
            }
        }
        Self {
            mode: placement.mode,
            location: placement.location.clone(),
            trees,
            made: Vec::new(),
            pending: None,
        }
    }

    /// What the state keeps.
    pub fn placement(&self) -> Placement {
        let mut paths = BTreeMap::new();
        for tree in &self.trees {
            for controller in &tree.controllers {
                paths.insert(controller.clone(), tree.path.clone());
            }
        }
        Placement {
            mode: self.mode,
            location: self.location.clone(),
            paths,
        }
    }

    /// Whether [`Self::attach`] has something to do, which takes its time.
    pub fn is_attached_later(&self) -> bool {
        self.pending.is_some()
    }

    /// How the container's first process gets in.
    ///
    /// # Errors
    /// A file of the cgroup that cannot be opened.
    pub fn entry(&mut self) -> Result<Entry, CgroupError> {
        if self.pending.is_some() {
            return Ok(Entry::Systemd);
        }
        entry::of(&mut self.trees, self.mode)
    }

    /// All processes in it and below, as this process's pid namespace numbers them.
    ///
    /// # Errors
    /// A listing that cannot be read.
    pub fn processes(&self) -> Result<Vec<i32>, CgroupError> {
        self.listing().map_or(Ok(Vec::new()), Tree::processes)
    }

    /// Whether no process is in it or below.
    ///
    /// # Errors
    /// As [`Self::processes`].
    pub fn is_empty(&self) -> Result<bool, CgroupError> {
        self.listing().map_or(Ok(true), Tree::is_empty)
    }

    /// Sends a signal, by number, to all processes; SIGKILL also ends frozen ones.
    ///
    /// # Errors
    /// A process that may not be signalled, or a cgroup that cannot be frozen for it.
    pub fn signal_all(&self, signal: i32) -> Result<(), CgroupError> {
        let list = self.listing().ok_or(CgroupError::NoTree { verb: "signal" })?;
        kill::signal(list, self.freezer(), signal)
    }

    /// Kills all processes and waits, without polling, until they are gone. Without a cgroup there is
    /// nothing that could be found.
    ///
    /// # Errors
    /// A process that does not die.
    pub fn kill_and_wait(&self) -> Result<(), CgroupError> {
        self.listing()
            .map_or(Ok(()), |list| kill::kill_and_wait(list, self.freezer()))
    }

    /// Stops all processes where they are, and returns when they are.
    ///
    /// # Errors
    /// No freezer, or processes that it cannot stop.
    pub fn freeze(&self) -> Result<(), CgroupError> {
        freeze::freeze(self.freezer().ok_or(CgroupError::NoTree { verb: "freeze" })?)
    }

    /// # Errors
    /// No freezer.
    pub fn thaw(&self) -> Result<(), CgroupError> {
        freeze::thaw(self.freezer().ok_or(CgroupError::NoTree { verb: "thaw" })?)
    }

    /// Whether it is frozen; a container without a freezer never is.
    ///
    /// # Errors
    /// A state that cannot be read.
    pub fn is_frozen(&self) -> Result<bool, CgroupError> {
        self.freezer().map_or(Ok(false), freeze::is_frozen)
    }

    /// How many processes the kernel has killed here for want of memory; 0 where it does not count.
    ///
    /// # Errors
    /// A count that cannot be read.
    pub fn oom_kills(&self) -> Result<u64, CgroupError> {
        let (tree, name) = match self.mode {
            CgroupMode::V1 => (self.tree("memory"), "memory.oom_control"),
            CgroupMode::V2 => (self.tree(""), "memory.events"),
        };
        let Some(tree) = tree else { return Ok(0) };
        match std::fs::read_to_string(tree.path.join(name)) {
            Ok(text) => Ok(file::keyed(&text, "oom_kill").unwrap_or(0)),
            Err(error) if tree::is_gone(&error) => Ok(0),
            Err(source) => Err(tree.file_error("read", name, source)),
        }
    }

    /// The memory limit in bytes that is in force, whoever set it last; `None` where there is none.
    ///
    /// # Errors
    /// A limit that cannot be read.
    pub fn memory_limit(&self) -> Result<Option<u64>, CgroupError> {
        let (tree, name) = match self.mode {
            CgroupMode::V1 => (self.tree("memory"), "memory.limit_in_bytes"),
            CgroupMode::V2 => (self.tree(""), "memory.max"),
        };
        let Some(tree) = tree else { return Ok(None) };
        match std::fs::read_to_string(tree.path.join(name)) {
            Ok(text) => Ok(file::limit(&text)),
            // No memory controller, or no cgroup any more.
            Err(error) if tree::is_gone(&error) => Ok(None),
            Err(source) => Err(tree.file_error("read", name, source)),
        }
    }

    /// Removes it, with all that the container made below, in every tree. Missing is fine.
    ///
    /// # Errors
    /// Processes that are still in it after some seconds, or no right. Other trees are removed all the same.
    pub fn remove(&self) -> Result<(), CgroupError> {
        let stopped = match &self.location {
            Location::Systemd { .. } => self.ends_by_itself().and_then(|ends| match ends {
                true => Ok(()),
                false => systemd::stop(&self.location),
            }),
            Location::Cgroupfs { .. } | Location::None => Ok(()),
        };
        let mut first = Ok(());
        for tree in self.own() {
            let removed = tree.remove();
            if first.is_ok() {
                first = removed;
            }
        }
        first.and(stopped)
    }

    /// Whether the scope has ended, or does so without being asked, as it does with its last process; with it goes its
    /// directory. On v1 systemd may not notice.
    fn ends_by_itself(&self) -> Result<bool, CgroupError> {
        let Some(tree) = self.listing() else {
            return Ok(true);
        };
        if self.mode == CgroupMode::V1 || !tree.is_empty()? {
            return Ok(!tree.path.exists());
        }
        Ok(systemd::ends_by_itself(&tree.path))
    }

    /// [`Self::remove`], and the parents that [`Self::create`] made with it: for a container that comes to
    /// nothing.
    ///
    /// # Errors
    /// As [`Self::remove`]. Parents that another container uses by now are left to it.
    pub fn discard(&mut self) -> Result<(), CgroupError> {
        let removed = self.remove();
        for path in std::mem::take(&mut self.made).iter().rev() {
            // Busy means used by someone else by now; anything else has shown above.
            let _ = tree::rmdir(path);
        }
        removed
    }

    /// The directories that are the container's. Where a scope is only expected, another's may be.
    fn own(&self) -> &[Tree] {
        if self.pending.is_some() { &[] } else { &self.trees }
    }

    fn tree(&self, controller: &str) -> Option<&Tree> {
        self.own().iter().find(|tree| tree.has(controller))
    }

    /// The tree that lists the container's processes.
    fn listing(&self) -> Option<&Tree> {
        match self.mode {
            CgroupMode::V2 => self.own().first(),
            CgroupMode::V1 => self
                .tree("devices")
                .or_else(|| self.tree("pids"))
                .or_else(|| self.own().first()),
        }
    }

    fn freezer(&self) -> Option<&Tree> {
        match self.mode {
            CgroupMode::V2 => self.own().first(),
            CgroupMode::V1 => self.tree("freezer"),
        }
    }
}

fn locate(mode: CgroupMode, path: &Path) -> Result<Vec<Tree>, CgroupError> {
    match mode {
        CgroupMode::V1 => v1::locate(path),
        CgroupMode::V2 => Ok(vec![v2::locate(path)?]),
    }
}

/// A cgroup that was there before us may be taken over if nobody lives in it, as runc.
fn refuse_reuse(tree: &Tree) -> Result<(), CgroupError> {
    let processes = tree.processes()?;
    if !processes.is_empty() {
        return Err(CgroupError::InUse {
            path: tree.path.clone(),
            processes,
        });
    }
    let can_freeze = tree.unified || tree.has("freezer");
    if can_freeze && freeze::is_frozen(tree)? {
        return Err(CgroupError::Frozen {
            path: tree.path.clone(),
        });
    }
    Ok(())
}
