//! What is asked for less often: the rest of memory and cpu, block I/O, network classes, RDMA, kinds of devices.

use std::process::Command;

use super::*;
use crate::harness::bundle::add_mount;
use crate::harness::disk::Disk;
use crate::harness::facts::MOUNT_NETWORK_CLASSES;

pub fn tests() -> Vec<Test> {
    vec![
        test!(memory_of_the_kernel)
            .needs(Need::CgroupV1)
            .covers(&["linux.resources.memory.{kernel,kernelTCP}"]),
        test!(oom_killer_and_hierarchy)
            .needs(Need::CgroupV1)
            .covers(&["linux.resources.memory.{disableOOMKiller,useHierarchy}"]),
        test!(real_time_of_a_cgroup)
            .needs(Need::RealTimeGroups)
            .covers(&["linux.resources.cpu.{realtimeRuntime,realtimePeriod}"]),
        test!(idle_and_burst)
            .needs(Need::CgroupV1)
            .runc_from(2, "idle cgroups and bursts")
            .covers(&["linux.resources.cpu.{idle,burst}"]),
        test!(idle_and_burst_on_v2)
            .needs(Need::CgroupV2)
            .runc_from(2, "idle cgroups and bursts")
            .covers(&["linux.resources.cpu.{idle,burst}"]),
        test!(throttles_of_a_disk)
            .needs(Need::CgroupV1)
            .needs(Need::Disk)
            .covers(THROTTLES),
        test!(throttles_of_a_disk_on_v2)
            .needs(Need::CgroupV2)
            .needs(Need::Disk)
            .covers(THROTTLES),
        test!(weights)
            .needs(Need::BlockWeights)
            .covers(&["linux.resources.blockIO.weight"]),
        test!(weight_of_a_disk)
            .needs(Need::DiskWeights)
            .covers(&["linux.resources.blockIO.weightDevice.{major,minor,weight}"]),
        test!(leaf_weights_that_the_kernel_lacks_are_refused)
            .needs(Need::CgroupV1)
            .needs(Need::NoLeafWeights)
            .covers(&[
                "linux.resources.blockIO.leafWeight",
                "linux.resources.blockIO.weightDevice.leafWeight",
            ]),
        test!(network_class_and_priority)
            .needs(Need::NetworkClasses)
            .covers(&[
                "linux.resources.network.classID",
                "linux.resources.network.priorities.{name,priority}",
            ]),
        test!(network_class_without_its_controller_is_refused)
            .wrun_only("runc passes it over where no hierarchy has the controller")
            .covers(&["linux.resources.network.classID"]),
        test!(rdma_without_its_controller_is_refused)
            .needs(Need::NoRdma)
            .wrun_only("runc passes it over where no hierarchy has the controller")
            .covers(&["linux.resources.rdma.{hcaHandles,hcaObjects}"]),
        test!(rules_for_each_kind_of_device)
            .needs(Need::CgroupV1)
            .covers(&["linux.resources.devices.type={a,b,c}"]),
        test!(rule_for_all_devices).covers(&[
            "linux.resources.devices.{allow,type,access}",
            "linux.resources.devices.type=a",
        ]),
        test!(rule_for_all_devices_on_v2).unified().covers(&[
            "linux.resources.devices.{allow,type,access}",
            "linux.resources.devices.type=a",
        ]),
        test!(kinds_of_devices_that_have_no_rules_are_refused)
            .covers(&["linux.resources.devices.type={u,p}"]),
    ]
}

const THROTTLES: &[&str] = &[
    "linux.resources.blockIO.throttleReadBpsDevice.{major,minor,rate}",
    "linux.resources.blockIO.throttleWriteBpsDevice.{major,minor,rate}",
    "linux.resources.blockIO.throttleReadIOPSDevice.{major,minor,rate}",
    "linux.resources.blockIO.throttleWriteIOPSDevice.{major,minor,rate}",
];

/// `kernel` is deprecated: passed over, as in runc. runc passes over the other too.
fn memory_of_the_kernel(case: &Case) {
    let container = sleeper_with(case, |config| {
        config["linux"]["resources"]["memory"] = json!({ "kernel": 1 << 20, "kernelTCP": 2 << 20 });
    });
    let file = cgroup(&container, "memory").join("memory.kmem.limit_in_bytes");
    assert_ne!(fs::read_to_string(file).expect("the limit").trim(), "1048576");
    if case.runtime.ours {
        assert_file(&container, "memory", "memory.kmem.tcp.limit_in_bytes", "2097152");
    }
}

fn oom_killer_and_hierarchy(case: &Case) {
    let container = sleeper_with(case, |config| {
        config["linux"]["resources"]["memory"] = json!({ "disableOOMKiller": true, "useHierarchy": true });
    });
    let control = fs::read_to_string(cgroup(&container, "memory").join("memory.oom_control"));
    assert!(control.expect("the file").contains("oom_kill_disable 1\n"));
    assert_file(&container, "memory", "memory.use_hierarchy", "1");
}

fn real_time_of_a_cgroup(case: &Case) {
    let container = sleeper_with(case, |config| {
        config["linux"]["resources"]["cpu"] = json!({ "realtimeRuntime": 5000, "realtimePeriod": 500_000 });
    });
    assert_file(&container, "cpu", "cpu.rt_runtime_us", "5000");
    assert_file(&container, "cpu", "cpu.rt_period_us", "500000");
}

fn idle(case: &Case) -> Container<'_> {
    sleeper_with(case, |config| {
        config["linux"]["resources"]["cpu"] = json!({ "idle": 1 })
    })
}

fn bursting(case: &Case) -> Container<'_> {
    sleeper_with(case, |config| {
        config["linux"]["resources"]["cpu"] = json!({ "quota": 50_000, "period": 100_000, "burst": 20_000 });
    })
}

fn idle_and_burst(case: &Case) {
    // runc knows idle cgroups on v2 alone.
    let container = idle(case);
    if case.runtime.ours {
        assert_file(&container, "cpu", "cpu.idle", "1");
    }
    assert_file(&bursting(case), "cpu", "cpu.cfs_burst_us", "20000");
}

fn idle_and_burst_on_v2(case: &Case) {
    assert_file(&idle(case), "", "cpu.idle", "1");
    assert_file(&bursting(case), "", "cpu.max.burst", "20000");
}

fn throttled<'case>(case: &'case Case, disk: &Disk) -> Container<'case> {
    sleeper_with(case, |config| {
        for (property, rate) in [
            ("throttleReadBpsDevice", 1_000_001),
            ("throttleWriteBpsDevice", 1_000_002),
            ("throttleReadIOPSDevice", 1003),
            ("throttleWriteIOPSDevice", 1004),
        ] {
            config["linux"]["resources"]["blockIO"][property] =
                json!([{ "major": Disk::MAJOR, "minor": disk.minor, "rate": rate }]);
        }
    })
}

fn throttles_of_a_disk(case: &Case) {
    let disk = Disk::new(case);
    let container = throttled(case, &disk);
    for (what, rate) in [
        ("read_bps", 1_000_001),
        ("write_bps", 1_000_002),
        ("read_iops", 1003),
        ("write_iops", 1004),
    ] {
        let file = format!("blkio.throttle.{what}_device");
        assert_file(&container, "blkio", &file, &format!("7:{} {rate}", disk.minor));
    }
}

fn throttles_of_a_disk_on_v2(case: &Case) {
    let disk = Disk::new(case);
    let expected = format!("7:{} rbps=1000001 wbps=1000002 riops=1003 wiops=1004", disk.minor);
    assert_file(&throttled(case, &disk), "", "io.max", &expected);
}

fn weights(case: &Case) {
    let container = sleeper_with(case, |config| {
        config["linux"]["resources"]["blockIO"] = json!({ "weight": 444 });
    });
    let directory = cgroup(&container, "blkio");
    // On v2 without the scheduler BFQ there is another scale: 1 + (444 - 10) * 9999 / 990.
    let read = |file: &str| fs::read_to_string(directory.join(file)).unwrap_or_default();
    let found = ["blkio.weight", "blkio.bfq.weight", "io.bfq.weight", "io.weight"].map(read);
    let found = found.map(|text| text.trim().trim_start_matches("default ").to_owned());
    assert!(
        found.iter().any(|value| value == "444" || value == "4384"),
        "{found:?}"
    );
}

fn weight_of_a_disk(case: &Case) {
    let disk = Disk::new(case);
    disk.set_scheduler("bfq");
    let container = sleeper_with(case, |config| {
        config["linux"]["resources"]["blockIO"]["weightDevice"] =
            json!([{ "major": Disk::MAJOR, "minor": disk.minor, "weight": 444 }]);
    });
    let directory = cgroup(&container, "blkio");
    let found = ["blkio.weight_device", "blkio.bfq.weight_device", "io.bfq.weight"]
        .map(|file| fs::read_to_string(directory.join(file)).unwrap_or_default());
    let line = format!("7:{} 444", disk.minor);
    assert!(
        found.iter().any(|text| text.lines().any(|own| own == line)),
        "{found:?}"
    );
}

fn leaf_weights_that_the_kernel_lacks_are_refused(case: &Case) {
    for (settings, file) in [
        (json!({ "leafWeight": 400 }), "blkio.leaf_weight"),
        (
            json!({ "weightDevice": [{ "major": 7, "minor": 0, "leafWeight": 400 }] }),
            "blkio.leaf_weight_device",
        ),
    ] {
        let container = case.container_with(&["true"], |config| {
            config["linux"]["resources"]["blockIO"] = settings;
        });
        let output = container.run();
        assert!(!output.status.success(), "{output}");
        case.names(&output, &[file]);
        case.nothing_left();
    }
}

/// Machines of today mount no such hierarchy, so it is mounted for the runtime alone.
fn network_class_and_priority(case: &Case) {
    let script =
        "cat /sys/fs/cgroup/net_cls/net_cls.classid; grep '^lo ' /sys/fs/cgroup/net_prio/net_prio.ifpriomap";
    let container = case.script_with(script, |config| {
        add_mount(config, "/sys/fs/cgroup", "cgroup", "cgroup", &["ro"]);
        config["linux"]["resources"]["network"] = json!({
            "classID": 0x10_0042, "priorities": [{ "name": "lo", "priority": 7 }]
        });
    });
    let run = container.command("run", &[]);
    let mut command = Command::new("unshare");
    command
        .args(["-m", "sh", "-c", MOUNT_NETWORK_CLASSES, "x"])
        .arg(run.get_program())
        .args(run.get_args())
        .stdin(std::process::Stdio::null());
    assert_eq!(case.finish(command).ok().lines(), ["1048642", "lo 7"]);
}

fn network_class_without_its_controller_is_refused(case: &Case) {
    let table = fs::read_to_string("/proc/self/cgroup").expect("our cgroups");
    if table.contains("net_cls") {
        return; // Nothing to refuse.
    }
    let container = case.container_with(&["true"], |config| {
        config["linux"]["resources"]["network"] = json!({ "classID": 1 });
    });
    case.names(&container.run().code_is(1), &["network.classID"]);
    case.nothing_left();
}

fn rdma_without_its_controller_is_refused(case: &Case) {
    for property in ["hcaHandles", "hcaObjects"] {
        let container = case.container_with(&["true"], |config| {
            config["linux"]["resources"]["rdma"] = json!({ "mlx5_1": { property: 3 } });
        });
        case.names(&container.run().code_is(1), &["rdma.mlx5_1"]);
        case.nothing_left();
    }
}

fn with_rule(case: &Case, rule: Value) -> Container<'_> {
    case.container_with(&["sleep", "1000"], |config| {
        let rules = config["linux"]["resources"]["devices"]
            .as_array_mut()
            .expect("rules");
        rules.push(rule);
    })
}

fn rules_for_each_kind_of_device(case: &Case) {
    for (kind, rule, shown) in [
        (
            "b",
            json!({ "allow": true, "type": "b", "major": 7, "minor": 99, "access": "rw" }),
            "b 7:99 rw",
        ),
        (
            "c",
            json!({ "allow": true, "type": "c", "major": 10, "access": "r" }),
            "c 10:* r",
        ),
        (
            "a",
            json!({ "allow": true, "type": "a", "access": "rwm" }),
            "a *:* rwm",
        ),
    ] {
        let container = with_rule(case, rule);
        container.run_detached();
        let list = fs::read_to_string(cgroup(&container, "devices").join("devices.list")).expect("the list");
        assert!(list.lines().any(|line| line == shown), "{kind}: {list}");
        container.delete_with(&["--force"]).ok();
    }
}

fn rule_for_all_devices(case: &Case) {
    for (rule, opened) in [
        (json!({ "allow": true, "type": "a", "access": "rwm" }), true),
        (json!({ "allow": false, "type": "a", "access": "rwm" }), false),
    ] {
        let container = makes_a_device(case, true);
        container.edit(|config| {
            let rules = config["linux"]["resources"]["devices"]
                .as_array_mut()
                .expect("rules");
            rules.pop();
            rules.push(rule);
        });
        let output = container.run();
        assert_eq!(output.stdout.contains("opened"), opened, "{output}");
    }
}

fn rule_for_all_devices_on_v2(case: &Case) {
    rule_for_all_devices(case);
}

fn kinds_of_devices_that_have_no_rules_are_refused(case: &Case) {
    for kind in ["u", "p"] {
        let rule = json!({ "allow": true, "type": kind, "major": 1, "minor": 3, "access": "r" });
        let output = with_rule(case, rule).try_create(&[]);
        assert!(!output.status.success(), "{output}");
        case.names(&output, &["linux.resources.devices[1].type", kind]);
        case.nothing_left();
    }
}
