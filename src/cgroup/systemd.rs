//! Scopes: the cgroup of a container whose host has systemd in charge of them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rustbus::MessageBuilder;
use rustbus::message_builder::MarshalledMessage;
use rustbus::wire::ObjectPath;
use rustbus::wire::unmarshal::traits::Variant;
use rustix::event::Timespec;
use rustix::fs::{AtFlags, CWD, Timestamps, UTIME_NOW, UTIME_OMIT};

use crate::plan::cgroup::{CgroupMode, CgroupPlan, Location, Setting, expand_slice};

use super::dbus::{Bus, BusError, Serial, Value};
use super::properties::{self, Property};
use super::tree::Pauses;
use super::{Cgroup, CgroupError, locate, mounts, v1, v2};

const SYSTEMD: &str = "org.freedesktop.systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";
const OBJECT: &str = "/org/freedesktop/systemd1";
/// How long systemd may take to see that a scope is empty before it is asked to stop it.
const PATIENCE: Duration = Duration::from_millis(100);
/// The version of systemd that brought CollectMode.
const HAS_COLLECT_MODE: u32 = 236;

/// Where the scope will be, from the root of the tree. A user's systemd is asked where it is itself.
pub(super) fn control_group(location: &Location) -> Result<PathBuf, CgroupError> {
    let Location::Systemd { slice, scope, user } = location else {
        return Ok(PathBuf::from("/"));
    };
    let top = if *user {
        Bus::connect(true)
            .and_then(|mut bus| manager_property(&mut bus, "ControlGroup"))
            .map_err(|source| CgroupError::Systemd {
                action: "lookup",
                unit: scope.clone(),
                source,
            })?
    } else {
        String::new()
    };
    Ok(Path::new("/")
        .join(top.trim_start_matches('/'))
        .join(expand_slice(slice)?)
        .join(scope))
}

/// What is to be done for a scope once there is a process for it, and a talk with systemd about it that has begun.
#[derive(Debug)]
pub(super) struct Pending {
    plan: CgroupPlan,
    bus: Bus,
    /// What is asked for meanwhile: systemd's version, and to be told when the scope is there.
    version: Serial,
    watching: Option<Serial>,
}

impl Pending {
    /// Waits for nothing.
    pub(super) fn begin(plan: &CgroupPlan, scope: &str, user: bool) -> Result<Self, CgroupError> {
        let begun = Bus::connect(user).and_then(|mut bus| {
            let watching = bus.watch_jobs(scope)?;
            let version = ask_property(&mut bus, "Version")?;
            bus.flush()?;
            Ok((bus, watching, version))
        });
        let (bus, watching, version) = begun.map_err(|source| CgroupError::Systemd {
            action: "start",
            unit: scope.to_owned(),
            source,
        })?;
        Ok(Self {
            plan: plan.clone(),
            bus,
            version,
            watching,
        })
    }

    /// Has systemd make the scope with `pid` in it, and waits until it is there.
    fn start(&mut self, pid: i32) -> Result<(), CgroupError> {
        let Location::Systemd { slice, scope, .. } = &self.plan.location else {
            return Ok(());
        };
        let failed = |source| CgroupError::Systemd {
            action: "start",
            unit: scope.clone(),
            source,
        };
        let bus = &mut self.bus;
        if let Some(watching) = self.watching {
            bus.answer(watching).map_err(failed)?;
        }
        let version = bus.answer(self.version).and_then(|answer| property(&answer));
        let version = parse_version(&version.map_err(failed)?);
        let mut unit = scope_properties(self.plan.mode, slice, scope, pid, version);
        // Before the limits, which are the engine's.
        unit.extend(self.plan.properties.iter().map(properties::given));
        unit.extend(properties::of(&self.plan, version));
        let started = match start_unit(bus, scope, &unit) {
            // A failed unit of the same name may be left over: systemd forgets it when told to.
            Err(error) if error.is("UnitExists") => {
                let reset = bus.call(about("ResetFailedUnit", scope).map_err(failed)?);
                unless_missing(reset).map_err(failed)?;
                start_unit(bus, scope, &unit)
            }
            result => result,
        };
        started.map_err(failed)
    }
}

impl Cgroup {
    /// For [`super::Entry::Systemd`]: has systemd make the scope around `pid`, waits until it is there, and sets up
    /// what systemd does not. Otherwise nothing is to be done.
    ///
    /// # Errors
    /// No bus, systemd's refusal, or a setting that cannot be made; the scope is stopped then.
    pub fn attach(&mut self, pid: i32) -> Result<(), CgroupError> {
        let Some(mut pending) = self.pending.take() else {
            return Ok(());
        };
        if let Err(error) = pending.start(pid) {
            // What is there under the name is another's, and not for us to kill or remove.
            self.trees.clear();
            self.location = Location::None;
            return Err(error);
        }
        let set_up = self.adopt(&pending.plan, pid);
        if set_up.is_err() {
            // The first error is the one to report; systemd removes the scope when its process is gone.
            let _ = stop(&self.location);
        }
        set_up
    }

    fn adopt(&mut self, plan: &CgroupPlan, pid: i32) -> Result<(), CgroupError> {
        let own = mounts::parse_cgroup(&mounts::read_proc(&format!("/proc/{pid}/cgroup"))?);
        let managed = match plan.mode {
            CgroupMode::V2 => "",
            CgroupMode::V1 => "name=systemd",
        };
        let path = mounts::find(&own, managed).unwrap_or(Path::new("/"));
        if let Location::Systemd { scope, .. } = &plan.location
            && !path.ends_with(scope)
        {
            return Err(CgroupError::Astray {
                pid,
                unit: scope.clone(),
                path: path.to_owned(),
            });
        }
        let mut trees = locate(plan.mode, path)?;
        for tree in &mut trees {
            if plan.mode == CgroupMode::V2 {
                v2::enable_controllers(&tree.path)?;
                tree.open()?;
            } else {
                // systemd made and entered some of the trees; in those this changes nothing.
                v1::join(tree, pid)?;
            }
        }
        self.trees = trees;
        self.set_up(plan)
    }
}

/// What every scope of ours is, whatever its limits.
fn scope_properties(mode: CgroupMode, slice: &str, scope: &str, pid: i32, version: u32) -> Vec<Property> {
    let io = match mode {
        CgroupMode::V1 => "BlockIOAccounting",
        CgroupMode::V2 => "IOAccounting",
    };
    let name = scope.strip_suffix(".scope").unwrap_or(scope);
    let mut properties = vec![
        ("Description".to_owned(), Value::Text(format!("container {name}"))),
        ("Slice".to_owned(), Value::Text(slice.to_owned())),
        ("PIDs".to_owned(), Value::Pids(vec![pid.cast_unsigned()])),
    ];
    let switches = [
        // What is below is ours and the container's; systemd leaves it alone.
        ("Delegate", true),
        ("MemoryAccounting", true),
        ("CPUAccounting", true),
        (io, true),
        ("TasksAccounting", true),
        ("DefaultDependencies", false),
    ];
    properties.extend(switches.map(|(name, on)| (name.to_owned(), Value::Bool(on))));
    if version >= HAS_COLLECT_MODE {
        // Nothing is left of a scope that failed (out of memory, a timeout), so its name is free again.
        properties.push((
            "CollectMode".to_owned(),
            Value::Text("inactive-or-failed".to_owned()),
        ));
    }
    properties
}

fn start_unit(bus: &mut Bus, scope: &str, unit: &[Property]) -> Result<(), BusError> {
    let no_others: &[(String, &[Property])] = &[];
    let mut message = call("StartTransientUnit");
    message.body.push_param4(scope, "replace", unit, no_others)?;
    let answer = bus.call(message)?;
    let job = answer.body.parser().get::<ObjectPath<&str>>()?;
    bus.wait_job(job.as_ref())
}

/// Tells systemd of new limits of a scope, as far as it has words for them. They hold until the scope ends.
pub(super) fn set(location: &Location, mode: CgroupMode, settings: &[Setting]) -> Result<(), CgroupError> {
    let Location::Systemd { scope, user, .. } = location else {
        return Ok(());
    };
    let set = Bus::connect(*user).and_then(|mut bus| {
        let version = parse_version(&manager_property(&mut bus, "Version")?);
        let properties = properties::limits(mode, settings, version);
        if properties.is_empty() {
            return Ok(());
        }
        let mut message = call("SetUnitProperties");
        // Not beyond a restart of the host: a scope does not live that long.
        let runtime = true;
        message
            .body
            .push_param3(scope.as_str(), runtime, properties.as_slice())?;
        bus.call(message).map(|_| ())
    });
    set.map_err(|source| CgroupError::Systemd {
        action: "update",
        unit: scope.clone(),
        source,
    })
}

/// Has the user's systemd move a process into a scope of its, or to the cgroup at `below` in that. Where it lacks the
/// right itself, it asks the system's, which checks that the process is the user's.
pub(super) fn attach(scope: &str, below: &Path, pid: i32) -> Result<(), CgroupError> {
    let below = match below.as_os_str().is_empty() {
        true => String::new(),
        false => format!("/{}", below.display()),
    };
    let attached = Bus::connect(true).and_then(|mut bus| {
        let mut message = call("AttachProcessesToUnit");
        let pids = [pid.cast_unsigned()];
        message.body.push_param3(scope, below.as_str(), pids.as_slice())?;
        bus.call(message).map(|_| ())
    });
    attached.map_err(|source| CgroupError::Systemd {
        action: "extension",
        unit: scope.to_owned(),
        source,
    })
}

/// Stops the scope, and waits until it is gone. One that is gone already is fine.
pub(super) fn stop(location: &Location) -> Result<(), CgroupError> {
    let Location::Systemd { scope, user, .. } = location else {
        return Ok(());
    };
    let stopped = Bus::connect(*user).and_then(|mut bus| {
        let watching = bus.watch_jobs(scope)?;
        // One that has failed is not stopped, but forgotten.
        let reset = bus.ask(about("ResetFailedUnit", scope)?)?;
        let mut message = call("StopUnit");
        message.body.push_param2(scope.as_str(), "replace")?;
        let stop = bus.ask(message)?;
        watching.map_or(Ok(()), |watching| bus.answer(watching).map(drop))?;
        unless_missing(bus.answer(reset))?;
        match unless_missing(bus.answer(stop))? {
            Some(answer) => bus.wait_job(answer.body.parser().get::<ObjectPath<&str>>()?.as_ref()),
            None => Ok(()),
        }
    });
    stopped.map_err(|source| CgroupError::Systemd {
        action: "stop",
        unit: scope.clone(),
        source,
    })
}

/// Whether systemd ends an empty scope of v2 by itself: it does as soon as it knows, which takes less than a talk over the
/// bus. Waits until it has. Otherwise it is to be asked.
///
/// Looks again and again: nobody tells of a cgroup's removal but inotify(7), of which closing alone takes 20 ms.
pub(super) fn ends_by_itself(scope: &Path) -> bool {
    // The kernel tells systemd of an empty cgroup 10 ms after the last change that it told of (`cgroup_file_notify`), and
    // that may have been the first process's coming. It also looks when the file seems to be written; where we may not do
    // that, it looks later.
    let written_now = Timestamps {
        last_access: Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_OMIT,
        },
        last_modification: Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_NOW,
        },
    };
    let _ = rustix::fs::utimensat(CWD, scope.join("cgroup.events"), &written_now, AtFlags::empty());
    let mut pauses = Pauses::new(PATIENCE);
    while scope.exists() {
        if !pauses.pause() {
            return false;
        }
    }
    true
}

/// A call with a unit's name alone.
fn about(member: &str, unit: &str) -> Result<MarshalledMessage, BusError> {
    let mut message = call(member);
    message.body.push_param(unit)?;
    Ok(message)
}

/// `None` where systemd knows no such unit.
fn unless_missing(
    answer: Result<MarshalledMessage, BusError>,
) -> Result<Option<MarshalledMessage>, BusError> {
    match answer {
        Err(error) if error.is("NoSuchUnit") => Ok(None),
        answer => answer.map(Some),
    }
}

fn manager_property(bus: &mut Bus, name: &str) -> Result<String, BusError> {
    let asked = ask_property(bus, name)?;
    property(&bus.answer(asked)?)
}

fn ask_property(bus: &mut Bus, name: &str) -> Result<Serial, BusError> {
    let mut message = MessageBuilder::new()
        .call("Get")
        .on(OBJECT)
        .with_interface("org.freedesktop.DBus.Properties")
        .at(SYSTEMD)
        .build();
    message.body.push_param2(MANAGER, name)?;
    bus.ask(message)
}

fn property(answer: &MarshalledMessage) -> Result<String, BusError> {
    Ok(answer.body.parser().get::<Variant<'_, '_>>()?.get::<String>()?)
}

fn call(member: &str) -> MarshalledMessage {
    MessageBuilder::new()
        .call(member)
        .on(OBJECT)
        .with_interface(MANAGER)
        .at(SYSTEMD)
        .build()
}

/// The number in `v252.4-1` and its kin; 0 for what has none, so that only the oldest properties are used.
fn parse_version(version: &str) -> u32 {
    let digits = version.trim_start_matches('v');
    let end = digits
        .find(|character: char| !character.is_ascii_digit())
        .unwrap_or(digits.len());
    digits[..end].parse().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_numbers_with_decoration() {
        for (text, version) in [
            ("252.4-1", 252),
            ("v245.4-1.fc32", 245),
            ("262~rc1", 262),
            ("", 0),
        ] {
            assert_eq!(parse_version(text), version, "{text}");
        }
    }

    #[test]
    fn a_system_scope_is_below_its_slice() {
        let location = Location::Systemd {
            slice: "kubepods-pod1.slice".to_owned(),
            scope: "cri-1.scope".to_owned(),
            user: false,
        };
        let path = control_group(&location).unwrap();
        assert_eq!(path, Path::new("/kubepods.slice/kubepods-pod1.slice/cri-1.scope"));
    }
}
