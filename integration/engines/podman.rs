//! Containers under Podman, by way of conmon, and builds with Buildah.

use std::fs;
use std::os::unix::net::UnixDatagram;

use crate::harness::command::{LIMIT, Running, eventually, patience};
use crate::harness::podman::{NATIVE, Podman};
use crate::harness::terminal::Terminal;
use crate::harness::{Case, Need, Test, guest, test};

/// Tests for every runtime.
pub fn tests() -> Vec<Test> {
    let tests = vec![
        test!(output_and_exit_code),
        test!(what_cannot_run),
        test!(terminal),
        test!(input),
        test!(exec),
        test!(pause),
        test!(stop),
        test!(stop_by_force_after_a_while),
        test!(restart),
        test!(limits),
        test!(top),
        test!(user_namespace),
        test!(readonly_with_volumes),
        test!(without_a_cgroup).wrun_only("Podman knows that of crun and, by its configuration, of wrun"),
        test!(socket_for_readiness),
        test!(pod).needs(Need::CgroupV2),
        test!(health),
        test!(build).needs(Need::Buildah),
    ];
    tests.into_iter().map(|test| test.needs(Need::Podman)).collect()
}

/// Tests for ours.
pub fn wasm_tests() -> Vec<Test> {
    let tests = vec![
        test!(wasm_output_and_exit_code),
        test!(wasm_stop),
        test!(wasm_in_a_pod_of_kubernetes).needs(Need::CgroupV2),
    ];
    tests
        .into_iter()
        .map(|test| test.needs(Need::Podman).wrun_only("runc runs no Wasm"))
        .collect()
}

const NO_NETWORK: &[&str] = &["--network", "none"];

fn output_and_exit_code(case: &Case) {
    let podman = Podman::new(case);
    let output = podman.run(
        NO_NETWORK,
        NATIVE,
        &["sh", "-c", "echo out; echo err >&2; exit 7"],
    );
    assert_eq!(output.code(), 7, "{output}");
    assert_eq!((&*output.stdout, &*output.stderr), ("out\n", "err\n"));
}

/// Podman tells what cannot be found from what cannot be run by the text of the runtime's error.
fn what_cannot_run(case: &Case) {
    let podman = Podman::new(case);
    for (program, code) in [("/no/such", 127), ("/tmp", 126)] {
        let output = podman.run(NO_NETWORK, NATIVE, &[program]);
        assert_eq!(output.code(), code, "{output}");
        assert!(output.stderr.contains(program), "{output}");
    }
}

fn terminal(case: &Case) {
    let podman = Podman::new(case);
    let (mut terminal, slave) = Terminal::open(33, 88);
    let script = "until stty size | grep '33 88'; do sleep 0.1; done; read word; echo got $word";
    let flags = ["--rm", "--interactive", "--tty", "--network", "none"];
    let run = Running::start_on(podman.run_command(&flags, NATIVE, &["sh", "-c", script]), &slave);
    terminal.expect("33 88");
    terminal.write("word\n");
    terminal.expect("got word");
    run.wait().ok();
}

fn input(case: &Case) {
    let podman = Podman::new(case);
    let mut command = podman.run_command(&["--rm", "--interactive", "--network", "none"], NATIVE, &["cat"]);
    let file = case.dir.join("input");
    fs::write(&file, "what is read\n").expect("a file");
    command.stdin(fs::File::open(&file).expect("the file"));
    assert_eq!(case.finish(command).ok().stdout, "what is read\n");
}

fn exec(case: &Case) {
    let podman = Podman::new(case);
    let id = podman.start(NO_NETWORK, NATIVE, &["sleep", "100"]);
    let output = podman.call(&[
        "exec",
        "--env",
        "A=b",
        "--workdir",
        "/tmp",
        &id,
        "sh",
        "-c",
        "echo $A in $(pwd); exit 5",
    ]);
    assert_eq!((output.code(), &*output.stdout), (5, "b in /tmp\n"), "{output}");
    assert_eq!(podman.call(&["exec", &id, "/no/such"]).code(), 127);
    assert_eq!(
        podman
            .call(&["exec", "--user", "7:8", &id, "id", "-u"])
            .ok()
            .stdout,
        "7\n"
    );
    podman.remove(&id);
}

fn pause(case: &Case) {
    let podman = Podman::new(case);
    let id = podman.start(NO_NETWORK, NATIVE, &["sleep", "100"]);
    podman.call(&["pause", &id]).ok();
    assert_eq!(podman.inspect(&id, "{{.State.Status}}"), "paused");
    podman.call(&["unpause", &id]).ok();
    assert_eq!(podman.inspect(&id, "{{.State.Status}}"), "running");
    podman.remove(&id);
}

const TRAP: &str = "trap 'echo asked to stop; exit 3' TERM; echo up; while :; do sleep 0.1; done";

fn stop(case: &Case) {
    let podman = Podman::new(case);
    let id = podman.start(NO_NETWORK, NATIVE, &["sh", "-c", TRAP]);
    podman.wait_for_log(&id, "up");
    podman.call(&["stop", &id]).ok();
    assert_eq!(podman.inspect(&id, "{{.State.ExitCode}}"), "3");
    podman.wait_for_log(&id, "asked to stop");
    podman.remove(&id);
}

fn stop_by_force_after_a_while(case: &Case) {
    let podman = Podman::new(case);
    let id = podman.start(NO_NETWORK, NATIVE, &["sleep", "100"]);
    podman.call(&["stop", "--time", "1", &id]).ok();
    assert_eq!(podman.inspect(&id, "{{.State.ExitCode}}"), "137");
    podman.remove(&id);
}

fn restart(case: &Case) {
    let podman = Podman::new(case);
    let id = podman.start(NO_NETWORK, NATIVE, &["sh", "-c", "echo again; sleep 100"]);
    let pid = podman.inspect(&id, "{{.State.Pid}}");
    podman.call(&["restart", "--time", "0", &id]).ok();
    assert_ne!(podman.inspect(&id, "{{.State.Pid}}"), pid);
    podman.wait_for_log(&id, "again\nagain\n");
    podman.remove(&id);
}

fn limits(case: &Case) {
    let podman = Podman::new(case);
    let flags = [
        "--network",
        "none",
        "--memory",
        "50m",
        "--pids-limit",
        "30",
        "--cpus",
        "0.5",
    ];
    let id = podman.start(&flags, NATIVE, &["sleep", "100"]);
    let read =
        |controller, v1, v2| super::cgroup_file(&podman.inspect(&id, "{{.State.Pid}}"), controller, v1, v2);
    assert_eq!(read("memory", "memory.limit_in_bytes", "memory.max"), "52428800");
    assert_eq!(read("pids", "pids.max", "pids.max"), "30");
    let quota = read("cpu", "cpu.cfs_quota_us", "cpu.max");
    assert!(quota.starts_with("50000"), "{quota}");
    let stats = podman
        .call(&["stats", "--no-stream", "--format", "{{.PIDs}}", &id])
        .ok();
    assert_eq!(stats.stdout.trim(), "1");
    podman.remove(&id);
}

fn top(case: &Case) {
    let podman = Podman::new(case);
    let id = podman.start(NO_NETWORK, NATIVE, &["sleep", "100"]);
    let output = podman.call(&["top", &id, "args"]).ok();
    assert!(output.stdout.contains("sleep 100"), "{output}");
    podman.remove(&id);
}

fn user_namespace(case: &Case) {
    let podman = Podman::new(case);
    let flags = [
        "--network",
        "none",
        "--uidmap",
        "0:100000:65536",
        "--gidmap",
        "0:100000:65536",
    ];
    let script = "cat /proc/self/uid_map; stat -c %u /bin; touch /tmp/file && echo may write";
    let output = podman.run(&flags, NATIVE, &["sh", "-c", script]).ok();
    let words: Vec<&str> = output.stdout.split_whitespace().collect();
    assert_eq!(words, ["0", "100000", "65536", "0", "may", "write"], "{output}");
}

fn readonly_with_volumes(case: &Case) {
    let podman = Podman::new(case);
    let volume = case.dir.join("volume");
    fs::create_dir(&volume).expect("a directory");
    let bind = format!("{}:/volume", case.path("volume"));
    let flags = [
        "--network",
        "none",
        "--read-only",
        "--volume",
        &bind,
        "--tmpfs",
        "/fast:size=1m",
    ];
    let script = "touch /no 2>/dev/null && exit 1; echo x >/volume/file && df -m /fast | tail -n 1";
    let output = podman.run(&flags, NATIVE, &["sh", "-c", script]).ok();
    assert_eq!(output.stdout.split_whitespace().nth(1), Some("1"), "{output}");
    assert_eq!(fs::read_to_string(volume.join("file")).expect("the file"), "x\n");
}

/// Podman asks for it with crun's `--cgroup-manager=disabled`.
fn without_a_cgroup(case: &Case) {
    let podman = Podman::new(case);
    let flags = ["--rm", "--network", "none", "--cgroups", "disabled"];
    // No parent, which Podman would refuse beside it.
    let command = podman.command(
        &[
            &["run"],
            &flags[..],
            &[NATIVE, "sh", "-c", "cat /proc/self/cgroup; exit 3"],
        ]
        .concat(),
    );
    let output = case.finish(command);
    assert_eq!(output.code(), 3, "{output}");
    assert!(!output.stdout.contains("libpod"), "{output}");
}

/// With `--sdnotify=container` the program has a socket for its own word, and Podman tells the pid to wait for.
fn socket_for_readiness(case: &Case) {
    let podman = Podman::new(case);
    let path = case.dir.join("notify");
    let socket = UnixDatagram::bind(&path).expect("a socket");
    socket
        .set_read_timeout(Some(LIMIT * patience()))
        .expect("a time limit");
    let mut command = podman.run_command(
        &["--detach", "--network", "none", "--sdnotify", "container"],
        NATIVE,
        &["sh", "-c", "test -S $NOTIFY_SOCKET && sleep 100"],
    );
    command.env("NOTIFY_SOCKET", &path);
    let id = case.finish(command).ok().stdout.trim().to_owned();
    let mut bytes = [0; 4096];
    let length = socket
        .recv(&mut bytes)
        .expect("Podman tells systemd conmon's pid");
    let text = String::from_utf8_lossy(&bytes[..length]).into_owned();
    assert!(text.contains("MAINPID="), "{text}");
    podman.remove(&id);
}

fn pod(case: &Case) {
    let podman = Podman::new(case);
    podman
        .call(&[
            "pod",
            "create",
            "--name",
            "pod",
            "--cgroup-parent",
            &podman.cgroup_parent(),
        ])
        .ok();
    let mark = format!("{}={}", crate::harness::case::MARK, case.mark);
    let run = ["run", "--pod", "pod", "--env", &mark];
    let serve = [
        "--detach",
        NATIVE,
        "sh",
        "-c",
        "while :; do echo served | nc -l -p 4000; done",
    ];
    podman.call(&[&run[..], &serve].concat()).ok();
    let ask = "until nc 127.0.0.1 4000 </dev/null | grep served; do sleep 0.1; done";
    let output = podman
        .call(&[&run[..], &["--rm", NATIVE, "sh", "-c", ask]].concat())
        .ok();
    assert_eq!(output.stdout, "served\n");
    podman.call(&["pod", "rm", "--force", "--time", "0", "pod"]).ok();
    case.nothing_left();
}

fn health(case: &Case) {
    let podman = Podman::new(case);
    let flags = [
        "--network",
        "none",
        "--health-cmd",
        "test -e /tmp/well",
        "--health-interval",
        "disable",
    ];
    let id = podman.start(&flags, NATIVE, &["sleep", "100"]);
    assert_eq!(podman.call(&["healthcheck", "run", &id]).code(), 1);
    podman.call(&["exec", &id, "touch", "/tmp/well"]).ok();
    podman.call(&["healthcheck", "run", &id]).ok();
    podman.remove(&id);
}

fn build(case: &Case) {
    let podman = Podman::new(case);
    let context = case.dir.join("context");
    fs::create_dir(&context).expect("a directory");
    let file = format!("FROM {NATIVE}\nRUN echo built by $(id -u) >/made\nCMD [\"cat\", \"/made\"]\n");
    fs::write(context.join("Containerfile"), file).expect("a file");
    case.finish(podman.build(&context, "localhost/built:test")).ok();
    let output = podman.run(NO_NETWORK, "localhost/built:test", &[]).ok();
    assert_eq!(output.stdout, "built by 0\n");
}

/// An image of the guest `name` alone.
fn image_of(podman: &Podman, name: &str) -> String {
    let root = podman.case.dir.join(format!("{name}-image"));
    fs::create_dir(&root).expect("a directory");
    fs::write(root.join(format!("{name}.wasm")), guest::binary(name)).expect("the guest");
    let image = format!("localhost/wasm-{name}:test");
    podman.import(&image, &root, &[&format!("ENTRYPOINT [\"/{name}.wasm\"]")]);
    image
}

fn wasm_output_and_exit_code(case: &Case) {
    let podman = Podman::new(case);
    let output = podman.run(NO_NETWORK, &image_of(&podman, "hello"), &[]).ok();
    assert!(output.stdout.contains("hello"), "{output}");
    assert_eq!(
        podman.run(NO_NETWORK, &image_of(&podman, "exit"), &["42"]).code(),
        42
    );
}

fn wasm_stop(case: &Case) {
    let podman = Podman::new(case);
    let id = podman.start(NO_NETWORK, &image_of(&podman, "spin"), &[]);
    eventually("the guest runs", || {
        (podman.inspect(&id, "{{.State.Status}}") == "running").then_some(())
    });
    podman.call(&["stop", "--time", "30", &id]).ok();
    assert_eq!(podman.inspect(&id, "{{.State.ExitCode}}"), "143");
    podman.remove(&id);
}

/// `play kube`: a service in Wasm and a native sidecar that asks it.
fn wasm_in_a_pod_of_kubernetes(case: &Case) {
    let podman = Podman::new(case);
    let image = image_of(&podman, "http-02");
    let ask = "until wget -q -O - http://127.0.0.1:8080/; do sleep 0.1; done; sleep 100";
    let file = case.dir.join("pod.yaml");
    let text = format!(
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: pod\nspec:\n  containers:\n  - name: service\n    image: {image}\n  \
         - name: sidecar\n    image: {NATIVE}\n    command: [sh, -c, \"{ask}\"]\n"
    );
    fs::write(&file, text).expect("a file");
    let path = case.path("pod.yaml");
    podman.call(&["play", "kube", "--network", "none", &path]).ok();
    eventually("the sidecar has an answer", || {
        let output = podman.call(&["logs", "pod-sidecar"]);
        (!output.stdout.is_empty()).then_some(())
    });
    podman.call(&["play", "kube", "--down", &path]).ok();
}
