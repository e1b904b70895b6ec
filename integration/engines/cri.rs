//! Pods of Kubernetes under containerd, with the runtime as `BinaryName` of a runtime handler.

use std::io::{Read, Write};
use std::net::SocketAddr;

use crate::harness::cri::{Cri, NATIVE};
use crate::harness::network::{connect, within};
use crate::harness::{Case, Need, Test, test};

/// Tests for every runtime.
pub fn tests() -> Vec<Test> {
    let tests = vec![
        test!(exec_logs_and_exit_code),
        test!(update_and_stats),
        test!(attach),
        test!(port_forward),
        test!(restart_of_the_daemon),
        test!(fifty_pods),
    ];
    let needs = |test: Test| test.needs(Need::Containerd).needs(Need::Crictl);
    tests.into_iter().map(needs).collect()
}

/// Tests for ours.
pub fn wasm_tests() -> Vec<Test> {
    let test = test!(wasm_and_its_sidecar)
        .needs(Need::Containerd)
        .needs(Need::Crictl)
        .wrun_only("runc runs no Wasm");
    vec![test]
}

fn exec_logs_and_exit_code(case: &Case) {
    let cri = Cri::start(case);
    let pod = cri.run_pod("pod");
    let id = pod.start("one", NATIVE, &["sh", "-c", "echo up; read word; exit 5"]);
    pod.wait_for_log(&id, "up\n");
    let output = cri
        .call(&["exec", "--sync", &id, "sh", "-c", "echo in $(hostname)"])
        .ok();
    assert!(output.stdout.starts_with("in "), "{output}");
    let output = cri.call(&["exec", "--sync", &id, "sh", "-c", "exit 3"]);
    assert!(output.stderr.contains("exited with 3"), "{output}");
    let output = cri.call(&["exec", &id, "sh", "-c", "echo streamed; exit 4"]);
    assert!(output.stdout.contains("streamed"), "{output}");
    assert!(output.stderr.contains("exit code 4"), "{output}");
    cri.call(&["stop", "--timeout", "0", &id]).ok();
    let state = cri.call(&["inspect", &id]).ok().json();
    assert_eq!(state["status"]["exitCode"], 137, "{state}");
    pod.remove();
}

fn update_and_stats(case: &Case) {
    let cri = Cri::start(case);
    let pod = cri.run_pod("pod");
    let id = pod.start("one", NATIVE, &["sleep", "100"]);
    cri.call(&[
        "update",
        "--memory",
        "50003968",
        "--cpu-quota",
        "20000",
        "--cpu-period",
        "100000",
        &id,
    ])
    .ok();
    let state = cri.call(&["inspect", &id]).ok().json();
    let pid = state["info"]["pid"].to_string();
    let file = |controller, v1, v2| super::cgroup_file(&pid, controller, v1, v2);
    assert_eq!(file("memory", "memory.limit_in_bytes", "memory.max"), "50003968");
    assert!(file("cpu", "cpu.cfs_quota_us", "cpu.max").starts_with("20000"));
    let stats = cri.call(&["stats", "--output", "json", &id]).ok().json();
    let used = &stats["stats"][0]["memory"]["workingSetBytes"]["value"];
    let used: u64 = used.as_str().and_then(|text| text.parse().ok()).expect("bytes");
    assert!(used > 0, "{stats}");
    pod.remove();
}

fn attach(case: &Case) {
    let cri = Cri::start(case);
    let pod = cri.run_pod("pod");
    let id = pod.start(
        "one",
        NATIVE,
        &["sh", "-c", "read word; echo got $word; sleep 100"],
    );
    let input = case.dir.join("input");
    std::fs::write(&input, "this\n").expect("a file");
    let mut attach = cri.command(&["attach", "--stdin", &id]);
    attach.stdin(std::fs::File::open(&input).expect("the file"));
    let attached = case.start(attach);
    pod.wait_for_log(&id, "got this\n");
    cri.call(&["stop", "--timeout", "0", &id]).ok();
    attached.wait();
    pod.remove();
}

fn port_forward(case: &Case) {
    let cri = Cri::start(case);
    let pod = cri.run_pod("pod");
    let serve = "while :; do echo served | nc -l -p 4000; done";
    pod.start("one", NATIVE, &["sh", "-c", serve]);
    let forward = case.start(cri.command(&["port-forward", &pod.id, "5000:4000"]));
    let address: SocketAddr = "127.0.0.1:5000".parse().expect("an address");
    crate::harness::command::eventually("the port is forwarded", || {
        within(cri.containerd.pid(), || {
            let mut stream = connect(address).ok()?;
            stream.write_all(b"\n").ok()?;
            let mut text = String::new();
            stream.read_to_string(&mut text).ok()?;
            (text == "served\n").then_some(())
        })
    });
    forward.signal(rustix::process::Signal::TERM);
    forward.wait();
    pod.remove();
}

fn restart_of_the_daemon(case: &Case) {
    let mut cri = Cri::start(case);
    let (command, _) = cri.run_pod_command("pod");
    let pod = case.finish(command).ok().stdout.trim().to_owned();
    cri.containerd.stop_daemon();
    cri.containerd.start_daemon();
    let pods = || cri.call(&["pods", "--quiet", "--state", "Ready"]);
    crate::harness::command::eventually("the pod is known again", || {
        pods().stdout.contains(&pod).then_some(())
    });
    cri.call(&["stopp", &pod]).ok();
    cri.call(&["rmp", &pod]).ok();
}

fn fifty_pods(case: &Case) {
    let cri = Cri::start(case);
    let running: Vec<_> = (0..50)
        .map(|index| case.start(cri.run_pod_command(&format!("pod-{index}")).0))
        .collect();
    let ids: Vec<String> = running
        .into_iter()
        .map(|run| run.wait().ok().stdout.trim().to_owned())
        .collect();
    let output = cri.call(&["pods", "--quiet", "--state", "Ready"]).ok();
    assert_eq!(output.lines().len(), ids.len(), "{output}");
    let removed: Vec<_> = ids
        .iter()
        .map(|id| case.start(cri.command(&["rmp", "--force", id])))
        .collect();
    for remove in removed {
        remove.wait().ok();
    }
}

/// A service in Wasm, a native sidecar that asks it, and the native process that keeps the pod: by one runtime.
fn wasm_and_its_sidecar(case: &Case) {
    let cri = Cri::start(case);
    let pod = cri.run_pod("pod");
    let service = pod.start("service", &cri.guest_image("http-02"), &[]);
    let ask = "until wget -q -O - http://127.0.0.1:8080/; do sleep 0.1; done; sleep 100";
    let sidecar = pod.start("sidecar", NATIVE, &["sh", "-c", ask]);
    pod.wait_for_log(&sidecar, "Hello from WASI 0.2");
    cri.call(&["stop", "--timeout", "30", &service]).ok();
    let state = cri.call(&["inspect", &service]).ok().json();
    assert_eq!(state["status"]["state"], "CONTAINER_EXITED", "{state}");
    assert_ne!(
        state["status"]["exitCode"], 137,
        "it stopped when it was asked to: {state}"
    );
    pod.remove();
}
