//! Control groups: which there are, which of them are ours to use, and who makes them.

use std::path::{Path, PathBuf};

use super::{Check, Surroundings, Verdict, check};
use crate::sys::mountinfo;

const AREA: &str = "cgroups";

pub(super) const CHECKS: &[Check] = &[
    check(AREA, "tree", tree),
    check(AREA, "controllers", controllers),
    check(AREA, "own cgroup", own),
    check(AREA, "systemd", systemd),
    check(AREA, "swap limit", swap),
    check(AREA, "freezer", freezer),
];

const TOP: &str = "/sys/fs/cgroup";

/// What engines limit by default or by their usual flags.
const WANTED: [&str; 5] = ["cpu", "cpuset", "io", "memory", "pids"];

fn read(path: impl AsRef<Path>) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

/// Every hierarchy of cgroup v1 that is mounted: its place and its controllers.
fn hierarchies() -> Vec<(PathBuf, Vec<String>)> {
    let table = read("/proc/self/mountinfo");
    mountinfo::lines(&table)
        .filter(|line| line.fstype == "cgroup")
        .map(|line| (line.point, line.options.split(',').map(str::to_owned).collect()))
        .collect()
}

fn tree(here: &Surroundings) -> Option<Verdict> {
    let v1 = hierarchies();
    Some(match (here.host.unified_cgroup(), v1.is_empty()) {
        (true, _) => Verdict::ok("cgroup v2"),
        (false, false) => {
            let hybrid = read("/proc/self/mountinfo")
                .lines()
                .any(|line| line.contains(" - cgroup2 "));
            let found = if hybrid {
                "cgroup v1 with a tree of v2 (hybrid)"
            } else {
                "cgroup v1"
            };
            match here.host.rootless() {
                false => Verdict::ok(found),
                true => Verdict::limited(
                    found,
                    "users other than root have no limits, pause or statistics",
                    "boot with systemd.unified_cgroup_hierarchy=1",
                ),
            }
        }
        (false, true) => Verdict::limited(
            format!("no cgroups at {TOP}"),
            "containers have no limits, and pause, ps and update do not work",
            format!("mount -t cgroup2 none {TOP}"),
        ),
    })
}

fn controllers(here: &Surroundings) -> Option<Verdict> {
    let there: Vec<String> = if here.host.unified_cgroup() {
        read(Path::new(TOP).join("cgroup.controllers"))
            .split_whitespace()
            .map(str::to_owned)
            .collect()
    } else {
        hierarchies().into_iter().flat_map(|(_, names)| names).collect()
    };
    // v1 has another name for it.
    let is_there = |name: &str| {
        there
            .iter()
            .any(|own| own == name || (name == "io" && own == "blkio"))
    };
    let lacking: Vec<&str> = WANTED.into_iter().filter(|name| !is_there(name)).collect();
    Some(if lacking.is_empty() {
        Verdict::ok(WANTED.join(", "))
    } else {
        Verdict::limited(
            format!("without {}", lacking.join(", ")),
            "containers with limits of these kinds do not start",
            "boot without cgroup_disable=; on some boards cgroup_enable=memory is needed; the kernel must be built with them",
        )
    })
}

/// The cgroup of v2 that we are in, if there is one in sight.
fn own_group() -> Option<PathBuf> {
    let text = read("/proc/self/cgroup");
    let path = text.lines().find_map(|line| line.strip_prefix("0::"))?;
    let group = Path::new(TOP).join(path.trim_start_matches('/'));
    group.is_dir().then_some(group)
}

/// The cgroup of the calling user's own systemd, in which it makes scopes for his containers (user@.service(5)).
fn user_s_group(here: &Surroundings) -> Option<PathBuf> {
    let id = here.host.euid;
    let group = Path::new(TOP).join(format!("user.slice/user-{id}.slice/user@{id}.service"));
    (here.host.systemd() && group.is_dir()).then_some(group)
}

/// Whether a user's containers can be given cgroups (cgroups(7), delegation), and how many processes there may be.
fn own(here: &Surroundings) -> Option<Verdict> {
    if !here.host.unified_cgroup() {
        return None;
    }
    let group = own_group()?;
    let most = read(group.join("pids.max"));
    let few = most.trim().parse::<u64>().is_ok_and(|most| most < 200);
    if few {
        return Some(Verdict::limited(
            format!("at most {} processes in {}", most.trim(), group.display()),
            "containers that are made below it have no more either",
            "raise TasksMax= of the unit that the engine runs in",
        ));
    }
    if !here.host.rootless() {
        return Some(Verdict::ok(group.display().to_string()));
    }
    // A scope of the user's systemd is no child of the session that we are in.
    let systemd = user_s_group(here);
    let group = systemd.clone().unwrap_or(group);
    let how = if systemd.is_some() {
        ", with --systemd-cgroup"
    } else {
        ""
    };
    let writable = rustix::fs::access(&group, rustix::fs::Access::WRITE_OK).is_ok();
    let delegated = read(group.join("cgroup.controllers"));
    let lacking: Vec<&str> = WANTED
        .into_iter()
        .filter(|name| !delegated.split_whitespace().any(|own| own == *name))
        .collect();
    Some(if writable && lacking.is_empty() {
        Verdict::ok(format!("{} is ours{how}", group.display()))
    } else {
        Verdict::limited(
            match writable {
                true => format!(
                    "{} is ours{how}, but without {}",
                    group.display(),
                    lacking.join(", ")
                ),
                false => format!("{} is not ours", group.display()),
            },
            "limits need --systemd-cgroup, and work for delegated controllers only",
            "a login session, and Delegate=cpu cpuset io memory pids in user@.service",
        )
    })
}

fn systemd(here: &Surroundings) -> Option<Verdict> {
    if !here.host.systemd() {
        return Some(Verdict::ok(
            "not the init of this host: --systemd-cgroup cannot be used, and engines use cgroupfs",
        ));
    }
    let user = here.host.rootless();
    Some(match crate::cgroup::bus_answers(user) {
        Ok(()) => Verdict::ok("answers"),
        Err(error) => Verdict::limited(
            crate::process::chain(&error),
            "--systemd-cgroup, which Docker and Kubernetes use on such a host, does not work",
            match user {
                true => "the package dbus-user-session, and a login session",
                false => "the package dbus",
            },
        ),
    })
}

/// What there is at the top of the one tree, and below that: in a cgroup namespace the top is a group like others,
/// while the root of all has hardly any files.
fn first_groups() -> Vec<PathBuf> {
    let below = std::fs::read_dir(TOP).into_iter().flatten().flatten();
    let below = below
        .map(|entry| entry.path())
        .filter(|path| path.join("cgroup.procs").exists());
    std::iter::once(PathBuf::from(TOP)).chain(below).collect()
}

fn swap(here: &Surroundings) -> Option<Verdict> {
    let there = if here.host.unified_cgroup() {
        let mut groups = first_groups();
        groups.retain(|group| group.join("memory.max").exists());
        groups.first()?;
        groups.iter().any(|group| group.join("memory.swap.max").exists())
    } else {
        let (place, _) = hierarchies()
            .into_iter()
            .find(|(_, names)| names.iter().any(|name| name == "memory"))?;
        place.join("memory.memsw.limit_in_bytes").exists()
    };
    Some(if there {
        Verdict::ok("is counted")
    } else {
        Verdict::limited(
            "is not counted",
            "containers with --memory-swap do not start, and a memory limit does not hold for swap",
            "boot with swapaccount=1; the kernel needs CONFIG_SWAP",
        )
    })
}

/// By which containers are paused, and on v1 killed without loss.
fn freezer(here: &Surroundings) -> Option<Verdict> {
    let there = if here.host.unified_cgroup() {
        let groups = first_groups();
        let there = groups.iter().any(|group| group.join("cgroup.freeze").exists());
        // The root of all alone tells nothing.
        if !there && groups.len() == 1 {
            return None;
        }
        there
    } else {
        hierarchies()
            .iter()
            .any(|(_, names)| names.iter().any(|name| name == "freezer"))
    };
    Some(if there {
        Verdict::ok("there")
    } else {
        Verdict::limited(
            "not there",
            "pause and resume do not work",
            "the kernel's CONFIG_CGROUP_FREEZER; on v2 Linux 5.2",
        )
    })
}
