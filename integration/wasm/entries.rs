//! Which of a guest's exports runs: by default, and by the name behind `#`.

use super::*;

pub fn tests() -> Vec<Test> {
    vec![
        test!(start_by_its_own_name),
        test!(initialize_comes_first),
        test!(name_without_a_path),
        test!(reactor_is_told_what_it_exports),
        test!(functions_with_parameters_are_refused),
        test!(function_of_a_component),
        test!(function_of_an_interface),
        test!(function_is_limited),
        test!(command_by_its_own_name),
        test!(library_is_told_what_it_exports),
    ]
}

/// Runs `function` of the guest `name`.
fn call(case: &Case, name: &str, function: &str) -> Output {
    let container = case.container(&[&format!("/{name}.wasm#{function}")]);
    container.write(&format!("{name}.wasm"), guest::binary(name), 0o644);
    container.run()
}

#[track_caller]
fn refused(case: &Case, output: Output, culprits: &[&str]) {
    case.names(&output.code_is(1), culprits);
    case.nothing_left();
}

fn start_by_its_own_name(case: &Case) {
    assert!(
        call(case, "hello", "_start")
            .ok()
            .stdout
            .contains("Hello from Wasm")
    );
}

fn initialize_comes_first(case: &Case) {
    // `greet` has nothing to say where `_initialize` was not called.
    assert_eq!(call(case, "entry", "greet").ok().stdout, "greetings\n");
    assert_eq!(call(case, "entry", "_initialize").ok().stdout, "");
}

fn name_without_a_path(case: &Case) {
    let container = case.container_with(&["entry.wasm#greet"], |config| {
        config["process"]["env"] = json!(["PATH=/usr/bin:/apps"]);
    });
    container.write("apps/entry.wasm", guest::binary("entry"), 0o644);
    assert_eq!(container.run().ok().stdout, "greetings\n");
}

fn reactor_is_told_what_it_exports(case: &Case) {
    refused(
        case,
        run_guest(case, "entry", &[]),
        &[
            "/entry.wasm",
            "reactor",
            "`_initialize()`, `greet()`",
            "file.wasm#name",
        ],
    );
    refused(
        case,
        call(case, "entry", "nonsense"),
        &["no function `nonsense`", "`greet()`"],
    );
}

fn functions_with_parameters_are_refused(case: &Case) {
    refused(
        case,
        call(case, "nothing", "helper"),
        &["`helper` takes parameters", "`helper(i32) -> i32`"],
    );
    refused(
        case,
        call(case, "library", "add"),
        &["`add` takes parameters", "`add(a: u32, b: u32) -> u32`"],
    );
}

fn function_of_a_component(case: &Case) {
    call(case, "library", "succeed").ok();
    // What is returned goes nowhere, except that an error is one.
    assert_eq!(call(case, "library", "answer").ok().stdout, "");
    call(case, "library", "fail").code_is(1);
    let output = call(case, "library", "refuse").code_is(1);
    assert!(
        output.stderr.contains("`refuse` returned an error: not today"),
        "{output}"
    );
    call(case, "library", "crash").code_is(134);
}

fn function_of_an_interface(case: &Case) {
    for interface in ["example:library/tasks@1.2.0", "example:library/tasks"] {
        for separator in ["#", "."] {
            call(case, "library", &format!("{interface}{separator}run")).ok();
            call(case, "library", &format!("{interface}{separator}fail")).code_is(1);
        }
    }
}

fn function_is_limited(case: &Case) {
    let container = case.container_with(&["/library.wasm#spin"], |config| {
        config["annotations"] = json!({"org.wrun.wasm.fuel": "1000000"});
    });
    container.write("library.wasm", guest::binary("library"), 0o644);
    let output = container.run().code_is(134);
    assert!(output.stderr.contains("fuel"), "{output}");
}

fn command_by_its_own_name(case: &Case) {
    for name in ["wasi:cli/run", "wasi:cli/run@0.2.0"] {
        assert_eq!(
            call(case, "command", name).ok().stdout,
            "Hello from a component\n"
        );
    }
}

fn library_is_told_what_it_exports(case: &Case) {
    refused(
        case,
        run_guest(case, "library", &[]),
        &[
            "/library.wasm",
            "neither `wasi:cli/run` nor a handler",
            "`answer() -> u32`",
            "`example:library/tasks@1.2.0#run()`",
            "`refuse() -> result<_, string>`",
        ],
    );
    refused(
        case,
        call(case, "library", "nonsense"),
        &["no function `nonsense`", "`answer() -> u32`"],
    );
}
