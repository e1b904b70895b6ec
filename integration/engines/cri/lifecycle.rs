//! From a pod's start to its end: exit codes, signals, limits, what cannot run, daemons that are restarted.

use serde_json::json;

use super::{Cri, Kind, pods};
use crate::engines::cgroup_file;
use crate::harness::Test;
use crate::harness::command::eventually;
use crate::harness::cri::NATIVE;
use crate::harness::installed::containerd_version;

pub fn tests(kind: Kind) -> Vec<Test> {
    vec![
        pods!(kind, exit_codes),
        pods!(kind, stop),
        pods!(kind, what_cannot_run),
        pods!(kind, update_and_stats),
        pods!(kind, out_of_memory),
        pods!(kind, restart_of_the_daemon),
        pods!(kind, fifty_pods),
    ]
}

/// Of a container by itself and by its signal; and the pod's other one goes on.
fn exit_codes(cri: Cri<'_>) {
    let pod = cri.run_pod("pod");
    let other = pod.start("other", NATIVE, &["sleep", "100"]);
    for (name, script, code) in [
        ("five", "exit 5", 5),
        ("none", "true", 0),
        ("signal", "kill -9 $$", 137),
    ] {
        // The first process of a pid namespace is out of reach of its own signals.
        let script = format!("sh -c '{script}'; exit $?");
        let id = pod.start(name, NATIVE, &["sh", "-c", &script]);
        let status = cri.wait(&id);
        assert_eq!(status["exitCode"], code, "{name}: {status}");
        let reason = if code == 0 { "Completed" } else { "Error" };
        assert_eq!(status["reason"], reason, "{name}: {status}");
    }
    assert_eq!(cri.inspect(&other)["status"]["state"], "CONTAINER_RUNNING");
    pod.remove();
}

/// Asked to first, by the image's or the usual signal; by force when that has not helped in time.
fn stop(cri: Cri<'_>) {
    let pod = cri.run_pod("pod");
    let script = "trap 'exit 3' TERM; echo up; while :; do sleep 0.1; done";
    let polite = pod.start("polite", NATIVE, &["sh", "-c", script]);
    pod.wait_for_log(&polite, "up\n");
    cri.call(&["stop", "--timeout", "30", &polite]).ok();
    assert_eq!(cri.inspect(&polite)["status"]["exitCode"], 3);
    let deaf = pod.start("deaf", NATIVE, &["sh", "-c", "trap '' TERM; sleep 100"]);
    cri.call(&["stop", "--timeout", "1", &deaf]).ok();
    assert_eq!(cri.inspect(&deaf)["status"]["exitCode"], 137);
    let at_once = pod.start("at-once", NATIVE, &["sleep", "100"]);
    cri.call(&["stop", "--timeout", "0", &at_once]).ok();
    assert_eq!(cri.inspect(&at_once)["status"]["exitCode"], 137);
    for id in [&polite, &deaf, &at_once] {
        cri.call(&["rm", id]).ok();
    }
    pod.remove();
}

/// The kubelet shows the runtime's own words to whoever looks why a pod does not start.
fn what_cannot_run(cri: Cri<'_>) {
    let pod = cri.run_pod("pod");
    let missing = ["/no/such", "no such file or directory"];
    for (name, program, words) in [
        ("missing", "/no/such", &missing[..]),
        ("directory", "/tmp", &["/tmp"]),
    ] {
        let Err(output) = pod.try_start(name, NATIVE, &[program], |_| {}) else {
            panic!("{program} has been started");
        };
        for word in words {
            assert!(output.stderr.contains(word), "{word}: {output}");
        }
    }
    pod.remove();
}

fn update_and_stats(cri: Cri<'_>) {
    let pod = cri.run_pod("pod");
    let id = pod.start("one", NATIVE, &["sleep", "100"]);
    let limits = [
        ("--memory", "50003968"),
        ("--cpu-quota", "20000"),
        ("--cpu-period", "100000"),
        ("--cpu-share", "512"),
        ("--cpuset-cpus", "0"),
    ];
    let flags: Vec<&str> = limits.iter().flat_map(|(flag, value)| [*flag, *value]).collect();
    cri.call(&[&["update"], &flags[..], &[&id]].concat()).ok();
    let pid = cri.inspect(&id)["info"]["pid"].to_string();
    let file = |controller, v1, v2| cgroup_file(&pid, controller, v1, v2);
    assert_eq!(file("memory", "memory.limit_in_bytes", "memory.max"), "50003968");
    assert!(file("cpu", "cpu.cfs_quota_us", "cpu.max").starts_with("20000"));
    assert_ne!(file("cpu", "cpu.shares", "cpu.weight"), "100");
    assert_eq!(file("cpuset", "cpuset.cpus", "cpuset.cpus"), "0");
    let stats = cri.call(&["stats", "--output", "json", &id]).ok().json();
    let number = |pointer: &str| {
        let value = stats.pointer(pointer).and_then(|value| value.as_str());
        let number: Option<u64> = value.and_then(|text| text.parse().ok());
        number.unwrap_or_else(|| panic!("no {pointer}: {stats}"))
    };
    assert!(number("/stats/0/memory/workingSetBytes/value") > 0, "{stats}");
    assert!(number("/stats/0/cpu/usageCoreNanoSeconds/value") > 0, "{stats}");
    pod.remove();
}

fn out_of_memory(cri: Cri<'_>) {
    let pod = cri.run_pod("pod");
    let hog = "x=$(tr '\\0' x </dev/zero | head -c 100000000)";
    let id = pod.start_with("hog", NATIVE, &["sh", "-c", hog], |container| {
        container["linux"]["resources"] = json!({ "memory_limit_in_bytes": 20_000_000 });
    });
    let status = cri.wait(&id);
    assert_eq!(
        (&status["reason"], &status["exitCode"]),
        (&json!("OOMKilled"), &json!(137)),
        "{status}"
    );
    pod.remove();
}

/// Containers go on without their daemon, and it learns from shims and conmon what became of them.
fn restart_of_the_daemon(mut cri: Cri<'_>) {
    let dir = cri.case.dir.clone();
    let pod = cri.run_pod("pod");
    let goes_on = pod.start("goes-on", NATIVE, &["sleep", "100"]);
    let go = [
        "sh",
        "-c",
        "until test -e /shared/go; do sleep 0.1; done; touch /shared/gone; exit 5",
    ];
    let ends = pod.start_with("ends", NATIVE, &go, |container| {
        let path = dir.to_str().expect("UTF-8");
        container["mounts"] = json!([{ "host_path": path, "container_path": "/shared" }]);
    });
    let id = pod.id.clone();
    cri.restart(|| {
        std::fs::write(dir.join("go"), "").expect("a file");
        eventually("the container has done its work", || {
            dir.join("gone").exists().then_some(())
        });
    });
    eventually("the pod is known again", || {
        let pods = cri.call(&["pods", "--quiet", "--state", "Ready"]);
        pods.stdout.contains(&id).then_some(())
    });
    // From 1.7 on containerd asks for the processes of what it finds at its start, and takes a container without any for
    // one that was never started (its shim_load.go): that it ended is told, its code is lost.
    let forgets =
        cri.kind() == Kind::Containerd && containerd_version().is_some_and(|version| version >= (1, 7));
    let code = cri.wait(&ends)["exitCode"].clone();
    assert!(code == 5 || forgets && code == 255, "{code}");
    assert_eq!(cri.shell(&goes_on, "echo still there"), "still there");
    cri.call(&["stop", "--timeout", "0", &goes_on]).ok();
    assert_eq!(cri.inspect(&goes_on)["status"]["exitCode"], 137);
    cri.call(&["stopp", &id]).ok();
    cri.call(&["rmp", &id]).ok();
}

fn fifty_pods(cri: Cri<'_>) {
    let running: Vec<_> = (0..50)
        .map(|index| {
            let (command, _) = cri.run_pod_command(&format!("pod-{index}"), |_| {});
            cri.case.start(command)
        })
        .collect();
    let ids: Vec<String> = running
        .into_iter()
        .map(|run| run.wait().ok().stdout.trim().to_owned())
        .collect();
    let output = cri.call(&["pods", "--quiet", "--state", "Ready"]).ok();
    assert_eq!(output.lines().len(), ids.len(), "{output}");
    let removed: Vec<_> = ids
        .iter()
        .map(|id| cri.case.start(cri.command(&["rmp", "--force", id])))
        .collect();
    for remove in removed {
        remove.wait().ok();
    }
}
