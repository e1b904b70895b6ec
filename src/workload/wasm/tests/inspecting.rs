//! Files inspected as the command does it: in confined processes.

use super::super::inspect::{Kind, Report, confined, inspect};
use super::*;

fn inspected(bytes: &[u8], name: &str) -> Result<Report, WasmError> {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(bytes).expect("written");
    inspect(file.reopen().expect("opened"), name, None)
}

fn guest_text(name: &str) -> Vec<u8> {
    std::fs::read(guest_path(name)).expect("the guest's source")
}

alone! {
    fn a_component_is_told_with_its_world() {
    let report = inspected(&guest_text("command.wat"), "command.wat").expect("a report");
    assert_eq!(report.kind, Kind::Component);
    assert_eq!(report.run.text, "WASI 0.2 command, entered at `wasi:cli/run`");
    let world = report.world.expect("a world");
    assert!(world.contains("import wasi:cli/stdout@0.2.0;") && world.contains("export wasi:cli/run@0.2.0;"), "{world}");
    assert_eq!(report.modules.len(), 2);
    assert!(report.exports.iter().any(|it| it.name == "wasi:cli/run@0.2.0#run" && it.ty == "func() -> result"));
}
}

alone! {
    fn the_report_is_that_of_the_file() {
    let report = inspected(&guest_text("hello.wat"), "hello.wat").expect("a report");
    assert_eq!(report.size, guest_text("hello.wat").len() as u64);
    let again: Report = serde_json::from_str(&serde_json::to_string(&report).expect("JSON")).expect("a report");
    assert_eq!(again, report);
    for (bytes, name, kind) in [
        (&b"\x7fELF\x02\x01\x01\xc8"[..], "x", Kind::Precompiled),
        (b"\x7fELF\x02\x01\x01\0", "x", Kind::Native),
        (b"#!/bin/sh", "x", Kind::Script),
        (b"nothing", "x", Kind::Unknown),
        (b"(module (oops))", "x.wat", Kind::Text),
        (b"\0asm", "x", Kind::Module),
    ] {
        let report = inspected(bytes, name).expect("a report");
        assert_eq!(report.kind, kind);
        assert_eq!(report.run.runs, matches!(kind, Kind::Native | Kind::Script));
    }
}
}

alone! {
    fn what_kills_the_process_is_an_error() {
    let error = confined("/x.wasm", 10, || panic!("a bug in a parser")).expect_err("failed").to_string();
    assert!(error.contains("/x.wasm"), "{error}");
    let error = confined("/x.wasm", 10, || Ok(vec![0; 11])).expect_err("failed").to_string();
    assert!(error.contains("more to tell than 10 bytes"), "{error}");
    assert_eq!(confined("/x.wasm", 10, || Ok(vec![1; 10])).expect("made"), [1; 10]);
    let error = confined("/x.wasm", 10, || std::fs::read("/etc/passwd")).expect_err("forbidden").to_string();
    assert!(error.contains("step 2"), "{error}");
}
}
