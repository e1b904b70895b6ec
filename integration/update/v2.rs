//! `update` on cgroup v2, and under systemd.

use super::*;
use crate::cgroups::{scope_with, unified_cgroup};

pub fn tests() -> Vec<Test> {
    vec![
        test!(unified_on_v2).unified(),
        test!(huge_pages_on_v2)
            .unified()
            .wrun_only("runc ignores huge pages here"),
        test!(controller_that_v2_lacks_is_refused).unified(),
        test!(limits_on_v2).needs(Need::CgroupV2),
        test!(check_before_update)
            .covers(&["linux.resources.memory.checkBeforeUpdate"])
            .needs(Need::CgroupV2),
        test!(limits_of_a_systemd_scope)
            .needs(Need::Systemd)
            .needs(Need::CgroupV2),
    ]
}

fn unified_on_v2(case: &Case) {
    let container = sleeper_with(case, |_| {});
    let resources = json!({ "unified": { "cgroup.max.descendants": "7" } });
    try_update_from(&container, &resources).ok();
    let value = fs::read_to_string(unified_cgroup(case).join("cgroup.max.descendants"));
    assert_eq!(value.expect("the file").trim(), "7");
    let refused = try_update_from(&container, &json!({ "unified": { "no.such.file": "7" } }));
    case.names(&refused.code_is(1), &["no.such.file"]);
}

fn huge_pages_on_v2(case: &Case) {
    let container = sleeper_with(case, |_| {});
    let file = unified_cgroup(case).join("hugetlb.2MB.max");
    if !file.exists() {
        return; // The controller is on v1 here.
    }
    let limits = |size: &str| json!({ "hugepageLimits": [{ "pageSize": size, "limit": 4 << 20 }] });
    try_update_from(&container, &limits("2MB")).ok();
    assert_eq!(fs::read_to_string(&file).expect("the limit").trim(), "4194304");
    case.names(
        &try_update_from(&container, &limits("7MB")).code_is(1),
        &["hugepageLimits", "7MB"],
    );
}

fn controller_that_v2_lacks_is_refused(case: &Case) {
    let container = sleeper_with(case, |_| {});
    if unified_cgroup(case).join("memory.max").exists() {
        return; // A machine with all controllers on v2 has nothing to refuse.
    }
    case.names(
        &try_update(&container, &["--memory", "64M"]).code_is(1),
        &["memory"],
    );
}

/// A limit of each kind, by options.
const ALL: [&str; 10] = [
    "--memory=64M",
    "--memory-swap=96M",
    "--memory-reservation=16M",
    "--cpu-period=200000",
    "--cpu-quota=50000",
    "--cpu-share=512",
    "--cpuset-cpus=0",
    "--cpuset-mems=0",
    "--pids-limit=33",
    "--blkio-weight=500",
];

fn has_all(container: &Container) {
    check(
        container,
        &[
            ("", "memory.max", "67108864"),
            ("", "memory.swap.max", "33554432"),
            ("", "memory.low", "16777216"),
            ("", "cpu.max", "50000 200000"),
            ("", "cpuset.cpus", "0"),
            ("", "cpuset.mems", "0"),
            ("", "pids.max", "33"),
        ],
    );
    // How shares become a weight has changed over time; 100 is the default of both.
    let weight = fs::read_to_string(cgroup(container, "").join("cpu.weight")).expect("cpu.weight");
    let weight: u64 = weight.trim().parse().expect("a number");
    assert!((10..100).contains(&weight), "cpu.weight is {weight}");
}

fn limits_on_v2(case: &Case) {
    let container = sleeper_with(case, |_| {});
    update(&container, &ALL);
    has_all(&container);
    update(&container, &["--cpu-period", "100000"]);
    assert_file(&container, "", "cpu.max", "50000 100000");
    update(&container, &["--cpu-quota", "-1"]);
    assert_file(&container, "", "cpu.max", "max 100000");
    update(&container, &["--memory", "-1", "--pids-limit", "-1"]);
    check(
        &container,
        &[
            ("", "memory.max", "max"),
            ("", "memory.swap.max", "max"),
            ("", "pids.max", "max"),
        ],
    );
    if cgroup(&container, "").join("cpu.idle").exists() {
        update(&container, &["--cpu-idle", "1"]);
        assert_file(&container, "", "cpu.idle", "1");
        update(&container, &["--pids-limit", "44"]);
        update(&container, &["--cpu-idle", "0"]);
        assert_file(&container, "", "cpu.idle", "0");
    }
}

fn check_before_update(case: &Case) {
    let container = sleeper_with(case, |_| {});
    let resources = json!({ "memory": { "limit": 4096, "checkBeforeUpdate": true } });
    let refused = try_update_from(&container, &resources).code_is(1);
    assert!(
        refused.error().contains("rejecting memory limit 4096 <= usage"),
        "{refused}"
    );
    assert_file(&container, "", "memory.max", "max");
    assert_eq!(container.status(), "running");
}

fn limits_of_a_systemd_scope(case: &Case) {
    let container = scope_with(case, &case.mark, |_| {});
    update(&container, &ALL);
    has_all(&container);
    let systemctl = |arguments: &[&str]| {
        let mut command = Command::new("systemctl");
        command.args(arguments).stdin(Stdio::null());
        case.finish(command).ok().stdout
    };
    let scope = format!("wrun-{}.scope", case.mark);
    let shown = systemctl(&[
        "show",
        "-p",
        "MemoryMax",
        "-p",
        "TasksMax",
        "-p",
        "CPUQuotaPerSecUSec",
        &scope,
    ]);
    for line in ["MemoryMax=67108864", "TasksMax=33", "CPUQuotaPerSecUSec=250ms"] {
        assert!(shown.lines().any(|own| own == line), "{line} in {shown}");
    }
    // systemd writes what it knows anew whenever a unit changes: it must know all of it.
    systemctl(&["daemon-reload"]);
    has_all(&container);
    // Also a quota that it can only keep rounded, as runc since 1.3.
    update(&container, &["--cpu-quota", "33333"]);
    if case.runtime.ours {
        assert_file(&container, "", "cpu.max", "34000 200000");
        systemctl(&["daemon-reload"]);
        assert_file(&container, "", "cpu.max", "34000 200000");
    }
    update(
        &container,
        &["--memory", "-1", "--cpu-quota", "-1", "--pids-limit", "-1"],
    );
    systemctl(&["daemon-reload"]);
    check(&container, &[("", "memory.max", "max"), ("", "pids.max", "max")]);
    // Without a quota systemd makes the period its default.
    let quota = fs::read_to_string(cgroup(&container, "").join("cpu.max")).expect("cpu.max");
    assert!(quota.starts_with("max "), "{quota}");
    // One that cannot be set takes back what systemd was told of the others.
    let refused = try_update(&container, &["--pids-limit", "44", "--cpuset-cpus", "4000"]);
    assert!(!refused.status.success(), "{refused}");
    if case.runtime.ours {
        assert_file(&container, "", "pids.max", "max");
        let shown = systemctl(&["show", "-p", "TasksMax", &scope]);
        assert_eq!(shown.trim(), "TasksMax=infinity");
    }
    // An idle cgroup takes no weight; one that is given a weight is idle no more.
    if cgroup(&container, "").join("cpu.idle").exists() {
        let resources = json!({ "unified": { "cpu.idle": "1", "cpu.weight": "8" } });
        let updates: [&dyn Fn() -> Output; 2] = [
            &|| try_update(&container, &["--cpu-share", "200", "--cpu-idle", "1"]),
            &|| try_update_from(&container, &resources),
        ];
        for update_both in updates {
            let output = update_both();
            assert!(output.stderr.contains("unable to apply both"), "{output}");
            assert_file(&container, "", "cpu.idle", "1");
            update(&container, &["--cpu-share", "200"]);
            assert_file(&container, "", "cpu.idle", "0");
        }
    }
    // Idle is a weight to systemd, and must not outlive its end.
    if case.runtime.ours && cgroup(&container, "").join("cpu.idle").exists() {
        for idle in ["1", "0"] {
            update(&container, &["--cpu-idle", idle]);
            systemctl(&["daemon-reload"]);
            assert_file(&container, "", "cpu.idle", idle);
        }
    }
    container.delete_with(&["--force"]).ok();
    case.nothing_left();
}
