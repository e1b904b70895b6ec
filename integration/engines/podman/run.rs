//! `podman run`: what the program gets from its start, and what comes back.

use super::*;
use crate::harness::command::Running;
use crate::harness::terminal::Terminal;

pub fn tests() -> Vec<Test> {
    vec![
        test!(output_and_exit_code),
        test!(what_cannot_run),
        test!(terminal),
        test!(input),
        test!(preserved_descriptors),
        test!(directory_as_root),
        test!(init),
        test!(systemd_mode),
    ]
}

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

fn preserved_descriptors(case: &Case) {
    let podman = Podman::new(case);
    let file = case.path("preserved");
    fs::write(&file, "by a descriptor\n").expect("a file");
    let open = ["sh", "-c", "exec 3<\"$0\" 4<\"$0\"; exec \"$@\"", &file];
    // 4 is not asked for.
    let script = "cat <&3; test -e /proc/self/fd/4 && echo too many";
    let flags = alone(&["--rm", "--preserve-fds", "1"]);
    let run = podman.run_command(&flags, NATIVE, &["sh", "-c", &format!("{script}; exit 4")]);
    let output = case.finish(under(&open, &run)).code_is(4);
    assert_eq!(output.stdout, "by a descriptor\n", "{output}");
    let id = podman.start(NO_NETWORK, NATIVE, &["sleep", "100"]);
    let exec = podman.command(&["exec", "--preserve-fds", "1", &id, "sh", "-c", script]);
    let output = case.finish(under(&open, &exec));
    assert_eq!(output.stdout, "by a descriptor\n", "{output}");
    podman.remove(&id);
}

/// `--rootfs`, and its form with an overlay, beside a user whom the image does not know.
fn directory_as_root(case: &Case) {
    let podman = Podman::new(case);
    let root = case.path("root");
    crate::harness::bundle::make_rootfs(&case.dir.join("root"));
    let script = ["sh", "-c", "touch /made && cat /etc/hostname"];
    let flags = alone(&["--rootfs", "--hostname", "named"]);
    let output = podman.run(&flags, &root, &script).ok();
    assert_eq!(output.stdout.trim(), "named");
    assert!(has(&root, "made"));
    let script = ["sh", "-c", "touch /overlaid && id -un && echo $HOME"];
    let entry = "who:x:0:0::/tmp:/bin/sh";
    let flags = alone(&[
        "--user",
        "0",
        "--passwd-entry",
        entry,
        "--env",
        "HOME=/mnt",
        "--rootfs",
    ]);
    let output = podman.run(&flags, &format!("{root}:O"), &script).ok();
    assert_eq!(output.stdout, "root\n/mnt\n");
    assert!(!has(&root, "overlaid"));
    let flags = alone(&["--user", "4321", "--passwd-entry", "who:x:4321:0::/tmp:/bin/sh"]);
    let output = podman.run(&flags, NATIVE, &["sh", "-c", "id -un"]).ok();
    assert_eq!(output.stdout, "who\n");
}

fn init(case: &Case) {
    let podman = Podman::new(case);
    let script = "cat /proc/1/comm; test $$ != 1 && exit 4";
    let output = podman
        .run(&alone(&["--init"]), NATIVE, &["sh", "-c", script])
        .code_is(4);
    assert_eq!(output.stdout, "podman-init\n");
}

/// What systemd as the first process needs: file systems in memory, a cgroup of its own to write to, its stop signal.
fn systemd_mode(case: &Case) {
    let podman = Podman::new(case);
    let script = "
        trap 'exit 9' 37
        for place in /run /run/lock /tmp /var/log/journal; do
            grep -q \"^tmpfs $place tmpfs rw\" /proc/mounts || echo no tmpfs at $place
        done
        tree=/sys/fs/cgroup; test -e $tree/cgroup.procs || tree=$tree/systemd
        mkdir $tree/sub && rmdir $tree/sub && echo up in $container
        while :; do sleep 0.1; done";
    let id = start_up(&podman, &alone(&["--systemd", "always"]), script);
    let output = podman.call(&["logs", &id]).ok();
    assert_eq!((&*output.stdout, &*output.stderr), ("up in podman\n", ""));
    podman.call(&["stop", &id]).ok();
    assert_eq!(podman.inspect(&id, "{{.State.ExitCode}}"), "9");
    podman.remove(&id);
}
