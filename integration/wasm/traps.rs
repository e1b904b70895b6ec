//! How a guest that is ended for what it did ends: cleanly, with 134 and the reason, where it happened as far as
//! that is known, and what else was asked for.

use super::*;

pub fn tests() -> Vec<Test> {
    vec![
        test!(every_kind_of_trap),
        test!(recursion_through_the_host_in_a_component),
        test!(trap_tells_the_source_line),
        test!(trap_is_told_tidily),
        test!(core_dump),
        test!(core_dump_of_a_component),
        test!(core_dump_with_the_guest_s_rights),
        test!(core_dump_stays_in_the_root),
        test!(core_dump_into_no_pipe),
        test!(no_core_dump_of_an_exit),
        test!(core_dump_that_memory_is_too_short_for),
        test!(perf_map),
        test!(perf_map_without_a_place),
        test!(native_program_is_left_alone),
    ]
}

fn every_kind_of_trap(case: &Case) {
    for (how, cause) in [
        ("o", "integer overflow"),
        ("v", "invalid conversion to integer"),
        ("i", "indirect call type mismatch"),
        ("n", "uninitialized element"),
        ("t", "undefined element: out of bounds table access"),
        ("r", "null reference"),
        ("k", "cast failure"),
        ("g", "out of bounds array access"),
        ("x", "an exception was thrown that nothing caught"),
        ("h", "call stack exhausted"),
    ] {
        let output = run_guest(case, "traps", &[how]).code_is(134);
        let first = output.stderr.lines().next().unwrap_or_default();
        assert!(
            first.starts_with("wrun: the guest trapped: ") && first.contains(cause),
            "{how}: {output}"
        );
        assert!(!output.stderr.contains("panicked"), "{output}");
    }
    case.nothing_left();
}

fn recursion_through_the_host_in_a_component(case: &Case) {
    let output = run_guest(case, "command-deep", &[]).code_is(134);
    assert!(output.stderr.contains("call stack exhausted"), "{output}");
}

fn trap_tells_the_source_line(case: &Case) {
    for (args, place) in [
        (&["0"][..], "main.c:13"),
        (&["u"], "main.c:17"),
        (&["m"], "main.c:21"),
    ] {
        let output = run_guest(case, "c-trap", args).code_is(134);
        assert!(output.stderr.contains(place), "{output}");
        assert!(output.stderr.contains("choose"), "{output}");
    }
}

fn trap_is_told_tidily(case: &Case) {
    let output = run_guest(case, "trap", &["s"]).code_is(134);
    // Twenty frames of one function are told once.
    assert!(output.stderr.matches("overflow").count() <= 3, "{output}");
    assert!(
        output.stderr.contains("the same") && !output.stderr.contains("Caused by"),
        "{output}"
    );
    let output = run_guest(case, "trap", &["m"]).code_is(134);
    assert!(
        output
            .stderr
            .starts_with("wrun: the guest trapped: out of bounds memory access"),
        "{output}"
    );
}

/// A container of the guest `name` that is to leave a core dump at `path`.
fn dumping<'case>(case: &'case Case, name: &str, args: &[&str], path: &str) -> Container<'case> {
    guest_with(case, name, args, |config| {
        config["annotations"]["org.wrun.wasm.core-dump"] = json!(path);
    })
}

/// Whether a file is a Wasm module whose first section is `core`.
fn is_core_dump(bytes: &[u8]) -> bool {
    let (magic, first) = bytes.split_at_checked(8).unwrap_or_default();
    magic == b"\0asm\x01\0\0\0" && first.windows(5).take(8).any(|name| name == b"\x04core")
}

fn core_dump(case: &Case) {
    let container = dumping(case, "trap", &["m"], "/tmp/core");
    // One that is there is written anew.
    container.write("tmp/core", "an old one, ".repeat(1000), 0o644);
    let output = container.run().code_is(134);
    assert!(
        output.stderr.contains("written to /tmp/core") && output.stderr.contains("out of bounds"),
        "{output}"
    );
    let dump = fs::read(container.rootfs("tmp/core")).expect("the dump");
    assert!(is_core_dump(&dump), "{:?}", &dump[..dump.len().min(32)]);
    assert!(!dump.windows(10).any(|ten| ten == b"an old one"));
}

fn core_dump_of_a_component(case: &Case) {
    let container = dumping(case, "command-deep", &[], "/tmp/core");
    let output = container.run().code_is(134);
    assert!(output.stderr.contains("written to /tmp/core"), "{output}");
    assert!(is_core_dump(
        &fs::read(container.rootfs("tmp/core")).expect("the dump")
    ));
}

fn core_dump_with_the_guest_s_rights(case: &Case) {
    let container = dumping(case, "trap", &["u"], "/core");
    container.edit(|config| config["process"]["user"] = json!({ "uid": 1000, "gid": 1000 }));
    let output = container.run().code_is(134);
    assert!(
        output.stderr.contains("no core dump written to /core") && output.stderr.contains("ermission denied"),
        "{output}"
    );
}

fn core_dump_stays_in_the_root(case: &Case) {
    let container = dumping(case, "trap", &["u"], "/link/core");
    fs::create_dir(case.dir.join("outside")).expect("a directory");
    symlink(case.dir.join("outside"), container.rootfs("link")).expect("a link");
    let output = container.run().code_is(134);
    assert!(output.stderr.contains("no core dump"), "{output}");
    assert_eq!(fs::read_dir(case.dir.join("outside")).expect("it").count(), 0);
}

fn core_dump_into_no_pipe(case: &Case) {
    let container = dumping(case, "trap", &["u"], "/tmp/core");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        container.rootfs("tmp/core"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o666),
        0,
    )
    .expect("a pipe");
    let output = container.run().code_is(134);
    assert!(output.stderr.contains("no core dump"), "{output}");
}

fn no_core_dump_of_an_exit(case: &Case) {
    let container = dumping(case, "exit", &["7"], "/tmp/core");
    let output = container.run().code_is(7);
    assert_eq!(output.stderr, "");
    assert!(!container.rootfs("tmp/core").exists());
}

fn core_dump_that_memory_is_too_short_for(case: &Case) {
    // 40 of 64 MiB in use; it would take as much again twice.
    let text = "(module (memory (export \"memory\") 640) (func (export \"_start\")
        (memory.fill (i32.const 0) (i32.const 1) (i32.const 41943040)) (unreachable)))";
    let container = case.container_with(&["/full.wat"], |config| {
        config["annotations"]["org.wrun.wasm.core-dump"] = json!("/tmp/core");
        config["linux"]["resources"]["memory"] = json!({ "limit": 64 << 20, "swap": 64 << 20 });
    });
    container.write("full.wat", text, 0o644);
    let output = container.run().code_is(134);
    assert!(
        output.stderr.contains("no core dump") && output.stderr.contains("memory limit"),
        "{output}"
    );
}

fn profiled<'case>(case: &'case Case, edit: impl FnOnce(&mut Value)) -> Container<'case> {
    guest_with(case, "trap", &["u"], |config| {
        config["annotations"]["org.wrun.wasm.profile"] = json!("perf-map");
        edit(config);
    })
}

fn perf_map(case: &Case) {
    let container = profiled(case, |_| {});
    container.write("tmp/perf-1.map", "of another process\n", 0o644);
    container.run().code_is(134);
    let map = container.read("tmp/perf-1.map");
    assert!(
        map.lines().any(|line| line.ends_with(" divide")) && !map.contains("another process"),
        "{map}"
    );
    for line in map.lines() {
        let address = line.split(' ').next().unwrap_or_default();
        let digits = address.strip_prefix("0x").unwrap_or(address);
        assert!(u64::from_str_radix(digits, 16).is_ok(), "{line}");
    }
}

fn perf_map_without_a_place(case: &Case) {
    let container = profiled(case, |_| {});
    fs::remove_dir(container.rootfs("tmp")).expect("it is empty");
    let output = container.run().code_is(1);
    assert!(
        output.stderr.contains("/tmp/perf-1.map") && output.stderr.contains("org.wrun.wasm.profile"),
        "{output}"
    );
}

/// What is asked for guests has no effect on others, so that engines may set it for all.
fn native_program_is_left_alone(case: &Case) {
    let container = case.container_with(&["sh", "-c", "sleep 0.5; exit 5"], |config| {
        config["annotations"] = json!({
            "org.wrun.wasm.fuel": "1",
            "org.wrun.wasm.timeout": "0.1",
            "org.wrun.wasm.core-dump": "/tmp/core",
            "org.wrun.wasm.profile": "perf-map",
        });
    });
    let output = container.run().code_is(5);
    assert_eq!(output.stderr, "");
    assert_eq!(fs::read_dir(container.rootfs("tmp")).expect("it").count(), 0);
}
