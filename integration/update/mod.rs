//! `update`: limits of a living container change, in the kernel's files and in what they do to processes; and
//! an update that fails changes nothing.

mod v2;

use std::fs;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::cgroups::{assert_file, cgroup, sleeper_with};
use crate::harness::command::eventually;
use crate::harness::{Case, Container, Need, Output, Test, test};

pub fn tests() -> Vec<Test> {
    let mut tests = vec![
        test!(limits_by_options).needs(Need::CgroupV1),
        test!(limits_from_a_file).needs(Need::CgroupV1),
        test!(limits_from_standard_input),
        test!(names_in_another_case),
        test!(minus_one_takes_limits_away).needs(Need::CgroupV1),
        test!(what_is_not_mentioned_stays).needs(Need::CgroupV1),
        test!(what_says_nothing_changes_nothing),
        test!(pids_limit_of_zero_says_nothing_before_version_1_3).runc_before(4, "no limit where it is 0"),
        test!(memory_and_swap_in_either_order).needs(Need::CgroupV1),
        test!(earlier_updates_are_remembered).needs(Need::CgroupV1),
        test!(the_kept_configuration_is_what_the_kernel_has).wrun_only("runc keeps it elsewhere"),
        test!(updates_at_the_same_time).wrun_only("runc takes no lock: one update may be lost"),
        test!(pids_limit_bites_at_once),
        test!(memory_limit_bites_at_once),
        test!(cpu_quota_bites_at_once),
        test!(cpuset_moves_what_runs).needs(Need::TwoCpus),
        test!(created_and_paused_containers),
        test!(exec_after_an_update),
        test!(stopped_containers_are_refused),
        test!(devices_stay_as_they_are),
        test!(refused_update_changes_nothing).wrun_only("runc has no old value of what was not limited"),
        test!(wrong_values_are_refused),
        test!(kernel_memory_is_ignored_with_a_warning),
        test!(schemata_without_resctrl_are_refused).needs(Need::NoResctrl),
        test!(unified_on_v1_is_refused).needs(Need::CgroupV1),
    ];
    tests.extend(v2::tests());
    tests
}

fn try_update(container: &Container, flags: &[&str]) -> Output {
    let case = container.case;
    case.call(&[&["update"], flags, &[&container.id]].concat())
}

#[track_caller]
fn update(container: &Container, flags: &[&str]) {
    try_update(container, flags).ok();
}

/// `update --resources FILE`.
fn try_update_from(container: &Container, resources: &Value) -> Output {
    let file = container.case.path("resources.json");
    fs::write(&file, resources.to_string()).expect("the file");
    try_update(container, &["--resources", &file])
}

#[track_caller]
fn check(container: &Container, expected: &[(&str, &str, &str)]) {
    for (controller, file, value) in expected {
        assert_file(container, controller, file, value);
    }
}

fn limits_by_options(case: &Case) {
    let container = sleeper_with(case, |_| {});
    update(
        &container,
        &[
            "--memory=64M",
            "--memory-swap=96M",
            "--memory-reservation=33554432",
            "--cpu-period=200000",
            "--cpu-quota=50000",
            "--cpu-share=512",
            "--cpuset-cpus=0",
            "--cpuset-mems=0",
            "--pids-limit=33",
        ],
    );
    check(
        &container,
        &[
            ("memory", "memory.limit_in_bytes", "67108864"),
            ("memory", "memory.memsw.limit_in_bytes", "100663296"),
            ("memory", "memory.soft_limit_in_bytes", "33554432"),
            ("cpu", "cpu.cfs_period_us", "200000"),
            ("cpu", "cpu.cfs_quota_us", "50000"),
            ("cpu", "cpu.shares", "512"),
            ("cpuset", "cpuset.cpus", "0"),
            ("cpuset", "cpuset.mems", "0"),
            ("pids", "pids.max", "33"),
        ],
    );
    let blkio = cgroup(&container, "blkio");
    let weight = ["blkio.weight", "blkio.bfq.weight"].map(|file| blkio.join(file));
    if let Some(file) = weight.iter().find(|file| file.exists()) {
        update(&container, &["--blkio-weight=500"]);
        assert_eq!(fs::read_to_string(file).expect("the weight").trim(), "500");
    }
    // runc 1.1 has no such option yet.
    if case.runtime.ours && cgroup(&container, "cpu").join("cpu.cfs_burst_us").exists() {
        update(&container, &["--cpu-burst=10000"]);
        assert_file(&container, "cpu", "cpu.cfs_burst_us", "10000");
    }
}

fn limits_from_a_file(case: &Case) {
    let container = sleeper_with(case, |_| {});
    let resources = json!({
        "memory": { "limit": 64 << 20, "reservation": 32 << 20 },
        "cpu": { "shares": 300, "quota": 20_000, "period": 100_000, "cpus": "0" },
        "pids": { "limit": 44 },
    });
    try_update_from(&container, &resources).ok();
    check(
        &container,
        &[
            ("memory", "memory.limit_in_bytes", "67108864"),
            ("memory", "memory.soft_limit_in_bytes", "33554432"),
            ("cpu", "cpu.shares", "300"),
            ("cpu", "cpu.cfs_quota_us", "20000"),
            ("cpuset", "cpuset.cpus", "0"),
            ("pids", "pids.max", "44"),
        ],
    );
}

fn limits_from_standard_input(case: &Case) {
    let container = sleeper_with(case, |_| {});
    let file = case.path("input.json");
    fs::write(&file, r#"{"pids": {"limit": 55}}"#).expect("the input");
    let mut command = case.command(&["update", "-r", "-", &container.id]);
    command.stdin(fs::File::open(&file).expect("the input"));
    case.finish(command).ok();
    assert_file(&container, "pids", "pids.max", "55");
}

/// As Go's JSON takes them; passed over, they would leave a container without its limits.
fn names_in_another_case(case: &Case) {
    let container = sleeper_with(case, |config| {
        let root = config["root"].as_object_mut().expect("an object");
        root.remove("readonly");
        root.insert("readOnly".to_owned(), json!(true));
        config["linux"]["resources"]["Pids"] = json!({ "LIMIT": 33 });
    });
    assert!(!container.exec(&["touch", "/file"]).status.success());
    assert_file(&container, "pids", "pids.max", "33");
    try_update_from(&container, &json!({ "PIDS": { "Limit": 12 } })).ok();
    assert_file(&container, "pids", "pids.max", "12");
}

fn minus_one_takes_limits_away(case: &Case) {
    let container = sleeper_with(case, |config| {
        let resources = &mut config["linux"]["resources"];
        resources["memory"] = json!({ "limit": 64 << 20, "swap": 96 << 20 });
        resources["cpu"] = json!({ "quota": 50_000, "period": 200_000 });
        resources["pids"] = json!({ "limit": 33 });
    });
    update(&container, &["--memory", "-1"]);
    update(&container, &["--cpu-quota", "-1", "--pids-limit", "-1"]);
    let unlimited = "9223372036854771712";
    check(
        &container,
        &[
            ("memory", "memory.limit_in_bytes", unlimited),
            ("memory", "memory.memsw.limit_in_bytes", unlimited),
            ("cpu", "cpu.cfs_quota_us", "-1"),
            ("cpu", "cpu.cfs_period_us", "200000"),
            ("pids", "pids.max", "max"),
        ],
    );
}

fn what_is_not_mentioned_stays(case: &Case) {
    let container = sleeper_with(case, |config| {
        let resources = &mut config["linux"]["resources"];
        resources["memory"] = json!({ "limit": 64 << 20 });
        resources["cpu"] = json!({ "shares": 300, "quota": 50_000, "period": 200_000, "cpus": "0" });
    });
    update(&container, &["--cpu-period", "100000"]);
    check(
        &container,
        &[
            ("cpu", "cpu.cfs_period_us", "100000"),
            ("cpu", "cpu.cfs_quota_us", "50000"),
            ("cpu", "cpu.shares", "300"),
            ("cpuset", "cpuset.cpus", "0"),
            ("memory", "memory.limit_in_bytes", "67108864"),
        ],
    );
    update(&container, &["--cpu-quota", "20000"]);
    check(
        &container,
        &[
            ("cpu", "cpu.cfs_period_us", "100000"),
            ("cpu", "cpu.cfs_quota_us", "20000"),
        ],
    );
}

fn what_says_nothing_changes_nothing(case: &Case) {
    let container = sleeper_with(case, |config| {
        config["linux"]["resources"]["pids"] = json!({ "limit": 33 });
    });
    update(&container, &[]);
    update(
        &container,
        &["--memory", "", "--cpu-quota", "", "--cpuset-cpus", ""],
    );
    let nothing = json!({
        "memory": { "limit": 0, "swap": 0, "reservation": 0 },
        "cpu": { "shares": 0, "quota": 0, "period": 0, "cpus": "", "mems": "" },
        "blockIO": { "weight": 0 },
    });
    try_update_from(&container, &nothing).ok();
    assert_file(&container, "pids", "pids.max", "33");
}

/// As for a new container, see `cgroups::pids_limit_of_zero_is_none`.
fn pids_limit_of_zero_says_nothing_before_version_1_3(case: &Case) {
    let container = sleeper_with(case, |config| {
        config["ociVersion"] = json!("1.0.2-dev");
        config["linux"]["resources"]["pids"] = json!({ "limit": 33 });
    });
    try_update_from(&container, &json!({ "pids": { "limit": 0 } })).ok();
    assert_file(&container, "pids", "pids.max", "33");
}

fn memory_and_swap_in_either_order(case: &Case) {
    let container = sleeper_with(case, |_| {});
    // The second limit is above the first limit on memory and swap, the third is below the second limit.
    for (memory, swap) in [
        (30_u64 << 20, 50_u64 << 20),
        (60 << 20, 80 << 20),
        (20 << 20, 25 << 20),
    ] {
        update(
            &container,
            &[
                "--memory",
                &memory.to_string(),
                "--memory-swap",
                &swap.to_string(),
            ],
        );
        assert_file(&container, "memory", "memory.limit_in_bytes", &memory.to_string());
        assert_file(
            &container,
            "memory",
            "memory.memsw.limit_in_bytes",
            &swap.to_string(),
        );
    }
}

fn earlier_updates_are_remembered(case: &Case) {
    let container = sleeper_with(case, |_| {});
    update(&container, &["--memory", "60M", "--memory-swap", "80M"]);
    let refused = try_update(&container, &["--memory", "90M"]);
    case.names(&refused.code_is(1), &["memory.swap"]);
    assert_file(&container, "memory", "memory.limit_in_bytes", "62914560");
    update(&container, &["--memory", "90M", "--memory-swap", "100M"]);
    assert_file(&container, "memory", "memory.limit_in_bytes", "94371840");
}

/// `linux.resources` as the state directory has it.
fn kept(container: &Container) -> Value {
    let file = container.case.root.join(&container.id).join("config.json");
    let config: Value = serde_json::from_slice(&fs::read(file).expect("config.json")).expect("JSON");
    config["linux"]["resources"].clone()
}

fn the_kept_configuration_is_what_the_kernel_has(case: &Case) {
    let container = sleeper_with(case, |config| {
        config["linux"]["resources"]["cpu"] = json!({ "shares": 300 });
    });
    update(&container, &["--pids-limit", "33"]);
    let resources = kept(&container);
    assert_eq!(resources["pids"]["limit"], 33);
    assert_eq!(resources["cpu"]["shares"], 300);
    try_update(&container, &["--pids-limit", "34", "--cpu-share", "1"]);
    let after = kept(&container);
    let max = fs::read_to_string(cgroup(&container, "pids").join("pids.max")).expect("pids.max");
    assert_eq!(after["pids"]["limit"].to_string(), max.trim());
}

fn updates_at_the_same_time(case: &Case) {
    let container = sleeper_with(case, |_| {});
    let running: Vec<_> = ["11", "22", "33", "44"]
        .iter()
        .map(|limit| case.start(case.command(&["update", "--pids-limit", limit, &container.id])))
        .collect();
    for update in running {
        update.wait().ok();
    }
    let max = fs::read_to_string(cgroup(&container, "pids").join("pids.max")).expect("pids.max");
    assert_eq!(kept(&container)["pids"]["limit"].to_string(), max.trim());
}

fn pids_limit_bites_at_once(case: &Case) {
    let container = sleeper_with(case, |_| {});
    let bomb = "for n in 1 2 3 4 5 6 7 8 9 10 11 12; do sleep 100 >/dev/null 2>&1 & done; echo all";
    update(&container, &["--pids-limit", "8"]);
    let output = container.exec(&["sh", "-c", bomb]);
    assert!(
        !output.stdout.contains("all") && output.stderr.contains("can't fork"),
        "{output}"
    );
    update(&container, &["--pids-limit", "100"]);
    let output = container.exec(&["sh", "-c", bomb]).ok();
    assert_eq!(output.stdout, "all\n");
}

fn memory_limit_bites_at_once(case: &Case) {
    let container = sleeper_with(case, |_| {});
    update(&container, &["--memory", "32M", "--memory-swap", "32M"]);
    let output = container.exec(&["sh", "-c", "tail /dev/zero; echo ended with $?"]);
    assert_eq!(output.stdout.trim(), "ended with 137", "{output}");
    assert_eq!(container.status(), "running");
}

/// A count in a file of `key number` lines.
fn count(container: &Container, controller: &str, file: &str, key: &str) -> u64 {
    let text = fs::read_to_string(cgroup(container, controller).join(file)).expect("a table");
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix(' '));
    line.expect("the key").parse().expect("a number")
}

fn cpu_quota_bites_at_once(case: &Case) {
    let container = case.script("while :; do :; done");
    container.run_detached();
    let throttled = || count(&container, "cpu", "cpu.stat", "nr_throttled");
    assert_eq!(throttled(), 0);
    update(&container, &["--cpu-quota", "5000", "--cpu-period", "100000"]);
    eventually("it is throttled", || (throttled() > 2).then_some(()));
}

fn cpuset_moves_what_runs(case: &Case) {
    let container = sleeper_with(case, |config| {
        config["linux"]["resources"]["cpu"] = json!({ "cpus": "0-1" });
    });
    let allowed = || {
        let status = fs::read_to_string(container.proc("status")).expect("its status");
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
        line.expect("the list").trim().to_owned()
    };
    assert_eq!(allowed(), "0-1");
    update(&container, &["--cpuset-cpus", "1"]);
    assert_eq!(allowed(), "1");
}

fn created_and_paused_containers(case: &Case) {
    let container = case.container(&["sleep", "1000"]);
    container.create();
    update(&container, &["--pids-limit", "11"]);
    assert_file(&container, "pids", "pids.max", "11");
    container.start();
    case.call(&["pause", &container.id]).ok();
    update(&container, &["--pids-limit", "22"]);
    assert_file(&container, "pids", "pids.max", "22");
    assert_eq!(container.status(), "paused");
    case.call(&["resume", &container.id]).ok();
}

fn exec_after_an_update(case: &Case) {
    let container = sleeper_with(case, |config| {
        config["process"]["env"]
            .as_array_mut()
            .expect("a list")
            .push(json!("FROM=config"));
    });
    let before = container.state();
    update(&container, &["--pids-limit", "33", "--memory", "64M"]);
    assert_eq!(container.sh("echo $FROM"), "config");
    assert_eq!(container.state(), before);
}

fn stopped_containers_are_refused(case: &Case) {
    let container = sleeper_with(case, |_| {});
    container.kill("KILL").ok();
    container.wait_for("stopped");
    let refused = try_update(&container, &["--pids-limit", "33"]).code_is(1);
    case.names(&refused, &["not running"]);
    let missing = case.call(&["update", "--pids-limit", "33", "no-such"]).code_is(1);
    case.names(&missing, &["no-such", "does not exist"]);
}

fn devices_stay_as_they_are(case: &Case) {
    let container = sleeper_with(case, |_| {});
    let open = json!({ "devices": [{ "allow": true, "access": "rwm" }], "pids": { "limit": 33 } });
    try_update_from(&container, &open).ok();
    let output = container.exec(&["sh", "-c", "head -c 1 /dev/full >/dev/null && echo allowed"]);
    assert_eq!(output.ok().stdout, "allowed\n");
    let script = "mknod /dev/kernel c 1 11 && : </dev/kernel && echo opened";
    let denied = container.exec_with(
        &["--cap", "CAP_MKNOD", "--cap", "CAP_SYSLOG"],
        &["sh", "-c", script],
    );
    assert!(!denied.stdout.contains("opened"), "{denied}");
    assert!(denied.stderr.contains("Operation not permitted"), "{denied}");
}

fn refused_update_changes_nothing(case: &Case) {
    let container = sleeper_with(case, |config| {
        config["linux"]["resources"]["cpu"] = json!({ "shares": 300 });
    });
    let before = kept(&container);
    let max = || fs::read_to_string(cgroup(&container, "pids").join("pids.max")).expect("pids.max");
    let unlimited = max();
    // pids is written first and cpuset later.
    let refused = try_update(
        &container,
        &[
            "--pids-limit",
            "33",
            "--cpu-share",
            "400",
            "--cpuset-cpus",
            "4000",
        ],
    );
    case.names(&refused.code_is(1), &["cpu.cpus", "4000"]);
    assert_eq!(max(), unlimited);
    assert_eq!(kept(&container), before);
    if Need::CgroupV1.missing().is_none() {
        assert_file(&container, "cpu", "cpu.shares", "300");
        // Less than what is in use.
        let refused = try_update(&container, &["--pids-limit", "33", "--memory", "4k"]);
        case.names(&refused.code_is(1), &["memory.limit", "4096"]);
        assert_eq!(max(), unlimited);
    }
}

fn wrong_values_are_refused(case: &Case) {
    let container = sleeper_with(case, |_| {});
    for (flags, culprit) in [
        (["--memory", "much"], "--memory"),
        (["--cpu-quota", "x"], "--cpu-quota"),
        (["--cpu-idle", "7x"], "--cpu-idle"),
        (["--cpu-period", "-5"], "--cpu-period"),
        (["--cpuset-cpus", "no"], "cpu.cpus"),
        (["--resources", "/no/such/file"], "/no/such/file"),
    ] {
        let output = try_update(&container, &flags);
        assert!(!output.status.success(), "{output}");
        if case.runtime.ours {
            assert!(output.stderr.contains(culprit), "{culprit}: {output}");
        }
    }
    let wrong = try_update_from(&container, &json!({ "memory": { "limit": "much" } })).code_is(1);
    case.names(&wrong, &["resources.json", "memory.limit"]);
}

fn kernel_memory_is_ignored_with_a_warning(case: &Case) {
    let container = sleeper_with(case, |_| {});
    let output = try_update(
        &container,
        &["--kernel-memory", "50M", "--kernel-memory-tcp", "40M"],
    )
    .ok();
    assert!(output.stderr.contains("ignored"), "{output}");
}

fn schemata_without_resctrl_are_refused(case: &Case) {
    let container = sleeper_with(case, |_| {});
    let flags = ["--l3-cache-schema", "L3:0=f", "--pids-limit", "33"];
    case.names(&try_update(&container, &flags).code_is(1), &["--l3-cache-schema"]);
    let max = fs::read_to_string(cgroup(&container, "pids").join("pids.max")).expect("pids.max");
    assert_ne!(max.trim(), "33");
}

fn unified_on_v1_is_refused(case: &Case) {
    let container = sleeper_with(case, |_| {});
    let refused = try_update_from(&container, &json!({ "unified": { "memory.max": "100000000" } }));
    case.names(&refused.code_is(1), &["unified"]);
}
