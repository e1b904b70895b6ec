//! Pods with WebAssembly in them: a guest, a native sidecar, and the native process that keeps the pod, by one runtime.

use std::fs;

use rustix::process::Signal;
use serde_json::{Value, json};

use super::{Cri, Kind, pods};
use crate::harness::Test;
use crate::harness::bundle;
use crate::harness::command::eventually;
use crate::harness::cri::{HANDLER, NATIVE};
use crate::harness::network::{exchange, within};

/// What wrun-engines(7) shows of Kubernetes' own objects.
const RUNTIME_CLASS: &str = include_str!("../../../src/cli/engines/runtimeclass.yaml");
const POD: &str = include_str!("../../../src/cli/engines/pod.yaml");

pub fn tests(kind: Kind) -> Vec<Test> {
    vec![
        pods!(kind, the_pod_of_the_manual),
        pods!(kind, wasm_streams),
        pods!(kind, wasm_limits_and_stats),
        pods!(kind, wasm_exec),
        pods!(kind, annotations_of_the_pod),
        pods!(kind, variant_for_all_of_a_pod),
    ]
}

/// The value of `key` where a line has it, with or without a dash before it.
fn value<'a>(lines: &'a str, key: &str) -> Option<&'a str> {
    let mut values = lines.lines().filter_map(|line| {
        let line = line.trim_start().trim_start_matches("- ");
        line.strip_prefix(key)?.strip_prefix(": ")
    });
    values.next()
}

/// The kubelet's part: what it makes of the two objects for the engine.
fn the_pod_of_the_manual(cri: Cri<'_>) {
    assert_eq!(value(RUNTIME_CLASS, "handler"), Some(HANDLER));
    let class = RUNTIME_CLASS
        .lines()
        .skip_while(|line| *line != "metadata:")
        .nth(1);
    assert_eq!(
        value(class.unwrap_or_default(), "name"),
        value(POD, "runtimeClassName")
    );
    let (head, containers) = POD.split_once("  containers:\n").expect("containers");
    let (key, setting) = value(head, "annotations")
        .is_none()
        .then(|| head.split_once("  annotations:\n    "))
        .flatten()
        .and_then(|(_, rest)| rest.lines().next()?.split_once(": "))
        .expect("an annotation");
    let annotations = json!({ key: setting.trim_matches('"') });
    let pod = cri.run_pod_with(value(head, "name").expect("a name"), |pod| {
        pod["annotations"] = annotations.clone();
    });
    let mut ids = Vec::new();
    for part in containers.split("  - ").filter(|part| !part.trim().is_empty()) {
        let (name, image) = (
            value(part, "name").expect("a name"),
            value(part, "image").expect("an image"),
        );
        let command: Vec<String> = value(part, "command")
            .map(|list| serde_json::from_str(list).expect("a list"))
            .unwrap_or_default();
        let command: Vec<&str> = command.iter().map(String::as_str).collect();
        if command.is_empty() {
            cri.guest_image_as("http-02", image);
        } else {
            let root = cri.case.dir.join("sidecar-image");
            bundle::make_rootfs(&root);
            cri.import(image, &root, &json!({ "Env": ["PATH=/bin"], "Cmd": ["sh"] }));
        }
        ids.push(pod.start(name, image, &command));
    }
    let [service, sidecar] = &ids[..] else {
        panic!("a service and a sidecar: {ids:?}");
    };
    pod.wait_for_log(sidecar, "Hello from WASI 0.2");
    // What the annotation asks for.
    eventually("the service logs the access", || {
        let output = cri.call(&["logs", service]);
        (output.stdout + &output.stderr).contains("GET / ").then_some(())
    });
    cri.call(&["stop", "--timeout", "30", service]).ok();
    let status = &cri.inspect(service)["status"];
    assert_eq!(status["state"], "CONTAINER_EXITED", "{status}");
    assert_eq!(status["exitCode"], 0, "it stopped when it was asked to: {status}");
    pod.remove();
}

/// Logs, attach and forwarded ports of guests.
fn wasm_streams(cri: Cri<'_>) {
    let pod = cri.run_pod("pod");
    let cat = pod.start("cat", &cri.guest_image("cat"), &[]);
    let input = cri.case.dir.join("input");
    fs::write(&input, "this\n").expect("a file");
    let mut attach = cri.command(&["attach", "--stdin", &cat]);
    attach.stdin(fs::File::open(&input).expect("the file"));
    let attached = cri.case.start(attach);
    pod.wait_for_log(&cat, "this\n");
    cri.call(&["stop", "--timeout", "30", &cat]).ok();
    assert_eq!(cri.inspect(&cat)["status"]["exitCode"], 128 + 15);
    attached.wait();
    pod.start("service", &cri.guest_image("http-02"), &[]);
    let forward = cri
        .case
        .start(cri.command(&["port-forward", &pod.id, "5000:8080"]));
    let address = "127.0.0.1:5000".parse().expect("an address");
    eventually("the port is forwarded", || {
        let request = b"GET / HTTP/1.1\r\nHost: pod\r\nConnection: close\r\n\r\n";
        let answer = within(cri.pid(), || exchange(address, request)).ok()?;
        String::from_utf8_lossy(&answer)
            .contains("Hello from WASI 0.2")
            .then_some(())
    });
    forward.signal(Signal::TERM);
    forward.wait();
    pod.remove();
}

/// A guest is ended by a limit that comes while it runs, as a native program is, and counted by what it uses.
fn wasm_limits_and_stats(cri: Cri<'_>) {
    let pod = cri.run_pod("pod");
    let spin = pod.start("spin", &cri.guest_image("spin"), &[]);
    cri.call(&[
        "update",
        "--memory",
        "50003968",
        "--cpu-quota",
        "20000",
        "--cpu-period",
        "100000",
        &spin,
    ])
    .ok();
    let pid = cri.inspect(&spin)["info"]["pid"].to_string();
    let limit = crate::engines::cgroup_file(&pid, "memory", "memory.limit_in_bytes", "memory.max");
    assert_eq!(limit, "50003968");
    eventually("what it uses is counted", || {
        let stats = cri.call(&["stats", "--output", "json", &spin]).ok().json();
        let used = &stats["stats"][0]["cpu"]["usageCoreNanoSeconds"]["value"];
        let used: u64 = used.as_str()?.parse().ok()?;
        (used > 100_000_000).then_some(())
    });
    let trap = pod.start("trap", &cri.guest_image("trap"), &[]);
    assert_eq!(cri.wait(&trap)["exitCode"], 134);
    cri.call(&["stop", "--timeout", "30", &spin]).ok();
    assert_eq!(cri.inspect(&spin)["status"]["exitCode"], 128 + 15);
    pod.remove();
}

/// Of a native program and of another guest, in an image that has all three.
fn wasm_exec(cri: Cri<'_>) {
    let root = cri.case.dir.join("mixed-image");
    bundle::make_rootfs(&root);
    for name in ["spin", "exit"] {
        fs::write(
            root.join(format!("{name}.wasm")),
            crate::harness::guest::binary(name),
        )
        .expect("the guest");
    }
    let image = "localhost/mixed:test";
    cri.import(
        image,
        &root,
        &json!({ "Env": ["PATH=/bin"], "Entrypoint": ["/spin.wasm"] }),
    );
    let pod = cri.run_pod("pod");
    let id = pod.start("one", image, &[]);
    assert_eq!(cri.shell(&id, "echo native"), "native");
    let output = cri.call(&["exec", "--sync", &id, "/exit.wasm", "42"]);
    assert!(output.stderr.contains("exited with 42"), "{output}");
    let output = cri.call(&["exec", &id, "/exit.wasm", "43"]);
    assert!(output.stderr.contains("exit code 43"), "{output}");
    cri.call(&["stop", "--timeout", "0", &id]).ok();
    pod.remove();
}

/// They reach the containers of the pod, and the native one that keeps it as well, to which they mean nothing.
fn annotations_of_the_pod(cri: Cri<'_>) {
    let annotate = |key: &'static str, value: &'static str| {
        move |pod: &mut Value| pod["annotations"] = json!({ key: value })
    };
    let pod = cri.run_pod_with("timed", annotate("org.wrun.wasm.timeout", "1"));
    let spin = pod.start("spin", &cri.guest_image("spin"), &[]);
    assert_eq!(cri.wait(&spin)["exitCode"], 124);
    pod.remove();
    let pod = cri.run_pod_with("handled", annotate("run.oci.handler", "wasm"));
    let exit = pod.start("exit", "localhost/wasm-spin:test", &[]);
    assert_eq!(cri.inspect(&exit)["status"]["state"], "CONTAINER_RUNNING");
    let Err(output) = pod.try_start("native", NATIVE, &["sleep", "100"], |_| {}) else {
        panic!("a native program in a pod of which all is to be Wasm");
    };
    assert!(output.stderr.contains("a Wasm module"), "{output}");
    cri.call(&["stop", "--timeout", "0", &exit]).ok();
    pod.remove();
}

/// crun's annotation under which names decide, so that a sidecar stays native.
fn variant_for_all_of_a_pod(cri: Cri<'_>) {
    let pod = cri.run_pod_with("pod", |pod| {
        pod["annotations"] = json!({ "module.wasm.image/variant": "compat-smart" });
    });
    let exit = pod.start("exit", &cri.guest_image("exit"), &["/exit.wasm", "7"]);
    assert_eq!(cri.wait(&exit)["exitCode"], 7);
    let sidecar = pod.start("sidecar", NATIVE, &["sh", "-c", "exit 8"]);
    assert_eq!(cri.wait(&sidecar)["exitCode"], 8);
    pod.remove();
}
