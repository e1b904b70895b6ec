//! What a guest is given, and how it ends.

use super::*;

pub fn tests() -> Vec<Test> {
    vec![
        test!(text_runs),
        test!(module_runs),
        test!(component_runs),
        test!(component_that_fails),
        test!(command_of_wasi_03),
        test!(random_numbers_of_components),
        test!(create_and_start),
        test!(exit_codes),
        test!(arguments_and_environment),
        test!(working_directory),
        test!(input),
        test!(files_of_the_root),
        test!(files_of_a_mount),
        test!(readonly_root),
        test!(traps),
        test!(term_ends_a_spinning_guest),
        test!(kill_ends_a_spinning_guest),
        test!(signals_end_a_sleeping_guest),
        test!(foreground_run_forwards_term),
        test!(pause_and_resume),
        test!(terminal),
        test!(exec_of_a_native_program_beside_a_guest),
        test!(exec_of_a_guest_beside_a_native_program),
        test!(ps_shows_the_guest_s_arguments),
        test!(ps_shows_no_path_of_the_host),
    ]
}

fn text_runs(case: &Case) {
    let container = case.container(&["/hello.wat"]);
    container.write("hello.wat", guest::text("hello"), 0o644);
    assert!(container.run().ok().stdout.starts_with("Hello from Wasm\n"));
}

fn module_runs(case: &Case) {
    assert!(
        run_guest(case, "hello", &[])
            .ok()
            .stdout
            .starts_with("Hello from Wasm\n")
    );
}

fn component_runs(case: &Case) {
    assert_eq!(
        run_guest(case, "command", &[]).ok().stdout,
        "Hello from a component\n"
    );
}

fn component_that_fails(case: &Case) {
    run_guest(case, "command-fail", &[]).code_is(1);
}

fn command_of_wasi_03(case: &Case) {
    let output = run_guest(case, "command-async", &[]).ok();
    assert_eq!(output.stdout + &output.stderr, "");
}

fn random_numbers_of_components(case: &Case) {
    run_guest(case, "random", &[]).ok();
}

fn create_and_start(case: &Case) {
    let container = guest_with(case, "sleep", &[], |_| {});
    container.create();
    assert_eq!(container.status(), "created");
    container.start();
    assert_eq!(container.status(), "running");
    container.kill("KILL").ok();
    container.wait_for("stopped");
    container.delete();
    case.nothing_left();
}

fn exit_codes(case: &Case) {
    for code in [0, 1, 7, 126, 255] {
        run_guest(case, "exit", &[&code.to_string()]).code_is(code);
    }
}

fn arguments_and_environment(case: &Case) {
    let container = guest_with(case, "hello", &["one", "two words", ""], |config| {
        config["process"]["env"] = json!(["ONE=1", "TWO=a=b c", "EMPTY="]);
    });
    let output = container.run().ok();
    for line in [
        "arg /hello.wasm",
        "arg one",
        "arg two words",
        "arg ",
        "env ONE=1",
        "env TWO=a=b c",
        "env EMPTY=",
    ] {
        assert!(output.lines().contains(&line), "{line:?}: {output}");
    }
    assert!(output.lines().contains(&"dir /"), "{output}");
}

fn working_directory(case: &Case) {
    let container = guest_with(case, "hello", &[], |config| {
        config["process"]["cwd"] = json!("/tmp")
    });
    let output = container.run().ok();
    assert!(output.stdout.contains("dir ."), "{output}");
}

fn input(case: &Case) {
    let container = guest_with(case, "cat", &[], |_| {});
    let file = case.dir.join("input");
    fs::write(&file, "through the guest\n").expect("the input");
    let mut command = container.command("run", &[]);
    command.stdin(fs::File::open(&file).expect("the input"));
    assert_eq!(case.finish(command).ok().stdout, "through the guest\n");
}

fn files_of_the_root(case: &Case) {
    let container = guest_with(case, "file", &["/etc/passwd"], |_| {});
    assert_eq!(container.run().ok().stdout, container.read("etc/passwd"));
    let container = guest_with(case, "file", &["/tmp/new", "written by a guest"], |_| {});
    container.run().ok();
    assert_eq!(container.read("tmp/new"), "written by a guest");
}

fn files_of_a_mount(case: &Case) {
    fs::create_dir(case.dir.join("volume")).expect("a directory");
    fs::write(case.dir.join("volume/file"), "in the volume\n").expect("a file");
    let bind = |options: &'static [&'static str]| {
        let path = case.path("volume");
        move |config: &mut Value| add_mount(config, "/mnt", "bind", &path, options)
    };
    let read = guest_with(case, "file", &["/mnt/file"], bind(&["bind"]));
    assert_eq!(read.run().ok().stdout, "in the volume\n");
    guest_with(case, "file", &["/mnt/new", "x"], bind(&["bind"]))
        .run()
        .ok();
    assert_eq!(
        fs::read_to_string(case.dir.join("volume/new")).expect("the new file"),
        "x"
    );
    // 69 is WASI's number for a read-only file system, and 29 that for what has none with Wasmtime 48.
    let output = guest_with(case, "file", &["/mnt/other", "x"], bind(&["bind", "ro"])).run();
    assert!([29, 69].contains(&output.code()), "{output}");
}

fn readonly_root(case: &Case) {
    let container = guest_with(case, "file", &["/new", "x"], |config| {
        config["root"]["readonly"] = json!(true)
    });
    let output = container.run();
    assert!([29, 69].contains(&output.code()), "{output}");
}

fn traps(case: &Case) {
    for (how, cause) in [
        ("u", "unreachable"),
        ("d", "integer divide by zero"),
        ("s", "call stack exhausted"),
        ("m", "out of bounds memory access"),
    ] {
        let output = run_guest(case, "trap", &[how]).code_is(134);
        assert!(
            output.stderr.contains(cause) && output.stderr.contains("wasm backtrace"),
            "{output}"
        );
    }
    case.nothing_left();
}

fn term_ends_a_spinning_guest(case: &Case) {
    let (container, run) = start_endless(case, "spin", "spinning");
    container.kill("TERM").ok();
    run.wait().code_is(128 + 15);
}

fn kill_ends_a_spinning_guest(case: &Case) {
    let (container, run) = start_endless(case, "spin", "spinning");
    container.kill("KILL").ok();
    run.wait().code_is(128 + 9);
}

fn signals_end_a_sleeping_guest(case: &Case) {
    for (signal, number) in [("TERM", 15), ("INT", 2), ("HUP", 1), ("KILL", 9)] {
        let (container, run) = start_endless(case, "sleep", "sleeping");
        container.kill(signal).ok();
        run.wait().code_is(128 + number);
    }
}

fn foreground_run_forwards_term(case: &Case) {
    let (_container, run) = start_endless(case, "spin", "spinning");
    run.signal(rustix::process::Signal::TERM);
    run.wait().code_is(128 + 15);
}

fn pause_and_resume(case: &Case) {
    let (container, run) = start_endless(case, "spin", "spinning");
    case.call(&["pause", &container.id]).ok();
    assert_eq!(container.status(), "paused");
    case.call(&["resume", &container.id]).ok();
    container.kill("TERM").ok();
    run.wait().code_is(128 + 15);
}

fn terminal(case: &Case) {
    let container = guest_with(case, "cat", &[], |config| {
        config["process"]["terminal"] = json!(true)
    });
    let path = case.dir.join("console.sock");
    let socket = DescriptorSocket::listen(&path);
    container
        .try_create(&["--console-socket", path.to_str().expect("UTF-8")])
        .ok();
    let mut terminal = Terminal::from(socket.receive());
    container.start();
    terminal.write("typed\n");
    // Once echoed, once copied by the guest.
    terminal.expect("typed\r\ntyped\r\n");
    terminal.write("\x04");
    container.wait_for("stopped");
}

fn exec_of_a_native_program_beside_a_guest(case: &Case) {
    let (container, run) = start_endless(case, "spin", "spinning");
    assert_eq!(container.sh("echo beside"), "beside");
    container.kill("KILL").ok();
    run.wait();
}

fn exec_of_a_guest_beside_a_native_program(case: &Case) {
    let container = case.container(&["sleep", "100"]);
    container.write("hello.wasm", guest::binary("hello"), 0o644);
    container.write("exit.wasm", guest::binary("exit"), 0o644);
    container.run_detached();
    assert!(
        container
            .exec(&["/hello.wasm"])
            .ok()
            .stdout
            .contains("Hello from Wasm")
    );
    container.exec(&["/exit.wasm", "9"]).code_is(9);
}

/// As it shows those of a native program, and from `create` on.
fn ps_shows_the_guest_s_arguments(case: &Case) {
    let container = guest_with(case, "sleep", &["1000"], |_| {});
    container.create();
    let shown = |name: &str| fs::read(container.proc(name)).expect("the process is there");
    let arguments = |line: &[u8]| {
        let text = String::from_utf8_lossy(line).into_owned();
        text.trim_end_matches('\0').replace('\0', " ")
    };
    for _ in 0..2 {
        assert_eq!(arguments(&shown("cmdline")), "/sleep.wasm 1000");
        assert_eq!(shown("comm"), b"sleep.wasm\n");
        if container.status() == "created" {
            container.start();
        }
    }
    // What the container's own processes see, of a guest added to it.
    let file = case.path("exec.pid");
    let flags = ["--detach", "--pid-file", &file];
    container.exec_with(&flags, &["/sleep.wasm", "2000"]).ok();
    let seen = container.sh("for file in /proc/[0-9]*/cmdline; do tr '\\0' ' ' < $file; echo; done");
    for line in ["/sleep.wasm 1000", "/sleep.wasm 2000"] {
        assert!(seen.lines().any(|seen| seen.trim_end() == line), "{line}: {seen}");
    }
    assert!(!seen.contains(&case.mark), "{seen}");
    assert_eq!(container.status(), "running");
}

/// Nor where the guest has more arguments than the command.
fn ps_shows_no_path_of_the_host(case: &Case) {
    let long = "1".repeat(9000);
    let container = guest_with(case, "sleep", &["1000", &long], |_| {});
    container.run_detached();
    let line = fs::read(container.proc("cmdline")).expect("the process is there");
    let line = String::from_utf8_lossy(&line);
    assert!(line.starts_with("/sleep.wasm\x001000\x00111"), "{line}");
    assert!(!line.contains(&case.mark) && line.ends_with("1\0"), "{line}");
}
