//! What config.json asks for, and what is written for it in both modes.

use oci_spec::runtime::LinuxResources;

use super::*;

fn plan(json: &str, mode: CgroupMode) -> Result<Vec<String>, CgroupPlanError> {
    let resources: LinuxResources = serde_json::from_str(json).expect("the test's JSON");
    let plan = build(Some(&resources), Some("/t"), "id", mode, false, false)?;
    let line = |setting: &Setting| {
        let file = match (mode, setting.controller.as_str()) {
            (CgroupMode::V1, controller) => format!("{controller}: {}", setting.file),
            (CgroupMode::V2, "") => setting.file.clone(),
            (CgroupMode::V2, controller) => panic!("{controller} on v2"),
        };
        let suffix = match &setting.if_absent {
            IfAbsent::Fail => String::new(),
            IfAbsent::Skip => " ?".to_owned(),
            IfAbsent::Write { file, value } => format!(" | {file}={value}"),
        };
        format!("{file}={}{suffix}", setting.value)
    };
    Ok(plan.settings.iter().map(line).collect())
}

fn v1(json: &str) -> Vec<String> {
    plan(json, CgroupMode::V1).expect("a plan")
}

fn v2(json: &str) -> Vec<String> {
    plan(json, CgroupMode::V2).expect("a plan")
}

fn refused(json: &str, mode: CgroupMode) -> String {
    plan(json, mode).expect_err("a refusal").to_string()
}

fn location(path: Option<&str>, systemd: bool, rootless: bool) -> Result<Location, CgroupPlanError> {
    build(None, path, "id", CgroupMode::V2, systemd, rootless).map(|plan| plan.location)
}

fn cgroupfs(path: &str) -> Location {
    Location::Cgroupfs {
        path: PathBuf::from(path),
    }
}

#[test]
fn paths_are_cleaned_inside_the_root() {
    assert_eq!(
        location(Some("/docker/abc"), false, false),
        Ok(cgroupfs("/docker/abc"))
    );
    assert_eq!(
        location(Some("/../../a/./b/../c"), false, false),
        Ok(cgroupfs("/a/c"))
    );
    assert_eq!(location(Some("../../x"), false, false), Ok(cgroupfs("x")));
    assert_eq!(location(None, false, false), Ok(cgroupfs("id")));
    assert_eq!(location(Some(""), false, false), Ok(cgroupfs("id")));
    for root in ["/", "/..", "a/.."] {
        assert_eq!(
            location(Some(root), false, false),
            Err(CgroupPlanError::Root {
                path: root.to_owned()
            })
        );
    }
}

#[test]
fn systemd_takes_slice_prefix_and_name() {
    let scope = |slice: &str, scope: &str, user| {
        Ok(Location::Systemd {
            slice: slice.to_owned(),
            scope: scope.to_owned(),
            user,
        })
    };
    assert_eq!(
        location(Some("system.slice:docker:1"), true, false),
        scope("system.slice", "docker-1.scope", false)
    );
    assert_eq!(
        location(Some(":cri:1"), true, false),
        scope("system.slice", "cri-1.scope", false)
    );
    assert_eq!(
        location(None, true, false),
        scope("system.slice", "wrun-id.scope", false)
    );
    assert_eq!(
        location(None, true, true),
        scope("user.slice", "wrun-id.scope", true)
    );
    for wrong in [
        "/docker/abc",
        "a:b",
        "a.slice:b:c:d",
        "a.slice:b:",
        "a.slice:b:c/d",
        "a.slice:b:c.slice",
    ] {
        assert!(
            matches!(
                location(Some(wrong), true, false),
                Err(CgroupPlanError::SystemdPath { .. })
            ),
            "{wrong}"
        );
    }
    assert!(matches!(
        location(Some("a:b:c"), true, false),
        Err(CgroupPlanError::Slice { .. })
    ));
    assert_eq!(
        location(Some("system.slice:docker:1"), false, false),
        Ok(Location::Cgroupfs {
            path: PathBuf::from("system.slice:docker:1")
        })
    );
}

#[test]
fn slices_nest_by_their_dashes() {
    assert_eq!(
        expand_slice("kubepods-burstable-pod1.slice").unwrap(),
        PathBuf::from("kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1.slice")
    );
    assert_eq!(expand_slice("-.slice").unwrap(), PathBuf::new());
    for wrong in ["x", ".slice", "a--b.slice", "-a.slice", "a/b.slice", "a-.slice"] {
        assert!(expand_slice(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn only_an_unasked_for_cgroup_is_optional() {
    let optional = |path, rootless| {
        build(None, path, "id", CgroupMode::V2, false, rootless)
            .expect("a plan")
            .optional
    };
    assert!(optional(None, true));
    assert!(!optional(Some("/x"), true));
    assert!(!optional(None, false));
    let limited: LinuxResources = serde_json::from_str(r#"{"pids": {"limit": 5}}"#).unwrap();
    assert!(
        !build(Some(&limited), None, "id", CgroupMode::V2, false, true)
            .unwrap()
            .optional
    );
}

/// systemd keeps whole percent, and what is written to the file must be the same.
#[test]
fn a_quota_is_rounded_up_for_systemd_alone() {
    let values = |json: &str, mode: CgroupMode, systemd: bool| {
        let resources = serde_json::from_str(json).expect("the test's JSON");
        let plan = build(Some(&resources), None, "id", mode, systemd, false).expect("a plan");
        let values: Vec<String> = plan.settings.into_iter().map(|setting| setting.value).collect();
        values.join(", ")
    };
    let json = r#"{"cpu": {"quota": 500000, "period": 900000}}"#;
    assert_eq!(values(json, CgroupMode::V2, false), "500000 900000");
    assert_eq!(values(json, CgroupMode::V2, true), "504000 900000");
    assert_eq!(values(json, CgroupMode::V1, true), "900000, 504000");
    for (json, value) in [
        (r#"{"cpu": {"quota": 12345}}"#, "13000 100000"),
        (r#"{"cpu": {"quota": 50000, "period": 200000}}"#, "50000 200000"),
        (r#"{"cpu": {"quota": -1}}"#, "max 100000"),
        (r#"{"unified": {"cpu.max": "12345"}}"#, "13000"),
        (r#"{"unified": {"cpu.max": "max 50000"}}"#, "max 50000"),
        (r#"{"unified": {"cpu.max": "12345 x"}}"#, "12345 x"),
    ] {
        assert_eq!(values(json, CgroupMode::V2, true), value, "{json}");
    }
}

#[test]
fn cpu() {
    let json = r#"{"cpu": {"shares": 1024, "quota": 50000, "period": 100000, "burst": 0, "idle": 1,
                   "cpus": "0-1", "mems": "0"}}"#;
    assert_eq!(
        v1(json),
        [
            "cpu: cpu.shares=1024",
            "cpu: cpu.cfs_period_us=100000",
            "cpu: cpu.cfs_quota_us=50000",
            "cpu: cpu.cfs_burst_us=0 ?",
            "cpu: cpu.idle=1",
            "cpuset: cpuset.cpus=0-1",
            "cpuset: cpuset.mems=0",
        ]
    );
    assert_eq!(
        v2(json),
        [
            // Without the weight, which an idle cgroup does not take.
            "cpu.idle=1",
            "cpu.max=50000 100000",
            "cpu.max.burst=0 ?",
            "cpuset.cpus=0-1",
            "cpuset.mems=0",
        ]
    );
    assert_eq!(v2(r#"{"cpu": {"quota": -1}}"#), ["cpu.max=max 100000"]);
    assert_eq!(v2(r#"{"cpu": {"period": 50000}}"#), ["cpu.max=max 50000"]);
    assert_eq!(
        v2(r#"{"cpu": {"shares": 0, "quota": 0, "period": 0, "cpus": "", "realtimeRuntime": 0}}"#),
        [""; 0]
    );
    assert_eq!(
        v1(r#"{"cpu": {"realtimePeriod": 1000000, "realtimeRuntime": 950000}}"#),
        ["cpu: cpu.rt_period_us=1000000", "cpu: cpu.rt_runtime_us=950000"]
    );
    assert_eq!(
        refused(r#"{"cpu": {"realtimeRuntime": 950000}}"#, CgroupMode::V2),
        "linux.resources.cpu.realtimeRuntime: invalid configuration: cgroup v2 cannot express this"
    );
    assert!(
        refused(r#"{"cpu": {"shares": 1}}"#, CgroupMode::V1).starts_with("linux.resources.cpu.shares: 1")
    );
    assert!(refused(r#"{"cpu": {"idle": 2}}"#, CgroupMode::V2).starts_with("linux.resources.cpu.idle: 2"));
}

#[test]
fn shares_become_weights_on_runcs_curve() {
    // The minima, defaults and maxima of both scales meet.
    for (shares, weight) in [
        (1, 1),
        (2, 1),
        (3, 2),
        (1024, 100),
        (262_143, 10_000),
        (262_144, 10_000),
        (u64::MAX, 10_000),
    ] {
        assert_eq!(super::cpu::weight(shares), weight, "{shares}");
    }
}

#[test]
fn memory() {
    let json = r#"{"memory": {"limit": 1000, "swap": 3000, "reservation": 500, "swappiness": 18446744073709551615,
                   "disableOOMKiller": false, "kernel": 7, "kernelTCP": 0, "useHierarchy": true}}"#;
    assert_eq!(
        v1(json),
        [
            "memory: memory.limit_in_bytes=1000",
            "memory: memory.memsw.limit_in_bytes=3000",
            "memory: memory.soft_limit_in_bytes=500",
            "memory: memory.use_hierarchy=1 ?",
        ]
    );
    assert_eq!(
        v2(json),
        ["memory.swap.max=2000", "memory.max=1000", "memory.low=500"]
    );
    assert_eq!(
        v2(r#"{"memory": {"limit": 1000, "swap": 1000}}"#),
        ["memory.swap.max=0 ?", "memory.max=1000"]
    );
    assert_eq!(
        v2(r#"{"memory": {"limit": -1}}"#),
        ["memory.swap.max=max ?", "memory.max=max"]
    );
    assert_eq!(
        v2(r#"{"memory": {"limit": -1, "swap": 70}}"#),
        ["memory.swap.max=70", "memory.max=max"]
    );
    assert_eq!(
        v2(r#"{"memory": {"limit": 9, "swap": -1}}"#),
        ["memory.swap.max=max ?", "memory.max=9"]
    );
    assert_eq!(v2(r#"{"memory": {"limit": 0, "swap": 0}}"#), [""; 0]);
    assert_eq!(
        v1(r#"{"memory": {"limit": -1}}"#),
        [
            "memory: memory.limit_in_bytes=-1",
            "memory: memory.memsw.limit_in_bytes=-1 ?"
        ]
    );
    assert_eq!(
        v1(r#"{"memory": {"swappiness": 0, "disableOOMKiller": true, "kernelTCP": 4096}}"#),
        [
            "memory: memory.kmem.tcp.limit_in_bytes=4096",
            "memory: memory.oom_control=1",
            "memory: memory.swappiness=0",
        ]
    );
}

#[test]
fn memory_refusals_name_the_property() {
    for (json, property) in [
        (r#"{"memory": {"swap": 70}}"#, "memory.swap"),
        (r#"{"memory": {"limit": 100, "swap": 70}}"#, "memory.swap"),
        (r#"{"memory": {"limit": -2}}"#, "memory.limit"),
        (r#"{"memory": {"swappiness": 60}}"#, "memory.swappiness"),
        (
            r#"{"memory": {"disableOOMKiller": true}}"#,
            "memory.disableOOMKiller",
        ),
        (r#"{"memory": {"kernelTCP": 100}}"#, "memory.kernelTCP"),
        (r#"{"memory": {"useHierarchy": false}}"#, "memory.useHierarchy"),
    ] {
        let error = refused(json, CgroupMode::V2);
        assert!(
            error.starts_with(&format!("linux.resources.{property}: ")),
            "{json}: {error}"
        );
    }
    assert!(refused(r#"{"memory": {"swappiness": 101}}"#, CgroupMode::V1).contains("memory.swappiness: 101"));
}

#[test]
fn block_io() {
    let json = r#"{"blockIO": {"weight": 500, "weightDevice": [{"major": 8, "minor": 0, "weight": 10}],
        "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 600}],
        "throttleWriteIOPSDevice": [{"major": 8, "minor": 16, "rate": 300}]}}"#;
    assert_eq!(
        v1(json),
        [
            "blkio: blkio.weight=500 | blkio.bfq.weight=500",
            "blkio: blkio.weight_device=8:0 10 | blkio.bfq.weight_device=8:0 10",
            "blkio: blkio.throttle.read_bps_device=8:0 600",
            "blkio: blkio.throttle.write_iops_device=8:16 300",
        ]
    );
    assert_eq!(
        v2(json),
        [
            "io.bfq.weight=500 | io.weight=4950",
            "io.bfq.weight=8:0 10 | io.weight=8:0 1",
            "io.max=8:0 rbps=600",
            "io.max=8:16 wiops=300",
        ]
    );
    assert_eq!(v2(r#"{"blockIO": {"weight": 0, "leafWeight": 0}}"#), [""; 0]);
    assert_eq!(
        v1(r#"{"blockIO": {"leafWeight": 20}}"#),
        ["blkio: blkio.leaf_weight=20"]
    );
    assert!(refused(r#"{"blockIO": {"leafWeight": 20}}"#, CgroupMode::V2).contains("blockIO.leafWeight"));
    assert!(refused(r#"{"blockIO": {"weight": 9}}"#, CgroupMode::V2).contains("blockIO.weight: 9"));
    let negative = r#"{"blockIO": {"throttleReadBpsDevice": [{"major": -1, "minor": 0, "rate": 6}]}}"#;
    assert!(refused(negative, CgroupMode::V2).contains("throttleReadBpsDevice[0]"));
}

#[test]
fn the_small_controllers() {
    let json = r#"{"pids": {"limit": 7}, "hugepageLimits": [{"pageSize": "2MB", "limit": 4096}],
        "rdma": {"mlx1": {"hcaHandles": 2, "hcaObjects": 3}, "mlx0": {"hcaObjects": 4}, "none": {}}}"#;
    assert_eq!(
        v1(json),
        [
            "pids: pids.max=7",
            "hugetlb: hugetlb.2MB.limit_in_bytes=4096",
            "hugetlb: hugetlb.2MB.rsvd.limit_in_bytes=4096 ?",
            "rdma: rdma.max=mlx0 hca_object=4",
            "rdma: rdma.max=mlx1 hca_handle=2 hca_object=3",
        ]
    );
    assert_eq!(
        v2(json),
        [
            "pids.max=7",
            "hugetlb.2MB.max=4096",
            "hugetlb.2MB.rsvd.max=4096 ?",
            "rdma.max=mlx0 hca_object=4",
            "rdma.max=mlx1 hca_handle=2 hca_object=3",
        ]
    );
    assert_eq!(v2(r#"{"pids": {"limit": -1}}"#), ["pids.max=max"]);
    assert_eq!(v2(r#"{"pids": {"limit": 0}}"#), ["pids.max=1"]);
    for (limit, minor, some) in [
        (0, 0, false),
        (0, 2, false),
        (0, 3, true),
        (1, 2, true),
        (-1, 0, true),
    ] {
        let json = format!(r#"{{"pids": {{"limit": {limit}}}}}"#);
        let resources: LinuxResources = serde_json::from_str(&json).unwrap();
        assert_eq!(
            as_meant(&resources, minor).pids().is_some(),
            some,
            "{limit} in 1.{minor}"
        );
    }
    let escape = r#"{"hugepageLimits": [{"pageSize": "../2MB", "limit": 4096}]}"#;
    assert!(refused(escape, CgroupMode::V2).contains("hugepageLimits[0].pageSize"));
    let network = r#"{"network": {"classID": 5, "priorities": [{"name": "eth0", "priority": 2}]}}"#;
    assert_eq!(
        v1(network),
        [
            "net_cls: net_cls.classid=5",
            "net_prio: net_prio.ifpriomap=eth0 2"
        ]
    );
    assert!(refused(network, CgroupMode::V2).contains("network.classID"));
}

#[test]
fn unified_is_for_v2_and_written_by_line() {
    let json = r#"{"unified": {"memory.high": "7", "io.max": "8:0 rbps=1\n8:16 rbps=2\n"}}"#;
    assert_eq!(
        v2(json),
        ["io.max=8:0 rbps=1", "io.max=8:16 rbps=2", "memory.high=7"]
    );
    assert!(
        refused(json, CgroupMode::V1)
            .starts_with("linux.resources.unified: invalid configuration: cgroup v1")
    );
    for key in ["x/../y.z", "nodot", ".x", "x."] {
        let json = format!(r#"{{"unified": {{"{key}": "1"}}}}"#);
        assert!(
            refused(&json, CgroupMode::V2).starts_with("linux.resources.unified: "),
            "{key}"
        );
    }
    assert_eq!(v1(r#"{"unified": {}}"#), [""; 0]);
}

fn policy(json: &str) -> Result<(bool, Vec<String>), CgroupPlanError> {
    let resources: LinuxResources = serde_json::from_str(json).expect("the test's JSON");
    let plan = build(Some(&resources), None, "id", CgroupMode::V2, false, false)?;
    let policy = DevicePolicy::new(&plan.devices.expect("rules"))?;
    Ok((
        policy.default_allow,
        policy.exceptions.iter().map(ToString::to_string).collect(),
    ))
}

const DEFAULT_EXCEPTIONS: [&str; 11] = [
    "c *:* m",
    "b *:* m",
    "c 1:3 rwm",
    "c 1:5 rwm",
    "c 1:7 rwm",
    "c 1:8 rwm",
    "c 1:9 rwm",
    "c 5:0 rwm",
    "c 5:2 rwm",
    "c 10:200 rwm",
    "c 136:* rwm",
];

#[test]
fn without_rules_only_the_default_devices_are_allowed() {
    assert_eq!(
        policy("{}"),
        Ok((false, DEFAULT_EXCEPTIONS.map(str::to_owned).to_vec()))
    );
}

#[test]
fn a_denial_of_all_up_front_leaves_the_defaults_and_what_follows() {
    let (default_allow, exceptions) = policy(
        r#"{"devices": [{"allow": true, "type": "b", "major": 9, "minor": 9, "access": "r"},
            {"allow": false, "access": "rwm"},
            {"allow": true, "type": "c", "major": 1, "minor": 3, "access": "r"},
            {"allow": true, "type": "b", "major": 8, "minor": 1, "access": "r"},
            {"allow": true, "type": "b", "major": 8, "minor": 1, "access": "w"},
            {"allow": true, "type": "b", "major": 8, "minor": 2, "access": "rw"},
            {"allow": false, "type": "b", "major": 8, "minor": 2, "access": "w"}]}"#,
    )
    .unwrap();
    assert!(!default_allow);
    for expected in DEFAULT_EXCEPTIONS.into_iter().chain(["b 8:1 rw", "b 8:2 r"]) {
        assert!(
            exceptions.iter().any(|exception| exception == expected),
            "{expected} in {exceptions:?}"
        );
    }
    assert_eq!(exceptions.len(), DEFAULT_EXCEPTIONS.len() + 2);
}

#[test]
fn allowing_all_leaves_no_exceptions() {
    // What a privileged container gets: the defaults that follow take nothing away.
    let json = r#"{"devices": [{"allow": true, "access": "rwm", "major": -1, "minor": -1}]}"#;
    assert_eq!(policy(json), Ok((true, Vec::new())));
}

#[test]
fn device_rules_that_cannot_be_kept_are_refused() {
    let hole = r#"{"devices": [{"allow": true, "type": "c", "major": 4, "access": "rw"},
        {"allow": false, "type": "c", "major": 4, "minor": 1, "access": "w"}]}"#;
    assert_eq!(
        policy(hole).unwrap_err(),
        CgroupPlanError::DeviceHole {
            rule: "c 4:1 w".to_owned(),
            wider: "c 4:* rw".to_owned()
        }
    );
    let crossing = r#"{"devices": [{"allow": true, "type": "c", "minor": 1, "access": "rw"},
        {"allow": false, "type": "c", "major": 1, "access": "w"}]}"#;
    assert_eq!(
        policy(crossing).unwrap_err(),
        CgroupPlanError::DeviceHole {
            rule: "c 1:* w".to_owned(),
            wider: "c *:1 rw".to_owned()
        }
    );
    // Not what they have in common is denied.
    let apart = crossing.replace(r#""access": "w"}]"#, r#""access": "m"}]"#);
    assert!(policy(&apart).is_ok());
    for (rule, property) in [
        (
            r#"{"allow": true, "type": "c", "access": ""}"#,
            "devices[0].access",
        ),
        (
            r#"{"allow": true, "type": "c", "access": "x"}"#,
            "devices[0].access",
        ),
        (r#"{"allow": true, "type": "c"}"#, "devices[0].access"),
        (
            r#"{"allow": true, "type": "p", "access": "r"}"#,
            "devices[0].type",
        ),
        (
            r#"{"allow": true, "type": "c", "major": -7, "access": "r"}"#,
            "devices[0].major",
        ),
    ] {
        let error = policy(&format!(r#"{{"devices": [{rule}]}}"#))
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with(&format!("linux.resources.{property}: ")),
            "{rule}: {error}"
        );
    }
}

#[test]
fn a_rule_for_all_devices_may_name_less_than_everything() {
    let exceptions = |rules: &str| {
        let (default_allow, mut exceptions) = policy(&format!(r#"{{"devices": [{rules}]}}"#)).unwrap();
        let defaults = policy("{}").unwrap().1;
        exceptions.retain(|exception| default_allow || !defaults.contains(exception));
        (default_allow, exceptions)
    };
    let some = |list: &[&str]| list.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>();
    assert_eq!(
        exceptions(r#"{"allow": true, "type": "a", "access": "rw"}"#),
        (false, some(&["c *:* rwm", "b *:* rwm"])),
        "every container may make nodes"
    );
    assert_eq!(
        exceptions(r#"{"allow": true, "type": "a", "major": 8, "access": "r"}"#),
        (false, some(&["c 8:* r", "b 8:* r"]))
    );
    assert_eq!(
        exceptions(
            r#"{"allow": true, "type": "c", "major": 4, "minor": 7, "access": "rw"},
            {"allow": false, "type": "a", "access": "w"}"#
        ),
        (false, some(&["c 4:7 r"])),
        "a later denial takes from what is narrower"
    );
    let (allowed, _) = exceptions(
        r#"{"allow": true, "access": "rwm"}, {"allow": false, "type": "c", "major": 4, "access": "rwm"},
        {"allow": true, "type": "a", "major": 4, "access": "r"}"#,
    );
    assert!(allowed);
}

#[test]
fn the_cpu_limit_can_be_asked_for() {
    let cpus = |json: &str, mode| {
        let resources: LinuxResources = serde_json::from_str(json).unwrap();
        build(Some(&resources), None, "id", mode, false, false)
            .unwrap()
            .cpus()
    };
    for mode in [CgroupMode::V1, CgroupMode::V2] {
        let of = |json| cpus(json, mode);
        assert_eq!(of(r#"{"cpu": {"quota": 150000, "period": 100000}}"#), Some(2));
        assert_eq!(of(r#"{"cpu": {"quota": 50000}}"#), Some(1));
        assert_eq!(of(r#"{"cpu": {"quota": 400000, "period": 100000}}"#), Some(4));
        assert_eq!(of(r#"{"cpu": {"quota": -1, "period": 100000}}"#), None);
        assert_eq!(of(r#"{"cpu": {"shares": 10}}"#), None);
        assert_eq!(of("{}"), None);
    }
}

#[test]
fn the_memory_limit_can_be_asked_for() {
    let limit = |json: &str, mode| {
        let resources: LinuxResources = serde_json::from_str(json).unwrap();
        build(Some(&resources), None, "id", mode, false, false)
            .unwrap()
            .memory_limit()
    };
    for mode in [CgroupMode::V1, CgroupMode::V2] {
        assert_eq!(
            limit(
                r#"{"memory": {"limit": 100, "reservation": 50, "swap": 200}}"#,
                mode
            ),
            Some(100)
        );
        assert_eq!(limit(r#"{"memory": {"limit": -1}}"#, mode), None);
        assert_eq!(limit("{}", mode), None);
    }
    assert_eq!(
        limit(
            r#"{"memory": {"limit": 7}, "unified": {"memory.max": "9"}}"#,
            CgroupMode::V2
        ),
        Some(9)
    );
}

#[test]
fn dockers_own_rules_are_taken() {
    // Among them a denial of what is not allowed anyway, and the console, which no default has.
    let (default_allow, exceptions) = policy(
        r#"{"devices": [{"allow": false, "access": "rwm"},
            {"allow": true, "type": "c", "major": 1, "minor": 5, "access": "rwm"},
            {"allow": true, "type": "c", "major": 5, "minor": 1, "access": "rwm"},
            {"allow": false, "type": "c", "major": 10, "minor": 229, "access": "rwm"}]}"#,
    )
    .unwrap();
    assert!(!default_allow);
    assert_eq!(exceptions.len(), DEFAULT_EXCEPTIONS.len() + 1);
    assert!(exceptions.iter().any(|exception| exception == "c 5:1 rwm"));
}
