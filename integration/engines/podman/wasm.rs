//! Wasm images under Podman, root's and users', alone and beside native containers.

use super::*;
use crate::harness::guest;

pub fn tests() -> Vec<Test> {
    vec![
        test!(wasm_output_and_exit_code),
        test!(wasm_stop),
        test!(wasm_of_a_user),
        test!(wasm_in_a_pod_of_kubernetes),
    ]
}

/// An image of the guest `name` alone.
fn image_of(podman: &Podman, name: &str) -> String {
    let root = podman.case.dir.join(format!("{name}-image"));
    fs::create_dir(&root).expect("a directory");
    fs::write(root.join(format!("{name}.wasm")), guest::binary(name)).expect("the guest");
    let image = format!("localhost/wasm-{name}:test");
    podman.import(&image, &root, &[&format!("ENTRYPOINT [\"/{name}.wasm\"]")]);
    image
}

fn wasm_output_and_exit_code(case: &Case) {
    let podman = Podman::new(case);
    let output = podman.run(NO_NETWORK, &image_of(&podman, "hello"), &[]).ok();
    assert!(output.stdout.contains("hello"), "{output}");
    assert_eq!(
        podman.run(NO_NETWORK, &image_of(&podman, "exit"), &["42"]).code(),
        42
    );
}

fn wasm_stop(case: &Case) {
    let podman = Podman::new(case);
    let id = podman.start(NO_NETWORK, &image_of(&podman, "spin"), &[]);
    eventually("the guest runs", || {
        (podman.inspect(&id, "{{.State.Status}}") == "running").then_some(())
    });
    podman.call(&["stop", "--time", "30", &id]).ok();
    assert_eq!(podman.inspect(&id, "{{.State.ExitCode}}"), "143");
    podman.remove(&id);
}

fn wasm_of_a_user(case: &Case) {
    let podman = Podman::rootless(case);
    let flags = alone(&["--read-only", "--cap-drop", "all", "--userns", "keep-id"]);
    let output = podman.run(&flags, &image_of(&podman, "hello"), &[]).ok();
    assert!(output.stdout.contains("hello"), "{output}");
    let id = podman.start(NO_NETWORK, &image_of(&podman, "spin"), &[]);
    podman.call(&["stop", "--time", "30", &id]).ok();
    assert_eq!(podman.inspect(&id, "{{.State.ExitCode}}"), "143");
    podman.remove(&id);
}

/// `play kube`: a service in Wasm and a native sidecar that asks it.
fn wasm_in_a_pod_of_kubernetes(case: &Case) {
    let podman = Podman::new(case);
    let image = image_of(&podman, "http-02");
    let ask = "until wget -q -O - http://127.0.0.1:8080/; do sleep 0.1; done; sleep 100";
    let file = case.dir.join("pod.yaml");
    let text = format!(
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: pod\nspec:\n  containers:\n  - name: service\n    image: {image}\n  \
         - name: sidecar\n    image: {NATIVE}\n    command: [sh, -c, \"{ask}\"]\n"
    );
    fs::write(&file, text).expect("a file");
    let path = case.path("pod.yaml");
    podman.call(&["play", "kube", "--network", "none", &path]).ok();
    eventually("the sidecar has an answer", || {
        let output = podman.call(&["logs", "pod-sidecar"]);
        (!output.stdout.is_empty()).then_some(())
    });
    podman.call(&["play", "kube", "--down", &path]).ok();
}
