//! Containers under containerd, through its shim for runc with the runtime as `BinaryName`.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::{Signal, kill_process};

use crate::harness::command::{self, eventually, patience, read};
use crate::harness::containerd::Containerd;
use crate::harness::terminal::Terminal;
use crate::harness::{Case, Need, Test, guest, leaks, test};

/// Tests for every runtime.
pub fn tests() -> Vec<Test> {
    let tests = vec![
        test!(output_and_exit_code),
        test!(what_cannot_run),
        test!(terminal),
        test!(exec),
        test!(pause),
        test!(signals),
        test!(limits),
        test!(seccomp_profile),
        test!(out_of_memory_is_told),
        test!(restart_of_the_daemon),
        test!(fifty_at_once),
        test!(soak).wrun_only("runc leaves its cgroups and state where it is killed itself"),
    ];
    tests
        .into_iter()
        .map(|test| test.needs(Need::Containerd))
        .collect()
}

/// Tests for ours.
pub fn wasm_tests() -> Vec<Test> {
    let tests = vec![
        test!(wasm_output_and_exit_code),
        test!(wasm_signals),
        test!(wasm_beside_native),
    ];
    tests
        .into_iter()
        .map(|test| test.needs(Need::Containerd).wrun_only("runc runs no Wasm"))
        .collect()
}

fn output_and_exit_code(case: &Case) {
    let containerd = Containerd::start(case);
    let script = "echo out; echo err >&2; exit 7";
    let output = containerd.run(&[], &containerd.rootfs(), &["sh", "-c", script]);
    assert_eq!((output.code(), &*output.stdout), (7, "out\n"), "{output}");
    assert!(output.stderr.contains("err\n"), "{output}");
    case.nothing_left();
}

fn what_cannot_run(case: &Case) {
    let containerd = Containerd::start(case);
    let id = case.id();
    let run = containerd.run_command(&["--rm"], &containerd.rootfs(), &id, &["/no/such"]);
    let output = case.finish(run);
    assert!(!output.status.success(), "{output}");
    for culprit in ["/no/such", "no such file or directory"] {
        assert!(output.stderr.contains(culprit), "{output}");
    }
    case.nothing_left();
}

fn terminal(case: &Case) {
    let containerd = Containerd::start(case);
    let (mut terminal, slave) = Terminal::open(33, 88);
    // ctr tells the size when the container runs already.
    let script = "until stty size | grep '33 88'; do sleep 0.1; done; read word; echo got $word";
    let command = containerd.run_command(
        &["--rm", "--tty"],
        &containerd.rootfs(),
        &case.id(),
        &["sh", "-c", script],
    );
    let run = command::Running::start_on(command, &slave);
    terminal.expect("33 88");
    terminal.write("word\n");
    terminal.expect("got word");
    run.wait().ok();
}

fn exec(case: &Case) {
    let containerd = Containerd::start(case);
    let id = containerd.start_container(&[], &containerd.rootfs(), &["sleep", "100"]);
    let exec = |name: &str, script: &str| {
        containerd.call(&["task", "exec", "--exec-id", name, &id, "sh", "-c", script])
    };
    let output = exec("one", "echo in $(hostname); exit 5");
    assert_eq!(output.code(), 5, "{output}");
    assert!(output.stdout.starts_with("in "), "{output}");
    // The shim reads the exit status of a process that is over at once, and of one that is killed.
    exec("two", "true").ok();
    assert_eq!(exec("three", "kill -9 $$").code(), 128 + 9);
    assert_eq!(containerd.status(&id), "RUNNING");
    assert_eq!(containerd.remove(&id), 128 + 9);
    case.nothing_left();
}

fn pause(case: &Case) {
    let containerd = Containerd::start(case);
    let id = containerd.start_container(&[], &containerd.rootfs(), &["sleep", "100"]);
    containerd.call(&["task", "pause", &id]).ok();
    assert_eq!(containerd.status(&id), "PAUSED");
    containerd.call(&["task", "resume", &id]).ok();
    assert_eq!(containerd.status(&id), "RUNNING");
    containerd.remove(&id);
    case.nothing_left();
}

fn signals(case: &Case) {
    let containerd = Containerd::start(case);
    let root = containerd.rootfs();
    let script = "trap 'exit 3' TERM; echo up >/tmp/up; while :; do sleep 0.1; done";
    let id = containerd.start_container(&[], &root, &["sh", "-c", script]);
    eventually("the trap is set", || {
        (read(&root.join("tmp/up")) == "up\n").then_some(())
    });
    containerd.call(&["task", "kill", "--signal", "TERM", &id]).ok();
    containerd.wait_for(&id, "STOPPED");
    assert_eq!(containerd.remove(&id), 3);
    case.nothing_left();
}

/// As the shim reads them: it looks into the cgroup itself.
fn limits(case: &Case) {
    let containerd = Containerd::start(case);
    let flags = [
        "--memory-limit",
        "50003968",
        "--cpu-quota",
        "20000",
        "--cpu-period",
        "100000",
    ];
    let id = containerd.start_container(&flags, &containerd.rootfs(), &["sleep", "100"]);
    let output = containerd
        .call(&["task", "metrics", "--format", "json", &id])
        .ok();
    let metrics = output.json();
    let limit = ["/memory/usage/limit", "/memory/usage_limit"]
        .iter()
        .find_map(|name| metrics.pointer(name));
    assert_eq!(
        limit.and_then(serde_json::Value::as_u64),
        Some(50_003_968),
        "{output}"
    );
    let pids = metrics
        .pointer("/pids/current")
        .and_then(serde_json::Value::as_u64);
    assert_eq!(pids, Some(1), "{output}");
    containerd.remove(&id);
    case.nothing_left();
}

fn seccomp_profile(case: &Case) {
    let containerd = Containerd::start(case);
    let script = "grep Seccomp: /proc/self/status; unshare -m true || echo refused";
    let output = containerd.run(&["--seccomp"], &containerd.rootfs(), &["sh", "-c", script]);
    assert!(output.stdout.contains("Seccomp:\t2"), "{output}");
    assert!(output.stdout.contains("refused"), "{output}");
}

/// The shim watches the cgroup, and containerd tells its clients.
fn out_of_memory_is_told(case: &Case) {
    let containerd = Containerd::start(case);
    let events = case.start(containerd.command(&["events"]));
    let hog = "x=$(tr '\\0' x </dev/zero | head -c 100000000)";
    let flags = ["--memory-limit", "20000000"];
    let output = containerd.run(&flags, &containerd.rootfs(), &["sh", "-c", hog]);
    assert!(!output.status.success(), "{output}");
    eventually("the end by lack of memory is told", || {
        events.stdout().contains("/tasks/oom").then_some(())
    });
    events.signal(Signal::TERM);
    events.wait();
    case.nothing_left();
}

fn restart_of_the_daemon(case: &Case) {
    let mut containerd = Containerd::start(case);
    let id = containerd.start_container(&[], &containerd.rootfs(), &["sleep", "100"]);
    containerd.stop_daemon();
    containerd.start_daemon();
    assert_eq!(containerd.status(&id), "RUNNING");
    containerd
        .call(&["task", "exec", "--exec-id", "later", &id, "true"])
        .ok();
    assert_eq!(containerd.remove(&id), 128 + 9);
    case.nothing_left();
}

fn fifty_at_once(case: &Case) {
    let containerd = Containerd::start(case);
    let root = containerd.rootfs();
    let ids: Vec<String> = (0..50).map(|_| case.id()).collect();
    let runs: Vec<_> = ids
        .iter()
        .map(|id| containerd.run_beside(&[], &root, id, &["sh", "-c", "echo ran; exit 3"]))
        .collect();
    for run in runs {
        let output = run.wait();
        assert_eq!((output.code(), &*output.stdout), (3, "ran\n"), "{output}");
    }
    assert_eq!(containerd.containers(), [""; 0]);
    case.nothing_left();
}

/// What is killed while a container starts or runs.
#[derive(Clone, Copy)]
enum Victim {
    Nobody,
    Runtime,
    Shim,
    Container,
}

/// Starts and stops with twenty in flight, while the runtime, shims and containers are killed. `WRUN_TEST_SOAK` is how
/// many, 60 by default. On a slow machine it takes minutes until a container's turn to be ended comes.
fn soak(case: &Case) {
    const VICTIMS: [Victim; 6] = [
        Victim::Nobody,
        Victim::Runtime,
        Victim::Container,
        Victim::Nobody,
        Victim::Shim,
        Victim::Runtime,
    ];
    let rounds = std::env::var("WRUN_TEST_SOAK").map_or(60, |rounds| {
        rounds.parse().expect("WRUN_TEST_SOAK is a whole number")
    });
    let containerd = Containerd::start(case);
    let root = containerd.rootfs();
    let ids: Vec<String> = (0..rounds).map(|_| case.id()).collect();
    let mut running = std::collections::VecDeque::new();
    let mut failed = 0;
    for (index, id) in ids.iter().enumerate() {
        let victim = VICTIMS[index % VICTIMS.len()];
        let run = case.start(containerd.run_command(&["--detach"], &root, id, &["sleep", "3600"]));
        if matches!(victim, Victim::Runtime) {
            // Each time a little later, so that each of its steps comes in turn.
            kill_runtime(case, id, Duration::from_millis(index as u64 % 16));
        }
        running.push_back((id, victim, run));
        if running.len() == 20 {
            let (id, victim, run) = running.pop_front().expect("twenty");
            failed += usize::from(finish(&containerd, id, victim, run));
        }
    }
    for (id, victim, run) in running {
        failed += usize::from(finish(&containerd, id, victim, run));
    }
    // Else the kills would have come too late each time.
    assert!(failed > rounds / 20, "{failed} of {rounds} starts failed");
    assert_eq!(containerd.containers(), [""; 0]);
    assert_eq!(containerd.states(), [""; 0]);
    case.nothing_left();
}

/// Kills the runtime that works on container `id`, `delay` after it is seen.
fn kill_runtime(case: &Case, id: &str, delay: Duration) {
    let path = crate::harness::case::text(&case.runtime.path);
    let is_it = |line: &str| line.starts_with(&path) && line.contains(id);
    let deadline = Instant::now() + Duration::from_secs(2) * patience();
    while Instant::now() < deadline {
        if let Some(pid) = leaks::processes_with(is_it).first() {
            std::thread::sleep(delay);
            let _ = kill_process(command::pid(*pid), Signal::KILL); // It may be through already.
            return;
        }
    }
}

/// Kills the victim, and removes the container as whoever uses containerd does. That a start failed, or a task is gone,
/// is expected only where something was killed.
/// Whether the start failed.
fn finish(containerd: &Containerd, id: &str, victim: Victim, run: command::Running) -> bool {
    let output = run.wait();
    let failed = !output.status.success();
    match victim {
        Victim::Runtime => {}
        Victim::Nobody => {
            output.ok();
            assert_eq!(containerd.remove(id), 128 + 9);
            return failed;
        }
        Victim::Container => {
            output.ok();
            for pid in leaks::processes_with(|line| line == "sleep 3600") {
                let own = read(Path::new(&format!("/proc/{pid}/cgroup")));
                if own.contains(id) {
                    kill_process(command::pid(pid), Signal::KILL).expect("it runs");
                }
            }
            containerd.wait_for(id, "STOPPED");
        }
        Victim::Shim => {
            output.ok();
            let shim = |line: &str| line.contains("containerd-shim") && line.contains(&format!("-id {id} "));
            let pids = leaks::processes_with(shim);
            assert!(!pids.is_empty(), "{id} has a shim");
            for pid in pids {
                kill_process(command::pid(pid), Signal::KILL).expect("it runs");
            }
        }
    }
    containerd.call(&["task", "delete", "--force", id]);
    eventually(&format!("{id} can be deleted"), || {
        let output = containerd.call(&["container", "delete", id]);
        (output.status.success() || !containerd.containers().contains(&id.to_owned())).then_some(())
    });
    failed
}

/// The root filesystem with the guest `name` in it, and the guest's path.
fn with_guest(containerd: &Containerd, name: &str) -> (std::path::PathBuf, String) {
    let root = containerd.rootfs();
    let path = format!("/{name}.wasm");
    fs::write(root.join(&path[1..]), guest::binary(name)).expect("the guest");
    (root, path)
}

fn wasm_output_and_exit_code(case: &Case) {
    let containerd = Containerd::start(case);
    let (root, hello) = with_guest(&containerd, "hello");
    let output = containerd.run(&[], &root, &[&hello]).ok();
    assert!(output.stdout.contains("hello"), "{output}");
    let (root, exit) = with_guest(&containerd, "exit");
    assert_eq!(containerd.run(&[], &root, &[&exit, "42"]).code(), 42);
    case.nothing_left();
}

fn wasm_signals(case: &Case) {
    let containerd = Containerd::start(case);
    let (root, spin) = with_guest(&containerd, "spin");
    let id = containerd.start_container(&[], &root, &[&spin]);
    assert_eq!(containerd.status(&id), "RUNNING");
    containerd.call(&["task", "pause", &id]).ok();
    containerd.call(&["task", "resume", &id]).ok();
    containerd.call(&["task", "kill", "--signal", "TERM", &id]).ok();
    containerd.wait_for(&id, "STOPPED");
    assert_eq!(containerd.remove(&id), 128 + 15);
    case.nothing_left();
}

/// As in a pod: a guest and a native sidecar in one network namespace, by one runtime and no annotation.
fn wasm_beside_native(case: &Case) {
    let containerd = Containerd::start(case);
    let root = containerd.rootfs();
    let pause = containerd.start_container(&[], &root, &["sleep", "100"]);
    let output = containerd.call(&["task", "ls"]).ok();
    let line = output.lines().into_iter().find(|line| line.starts_with(&pause));
    let pid = line
        .and_then(|line| line.split_whitespace().nth(1))
        .expect("its pid");
    let network = format!("network:/proc/{pid}/ns/net");
    let pod = ["--with-ns", network.as_str()];
    let (root, server) = with_guest(&containerd, "http-02");
    let service = containerd.start_container(&pod, &root, &[&server]);
    let sidecar = "ip link set lo up; until wget -q -O - http://127.0.0.1:8080/; do sleep 0.1; done";
    let caps = [&pod[..], &["--cap-add", "CAP_NET_ADMIN"]].concat();
    let output = containerd.run(&caps, &root, &["sh", "-c", sidecar]).ok();
    assert!(!output.stdout.is_empty(), "{output}");
    for id in [&service, &pause] {
        containerd.remove(id);
    }
    let left: BTreeSet<_> = containerd.containers().into_iter().collect();
    assert!(left.is_empty(), "{left:?}");
    assert!(leaks::find(case).is_empty());
}
