//! `wrun wasm inspect`: it tells what a container would do, for any file, and runs nothing.

use super::*;

pub fn tests() -> Vec<Test> {
    vec![
        test!(guest_that_runs),
        test!(component_with_its_world),
        test!(service_and_sockets),
        test!(refusal_is_that_of_the_container),
        test!(component_of_an_application),
        test!(function_is_asked_about),
        test!(json_has_its_keys),
        test!(other_files_are_told),
        test!(damaged_files_are_told),
        test!(file_that_is_not_there),
        test!(names_cannot_steer_a_terminal),
    ]
}

/// Inspects the guest `name`, whose file is NAME.wasm in the test's directory.
fn inspect(case: &Case, name: &str, options: &[&str]) -> Output {
    let path = case.dir.join(format!("{name}.wasm"));
    fs::write(&path, guest::binary(name)).expect("the guest");
    inspect_file(case, path.to_str().expect("UTF-8"), options)
}

fn inspect_file(case: &Case, file: &str, options: &[&str]) -> Output {
    case.call(&[&["wasm", "inspect"], options, &[file]].concat())
}

#[track_caller]
fn says(output: &Output, parts: &[&str]) {
    for part in parts {
        assert!(output.stdout.contains(part), "{part:?} is missing: {output}");
    }
}

fn guest_that_runs(case: &Case) {
    let output = inspect(case, "hello", &[]).ok();
    says(
        &output,
        &[
            "Kind       core module\n",
            "Runs as    WASI preview 1 command, entered at `_start`\n",
            "wasi_snapshot_preview1 (of WASI preview 1)",
            "  fd_write: func(i32, i32, i32, i32) -> i32",
            "_start: func()",
        ],
    );
    assert!(!case.dir.join("cache").exists(), "inspecting made a cache");
}

fn component_with_its_world(case: &Case) {
    let output = inspect(case, "command", &[]).ok();
    says(
        &output,
        &[
            "Kind       component\n",
            "Runs as    WASI 0.2 command",
            "wasi:io/streams@0.2.0 (of WASI 0.2)",
            "world root {",
            "export wasi:cli/run@0.2.0;",
        ],
    );
}

/// What WasmEdge's guests and HTTP services import is there.
fn service_and_sockets(case: &Case) {
    says(
        &inspect(case, "http", &[]).ok(),
        &[
            "Runs as    HTTP service, served as wasi:http 0.2\n",
            "wasi:http/types@0.2.0 (of WASI 0.2)",
        ],
    );
    let told = inspect(case, "imports", &[]).ok();
    says(
        &told,
        &["sock_open: func(i32, i32) -> i32, MISSING: WasmEdge's socket extension has it with another type"],
    );
}

/// What a container says is word for word what inspecting says.
fn refusal_is_that_of_the_container(case: &Case) {
    for name in ["imports", "nothing", "command-imports", "entry", "library"] {
        let told = inspect(case, name, &["--format", "json"]).ok();
        let told: Value = serde_json::from_str(&told.stdout).expect("JSON");
        assert_eq!(told["run"]["runs"], false, "{told}");
        let reason = told["run"]["text"].as_str().expect("a text");
        let output = run_guest(case, name, &[]).code_is(1);
        case.names(&output, &[reason]);
    }
}

/// By itself it is not run, for want of what the application gives it.
fn component_of_an_application(case: &Case) {
    for (name, generation) in [
        ("spin-sdk-3", "0.2"),
        ("spin-sdk-02", "0.2"),
        ("spin-sdk-03", "0.3"),
    ] {
        let handler = format!("a handler of wasi:http {generation}, which /spin.toml must name\n");
        let output = inspect(case, name, &[]).ok();
        let runs = "Runs as    component of a Spin application with ";
        says(&output, &[runs, &handler, "By itself  refused: "]);
        assert!(
            !output.stdout.contains("Refused") && !output.stdout.contains("MISSING"),
            "{output}"
        );
        let told = inspect(case, name, &["--format", "json"]).ok();
        let told: Value = serde_json::from_str(&told.stdout).expect("JSON");
        assert_eq!(told["run"]["runs"], false, "{told}");
        let output = run_guest(case, name, &[]).code_is(1);
        case.names(&output, &[told["run"]["text"].as_str().expect("a text")]);
    }
    says(
        &inspect(case, "http-02", &[]).ok(),
        &["Runs as    HTTP service, served as wasi:http 0.2\n"],
    );
}

fn function_is_asked_about(case: &Case) {
    let ask = |name: &str, function: &str| {
        let path = case.dir.join(format!("{name}.wasm"));
        fs::write(&path, guest::binary(name)).expect("the guest");
        inspect_file(case, &format!("{}#{function}", path.display()), &[]).ok()
    };
    says(
        &ask("entry", "greet"),
        &["Runs as    core module, entered at its function `greet`"],
    );
    says(
        &ask("entry", "nonsense"),
        &["Refused    has no function `nonsense`", "`greet()`"],
    );
    let run = "example:library/tasks@1.2.0#run";
    says(
        &ask("library", run),
        &[&format!("Runs as    component, entered at its function `{run}`")],
    );
    says(
        &ask("library", "add"),
        &["Refused    its function `add` takes parameters"],
    );
}

fn json_has_its_keys(case: &Case) {
    let output = inspect(case, "hello", &["--format", "json"]).ok();
    let told: Value = serde_json::from_str(&output.stdout).expect("JSON");
    let keys: Vec<&str> = told
        .as_object()
        .expect("an object")
        .keys()
        .map(String::as_str)
        .collect();
    for key in [
        "kind",
        "text",
        "size",
        "run",
        "error",
        "imports",
        "exports",
        "world",
        "modules",
        "customSections",
        "producers",
        "names",
        "dwarf",
        "proposals",
    ] {
        assert!(keys.contains(&key), "{key}: {told}");
    }
    assert_eq!(told["kind"], "module");
    assert_eq!(
        told["run"],
        json!({"runs": true, "text": "WASI preview 1 command, entered at `_start`", "entry": "_start"})
    );
    assert_eq!(told["imports"][0]["from"], "wasi_snapshot_preview1");
    assert_eq!(told["imports"][0]["items"][0]["providedBy"], "WASI preview 1");
    assert_eq!(told["modules"][0]["memories"][0]["imported"], false);
}

fn other_files_are_told(case: &Case) {
    for (name, content, told) in [
        ("script", &b"#!/bin/sh\n"[..], "Kind       script"),
        (
            "native",
            b"\x7fELF\x02\x01\x01\0",
            "Kind       native executable (ELF)",
        ),
        (
            "code",
            b"\x7fELF\x02\x01\x01\xc8",
            "Kind       precompiled WebAssembly",
        ),
        ("text.wat", b"(module (nonsense))", "Kind       WebAssembly text"),
        ("empty", b"", "Kind       unknown"),
    ] {
        let path = case.dir.join(name);
        fs::write(&path, content).expect("a file");
        says(
            &inspect_file(case, path.to_str().expect("UTF-8"), &[]).ok(),
            &[told],
        );
    }
    says(
        &inspect_file(case, &case.path("code"), &[]).ok(),
        &["Refused", "is not trusted"],
    );
}

fn damaged_files_are_told(case: &Case) {
    let binary = guest::binary("command");
    let path = case.dir.join("cut.wasm");
    for length in [4, 30, binary.len() / 2, binary.len() - 1] {
        fs::write(&path, &binary[..length]).expect("a file");
        let output = inspect_file(case, path.to_str().expect("UTF-8"), &[]).ok();
        says(&output, &["Refused    not a valid Wasm binary: "]);
    }
}

fn file_that_is_not_there(case: &Case) {
    let output = inspect_file(case, "/nowhere/x.wasm#run", &[]).code_is(1);
    case.names(&output, &["/nowhere/x.wasm"]);
    let output = inspect_file(case, "/dev/zero", &[]).code_is(1);
    case.names(&output, &["/dev/zero", "not a regular file"]);
}

fn names_cannot_steer_a_terminal(case: &Case) {
    let path = case.dir.join("forged.wat");
    fs::write(
        &path,
        "(module (func (export \"a\\1b[2J\\0aRuns as\") (param i32)))",
    )
    .expect("a file");
    let output = inspect_file(case, path.to_str().expect("UTF-8"), &[]).ok();
    assert!(
        !output.stdout.contains('\x1b') && !output.stdout.contains("\nRuns as"),
        "{output:?}"
    );
    says(&output, &["a\\u{1b}[2J\\u{a}Runs as"]);
}
