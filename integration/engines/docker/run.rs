//! The command of a container: its output, exit code, user, directory, environment, terminal and input.

use super::*;

pub fn tests() -> Vec<Test> {
    vec![
        test!(output_and_exit_code),
        test!(exit_codes_of_what_cannot_run),
        test!(environment_directory_and_user),
        test!(interactive_terminal),
        test!(interactive_input),
        test!(init),
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
