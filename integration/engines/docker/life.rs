//! What happens to a container after its start: signals, pauses, restarts, and its end.

use super::*;

pub fn tests() -> Vec<Test> {
    vec![
        test!(logs),
        test!(stop),
        test!(stop_by_force_after_a_while),
        test!(kill),
        test!(pause),
        test!(restart),
        test!(restart_policy),
        test!(remove_by_force),
        test!(signals_of_the_client),
        test!(stop_signal),
        test!(paused),
        test!(kill_and_removal_while_paused),
    ]
}

pub fn wasm_tests() -> Vec<Test> {
    vec![test!(stop_signal_of_a_guest)]
}

fn logs(case: &Case) {
    let docker = Docker::new(case);
    let id = docker.start(&[], NATIVE, &["sh", "-c", "echo one; echo two >&2"]);
    docker.call(&["wait", &id]).ok();
    let output = docker.call(&["logs", &id]).ok();
    assert_eq!(
        (output.stdout.as_str(), output.stderr.as_str()),
        ("one\n", "two\n")
    );
}

const TRAPPING: &str = "trap 'echo got it; exit 9' TERM; echo up; while :; do sleep 0.05; done";

fn stop(case: &Case) {
    let docker = Docker::new(case);
    let id = docker.start(&[], NATIVE, &["sh", "-c", TRAPPING]);
    docker.wait_for_log(&id, "up");
    docker.call(&["stop", "--time", "50", &id]).ok();
    assert_eq!(
        docker.inspect(&id, "{{.State.Status}} {{.State.ExitCode}}"),
        "exited 9"
    );
    docker.wait_for_log(&id, "got it");
}

fn stop_by_force_after_a_while(case: &Case) {
    let docker = Docker::new(case);
    let id = docker.start(
        &[],
        NATIVE,
        &["sh", "-c", "trap '' TERM; echo up; while :; do sleep 1; done"],
    );
    docker.wait_for_log(&id, "up");
    docker.call(&["stop", "--time", "1", &id]).ok();
    assert_eq!(docker.inspect(&id, "{{.State.ExitCode}}"), "137");
}

fn kill(case: &Case) {
    let docker = Docker::new(case);
    let id = docker.start(
        &[],
        NATIVE,
        &[
            "sh",
            "-c",
            "trap 'echo usr1' USR1; echo up; while :; do sleep 0.05; done",
        ],
    );
    docker.wait_for_log(&id, "up");
    docker.call(&["kill", "--signal", "USR1", &id]).ok();
    docker.wait_for_log(&id, "usr1");
    docker.call(&["kill", &id]).ok();
    assert_eq!(docker.call(&["wait", &id]).ok().stdout, "137\n");
}

fn pause(case: &Case) {
    let docker = Docker::new(case);
    let id = docker.start(&[], NATIVE, &["sleep", "100"]);
    docker.call(&["pause", &id]).ok();
    assert_eq!(docker.inspect(&id, "{{.State.Status}}"), "paused");
    docker.call(&["unpause", &id]).ok();
    assert_eq!(docker.inspect(&id, "{{.State.Status}}"), "running");
    docker.call(&["exec", &id, "true"]).ok();
}

fn restart(case: &Case) {
    let docker = Docker::new(case);
    let id = docker.start(&[], NATIVE, &["sh", "-c", "echo started; exec sleep 100"]);
    docker.call(&["restart", "--time", "0", &id]).ok();
    eventually("it has started twice", || {
        (docker.call(&["logs", &id]).stdout.matches("started").count() == 2).then_some(())
    });
    assert_eq!(docker.inspect(&id, "{{.State.Status}}"), "running");
}

fn restart_policy(case: &Case) {
    let docker = Docker::new(case);
    let id = docker.start(
        &["--restart", "on-failure:2"],
        NATIVE,
        &["sh", "-c", "echo started; exit 3"],
    );
    eventually("it was restarted twice", || {
        (docker.inspect(&id, "{{.RestartCount}} {{.State.Status}}") == "2 exited").then_some(())
    });
    assert_eq!(docker.call(&["logs", &id]).stdout.matches("started").count(), 3);
}

fn remove_by_force(case: &Case) {
    let docker = Docker::new(case);
    let id = docker.start(&[], NATIVE, &["sleep", "100"]);
    let pid = docker.inspect(&id, "{{.State.Pid}}");
    docker.call(&["rm", "--force", &id]).ok();
    assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
    let left = crate::harness::leaks::cgroups(&id);
    assert!(left.is_empty(), "{left:?}");
}

fn signals_of_the_client(case: &Case) {
    let docker = Docker::new(case);
    let run = case.start(docker.run_command(&["--rm"], NATIVE, &["sh", "-c", TRAPPING]));
    eventually("it is up", || run.stdout().contains("up").then_some(()));
    run.signal(rustix::process::Signal::TERM);
    assert!(run.wait().code_is(9).stdout.contains("got it"));
}

/// The image's or the user's in place of TERM, and real-time ones.
fn stop_signal(case: &Case) {
    let docker = Docker::new(case);
    let script =
        "trap 'echo real-time' 37; trap 'exit 9' USR1; trap '' TERM; echo up; while :; do sleep 0.05; done";
    let id = docker.start(&["--stop-signal", "USR1"], NATIVE, &["sh", "-c", script]);
    docker.wait_for_log(&id, "up");
    docker.call(&["kill", "--signal", "RTMIN+3", &id]).ok();
    docker.wait_for_log(&id, "real-time");
    docker.call(&["stop", "--time", "50", &id]).ok();
    assert_eq!(docker.inspect(&id, "{{.State.ExitCode}}"), "9");
    let flags = ["--stop-timeout", "0"];
    let stubborn = docker.start(
        &flags,
        NATIVE,
        &["sh", "-c", "trap '' TERM; echo up; while :; do sleep 1; done"],
    );
    docker.wait_for_log(&stubborn, "up");
    docker.call(&["stop", &stubborn]).ok();
    assert_eq!(docker.inspect(&stubborn, "{{.State.ExitCode}}"), "137");
}

/// It does nothing, and can still be looked at.
fn paused(case: &Case) {
    let docker = Docker::new(case);
    let script = "while :; do echo tick; sleep 0.02; done";
    let id = docker.start(&[], NATIVE, &["sh", "-c", script]);
    docker.wait_for_log(&id, "tick");
    docker.call(&["pause", &id]).ok();
    let ticks = || docker.call(&["logs", &id]).ok().lines().len();
    // What was under way when it was paused is through when two looks agree.
    let before = eventually("the log is quiet", || {
        let first = ticks();
        (first == ticks()).then_some(first)
    });
    assert!(docker.call(&["top", &id]).ok().stdout.contains("tick"));
    docker.call(&["stats", "--no-stream", &id]).ok();
    docker.call(&["update", "--pids-limit", "30", &id]).ok();
    let refused = docker.call(&["exec", &id, "true"]);
    assert!(
        !refused.status.success() && refused.stderr.contains("paused"),
        "{refused}"
    );
    assert_eq!(ticks(), before);
    docker.call(&["unpause", &id]).ok();
    eventually("it goes on", || (ticks() > before).then_some(()));
}

fn kill_and_removal_while_paused(case: &Case) {
    let docker = Docker::new(case);
    for command in [&["kill"][..], &["rm", "--force"], &["stop", "--time", "0"]] {
        let id = docker.start(&[], NATIVE, &["sleep", "100"]);
        docker.call(&["pause", &id]).ok();
        docker.call(&[command, &[&id]].concat()).ok();
        eventually("its processes are gone", || {
            crate::harness::leaks::cgroups(&id).is_empty().then_some(())
        });
    }
}

fn stop_signal_of_a_guest(case: &Case) {
    let docker = Docker::new(case);
    let id = docker.start(&["--stop-signal", "INT"], "wasm-spin:test", &[]);
    docker.wait_for_log(&id, "spinning");
    docker.call(&["pause", &id]).ok();
    docker.call(&["unpause", &id]).ok();
    docker.call(&["stop", "--time", "50", &id]).ok();
    assert_eq!(docker.inspect(&id, "{{.State.ExitCode}}"), "130");
}
