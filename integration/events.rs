//! `events`: figures in runc's form that agree with the kernel's files, and notices of memory that ran out.

use std::fs;

use serde_json::{Value, json};

use crate::cgroups::{cgroup, sleeper_with};
use crate::harness::command::{Running, eventually};
use crate::harness::{Case, Container, Need, Test, test};

pub fn tests() -> Vec<Test> {
    vec![
        test!(stats_have_the_form_of_runc),
        test!(stats_are_those_of_the_kernel).needs(Need::CgroupV1),
        test!(stats_are_those_of_the_kernel_on_v2).needs(Need::CgroupV2),
        test!(stats_on_a_bare_v2).unified(),
        test!(time_grows_and_throttling_is_counted),
        test!(memory_grows),
        test!(figures_come_by_interval),
        test!(interval_that_is_too_short_to_keep).wrun_only("runc's end on v1 is the end of the cgroup"),
        test!(five_seconds_is_the_default_interval),
        test!(out_of_memory_is_told),
        test!(events_end_with_the_container).wrun_only("runc's end on v1 is the end of the cgroup"),
        test!(out_of_memory_of_the_first_process_is_told)
            .wrun_only("runc's end may come before the last notice"),
        test!(events_on_v2_end_with_the_container)
            .unified()
            .wrun_only("runc needs a memory controller"),
        test!(events_end_with_the_cgroup),
        test!(created_and_paused_containers_have_figures),
        test!(stopped_containers_are_refused),
        test!(wrong_intervals_are_refused),
    ]
}

/// The data of `events --stats`.
#[track_caller]
pub fn stats(container: &Container) -> Value {
    let output = container.case.call(&["events", "--stats", &container.id]).ok();
    let start = format!(r#"{{"type":"stats","id":"{}","data":{{"cpu":"#, container.id);
    assert!(
        output.stdout.starts_with(&start) && output.lines().len() == 1,
        "{output}"
    );
    output.json()["data"].clone()
}

#[track_caller]
pub fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value} is no number"))
}

fn stats_have_the_form_of_runc(case: &Case) {
    let container = sleeper_with(case, |_| {});
    // runc's init has threads until it has executed the program.
    let data = eventually("the program alone is in the cgroup", || {
        let data = stats(&container);
        (data["pids"]["current"] == 1).then_some(data)
    });
    let names: Vec<&str> = data
        .as_object()
        .expect("an object")
        .keys()
        .map(String::as_str)
        .collect();
    let mut expected = [
        "cpu",
        "cpuset",
        "memory",
        "pids",
        "blkio",
        "hugetlb",
        "intel_rdt",
        "network_interfaces",
    ];
    expected.sort_unstable();
    assert_eq!(names, expected);
    assert_eq!(data["network_interfaces"], Value::Null);
    assert_eq!(data["intel_rdt"], json!({}));
    for name in ["usage", "throttling"] {
        assert!(data["cpu"][name].is_object(), "{name} in {data}");
    }
    for name in ["usage", "swap", "kernel", "kernelTCP"] {
        assert!(data["memory"][name]["limit"].is_number(), "{name} in {data}");
    }
    assert!(number(&data["memory"]["usage"]["usage"]) > 0);
    assert!(number(&data["cpu"]["usage"]["total"]) > 0);
}

fn file(container: &Container, controller: &str, name: &str) -> String {
    let path = cgroup(container, controller).join(name);
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.trim().to_owned()
}

fn stats_are_those_of_the_kernel(case: &Case) {
    let container = sleeper_with(case, |config| {
        let resources = &mut config["linux"]["resources"];
        resources["memory"] = json!({ "limit": 64 << 20, "swap": 96 << 20 });
        resources["cpu"] = json!({ "cpus": "0", "mems": "0" });
        resources["pids"] = json!({ "limit": 33 });
    });
    let data = stats(&container);
    let memory = &data["memory"];
    assert_eq!(memory["usage"]["limit"], 64 << 20);
    assert_eq!(memory["swap"]["limit"], 96 << 20);
    let peak: u64 = file(&container, "memory", "memory.max_usage_in_bytes")
        .parse()
        .expect("a number");
    // It may have grown since.
    assert!((1..=peak).contains(&number(&memory["usage"]["max"])), "{memory}");
    for line in file(&container, "memory", "memory.stat").lines() {
        let (name, _) = line.split_once(' ').expect("a table");
        assert!(memory["raw"][name].is_number(), "{name} in {memory}");
    }
    assert_eq!(data["pids"], json!({ "current": 1, "limit": 33 }));
    assert_eq!(data["cpuset"]["cpus"], json!([0]));
    assert_eq!(data["cpuset"]["mems"], json!([0]));
    assert_eq!(data["cpuset"]["sched_relax_domain_level"], -1);
    let by_cpu = file(&container, "cpuacct", "cpuacct.usage_percpu");
    let percpu = data["cpu"]["usage"]["percpu"].as_array().expect("a list");
    assert_eq!(percpu.len(), by_cpu.split_whitespace().count());
    let total: u64 = file(&container, "cpuacct", "cpuacct.usage")
        .parse()
        .expect("a number");
    assert!(number(&data["cpu"]["usage"]["total"]) <= total);
}

fn stats_are_those_of_the_kernel_on_v2(case: &Case) {
    let container = sleeper_with(case, |config| {
        let resources = &mut config["linux"]["resources"];
        resources["memory"] = json!({ "limit": 64 << 20, "swap": 96 << 20 });
        resources["pids"] = json!({ "limit": 33 });
    });
    let data = stats(&container);
    assert_eq!(data["memory"]["usage"]["limit"], 64 << 20);
    for line in file(&container, "", "memory.stat").lines() {
        let (name, _) = line.split_once(' ').expect("a table");
        assert!(data["memory"]["raw"][name].is_number(), "{name} in {data}");
    }
    assert_eq!(data["pids"], json!({ "current": 1, "limit": 33 }));
    let pressure = cgroup(&container, "").join("cpu.pressure").exists();
    if case.runtime.ours {
        assert_eq!(data["memory"]["swap"]["limit"], 96 << 20);
        assert_eq!(
            data["cpu"]["psi"]["some"]["avg10"].is_number(),
            pressure,
            "{data}"
        );
    }
}

fn stats_on_a_bare_v2(case: &Case) {
    let container = sleeper_with(case, |_| {});
    let data = stats(&container);
    assert_eq!(data["pids"]["current"], 1);
    // The kernel counts time also without a controller.
    assert!(number(&data["cpu"]["usage"]["total"]) > 0, "{data}");
}

fn time_grows_and_throttling_is_counted(case: &Case) {
    let container = case.script_with("while :; do :; done", |config| {
        config["linux"]["resources"]["cpu"] = json!({ "quota": 10_000, "period": 100_000 });
    });
    container.run_detached();
    let first = number(&stats(&container)["cpu"]["usage"]["total"]);
    eventually("it has computed and was throttled", || {
        let cpu = stats(&container)["cpu"].clone();
        let throttled = cpu["throttling"]["throttledPeriods"].as_u64().unwrap_or(0);
        let grown = number(&cpu["usage"]["total"]) > first + 10_000_000;
        (grown && throttled > 1 && number(&cpu["throttling"]["throttledTime"]) > 0).then_some(())
    });
}

fn memory_grows(case: &Case) {
    let container = sleeper_with(case, |_| {});
    let usage = |data: &Value| number(&data["memory"]["usage"]["usage"]);
    let before = stats(&container);
    assert!(usage(&before) < 8 << 20, "{before}");
    container.sh("head -c 16777216 /dev/zero >/dev/shm/file");
    let after = stats(&container);
    assert!(usage(&after) >= 16 << 20, "{after}");
    assert!(number(&after["memory"]["cache"]) >= 16 << 20, "{after}");
}

fn start(container: &Container, flags: &[&str]) -> Running {
    let case = container.case;
    case.start(case.command(&[&["events"], flags, &[&container.id]].concat()))
}

/// Starts `events`, which watches when it has written its first figures.
fn start_watching(container: &Container) -> Running {
    let events = start(container, &["--interval", "100ms"]);
    eventually("there are figures", || {
        events.stdout().contains('\n').then_some(())
    });
    events
}

fn figures_come_by_interval(case: &Case) {
    let container = sleeper_with(case, |_| {});
    let events = start(&container, &["--interval", "50ms"]);
    eventually("there are figures three times", || {
        (events.stdout().matches('\n').count() >= 3).then_some(())
    });
    container.delete_with(&["--force"]).ok();
    let output = events.wait().ok();
    for line in output.lines() {
        let event: Value = serde_json::from_str(line).expect("each line is JSON");
        assert_eq!(event["type"], "stats");
        assert_eq!(event["id"], json!(container.id));
    }
}

/// Figures are always due, and yet the end is seen.
fn interval_that_is_too_short_to_keep(case: &Case) {
    let container = sleeper_with(case, |_| {});
    let events = start(&container, &["--interval", "1ns"]);
    eventually("there are figures", || {
        events.stdout().contains('\n').then_some(())
    });
    container.kill("KILL").ok();
    events.wait().ok();
}

fn five_seconds_is_the_default_interval(case: &Case) {
    let container = sleeper_with(case, |_| {});
    let begin = std::time::Instant::now();
    let events = start(&container, &[]);
    eventually("there are figures", || {
        events.stdout().contains('\n').then_some(())
    });
    assert!(begin.elapsed() >= std::time::Duration::from_secs(4));
    container.delete_with(&["--force"]).ok();
    events.wait().ok();
}

fn limit_memory(config: &mut Value) {
    config["linux"]["resources"]["memory"] = json!({ "limit": 32 << 20, "swap": 32 << 20 });
}

/// What `events` writes of a container that ran out of memory.
fn oom_of(container: &Container) -> String {
    format!("{{\"type\":\"oom\",\"id\":\"{}\"}}\n", container.id)
}

fn out_of_memory_is_told(case: &Case) {
    if Need::CgroupV1.missing().is_some() && Need::CgroupV2.missing().is_some() {
        return; // No memory controller.
    }
    let container = sleeper_with(case, limit_memory);
    let events = start_watching(&container);
    container.exec(&["sh", "-c", "tail /dev/zero"]);
    eventually("the kill is told", || {
        events.stdout().contains(&oom_of(&container)).then_some(())
    });
    container.delete_with(&["--force"]).ok();
    events.wait().ok();
}

fn events_end_with_the_container(case: &Case) {
    let container = sleeper_with(case, |_| {});
    let events = start(&container, &["--interval", "1h"]);
    eventually("it waits", || {
        let stat = fs::read_to_string(format!("/proc/{}/wchan", events.pid())).ok()?;
        stat.contains("poll").then_some(())
    });
    container.kill("KILL").ok();
    assert_eq!(events.wait().ok().stdout, "");
    assert_eq!(container.status(), "stopped");
}

fn out_of_memory_of_the_first_process_is_told(case: &Case) {
    let script = "until [ -e /go ]; do sleep 0.1; done; exec tail /dev/zero";
    let container = case.script_with(script, limit_memory);
    container.run_detached();
    let events = start_watching(&container);
    container.write("go", "", 0o644);
    let output = events.wait().ok();
    assert!(output.stdout.contains(&oom_of(&container)), "{output}");
}

fn events_on_v2_end_with_the_container(case: &Case) {
    let container = sleeper_with(case, |_| {});
    let events = start_watching(&container);
    container.kill("KILL").ok();
    events.wait().ok();
}

/// Its processes live on elsewhere, so that only the cgroup tells of the end.
fn events_end_with_the_cgroup(case: &Case) {
    if Need::CgroupV1.missing().is_some() && Need::CgroupV2.missing().is_some() {
        return; // No memory controller.
    }
    let container = sleeper_with(case, |_| {});
    let events = start_watching(&container);
    let pid = container.pid().to_string();
    let group = cgroup(&container, "memory");
    let root = match Need::CgroupV1.missing() {
        None => "/sys/fs/cgroup/memory/cgroup.procs",
        // The one cgroup that takes processes although it has controllers for those below.
        Some(_) => "/sys/fs/cgroup/cgroup.procs",
    };
    fs::write(root, &pid).expect("it is moved");
    fs::remove_dir(&group).expect("nobody is in it");
    events.wait().ok();
    assert_eq!(container.status(), "running");
    container.kill("KILL").ok();
}

fn created_and_paused_containers_have_figures(case: &Case) {
    let container = case.container(&["sleep", "1000"]);
    container.create();
    assert!(number(&stats(&container)["pids"]["current"]) > 0);
    container.start();
    case.call(&["pause", &container.id]).ok();
    assert_eq!(stats(&container)["pids"]["current"], 1);
    case.call(&["resume", &container.id]).ok();
}

fn stopped_containers_are_refused(case: &Case) {
    let container = sleeper_with(case, |_| {});
    container.kill("KILL").ok();
    container.wait_for("stopped");
    for flags in [&["--stats"][..], &[]] {
        let output = case.call(&[&["events"], flags, &[&container.id]].concat());
        let error = output.clone().code_is(1).error();
        assert!(
            error.contains(&format!("container with id {} is not running", container.id)),
            "{output}"
        );
    }
}

fn wrong_intervals_are_refused(case: &Case) {
    let container = sleeper_with(case, |_| {});
    for interval in ["0s", "soon"] {
        let output = case.call(&["events", "--interval", interval, &container.id]);
        assert!(!output.status.success(), "{output}");
        if case.runtime.ours {
            assert!(output.stderr.contains("--interval"), "{output}");
        }
    }
}
