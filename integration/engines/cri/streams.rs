//! What goes in and comes out: logs, exec, attach, terminals, forwarded ports.

use std::fs;
use std::io::{Read, Write};
use std::net::SocketAddr;

use rustix::process::Signal;
use serde_json::json;

use super::{Cri, Kind, pods};
use crate::harness::Test;
use crate::harness::command::{Running, eventually};
use crate::harness::cri::NATIVE;
use crate::harness::network::{connect, within};
use crate::harness::terminal::Terminal;

pub fn tests(kind: Kind) -> Vec<Test> {
    vec![
        pods!(kind, logs),
        pods!(kind, exec),
        pods!(kind, exec_that_takes_too_long),
        pods!(kind, exec_on_a_terminal),
        pods!(kind, attach),
        pods!(kind, attach_to_a_terminal),
        pods!(kind, port_forward),
    ]
}

/// In the form that the kubelet reads: a time, the stream, whether the line is whole, the text.
fn logs(cri: Cri<'_>) {
    let pod = cri.run_pod("pod");
    let id = pod.start("one", NATIVE, &["sh", "-c", "echo to out; echo to err >&2"]);
    cri.wait(&id);
    let output = cri.call(&["logs", &id]).ok();
    assert_eq!(
        (&*output.stdout, &*output.stderr),
        ("to out\n", "to err\n"),
        "{output}"
    );
    let log = pod.log("one");
    for end in [" stdout F to out\n", " stderr F to err\n"] {
        assert!(log.contains(end), "{log}");
    }
    pod.remove();
}

fn exec(cri: Cri<'_>) {
    let pod = cri.run_pod("pod");
    let id = pod.start("one", NATIVE, &["sleep", "100"]);
    assert!(cri.shell(&id, "echo in $(hostname)").starts_with("in "));
    let output = cri.call(&["exec", "--sync", &id, "sh", "-c", "echo err >&2; exit 3"]);
    assert!(output.stderr.contains("exited with 3: err"), "{output}");
    let output = cri.call(&["exec", &id, "sh", "-c", "echo streamed; exit 4"]);
    assert!(output.stdout.contains("streamed"), "{output}");
    assert!(output.stderr.contains("exit code 4"), "{output}");
    let input = cri.case.dir.join("input");
    fs::write(&input, "what is read\n").expect("a file");
    let mut command = cri.command(&["exec", "--interactive", &id, "cat"]);
    command.stdin(fs::File::open(&input).expect("the file"));
    assert_eq!(cri.case.finish(command).ok().stdout, "what is read\n");
    let output = cri.call(&["exec", "--sync", &id, "/no/such"]);
    assert!(
        !output.status.success() && output.stderr.contains("/no/such"),
        "{output}"
    );
    pod.remove();
}

/// As a probe that hangs: it is ended, and the container is not.
fn exec_that_takes_too_long(cri: Cri<'_>) {
    let pod = cri.run_pod("pod");
    let id = pod.start("one", NATIVE, &["sleep", "100"]);
    let output = cri.call(&["exec", "--sync", "--timeout", "1", &id, "sleep", "4321"]);
    assert!(!output.status.success(), "{output}");
    eventually("the program is ended", || {
        (!cri.shell(&id, "ps -o args").contains("sleep 4321")).then_some(())
    });
    assert_eq!(cri.inspect(&id)["status"]["state"], "CONTAINER_RUNNING");
    pod.remove();
}

/// It reads another line before it ends: CRI-O loses what a program on a terminal says last.
const TALK: &str = "until stty size | grep '33 88'; do sleep 0.1; done; read word; echo got $word; read word";

fn exec_on_a_terminal(cri: Cri<'_>) {
    let pod = cri.run_pod("pod");
    let id = pod.start("one", NATIVE, &["sleep", "100"]);
    let (mut terminal, slave) = Terminal::open(33, 88);
    let command = cri.command(&["exec", "--interactive", "--tty", &id, "sh", "-c", TALK]);
    let run = Running::start_on(command, &slave);
    terminal.expect("33 88");
    terminal.write("word\n");
    terminal.expect("got word");
    terminal.write("end\n");
    run.wait().ok();
    pod.remove();
}

fn attach(cri: Cri<'_>) {
    let pod = cri.run_pod("pod");
    let script = "read word; echo got $word; sleep 100";
    let id = pod.start("one", NATIVE, &["sh", "-c", script]);
    let input = cri.case.dir.join("input");
    fs::write(&input, "this\n").expect("a file");
    let mut attach = cri.command(&["attach", "--stdin", &id]);
    attach.stdin(fs::File::open(&input).expect("the file"));
    let attached = cri.case.start(attach);
    pod.wait_for_log(&id, "got this\n");
    cri.call(&["stop", "--timeout", "0", &id]).ok();
    attached.wait();
    pod.remove();
}

fn attach_to_a_terminal(cri: Cri<'_>) {
    let pod = cri.run_pod("pod");
    let id = pod.start_with("one", NATIVE, &["sh", "-c", TALK], |container| {
        container["tty"] = json!(true);
    });
    let (mut terminal, slave) = Terminal::open(33, 88);
    let run = Running::start_on(cri.command(&["attach", "--stdin", "--tty", &id]), &slave);
    terminal.expect("33 88");
    terminal.write("word\n");
    terminal.expect("got word");
    pod.wait_for_log(&id, "got word");
    cri.call(&["stop", "--timeout", "0", &id]).ok();
    run.wait();
    pod.remove();
}

fn port_forward(cri: Cri<'_>) {
    let pod = cri.run_pod("pod");
    let serve = "while :; do echo served | nc -l -p 4000; done";
    pod.start("one", NATIVE, &["sh", "-c", serve]);
    let forward = cri
        .case
        .start(cri.command(&["port-forward", &pod.id, "5000:4000"]));
    let address: SocketAddr = "127.0.0.1:5000".parse().expect("an address");
    eventually("the port is forwarded", || {
        within(cri.pid(), || {
            let mut stream = connect(address).ok()?;
            stream.write_all(b"\n").ok()?;
            let mut text = String::new();
            stream.read_to_string(&mut text).ok()?;
            (text == "served\n").then_some(())
        })
    });
    forward.signal(Signal::TERM);
    forward.wait();
    pod.remove();
}
