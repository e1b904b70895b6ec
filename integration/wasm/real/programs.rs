//! Programs in C and plain Rust, and whether the built files are those of the sources.

use super::*;

pub fn tests() -> Vec<Test> {
    vec![
        test!(c_program),
        test!(c_files),
        test!(c_traps_name_their_place),
        test!(rust_command),
        test!(rust_files),
        test!(rust_sockets_within),
        test!(rust_sockets_from_outside),
        test!(built_files_are_those_of_the_sources).needs(Need::GuestToolchain),
        test!(newer_files_are_those_of_the_sources).needs(Need::NewerGuestToolchain),
    ]
}

fn c_program(case: &Case) {
    let container = guest_with(case, "c-hello", &["one", "two words"], |config| {
        config["process"]["env"] = json!(["ONE=1", "TWO=a=b c"]);
    });
    let output = container.run().ok();
    for line in [
        "arg /c-hello.wasm",
        "arg one",
        "arg two words",
        "env ONE=1",
        "env TWO=a=b c",
        "cwd /",
        "clock is set",
        "random differs",
    ] {
        assert!(output.lines().contains(&line), "{line:?}: {output}");
    }
    run_guest(case, "c-hello", &["exit", "7"]).code_is(7);
}

fn c_files(case: &Case) {
    let container = guest_with(case, "c-hello", &["copy", "/etc/passwd", "/tmp/copy"], |_| {});
    container.run().ok();
    assert_eq!(container.read("tmp/copy"), container.read("etc/passwd"));
    let output = run_guest(case, "c-hello", &["copy", "/no/such/file", "/tmp/copy"]).code_is(1);
    assert_eq!(output.stderr, "/no/such/file: No such file or directory\n");
}

fn c_traps_name_their_place(case: &Case) {
    for (how, function, line, what) in [
        ("0", "quotient", 13, "divide by zero"),
        ("u", "give_up", 17, "unreachable"),
        ("m", "peek", 21, "out of bounds"),
    ] {
        let output = run_guest(case, "c-trap", &[how]).code_is(134);
        assert_eq!(output.stdout, "about to trap\n");
        for part in [function, &format!("c-trap/main.c:{line}"), "choose", what] {
            assert!(output.stderr.contains(part), "{part:?}: {output}");
        }
    }
    assert_eq!(
        run_guest(case, "c-trap", &["1"]).ok().stdout,
        "about to trap\n1\n"
    );
}

fn rust_command(case: &Case) {
    let container = guest_with(case, "command-02", &["args", "env", "clocks"], |config| {
        config["process"]["env"] = json!(["ONE=1", "TWO=a=b c"]);
    });
    let output = container.run().ok();
    for line in [
        "arg /command-02.wasm",
        "arg clocks",
        "env ONE=1",
        "env TWO=a=b c",
        "clocks true true",
    ] {
        assert!(output.lines().contains(&line), "{line:?}: {output}");
    }
    run_guest(case, "command-02", &["exit", "0"]).ok();
    let output = run_guest(case, "command-02", &["nonsense"]).code_is(1);
    assert_eq!(output.stderr, "nonsense failed: there is no such step\n");
}

fn rust_files(case: &Case) {
    let steps = [
        "write", "/mnt/new", "text\n", "cat", "/mnt/new", "list", "/mnt", "remove", "/mnt/new",
    ];
    let container = guest_with(
        case,
        "command-02",
        &[&steps[..], &["list", "/mnt"]].concat(),
        |_| {},
    );
    container.write("mnt/old", "", 0o644);
    assert_eq!(
        container.run().ok().stdout,
        "text\nentry new\nentry old\nentry old\n"
    );
    let output = run_guest(case, "command-02", &["cat", "/no/such/file"]).code_is(1);
    assert!(output.stderr.starts_with("cat failed: No such file"), "{output}");
}

fn rust_sockets_within(case: &Case) {
    let container = guest_with(
        case,
        "command-02",
        &["loop", "4", "loop", "6", "lookup", "host.test"],
        |_| {},
    );
    container.write("etc/hosts", "192.0.2.7 host.test\n", 0o644);
    assert_eq!(
        container.run().ok().lines(),
        [
            "loop over tcp true",
            "loop over udp true",
            "loop over tcp true",
            "loop over udp true",
            "address 192.0.2.7"
        ]
    );
}

fn rust_sockets_from_outside(case: &Case) {
    serves_tcp_and_udp(case, "command-02");
}

fn built_files_are_those_of_the_sources(case: &Case) {
    are_those_of_the_sources(case, "trixie");
}

fn newer_files_are_those_of_the_sources(case: &Case) {
    are_those_of_the_sources(case, "forky");
}

/// Not bounded by the limit of commands, since compiling takes what it takes.
fn are_those_of_the_sources(case: &Case, suite: &str) {
    let log = fs::File::create(case.dir.join("build")).expect("a file");
    let status = guest::build_command(&["--check", suite])
        .stdout(log.try_clone().expect("a descriptor"))
        .stderr(log)
        .status();
    let text = fs::read_to_string(case.dir.join("build")).expect("its output");
    assert!(status.expect("it starts").success(), "{text}");
}
