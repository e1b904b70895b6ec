//! Devices: those that a container is given, what it may do with them, limits of disks, CDI; and privileged ones, which
//! have all.

use std::process::Command;

use serde_json::json;

use super::*;
use crate::harness::disk::Disk;

pub fn tests() -> Vec<Test> {
    vec![
        test!(devices_with_permissions),
        test!(directory_of_devices),
        test!(rule_for_devices),
        test!(throttles_of_a_disk).needs(Need::Disk),
        test!(weight_of_block_io)
            .needs(Need::BlockWeights)
            .needs(Need::CgroupV2),
        test!(described_devices).needs(Need::DockerFrom(25)),
        test!(privileged).peers_need(Need::RaiseLimits),
        test!(privileged_exec).peers_need(Need::RaiseLimits),
    ]
}

pub fn wasm_tests() -> Vec<Test> {
    vec![test!(devices_of_a_guest)]
}

/// Tries to open the kernel's log, a device that Docker's own rules leave out, in both ways.
fn opening(path: &str) -> String {
    format!("true <{path} && echo read; true >{path} && echo written")
}

/// Reading the kernel's log needs more than the device.
const READER: [&str; 2] = ["--cap-add", "SYSLOG"];

fn devices_with_permissions(case: &Case) {
    let docker = Docker::new(case);
    let script = format!("{} 2>&1; stat -c '%F %t,%T' /dev/log", opening("/dev/log"));
    let with = |device: &str| {
        let flags = [&READER[..], &["--device", device]].concat();
        let output = docker.run(&flags, NATIVE, &["sh", "-c", &script]);
        (output.stdout.clone(), output)
    };
    let (stdout, output) = with("/dev/kmsg:/dev/log:w");
    assert!(stdout.starts_with("written\n"), "{output}");
    assert!(stdout.ends_with("character special file 1,b\n"), "{output}");
    assert!(output.stderr.contains("Operation not permitted"), "{output}");
    let (stdout, output) = with("/dev/kmsg:/dev/log");
    assert!(stdout.starts_with("read\nwritten\n"), "{output}");
}

/// Each device in it is given, with its owner and mode.
fn directory_of_devices(case: &Case) {
    let docker = Docker::new(case);
    let mut script = Command::new("sh");
    let made = "mkdir devices devices/deep; mknod -m 640 devices/log c 1 11; chown 7:9 devices/log; \
                mknod -m 606 devices/deep/disk b 7 0";
    script.args(["-ec", made]).current_dir(&case.dir);
    case.finish(script).ok();
    let device = format!("{}:/dev/many:r", case.path("devices"));
    let flags = [&READER[..], &["--device", &device]].concat();
    let show = "cd /dev/many; stat -c '%n %F %a %u %g' log deep/disk";
    let script = format!("{show}; {}", opening("/dev/many/log"));
    let output = docker.run(&flags, NATIVE, &["sh", "-c", &script]);
    let expected = "log character special file 640 7 9\ndeep/disk block special file 606 0 0\nread\n";
    assert_eq!(output.stdout, expected, "{output}");
}

/// A rule alone lets a device be used that the container makes.
fn rule_for_devices(case: &Case) {
    let docker = Docker::new(case);
    let script = format!("mknod /tmp/log c 1 11 && {}", opening("/tmp/log"));
    let without = docker.run(&READER, NATIVE, &["sh", "-c", &script]);
    assert_eq!(without.stdout, "", "{without}");
    assert_eq!(
        without.stderr.matches("Operation not permitted").count(),
        2,
        "{without}"
    );
    let flags = [&READER[..], &["--device-cgroup-rule", "c 1:11 r"]].concat();
    let id = docker.start(&flags, NATIVE, &["sleep", "100"]);
    let with = docker.call(&["exec", &id, "sh", "-c", &script]);
    assert_eq!(with.stdout, "read\n", "{with}");
    // Limits may change without the rules' being lost, or undone.
    docker.call(&["update", "--cpu-shares", "500", &id]).ok();
    let later = docker.call(&["exec", &id, "sh", "-c", &opening("/tmp/log")]);
    assert_eq!(later.stdout, "read\n", "{later}");
}

fn throttles_of_a_disk(case: &Case) {
    let disk = Disk::new(case);
    let docker = Docker::new(case);
    let throttles = [
        ("--device-read-bps", "read_bps", "rbps", 1_000_001),
        ("--device-write-bps", "write_bps", "wbps", 1_000_002),
        ("--device-read-iops", "read_iops", "riops", 1003),
        ("--device-write-iops", "write_iops", "wiops", 1004),
    ];
    let values = throttles.map(|(.., rate)| format!("{}:{rate}", disk.path));
    let flags: Vec<&str> = throttles
        .iter()
        .zip(&values)
        .flat_map(|((flag, ..), value)| [*flag, value])
        .collect();
    let id = docker.start(&flags, NATIVE, &["sleep", "100"]);
    for (_, v1, v2, rate) in throttles {
        let v1 = format!("blkio.throttle.{v1}_device");
        let text = cgroup_file(&docker, &id, "blkio", &v1, "io.max");
        let on_v1 = format!("{}:{} {rate}", Disk::MAJOR, disk.minor);
        assert!(text == on_v1 || text.contains(&format!("{v2}={rate}")), "{text}");
    }
}

fn weight_of_block_io(case: &Case) {
    let docker = Docker::new(case);
    let id = docker.start(&["--blkio-weight", "444"], NATIVE, &["sleep", "100"]);
    // Without the scheduler BFQ, v2 has another scale; without io.cost, BFQ's file alone.
    let (cgroup, _) = crate::engines::cgroup_of(&docker.inspect(&id, "{{.State.Pid}}"), "io");
    let names = ["io.weight", "io.bfq.weight"];
    let name = names.into_iter().find(|name| cgroup.join(name).exists());
    let is = |weight: u64| {
        let other = 1 + (weight - 10) * 9999 / 990;
        let text = cgroup_file(&docker, &id, "io", "", name.expect("a file of weights"));
        let text = text.trim_start_matches("default ");
        assert!(
            [weight.to_string(), other.to_string()].contains(&text.to_owned()),
            "{text}"
        );
    };
    is(444);
    docker.call(&["update", "--blkio-weight", "333", &id]).ok();
    is(333);
}

/// What a description (CDI) adds: a device, an environment, a mount, and a hook of the kind that GPUs are set up with.
fn described_devices(case: &Case) {
    let docker = Docker::new(case);
    let volume = volume_of(case);
    let kind = docker.describe_devices(json!({
        "cdiVersion": "0.5.0",
        "devices": [{ "name": "log", "containerEdits": {
            "env": ["DESCRIBED=yes"],
            "deviceNodes": [{ "path": "/dev/log", "hostPath": "/dev/kmsg", "permissions": "w" }],
        }}],
        "containerEdits": {
            "mounts": [{ "hostPath": volume, "containerPath": "/described", "options": ["ro", "bind"] }],
            "hooks": [{
                "hookName": "createContainer",
                "path": "/bin/sh",
                "args": ["sh", "-c", format!("cat >{}", case.path("hook"))],
            }],
        },
    }));
    let device = format!("{kind}=log");
    let flags = [&READER[..], &["--device", &device]].concat();
    let script = "echo $DESCRIBED; cat /described/file; touch /described/x || echo readonly";
    let script = format!("{script}; {}", opening("/dev/log"));
    let output = docker.run(&flags, NATIVE, &["sh", "-c", &script]);
    assert_eq!(
        output.stdout, "yes\nin the volume\nreadonly\nwritten\n",
        "{output}"
    );
    let state = fs::read_to_string(case.dir.join("hook")).expect("the hook was given the state");
    assert!(
        state.contains("\"creating\"") || state.contains("\"created\""),
        "{state}"
    );
}

/// What all capabilities look like that the tests themselves have.
fn all_capabilities() -> String {
    let status = fs::read_to_string("/proc/self/status").expect("our own status");
    let line = status.lines().find_map(|line| line.strip_prefix("CapBnd:\t"));
    line.expect("it tells of capabilities").to_owned()
}

/// Whether `text` is the set of all that the tests have. Docker leaves out those that are younger than it.
#[track_caller]
fn assert_all_capabilities(text: &str, output: &Output) {
    let number = |text: &str| u64::from_str_radix(text, 16).expect("a set of capabilities");
    let (own, all) = (number(text), number(&all_capabilities()));
    // Audit's second, number 37, is in each Docker's list.
    assert_eq!(own & !all, 0, "{output}");
    assert_eq!(own & 0x3f_ffff_ffff, all & 0x3f_ffff_ffff, "{output}");
}

fn privileged(case: &Case) {
    let docker = Docker::new(case);
    let id = docker.start(&["--privileged"], NATIVE, &["sleep", "100"]);
    let script = "sed -n 's/^\\(CapEff\\|Seccomp\\):\\t//p' /proc/self/status; \
        grep -c ' /proc/' /proc/self/mountinfo; \
        mount -t tmpfs none /mnt && echo mounts; \
        echo 1 >/proc/sys/net/ipv4/ip_forward && echo sets; \
        test -w /sys/kernel && touch /sys/kernel/uevent_seqnum && echo system; \
        dir=$(ls -d /sys/fs/cgroup/memory /sys/fs/cgroup 2>/dev/null | head -n 1); \
        grep -q \" $dir rw\" /proc/self/mountinfo && echo groups; \
        mknod /tmp/log c 1 11; true </tmp/log && true </dev/kmsg && echo opens; \
        cat /proc/self/attr/current 2>/dev/null";
    let inside = ["exec", &id, "sh", "-c", script];
    let output = docker.call(&inside);
    let lines = output.lines();
    assert_all_capabilities(lines[0], &output);
    let rest: Vec<&str> = ["0", "0", "mounts", "sets", "system", "groups", "opens"].to_vec();
    assert_eq!(lines[1..8], rest, "{output}");
    assert!(matches!(lines[8..], [] | ["unconfined"]), "{output}");
}

/// The process is, while its container keeps its filter of system calls.
fn privileged_exec(case: &Case) {
    let docker = Docker::new(case);
    let id = docker.start(&["-u", "user"], NATIVE, &["sleep", "100"]);
    let show = [
        "sed",
        "-n",
        "s/^\\(CapEff\\|Seccomp\\|Uid\\):\\t//p",
        "/proc/self/status",
    ];
    let flags = ["exec", "--privileged", "-u", "0", &id];
    let output = docker.call(&[&flags[..], &show].concat()).ok();
    let lines = output.lines();
    assert_eq!((lines[0], lines[2]), ("0\t0\t0\t0", "2"), "{output}");
    assert_all_capabilities(lines[1], &output);
    let ordinary = docker.call(&[&["exec", &id], &show[..]].concat()).ok();
    assert_eq!(
        ordinary.lines(),
        ["1000\t1000\t1000\t1000", "0000000000000000", "2"]
    );
}

/// They are files to it. One of them it may write to but not read, by a rule of its cgroup.
fn devices_of_a_guest(case: &Case) {
    let docker = Docker::new(case);
    let file = "wasm-file:test";
    let flags = [&READER[..], &["--device", "/dev/kmsg:/dev/log:w"]].concat();
    docker.run(&flags, file, &["/dev/log"]).code_is(63);
    docker
        .run(&["--device", "/dev/null:/dev/mine:r"], file, &["/dev/mine"])
        .ok();
    docker.run(&["--privileged"], file, &["/dev/null", "x"]).ok();
}
