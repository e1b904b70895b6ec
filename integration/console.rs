//! The terminal of a container: handed over through `--console-socket`, or copied by a `run` in the foreground.

use std::process::Command;

use serde_json::{Value, json};

use crate::harness::command::Running;
use crate::harness::terminal::{DescriptorSocket, Terminal};
use crate::harness::{Case, Container, Test, test};

pub fn tests() -> Vec<Test> {
    vec![
        test!(console_socket_receives_the_master),
        test!(console_is_the_terminal).covers(&["process.terminal"]),
        test!(console_size_of_the_config).covers(&["process.consoleSize.{height,width}"]),
        test!(foreground_copies_both_ways),
        test!(foreground_into_a_pipe_keeps_line_ends)
            .wrun_only("runc wants a terminal as its own standard input"),
        test!(foreground_has_the_size_of_the_outer_terminal),
        test!(foreground_follows_a_change_of_size),
        test!(foreground_restores_the_outer_terminal),
        test!(foreground_passes_control_c),
        test!(terminal_belongs_to_the_user),
        test!(detached_run_with_a_console_socket),
    ]
}

fn on_a_terminal(config: &mut Value) {
    config["process"]["terminal"] = json!(true);
}

/// `create` with a console socket, then `start`; the terminal.
fn start(case: &Case, container: &Container) -> Terminal {
    let path = case.dir.join(format!("{}.sock", container.id));
    let socket = DescriptorSocket::listen(&path);
    container
        .try_create(&["--console-socket", path.to_str().expect("UTF-8")])
        .ok();
    let terminal = Terminal::from(socket.receive());
    container.start();
    terminal
}

/// `run` in a session whose controlling terminal is ours.
fn run_on(container: &Container, slave: &std::os::fd::OwnedFd) -> Running {
    let run = container.command("run", &[]);
    let mut command = Command::new("setsid");
    command
        .args(["--ctty", "--wait"])
        .arg(run.get_program())
        .args(run.get_args());
    command.env(crate::harness::case::MARK, &container.case.mark);
    Running::start_on(command, slave)
}

fn console_socket_receives_the_master(case: &Case) {
    let container = case.script_with("tty; read word; echo got $word; exit 4", on_a_terminal);
    let mut terminal = start(case, &container);
    terminal.expect("/dev/pts/0");
    terminal.write("hello\n");
    terminal.expect("got hello");
    container.wait_for("stopped");
}

fn console_is_the_terminal(case: &Case) {
    let script = "echo through the console >/dev/console; test -c /dev/console && echo it is a device; \
                  test -t 0 && test -t 1 && test -t 2 && echo all three; \
                  echo through the tty >/dev/tty; ps -o pid,tty | head -2; read end";
    let container = case.script_with(script, on_a_terminal);
    let mut terminal = start(case, &container);
    for text in [
        "through the console",
        "it is a device",
        "all three",
        "through the tty",
        "136,0",
    ] {
        terminal.expect(text);
    }
}

fn console_size_of_the_config(case: &Case) {
    let container = case.script_with("stty size; read end", |config| {
        on_a_terminal(config);
        config["process"]["consoleSize"] = json!({ "height": 41, "width": 123 });
    });
    start(case, &container).expect("41 123");
}

fn foreground_into_a_pipe_keeps_line_ends(case: &Case) {
    let container = case.script_with("echo one; echo two", on_a_terminal);
    assert_eq!(container.run().ok().stdout, "one\ntwo\n");
}

fn foreground_copies_both_ways(case: &Case) {
    let container = case.script_with("tty; read word; echo got $word; exit 4", on_a_terminal);
    let (mut terminal, slave) = Terminal::open(24, 80);
    let run = run_on(&container, &slave);
    terminal.expect("/dev/pts/0");
    terminal.write("hello\r");
    terminal.expect("got hello");
    run.wait().code_is(4);
    case.nothing_left();
}

/// A script that shows the terminal's size. runc sets it when the program may be running already.
pub fn show_size(case: &Case) -> &'static str {
    if case.runtime.ours {
        "stty size"
    } else {
        "until stty size 2>/dev/null | grep -v '0 0'; do sleep 0.05; done"
    }
}

fn foreground_has_the_size_of_the_outer_terminal(case: &Case) {
    let script = format!("{}; read end", show_size(case));
    let container = case.script_with(&script, on_a_terminal);
    let (mut terminal, slave) = Terminal::open(31, 99);
    let run = run_on(&container, &slave);
    terminal.expect("31 99");
    terminal.write("\r");
    run.wait().ok();
}

fn foreground_follows_a_change_of_size(case: &Case) {
    let show = show_size(case);
    let script = format!("trap 'stty size' WINCH; {show}; echo ready; while :; do sleep 0.05; done");
    let container = case.script_with(&script, on_a_terminal);
    let (mut terminal, slave) = Terminal::open(31, 99);
    let run = run_on(&container, &slave);
    terminal.expect("31 99");
    terminal.expect("ready");
    terminal.resize(50, 150);
    terminal.expect("50 150");
    container.kill("KILL").ok();
    run.wait().code_is(128 + 9);
}

/// The outer terminal is raw while the container has it, and as it was afterwards.
fn foreground_restores_the_outer_terminal(case: &Case) {
    let container = case.script_with("echo up; read end", on_a_terminal);
    let (mut terminal, slave) = Terminal::open(24, 80);
    let modes = || {
        let modes = rustix::termios::tcgetattr(&slave).expect("a terminal");
        (modes.local_modes, modes.input_modes, modes.output_modes)
    };
    let before = modes();
    let run = run_on(&container, &slave);
    terminal.expect("up");
    assert!(
        !modes().0.contains(rustix::termios::LocalModes::ICANON),
        "the outer terminal is not raw"
    );
    terminal.write("\r");
    run.wait().ok();
    assert_eq!(modes(), before);
}

fn foreground_passes_control_c(case: &Case) {
    let script = "trap 'echo interrupted; exit 5' INT; echo up; while :; do sleep 0.05; done";
    let container = case.script_with(script, on_a_terminal);
    let (mut terminal, slave) = Terminal::open(24, 80);
    let run = run_on(&container, &slave);
    terminal.expect("up");
    terminal.write("\x03");
    terminal.expect("interrupted");
    run.wait().code_is(5);
}

fn terminal_belongs_to_the_user(case: &Case) {
    let container = case.script_with("stat -c 'owner %u' $(tty); read end", |config| {
        on_a_terminal(config);
        config["process"]["user"] = json!({ "uid": 1000, "gid": 1000 });
    });
    start(case, &container).expect("owner 1000");
}

fn detached_run_with_a_console_socket(case: &Case) {
    let container = case.script_with("tty; read end", on_a_terminal);
    let path = case.dir.join("console.sock");
    let socket = DescriptorSocket::listen(&path);
    case.finish(container.command(
        "run",
        &["--detach", "--console-socket", path.to_str().expect("UTF-8")],
    ))
    .ok();
    let mut terminal = Terminal::from(socket.receive());
    terminal.expect("/dev/pts/0");
    assert_eq!(container.status(), "running");
}
