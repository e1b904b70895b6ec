//! Native containers under Docker.

use super::*;

pub fn tests() -> Vec<Test> {
    vec![
        test!(output_and_exit_code),
        test!(exit_codes_of_what_cannot_run),
        test!(environment_directory_and_user),
        test!(interactive_terminal),
        test!(interactive_input),
        test!(volume),
        test!(published_port),
        test!(memory_limit),
        test!(pids_limit),
        test!(dropped_capabilities),
        test!(readonly),
        test!(init),
        test!(networks),
        test!(host_name_and_resolver),
        test!(seccomp_profile),
        test!(logs),
        test!(stop),
        test!(stop_by_force_after_a_while),
        test!(kill),
        test!(pause),
        test!(exec),
        test!(exec_with_a_terminal),
        test!(top_and_stats),
        test!(update),
        test!(restart),
        test!(restart_policy),
        test!(remove_by_force),
        test!(signals_of_the_client),
        test!(default_runtime),
    ]
}

fn output_and_exit_code(case: &Case) {
    let docker = Docker::new(case);
    let output = docker
        .run(&[], NATIVE, &["sh", "-c", "echo out; echo err >&2; exit 7"])
        .code_is(7);
    assert_eq!(
        (output.stdout.as_str(), output.stderr.as_str()),
        ("out\n", "err\n")
    );
}

fn exit_codes_of_what_cannot_run(case: &Case) {
    let docker = Docker::new(case);
    let missing = docker.run(&[], NATIVE, &["nonsense"]).code_is(127);
    assert!(
        missing.stderr.contains("nonsense") && missing.stderr.contains("not found"),
        "{missing}"
    );
    let denied = docker.run(&[], NATIVE, &["/etc/passwd"]).code_is(126);
    assert!(denied.stderr.contains("permission denied"), "{denied}");
}

fn environment_directory_and_user(case: &Case) {
    let docker = Docker::new(case);
    let script = "echo $ONE; pwd; id -u; id -g; id -G";
    let flags = [
        "-e",
        "ONE=one",
        "-w",
        "/tmp/new",
        "-u",
        "1000:2000",
        "--group-add",
        "3000",
    ];
    let output = docker.run(&flags, NATIVE, &["sh", "-c", script]).ok();
    assert_eq!(output.lines(), ["one", "/tmp/new", "1000", "2000", "2000 3000"]);
    let by_name = docker.run(&["-u", "user"], NATIVE, &["id", "-u"]).ok();
    assert_eq!(by_name.stdout, "1000\n");
}

fn interactive_terminal(case: &Case) {
    let docker = Docker::new(case);
    // The client sets the size when the container is running already.
    let script = "tty; read x; until stty size 2>/dev/null | grep -v '0 0'; do sleep 0.1; done; exit 5";
    let command = docker.run_command(&["--rm", "-it"], NATIVE, &["sh", "-c", script]);
    let (mut terminal, run) = on_a_terminal(command, case);
    terminal.expect("/dev/pts/0");
    terminal.write("\r");
    terminal.expect("33 88");
    run.wait().code_is(5);
}

fn interactive_input(case: &Case) {
    let docker = Docker::new(case);
    let file = case.dir.join("input");
    fs::write(&file, "piped in\n").expect("the input");
    let mut command = docker.run_command(&["--rm", "-i"], NATIVE, &["cat"]);
    command.stdin(fs::File::open(&file).expect("the input"));
    assert_eq!(case.finish(command).ok().stdout, "piped in\n");
}

fn volume(case: &Case) {
    let docker = Docker::new(case);
    let path = volume_of(case);
    let bind = format!("{path}:/mnt");
    let output = docker
        .run(
            &["-v", &bind],
            NATIVE,
            &["sh", "-c", "cat /mnt/file; echo x >/mnt/new"],
        )
        .ok();
    assert_eq!(output.stdout, "in the volume\n");
    assert!(case.dir.join("volume/new").exists());
    let readonly = docker
        .run(&["-v", &format!("{bind}:ro")], NATIVE, &["touch", "/mnt/x"])
        .code_is(1);
    assert!(readonly.stderr.contains("Read-only"), "{readonly}");
    let named = docker
        .run(
            &["-v", "/anonymous"],
            NATIVE,
            &["sh", "-c", "touch /anonymous/x && echo fine"],
        )
        .ok();
    assert_eq!(named.stdout, "fine\n");
}

fn published_port(case: &Case) {
    let docker = Docker::new(case);
    let script = "echo from inside >/tmp/index.html; exec httpd -f -p 80 -h /tmp";
    let id = docker.start(&["-p", "127.0.0.1::80"], NATIVE, &["sh", "-c", script]);
    let port = docker.call(&["port", &id, "80"]).ok().stdout;
    let address = port.lines().next().expect("a port").to_owned();
    eventually("the port answers", || {
        let url = format!("http://{address}/");
        let output = case.finish(docker.beside("busybox", &["wget", "-q", "-O", "-", &url]));
        (output.stdout == "from inside\n").then_some(())
    });
}

fn memory_limit(case: &Case) {
    let docker = Docker::new(case);
    let id = docker.start(&["--memory", "32m"], NATIVE, &["tail", "/dev/zero"]);
    assert_eq!(docker.call(&["wait", &id]).ok().stdout, "137\n");
    assert_eq!(
        docker.inspect(&id, "{{.State.OOMKilled}} {{.State.ExitCode}}"),
        "true 137"
    );
}

fn pids_limit(case: &Case) {
    let docker = Docker::new(case);
    let script = "for n in 1 2 3 4 5 6 7 8 9; do sleep 100 & done; echo all";
    let output = docker.run(&["--pids-limit", "5"], NATIVE, &["sh", "-c", script]);
    assert!(
        !output.stdout.contains("all") && output.stderr.contains("can't fork"),
        "{output}"
    );
}

fn dropped_capabilities(case: &Case) {
    let docker = Docker::new(case);
    let show = ["grep", "CapEff", "/proc/self/status"];
    let none = docker.run(&["--cap-drop", "ALL"], NATIVE, &show).ok();
    assert_eq!(none.stdout, "CapEff:\t0000000000000000\n");
    let one = docker
        .run(&["--cap-drop", "ALL", "--cap-add", "NET_ADMIN"], NATIVE, &show)
        .ok();
    assert_eq!(one.stdout, "CapEff:\t0000000000001000\n");
}

fn readonly(case: &Case) {
    let docker = Docker::new(case);
    let script = "touch /x 2>&1; touch /tmp/x && echo tmpfs";
    let output = docker
        .run(&["--read-only", "--tmpfs", "/tmp"], NATIVE, &["sh", "-c", script])
        .ok();
    assert!(
        output.stdout.contains("Read-only") && output.stdout.ends_with("tmpfs\n"),
        "{output}"
    );
}

fn init(case: &Case) {
    let docker = Docker::new(case);
    let output = docker
        .run(
            &["--init"],
            NATIVE,
            &["sh", "-c", "cat /proc/1/comm; echo $$ is not 1; exit 4"],
        )
        .code_is(4);
    assert!(
        output.stdout.starts_with("docker-init\n") || output.stdout.starts_with("tini\n"),
        "{output}"
    );
}

fn networks(case: &Case) {
    let docker = Docker::new(case);
    let none = docker
        .run(&["--network", "none"], NATIVE, &["ls", "/sys/class/net"])
        .ok();
    assert_eq!(none.stdout, "lo\n");
    let bridge = docker
        .run(&["--network", "bridge"], NATIVE, &["ifconfig", "eth0"])
        .ok();
    assert!(bridge.stdout.contains("inet addr:172."), "{bridge}");
    let host = docker
        .run(&["--network", "host"], NATIVE, &["readlink", "/proc/self/ns/net"])
        .ok();
    let outside = case
        .finish(docker.beside("readlink", &["/proc/self/ns/net"]))
        .ok();
    assert_eq!(host.stdout, outside.stdout);
    // Two that share one.
    let first = docker.start(&[], NATIVE, &["sleep", "100"]);
    let show = ["readlink", "/proc/self/ns/net"];
    let shared = docker
        .run(&["--network", &format!("container:{first}")], NATIVE, &show)
        .ok();
    assert_eq!(
        shared.stdout,
        docker.call(&[&["exec", &first], &show[..]].concat()).ok().stdout
    );
}

fn host_name_and_resolver(case: &Case) {
    let docker = Docker::new(case);
    let flags = [
        "--hostname",
        "named",
        "--dns",
        "192.0.2.1",
        "--add-host",
        "other:192.0.2.2",
    ];
    let output = docker
        .run(
            &flags,
            NATIVE,
            &["sh", "-c", "hostname; cat /etc/resolv.conf /etc/hosts"],
        )
        .ok();
    for text in ["named\n", "nameserver 192.0.2.1", "192.0.2.2\tother"] {
        assert!(output.stdout.contains(text), "{output}");
    }
}

fn seccomp_profile(case: &Case) {
    let docker = Docker::new(case);
    let show = ["grep", "-E", "^(Seccomp|NoNewPrivs):", "/proc/self/status"];
    assert_eq!(
        docker.run(&[], NATIVE, &show).ok().stdout,
        "NoNewPrivs:\t0\nSeccomp:\t2\n"
    );
    let flags = [
        "--security-opt",
        "no-new-privileges",
        "--security-opt",
        "seccomp=unconfined",
    ];
    assert_eq!(
        docker.run(&flags, NATIVE, &show).ok().stdout,
        "NoNewPrivs:\t1\nSeccomp:\t0\n"
    );
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

fn update(case: &Case) {
    let docker = Docker::new(case);
    let id = docker.start(&["--memory", "128m"], NATIVE, &["sleep", "100"]);
    let change = [
        "update",
        "--memory",
        "64m",
        "--memory-swap",
        "96m",
        "--pids-limit",
        "20",
        "--cpus",
        "0.5",
    ];
    docker.call(&[&change[..], &[&id]].concat()).ok();
    let file = |controller, v1, v2| cgroup_file(&docker, &id, controller, v1, v2);
    assert_eq!(file("memory", "memory.limit_in_bytes", "memory.max"), "67108864");
    assert_eq!(file("pids", "pids.max", "pids.max"), "20");
    let quota = file("cpu", "cpu.cfs_quota_us", "cpu.max");
    assert!(quota.starts_with("50000"), "{quota}");
    let bomb =
        "for n in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21; do sleep 100 & done; echo all";
    let output = docker.call(&["exec", &id, "sh", "-c", bomb]);
    assert!(!output.stdout.contains("all"), "{output}");
    docker
        .call(&["update", "--memory", "200m", "--memory-swap", "300m", &id])
        .ok();
    assert_eq!(
        cgroup_file(&docker, &id, "memory", "memory.limit_in_bytes", "memory.max"),
        "209715200"
    );
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

fn default_runtime(case: &Case) {
    let dir = case.dir.join("docker");
    let daemon = Daemon::start(
        &dir,
        std::slice::from_ref(&case.runtime),
        &["--default-runtime", &case.runtime.name],
    );
    let docker = Docker::on(case, &daemon);
    let id = docker.start(&[], NATIVE, &["sh", "-c", "echo by default; exit 2"]);
    assert_eq!(docker.call(&["wait", &id]).ok().stdout, "2\n");
    assert_eq!(docker.inspect(&id, "{{.HostConfig.Runtime}}"), case.runtime.name);
    if case.runtime.ours {
        assert!(
            docker
                .run(&[], "wasm-hello:test", &[])
                .ok()
                .stdout
                .contains("Hello from Wasm")
        );
    }
    drop(docker);
    drop(daemon);
}
