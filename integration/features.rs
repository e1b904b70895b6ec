//! `features` at its word: what it lists is tried, or is the very list that tests of that part walk; and what tests
//! show to work is in it.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::chown;

use serde_json::{Value, json};

use crate::harness::bundle::{add_mount, map_ids, set_namespace};
use crate::harness::{Case, Test, test};
use crate::properties::values_of;

const OWN_WORD: &str = "it is wrun's own word that is tried";

pub fn tests() -> Vec<Test> {
    vec![
        test!(each_mount_option_works)
            .wrun_only(OWN_WORD)
            .covers(&["mounts.options"]),
        test!(each_namespace_works)
            .wrun_only(OWN_WORD)
            .covers(&["linux.namespaces.type=*"]),
        test!(lists_are_those_that_tests_walk).wrun_only(OWN_WORD),
        test!(it_denies_nothing_that_works).wrun_only(OWN_WORD),
    ]
}

fn features(case: &Case) -> Value {
    case.call(&["features"]).ok().json()
}

/// A list of the report, as a set.
fn set(value: &Value) -> BTreeSet<String> {
    let list = value.as_array().unwrap_or_else(|| panic!("no list: {value}"));
    list.iter()
        .map(|word| word.as_str().expect("a word").to_owned())
        .collect()
}

/// Options with the one that they take back.
const OPPOSITES: [(&str, &str); 14] = [
    ("rw", "ro"),
    ("suid", "nosuid"),
    ("dev", "nodev"),
    ("exec", "noexec"),
    ("atime", "noatime"),
    ("diratime", "nodiratime"),
    ("symfollow", "nosymfollow"),
    ("relatime", "noatime"),
    ("norelatime", "noatime"),
    ("nostrictatime", "noatime"),
    ("async", "sync"),
    ("nolazytime", "lazytime"),
    ("nomand", "mand"),
    ("noiversion", "iversion"),
];

/// Options that show under their own name: those of a mount, and then those of its file system.
const SHOWN: [&str; 11] = [
    "ro",
    "nosuid",
    "nodev",
    "noexec",
    "noatime",
    "nodiratime",
    "nosymfollow",
    "sync",
    "dirsync",
    "lazytime",
    "relatime",
];

/// Options that are for a bind mount of something.
const FOR_BINDS: [&str; 7] = [
    "bind",
    "rbind",
    "idmap",
    "ridmap",
    "copy-symlink",
    "src-nofollow",
    "dest-nofollow",
];

/// One mount for each option, all in one container, which shows them.
fn each_mount_option_works(case: &Case) {
    let options = set(&features(case)["mountOptions"]);
    assert!(options.len() > 60, "{options:?}");
    fs::create_dir(case.dir.join("source")).expect("a directory");
    let source = case.path("source");
    let container = case.container_with(&["cat", "/proc/self/mountinfo"], |config| {
        map_ids(config, 100_000);
        for option in &options {
            let destination = format!("/options/{option}");
            let taken_back = OPPOSITES
                .iter()
                .find(|(clear, _)| *clear == option.strip_prefix('r').unwrap_or(option) || *clear == option);
            match option.as_str() {
                "bind" | "rbind" | "copy-symlink" | "src-nofollow" | "dest-nofollow" => {
                    add_mount(config, &destination, "bind", &source, &["bind", option]);
                }
                "idmap" | "ridmap" => {
                    add_mount(config, &destination, "bind", &source, &["rbind", option]);
                }
                "remount" => {
                    add_mount(config, &destination, "tmpfs", "tmpfs", &[]);
                    add_mount(config, &destination, "tmpfs", "tmpfs", &["remount", "ro"]);
                }
                _ => {
                    let before = taken_back.map(|(clear, set)| match *clear == option {
                        true => (*set).to_owned(),
                        false => format!("r{set}"),
                    });
                    let list: Vec<&str> = before.as_deref().into_iter().chain([option.as_str()]).collect();
                    add_mount(config, &destination, "tmpfs", "tmpfs", &list);
                }
            }
        }
    });
    // It must be there for a mount on it; for the others the container's root must be able to make places.
    fs::create_dir_all(container.rootfs("options/dest-nofollow")).expect("a directory");
    chown(container.rootfs("options"), Some(100_000), Some(100_000)).expect("chown");
    let text = container.run().ok().stdout;
    for option in &options {
        let line = text
            .lines()
            .rfind(|line| line.split(' ').nth(4) == Some(&format!("/options/{option}")));
        let line = line.unwrap_or_else(|| panic!("{option} is not mounted: {text}"));
        let shown: BTreeSet<&str> = line.split([' ', ',']).collect();
        let plain = option.strip_prefix('r').filter(|plain| options.contains(*plain));
        let plain = plain.unwrap_or(option);
        if FOR_BINDS.contains(&option.as_str()) {
            assert!(!line.contains(" - tmpfs tmpfs "), "{option}: {line}");
        } else if SHOWN.contains(&plain) {
            assert!(shown.contains(plain), "{option}: {line}");
        } else if let Some((_, gone)) = OPPOSITES.iter().find(|(clear, _)| *clear == plain) {
            assert!(!shown.contains(gone), "{option}: {line}");
        }
    }
    let remounted = text.lines().rfind(|line| line.contains(" /options/remount "));
    assert!(remounted.is_some_and(|line| line.contains(" ro,")), "{text}");
}

fn each_namespace_works(case: &Case) {
    let kinds = set(&features(case)["linux"]["namespaces"]);
    let all: BTreeSet<String> = values_of("linux.namespaces.type").into_iter().collect();
    assert_eq!(kinds, all);
    let script = "for file in /proc/self/ns/*; do readlink $file; done";
    let container = case.script_with(script, |config| {
        map_ids(config, 100_000);
        for kind in &kinds {
            set_namespace(config, kind, None);
        }
    });
    let own = container.run().ok().stdout;
    for file in ["cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"] {
        let host = fs::read_link(format!("/proc/self/ns/{file}")).expect("the host's");
        assert!(own.contains(&format!("{file}:[")), "{own}");
        assert!(
            !own.contains(&*host.to_string_lossy()),
            "{file} is the host's: {own}"
        );
    }
}

/// Tests of each part go through all values that oci-spec's types have (`seccomp::each_…`, `process::each_capability`,
/// `machine::each_memory_policy`, `hooks::order`): where the lists are the same, each of these works.
fn lists_are_those_that_tests_walk(case: &Case) {
    let report = features(case);
    let walked = |path: &str| -> BTreeSet<String> { values_of(path).into_iter().collect() };
    let linux = &report["linux"];
    assert_eq!(
        set(&linux["capabilities"]),
        walked("process.capabilities.bounding")
    );
    let seccomp = &linux["seccomp"];
    assert_eq!(set(&seccomp["actions"]), walked("linux.seccomp.syscalls.action"));
    assert_eq!(
        set(&seccomp["operators"]),
        walked("linux.seccomp.syscalls.args.op")
    );
    assert_eq!(set(&seccomp["knownFlags"]), walked("linux.seccomp.flags"));
    let mut architectures = walked("linux.seccomp.architectures");
    // The crate's own: the specification has no such name, and wrun refuses it.
    assert!(architectures.remove("SCMP_ARCH_NATIVE"));
    assert_eq!(set(&seccomp["archs"]), architectures);
    assert_eq!(
        set(&linux["memoryPolicy"]["modes"]),
        walked("linux.memoryPolicy.mode")
    );
    assert_eq!(
        set(&linux["memoryPolicy"]["flags"]),
        walked("linux.memoryPolicy.flags")
    );
    let hooks: BTreeSet<String> = crate::hooks::KINDS
        .iter()
        .map(|kind| (*kind).to_owned())
        .collect();
    assert_eq!(set(&report["hooks"]), hooks);
    // What the kernel supports of the flags is taken by it, which the test of each flag has shown for this kernel.
    assert!(set(&seccomp["supportedFlags"]).is_subset(&set(&seccomp["knownFlags"])));
}

/// Of what has no list there are tests under these names: cgroups on both versions and under systemd, labels, classes
/// of service, id-mapped mounts and network devices.
fn it_denies_nothing_that_works(case: &Case) {
    let report = features(case);
    let linux = &report["linux"];
    for (part, keys) in [
        ("cgroup", &["v1", "v2", "systemd", "systemdUser", "rdma"][..]),
        ("seccomp", &["enabled"]),
        ("apparmor", &["enabled"]),
        ("selinux", &["enabled"]),
        ("intelRdt", &["enabled", "schemata", "monitoring"]),
        ("netDevices", &["enabled"]),
    ] {
        for key in keys {
            assert_eq!(linux[part][key], json!(true), "{part}.{key}");
        }
    }
    assert_eq!(linux["mountExtensions"]["idmap"]["enabled"], json!(true));
    assert_eq!(report["ociVersionMax"], "1.3.0");
    assert!(!report.to_string().contains("false"), "{report:#}");
}
