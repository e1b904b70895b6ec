//! `create`, `start`, `run`, `kill`, `delete`, `pause` and `resume`, with their flags.

use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::Command;

use rustix::process::Signal;
use serde_json::json;

use crate::harness::command::{LIMIT, eventually, pid, wait_for_exit};
use crate::harness::{Case, Container, Test, leaks, test};

pub fn tests() -> Vec<Test> {
    vec![
        test!(create_start_delete),
        test!(create_waits_with_the_program_not_yet_run),
        test!(waiting_process_shows_nothing_of_the_host),
        test!(start_twice_is_refused),
        test!(delete_of_a_running_container_is_refused),
        test!(delete_force_ends_a_running_container),
        test!(delete_force_of_a_created_container),
        test!(delete_force_of_an_unknown_container_succeeds),
        test!(delete_of_an_unknown_container_fails),
        test!(delete_without_force_of_a_created_container),
        test!(start_after_kill_of_a_created_container_is_refused),
        test!(bundle_is_the_working_directory_by_default),
        test!(pid_file_holds_the_pid),
        test!(run_passes_output_and_exit_code),
        test!(run_passes_input),
        test!(run_passes_the_end_by_signal),
        test!(run_forwards_signals),
        test!(run_detached_returns_at_once),
        test!(run_keep_leaves_a_stopped_container),
        test!(run_without_subreaper),
        test!(kill_by_name_and_number),
        test!(kill_defaults_to_term),
        test!(kill_of_an_unknown_signal_fails),
        test!(kill_of_a_stopped_container_fails),
        test!(kill_all_ends_processes_without_a_pid_namespace),
        test!(kill_reaches_those_whose_first_process_is_gone).wrun_only("runc does so from 1.2 on"),
        test!(kill_ends_a_created_container),
        test!(pause_and_resume),
        test!(pause_of_a_created_container_is_refused),
        test!(delete_force_of_a_paused_container),
        test!(no_pivot),
        test!(no_new_keyring),
        test!(preserve_fds_passes_descriptors),
        test!(other_descriptors_are_not_passed),
        test!(pidfd_socket_hands_over_the_process).runc_from(2, "--pidfd-socket"),
        test!(first_process_ends_and_its_children_with_it),
        test!(container_without_process_can_be_created_but_not_started)
            .wrun_only("runc wants a process already at create"),
    ]
}

fn create_start_delete(case: &Case) {
    let container = case.container(&["sleep", "100"]);
    container.create();
    assert_eq!(container.status(), "created");
    container.start();
    assert_eq!(container.status(), "running");
    container.kill("KILL").ok();
    container.wait_for("stopped");
    container.delete();
    case.nothing_left();
    case.call(&["state", &container.id]).code_is(1);
}

fn create_waits_with_the_program_not_yet_run(case: &Case) {
    let container = case.script("echo ran >/ran");
    container.create();
    assert!(container.pid() > 0);
    assert!(!container.rootfs("ran").exists(), "the program ran before start");
    container.start();
    container.wait_for("stopped");
    assert_eq!(container.read("ran"), "ran\n");
    container.delete();
}

/// Whoever shares the pid namespace may read the arguments of a process.
fn waiting_process_shows_nothing_of_the_host(case: &Case) {
    let container = case.container(&["sleep", "100"]);
    container.create();
    let text = fs::read_to_string(container.proc("cmdline")).expect("the process waits");
    let words: Vec<&str> = text.split('\0').filter(|word| !word.is_empty()).collect();
    assert!(matches!(words[..], [_, "init"]), "{words:?}");
    container.start();
    assert_eq!(container.sh("tr '\\0' ' ' </proc/1/cmdline"), "sleep 100");
}

fn start_twice_is_refused(case: &Case) {
    let container = case.container(&["sleep", "100"]);
    container.create();
    container.start();
    let again = case.call(&["start", &container.id]).code_is(1);
    case.names(&again, &[&container.id, "running"]);
    assert_eq!(container.status(), "running");
}

fn delete_of_a_running_container_is_refused(case: &Case) {
    let container = case.container(&["sleep", "100"]);
    container.run_detached();
    let refused = container.delete_with(&[]).code_is(1);
    case.names(&refused, &[&container.id, "running"]);
    assert_eq!(container.status(), "running");
}

fn delete_force_ends_a_running_container(case: &Case) {
    let container = case.container(&["sleep", "100"]);
    container.run_detached();
    container.delete_with(&["--force"]).ok();
    case.nothing_left();
}

fn delete_force_of_a_created_container(case: &Case) {
    let container = case.container(&["sleep", "100"]);
    container.create();
    container.delete_with(&["--force"]).ok();
    case.nothing_left();
}

fn delete_force_of_an_unknown_container_succeeds(case: &Case) {
    case.call(&["delete", "--force", &case.id()]).ok();
}

fn delete_of_an_unknown_container_fails(case: &Case) {
    let id = case.id();
    case.names(&case.call(&["delete", &id]).code_is(1), &[&id]);
}

/// runc ends a container that was never started; engines rely on it after a failed start.
fn delete_without_force_of_a_created_container(case: &Case) {
    let container = case.container(&["sleep", "100"]);
    container.create();
    container.delete();
    case.nothing_left();
}

fn start_after_kill_of_a_created_container_is_refused(case: &Case) {
    let container = case.container(&["sleep", "100"]);
    container.create();
    container.kill("KILL").ok();
    container.wait_for("stopped");
    let refused = case.call(&["start", &container.id]).code_is(1);
    case.names(&refused, &[&container.id, "stopped"]);
    container.delete();
}

fn bundle_is_the_working_directory_by_default(case: &Case) {
    let container = case.script("echo here");
    let mut command = case.command(&["run", &container.id]);
    command.current_dir(&container.bundle);
    assert_eq!(case.finish(command).ok().stdout, "here\n");
}

fn pid_file_holds_the_pid(case: &Case) {
    let container = case.container(&["sleep", "100"]);
    let file = case.path("pid");
    container.try_create(&["--pid-file", &file]).ok();
    assert_eq!(
        fs::read_to_string(&file).expect("the pid file"),
        container.pid().to_string()
    );
    container.delete();
    let other = case.container(&["sleep", "100"]);
    case.finish(other.command("run", &["--detach", "--pid-file", &file]))
        .ok();
    assert_eq!(
        fs::read_to_string(&file).expect("the pid file"),
        other.pid().to_string()
    );
}

fn run_passes_output_and_exit_code(case: &Case) {
    let output = case
        .script("echo to stdout; echo to stderr >&2; exit 7")
        .run()
        .code_is(7);
    assert_eq!(output.stdout, "to stdout\n");
    assert_eq!(output.stderr, "to stderr\n");
    case.nothing_left();
    case.container(&["true"]).run().code_is(0);
    case.container(&["false"]).run().code_is(1);
}

fn run_passes_input(case: &Case) {
    let container = case.container(&["cat"]);
    let file = case.dir.join("input");
    fs::write(&file, "from the caller\n").expect("the input");
    let mut command = container.command("run", &[]);
    command.stdin(fs::File::open(&file).expect("the input"));
    assert_eq!(case.finish(command).ok().stdout, "from the caller\n");
}

fn run_passes_the_end_by_signal(case: &Case) {
    let container = case.script("echo up >/up; exec sleep 100");
    let run = case.start(container.command("run", &[]));
    container.wait_for_file("up");
    container.kill("KILL").ok();
    run.wait().code_is(128 + 9);
    case.nothing_left();
}

fn run_forwards_signals(case: &Case) {
    let script = "trap 'echo got TERM; exit 3' TERM; trap 'echo got USR1' USR1; echo up >/up; \
                  while :; do sleep 0.05; done";
    let container = case.script(script);
    let run = case.start(container.command("run", &[]));
    container.wait_for_file("up");
    run.signal(Signal::USR1);
    eventually("the container has got USR1", || {
        run.stdout().contains("got USR1\n").then_some(())
    });
    run.signal(Signal::TERM);
    let output = run.wait().code_is(3);
    assert_eq!(output.stdout, "got USR1\ngot TERM\n");
    case.nothing_left();
}

fn run_detached_returns_at_once(case: &Case) {
    let container = case.container(&["sleep", "100"]);
    container.run_detached();
    assert_eq!(container.status(), "running");
    eventually("the program runs", || {
        let status = fs::read_to_string(container.proc("status")).ok()?;
        status.contains("Name:\tsleep\n").then_some(())
    });
}

fn run_keep_leaves_a_stopped_container(case: &Case) {
    let container = case.container(&["true"]);
    case.finish(container.command("run", &["--keep"])).ok();
    assert_eq!(container.status(), "stopped");
    container.delete();
    case.nothing_left();
}

fn run_without_subreaper(case: &Case) {
    let container = case.script("exit 5");
    case.finish(container.command("run", &["--no-subreaper"]))
        .code_is(5);
}

fn kill_by_name_and_number(case: &Case) {
    for signal in ["TERM", "SIGTERM", "15"] {
        let container = case.script(
            "trap 'echo ended >/ended; exit 0' TERM; echo up >/up; \
                                     while :; do sleep 0.05; done",
        );
        container.run_detached();
        container.wait_for_file("up");
        container.kill(signal).ok();
        assert_eq!(container.wait_for_file("ended"), "ended\n", "by {signal}");
        container.wait_for("stopped");
        container.delete();
    }
}

fn kill_defaults_to_term(case: &Case) {
    let container = case.script(
        "trap 'echo ended >/ended; exit 0' TERM; echo up >/up; \
                                 while :; do sleep 0.05; done",
    );
    container.run_detached();
    container.wait_for_file("up");
    case.call(&["kill", &container.id]).ok();
    container.wait_for_file("ended");
    container.wait_for("stopped");
}

fn kill_of_an_unknown_signal_fails(case: &Case) {
    let container = case.container(&["sleep", "100"]);
    container.run_detached();
    for signal in ["NONSENSE", "-1", "1000"] {
        let output = case.call(&["kill", &container.id, signal]);
        assert!(!output.status.success(), "{output}");
        assert_eq!(container.status(), "running");
    }
    case.names(&container.kill("NONSENSE"), &["NONSENSE"]);
}

fn kill_of_a_stopped_container_fails(case: &Case) {
    let container = case.container(&["true"]);
    container.run_detached();
    container.wait_for("stopped");
    case.names(&container.kill("TERM").code_is(1), &["not running"]);
}

pub fn kill_all_ends_processes_without_a_pid_namespace(case: &Case) {
    let container = case.container_with(
        &["sh", "-c", "sleep 100 & echo $! >/child; exec sleep 100"],
        |config| {
            crate::harness::bundle::remove_namespace(config, "pid");
        },
    );
    container.run_detached();
    let child = container.wait_for_file("child").trim().parse().expect("a pid");
    case.call(&["kill", "--all", &container.id, "KILL"]).ok();
    assert!(wait_for_exit(child, LIMIT), "a child survived kill --all");
    container.wait_for("stopped");
}

fn kill_reaches_those_whose_first_process_is_gone(case: &Case) {
    let script = "sleep 100 & echo $! >/child; exec sleep 100";
    let container = case.script_with(script, |config| {
        crate::harness::bundle::remove_namespace(config, "pid");
    });
    container.run_detached();
    let child = container.wait_for_file("child").trim().parse().expect("a pid");
    rustix::process::kill_process(pid(container.pid()), rustix::process::Signal::KILL).expect("it lives");
    container.wait_for("stopped");
    case.names(&container.kill("TERM").code_is(1), &["not running"]);
    container.kill("KILL").ok();
    assert!(wait_for_exit(child, LIMIT), "a child survived kill");
    case.names(&container.kill("KILL").code_is(1), &["not running"]);
}

/// Its process is pid 1, for which the kernel drops signals without a handler.
fn kill_ends_a_created_container(case: &Case) {
    for signal in ["TERM", "INT", "HUP"] {
        let container = case.container(&["sleep", "100"]);
        container.create();
        container.kill(signal).ok();
        container.wait_for("stopped");
        container.delete();
    }
}

fn pause_and_resume(case: &Case) {
    let container = case.script("while :; do echo x >>/beat; sleep 0.02; done");
    container.run_detached();
    container.wait_for_file("beat");
    case.call(&["pause", &container.id]).ok();
    assert_eq!(container.status(), "paused");
    let before = container.read("beat");
    std::thread::sleep(std::time::Duration::from_millis(150));
    assert_eq!(
        container.read("beat"),
        before,
        "the container ran while it was paused"
    );
    let refused = container.exec(&["true"]);
    assert!(!refused.status.success(), "exec in a paused container: {refused}");
    case.names(&refused, &["paused"]);
    case.call(&["resume", &container.id]).ok();
    assert_eq!(container.status(), "running");
    eventually("the container runs again", || {
        (container.read("beat") != before).then_some(())
    });
}

fn pause_of_a_created_container_is_refused(case: &Case) {
    let container = case.container(&["true"]);
    let unknown = case.call(&["pause", &container.id]).code_is(1);
    case.names(&unknown, &[&container.id]);
    container.run_detached();
    container.wait_for("stopped");
    let stopped = case.call(&["pause", &container.id]).code_is(1);
    case.names(&stopped, &[&container.id, "not running"]);
    let resumed = case.call(&["resume", &container.id]).code_is(1);
    case.names(&resumed, &[&container.id, "not paused"]);
}

/// The v1 freezer holds a killed process back until it is thawed.
fn delete_force_of_a_paused_container(case: &Case) {
    let container = case.container(&["sleep", "100"]);
    container.run_detached();
    case.call(&["pause", &container.id]).ok();
    container.delete_with(&["--force"]).ok();
    case.nothing_left();
}

fn no_pivot(case: &Case) {
    let container = case.script("ls /; test ! -e /work");
    let output = case.finish(container.command("run", &["--no-pivot"])).ok();
    assert!(output.lines().contains(&"bin"), "{output}");
}

fn no_new_keyring(case: &Case) {
    // /proc/keys lists the keys that the reader can see; it is masked in the fixture.
    let unmask = |config: &mut serde_json::Value| config["linux"]["maskedPaths"] = json!([]);
    let with = case.container_with(&["cat", "/proc/keys"], unmask);
    let output = with.run().ok();
    let name = format!("_ses.{}", with.id);
    assert!(
        output.stdout.contains(&name),
        "no session keyring named {name}: {output}"
    );
    let without = case.container_with(&["cat", "/proc/keys"], unmask);
    let output = case.finish(without.command("run", &["--no-new-keyring"])).ok();
    assert!(!output.stdout.contains(&without.id), "{output}");
}

/// A command whose descriptors 3 and on are `files`, which a shell puts in place.
fn with_descriptors(command: &Command, files: &[&OwnedFd]) -> Command {
    let own = std::process::id();
    let redirections: String = (3..)
        .zip(files)
        .map(|(number, file)| format!(" {number}<>/proc/{own}/fd/{}", file.as_raw_fd()))
        .collect();
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("exec \"$@\"{redirections}"), "sh"]);
    shell
        .arg(command.get_program())
        .args(command.get_args())
        .stdin(std::process::Stdio::null());
    shell
}

fn preserve_fds_passes_descriptors(case: &Case) {
    let (first, second) = (case.dir.join("first"), case.dir.join("second"));
    fs::write(&first, "first\n").expect("a file");
    fs::write(&second, "second\n").expect("a file");
    let (first, second): (OwnedFd, OwnedFd) = (
        fs::File::open(first).expect("it").into(),
        fs::File::open(second).expect("it").into(),
    );
    let script = "cat <&3; cat <&4; ls /proc/self/fd";
    let container = case.script(script);
    let command = with_descriptors(
        &container.command("run", &["--preserve-fds", "2"]),
        &[&first, &second],
    );
    let output = case.finish(command).ok();
    // 5 is the directory that ls reads.
    assert_eq!(
        output.lines(),
        ["first", "second", "0", "1", "2", "3", "4", "5"],
        "{output}"
    );
    let sleeper = case.container(&["sleep", "100"]);
    sleeper.run_detached();
    let exec = case.command(&["exec", "--preserve-fds", "2", &sleeper.id, "sh", "-c", script]);
    let output = case.finish(with_descriptors(&exec, &[&first, &second])).ok();
    assert_eq!(
        output.lines(),
        ["first", "second", "0", "1", "2", "3", "4", "5"],
        "{output}"
    );
}

fn other_descriptors_are_not_passed(case: &Case) {
    let file: OwnedFd = fs::File::open("/etc/passwd").expect("a file").into();
    let container = case.container(&["ls", "/proc/self/fd"]);
    let output = case
        .finish(with_descriptors(&container.command("run", &[]), &[&file, &file]))
        .ok();
    assert_eq!(
        output.lines(),
        ["0", "1", "2", "3"],
        "3 is the directory that ls reads: {output}"
    );
    let sleeper = case.container(&["sleep", "100"]);
    sleeper.run_detached();
    let exec = case.command(&["exec", &sleeper.id, "ls", "/proc/self/fd"]);
    let output = case.finish(with_descriptors(&exec, &[&file, &file])).ok();
    assert_eq!(
        output.lines(),
        ["0", "1", "2", "3"],
        "3 is the directory that ls reads: {output}"
    );
}

fn pidfd_socket_hands_over_the_process(case: &Case) {
    let path = case.dir.join("pidfd.sock");
    let socket = crate::harness::terminal::DescriptorSocket::listen(&path);
    let container = case.container(&["sleep", "100"]);
    container
        .try_create(&["--pidfd-socket", path.to_str().expect("UTF-8")])
        .ok();
    let pidfd = socket.receive();
    let names = |pidfd: OwnedFd, container: &Container| {
        let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd())).expect("fdinfo");
        assert!(info.contains(&format!("Pid:\t{}\n", container.pid())), "{info}");
    };
    names(pidfd, &container);
    let other = case.container(&["sleep", "100"]);
    let flags = ["--detach", "--pidfd-socket", path.to_str().expect("UTF-8")];
    case.finish(other.command("run", &flags)).ok();
    names(socket.receive(), &other);
}

fn first_process_ends_and_its_children_with_it(case: &Case) {
    let container = case.script("sleep 100 & echo up >/up; read line </fifo");
    rustix::fs::mkfifoat(
        rustix::fs::CWD,
        container.rootfs("fifo"),
        rustix::fs::Mode::from_raw_mode(0o666),
    )
    .expect("a fifo");
    container.run_detached();
    container.wait_for_file("up");
    fs::write(container.rootfs("fifo"), "end\n").expect("the fifo has a reader");
    container.wait_for("stopped");
    eventually("no process is left", || {
        leaks::processes(case).is_empty().then_some(())
    });
    container.delete();
}

fn container_without_process_can_be_created_but_not_started(case: &Case) {
    let container = case.container(&["true"]);
    container.edit(|config| {
        config.as_object_mut().expect("an object").remove("process");
    });
    container.create();
    case.names(&case.call(&["start", &container.id]).code_is(1), &["process"]);
}
