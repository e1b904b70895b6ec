//! How the process is scheduled: policy and priority, on the CPU and for I/O; and its execution domain.

use std::process::Command;

use serde_json::{Value, json};

use crate::harness::{Case, Need, Test, test};

const SCHEDULING: &str = "scheduling policies";

pub fn tests() -> Vec<Test> {
    vec![
        test!(ordinary_policies).runc_from(2, SCHEDULING).covers(&[
            "process.scheduler.{policy,nice}",
            "process.scheduler.policy={SCHED_OTHER,SCHED_BATCH,SCHED_IDLE}",
        ]),
        test!(real_time_policies)
            .needs(Need::RealTimeGroups)
            .runc_from(2, SCHEDULING)
            .covers(&[
                "process.scheduler.{policy,priority}",
                "process.scheduler.policy={SCHED_FIFO,SCHED_RR}",
                "linux.resources.cpu.{realtimeRuntime,realtimePeriod}",
            ]),
        test!(deadline_policy).runc_from(2, SCHEDULING).covers(&[
            "process.scheduler.{policy,runtime,deadline,period,flags}",
            "process.scheduler.policy=SCHED_DEADLINE",
            "process.scheduler.flags={SCHED_FLAG_RECLAIM,SCHED_FLAG_DL_OVERRUN}",
        ]),
        test!(policy_is_not_inherited_where_it_says_so)
            .runc_from(2, SCHEDULING)
            .covers(&[
                "process.scheduler.flags",
                "process.scheduler.flags=SCHED_FLAG_RESET_ON_FORK",
            ]),
        test!(policy_and_parameters_are_kept_where_it_says_so)
            .runc_from(2, SCHEDULING)
            .covers(&["process.scheduler.flags={SCHED_FLAG_KEEP_POLICY,SCHED_FLAG_KEEP_PARAMS}"]),
        test!(utilization_clamps_reach_the_kernel)
            .runc_from(2, SCHEDULING)
            .covers(&["process.scheduler.flags={SCHED_FLAG_UTIL_CLAMP_MIN,SCHED_FLAG_UTIL_CLAMP_MAX}"]),
        test!(policy_that_linux_lacks_is_refused)
            .runc_from(2, SCHEDULING)
            .covers(&["process.scheduler.policy=SCHED_ISO"]),
        test!(scheduling_without_sense_is_refused)
            .runc_from(2, SCHEDULING)
            .covers(&["process.scheduler.{nice,priority,runtime}"]),
        test!(io_priority).runc_from(2, "I/O priorities").covers(&[
            "process.ioPriority.{class,priority}",
            "process.ioPriority.class=*",
        ]),
        test!(personality)
            .runc_from(2, "personalities")
            .covers(&["linux.personality.domain", "linux.personality.domain=*"]),
        test!(personality_flags_are_refused)
            .wrun_only("runc passes them over with a warning")
            .covers(&["linux.personality.flags"]),
    ]
}

/// Fields 19, 40 and 41 of the shell's own /proc/self/stat: nice, real-time priority and policy.
const SHOW: &str = "read line </proc/self/stat; set -- ${line##*) }; echo ${17} ${38} ${39}";

/// Runs `script` under a scheduler.
fn scheduled(case: &Case, scheduler: Value, script: &str) -> crate::harness::Output {
    let container = case.script_with(script, |config| {
        config["process"]["scheduler"] = scheduler;
        if case.realtime_groups() {
            config["linux"]["resources"]["cpu"] =
                json!({ "realtimeRuntime": 10_000, "realtimePeriod": 1_000_000 });
        }
    });
    container.run()
}

fn ordinary_policies(case: &Case) {
    // The kernel heeds no nice value of SCHED_IDLE.
    for (policy, shown) in [
        ("SCHED_OTHER", "7 0 0\n"),
        ("SCHED_BATCH", "7 0 3\n"),
        ("SCHED_IDLE", "0 0 5\n"),
    ] {
        let output = scheduled(case, json!({ "policy": policy, "nice": 7 }), SHOW).ok();
        assert_eq!(output.stdout, shown, "{policy}");
    }
}

fn real_time_policies(case: &Case) {
    for (policy, number) in [("SCHED_FIFO", 1), ("SCHED_RR", 2)] {
        let output = scheduled(case, json!({ "policy": policy, "priority": 11 }), SHOW).ok();
        assert!(
            output.stdout.ends_with(&format!(" 11 {number}\n")),
            "{policy}: {output}"
        );
    }
    // Without the time that its cgroup is given there would be no such policy in it.
    let container = case.script_with(SHOW, |config| {
        config["process"]["scheduler"] = json!({ "policy": "SCHED_FIFO", "priority": 11 });
    });
    assert!(!container.run().status.success());
}

/// A process with a deadline cannot fork, so the shell does all by itself.
fn deadline_policy(case: &Case) {
    let scheduler = |flags: &[&str]| {
        json!({
            "policy": "SCHED_DEADLINE", "flags": flags,
            "runtime": 2_000_000, "deadline": 50_000_000, "period": 100_000_000,
        })
    };
    let output = scheduled(case, scheduler(&["SCHED_FLAG_RECLAIM"]), SHOW).ok();
    assert!(output.stdout.ends_with(" 6\n"), "{output}");
    let container = case.container_with(&["sleep", "1000"], |config| {
        config["process"]["scheduler"] = scheduler(&[]);
    });
    container.run_detached();
    let mut chrt = Command::new("chrt");
    chrt.args(["-p", &container.pid().to_string()]);
    let shown = case.finish(chrt).ok();
    assert!(shown.stdout.contains("2000000/50000000/100000000"), "{shown}");
    // Overruns are told by a signal only where the flag asks for that.
    let script = "trap 'exit 9' XCPU; while :; do :; done";
    scheduled(case, scheduler(&["SCHED_FLAG_DL_OVERRUN"]), script).code_is(9);
}

fn policy_is_not_inherited_where_it_says_so(case: &Case) {
    let of_a_child = format!("({SHOW}); cat /proc/self/stat | cut -d ' ' -f 41");
    let with = |flags: &[&str]| {
        let scheduler = json!({ "policy": "SCHED_BATCH", "flags": flags });
        let output = scheduled(case, scheduler, &of_a_child).ok();
        output.stdout.lines().last().expect("a policy").to_owned()
    };
    assert_eq!(with(&[]), "3");
    // sched(7): children of a policy that is no real-time one get the default nice value alone.
    let nice = json!({ "policy": "SCHED_OTHER", "nice": -5, "flags": ["SCHED_FLAG_RESET_ON_FORK"] });
    let script = format!("{SHOW}; cat /proc/self/stat | cut -d ' ' -f 19");
    assert_eq!(scheduled(case, nice, &script).ok().lines(), ["-5 0 0", "0"]);
}

fn policy_and_parameters_are_kept_where_it_says_so(case: &Case) {
    let with = |flags: &[&str]| {
        let scheduler = json!({ "policy": "SCHED_BATCH", "nice": 7, "flags": flags });
        scheduled(case, scheduler, SHOW).ok().stdout
    };
    assert_eq!(with(&[]), "7 0 3\n");
    assert!(with(&["SCHED_FLAG_KEEP_POLICY"]).ends_with(" 0 0\n"));
    assert!(with(&["SCHED_FLAG_KEEP_PARAMS"]).starts_with("0 0"));
}

/// The specification has no values for them: they are 0, and a kernel without CONFIG_UCLAMP_TASK refuses even those.
fn utilization_clamps_reach_the_kernel(case: &Case) {
    let known = std::fs::read_to_string("/proc/self/sched").is_ok_and(|text| text.contains("uclamp"));
    for flag in ["SCHED_FLAG_UTIL_CLAMP_MIN", "SCHED_FLAG_UTIL_CLAMP_MAX"] {
        let output = scheduled(case, json!({ "policy": "SCHED_OTHER", "flags": [flag] }), SHOW);
        if known {
            assert_eq!(output.ok().stdout, "0 0 0\n", "{flag}");
        } else {
            // EOPNOTSUPP, and not EINVAL for attributes that are too short for the flag.
            assert!(!output.status.success(), "{output}");
            case.names(&output, &["process.scheduler", "not supported"]);
        }
    }
}

fn policy_that_linux_lacks_is_refused(case: &Case) {
    let output = scheduled(case, json!({ "policy": "SCHED_ISO" }), "true");
    assert!(!output.status.success(), "{output}");
    case.names(&output, &["process.scheduler", "SCHED_ISO"]);
    case.nothing_left();
}

fn scheduling_without_sense_is_refused(case: &Case) {
    for (scheduler, culprit) in [
        (json!({ "policy": "SCHED_OTHER", "nice": 20 }), "nice"),
        (json!({ "policy": "SCHED_OTHER", "priority": 1 }), "priority"),
        (json!({ "policy": "SCHED_OTHER", "runtime": 1 }), "runtime"),
    ] {
        let output = scheduled(case, scheduler, "true");
        assert!(!output.status.success(), "{output}");
        case.names(&output, &["process.scheduler", culprit]);
        case.nothing_left();
    }
}

fn io_priority(case: &Case) {
    for (class, shown) in [
        ("IOPRIO_CLASS_RT", "realtime: prio 3\n"),
        ("IOPRIO_CLASS_BE", "best-effort: prio 3\n"),
        ("IOPRIO_CLASS_IDLE", "idle\n"),
    ] {
        let container = case.container_with(&["ionice", "-p", "1"], |config| {
            config["process"]["ioPriority"] = json!({ "class": class, "priority": 3 });
        });
        assert_eq!(container.run().ok().stdout, shown, "{class}");
    }
    let refused = case.container_with(&["true"], |config| {
        config["process"]["ioPriority"] = json!({ "class": "IOPRIO_CLASS_BE", "priority": 8 });
    });
    let output = refused.run();
    assert!(!output.status.success(), "{output}");
    case.names(&output, &["process.ioPriority.priority"]);
}

fn personality(case: &Case) {
    for (domain, number) in [("LINUX", "00000000"), ("LINUX32", "00000008")] {
        let container = case.container_with(&["cat", "/proc/self/personality"], |config| {
            config["linux"]["personality"] = json!({ "domain": domain });
        });
        assert_eq!(container.run().ok().stdout.trim(), number, "{domain}");
    }
}

/// The specification knows none.
fn personality_flags_are_refused(case: &Case) {
    let container = case.container_with(&["true"], |config| {
        config["linux"]["personality"] = json!({ "domain": "LINUX", "flags": ["ADDR_NO_RANDOMIZE"] });
    });
    case.names(&container.run().code_is(1), &["linux.personality.flags"]);
    case.nothing_left();
}
