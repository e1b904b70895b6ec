//! A runtime within a container that it has made: privileged, as those for builds and tests are.

use std::fs;

use serde_json::{Value, json};

use crate::harness::bundle::{add_mount, set_namespace};
use crate::harness::{Case, Container, Test, test};

pub fn tests() -> Vec<Test> {
    vec![
        test!(container_in_a_container),
        test!(container_in_a_container_on_v2).unified(),
    ]
}

/// What `--privileged` asks of an engine: all capabilities and devices, nothing masked, cgroups of its own to write to.
fn privileged(config: &mut Value) {
    let table = fs::read_to_string("/proc/self/status").expect("our own status");
    let line = table.lines().find_map(|line| line.strip_prefix("CapBnd:"));
    let own = u64::from_str_radix(line.expect("our own capabilities").trim(), 16).expect("a mask");
    let names = crate::process::CAPABILITIES.iter().enumerate();
    let names: Vec<String> = names
        .filter(|(number, _)| own & (1 << number) != 0)
        .map(|(_, name)| format!("CAP_{name}"))
        .collect();
    for set in ["bounding", "effective", "permitted"] {
        config["process"]["capabilities"][set] = json!(names);
    }
    config["process"]["noNewPrivileges"] = json!(false);
    config["linux"]["maskedPaths"] = json!([]);
    config["linux"]["readonlyPaths"] = json!([]);
    config["linux"]["resources"]["devices"] = json!([{ "allow": true, "access": "rwm" }]);
    set_namespace(config, "cgroup", None);
    for mount in config["mounts"].as_array_mut().expect("mounts") {
        if mount["destination"] == "/sys" {
            mount["options"] = json!(["nosuid", "noexec", "nodev"]);
        }
    }
    add_mount(
        config,
        "/sys/fs/cgroup",
        "cgroup",
        "cgroup",
        &["nosuid", "noexec", "nodev"],
    );
    add_mount(config, "/run", "tmpfs", "tmpfs", &[]);
    // A peer may need libraries.
    for dir in ["/usr", "/lib", "/lib64"] {
        if fs::exists(dir).is_ok_and(|there| there) {
            add_mount(config, dir, "bind", dir, &["rbind", "ro"]);
        }
    }
}

/// A container whose process runs `script`, with the runtime at /runtime and the bundle of `inner` at /inner.
fn around<'case>(case: &'case Case, inner: &Container, script: &str) -> Container<'case> {
    let runtime = case.runtime.path.to_str().expect("UTF-8");
    case.script_with(script, |config| {
        privileged(config);
        add_mount(config, "/runtime", "bind", runtime, &["bind", "ro"]);
        add_mount(config, "/inner", "bind", &inner.bundle(), &["rbind"]);
    })
}

fn container_in_a_container(case: &Case) {
    let inner = case.script("echo inside $$; hostname; cat /proc/self/cgroup >/groups; exit 7");
    let script = "hostname; /runtime --root /run/inner run --bundle /inner nested; echo code $?; \
                  /runtime --root /run/inner list -q; \
                  /runtime --root /run/inner create --bundle /inner second >/dev/null </dev/null && \
                  /runtime --root /run/inner delete --force second && echo deleted";
    let outer = around(case, &inner, script);
    inner.edit(|config| config["hostname"] = json!("within"));
    let output = outer.run().ok();
    assert_eq!(
        output.lines(),
        ["testhost", "inside 1", "within", "code 7", "deleted"],
        "{output}"
    );
    // Its cgroup was below the outer one's.
    assert!(
        inner.read("groups").contains("nested"),
        "{}",
        inner.read("groups")
    );
    case.nothing_left();
}

fn container_in_a_container_on_v2(case: &Case) {
    container_in_a_container(case);
}
