//! CRI-O's calls, replayed: conmon with its flags, and the runtime with CRI-O's. Where CRI-O itself is installed, `crio`
//! has the tests of pods.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::json;

use super::cgroup_file;
use crate::harness::command::{Running, eventually, patience, read, wait_for_exit};
use crate::harness::conmon::Watched;
use crate::harness::terminal::Terminal;
use crate::harness::{Case, Need, Test, guest, test};

/// Tests for every runtime.
pub fn tests() -> Vec<Test> {
    let tests = vec![
        test!(from_create_to_delete),
        test!(what_cannot_run),
        test!(exec_sync),
        test!(exec_sync_that_takes_too_long),
        test!(exec),
        test!(attach),
        test!(terminal),
        test!(stop),
        test!(stop_all_without_a_pid_namespace),
        test!(update_and_pause),
        test!(out_of_memory),
        test!(log_is_opened_anew),
    ];
    tests.into_iter().map(|test| test.needs(Need::Conmon)).collect()
}

/// Tests for ours.
pub fn wasm_tests() -> Vec<Test> {
    let tests = vec![
        test!(wasm_from_create_to_delete),
        test!(wasm_exec_sync),
        test!(wasm_attach),
        test!(wasm_pod),
    ];
    tests
        .into_iter()
        .map(|test| test.needs(Need::Conmon).wrun_only("runc runs no Wasm"))
        .collect()
}

fn watched<'case>(case: &'case Case, script: &str) -> Watched<'case> {
    Watched::new(case.script(script))
}

fn from_create_to_delete(case: &Case) {
    let watched = watched(case, "echo out; echo err >&2; exit 5");
    watched.create(&[]).expect("it is created");
    assert_eq!(watched.status(), "created");
    watched.runtime(&["start", &watched.container.id]).ok();
    assert_eq!(watched.exit_code(), 5);
    eventually("it is stopped", || (watched.status() == "stopped").then_some(()));
    for line in [" stdout F out\n", " stderr F err\n"] {
        watched.wait_for_log(line);
    }
    watched.delete();
    let output = watched.runtime(&["state", &watched.container.id]);
    assert!(!output.status.success(), "{output}");
    case.nothing_left();
}

/// CRI-O shows what conmon has of the runtime's words, and deletes what may be there.
fn what_cannot_run(case: &Case) {
    let watched = Watched::new(case.container(&["/no/such"]));
    let message = match watched.create(&[]) {
        // runc finds out when it starts.
        Ok(_) => watched.runtime(&["start", &watched.container.id]).error(),
        Err(message) => message,
    };
    for text in ["/no/such", "no such file or directory"] {
        assert!(message.contains(text), "{message}");
    }
    watched.delete();
    case.nothing_left();
}

fn exec_sync(case: &Case) {
    let watched = watched(case, "sleep 100");
    watched.start(&[]);
    let probed = watched.exec_sync(&["sh", "-c", "echo out; echo err >&2; exit 3"], 0);
    assert_eq!(
        (probed.code, &*probed.stdout, &*probed.stderr),
        (3, "out\n", "err\n"),
        "{probed:?}"
    );
    assert_eq!(watched.exec_sync(&["true"], 30).code, 0);
    assert_eq!(watched.exec_sync(&["sh", "-c", "kill -9 $$"], 0).code, 137);
    let probed = watched.exec_sync(&["/no/such"], 0);
    assert_ne!(probed.code, 0, "{probed:?}");
    let told = format!("{}{}", probed.message, probed.stderr);
    assert!(told.contains("/no/such"), "{probed:?}");
    watched.delete();
}

fn exec_sync_that_takes_too_long(case: &Case) {
    let watched = watched(case, "sleep 100");
    watched.start(&[]);
    let probed = watched.exec_sync(&["sleep", "4321"], 1);
    assert_eq!(
        (probed.code, &*probed.message),
        (-1, "command timed out"),
        "{probed:?}"
    );
    eventually("the program is ended", || {
        let probed = watched.exec_sync(&["ps", "-o", "args"], 0);
        (probed.code == 0 && !probed.stdout.contains("4321")).then_some(())
    });
    assert_eq!(watched.status(), "running");
    watched.delete();
}

fn exec(case: &Case) {
    let watched = watched(case, "sleep 100");
    watched.start(&[]);
    let input = case.dir.join("input");
    fs::write(&input, "what is read\n").expect("a file");
    let mut command = watched.exec_command(&["sh", "-c", "cat; echo err >&2; exit 4"], false);
    command.stdin(fs::File::open(&input).expect("the file"));
    let output = case.finish(command);
    assert_eq!(
        (output.code(), &*output.stdout),
        (4, "what is read\n"),
        "{output}"
    );
    assert_eq!(output.stderr, "err\n");
    let (mut terminal, slave) = Terminal::open(33, 88);
    let script = "until stty size | grep '33 88'; do sleep 0.1; done; read word; echo got $word";
    let run = Running::start_on(watched.exec_command(&["sh", "-c", script], true), &slave);
    terminal.expect("33 88");
    terminal.write("word\n");
    terminal.expect("got word");
    run.wait().ok();
    watched.delete();
}

/// Also by one that comes later: input stays open when the first has gone.
fn attach(case: &Case) {
    let watched = watched(
        case,
        "while read word; do echo got $word; echo err $word >&2; done",
    );
    watched.start(&["--leave-stdin-open", "-i"]);
    for word in ["one", "two"] {
        let mut attached = watched.attach();
        attached.write(&format!("{word}\n"));
        attached.expect(2, &format!("got {word}\n"));
        watched.wait_for_log(&format!(" stderr F err {word}\n"));
    }
    assert_eq!(watched.status(), "running");
    watched.delete();
    assert_eq!(watched.exit_code(), 137);
}

fn terminal(case: &Case) {
    let script = "until stty size | grep '33 88'; do sleep 0.1; done; read word; echo got $word; exit 6";
    let container = case.script_with(script, |config| config["process"]["terminal"] = json!(true));
    let watched = Watched::new(container);
    watched.start(&["-t"]);
    let mut attached = watched.attach();
    watched.control("1 33 88");
    attached.expect(2, "33 88");
    attached.write("word\n");
    attached.expect(2, "got word");
    assert_eq!(watched.exit_code(), 6);
    watched.wait_for_log("got word");
    watched.delete();
}

/// By the signal that the image names, and by force where the program does not heed it.
fn stop(case: &Case) {
    let polite = watched(case, "trap 'exit 3' TERM; echo up; while :; do sleep 0.1; done");
    let pid = polite.start(&[]);
    polite.wait_for_log("up");
    polite.runtime(&["kill", &polite.container.id, "15"]).ok();
    assert!(wait_for_exit(
        pid.try_into().expect("a pid"),
        Duration::from_secs(10)
    ));
    assert_eq!(polite.exit_code(), 3);
    let deaf = watched(case, "trap '' TERM; echo up; sleep 100");
    let pid: i32 = deaf.start(&[]).try_into().expect("a pid");
    deaf.wait_for_log("up");
    deaf.runtime(&["kill", &deaf.container.id, "SIGTERM"]).ok();
    assert!(!wait_for_exit(pid, Duration::from_secs(1) / patience()));
    deaf.runtime(&["kill", &deaf.container.id, "KILL"]).ok();
    assert!(wait_for_exit(pid, Duration::from_secs(10)));
    assert_eq!(deaf.exit_code(), 137);
    // Whoever asks again is told that there is none, and CRI-O goes on.
    assert!(
        !deaf
            .runtime(&["kill", &deaf.container.id, "KILL"])
            .status
            .success()
    );
    for watched in [polite, deaf] {
        watched.delete();
    }
}

/// `kill -a`, with which CRI-O ends what a first process has left in the host's pid namespace.
fn stop_all_without_a_pid_namespace(case: &Case) {
    let container = case.script_with("sleep 4321 & echo up; sleep 100", |config| {
        crate::harness::bundle::remove_namespace(config, "pid");
    });
    let watched = Watched::new(container);
    let pid: i32 = watched.start(&[]).try_into().expect("a pid");
    watched.wait_for_log("up");
    watched.runtime(&["kill", &watched.container.id, "KILL"]).ok();
    assert!(wait_for_exit(pid, Duration::from_secs(10)));
    watched.runtime(&["kill", "-a", &watched.container.id, "9"]).ok();
    assert_eq!(watched.exit_code(), 137);
    watched.delete();
    case.nothing_left();
}

fn update_and_pause(case: &Case) {
    let watched = watched(case, "while :; do sleep 0.1; done");
    let pid = watched.start(&[]).to_string();
    watched.update(&json!({
        "memory": { "limit": 50_003_968 },
        "cpu": { "quota": 20000, "period": 100_000, "shares": 512 },
    }));
    let limit = cgroup_file(&pid, "memory", "memory.limit_in_bytes", "memory.max");
    assert_eq!(limit, "50003968");
    assert!(cgroup_file(&pid, "cpu", "cpu.cfs_quota_us", "cpu.max").starts_with("20000"));
    // What CRI-O's stats are made of.
    let used = cgroup_file(&pid, "memory", "memory.usage_in_bytes", "memory.current");
    assert!(used.parse::<u64>().expect("a number") > 0);
    watched.runtime(&["pause", &watched.container.id]).ok();
    assert_eq!(watched.status(), "paused");
    watched.runtime(&["resume", &watched.container.id]).ok();
    assert_eq!(watched.status(), "running");
    watched.delete();
}

/// conmon watches the cgroup that it reads of the first process, and leaves a file that CRI-O looks for.
fn out_of_memory(case: &Case) {
    let hog = "x=$(tr '\\0' x </dev/zero | head -c 100000000)";
    let container = case.script_with(hog, |config| {
        config["linux"]["resources"]["memory"] = json!({ "limit": 20_000_000 });
    });
    let watched = Watched::new(container);
    watched.start(&[]);
    assert_ne!(watched.exit_code(), 0);
    let file = watched.container.bundle.join("oom");
    eventually("conmon tells of it", || file.exists().then_some(()));
    watched.delete();
}

/// As the kubelet's rotation of logs asks.
fn log_is_opened_anew(case: &Case) {
    let watched = watched(case, "while :; do echo line; sleep 0.1; done");
    watched.start(&[]);
    watched.wait_for_log("line");
    let log = watched.log_path();
    fs::rename(&log, format!("{log}.1")).expect("the log");
    watched.control("2 0 0");
    watched.wait_for_log("line");
    watched.delete();
}

/// A container of the guest `name`.
fn guest_container<'case>(case: &'case Case, name: &str, arguments: &[&str]) -> Watched<'case> {
    let path = format!("/{name}.wasm");
    let container = case.container(&[&[path.as_str()], arguments].concat());
    container.write(&path[1..], guest::binary(name), 0o644);
    Watched::new(container)
}

fn wasm_from_create_to_delete(case: &Case) {
    let hello = guest_container(case, "hello", &[]);
    hello.start(&[]);
    assert_eq!(hello.exit_code(), 0);
    hello.wait_for_log(" stdout F ");
    let exit = guest_container(case, "exit", &["42"]);
    exit.start(&[]);
    assert_eq!(exit.exit_code(), 42);
    let spin = guest_container(case, "spin", &[]);
    let pid: i32 = spin.start(&[]).try_into().expect("a pid");
    spin.wait_for_log("spinning");
    spin.runtime(&["kill", &spin.container.id, "15"]).ok();
    let asked = Instant::now();
    assert!(
        wait_for_exit(pid, Duration::from_secs(10)),
        "{:?}",
        asked.elapsed()
    );
    assert_eq!(spin.exit_code(), 128 + 15);
    for watched in [hello, exit, spin] {
        watched.delete();
    }
    case.nothing_left();
}

fn wasm_exec_sync(case: &Case) {
    let watched = guest_container(case, "spin", &[]);
    watched.container.write("exit.wasm", guest::binary("exit"), 0o644);
    watched.start(&[]);
    assert_eq!(watched.exec_sync(&["/exit.wasm", "9"], 0).code, 9);
    let probed = watched.exec_sync(&["sh", "-c", "echo native; exit 3"], 0);
    assert_eq!((probed.code, &*probed.stdout), (3, "native\n"), "{probed:?}");
    let probed = watched.exec_sync(&["/spin.wasm"], 1);
    assert_eq!(
        (probed.code, &*probed.message),
        (-1, "command timed out"),
        "{probed:?}"
    );
    let output = case.finish(watched.exec_command(&["/exit.wasm", "8"], false));
    assert_eq!(output.code(), 8, "{output}");
    watched.delete();
}

fn wasm_attach(case: &Case) {
    let watched = guest_container(case, "cat", &[]);
    watched.start(&["--leave-stdin-open", "-i"]);
    let mut attached = watched.attach();
    attached.write("this\n");
    attached.expect(2, "this\n");
    watched.delete();
}

/// The native process that keeps the pod has the annotations of the pod as well.
fn wasm_pod(case: &Case) {
    let infra = watched(case, "sleep 100");
    infra.container.edit(|config| {
        config["annotations"]["io.kubernetes.cri-o.ContainerType"] = json!("sandbox");
        config["annotations"]["run.oci.handler"] = json!("wasm");
    });
    let pid = infra.start(&[]);
    let service = guest_container(case, "http-02", &[]);
    service.container.edit(|config| {
        config["annotations"]["run.oci.handler"] = json!("wasm");
        let path = format!("/proc/{pid}/ns/net");
        crate::harness::bundle::set_namespace(config, "network", Some(&path));
    });
    service.start(&[]);
    let ask = "until wget -q -O - http://127.0.0.1:8080/; do sleep 0.1; done";
    let probed = infra.exec_sync(&["sh", "-c", ask], 100 * patience());
    assert_eq!(
        (probed.code, &*probed.stdout),
        (0, "Hello from WASI 0.2\n"),
        "{probed:?}"
    );
    service.runtime(&["kill", &service.container.id, "15"]).ok();
    assert_eq!(service.exit_code(), 0);
    assert!(
        read(&infra.container.bundle.join("pidfile"))
            .parse::<i32>()
            .is_ok()
    );
    for watched in [service, infra] {
        watched.delete();
    }
}
