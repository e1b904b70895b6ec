//! Guests looked into, and thousands of damaged ones.

use super::look::look;
use super::*;

fn guest(name: &str) -> Vec<u8> {
    let path = format!("{}/integration/guests/{name}.wat", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(path).expect("the guest")
}

fn told(bytes: &[u8]) -> Report {
    look(bytes, None)
}

#[test]
fn a_command_is_told() {
    let report = told(&guest("hello"));
    assert_eq!(report.kind, Kind::Module);
    assert_eq!(report.run.text, "WASI preview 1 command, entered at `_start`");
    assert!(report.run.runs && report.error.is_none());
    let group = &report.imports[0];
    assert_eq!(group.from, "wasi_snapshot_preview1");
    assert!(
        group
            .items
            .iter()
            .all(|item| item.provided_by.as_deref() == Some("WASI preview 1")),
        "{group:?}"
    );
    assert!(
        report
            .exports
            .iter()
            .any(|it| it.name == "_start" && it.ty == "func()"),
        "{report:?}"
    );
    let module = &report.modules[0];
    assert!(
        module.functions > 0 && module.code > 0 && module.data > 0,
        "{module:?}"
    );
    assert_eq!(
        (module.memories[0].initial, module.memories[0].maximum),
        (4 << 16, None)
    );
}

#[test]
fn a_module_for_another_host_is_told() {
    let report = told(&guest("imports"));
    assert!(
        !report.run.runs && report.run.text.contains("`env.launch_rocket`"),
        "{report:?}"
    );
    let rocket = report
        .imports
        .iter()
        .find(|group| group.from == "env")
        .expect("env");
    assert!(
        rocket.items[0].provided_by.is_none() && rocket.items[0].belongs_to.is_some(),
        "{rocket:?}"
    );
}

#[test]
fn details_of_a_module_are_told() {
    let text = r#"(module $named
        (import "env" "memory" (memory 1 2))
        (memory i64 3)
        (table 4 5 funcref)
        (func $begin (drop (i8x16.splat (i32.const 0))))
        (start $begin)
        (data (i32.const 0) "four")
        (@custom ".debug_line" "x")
        (@producers (language "WAT" "1") (processed-by "by hand" "")))"#;
    let report = told(text.as_bytes());
    let module = &report.modules[0];
    assert_eq!(module.start, Some(0));
    assert_eq!((module.data_segments, module.data), (1, 4));
    assert_eq!(module.tables, ["4 to 5 of funcref"]);
    let memories: Vec<_> = module
        .memories
        .iter()
        .map(|it| (it.imported, it.initial, it.maximum))
        .collect();
    assert_eq!(memories, [(true, 1 << 16, Some(2 << 16)), (false, 3 << 16, None)]);
    assert!(report.dwarf && report.names);
    assert_eq!(report.producers[0].name, "WAT");
    let proposals: Vec<_> = report.proposals.iter().map(|it| it.name.as_str()).collect();
    assert_eq!(proposals, ["SIMD", "multi-memory", "memory64"]);
}

#[test]
fn what_is_switched_off_is_told() {
    let report = told(br#"(module (memory 1 1 shared) (func (export "_start")))"#);
    assert!(
        report.proposals.iter().any(|it| it.name == "threads" && !it.on),
        "{report:?}"
    );
    assert!(
        !report.run.runs && report.run.text.contains("threads ("),
        "{report:?}"
    );
}

/// Neither cut off nor damaged anywhere does a guest make it panic, and it always says something.
#[test]
fn damaged_guests_are_told_too() {
    for name in ["hello", "command", "command-async", "imports"] {
        let binary = wat::parse_bytes(&guest(name)).expect("text").into_owned();
        for length in 0..binary.len().min(600) {
            let report = told(&binary[..length]);
            assert!(!report.run.text.is_empty(), "{name} cut at {length}");
        }
        // A generator of our own, so that a failure can be repeated.
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut next = |below: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            usize::try_from(state % below as u64).expect("small")
        };
        for round in 0..1500 {
            let mut damaged = binary.clone();
            for _ in 0..=next(4) {
                let at = next(damaged.len());
                damaged[at] = u8::try_from(next(256)).expect("a byte");
            }
            let report = told(&damaged);
            assert!(!report.run.text.is_empty(), "{name}, round {round}");
        }
    }
}
