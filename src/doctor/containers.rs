//! What only a container can tell: each check runs one, by our own program, that asks for one thing more than the
//! example of `wrun spec`.

use std::path::Path;

use serde_json::{Value, json};

use super::{Check, Surroundings, Verdict, check};
use crate::trial::{self, Guest, TrialError};

pub(super) const AREA: &str = "containers";
/// The check without which the others of this area mean nothing.
pub(super) const NATIVE: &str = "native";

pub(super) const CHECKS: &[Check] = &[
    check(AREA, NATIVE, native),
    check(AREA, "Wasm", wasm),
    check(AREA, "memory limit", |here| {
        limit(here, "memory", json!({ "memory": { "limit": 100_000_000 } }))
    }),
    check(AREA, "CPU limit", |here| {
        limit(
            here,
            "cpu",
            json!({ "cpu": { "quota": 50_000, "period": 100_000 } }),
        )
    }),
    check(AREA, "CPU set", |here| {
        limit(here, "cpuset", json!({ "cpu": { "cpus": first_cpu() } }))
    }),
    check(AREA, "process limit", |here| {
        limit(here, "pids", json!({ "pids": { "limit": 20 } }))
    }),
    check(AREA, "user namespace", user_namespace),
    check(AREA, "time namespace", time_namespace),
    check(AREA, "id-mapped mounts", id_mapped_mounts),
    check(AREA, "seccomp", seccomp),
    check(AREA, "raised limits", raised_limits),
];

/// Runs the native program in a container that `edit` has changed.
fn tried(here: &Surroundings, edit: impl FnOnce(&mut Value, &Path)) -> Result<(), String> {
    trial::run_with(&here.program, Guest::Native, &here.host, &[], edit).map_err(reason_of)
}

/// Why it did not run, without what the error says besides.
fn reason_of(error: TrialError) -> String {
    match error {
        TrialError::Failed { reason, .. } => reason,
        other => crate::process::chain(&other),
    }
}

fn native(here: &Surroundings) -> Option<Verdict> {
    Some(match trial::run(&here.program, Guest::Native, &here.host) {
        Ok(()) => Verdict::ok("a container has run"),
        // Which says nothing of containers.
        Err(error @ TrialError::Prepare { .. }) => Verdict::limited(
            crate::process::chain(&error),
            "what containers may ask for was not tried",
            "TMPDIR of a directory where the caller may write and execute programs",
        ),
        Err(error) => Verdict::missing(
            reason_of(error),
            "no container runs",
            "see what else is missing or limited below",
        ),
    })
}

fn wasm(here: &Surroundings) -> Option<Verdict> {
    Some(
        match trial::run(&here.program, Guest::Wasm, &here.host).map_err(reason_of) {
            Ok(()) => Verdict::ok("a container has run"),
            Err(reason) => Verdict::missing(
                reason,
                "no Wasm container runs",
                "see the cache of compiled code below: it must be on a file system without noexec, and SELinux must allow \
             execmem",
            ),
        },
    )
}

fn limit(here: &Surroundings, controller: &str, resources: Value) -> Option<Verdict> {
    // A user can only have them of his own systemd.
    let user_s = here.host.rootless() && here.host.unified_cgroup() && here.host.systemd();
    let options: &[&str] = if user_s { &["--systemd-cgroup"] } else { &[] };
    let result = trial::run_with(&here.program, Guest::Native, &here.host, options, |config, _| {
        config["linux"]["resources"] = resources;
    });
    Some(match result.map_err(reason_of) {
        Ok(()) if user_s => Verdict::ok("a container with one has run, with --systemd-cgroup"),
        Ok(()) => Verdict::ok("a container with one has run"),
        Err(reason) => Verdict::limited(
            reason,
            "containers with this limit do not start",
            match here.host.rootless() {
                true => format!(
                    "have systemd delegate the controller {controller}: Delegate=yes for user@.service, cgroup v2, \
                     and a login session"
                ),
                false => format!("mount the cgroup controller {controller}, or boot with cgroup v2"),
            },
        ),
    })
}

/// A CPU that we may run on ourselves.
fn first_cpu() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let list = status
        .lines()
        .find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    let first = list.and_then(|list| list.trim().split(['-', ',']).next());
    first.unwrap_or("0").to_owned()
}

fn user_namespace(here: &Surroundings) -> Option<Verdict> {
    // Without root the first container had one already; what may be missing is a range of ids.
    if here.host.rootless() {
        return None;
    }
    let result = tried(here, |config, _| map_ids(config));
    Some(match result {
        Ok(()) => Verdict::ok("a container with mapped ids has run"),
        Err(reason) => Verdict::limited(
            reason,
            "containers with a user namespace do not run (userns-remap, --userns, hostUsers: false)",
            "sysctl user.max_user_namespaces must not be 0, and the kernel needs CONFIG_USER_NS",
        ),
    })
}

fn map_ids(config: &mut Value) {
    let map = json!([{ "containerID": 0, "hostID": 100_000, "size": 65_536 }]);
    config["linux"]["uidMappings"] = map.clone();
    config["linux"]["gidMappings"] = map;
    add_namespace(config, "user");
}

fn add_namespace(config: &mut Value, kind: &str) {
    if let Some(namespaces) = config["linux"]["namespaces"].as_array_mut() {
        namespaces.push(json!({ "type": kind }));
    }
}

fn time_namespace(here: &Surroundings) -> Option<Verdict> {
    Some(match tried(here, |config, _| add_namespace(config, "time")) {
        Ok(()) => Verdict::ok("a container with one has run"),
        Err(reason) => Verdict::limited(
            reason,
            "containers with a time namespace do not run, which Docker 29.5 asks for",
            "Linux 5.6 with CONFIG_TIME_NS",
        ),
    })
}

fn id_mapped_mounts(here: &Surroundings) -> Option<Verdict> {
    // The kernel wants CAP_SYS_ADMIN over the file system.
    if here.host.rootless() {
        return None;
    }
    let mut place = String::new();
    let result = tried(here, |config, bundle| {
        place = bundle.parent().unwrap_or(bundle).display().to_string();
        let map = json!([{ "containerID": 0, "hostID": 100_000, "size": 65_536 }]);
        let mount = json!({
            "destination": "/mapped", "type": "bind", "source": bundle.join("rootfs"), "options": ["bind"],
            "uidMappings": map, "gidMappings": map
        });
        config["mounts"]
            .as_array_mut()
            .into_iter()
            .for_each(|mounts| mounts.push(mount.clone()));
    });
    Some(match result {
        Ok(()) => Verdict::ok(format!("work in {place}")),
        Err(reason) => Verdict::limited(
            reason,
            "containers that map the ids of a mount do not run (hostUsers: false in Kubernetes, Podman's idmap)",
            "Linux 5.12 or newer, and a file system that takes part (ext4, xfs and btrfs do; tmpfs from 6.3 on)",
        ),
    })
}

fn seccomp(here: &Surroundings) -> Option<Verdict> {
    let result = tried(here, |config, _| {
        config["linux"]["seccomp"] = json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{ "names": ["add_key"], "action": "SCMP_ACT_ERRNO" }]
        });
    });
    Some(match result {
        Ok(()) => Verdict::ok("a filter was loaded"),
        Err(reason) => Verdict::limited(
            reason,
            "containers with a seccomp profile do not start, and engines give all one",
            "a kernel with CONFIG_SECCOMP_FILTER",
        ),
    })
}

/// Docker gives its daemon's own limits, but `--ulimit`, `--privileged` and Podman may ask for more.
fn raised_limits(here: &Surroundings) -> Option<Verdict> {
    if here.host.rootless() {
        return None;
    }
    let result = tried(here, |config, _| {
        let hard = rustix::process::getrlimit(rustix::process::Resource::Core).maximum;
        // Where there is no limit, none can be above it, and the container shows that it may be set.
        let limit = hard.map_or(u64::MAX, |hard| hard.saturating_add(4096));
        config["process"]["rlimits"] = json!([
            { "type": "RLIMIT_CORE", "hard": limit, "soft": 0 },
            { "type": "RLIMIT_NOFILE", "hard": open_files(), "soft": 1024 }
        ]);
    });
    Some(match result {
        Ok(()) => Verdict::ok("a container may have more than its caller"),
        Err(reason) => Verdict::limited(
            reason,
            "containers whose limits (--ulimit, Podman's defaults) are above the engine's own do not start",
            "give wrun's caller CAP_SYS_RESOURCE, or higher hard limits (LimitNOFILE= of the engine's unit)",
        ),
    })
}

/// More files than we may have open ourselves, as far as the kernel allows any process.
fn open_files() -> u64 {
    let hard = rustix::process::getrlimit(rustix::process::Resource::Nofile)
        .maximum
        .unwrap_or(u64::MAX);
    let most = std::fs::read_to_string("/proc/sys/fs/nr_open")
        .ok()
        .and_then(|text| text.trim().parse().ok());
    hard.saturating_add(1).min(most.unwrap_or(hard))
}
