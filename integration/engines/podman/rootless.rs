//! Podman of a user who is not root, with subordinate ids. Where the user has a systemd of his own, cgroups too.

use std::os::unix::fs::MetadataExt;

use super::mounts::{ALL_KINDS_USED, USE_ALL_KINDS, all_kinds, flags_of_all_kinds};
use super::*;
use crate::harness::command::Running;
use crate::harness::terminal::Terminal;

pub fn tests() -> Vec<Test> {
    let tests = vec![
        test!(rootless_run),
        test!(rootless_life),
        test!(rootless_user_namespaces),
        test!(rootless_user_namespaces_without_the_user)
            .wrun_only("runc and crun walk to the root file system as one whom the user's directory, of mode 0700, keeps out"),
        test!(rootless_mounts),
        test!(rootless_pod),
        test!(rootless_without_a_cgroup)
            .wrun_only("Podman knows that of crun and, by its configuration, of wrun"),
        test!(rootless_limits).needs(Need::UserSystemd),
    ];
    tests
        .into_iter()
        .map(|test| test.needs(Need::IdMappers))
        .collect()
}

fn rootless_run(case: &Case) {
    let podman = Podman::rootless(case);
    let script = "cat; echo err >&2; id -u; stat -c %u /bin; chown 5:6 /tmp && stat -c %u:%g /tmp; exit 7";
    let flags = alone(&[
        "--rm",
        "--interactive",
        "--init",
        "--security-opt",
        "no-new-privileges",
    ]);
    let file = case.path("input");
    fs::write(&file, "read\n").expect("a file");
    let mut command = podman.run_command(&flags, NATIVE, &["sh", "-c", script]);
    command.stdin(fs::File::open(&file).expect("the file"));
    let output = case.finish(command).code_is(7);
    assert_eq!(output.stdout, "read\n0\n0\n5:6\n");
    assert_eq!(output.stderr, "err\n");
    for (program, code) in [("/no/such", 127), ("/tmp", 126)] {
        let output = podman.run(NO_NETWORK, NATIVE, &[program]).code_is(code);
        assert!(output.stderr.contains(program), "{output}");
    }
    let (mut terminal, slave) = Terminal::open(33, 88);
    let script = "until stty size | grep '33 88'; do sleep 0.1; done; read word; echo got $word";
    let flags = alone(&["--rm", "--interactive", "--tty"]);
    let run = Running::start_on(podman.run_command(&flags, NATIVE, &["sh", "-c", script]), &slave);
    terminal.expect("33 88");
    terminal.write("word\n");
    terminal.expect("got word");
    run.wait().ok();
}

fn rootless_life(case: &Case) {
    let podman = Podman::rootless(case);
    let id = start_up(&podman, &alone(&["--tmpfs", "/t"]), TRAP);
    let script = "id -u; echo $A in $(pwd); cat /proc/self/uid_map; exit 5";
    let exec = ["exec", "--user", "7:8", "--env", "A=b", "--workdir", "/tmp", &id];
    let output = podman
        .call(&[&exec[..], &["sh", "-c", script]].concat())
        .code_is(5);
    let map = podman.call(&["exec", &id, "cat", "/proc/1/uid_map"]).ok();
    assert_eq!(output.stdout, format!("7\nb in /tmp\n{}", map.stdout));
    assert_eq!(
        podman.call(&["exec", "--tty", &id, "tty"]).ok().stdout,
        "/dev/pts/0\r\n"
    );
    let top = podman.call(&["top", &id, "args"]).ok();
    assert!(top.stdout.contains("asked to stop"), "{top}");
    let (file, back) = (case.path("file"), case.path("podman/back"));
    fs::write(&file, "copied\n").expect("a file");
    podman.call(&["cp", &file, &format!("{id}:/t/file")]).ok();
    podman.call(&["cp", &format!("{id}:/t/file"), &back]).ok();
    assert_eq!(fs::read_to_string(&back).expect("the file"), "copied\n");
    podman.call(&["stop", &id]).ok();
    assert_eq!(podman.inspect(&id, "{{.State.ExitCode}}"), "3");
    podman.call(&["start", &id]).ok();
    podman.call(&["kill", &id]).ok();
    assert_eq!(podman.call(&["wait", &id]).ok().stdout, "137\n");
    podman.remove(&id);
}

/// The maps that a container with `--userns MODE` sees, and its user and group. The intermediate ids of the user's namespace
/// are 0, which is the user, and 1 to 65536.
fn maps(podman: &Podman, mode: &str) -> Vec<String> {
    let script = "cat /proc/self/uid_map; echo $(id -u) $(id -g)";
    let output = podman.run(&alone(&["--userns", mode]), NATIVE, &["sh", "-c", script]);
    let text = output.ok().stdout;
    let lines = text
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
    lines.collect()
}

fn rootless_user_namespaces(case: &Case) {
    let podman = Podman::rootless(case);
    let run = |mode: &str| maps(&podman, mode);
    let user = podman.user_id();
    let kept = run("keep-id");
    assert!(kept.contains(&format!("{user} 0 1")), "{kept:?}");
    assert_eq!(kept.last(), Some(&format!("{user} {user}")));
    let given = run("keep-id:uid=1000,gid=2000");
    assert_eq!(given[..2], ["0 1 1000", "1000 0 1"]);
    assert_eq!(given.last().map(String::as_str), Some("1000 2000"));
    assert_eq!(run("host"), [&format!("0 {user} 1"), "1 300000 65536", "0 0"]);
}

fn rootless_user_namespaces_without_the_user(case: &Case) {
    let podman = Podman::rootless(case);
    assert_eq!(maps(&podman, "nomap"), ["0 1 65536", "0 0"]);
    assert_eq!(maps(&podman, "auto:size=1000"), ["0 1 1000", "0 0"]);
}

fn rootless_mounts(case: &Case) {
    let podman = Podman::rootless(case);
    let (over, given) = (volume(case, "over"), volume(case, "given"));
    podman.give(&given);
    let flags = flags_of_all_kinds(&over, &given);
    let flags = [&all_kinds(&flags)[..], &["--device", "/dev/zero"]].concat();
    let output = podman.run(&flags, NATIVE, &["sh", "-c", USE_ALL_KINDS]).ok();
    assert_eq!(output.lines(), ALL_KINDS_USED, "{output}");
    assert!(!has(&over, "made") && has(&given, "made"));
    // Of the user's ids, the container's 1000.
    let owner = fs::metadata(format!("{given}/made")).expect("a file");
    assert_eq!((owner.uid(), owner.gid()), (300_999, 300_999));
}

fn rootless_pod(case: &Case) {
    let podman = Podman::rootless(case);
    podman
        .call(&["pod", "create", "--name", "pod", "--network", "none"])
        .ok();
    super::pods::serve_and_ask(&podman);
    super::pods::remove(&podman);
}

fn rootless_without_a_cgroup(case: &Case) {
    let podman = Podman::rootless(case);
    let flags = alone(&["--rm", "--cgroups=disabled"]);
    let script = ["sh", "-c", "cat /proc/self/cgroup; exit 3"];
    let output = case
        .finish(podman.run_command(&flags, NATIVE, &script))
        .code_is(3);
    assert!(!output.stdout.contains("libpod"), "{output}");
}

fn rootless_limits(case: &Case) {
    let podman = Podman::rootless(case);
    let flags = alone(&["--memory", "50m", "--pids-limit", "30"]);
    let id = podman.start(&flags, NATIVE, &["sleep", "100"]);
    let read = |file: &str| {
        let pid = podman.inspect(&id, "{{.State.Pid}}");
        super::super::cgroup_file(&pid, "none", "", file)
    };
    assert_eq!(read("memory.max"), "52428800");
    assert_eq!(read("pids.max"), "30");
    podman.call(&["update", "--memory", "60m", &id]).ok();
    assert_eq!(read("memory.max"), "62914560");
    podman.call(&["pause", &id]).ok();
    assert_eq!(podman.inspect(&id, "{{.State.Status}}"), "paused");
    podman.call(&["unpause", &id]).ok();
    let stats = ["stats", "--no-stream", "--format", "{{.PIDs}}", &id];
    assert_eq!(podman.call(&stats).ok().stdout.trim(), "1");
    podman.remove(&id);
}
