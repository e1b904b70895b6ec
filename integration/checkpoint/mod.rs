//! `checkpoint` and `restore`: what goes on, what is as it was, and what happens where CRIU cannot do it.

mod failures;
mod hostile;
mod settings;

use std::path::Path;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::harness::command::{Output, Running, eventually};
use crate::harness::terminal::{DescriptorSocket, Terminal};
use crate::harness::{Case, Container, Need, Test, test};

pub fn tests() -> Vec<Test> {
    let mut tests = vec![
        test!(a_counter_goes_on),
        test!(a_container_can_be_left_running),
        test!(a_paused_container_is_restored_running),
        test!(a_terminal_is_sent_again),
        test!(a_foreground_restore_waits_and_deletes),
        test!(streams_that_are_pipes_are_ours_again),
        test!(memory_is_dumped_before).needs(Need::CriuMemoryTracking),
        test!(log_is_among_the_images_without_a_work_path),
        test!(another_id_and_another_bundle),
        test!(restored_container_is_one_like_any_other),
        test!(flags_of_engines),
    ];
    tests.extend(settings::tests());
    tests.extend(failures::tests());
    tests.extend(hostile::tests());
    tests
        .into_iter()
        .map(|test| test.needs(Need::Criu))
        .chain(failures::tests_without_criu())
        .collect()
}

/// Counts in the file /n, without a moment at which that is empty.
const COUNT: &str = "i=0; while :; do i=$((i+1)); echo $i >/n.new; mv /n.new /n; sleep 0.02; done";

/// `run --detach` with standard streams that a checkpoint can hold: a file of ours, as for other tests, is none.
#[track_caller]
fn run(container: &Container, flags: &[&str]) {
    let log = container.case.path("run.log");
    let bundle = container.bundle();
    let args = [
        &["--log", &log, "run", "--detach", "--bundle", &bundle],
        flags,
        &[&container.id],
    ];
    let mut command = container.case.command(&args.concat());
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let output = Running::start_silent(command).wait();
    let said = std::fs::read_to_string(&log).unwrap_or_default();
    assert!(output.status.success(), "{output}{said}");
}

/// A running container that counts.
fn counter<'case>(case: &'case Case, edit: impl FnOnce(&mut Value)) -> Container<'case> {
    let container = case.script_with(COUNT, edit);
    run(&container, &[]);
    container.wait_for_file("n");
    container
}

/// How far the container has counted.
#[track_caller]
fn count(container: &Container) -> u64 {
    let text = container.wait_for_file("n");
    text.trim().parse().expect("a number")
}

/// The container counts on from where it was.
#[track_caller]
fn goes_on(container: &Container, from: u64) {
    eventually("the container counts on", || {
        let now = count(container);
        assert!(now >= from, "it began anew: {now} after {from}");
        (now > from + 2).then_some(())
    });
}

fn images(container: &Container) -> String {
    container.case.path(&format!("images-{}", container.id))
}

fn work(container: &Container) -> String {
    container.case.path("work")
}

/// `checkpoint FLAGS ID`, whatever comes of it.
#[track_caller]
fn try_checkpoint(container: &Container, flags: &[&str]) -> Output {
    let (images, work) = (images(container), work(container));
    let paths = ["checkpoint", "--image-path", &images, "--work-path", &work];
    container.case.call(&[&paths, flags, &[&container.id]].concat())
}

/// `checkpoint`, which must succeed.
#[track_caller]
fn checkpoint(container: &Container, flags: &[&str]) {
    let output = try_checkpoint(container, flags);
    assert!(output.status.success(), "{output}{}", log(container, "dump.log"));
}

/// `restore --detach FLAGS ID`, whatever comes of it.
#[track_caller]
fn try_restore(container: &Container, flags: &[&str]) -> Output {
    let (images, work) = (images(container), work(container));
    let paths = ["--detach", "--image-path", &images, "--work-path", &work];
    container
        .case
        .finish(container.command("restore", &[&paths, flags].concat()))
}

/// `restore --detach`, which must succeed.
#[track_caller]
fn restore(container: &Container, flags: &[&str]) {
    let output = try_restore(container, flags);
    assert!(
        output.status.success(),
        "{output}{}",
        log(container, "restore.log")
    );
}

/// The errors of CRIU's log.
fn log(container: &Container, name: &str) -> String {
    let text = std::fs::read_to_string(Path::new(&work(container)).join(name)).unwrap_or_default();
    let lines = text
        .lines()
        .filter(|line| line.contains("Error") || line.contains("Warn"));
    lines.map(|line| format!("{line}\n")).collect()
}

/// Whether the runtime's help for `checkpoint` has a word.
fn knows(case: &Case, word: &str) -> bool {
    case.runtime.ours || case.call(&["checkpoint", "--help"]).ok().stdout.contains(word)
}

/// There is no such container, and nothing of it but its files.
#[track_caller]
fn is_gone(container: &Container) {
    container.case.call(&["state", &container.id]).code_is(1);
    container.case.nothing_left();
}

fn a_counter_goes_on(case: &Case) {
    let container = counter(case, |_| {});
    for round in 0..2 {
        checkpoint(&container, &[]);
        is_gone(&container);
        for file in ["inventory.img", "descriptors.json", "pstree.img"] {
            assert!(Path::new(&images(&container)).join(file).exists(), "{file}");
        }
        assert!(Path::new(&work(&container)).join("dump.log").exists());
        let before = count(&container);
        let pid_file = case.path(&format!("pid-{round}"));
        restore(&container, &["--pid-file", &pid_file]);
        let pid = std::fs::read_to_string(&pid_file).expect("the pid file");
        assert_eq!(pid, container.pid().to_string());
        assert_eq!(container.status(), "running");
        goes_on(&container, before);
    }
    container.delete_with(&["--force"]).ok();
    case.nothing_left();
}

fn a_container_can_be_left_running(case: &Case) {
    let container = counter(case, |_| {});
    let pid = container.pid();
    checkpoint(&container, &["--leave-running"]);
    assert_eq!((container.status().as_str(), container.pid()), ("running", pid));
    goes_on(&container, count(&container));
    let before = count(&container);
    container.delete_with(&["--force"]).ok();
    case.nothing_left();
    // From the checkpoint, which is older than the end.
    restore(&container, &[]);
    eventually("the container counts past its end", || {
        (count(&container) > before + 2).then_some(())
    });
}

fn a_paused_container_is_restored_running(case: &Case) {
    let container = counter(case, |_| {});
    case.call(&["pause", &container.id]).ok();
    checkpoint(&container, &[]);
    is_gone(&container);
    let before = count(&container);
    restore(&container, &[]);
    goes_on(&container, before);
}

fn a_terminal_is_sent_again(case: &Case) {
    let script = "while read word; do echo got $word; done";
    let container = case.script_with(script, |config| config["process"]["terminal"] = json!(true));
    let socket = |name: &str| {
        let path = case.path(name);
        (DescriptorSocket::listen(Path::new(&path)), path)
    };
    let (first, path) = socket("first.sock");
    run(&container, &["--console-socket", &path]);
    let mut terminal = Terminal::from(first.receive());
    terminal.write("one\n");
    terminal.expect("got one");
    checkpoint(&container, &[]);
    is_gone(&container);
    try_restore(&container, &[]).code_is(1);
    case.nothing_left();
    let (second, path) = socket("second.sock");
    restore(&container, &["--console-socket", &path]);
    let mut terminal = Terminal::from(second.receive());
    terminal.write("two\n");
    terminal.expect("got two");
}

fn a_foreground_restore_waits_and_deletes(case: &Case) {
    let container = counter(case, |config| {
        config["process"]["args"] = json!([
            "sh",
            "-c",
            "echo 1 >/n; until test -e /go; do sleep 0.02; done; exit 7"
        ]);
    });
    checkpoint(&container, &[]);
    let (images, work) = (images(&container), work(&container));
    let paths = ["--image-path", images.as_str(), "--work-path", &work];
    let running = case.start(container.command("restore", &paths));
    eventually("the container is restored", || {
        let state = case.call(&["state", &container.id]);
        (state.status.success() && state.json()["status"] == "running").then_some(())
    });
    container.write("go", "", 0o644);
    running.wait().code_is(7);
    is_gone(&container);
}

/// What the container writes comes out of the pipe that the runtime was given, the first time and again.
fn streams_that_are_pipes_are_ours_again(case: &Case) {
    use std::io::{BufRead, BufReader, Write};
    let container = case.script("while read word; do echo got $word; done");
    let serve = |arguments: Vec<String>, word: &str| {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let (input, mut ours) = std::io::pipe().expect("a pipe");
        let (output, theirs) = std::io::pipe().expect("a pipe");
        let mut command = case.command(&arguments);
        command.stdin(input).stdout(theirs).stderr(Stdio::null());
        Running::start_silent(command).wait().ok();
        writeln!(ours, "{word}").expect("the container reads");
        let mut line = String::new();
        let mut output = BufReader::new(output);
        output.read_line(&mut line).expect("the container writes");
        assert_eq!(line, format!("got {word}\n"));
        (ours, output)
    };
    let with = |words: &[&str]| -> Vec<String> {
        let bundle = container.bundle();
        let words = [words, &["--bundle", &bundle, &container.id]].concat();
        words.into_iter().map(str::to_owned).collect()
    };
    let pipes = serve(with(&["run", "--detach"]), "one");
    checkpoint(&container, &[]);
    drop(pipes);
    let images = images(&container);
    let pipes = serve(with(&["restore", "--detach", "--image-path", &images]), "two");
    assert_eq!(container.status(), "running");
    drop(pipes);
}

fn memory_is_dumped_before(case: &Case) {
    let container = counter(case, |_| {});
    let early = case.path("early");
    let work = work(&container);
    let paths = ["--image-path", early.as_str(), "--work-path", &work];
    case.call(&[&["checkpoint", "--pre-dump"], &paths[..], &[&container.id]].concat())
        .ok();
    assert_eq!(container.status(), "running");
    assert!(Path::new(&early).join("pagemap-1.img").exists());
    goes_on(&container, count(&container));
    for wrong in [early.as_str(), "../nowhere"] {
        let refused = try_checkpoint(&container, &["--parent-path", wrong]).code_is(1);
        assert!(refused.error().contains("--parent-path"), "{refused}");
    }
    checkpoint(&container, &["--parent-path", "../early"]);
    let parent = Path::new(&images(&container)).join("parent");
    assert_eq!(std::fs::read_link(parent).expect("a link"), Path::new("../early"));
    let before = count(&container);
    restore(&container, &[]);
    goes_on(&container, before);
}

fn log_is_among_the_images_without_a_work_path(case: &Case) {
    let container = counter(case, |_| {});
    let images = images(&container);
    case.call(&["checkpoint", "--image-path", &images, &container.id])
        .ok();
    assert!(Path::new(&images).join("dump.log").exists());
    let restore = container.command("restore", &["-d", "--image-path", &images]);
    case.finish(restore).ok();
    assert!(Path::new(&images).join("restore.log").exists());
}

fn another_id_and_another_bundle(case: &Case) {
    let container = counter(case, |_| {});
    let other = case.script(COUNT);
    checkpoint(&container, &[]);
    let images = images(&container);
    let restore = other.command("restore", &["--detach", "--image-path", &images]);
    case.finish(restore).ok();
    assert_eq!(other.status(), "running");
    assert_eq!(other.state()["bundle"], json!(other.bundle()));
    goes_on(&other, count(&container));
}

fn restored_container_is_one_like_any_other(case: &Case) {
    let container = counter(case, |_| {});
    checkpoint(&container, &[]);
    restore(&container, &[]);
    assert_eq!(container.sh("cat /proc/1/comm; hostname"), "sh\ntesthost");
    case.call(&["ps", &container.id]).ok();
    case.call(&["pause", &container.id]).ok();
    assert_eq!(container.status(), "paused");
    case.call(&["resume", &container.id]).ok();
    case.call(&["update", "--pids-limit", "77", &container.id]).ok();
    crate::cgroups::assert_file(&container, "pids", "pids.max", "77");
    container.kill("KILL").ok();
    container.wait_for("stopped");
    container.delete();
    case.nothing_left();
}

/// As containerd and Podman call it.
fn flags_of_engines(case: &Case) {
    let container = counter(case, |_| {});
    let both = [
        "--tcp-established",
        "--ext-unix-sk",
        "--shell-job",
        "--file-locks",
        "--manage-cgroups-mode",
        "soft",
        "--empty-ns",
        "network",
    ];
    let more: &[&str] = match knows(case, "tcp-skip-in-flight") {
        true => &["--tcp-skip-in-flight"],
        false => &[],
    };
    checkpoint(&container, &[&both[..], more].concat());
    let before = count(&container);
    restore(
        &container,
        &[&both[..], &["-no-subreaper", "--no-pivot"]].concat(),
    );
    goes_on(&container, before);
}
