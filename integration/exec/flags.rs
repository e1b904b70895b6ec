//! The flags of `exec`, and what is passed both ways.

use super::*;

pub fn tests() -> Vec<Test> {
    vec![
        test!(passes_output_input_and_exit_code),
        test!(passes_the_end_by_signal),
        test!(into_a_created_container),
        test!(into_a_stopped_or_unknown_container_fails),
        test!(of_a_missing_program),
        test!(of_a_program_not_executable),
        test!(cwd_flag),
        test!(missing_cwd_fails),
        test!(env_flag),
        test!(user_flag),
        test!(additional_gids_flag),
        test!(cap_flag),
        test!(no_new_privs_flag),
        test!(process_file),
        test!(umask_of_the_process_file).wrun_only("runc 1.1 leaves out the umask of an added process"),
        test!(process_file_that_is_broken_fails),
        test!(detached_with_pid_file),
        test!(terminal_to_a_console_socket),
        test!(terminal_in_the_foreground),
        test!(cgroup_flag).needs(Need::CgroupV1),
        test!(cgroup_flag_with_an_unknown_controller),
        test!(cgroup_that_takes_no_process_is_named).needs(Need::CgroupV2),
        test!(apparmor_flag).needs(Need::AppArmor),
        test!(process_label_flag).needs(Need::Selinux),
        test!(ignore_paused_flag),
        test!(pidfd_socket).runc_from(2, "--pidfd-socket"),
    ]
}

fn passes_output_input_and_exit_code(case: &Case) {
    let container = sleeper(case);
    let output = container
        .exec(&["sh", "-c", "echo out; echo err >&2; exit 9"])
        .code_is(9);
    assert_eq!(
        (output.stdout.as_str(), output.stderr.as_str()),
        ("out\n", "err\n")
    );
    let input = case.dir.join("input");
    fs::write(&input, "input\n").expect("a file");
    let mut command = case.command(&["exec", &container.id, "cat"]);
    command.stdin(fs::File::open(&input).expect("it"));
    assert_eq!(case.finish(command).ok().stdout, "input\n");
}

fn passes_the_end_by_signal(case: &Case) {
    sleeper(case)
        .exec(&["sh", "-c", "kill -TERM $$"])
        .code_is(128 + 15);
}

fn into_a_created_container(case: &Case) {
    let container = case.container(&["sleep", "100"]);
    container.create();
    assert_eq!(container.sh("echo here"), "here");
    assert_eq!(container.status(), "created");
}

fn into_a_stopped_or_unknown_container_fails(case: &Case) {
    let container = case.container(&["true"]);
    let unknown = container.exec(&["true"]);
    assert!(!unknown.status.success(), "{unknown}");
    case.names(&unknown, &[&container.id]);
    container.run_detached();
    container.wait_for("stopped");
    let stopped = container.exec(&["true"]);
    assert!(!stopped.status.success(), "{stopped}");
    case.names(&stopped, &[&container.id, "stopped"]);
}

fn of_a_missing_program(case: &Case) {
    let container = sleeper(case);
    let output = container.exec(&["nonsense"]).code_is(255);
    assert!(
        output.stderr.contains("executable file not found in $PATH"),
        "{output}"
    );
    case.names(&output, &["nonsense"]);
    let output = container.exec(&["/bin/nonsense"]).code_is(255);
    assert!(output.stderr.contains("no such file or directory"), "{output}");
    case.names(&output, &["/bin/nonsense"]);
}

fn of_a_program_not_executable(case: &Case) {
    let container = sleeper(case);
    container.write("program", "#!/bin/sh\n", 0o644);
    let output = container.exec(&["/program"]).code_is(255);
    assert!(output.stderr.contains("permission denied"), "{output}");
    case.names(&output, &["/program"]);
}

fn cwd_flag(case: &Case) {
    let container = sleeper(case);
    assert_eq!(container.exec(&["pwd"]).ok().stdout, "/\n");
    assert_eq!(
        container.exec_with(&["--cwd", "/bin"], &["pwd"]).ok().stdout,
        "/bin\n"
    );
}

fn missing_cwd_fails(case: &Case) {
    let output = sleeper(case)
        .exec_with(&["--cwd", "/no/such/directory"], &["pwd"])
        .code_is(255);
    case.names(&output, &["/no/such/directory"]);
}

fn env_flag(case: &Case) {
    let container = sleeper(case);
    let output = container
        .exec_with(&["--env", "ONE=1", "--env", "TWO=2 2"], &["env"])
        .ok();
    assert!(
        output.lines().contains(&"ONE=1") && output.lines().contains(&"TWO=2 2"),
        "{output}"
    );
}

fn user_flag(case: &Case) {
    let container = sleeper(case);
    let id = |user: &str| {
        container
            .exec_with(&["--user", user], &["sh", "-c", "echo $(id -u):$(id -g)"])
            .ok()
    };
    assert_eq!(id("1000:2000").stdout, "1000:2000\n");
    assert_eq!(id("1000").stdout.split(':').next(), Some("1000"));
}

fn additional_gids_flag(case: &Case) {
    let container = sleeper(case);
    let flags = [
        "--user",
        "1000:1000",
        "--additional-gids",
        "2000",
        "--additional-gids",
        "2001",
    ];
    let output = container
        .exec_with(&flags, &["grep", "^Groups:", "/proc/self/status"])
        .ok();
    assert_eq!(
        output.stdout.split_whitespace().collect::<Vec<_>>(),
        ["Groups:", "2000", "2001"]
    );
}

/// The mask of a capability set of the process that `flags` make.
fn capability_set(container: &Container, flags: &[&str], set: &str) -> u64 {
    let output = container
        .exec_with(flags, &["grep", &format!("^{set}:"), "/proc/self/status"])
        .ok();
    let mask = output
        .stdout
        .split_whitespace()
        .nth(1)
        .expect("a mask")
        .to_owned();
    u64::from_str_radix(&mask, 16).expect("a hexadecimal mask")
}

fn cap_flag(case: &Case) {
    let container = sleeper(case);
    let sys_admin = 1 << 21;
    assert_eq!(capability_set(&container, &[], "CapEff") & sys_admin, 0);
    let flags = ["--cap", "CAP_SYS_ADMIN"];
    for set in ["CapEff", "CapPrm", "CapBnd"] {
        assert_eq!(
            capability_set(&container, &flags, set) & sys_admin,
            sys_admin,
            "{set}"
        );
    }
    // Refused, or left out with a warning.
    let output = container.exec_with(&["--cap", "CAP_NONSENSE"], &["true"]);
    assert!(output.stderr.contains("CAP_NONSENSE"), "{output}");
}

fn no_new_privs_flag(case: &Case) {
    let container = sleeper_with(case, |config| config["process"]["noNewPrivileges"] = json!(false));
    let get = |flags: &[&str]| {
        let output = container
            .exec_with(flags, &["grep", "^NoNewPrivs:", "/proc/self/status"])
            .ok();
        output
            .stdout
            .split_whitespace()
            .nth(1)
            .expect("a number")
            .to_owned()
    };
    assert_eq!(get(&[]), "0");
    assert_eq!(get(&["--no-new-privs"]), "1");
}

fn process_file(case: &Case) {
    let container = sleeper(case);
    let file = case.path("process.json");
    let process = json!({
        "terminal": false,
        "user": { "uid": 1000, "gid": 1000, "additionalGids": [2000] },
        "args": ["sh", "-c", "pwd; echo $ONE; id -u; grep 'Max core' /proc/self/limits; grep -E '^(Groups|CapEff):' /proc/self/status"],
        "env": ["PATH=/bin", "ONE=one"],
        "cwd": "/tmp",
        "rlimits": [{ "type": "RLIMIT_CORE", "soft": 77, "hard": 88 }],
        "capabilities": { "bounding": ["CAP_KILL"], "effective": [], "permitted": [] },
        "noNewPrivileges": true
    });
    fs::write(&file, process.to_string()).expect("the process file");
    let output = case.call(&["exec", "--process", &file, &container.id]).ok();
    assert_eq!(output.lines()[..3], ["/tmp", "one", "1000"], "{output}");
    let limit: Vec<_> = output.lines()[3].split_whitespace().skip(4).take(2).collect();
    assert_eq!(limit, ["77", "88"], "{output}");
    assert!(output.stdout.contains("Groups:\t2000"), "{output}");
    assert!(output.stdout.contains("CapEff:\t0000000000000000"), "{output}");
}

fn umask_of_the_process_file(case: &Case) {
    let container = sleeper(case);
    let file = case.path("process.json");
    let process = json!({
        "user": { "uid": 0, "gid": 0, "umask": 0o027 }, "args": ["/bin/sh", "-c", "umask"], "cwd": "/"
    });
    fs::write(&file, process.to_string()).expect("the process file");
    assert_eq!(
        case.call(&["exec", "--process", &file, &container.id])
            .ok()
            .stdout,
        "0027\n"
    );
}

fn process_file_that_is_broken_fails(case: &Case) {
    let container = sleeper(case);
    let file = case.path("process.json");
    for text in ["{ broken", "{}", "{\"args\": [], \"cwd\": \"/\"}"] {
        fs::write(&file, text).expect("the process file");
        let output = case.call(&["exec", "--process", &file, &container.id]);
        assert!(!output.status.success(), "{output}");
        case.names(&output, &[if text == "{ broken" { &file } else { "args" }]);
    }
    let output = case.call(&["exec", "--process", "/no/such/file", &container.id]);
    assert!(!output.status.success(), "{output}");
    case.names(&output, &["/no/such/file"]);
}

fn detached_with_pid_file(case: &Case) {
    let container = sleeper(case);
    let file = case.path("exec.pid");
    container
        .exec_with(&["--detach", "--pid-file", &file], &["sleep", "500"])
        .ok();
    let pid = fs::read_to_string(&file).expect("the pid file");
    // runc may return just before the program is executed.
    eventually("the program runs", || {
        let command = fs::read(format!("/proc/{pid}/cmdline")).expect("the process is running");
        (command == b"sleep\x00500\0").then_some(())
    });
    assert_ne!(pid, container.pid().to_string());
}

fn terminal_to_a_console_socket(case: &Case) {
    let container = sleeper(case);
    let path = case.dir.join("console.sock");
    let socket = DescriptorSocket::listen(&path);
    let flags = [
        "--tty",
        "--detach",
        "--console-socket",
        path.to_str().expect("UTF-8"),
    ];
    container
        .exec_with(&flags, &["sh", "-c", "tty; read word; echo got $word"])
        .ok();
    let mut terminal = Terminal::from(socket.receive());
    terminal.expect("/dev/pts/");
    terminal.write("hello\n");
    terminal.expect("got hello");
}

fn terminal_in_the_foreground(case: &Case) {
    let container = sleeper(case);
    let (mut terminal, slave) = Terminal::open(33, 77);
    let script = format!("{}; tty; read x; exit 6", crate::console::show_size(case));
    let exec = case.command(&["exec", "--tty", &container.id, "sh", "-c", &script]);
    let mut command = std::process::Command::new("setsid");
    command
        .args(["--ctty", "--wait"])
        .arg(exec.get_program())
        .args(exec.get_args());
    let running = crate::harness::command::Running::start_on(command, &slave);
    drop(slave);
    terminal.expect("33 77");
    terminal.expect("/dev/pts/");
    terminal.write("\n");
    running.wait().code_is(6);
}

fn cgroup_flag(case: &Case) {
    let container = case.script("exec sleep 1000");
    container.run_detached();
    let groups = leaks::cgroups(&container.id);
    let pids = groups
        .iter()
        .find(|path| path.starts_with("/sys/fs/cgroup/pids"))
        .expect("its pids cgroup");
    fs::create_dir(pids.join("inner")).expect("a cgroup inside");
    let file = case.path("exec.pid");
    let flags = ["--detach", "--pid-file", &file, "--cgroup", "pids:inner"];
    container.exec_with(&flags, &["sleep", "500"]).ok();
    let pid = fs::read_to_string(&file).expect("the pid file");
    let cgroups = fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("its cgroups");
    assert!(
        cgroups
            .lines()
            .any(|line| line.contains(":pids:") && line.ends_with("/inner")),
        "{cgroups}"
    );
    let refused = container.exec_with(&["--cgroup", "../../escape"], &["true"]);
    assert!(!refused.status.success(), "{refused}");
    assert!(refused.stderr.contains(" is not a sub cgroup path"), "{refused}");
    let missing = container.exec_with(&["--cgroup", "pids:none"], &["true"]);
    assert!(!missing.status.success(), "{missing}");
    for words in ["adding pid", "/none/cgroup.procs: no such file"] {
        assert!(missing.stderr.contains(words), "{missing}");
    }
}

/// What has controllers below it has no processes (cgroups(7), "no internal processes" rule).
fn cgroup_that_takes_no_process_is_named(case: &Case) {
    let container = sleeper(case);
    let groups = leaks::cgroups(&container.id);
    let own = groups.first().expect("its cgroup");
    let inner = own.join("inner");
    fs::create_dir(&inner).expect("a cgroup inside");
    fs::write(inner.join("cgroup.procs"), container.pid().to_string()).expect("moved");
    fs::write(own.join("cgroup.subtree_control"), "+memory").expect("a controller below");
    let output = container.exec_with(&["--cgroup", "/"], &["true"]);
    assert!(!output.status.success(), "{output}");
    for words in [
        " adding pid ",
        " to cgroups",
        "/cgroup.procs: device or resource busy",
    ] {
        assert!(output.stderr.contains(words), "{output}");
    }
}

fn cgroup_flag_with_an_unknown_controller(case: &Case) {
    let output = sleeper(case).exec_with(&["--cgroup", "nonsense:/"], &["true"]);
    assert_ne!(output.code(), 0, "{output}");
    assert!(output.stderr.contains("nonsense"), "{output}");
}

fn apparmor_flag(case: &Case) {
    let output = sleeper(case)
        .exec_with(&["--apparmor", "unconfined"], &["cat", "/proc/self/attr/current"])
        .ok();
    assert!(output.stdout.starts_with("unconfined"), "{output}");
}

fn process_label_flag(case: &Case) {
    let label = "system_u:system_r:container_t:s0";
    let output = sleeper(case)
        .exec_with(&["--process-label", label], &["cat", "/proc/self/attr/current"])
        .ok();
    assert!(output.stdout.contains("container_t"), "{output}");
}

/// The added process is frozen with the rest, and runs when the container does.
fn ignore_paused_flag(case: &Case) {
    let container = sleeper(case);
    case.call(&["pause", &container.id]).ok();
    let command = case.command(&[
        "exec",
        "--ignore-paused",
        &container.id,
        "sh",
        "-c",
        "echo ran >/ran",
    ]);
    let exec = case.start(command);
    std::thread::sleep(std::time::Duration::from_millis(200));
    assert!(!container.rootfs("ran").exists(), "it ran in a paused container");
    case.call(&["resume", &container.id]).ok();
    exec.wait().ok();
    assert_eq!(container.read("ran"), "ran\n");
}

fn pidfd_socket(case: &Case) {
    use std::os::fd::AsRawFd;
    let container = sleeper(case);
    let path = case.dir.join("pidfd.sock");
    let socket = DescriptorSocket::listen(&path);
    let file = case.path("exec.pid");
    let flags = [
        "--detach",
        "--pid-file",
        &file,
        "--pidfd-socket",
        path.to_str().expect("UTF-8"),
    ];
    container.exec_with(&flags, &["sleep", "500"]).ok();
    let pidfd = socket.receive();
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd())).expect("fdinfo");
    let pid = fs::read_to_string(&file).expect("the pid file");
    assert!(info.contains(&format!("Pid:\t{pid}\n")), "{info}");
}
