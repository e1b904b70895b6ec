//! Shapes of guests, and what is decided of them.

use super::super::read::read;
use super::*;

fn decided(text: &str, export: Option<&str>) -> String {
    let shape = read(&wat::parse_str(text).expect("text")).expect("a shape");
    match decide(&shape, export) {
        Ok(way) => way.to_string(),
        Err(refusal) => format!("refused: {refusal}"),
    }
}

#[track_caller]
fn says(text: &str, export: Option<&str>, parts: &[&str]) {
    let said = decided(text, export);
    assert!(parts.iter().all(|part| said.contains(part)), "{said}");
}

const REACTOR: &str = r#"(module (memory (export "memory") 1)
    (func (export "_initialize"))
    (func (export "greet") (result i32) (i32.const 0))
    (func (export "add") (param i32 i32) (result i32) (i32.const 0)))"#;

#[test]
fn the_entry_of_a_module() {
    let start = r#"(module (func (export "_start")) (func (export "other")))"#;
    assert_eq!(
        decided(start, None),
        "WASI preview 1 command, entered at `_start`"
    );
    assert_eq!(decided(start, Some("_start")), decided(start, None));
    assert_eq!(
        decided(start, Some("other")),
        "core module, entered at its function `other`"
    );
    assert_eq!(
        decided(REACTOR, Some("greet")),
        "core module, entered at its function `greet`"
    );
}

#[test]
fn a_reactor_is_told_what_it_exports() {
    says(
        REACTOR,
        None,
        &[
            "exports nothing to run",
            "reactor",
            "`_initialize()`, `add(i32, i32) -> i32`, `greet() -> i32`",
        ],
    );
    says(
        REACTOR,
        Some("memory"),
        &["no function `memory`", "`greet() -> i32`"],
    );
    says(
        REACTOR,
        Some("nothing"),
        &["no function `nothing`", "`greet() -> i32`"],
    );
    says(
        REACTOR,
        Some("add"),
        &["`add` takes parameters", "`add(i32, i32) -> i32`"],
    );
    says(
        r#"(module (func (export "_start") (param i32)))"#,
        None,
        &["its `_start` is no function without"],
    );
    says("(module)", None, &["no `_start`;", "nothing at all"]);
}

const LIBRARY: &str = r#"(component
    (core module $m (func (export "f")) (func (export "g") (param i32)))
    (core instance $i (instantiate $m))
    (func $f (canon lift (core func $i "f")))
    (func $g (param "count" u32) (canon lift (core func $i "g")))
    (instance $ops (export "run" (func $f)) (export "add" (func $g)))
    (export "greet" (func $f))
    (export "take" (func $g))
    (export "example:calc/ops@1.0.0" (instance $ops)))"#;

#[test]
fn the_entry_of_a_component() {
    let call = "component, entered at its function `example:calc/ops@1.0.0#run`";
    assert_eq!(
        decided(LIBRARY, Some("greet")),
        "component, entered at its function `greet`"
    );
    for name in [
        "example:calc/ops@1.0.0#run",
        "example:calc/ops@1.0.0.run",
        "example:calc/ops#run",
        "example:calc/ops.run",
    ] {
        assert_eq!(decided(LIBRARY, Some(name)), call, "{name}");
    }
    says(
        LIBRARY,
        None,
        &[
            "exports nothing to run",
            "`example:calc/ops@1.0.0#run()`, `greet()`",
        ],
    );
    says(
        LIBRARY,
        Some("take"),
        &["`take` takes parameters", "`take(count: u32)`"],
    );
    says(
        LIBRARY,
        Some("example:calc/ops#add"),
        &["takes parameters", "add(count: u32)"],
    );
    says(
        LIBRARY,
        Some("example:calc/ops"),
        &["no function `example:calc/ops`"],
    );
    says(LIBRARY, Some("example:calc/ops#"), &["no function"]);
}

#[test]
fn a_command_is_entered_at_its_run() {
    let of = |version: &str| {
        format!(
            r#"(component (core module $m (func (export "run") (result i32) (i32.const 0)))
            (core instance $i (instantiate $m))
            (func $run (result (result)) (canon lift (core func $i "run")))
            (instance $it (export "run" (func $run)))
            (export "wasi:cli/run@{version}" (instance $it)))"#
        )
    };
    let command = "WASI 0.2 command, entered at `wasi:cli/run`";
    for name in [None, Some("wasi:cli/run"), Some("wasi:cli/run@0.2.3")] {
        assert_eq!(decided(&of("0.2.3"), name), command);
    }
    assert_eq!(
        decided(&of("0.3.0"), None),
        "WASI 0.3 command, entered at `wasi:cli/run`"
    );
    says(
        &of("0.2.0-rc-2023-11-10"),
        None,
        &["refused", "neither of WASI 0.2 nor of 0.3"],
    );
}

#[test]
fn a_handler_is_served_even_where_there_is_a_command() {
    let of = |handler: &str| {
        format!(
            r#"(component (core module $m (func (export "run") (result i32) (i32.const 0)))
            (core instance $i (instantiate $m))
            (func $run (result (result)) (canon lift (core func $i "run")))
            (instance $it (export "run" (func $run)))
            (export "wasi:cli/run@0.2.0" (instance $it))
            (export "{handler}" (instance $it)))"#
        )
    };
    let service = "HTTP service, served as wasi:http";
    assert_eq!(
        decided(&of("wasi:http/incoming-handler@0.2.3"), None),
        format!("{service} 0.2")
    );
    assert_eq!(
        decided(&of("wasi:http/handler@0.3.0"), None),
        format!("{service} 0.3")
    );
    says(
        &of("wasi:http/handler@0.3.0"),
        Some("wasi:cli/run"),
        &["WASI 0.2 command"],
    );
    says(&of("wasi:http/handler@0.2.0"), None, &["WASI 0.2 command"]);
}

#[test]
fn missing_imports_come_with_their_origin() {
    let module = r#"(module
        (import "wasi_snapshot_preview1" "fd_write" (func (param i32 i32 i32 i32) (result i32)))
        (import "wasi" "thread-spawn" (func (param i32) (result i32)))
        (import "env" "memory" (memory 1 2 shared))
        (import "nowhere" "f" (func))
        (func (export "_start")))"#;
    let said = decided(module, None);
    assert_eq!(
        said,
        "refused: imports that nothing here provides: \
         `wasi.thread-spawn` (wasi-threads, which Wasmtime 48 no longer has); \
         `env.memory` (the shared memory of wasi-threads, which Wasmtime 48 no longer has); `nowhere.f`"
    );
}

/// The compiler's process has 64 KiB to say it in.
#[test]
fn refusals_are_of_a_bounded_size() {
    let name = "\\1b".repeat(2000);
    let params = "i32 ".repeat(900);
    let functions: String = (0..200)
        .map(|n| format!("(func (export \"{name}{n}\") (param {params}))"))
        .collect();
    let imports: String = (0..200)
        .map(|n| format!("(import \"{name}\" \"{name}{n}\" (func))"))
        .collect();
    for (text, export) in [
        (format!("(module {functions})"), None),
        (format!("(module {imports} (func (export \"_start\")))"), None),
    ] {
        let said = decided(&text, export);
        assert!(said.len() < 40 << 10, "{}", said.len());
    }
}

#[test]
fn names_of_a_guest_cannot_forge_lines() {
    says(
        "(module (func (export \"a\\nwrun: all is well\\1b[2J\") (param i32)))",
        None,
        &["a\\u{a}wrun", "\\u{1b}[2J"],
    );
}
