//! The commands that tell something: `state`, `list`, `ps`, `spec`, `features`, `--version`, `--help`, and the
//! global flags.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::harness::{Case, Test, test};

pub fn tests() -> Vec<Test> {
    vec![
        test!(state_has_the_keys_of_runc),
        test!(state_has_the_annotations),
        test!(state_of_a_stopped_container_has_no_pid),
        test!(state_knows_a_killed_first_process),
        test!(list_as_a_table),
        test!(list_as_json),
        test!(list_quiet),
        test!(list_without_containers),
        test!(ps_as_a_table),
        test!(ps_as_json),
        test!(spec_writes_a_config_that_runs),
        test!(spec_does_not_overwrite),
        test!(spec_rootless_has_a_user_namespace),
        test!(features_are_json),
        test!(features_tell_the_wasm_annotations).wrun_only("runc runs no Wasm"),
        test!(version_has_the_form_of_runc),
        test!(help_lists_every_command),
        test!(each_command_has_help),
        test!(debug_adds_to_the_log),
        test!(root_keeps_containers_apart),
        test!(systemd_cgroup_without_systemd_is_refused),
        test!(log_has_levels_and_destinations).wrun_only("the options are crun's"),
        test!(regular_expressions_name_containers).wrun_only("the option is crun's"),
        test!(configuration_from_another_file).wrun_only("the option is crun's"),
        test!(containers_without_a_cgroup).wrun_only("the option is crun's"),
    ]
}

fn state_has_the_keys_of_runc(case: &Case) {
    let container = case.container(&["sleep", "100"]);
    container.run_detached();
    let state = container.state();
    let object = state.as_object().expect("an object");
    for key in [
        "ociVersion",
        "id",
        "pid",
        "status",
        "bundle",
        "rootfs",
        "created",
        "owner",
    ] {
        assert!(object.contains_key(key), "no {key} in {state}");
    }
    assert_eq!(state["id"], json!(container.id));
    assert_eq!(state["status"], "running");
    assert_eq!(state["bundle"], json!(container.bundle()));
    assert_eq!(state["rootfs"], json!(format!("{}/rootfs", container.bundle())));
    let created = state["created"].as_str().expect("created is a string");
    assert!(
        created.ends_with('Z') && created.as_bytes()[10] == b'T',
        "{created}"
    );
    assert!(Path::new(&format!("/proc/{}", state["pid"])).exists(), "{state}");
}

fn state_has_the_annotations(case: &Case) {
    let container = case.container_with(&["sleep", "100"], |config| {
        config["annotations"] = json!({ "org.example.key": "value" });
    });
    container.run_detached();
    assert_eq!(container.state()["annotations"]["org.example.key"], "value");
}

fn state_of_a_stopped_container_has_no_pid(case: &Case) {
    let container = case.container(&["true"]);
    container.run_detached();
    container.wait_for("stopped");
    assert_eq!(container.state()["pid"], 0);
}

/// The runtime was not told of the end: it finds out by itself.
fn state_knows_a_killed_first_process(case: &Case) {
    let container = case.container(&["sleep", "100"]);
    container.create();
    let pid = crate::harness::command::pid(container.pid());
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("it is running");
    container.wait_for("stopped");
}

fn list_as_a_table(case: &Case) {
    let container = case.container(&["sleep", "100"]);
    container.run_detached();
    let output = case.call(&["list"]).ok();
    let lines: Vec<Vec<&str>> = output
        .lines()
        .iter()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(lines[0], ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"]);
    assert_eq!(lines.len(), 2, "{output}");
    let (pid, bundle) = (container.pid().to_string(), container.bundle());
    assert_eq!(lines[1][..4], [container.id.as_str(), &pid, "running", &bundle]);
    assert_eq!(lines[1][5], "root");
}

fn list_as_json(case: &Case) {
    let (first, second) = (
        case.container(&["sleep", "100"]),
        case.container(&["sleep", "100"]),
    );
    first.run_detached();
    second.create();
    let list = case.call(&["list", "--format", "json"]).ok().json();
    let find = |id: &str| {
        let entries = list.as_array().expect("an array");
        entries
            .iter()
            .find(|entry| entry["id"] == json!(id))
            .expect("the container is in the list")
            .clone()
    };
    assert_eq!(list.as_array().map(Vec::len), Some(2));
    assert_eq!(find(&first.id)["status"], "running");
    assert_eq!(find(&second.id)["status"], "created");
    assert_eq!(find(&first.id)["pid"], json!(first.pid()));
}

fn list_quiet(case: &Case) {
    let containers = [
        case.container(&["sleep", "100"]),
        case.container(&["sleep", "100"]),
    ];
    for container in &containers {
        container.run_detached();
    }
    for flag in ["--quiet", "-q"] {
        let output = case.call(&["list", flag]).ok();
        assert_eq!(output.lines(), [containers[0].id.as_str(), &containers[1].id]);
    }
}

fn list_without_containers(case: &Case) {
    assert_eq!(case.call(&["list", "--quiet"]).ok().stdout, "");
    let json = case.call(&["list", "--format", "json"]).ok().json();
    assert!(json.is_null() || json == json!([]), "{json}");
    fs::remove_dir(&case.root).expect("it is empty");
    assert_eq!(case.call(&["list", "--quiet"]).ok().stdout, "");
}

fn ps_as_a_table(case: &Case) {
    let container = case.script("sleep 100 & exec sleep 200");
    container.run_detached();
    let output = crate::harness::command::eventually("both processes are shown", || {
        let output = case.call(&["ps", &container.id]).ok();
        (output.stdout.matches("sleep").count() == 2).then_some(output)
    });
    assert!(
        output.lines()[0].contains("PID") && output.lines()[0].contains("CMD"),
        "{output}"
    );
    assert_eq!(output.lines().len(), 3, "{output}");
    // What follows the id goes to ps(1).
    let output = case.call(&["ps", &container.id, "-o", "pid,args"]).ok();
    let lines: Vec<_> = output.lines().iter().map(|line| line.trim().to_owned()).collect();
    assert!(
        lines.contains(&format!("{} sleep 200", container.pid())),
        "{output}"
    );
}

fn ps_as_json(case: &Case) {
    let container = case.container(&["sleep", "100"]);
    container.run_detached();
    let output = case.call(&["ps", "--format", "json", &container.id]).ok();
    assert_eq!(output.json(), json!([container.pid()]));
}

fn spec_writes_a_config_that_runs(case: &Case) {
    let container = case.container(&["true"]);
    fs::remove_file(container.bundle.join("config.json")).expect("it was there");
    case.call(&["spec", "--bundle", &container.bundle()]).ok();
    container.edit(|config| {
        assert_eq!(config["process"]["args"], json!(["sh"]));
        let namespaces = config["linux"]["namespaces"].as_array().expect("a list");
        // On v1 a program sees the host's paths, as ever.
        let unified = std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
        assert_eq!(namespaces.contains(&json!({ "type": "cgroup" })), unified);
        assert_eq!(config["process"]["terminal"], true);
        config["process"]["terminal"] = json!(false);
        config["process"]["args"] = json!(["echo", "it runs"]);
    });
    assert_eq!(container.run().ok().stdout, "it runs\n");
    let mut command = case.command(&["spec"]);
    let here = case.dir.join("here");
    fs::create_dir(&here).expect("a directory");
    command.current_dir(&here);
    case.finish(command).ok();
    assert!(here.join("config.json").exists());
}

fn spec_does_not_overwrite(case: &Case) {
    let container = case.container(&["true"]);
    let before = fs::read(container.bundle.join("config.json")).expect("config.json");
    let output = case.call(&["spec", "--bundle", &container.bundle()]).code_is(1);
    case.names(&output, &["config.json"]);
    assert_eq!(
        fs::read(container.bundle.join("config.json")).expect("config.json"),
        before
    );
}

fn spec_rootless_has_a_user_namespace(case: &Case) {
    case.call(&["spec", "--rootless", "--bundle", &case.path("")])
        .ok();
    let text = fs::read(case.dir.join("config.json")).expect("config.json");
    let config: Value = serde_json::from_slice(&text).expect("JSON");
    let namespaces = config["linux"]["namespaces"].as_array().expect("namespaces");
    assert!(namespaces.contains(&json!({ "type": "user" })), "{namespaces:?}");
    assert!(
        !namespaces.contains(&json!({ "type": "network" })),
        "{namespaces:?}"
    );
    let own = json!([{ "containerID": 0, "hostID": rustix::process::geteuid().as_raw(), "size": 1 }]);
    assert_eq!(config["linux"]["uidMappings"], own);
}

fn features_are_json(case: &Case) {
    let features = case.call(&["features"]).ok().json();
    for key in [
        "ociVersionMin",
        "ociVersionMax",
        "hooks",
        "mountOptions",
        "linux",
        "annotations",
    ] {
        assert!(features.get(key).is_some(), "no {key} in {features}");
    }
    let hooks = features["hooks"].as_array().expect("hooks");
    for hook in [
        "prestart",
        "createRuntime",
        "createContainer",
        "startContainer",
        "poststart",
        "poststop",
    ] {
        assert!(hooks.contains(&json!(hook)), "{hook}");
    }
    let linux = &features["linux"];
    for namespace in ["cgroup", "ipc", "mount", "network", "pid", "user", "uts"] {
        assert!(
            linux["namespaces"]
                .as_array()
                .expect("namespaces")
                .contains(&json!(namespace)),
            "{namespace}"
        );
    }
    assert_eq!(linux["seccomp"]["enabled"], true);
    assert_eq!(linux["cgroup"]["v1"], true);
    assert_eq!(linux["cgroup"]["v2"], true);
    let options = features["mountOptions"].as_array().expect("mountOptions");
    for option in [
        "bind",
        "rbind",
        "ro",
        "rro",
        "rslave",
        "tmpcopyup",
        "nosuid",
        "noexec",
    ] {
        assert!(options.contains(&json!(option)), "{option}");
    }
}

fn features_tell_the_wasm_annotations(case: &Case) {
    let features = case.call(&["features"]).ok().json();
    let unsafe_annotations = &features["potentiallyUnsafeConfigAnnotations"];
    for annotation in [
        "module.wasm.image/variant",
        "run.oci.handler",
        "org.wrun.wasm.core-dump",
    ] {
        assert!(
            unsafe_annotations
                .as_array()
                .is_some_and(|list| list.contains(&json!(annotation))),
            "{annotation}"
        );
    }
}

/// Engines parse it: containerd and Podman look for the lines `NAME version V`, `commit:` and `spec:`.
fn version_has_the_form_of_runc(case: &Case) {
    for flag in ["--version", "-v"] {
        let output = case.call(&[flag]).ok();
        let lines = output.lines();
        let name = if case.runtime.ours { "wrun" } else { "runc" };
        assert!(lines[0].starts_with(&format!("{name} version ")), "{output}");
        assert!(lines.iter().any(|line| line.starts_with("spec: 1.")), "{output}");
    }
}

const COMMANDS: [&str; 13] = [
    "create", "delete", "exec", "features", "kill", "list", "pause", "ps", "resume", "run", "spec", "start",
    "state",
];

fn help_lists_every_command(case: &Case) {
    let output = case.call(&["--help"]).ok();
    for command in COMMANDS {
        assert!(
            output.stdout.contains(&format!("\n  {command} ")) || output.stdout.contains(command),
            "{output}"
        );
    }
}

fn each_command_has_help(case: &Case) {
    for command in COMMANDS {
        let output = case.call(&[command, "--help"]).ok();
        assert!(output.stdout.contains(command), "{output}");
    }
}

fn debug_adds_to_the_log(case: &Case) {
    let container = case.container(&["true"]);
    let log = case.path("log");
    let bundle = container.bundle();
    let output = case
        .call(&[
            "--debug",
            "--log",
            &log,
            "run",
            "--bundle",
            &bundle,
            &container.id,
        ])
        .ok();
    assert_eq!(output.stderr, "", "the log is a file");
    let log = fs::read_to_string(&log).expect("the log");
    assert!(log.contains("level=debug"), "{log}");
}

fn root_keeps_containers_apart(case: &Case) {
    let container = case.container(&["sleep", "100"]);
    container.run_detached();
    let mut command = case.runtime.command();
    command
        .args(["--root", &case.path("other"), "state", &container.id])
        .stdin(std::process::Stdio::null());
    case.finish(command).code_is(1);
    // Only its owner may look into it.
    use std::os::unix::fs::PermissionsExt;
    let mode = fs::metadata(case.root.join(&container.id))
        .expect("the state")
        .permissions()
        .mode();
    assert_eq!(mode & 0o022, 0, "{mode:o}");
}

fn systemd_cgroup_without_systemd_is_refused(case: &Case) {
    if crate::harness::Need::Systemd.missing().is_none() {
        return; // Then it is not refused, and the tests in `cgroups` say what it does.
    }
    let container = case.container_with(&["true"], |config| {
        config["linux"]["cgroupsPath"] = json!(format!("system.slice:wrun:{}", case.mark));
    });
    let output = case.call(&[
        "--systemd-cgroup",
        "run",
        "--bundle",
        &container.bundle(),
        &container.id,
    ]);
    case.names(&output.code_is(1), &["systemd"]);
    case.nothing_left();
}

fn log_has_levels_and_destinations(case: &Case) {
    let log = case.path("log");
    let lines = |level: &str, destination: &str| {
        let _ = fs::remove_file(&log); // There is none before the first.
        case.call(&["--log", destination, "--log-level", level, "state", "nobody"])
            .code_is(1);
        fs::read_to_string(&log).unwrap_or_default().lines().count()
    };
    assert_eq!(lines("error", &log), 1);
    assert_eq!(lines("warning", &format!("file:{log}")), 1);
    assert!(lines("debug", &log) > 1);
    let output = case.call(&["--log", "syslog:", "list"]);
    case.names(&output.code_is(1), &["--log"]);
}

fn regular_expressions_name_containers(case: &Case) {
    let containers: Vec<_> = (0..3).map(|_| case.container(&["sleep", "100"])).collect();
    containers
        .iter()
        .for_each(crate::harness::Container::run_detached);
    // Ids end in a number, the first one with 0.
    case.call(&["kill", "--regex", "[-][01]$", "KILL"]).ok();
    containers[0].wait_for("stopped");
    containers[1].wait_for("stopped");
    assert_eq!(containers[2].status(), "running");
    // One that runs is an error, and the others go.
    let output = case
        .call(&["--log-level", "error", "delete", "--regex", "."])
        .ok();
    assert!(output.stderr.contains("level=error"), "{output}");
    assert_eq!(output.stderr.matches(&containers[2].id).count(), 1, "{output}");
    let left = case.call(&["list", "--quiet"]).ok().stdout;
    assert_eq!(left, format!("{}\n", containers[2].id));
    case.call(&["delete", "--force", "--regex", "^no match$"]).ok();
    case.names(
        &case.call(&["delete", "--regex", "("]).code_is(1),
        &["--regex", "no regular expression"],
    );
    case.call(&["delete", "--force", "-r", &format!("^{}", case.mark)])
        .ok();
    case.nothing_left();
}

fn configuration_from_another_file(case: &Case) {
    let container = case.container(&["false"]);
    let config = container.bundle.join("config.json");
    let other = case.dir.join("other.json");
    let text = fs::read_to_string(&config).expect("it is there");
    fs::write(&other, text.replace("\"false\"", "\"pwd\"")).expect("a file");
    fs::remove_file(config).expect("it is there");
    let mut command = container.command("run", &["--config", "other.json"]);
    command.current_dir(&case.dir);
    assert_eq!(case.finish(command).ok().stdout, "/\n");
    // What is kept of it is enough for exec.
    let sleeper = case.container(&["false"]);
    fs::write(&other, text.replace("\"false\"", "\"sleep\", \"100\"")).expect("a file");
    let other = other.to_str().expect("UTF-8");
    case.finish(sleeper.command("create", &["-f", other])).ok();
    sleeper.start();
    assert_eq!(sleeper.sh("cat /proc/1/comm"), "sleep");
    let missing = case.finish(container.command("run", &["-f", "/no/such.json"]));
    case.names(&missing.code_is(1), &["/no/such.json"]);
}

fn containers_without_a_cgroup(case: &Case) {
    let own = |pid: &str| fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("it runs");
    let container = case.container(&["sleep", "100"]);
    let bundle = container.bundle();
    let disabled = ["--cgroup-manager", "disabled"];
    case.call(
        &[
            &disabled[..],
            &["run", "--detach", "--bundle", &bundle, &container.id],
        ]
        .concat(),
    )
    .ok();
    assert_eq!(own(&container.pid().to_string()), own("self"));
    assert_eq!(container.sh("echo fine"), "fine");
    case.names(&case.call(&["pause", &container.id]).code_is(1), &["cgroup"]);
    container.kill("KILL").ok();
    container.wait_for("stopped");
    container.delete();
    let limited = case.container_with(&["true"], |config| {
        config["linux"]["resources"]["memory"] = json!({ "limit": 1 << 26 });
    });
    let bundle = limited.bundle();
    let output = case.call(&[&disabled[..], &["run", "--bundle", &bundle, &limited.id]].concat());
    case.names(&output.code_is(1), &["linux.resources.memory.limit", "disabled"]);
    case.nothing_left();
}
