//! What is taken for Wasm: by content, by annotation, by the name of the runtime.

use super::*;

pub fn tests() -> Vec<Test> {
    vec![
        test!(export_by_name),
        test!(found_by_path_and_working_directory),
        test!(executable_bit_is_not_needed),
        test!(detected_by_content_not_by_name),
        test!(annotation_asks_for_wasm),
        test!(annotation_asks_for_native),
        test!(annotation_for_wasm_refuses_a_native_program),
        test!(compat_smart_needs_the_name),
        test!(name_of_the_runtime_asks_for_wasm),
        test!(native_containers_stay_native),
    ]
}

fn export_by_name(case: &Case) {
    let container = case.container(&["/entry.wasm#greet"]);
    container.write("entry.wasm", guest::binary("entry"), 0o644);
    assert_eq!(container.run().ok().stdout, "greetings\n");
    let missing = case.container(&["/entry.wasm#nonsense"]);
    missing.write("entry.wasm", guest::binary("entry"), 0o644);
    case.names(&missing.run().code_is(1), &["/entry.wasm", "nonsense"]);
}

fn found_by_path_and_working_directory(case: &Case) {
    let by_path = case.container_with(&["hello.wasm"], |config| {
        config["process"]["env"] = json!(["PATH=/usr/bin:/apps"]);
    });
    by_path.write("apps/hello.wasm", guest::binary("hello"), 0o755);
    assert!(by_path.run().ok().stdout.contains("Hello from Wasm"));
    let relative = case.container_with(&["./hello.wasm"], |config| {
        config["process"]["cwd"] = json!("/apps")
    });
    relative.write("apps/hello.wasm", guest::binary("hello"), 0o644);
    assert!(relative.run().ok().stdout.contains("Hello from Wasm"));
}

fn executable_bit_is_not_needed(case: &Case) {
    let container = case.container(&["/hello.wasm"]);
    container.write("hello.wasm", guest::binary("hello"), 0o444);
    container.run().ok();
}

fn detected_by_content_not_by_name(case: &Case) {
    let container = case.container(&["/application"]);
    container.write("application", guest::binary("hello"), 0o755);
    assert!(container.run().ok().stdout.contains("Hello from Wasm"));
    let script = case.container(&["/script.wasm"]);
    script.write("script.wasm", "#!/bin/sh\necho a script\n", 0o755);
    assert_eq!(script.run().ok().stdout, "a script\n");
}

fn annotated(config: &mut Value, key: &str, value: &str) {
    config["annotations"] = json!({ key: value });
}

fn annotation_asks_for_wasm(case: &Case) {
    for (key, value) in [
        ("run.oci.handler", "wasm"),
        ("run.oci.handler", "wasmtime"),
        ("module.wasm.image/variant", "compat"),
        ("module.wasm.image/variant", "compat-smart"),
    ] {
        let container = guest_with(case, "hello", &[], |config| annotated(config, key, value));
        assert!(
            container.run().ok().stdout.contains("Hello from Wasm"),
            "{key}={value}"
        );
    }
}

fn annotation_asks_for_native(case: &Case) {
    let container = guest_with(case, "hello", &[], |config| {
        annotated(config, "org.wrun.workload", "native")
    });
    container.write("hello.wasm", guest::binary("hello"), 0o755);
    let output = container.run();
    assert!(
        !output.status.success() && !output.stdout.contains("Hello"),
        "{output}"
    );
}

fn annotation_for_wasm_refuses_a_native_program(case: &Case) {
    let container = case.container_with(&["/bin/busybox", "true"], |config| {
        annotated(config, "run.oci.handler", "wasm");
    });
    case.names(&container.run().code_is(1), &["/bin/busybox", "ELF"]);
    case.nothing_left();
}

fn compat_smart_needs_the_name(case: &Case) {
    let container = case.container_with(&["true"], |config| {
        annotated(config, "module.wasm.image/variant", "compat-smart");
    });
    container.run().ok();
}

/// Podman and CRI-O start `NAME-wasm` for images of a Wasm platform.
fn name_of_the_runtime_asks_for_wasm(case: &Case) {
    let link = case.dir.join("wrun-wasm");
    symlink(&case.runtime.path, &link).expect("a link");
    let run = |container: &Container| {
        let mut command = std::process::Command::new(&link);
        command
            .arg("--root")
            .arg(&case.root)
            .args(["run", "--bundle", &container.bundle(), &container.id]);
        command
            .stdin(std::process::Stdio::null())
            .env("WRUN_CACHE_DIR", case.dir.join("cache"));
        case.finish(command)
    };
    assert!(
        run(&guest_with(case, "hello", &[], |_| {}))
            .ok()
            .stdout
            .contains("Hello from Wasm")
    );
    case.names(
        &run(&case.container(&["/bin/busybox", "true"])).code_is(1),
        &["/bin/busybox"],
    );
}

fn native_containers_stay_native(case: &Case) {
    case.container(&["true"]).run().ok();
    assert!(
        !case.dir.join("cache").exists(),
        "a native container made a cache"
    );
}
