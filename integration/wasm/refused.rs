//! Guests that cannot run: each gives one error that names the file and what is wrong with it.

use super::*;

pub fn tests() -> Vec<Test> {
    vec![
        test!(broken_module),
        test!(truncated_module),
        test!(broken_text),
        test!(import_that_nobody_provides),
        test!(component_import_that_nobody_provides),
        test!(nothing_to_run),
        test!(missing_module),
        test!(precompiled_code_is_refused),
    ]
}

/// The container must be refused with one error that names `culprits`, and leave nothing.
#[track_caller]
fn refused(container: &Container, culprits: &[&str]) {
    let output = container.run().code_is(1);
    container.case.names(&output, culprits);
    assert_eq!(output.stdout, "");
    container.case.nothing_left();
}

#[track_caller]
fn refused_guest(case: &Case, name: &str, culprits: &[&str]) {
    refused(&guest_with(case, name, &[], |_| {}), culprits);
}

fn broken_module(case: &Case) {
    let container = case.container(&["/broken.wasm"]);
    container.write("broken.wasm", b"\0asm\x01\0\0\0\xff\xff\xff", 0o644);
    refused(&container, &["/broken.wasm", "not a valid Wasm binary"]);
    let version = case.container(&["/future.wasm"]);
    version.write("future.wasm", b"\0asm\x63\0\0\0", 0o644);
    refused(&version, &["/future.wasm"]);
}

fn truncated_module(case: &Case) {
    let binary = guest::binary("hello");
    for length in [4, 9, binary.len() / 2, binary.len() - 1] {
        let container = case.container(&["/cut.wasm"]);
        container.write("cut.wasm", &binary[..length], 0o644);
        refused(&container, &["/cut.wasm"]);
    }
}

fn broken_text(case: &Case) {
    let container = case.container(&["/broken.wat"]);
    container.write("broken.wat", "(module (func $x (nonsense)))", 0o644);
    refused(&container, &["/broken.wat", "nonsense"]);
}

fn import_that_nobody_provides(case: &Case) {
    refused_guest(
        case,
        "imports",
        &["/imports.wasm", "env.launch_rocket", "sock_open"],
    );
}

fn component_import_that_nobody_provides(case: &Case) {
    refused_guest(
        case,
        "command-imports",
        &["/command-imports.wasm", "example:rockets/launch@1.0.0"],
    );
}

fn nothing_to_run(case: &Case) {
    refused_guest(
        case,
        "nothing",
        &["/nothing.wasm", "exports nothing to run", "helper"],
    );
}

fn missing_module(case: &Case) {
    refused(
        &case.container(&["/missing.wasm"]),
        &["/missing.wasm", "no such file"],
    );
}

/// Compiled code is native code: nobody may bring it in an image. Wasmtime marks its ELF files with OS ABI 200.
fn precompiled_code_is_refused(case: &Case) {
    let container = case.container(&["/app.cwasm"]);
    let mut elf = b"\x7fELF\x02\x01\x01\xc8".to_vec();
    elf.resize(4096, 0);
    container.write("app.cwasm", elf, 0o755);
    refused(&container, &["/app.cwasm", "precompiled"]);
}
