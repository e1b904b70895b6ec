//! Commands on a running container: exec, top, stats, files, events.

use super::*;

pub fn tests() -> Vec<Test> {
    vec![
        test!(exec),
        test!(exec_with_a_terminal),
        test!(top_and_stats),
        test!(exec_as_another),
        test!(files),
        test!(events),
        test!(detach_keys),
    ]
}

fn exec(case: &Case) {
    let docker = Docker::new(case);
    let id = docker.start(&["-e", "FROM=run"], NATIVE, &["sleep", "100"]);
    let script = "echo $FROM $ONE; pwd; id -u; exit 6";
    let flags = [
        "exec", "-e", "ONE=one", "-w", "/tmp", "-u", "1000", &id, "sh", "-c", script,
    ];
    assert_eq!(
        docker.call(&flags).code_is(6).lines(),
        ["run one", "/tmp", "1000"]
    );
    let missing = docker.call(&["exec", &id, "nonsense"]);
    // 126 with Docker before 23.
    assert!([126, 127].contains(&missing.code()), "{missing}");
    assert!(
        format!("{}{}", missing.stdout, missing.stderr).contains("not found"),
        "{missing}"
    );
    docker.call(&["exec", "--detach", &id, "touch", "/tmp/made"]).ok();
    eventually("the detached exec has run", || {
        docker
            .call(&["exec", &id, "test", "-e", "/tmp/made"])
            .status
            .success()
            .then_some(())
    });
}

fn exec_with_a_terminal(case: &Case) {
    let docker = Docker::new(case);
    let id = docker.start(&[], NATIVE, &["sleep", "100"]);
    let (mut terminal, run) = on_a_terminal(
        docker.command(&["exec", "-it", &id, "sh", "-c", "tty; read x; exit 8"]),
        case,
    );
    terminal.expect("/dev/pts/");
    terminal.write("\r");
    run.wait().code_is(8);
}

fn top_and_stats(case: &Case) {
    let docker = Docker::new(case);
    let id = docker.start(&[], NATIVE, &["sh", "-c", "sleep 101 & sleep 102"]);
    eventually("top shows all processes", || {
        let top = docker.call(&["top", &id]).ok();
        (top.stdout.contains("sleep 101") && top.stdout.contains("sleep 102")).then_some(())
    });
    let stats = docker
        .call(&["stats", "--no-stream", "--format", "{{.PIDs}} {{.MemUsage}}", &id])
        .ok();
    assert!(
        !stats.stdout.starts_with("0 ") && !stats.stdout.contains(" 0B /"),
        "{stats}"
    );
}

fn exec_as_another(case: &Case) {
    let docker = Docker::new(case);
    let flags = [
        "-u",
        "1000",
        "--group-add",
        "2500",
        "--cap-add",
        "NET_ADMIN",
        "-w",
        "/home",
    ];
    let id = docker.start(&flags, NATIVE, &["sleep", "100"]);
    let show = "id -u; id -g; pwd; echo $HOME; grep CapEff /proc/self/status; tty";
    let exec =
        |flags: &[&str], script: &str| docker.call(&[&["exec"], flags, &[&id, "sh", "-c", script]].concat());
    let root = exec(&["-u", "root:extra"], show);
    let lines = root.lines();
    assert_eq!(lines[..4], ["0", "2000", "/home", "/root"], "{root}");
    assert!(lines[4].ends_with("a80435fb"), "{root}");
    let own = exec(&[], show);
    assert_eq!(own.lines()[4], "CapEff:\t0000000000000000", "{own}");
    assert!(own.stdout.ends_with("not a tty\n"), "{own}");
    // A terminal that nobody looks at.
    exec(
        &["-d", "-t", "-u", "0", "-w", "/tmp", "-e", "NAME=made"],
        "tty >$NAME",
    )
    .ok();
    eventually("it has written", || {
        exec(&[], "cat /tmp/made")
            .stdout
            .starts_with("/dev/pts/")
            .then_some(())
    });
    let missing = exec(&["-w", "/none/such"], "true");
    // 126 with Docker before 23.
    assert!([126, 127].contains(&missing.code()), "{missing}");
    let text = format!("{}{}", missing.stdout, missing.stderr);
    assert!(
        text.contains("/none/such") && text.contains("no such file"),
        "{missing}"
    );
    let file = case.dir.join("input");
    fs::write(&file, "piped in\n").expect("the input");
    let mut command = docker.command(&["exec", "-i", &id, "cat"]);
    command.stdin(fs::File::open(&file).expect("the input"));
    assert_eq!(case.finish(command).ok().stdout, "piped in\n");
}

/// Copies in and out, changes, an image of them, an archive: of a container that runs, and of one that does not.
fn files(case: &Case) {
    let docker = Docker::new(case);
    let volume = volume_of(case);
    let bind = format!("{volume}:/mnt");
    let script = "mkdir /new; echo made >/new/file; rm /etc/group; echo up; exec sleep 100";
    let id = docker.start(&["-v", &bind], NATIVE, &["sh", "-c", script]);
    docker.wait_for_log(&id, "up");
    let file = format!("{volume}/file");
    docker.call(&["cp", &file, &format!("{id}:/new/copy")]).ok();
    docker.call(&["cp", &file, &format!("{id}:/mnt/copy")]).ok();
    docker
        .call(&["cp", &format!("{id}:/new"), &case.path("out")])
        .ok();
    let read = |name: &str| fs::read_to_string(case.dir.join(name)).expect("a copy");
    assert_eq!(
        (&*read("out/file"), &*read("out/copy")),
        ("made\n", "in the volume\n")
    );
    assert_eq!(read("volume/copy"), "in the volume\n");
    let diff = docker.call(&["diff", &id]).ok();
    for line in ["A /new", "A /new/file", "A /new/copy", "D /etc/group"] {
        assert!(diff.lines().contains(&line), "{line}: {diff}");
    }
    // Made while the container is paused for it.
    let image = format!("{}image", case.mark);
    docker.call(&["commit", &id, &image]).ok();
    assert_eq!(docker.inspect(&id, "{{.State.Status}}"), "running");
    let committed = docker.run(&[], &image, &["cat", "/new/copy"]);
    docker.call(&["rmi", &image]).ok();
    assert_eq!(committed.ok().stdout, "in the volume\n");
    docker.call(&["stop", "--time", "0", &id]).ok();
    let archive = case.path("archive");
    docker.call(&["export", "--output", &archive, &id]).ok();
    let mut tar = std::process::Command::new("tar");
    tar.args(["-tf", &archive]);
    assert!(case.finish(tar).ok().lines().contains(&"new/copy"));
}

/// What Docker hears of the runtime and its shim, in order.
fn events(case: &Case) {
    let docker = Docker::new(case);
    let name = format!("{}renamed", case.mark);
    let id = docker.start(
        &["--memory", "32m"],
        NATIVE,
        &["sh", "-c", "echo up; exec sleep 100"],
    );
    docker.call(&["exec", &id, "sh", "-c", "exit 4"]).code_is(4);
    docker.call(&["pause", &id]).ok();
    docker.call(&["unpause", &id]).ok();
    docker.call(&["rename", &id, &name]).ok();
    docker.call(&["exec", &name, "tail", "/dev/zero"]).code_is(137);
    docker.call(&["kill", "--signal", "KILL", &name]).ok();
    docker.call(&["wait", &id]).ok();
    let filter = format!("container={id}");
    let format = "{{.Action}} {{.Actor.Attributes.exitCode}}";
    let wanted = [
        "create",
        "start",
        "exec_die 4",
        "pause",
        "unpause",
        "rename",
        "oom",
        "exec_die 137",
        "kill",
        "die 137",
    ];
    eventually("all have been told, in order", || {
        let output = docker
            .call(&[
                "events", "--since", "1h", "--until", "0s", "--filter", &filter, "--format", format,
            ])
            .ok();
        let lines: Vec<&str> = output
            .lines()
            .into_iter()
            .map(|line| line.trim_end_matches(" <no value>").trim_end())
            .collect();
        // That memory ran out is told by another than that a process ended.
        let (oom, rest): (Vec<&str>, Vec<&str>) = lines.iter().partition(|line| **line == "oom");
        let mut rest = rest.iter();
        let all = wanted
            .iter()
            .filter(|line| **line != "oom")
            .all(|line| rest.any(|own| own == line));
        (all && !oom.is_empty()).then_some(())
    });
}

/// The client leaves a terminal by its keys, and comes back to the same.
fn detach_keys(case: &Case) {
    let docker = Docker::new(case);
    let name = format!("{}detached", case.mark);
    let flags = ["--name", &name, "-it"];
    let script = "echo first; read x; echo second $x; read x; exit 5";
    let (mut terminal, run) = on_a_terminal(docker.run_command(&flags, NATIVE, &["sh", "-c", script]), case);
    terminal.expect("first");
    terminal.write("\x10\x11");
    run.wait().ok();
    assert_eq!(docker.inspect(&name, "{{.State.Status}}"), "running");
    let command = docker.command(&["attach", "--detach-keys", "ctrl-a,d", &name]);
    let (mut terminal, attach) = on_a_terminal(command, case);
    terminal.write("line\r");
    terminal.expect("second line");
    terminal.write("\x01d");
    let left = attach.wait();
    // 1 with the client of Docker before 24.
    assert!([0, 1].contains(&left.code()), "{left}");
    let (mut terminal, attach) = on_a_terminal(docker.command(&["attach", &name]), case);
    terminal.write("end\r");
    attach.wait().code_is(5);
}
