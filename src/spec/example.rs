//! The config.json that `wrun spec` writes: that of `runc spec`, so that guides written for runc hold.

use serde_json::{Value, json};

/// The example; for a rootless container with the ids of its user (uid, gid), which become root inside.
pub fn example(rootless: Option<(u32, u32)>, unified_cgroup: bool) -> Value {
    let mut config = rootful();
    // On v1, as with runc, the container sees the host's cgroup paths.
    if !unified_cgroup && let Some(namespaces) = config["linux"]["namespaces"].as_array_mut() {
        namespaces.retain(|namespace| namespace["type"] != "cgroup");
    }
    if let Some((uid, gid)) = rootless {
        make_rootless(&mut config, uid, gid);
    }
    config
}

fn rootful() -> Value {
    let capabilities = json!(["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]);
    json!({
        "ociVersion": "1.3.0",
        "process": {
            "terminal": true,
            "user": { "uid": 0, "gid": 0 },
            "args": ["sh"],
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"],
            "cwd": "/",
            "capabilities": {
                "bounding": capabilities,
                "effective": capabilities,
                "permitted": capabilities
            },
            "rlimits": [{ "type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024 }],
            "noNewPrivileges": true
        },
        "root": { "path": "rootfs", "readonly": true },
        "hostname": "wrun",
        "mounts": mounts(),
        "linux": {
            "resources": { "devices": [{ "allow": false, "access": "rwm" }] },
            "namespaces": [
                { "type": "pid" },
                { "type": "network" },
                { "type": "ipc" },
                { "type": "uts" },
                { "type": "mount" },
                { "type": "cgroup" }
            ],
            "maskedPaths": [
                "/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
                "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/sys/firmware", "/proc/scsi"
            ],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]
        }
    })
}

fn mounts() -> Value {
    json!([
        { "destination": "/proc", "type": "proc", "source": "proc" },
        {
            "destination": "/dev", "type": "tmpfs", "source": "tmpfs",
            "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]
        },
        {
            "destination": "/dev/pts", "type": "devpts", "source": "devpts",
            "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]
        },
        {
            "destination": "/dev/shm", "type": "tmpfs", "source": "shm",
            "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]
        },
        {
            "destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue",
            "options": ["nosuid", "noexec", "nodev"]
        },
        {
            "destination": "/sys", "type": "sysfs", "source": "sysfs",
            "options": ["nosuid", "noexec", "nodev", "ro"]
        },
        {
            "destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
            "options": ["nosuid", "noexec", "nodev", "relatime", "ro"]
        }
    ])
}

/// What a user without privileges cannot have is left out: a network namespace of his own, limits, a fresh
/// sysfs (it belongs to the network namespace) and groups that are not his.
fn make_rootless(config: &mut Value, uid: u32, gid: u32) {
    for mount in config["mounts"].as_array_mut().into_iter().flatten() {
        match mount["destination"].as_str() {
            Some("/sys") => {
                *mount = json!({
                    "destination": "/sys", "type": "none", "source": "/sys",
                    "options": ["rbind", "nosuid", "noexec", "nodev", "ro"]
                });
            }
            _ => {
                if let Some(options) = mount["options"].as_array_mut() {
                    options.retain(|option| {
                        !option
                            .as_str()
                            .is_some_and(|text| text.starts_with("gid=") || text.starts_with("uid="))
                    });
                }
            }
        }
    }
    let linux = &mut config["linux"];
    if let Some(linux) = linux.as_object_mut() {
        linux.remove("resources");
    }
    linux["uidMappings"] = json!([{ "containerID": 0, "hostID": uid, "size": 1 }]);
    linux["gidMappings"] = json!([{ "containerID": 0, "hostID": gid, "size": 1 }]);
    if let Some(namespaces) = linux["namespaces"].as_array_mut() {
        namespaces.retain(|namespace| namespace["type"] != "network");
        namespaces.push(json!({ "type": "user" }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::Spec;
    use std::path::Path;

    #[test]
    fn both_examples_are_valid_without_a_warning() {
        for example in [example(None, true), example(Some((1000, 1000)), false)] {
            let text = serde_json::to_vec(&example).unwrap();
            let spec = Spec::parse(&text, Path::new("config.json")).unwrap();
            assert_eq!(spec.warnings, Vec::<String>::new());
        }
    }

    #[test]
    fn rootless_maps_the_user_and_has_no_network_of_its_own() {
        let example = example(Some((1000, 100)), true);
        assert_eq!(example["linux"]["gidMappings"][0]["hostID"], 100);
        let text = example.to_string();
        assert!(!text.contains("gid=5") && !text.contains("network") && !text.contains("sysfs"));
    }
}
