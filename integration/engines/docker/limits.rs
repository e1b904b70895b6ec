//! Limits: of the cgroup, of the process, of memory that is shared; and those that `docker update` changes.

use super::*;

pub fn tests() -> Vec<Test> {
    vec![
        test!(memory_limit),
        test!(pids_limit),
        test!(update),
        test!(each_limit),
        test!(swappiness_and_oom_killer).needs(Need::CgroupV1),
        test!(update_of_each_limit).needs(Need::TwoCpus),
        test!(process_limits_and_settings),
    ]
}

pub fn wasm_tests() -> Vec<Test> {
    vec![test!(limits_of_a_guest)]
}

fn memory_limit(case: &Case) {
    let docker = Docker::new(case);
    // The shim is told of it by the cgroup, which must not be gone before it looks: the first process stays a while.
    let script = ["sh", "-c", "tail /dev/zero; sleep 1; exit 137"];
    let id = docker.start(&["--memory", "32m"], NATIVE, &script);
    assert_eq!(docker.call(&["wait", &id]).ok().stdout, "137\n");
    assert_eq!(
        docker.inspect(&id, "{{.State.OOMKilled}} {{.State.ExitCode}}"),
        "true 137"
    );
}

fn pids_limit(case: &Case) {
    let docker = Docker::new(case);
    let script = "for n in 1 2 3 4 5 6 7 8 9; do sleep 100 & done; echo all";
    let output = docker.run(&["--pids-limit", "5"], NATIVE, &["sh", "-c", script]);
    assert!(
        !output.stdout.contains("all") && output.stderr.contains("can't fork"),
        "{output}"
    );
}

fn update(case: &Case) {
    let docker = Docker::new(case);
    let id = docker.start(&["--memory", "128m"], NATIVE, &["sleep", "100"]);
    let change = [
        "update",
        "--memory",
        "64m",
        "--memory-swap",
        "96m",
        "--pids-limit",
        "20",
        "--cpus",
        "0.5",
    ];
    docker.call(&[&change[..], &[&id]].concat()).ok();
    let file = |controller, v1, v2| cgroup_file(&docker, &id, controller, v1, v2);
    assert_eq!(file("memory", "memory.limit_in_bytes", "memory.max"), "67108864");
    assert_eq!(file("pids", "pids.max", "pids.max"), "20");
    let quota = file("cpu", "cpu.cfs_quota_us", "cpu.max");
    assert!(quota.starts_with("50000"), "{quota}");
    let bomb =
        "for n in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21; do sleep 100 & done; echo all";
    let output = docker.call(&["exec", &id, "sh", "-c", bomb]);
    assert!(!output.stdout.contains("all"), "{output}");
    docker
        .call(&["update", "--memory", "200m", "--memory-swap", "300m", &id])
        .ok();
    assert_eq!(
        cgroup_file(&docker, &id, "memory", "memory.limit_in_bytes", "memory.max"),
        "209715200"
    );
}

/// Limits as Docker's flags, and where the kernel shows them: the controller, its file on v1 and on v2, and the text.
type Shown = (
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    &'static str,
);

const LIMITS: [&str; 18] = [
    "--memory",
    "64m",
    "--memory-reservation",
    "32m",
    "--memory-swap",
    "96m",
    "--cpu-shares",
    "512",
    "--cpu-period",
    "50000",
    "--cpu-quota",
    "20000",
    "--cpuset-cpus",
    "0",
    "--cpuset-mems",
    "0",
    "--pids-limit",
    "33",
];

const SHOWN: [Shown; 6] = [
    (
        "memory",
        "memory.limit_in_bytes",
        "memory.max",
        "67108864",
        "67108864",
    ),
    (
        "memory",
        "memory.soft_limit_in_bytes",
        "memory.low",
        "33554432",
        "33554432",
    ),
    // That of v2 is without the memory.
    (
        "memory",
        "memory.memsw.limit_in_bytes",
        "memory.swap.max",
        "100663296",
        "33554432",
    ),
    ("cpu", "cpu.cfs_quota_us", "cpu.max", "20000", "20000 50000"),
    ("cpuset", "cpuset.cpus", "cpuset.cpus", "0", "0"),
    ("pids", "pids.max", "pids.max", "33", "33"),
];

#[track_caller]
fn assert_limits(docker: &Docker, id: &str, limits: &[Shown]) {
    for (controller, v1, v2, on_v1, on_v2) in limits {
        let text = cgroup_file(docker, id, controller, v1, v2);
        let expected = if Need::CgroupV2.missing().is_none() {
            on_v2
        } else {
            on_v1
        };
        assert_eq!(text, *expected, "{v1} or {v2}");
    }
}

/// The shares of `docker run --cpu-shares`, or a weight between `weights`: how shares become one has changed over time.
#[track_caller]
fn assert_shares(docker: &Docker, id: &str, shares: u64, weights: std::ops::Range<u64>) {
    let text = cgroup_file(docker, id, "cpu", "cpu.shares", "cpu.weight");
    let number = text.parse().expect("a number");
    if Need::CgroupV2.missing().is_none() {
        assert!(weights.contains(&number), "{number}");
    } else {
        assert_eq!(number, shares);
    }
}

fn each_limit(case: &Case) {
    let docker = Docker::new(case);
    let id = docker.start(&LIMITS, NATIVE, &["sleep", "100"]);
    assert_limits(&docker, &id, &SHOWN);
    assert_shares(&docker, &id, 512, 10..100);
}

/// Only v1 has these.
fn swappiness_and_oom_killer(case: &Case) {
    let docker = Docker::new(case);
    let flags = [
        "--memory",
        "64m",
        "--memory-swappiness",
        "10",
        "--oom-kill-disable",
    ];
    let id = docker.start(&flags, NATIVE, &["sleep", "100"]);
    let file = |name| cgroup_file(&docker, &id, "memory", name, name);
    assert_eq!(file("memory.swappiness"), "10");
    assert!(file("memory.oom_control").starts_with("oom_kill_disable 1"));
}

/// What is not named stays as it was, and what is may be taken back.
fn update_of_each_limit(case: &Case) {
    let docker = Docker::new(case);
    let id = docker.start(&LIMITS, NATIVE, &["sleep", "100"]);
    let update = |flags: &[&str]| docker.call(&[&["update"], flags, &[&id]].concat()).ok();
    update(&["--cpu-shares", "2048"]);
    assert_shares(&docker, &id, 2048, 60..200);
    assert_limits(&docker, &id, &SHOWN);
    update(&[
        "--memory-reservation",
        "16m",
        "--cpu-period",
        "20000",
        "--cpu-quota",
        "10000",
        "--cpuset-cpus",
        "0-1",
        "--pids-limit",
        "-1",
        // crun takes no limit of swap without one of memory.
        "--memory",
        "64m",
        "--memory-swap",
        "128m",
    ]);
    let changed: [Shown; 6] = [
        SHOWN[0],
        (
            "memory",
            "memory.soft_limit_in_bytes",
            "memory.low",
            "16777216",
            "16777216",
        ),
        (
            "memory",
            "memory.memsw.limit_in_bytes",
            "memory.swap.max",
            "134217728",
            "67108864",
        ),
        ("cpu", "cpu.cfs_quota_us", "cpu.max", "10000", "10000 20000"),
        ("cpuset", "cpuset.cpus", "cpuset.cpus", "0-1", "0-1"),
        ("pids", "pids.max", "pids.max", "max", "max"),
    ];
    assert_limits(&docker, &id, &changed);
    assert_shares(&docker, &id, 2048, 60..200);
    docker.call(&["exec", &id, "true"]).ok();
}

/// Those of each process, the size of shared memory, and what the kernel's settings are for the container.
const PROCESS: [&str; 14] = [
    "--ulimit",
    "nofile=100:200",
    "--ulimit",
    "core=0",
    "--ulimit",
    "nproc=500:600",
    "--oom-score-adj",
    "500",
    "--shm-size",
    "8m",
    "--sysctl",
    "net.ipv4.ip_unprivileged_port_start=7",
    "--sysctl",
    "kernel.shm_rmid_forced=1",
];

/// Lines of /proc/PID/limits with single spaces.
fn limits(text: &str) -> Vec<String> {
    text.lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect()
}

#[track_caller]
fn assert_process_limits(text: &str) {
    let limits = limits(text);
    for expected in [
        "Max open files 100 200 files",
        "Max core file size 0 0 bytes",
        "Max processes 500 600 processes",
    ] {
        assert!(limits.iter().any(|line| line == expected), "{expected}: {text}");
    }
}

fn process_limits_and_settings(case: &Case) {
    let docker = Docker::new(case);
    let id = docker.start(&PROCESS, NATIVE, &["sleep", "100"]);
    let script = "cat /proc/self/limits; df -k /dev/shm; cat /proc/self/oom_score_adj; \
        cat /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/kernel/shm_rmid_forced";
    let output = docker.call(&["exec", &id, "sh", "-c", script]).ok();
    assert_process_limits(&output.stdout);
    assert!(output.stdout.contains(" 8192 "), "{output}");
    assert!(output.stdout.ends_with("\n500\n7\n1\n"), "{output}");
    let first = fs::read_to_string(format!("/proc/{}/limits", docker.inspect(&id, "{{.State.Pid}}")));
    assert_process_limits(&first.expect("the container's limits"));
    // One that the container does not have of its own is refused, by Docker or by the runtime.
    let refused = docker.run(&["--sysctl", "kernel.panic=5"], NATIVE, &["true"]);
    assert!(
        !refused.status.success() && refused.stderr.contains("kernel.panic"),
        "{refused}"
    );
}

fn limits_of_a_guest(case: &Case) {
    let docker = Docker::new(case);
    let flags = [
        &LIMITS[2..],
        &["--memory", "512m", "--memory-swap", "544m"],
        &PROCESS[..],
    ]
    .concat();
    let id = docker.start(&flags, "wasm-sleep:test", &[]);
    docker.wait_for_log(&id, "sleeping");
    let memory: [Shown; 2] = [
        (
            "memory",
            "memory.limit_in_bytes",
            "memory.max",
            "536870912",
            "536870912",
        ),
        (
            "memory",
            "memory.memsw.limit_in_bytes",
            "memory.swap.max",
            "570425344",
            "33554432",
        ),
    ];
    assert_limits(&docker, &id, &memory);
    assert_limits(&docker, &id, &SHOWN[3..]);
    assert_shares(&docker, &id, 512, 10..100);
    let pid = docker.inspect(&id, "{{.State.Pid}}");
    let file = |name: &str| fs::read_to_string(format!("/proc/{pid}/{name}")).expect("the guest's process");
    assert_process_limits(&file("limits"));
    assert_eq!(file("oom_score_adj"), "500\n");
}
