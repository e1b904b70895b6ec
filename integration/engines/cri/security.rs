//! Security contexts: users, capabilities, profiles, and what of /proc and the root can be written.

use std::fs;

use serde_json::{Value, json};

use super::{Cri, Kind, pods};
use crate::harness::cri::{NATIVE, Pod};
use crate::harness::{Need, Test};

/// Values of CRI's `ProfileType`.
const RUNTIME_DEFAULT: i32 = 0;
const UNCONFINED: i32 = 1;
const LOCALHOST: i32 = 2;

/// Numbers of capabilities.
const CAP_CHOWN: u32 = 0;
const CAP_NET_ADMIN: u32 = 12;
const CAP_NET_RAW: u32 = 13;

pub fn tests(kind: Kind) -> Vec<Test> {
    let mut privileged = pods!(kind, privileged);
    if kind == Kind::Crio {
        // CRI-O asks for each capability that there is.
        privileged = privileged.needs(Need::RaiseLimits);
    }
    vec![
        pods!(kind, user_and_groups),
        pods!(kind, capabilities),
        pods!(kind, seccomp_profiles),
        pods!(kind, apparmor_profiles).needs(Need::AppArmor),
        pods!(kind, what_cannot_be_written),
        privileged,
    ]
}

/// A container that sleeps, whose security context has the members of `context` too.
fn start(pod: &Pod<'_>, name: &str, context: &Value) -> String {
    pod.start_with(name, NATIVE, &["sleep", "100"], |container| {
        let own = container["linux"]["security_context"]
            .as_object_mut()
            .expect("an object");
        own.extend(context.as_object().expect("an object").clone());
    })
}

fn user_and_groups(cri: Cri<'_>) {
    let pod = cri.run_pod("pod");
    let context = json!({
        "run_as_user": { "value": 1000 },
        "run_as_group": { "value": 3000 },
        "supplemental_groups": [4000, 5000],
        "no_new_privs": true,
    });
    let id = start(&pod, "one", &context);
    assert_eq!(cri.shell(&id, "id -u; id -g").replace('\n', " "), "1000 3000");
    let groups = cri.shell(&id, "id -G");
    for group in ["4000", "5000"] {
        assert!(groups.split(' ').any(|own| own == group), "{groups}");
    }
    // Of the container's first process, too.
    let status = cri.shell(&id, "cat /proc/1/status");
    assert!(status.contains("NoNewPrivs:\t1"), "{status}");
    assert!(status.contains("Uid:\t1000\t1000\t1000\t1000"), "{status}");
    assert!(status.contains("CapEff:\t0000000000000000"), "{status}");
    pod.remove();
}

/// Whether the container's first process has a capability.
fn has(cri: &Cri<'_>, id: &str, capability: u32) -> bool {
    let line = cri.shell(id, "grep CapEff /proc/1/status");
    let mask = line.split_whitespace().nth(1).expect("a mask");
    u64::from_str_radix(mask, 16).expect("a mask") & (1 << capability) != 0
}

fn capabilities(cri: Cri<'_>) {
    let pod = cri.run_pod("pod");
    let change =
        json!({ "capabilities": { "add_capabilities": ["NET_ADMIN"], "drop_capabilities": ["CHOWN"] } });
    let changed = start(&pod, "changed", &change);
    assert!(has(&cri, &changed, CAP_NET_ADMIN) && !has(&cri, &changed, CAP_CHOWN));
    cri.shell(&changed, "touch /file && ! chown 7 /file");
    let one = json!({ "capabilities": { "add_capabilities": ["NET_RAW"], "drop_capabilities": ["ALL"] } });
    let one = start(&pod, "one", &one);
    assert!(has(&cri, &one, CAP_NET_RAW) && !has(&cri, &one, CAP_CHOWN));
    let usual = start(&pod, "usual", &json!({}));
    assert!(has(&cri, &usual, CAP_CHOWN) && !has(&cri, &usual, CAP_NET_ADMIN));
    pod.remove();
}

fn seccomp_profiles(cri: Cri<'_>) {
    let pod = cri.run_pod("pod");
    let mode = |id: &str| cri.shell(id, "grep Seccomp: /proc/1/status");
    let profile = |kind: i32| json!({ "seccomp": { "profile_type": kind } });
    let usual = start(&pod, "usual", &profile(RUNTIME_DEFAULT));
    assert_eq!(mode(&usual), "Seccomp:\t2");
    let free = start(&pod, "free", &profile(UNCONFINED));
    assert_eq!(mode(&free), "Seccomp:\t0");
    let own = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{ "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 39 }],
    });
    let file = cri.case.path("profile.json");
    fs::write(&file, own.to_string()).expect("a profile");
    let own = json!({ "seccomp": { "profile_type": LOCALHOST, "localhost_ref": file } });
    let own = start(&pod, "own", &own);
    assert_eq!(mode(&own), "Seccomp:\t2");
    let output = cri.shell(&own, "mkdir /made 2>&1 || touch /other && echo else free");
    assert!(
        output.contains("not empty") && output.contains("else free"),
        "{output}"
    );
    pod.remove();
}

/// The engine loads its own profile.
fn apparmor_profiles(cri: Cri<'_>) {
    let pod = cri.run_pod("pod");
    let profile = |id: &str| cri.shell(id, "cat /proc/1/attr/current");
    let usual = start(
        &pod,
        "usual",
        &json!({ "apparmor": { "profile_type": RUNTIME_DEFAULT } }),
    );
    let own = match cri.kind() {
        Kind::Containerd => "cri-containerd.apparmor.d (enforce)",
        Kind::Crio => "crio-default (enforce)",
    };
    assert_eq!(profile(&usual), own);
    let free = start(
        &pod,
        "free",
        &json!({ "apparmor": { "profile_type": UNCONFINED } }),
    );
    assert_eq!(profile(&free), "unconfined");
    pod.remove();
}

fn what_cannot_be_written(cri: Cri<'_>) {
    let pod = cri.run_pod("pod");
    let context = json!({
        "readonly_rootfs": true,
        "masked_paths": ["/proc/version", "/proc/fs"],
        "readonly_paths": ["/proc/sys"],
        "privileged": false,
    });
    let id = start(&pod, "one", &context);
    let output = cri.shell(&id, "touch /file 2>&1; wc -c </proc/version; ls /proc/fs | wc -l");
    assert!(output.contains("Read-only file system"), "{output}");
    assert!(output.ends_with("0\n0"), "{output}");
    let output = cri.shell(
        &id,
        "echo 1 2>&1 >/proc/sys/kernel/shm_rmid_forced || true; cat /proc/1/mountinfo",
    );
    let line = output.lines().find(|line| line.contains(" /proc/sys "));
    assert!(line.is_some_and(|line| line.contains(" ro,")), "{output}");
    pod.remove();
}

/// All that root may, all devices, /sys to write.
fn privileged(cri: Cri<'_>) {
    let pod = cri.run_pod_with("pod", |pod| {
        pod["linux"]["security_context"]["privileged"] = json!(true);
    });
    let id = start(&pod, "one", &json!({ "privileged": true }));
    let bounding = cri.shell(&id, "grep CapBnd /proc/1/status; grep CapEff /proc/1/status");
    let masks: Vec<&str> = bounding
        .split_whitespace()
        .filter(|word| !word.ends_with(':'))
        .collect();
    let own = fs::read_to_string(format!("/proc/{}/status", cri.pid())).expect("a status");
    let own = own
        .lines()
        .find_map(|line| line.strip_prefix("CapBnd:\t"))
        .expect("a mask");
    assert_eq!(masks, [own, own]);
    let status = cri.shell(&id, "cat /proc/1/status");
    assert!(status.contains("Seccomp:\t0"), "{status}");
    let mounts = cri.shell(&id, "cat /proc/1/mountinfo");
    let sys = mounts
        .lines()
        .find(|line| line.contains(" /sys "))
        .expect("a mount");
    assert!(sys.contains(" rw,"), "{sys}");
    assert_eq!(
        cri.shell(&id, "test -c /dev/kmsg && echo all devices"),
        "all devices"
    );
    cri.shell(
        &id,
        "mkdir /tmp/mine && mount -t tmpfs none /tmp/mine && umount /tmp/mine",
    );
    pod.remove();
}
