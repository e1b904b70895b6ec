//! The proposals of WebAssembly: those that are on work, and those that are off are refused by their names.

use super::*;

pub fn tests() -> Vec<Test> {
    vec![
        test!(finished_proposals_are_on),
        test!(unfinished_proposals_are_refused_by_name),
        test!(threads_are_refused_by_name),
    ]
}

/// Guests that leave with 42 where the proposal works; each is the body of a module that may call `$exit`.
const ON: [(&str, &str); 13] = [
    (
        "GC",
        "(type $point (struct (field $x (mut i32)))) (type $list (array (mut i32)))
         (func (export \"_start\") (local $it (ref null $point))
           (local.set $it (struct.new $point (i32.const 40)))
           (struct.set $point $x (local.get $it)
             (i32.add (struct.get $point $x (local.get $it)) (array.len (array.new_default $list (i32.const 2)))))
           (call $exit (struct.get $point $x (local.get $it))))",
    ),
    (
        "exceptions",
        "(tag $thrown (param i32))
         (func (export \"_start\")
           (call $exit (block $caught (result i32)
             (try_table (catch $thrown $caught) (throw $thrown (i32.const 42)))
             (unreachable))))",
    ),
    (
        "SIMD",
        "(func (export \"_start\") (call $exit (i32x4.extract_lane 2
           (i32x4.add (i32x4.splat (i32.const 40)) (v128.const i32x4 0 1 2 3)))))",
    ),
    (
        "relaxed SIMD",
        "(func (export \"_start\") (call $exit (i32x4.extract_lane 0
           (i32x4.relaxed_trunc_f32x4_s (f32x4.splat (f32.const 42.5))))))",
    ),
    (
        "memory64",
        "(memory i64 1)
         (func (export \"_start\")
           (i32.store (i64.const 65532) (i32.const 42))
           (call $exit (i32.load (i64.const 65532))))",
    ),
    (
        "tail calls",
        "(func $down (param i32) (result i32)
           (if (result i32) (i32.eqz (local.get 0))
             (then (i32.const 42))
             (else (return_call $down (i32.sub (local.get 0) (i32.const 1))))))
         (func (export \"_start\") (call $exit (call $down (i32.const 1000000))))",
    ),
    (
        "multi-memory",
        "(memory $one 1) (memory $two 1)
         (func (export \"_start\")
           (i32.store $two (i32.const 0) (i32.const 42))
           (memory.copy $one $two (i32.const 8) (i32.const 0) (i32.const 4))
           (call $exit (i32.load $one (i32.const 8))))",
    ),
    (
        "bulk memory",
        "(memory 1)
         (func (export \"_start\")
           (memory.fill (i32.const 0) (i32.const 42) (i32.const 8))
           (call $exit (i32.load8_u (i32.const 7))))",
    ),
    (
        "reference types",
        "(table $first 1 funcref) (table $second 1 funcref) (elem declare func $answer)
         (type $answers (func (result i32)))
         (func $answer (result i32) (i32.const 42))
         (func (export \"_start\")
           (table.set $second (i32.const 0) (ref.func $answer))
           (call $exit (call_indirect $second (type $answers) (i32.const 0))))",
    ),
    (
        "function references",
        "(type $answers (func (result i32))) (elem declare func $answer)
         (func $answer (type $answers) (i32.const 42))
         (func (export \"_start\") (call $exit (call_ref $answers (ref.func $answer))))",
    ),
    (
        "extended const",
        "(global $answer i32 (i32.add (i32.const 40) (i32.const 2)))
         (func (export \"_start\") (call $exit (global.get $answer)))",
    ),
    (
        "multi-value",
        "(func $both (result i32 i32) (i32.const 40) (i32.const 2))
         (func (export \"_start\") (call $exit (i32.add (call $both))))",
    ),
    (
        "sign extension and saturating conversion",
        "(func (export \"_start\") (call $exit (i32.add
           (i32.extend8_s (i32.const 0xff)) (i32.trunc_sat_f64_s (f64.const 43.9)))))",
    ),
];

/// The name of each that is off, and a module that needs it.
const OFF: [(&str, &str); 4] = [
    ("stack switching", "(type $f (func)) (type $c (cont $f))"),
    ("custom page sizes", "(memory 1 (pagesize 1))"),
    (
        "wide arithmetic",
        "(func (param i64 i64 i64 i64) (result i64 i64)
           (i64.add128 (local.get 0) (local.get 1) (local.get 2) (local.get 3)))",
    ),
    (
        "threads",
        "(memory 1 1 shared) (func (drop (i32.atomic.load (i32.const 0))))",
    ),
];

fn text_guest<'case>(case: &'case Case, text: &str) -> Container<'case> {
    let container = case.container(&["/guest.wat"]);
    container.write("guest.wat", text, 0o644);
    container
}

fn finished_proposals_are_on(case: &Case) {
    for (name, body) in ON {
        let exit = r#"(import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))"#;
        let output = text_guest(case, &format!("(module {exit} {body})")).run();
        assert_eq!(output.code(), 42, "{name}: {output}");
    }
}

fn unfinished_proposals_are_refused_by_name(case: &Case) {
    for (name, body) in OFF {
        let start = r#"(func (export "_start"))"#;
        let output = text_guest(case, &format!("(module {body} {start})"))
            .run()
            .code_is(1);
        case.names(&output, &["/guest.wat", "switched off", name]);
    }
    case.nothing_left();
}

/// A module for wasi-threads is told by that name before anything else.
fn threads_are_refused_by_name(case: &Case) {
    let text = r#"(module
        (import "env" "memory" (memory 1 2 shared))
        (import "wasi" "thread-spawn" (func (param i32) (result i32)))
        (func (export "wasi_thread_start") (param i32 i32))
        (func (export "_start")))"#;
    let output = text_guest(case, text).run().code_is(1);
    case.names(
        &output,
        &[
            "`wasi.thread-spawn`",
            "wasi-threads, which Wasmtime 48 no longer has",
            "`env.memory`",
        ],
    );
    case.nothing_left();
}
