//! `exec` into a container whose first process is a guest: another guest, or a native program, each confined as
//! the container is.

use super::*;

pub fn tests() -> Vec<Test> {
    vec![
        test!(exec_another_guest),
        test!(exec_exit_codes),
        test!(exec_a_component),
        test!(exec_export_by_name),
        test!(exec_process_file),
        test!(exec_user_and_directory),
        test!(exec_input_and_output),
        test!(exec_terminal),
        test!(exec_terminal_in_the_foreground),
        test!(exec_detached),
        test!(exec_signal),
        test!(exec_traps),
        test!(exec_what_is_not_there),
        test!(exec_added_guest_is_confined),
        test!(exec_native_program_is_confined_as_the_container),
        test!(exec_ends_with_the_container),
        test!(exec_killed_for_want_of_memory),
        test!(exec_user_namespace),
        test!(exec_on_v2).unified(),
    ]
}

/// A running container whose first process is a guest that waits, with other guests in its root.
fn waiting<'case>(case: &'case Case, others: &[&str], edit: impl FnOnce(&mut Value)) -> Container<'case> {
    let container = guest_with(case, "sleep", &[], edit);
    for name in others {
        container.write(&format!("{name}.wasm"), guest::binary(name), 0o644);
    }
    container.run_detached();
    container
}

fn exec_another_guest(case: &Case) {
    let container = waiting(case, &["hello"], |_| {});
    let output = container
        .exec_with(&["--env", "ADDED=yes"], &["/hello.wasm", "one", "two words"])
        .ok();
    for line in [
        "Hello from Wasm",
        "arg /hello.wasm",
        "arg one",
        "arg two words",
        "env ADDED=yes",
        "dir /",
    ] {
        assert!(output.lines().contains(&line), "{line}: {output}");
    }
    // By the search path, too.
    let output = container
        .exec_with(&["--env", "PATH=/bin:/"], &["hello.wasm"])
        .ok();
    assert!(output.lines().contains(&"arg hello.wasm"), "{output}");
    assert_eq!(container.status(), "running");
}

fn exec_exit_codes(case: &Case) {
    let container = waiting(case, &["exit"], |_| {});
    for code in [0, 1, 7, 255] {
        container.exec(&["/exit.wasm", &code.to_string()]).code_is(code);
    }
}

fn exec_a_component(case: &Case) {
    let container = waiting(case, &["command", "command-fail"], |_| {});
    let output = container.exec(&["/command.wasm"]).ok();
    assert_eq!(output.stdout, "Hello from a component\n");
    container.exec(&["/command-fail.wasm"]).code_is(1);
}

fn exec_export_by_name(case: &Case) {
    let container = waiting(case, &[], |_| {});
    let text = "(module (func (export \"_start\") unreachable) (func (export \"other\")))";
    container.write("two.wat", text, 0o644);
    container.exec(&["/two.wat#other"]).ok();
    container.exec(&["/two.wat"]).code_is(134);
}

fn exec_process_file(case: &Case) {
    let container = waiting(case, &["hello"], |_| {});
    let file = case.path("process.json");
    let process = json!({
        "args": ["/hello.wasm", "from a file"],
        "env": ["ONLY=this"],
        "cwd": "/tmp",
        "user": { "uid": 1000, "gid": 1000 },
    });
    fs::write(&file, process.to_string()).expect("the process");
    let output = case.call(&["exec", "--process", &file, &container.id]).ok();
    for line in ["arg from a file", "env ONLY=this", "dir ."] {
        assert!(output.lines().contains(&line), "{line}: {output}");
    }
}

fn exec_user_and_directory(case: &Case) {
    let container = waiting(case, &["file"], |_| {});
    let flags = ["--user", "1000:1000", "--cwd", "/tmp"];
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o1777);
    fs::set_permissions(container.rootfs("tmp"), open).expect("it is ours");
    container.exec_with(&flags, &["/file.wasm", "/tmp/new", "x"]).ok();
    let new = fs::metadata(container.rootfs("tmp/new")).expect("the file");
    assert_eq!((new.uid(), new.gid()), (1000, 1000));
    let denied = container.exec_with(&flags, &["/file.wasm", "/root-alone", "x"]);
    assert_ne!(denied.code(), 0, "{denied}");
}

fn exec_input_and_output(case: &Case) {
    let container = waiting(case, &["cat"], |_| {});
    let file = case.dir.join("input");
    fs::write(&file, "through the added guest\n").expect("the input");
    let mut command = case.command(&["exec", &container.id, "/cat.wasm"]);
    command.stdin(fs::File::open(&file).expect("the input"));
    assert_eq!(case.finish(command).ok().stdout, "through the added guest\n");
}

fn exec_terminal(case: &Case) {
    let container = waiting(case, &["cat"], |_| {});
    let path = case.dir.join("console.sock");
    let socket = DescriptorSocket::listen(&path);
    let path = path.to_str().expect("UTF-8");
    container
        .exec_with(&["--tty", "--detach", "--console-socket", path], &["/cat.wasm"])
        .ok();
    let mut terminal = Terminal::from(socket.receive());
    terminal.write("typed\n");
    terminal.expect("typed\r\ntyped\r\n");
    terminal.write("\x04");
}

fn exec_terminal_in_the_foreground(case: &Case) {
    let container = waiting(case, &["cat"], |_| {});
    let (mut terminal, slave) = Terminal::open(33, 77);
    let exec = case.command(&["exec", "--tty", &container.id, "/cat.wasm"]);
    let mut command = std::process::Command::new("setsid");
    command
        .args(["--ctty", "--wait"])
        .arg(exec.get_program())
        .args(exec.get_args());
    for (key, value) in exec.get_envs() {
        command.env(key, value.expect("it is set"));
    }
    let running = Running::start_on(command, &slave);
    drop(slave);
    terminal.write("typed\n");
    terminal.expect("typed\r\ntyped\r\n");
    terminal.write("\x04");
    running.wait().ok();
}

fn exec_detached(case: &Case) {
    let container = waiting(case, &[], |_| {});
    let file = case.path("exec.pid");
    container
        .exec_with(&["--detach", "--pid-file", &file], &["/sleep.wasm"])
        .ok();
    let pid: i32 = fs::read_to_string(&file)
        .expect("the pid file")
        .parse()
        .expect("a pid");
    let listed = case.call(&["ps", "--format", "json", &container.id]).ok().json();
    let pids: Vec<i64> = listed
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(Value::as_i64)
        .collect();
    assert!(
        pids.contains(&pid.into()) && pids.contains(&container.pid().into()),
        "{pids:?}"
    );
    let cgroups = |pid: i32| fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("its cgroups");
    assert_eq!(cgroups(pid), cgroups(container.pid()));
    for kind in ["pid", "net", "ipc", "uts", "mnt", "cgroup"] {
        let namespace = |pid: i32| fs::read_link(format!("/proc/{pid}/ns/{kind}")).expect("a namespace");
        assert_eq!(namespace(pid), namespace(container.pid()), "{kind}");
    }
    rustix::process::kill_process(crate::harness::command::pid(pid), rustix::process::Signal::TERM)
        .expect("it runs");
    assert!(crate::harness::command::wait_for_exit(
        pid,
        crate::harness::command::LIMIT
    ));
    assert_eq!(container.status(), "running");
}

fn exec_signal(case: &Case) {
    let container = waiting(case, &["spin"], |_| {});
    let run = case.start(case.command(&["exec", &container.id, "/spin.wasm"]));
    eventually("it spins", || run.stdout().contains("spinning").then_some(()));
    run.signal(rustix::process::Signal::TERM);
    run.wait().code_is(128 + 15);
    assert_eq!(container.status(), "running");
}

fn exec_traps(case: &Case) {
    let container = waiting(case, &["trap"], |_| {});
    let output = container.exec(&["/trap.wasm", "d"]).code_is(134);
    assert!(output.stderr.contains("integer divide by zero"), "{output}");
}

fn exec_what_is_not_there(case: &Case) {
    let container = waiting(case, &["imports"], |_| {});
    case.names(&container.exec(&["/none.wasm"]), &["/none.wasm", "no such file"]);
    let output = container.exec(&["/imports.wasm"]);
    assert!(
        output.code() != 0 && output.stderr.contains("imports"),
        "{output}"
    );
    assert_eq!(container.status(), "running");
}

/// The guest that is added has no more than the first one.
fn exec_added_guest_is_confined(case: &Case) {
    let container = waiting(case, &[], |_| {});
    let file = case.path("exec.pid");
    container
        .exec_with(
            &["--detach", "--pid-file", &file, "--cap", "CAP_SYS_ADMIN"],
            &["/sleep.wasm"],
        )
        .ok();
    let pid = fs::read_to_string(&file).expect("the pid file");
    let status = |pid: &str| {
        let text = fs::read_to_string(format!("/proc/{pid}/status")).expect("its status");
        let kept = [
            "NoNewPrivs:",
            "Seccomp:",
            "Seccomp_filters:",
            "CapBnd:",
            "CapInh:",
            "CapAmb:",
        ];
        let lines = text
            .lines()
            .filter(|line| kept.iter().any(|name| line.starts_with(name)));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    eventually("it is confined as the first one", || {
        (status(&pid) == status(&container.pid().to_string())).then_some(())
    });
    container.kill("KILL").ok();
}

fn exec_native_program_is_confined_as_the_container(case: &Case) {
    let container = waiting(case, &[], |config| {
        config["process"]["capabilities"] = json!({
            "bounding": ["CAP_KILL", "CAP_CHOWN"], "effective": ["CAP_KILL"],
            "permitted": ["CAP_KILL"], "inheritable": [], "ambient": [],
        });
        config["linux"]["seccomp"] = json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{ "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95 }]
        });
    });
    let status = container.sh("cat /proc/self/status");
    let value = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_default().trim().to_owned()
    };
    // Its capabilities are those of the config, not what is left of them for a guest.
    assert_eq!(
        (value("CapBnd:").as_str(), value("Seccomp:").as_str()),
        ("0000000000000021", "2")
    );
    let output = container.exec(&["mkdir", "/tmp/x"]).code_is(1);
    assert!(output.stderr.contains("not supported"), "{output}");
    for kind in ["pid", "mnt", "net"] {
        let first = fs::read_link(container.proc(&format!("ns/{kind}"))).expect("a namespace");
        assert_eq!(
            container.sh(&format!("readlink /proc/self/ns/{kind}")),
            first.to_string_lossy()
        );
    }
    // What is covered for the guest is there for the program.
    assert_eq!(container.sh("cat /proc/1/comm | wc -l"), "1");
}

fn exec_ends_with_the_container(case: &Case) {
    let container = waiting(case, &["spin"], |_| {});
    let exec = case.start(case.command(&["exec", &container.id, "/spin.wasm"]));
    eventually("it spins", || exec.stdout().contains("spinning").then_some(()));
    container.kill("KILL").ok();
    exec.wait().code_is(128 + 9);
    container.wait_for("stopped");
}

/// The OOM killer is the last resort, and it is said that it was the one.
fn exec_killed_for_want_of_memory(case: &Case) {
    let script = "x=aaaaaaaaaaaaaaaa; while :; do x=$x$x; done";
    let limits = json!({ "limit": 32 << 20, "swap": 32 << 20 });
    let container = case.script_with(script, |config| {
        config["linux"]["resources"]["memory"] = limits.clone();
    });
    let output = container.run().code_is(128 + 9);
    assert!(
        output.stderr.contains("OOM killer") && output.stderr.contains("33554432"),
        "{output}"
    );
    let container = waiting(case, &[], |config| {
        config["linux"]["resources"]["memory"] = limits;
    });
    let output = container.exec(&["sh", "-c", script]).code_is(128 + 9);
    assert!(output.stderr.contains("OOM killer"), "{output}");
    // Killed by somebody: nothing to be said.
    let container = guest_with(case, "spin", &[], |_| {});
    let run = case.start(container.command("run", &[]));
    eventually("it spins", || run.stdout().contains("spinning").then_some(()));
    container.kill("KILL").ok();
    assert_eq!(run.wait().code_is(128 + 9).stderr, "");
}

fn exec_user_namespace(case: &Case) {
    let container = waiting(case, &["file"], |config| {
        crate::harness::bundle::map_ids(config, 100_000);
    });
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o1777);
    fs::set_permissions(container.rootfs("tmp"), open).expect("it is ours");
    container.exec(&["/file.wasm", "/tmp/new", "x"]).ok();
    assert_eq!(
        fs::metadata(container.rootfs("tmp/new")).expect("the file").uid(),
        100_000
    );
    assert_eq!(container.sh("id -u"), "0");
}

fn exec_on_v2(case: &Case) {
    let container = waiting(case, &["exit"], |_| {});
    container.exec(&["/exit.wasm", "7"]).code_is(7);
    assert_eq!(container.sh("echo beside"), "beside");
}
