//! What is done to a container that runs: processes added, signals, limits, files, and its end.

use super::*;

pub fn tests() -> Vec<Test> {
    vec![
        test!(exec),
        test!(flags_of_exec),
        test!(pause),
        test!(stop),
        test!(stop_by_force_after_a_while),
        test!(restart),
        test!(signal_and_events),
        test!(top),
        test!(files_and_an_image_of_it),
        test!(health),
    ]
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

fn flags_of_exec(case: &Case) {
    let podman = Podman::new(case);
    let flags = alone(&["--tmpfs", "/t", "--cap-drop", "all"]);
    let id = podman.start(&flags, NATIVE, &["sleep", "100"]);
    let capabilities = |flags: &[&str]| {
        let show = ["grep", "CapEff", "/proc/self/status"];
        let output = podman.call(&[&["exec"], flags, &[&*id], &show].concat()).ok();
        let set = output.stdout.split_whitespace().last().map(str::to_owned);
        u64::from_str_radix(&set.expect("a set"), 16).expect("a set in hexadecimal digits")
    };
    assert_eq!(capabilities(&[]), 0);
    let sys_admin = 1 << 21;
    assert_ne!(capabilities(&["--privileged"]) & sys_admin, 0);
    let file = case.path("environment");
    fs::write(&file, "ONE=one\nTWO=two\n").expect("a file");
    let script = "tty; echo $ONE $TWO; touch /t/detached";
    let output = podman.call(&["exec", "--tty", "--env-file", &file, &id, "sh", "-c", script]);
    assert_eq!(output.ok().stdout, "/dev/pts/0\r\none two\r\n");
    podman
        .call(&["exec", "--detach", &id, "sh", "-c", "mv /t/detached /t/moved"])
        .ok();
    eventually("the detached process has done it", || {
        let output = podman.call(&["exec", &id, "test", "-e", "/t/moved"]);
        output.status.success().then_some(())
    });
    let mut command = podman.command(&["exec", "--interactive", &id, "cat"]);
    command.stdin(fs::File::open(&file).expect("the file"));
    assert_eq!(case.finish(command).ok().stdout, "ONE=one\nTWO=two\n");
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

fn signal_and_events(case: &Case) {
    let podman = Podman::new(case);
    let script = "trap 'exit 9' USR1; echo up; while :; do sleep 0.1; done";
    let id = start_up(&podman, NO_NETWORK, script);
    podman.call(&["kill", "--signal", "USR1", &id]).ok();
    assert_eq!(podman.call(&["wait", &id]).ok().stdout, "9\n");
    let filter = format!("container={id}");
    let list = [
        "events",
        "--stream=false",
        "--format",
        "{{.Status}}",
        "--filter",
        &filter,
    ];
    let output = podman.call(&list).ok();
    let lines = output.lines();
    let positions = ["create", "init", "start", "kill", "died"].map(|event| {
        let position = lines.iter().position(|line| *line == event);
        position.unwrap_or_else(|| panic!("no {event}: {output}"))
    });
    assert!(positions.is_sorted(), "{output}");
    podman.remove(&id);
}

fn top(case: &Case) {
    let podman = Podman::new(case);
    let id = podman.start(NO_NETWORK, NATIVE, &["sleep", "100"]);
    let output = podman.call(&["top", &id, "args"]).ok();
    assert!(output.stdout.contains("sleep 100"), "{output}");
    podman.remove(&id);
}

/// Podman reaches a running container's mounts by the pid that the runtime has told.
fn files_and_an_image_of_it(case: &Case) {
    let podman = Podman::new(case);
    let id = podman.start(&alone(&["--tmpfs", "/t"]), NATIVE, &["sleep", "100"]);
    let (file, back) = (case.path("file"), case.path("back"));
    fs::write(&file, "copied\n").expect("a file");
    podman.call(&["cp", &file, &format!("{id}:/t/file")]).ok();
    assert_eq!(
        podman.call(&["exec", &id, "cat", "/t/file"]).ok().stdout,
        "copied\n"
    );
    podman.call(&["cp", &format!("{id}:/t/file"), &back]).ok();
    assert_eq!(fs::read_to_string(&back).expect("the file"), "copied\n");
    podman.call(&["exec", &id, "touch", "/new"]).ok();
    let diff = podman.call(&["diff", &id]).ok();
    assert!(diff.lines().contains(&"A /new"), "{diff}");
    podman.call(&["commit", &id, "localhost/committed:test"]).ok();
    assert_eq!(podman.inspect(&id, "{{.State.Status}}"), "running");
    podman.remove(&id);
    let output = podman.run(NO_NETWORK, "localhost/committed:test", &["ls", "/new"]);
    assert_eq!(output.ok().stdout, "/new\n");
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
