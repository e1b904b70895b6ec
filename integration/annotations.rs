//! Annotations that ask something of the runtime: crun's, and what is said of those that nobody knows.

use std::fs;
use std::os::fd::AsRawFd;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::harness::terminal::DescriptorSocket;
use crate::harness::{Case, Container, Test, guest, test};

pub fn tests() -> Vec<Test> {
    let ours = [
        test!(groups_of_the_caller_stay),
        test!(output_of_hooks_goes_to_files),
        test!(output_of_hooks_goes_to_regular_files_only),
        test!(output_files_are_not_for_the_container),
        test!(receiver_of_seccomp_notifications),
        test!(unknown_syscall_fails_where_it_should),
        test!(receiver_of_the_pidfd),
        test!(process_runs_in_a_delegated_cgroup).unified(),
        test!(mapped_root_owns_a_delegated_cgroup).unified(),
        test!(process_runs_in_a_subgroup_of_its_scope)
            .needs(crate::harness::Need::CgroupV2)
            .needs(crate::harness::Need::Systemd),
        test!(delegation_needs_v2).needs(crate::harness::Need::CgroupV1),
        test!(what_is_refused_is_named),
        test!(unknown_keys_are_warned_of),
        test!(sandbox_of_a_pod_is_native),
    ];
    ours.map(|test| test.wrun_only("it is an annotation of crun's"))
        .into()
}

fn annotated<'case>(case: &'case Case, args: &[&str], annotations: Value) -> Container<'case> {
    case.container_with(args, |config| config["annotations"] = annotations)
}

fn groups_of_the_caller_stay(case: &Case) {
    let groups = |container: &Container, command: Command| {
        let mut setpriv = Command::new("setpriv");
        setpriv
            .args(["--groups", "0,4321"])
            .arg(command.get_program())
            .args(command.get_args())
            .stdin(Stdio::null());
        let output = container.case.finish(setpriv).ok().stdout;
        output.trim().trim_start_matches("Groups:").trim().to_owned()
    };
    let args = ["grep", "^Groups", "/proc/self/status"];
    let kept = annotated(case, &args, json!({ "run.oci.keep_original_groups": "1" }));
    assert_eq!(groups(&kept, kept.command("run", &[])), "0 4321");
    let nought = annotated(case, &args, json!({ "run.oci.keep_original_groups": "0" }));
    assert_eq!(groups(&nought, nought.command("run", &[])), "");
    let sleeper = annotated(
        case,
        &["sleep", "100"],
        json!({ "run.oci.keep_original_groups": "1" }),
    );
    sleeper.run_detached();
    let exec = case.command(&[&["exec", &sleeper.id], &args[..]].concat());
    assert_eq!(groups(&sleeper, exec), "0 4321");
}

/// The six kinds, in the order in which they run.
const KINDS: [&str; 6] = [
    "prestart",
    "createRuntime",
    "createContainer",
    "startContainer",
    "poststart",
    "poststop",
];

fn output_of_hooks_goes_to_files(case: &Case) {
    let container = case.container_with(&["true"], |config| {
        config["annotations"] = json!({
            "run.oci.hooks.stdout": case.path("out"),
            "run.oci.hooks.stderr": case.path("err")
        });
        for kind in KINDS {
            let hook = json!({ "path": "/bin/sh", "args": ["sh", "-c", "echo $0; echo $0 >&2", kind] });
            config["hooks"][kind] = json!([hook]);
        }
    });
    container.create();
    container.start();
    container.wait_for("stopped");
    container.delete();
    // In the container's root there is no way to a file of the host.
    let expected = "prestart\ncreateRuntime\ncreateContainer\npoststart\npoststop\n";
    for file in ["out", "err"] {
        assert_eq!(
            fs::read_to_string(case.dir.join(file)).expect("made"),
            expected,
            "{file}"
        );
    }
    let relative = annotated(case, &["true"], json!({ "run.oci.hooks.stdout": "out" }));
    case.names(&relative.run().code_is(1), &["run.oci.hooks.stdout", "absolute"]);
}

fn output_of_hooks_goes_to_regular_files_only(case: &Case) {
    let hook = json!([{ "path": "/bin/true" }]);
    for (file, stage) in [
        ("/dev/null", "prestart"),
        (case.dir.to_str().expect("UTF-8"), "createRuntime"),
    ] {
        let container = case.container_with(&["true"], |config| {
            config["annotations"] = json!({ "run.oci.hooks.stderr": file });
            config["hooks"][stage] = hook.clone();
        });
        case.names(&container.run().code_is(1), &[file]);
        case.nothing_left();
    }
    // Those that run in the container write elsewhere.
    let container = case.container_with(&["true"], |config| {
        config["annotations"] = json!({ "run.oci.hooks.stdout": case.path("none") });
        config["hooks"]["startContainer"] = json!([{ "path": "/bin/true" }]);
    });
    container.run().ok();
    assert!(!case.dir.join("none").exists());
}

fn output_files_are_not_for_the_container(case: &Case) {
    let container = case.container_with(
        &["sh", "-c", "ls /proc/self/fd; readlink /proc/1/fd/*; true"],
        |config| {
            config["annotations"] = json!({ "run.oci.hooks.stdout": case.path("out") });
            let list = json!([{ "path": "/bin/sh", "args": ["sh", "-c", "ls /proc/self/fd >/fds"] }]);
            config["hooks"]["startContainer"] = list;
        },
    );
    let output = container.run().ok();
    assert!(!output.stdout.contains("/out"), "{output}");
    // 3 is the directory that ls reads.
    assert!(output.stdout.starts_with("0\n1\n2\n3\n"), "{output}");
    assert_eq!(container.read("fds"), "0\n1\n2\n3\n");
}

fn filter(config: &mut Value, action: &str, names: &[&str]) {
    let rules = json!([{ "names": names, "action": action }]);
    config["linux"]["seccomp"] = json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules });
}

fn receiver_of_seccomp_notifications(case: &Case) {
    let path = case.dir.join("agent.sock");
    let socket = DescriptorSocket::listen(&path);
    let container = case.container_with(&["mkdir", "/tmp/x"], |config| {
        filter(config, "SCMP_ACT_NOTIFY", &["mkdir", "mkdirat"]);
        config["annotations"] = json!({ "run.oci.seccomp.receiver": path });
    });
    let run = case.start(container.command("run", &[]));
    let (state, notifications) = socket.receive_with_data();
    let state: Value = serde_json::from_str(&state).expect("JSON");
    assert_eq!(state["state"]["id"], json!(container.id), "{state}");
    drop(notifications);
    run.wait().code_is(1);
}

fn unknown_syscall_fails_where_it_should(case: &Case) {
    for (value, fails) in [("1", true), ("0", false)] {
        let container = case.container_with(&["true"], |config| {
            filter(config, "SCMP_ACT_ERRNO", &["no_such_call"]);
            config["annotations"] = json!({ "run.oci.seccomp_fail_unknown_syscall": value });
        });
        let output = container.run();
        if fails {
            case.names(&output.code_is(1), &["no_such_call"]);
        } else {
            output.ok();
        }
    }
}

fn receiver_of_the_pidfd(case: &Case) {
    let path = case.dir.join("pidfd.sock");
    let socket = DescriptorSocket::listen(&path);
    let container = annotated(case, &["sleep", "100"], json!({ "run.oci.pidfd_receiver": path }));
    container.create();
    let pidfd = socket.receive();
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd())).expect("fdinfo");
    assert!(info.contains(&format!("Pid:\t{}\n", container.pid())), "{info}");
    let nobody = annotated(
        case,
        &["true"],
        json!({ "run.oci.pidfd_receiver": case.path("nobody.sock") }),
    );
    case.names(
        &nobody.try_create(&[]).code_is(1),
        &["run.oci.pidfd_receiver", "nobody.sock"],
    );
}

fn process_runs_in_a_delegated_cgroup(case: &Case) {
    let container = case.container_with(&["sleep", "100"], |config| {
        config["annotations"] = json!({ "run.oci.delegate-cgroup": "inner/most" });
        crate::harness::bundle::set_namespace(config, "cgroup", None);
    });
    container.run_detached();
    let path = fs::read_to_string(container.proc("cgroup")).expect("it runs");
    let line = path
        .lines()
        .find(|line| line.starts_with("0::"))
        .expect("cgroup v2");
    assert!(line.ends_with("/inner/most"), "{line}");
    // Its namespace's root is the container's own cgroup, where the limits are.
    assert_eq!(container.sh("grep ^0: /proc/1/cgroup"), "0::/inner/most");
    let ps = case.call(&["ps", "--format", "json", &container.id]).ok();
    assert_eq!(ps.json(), json!([container.pid()]));
    case.call(&["pause", &container.id]).ok();
    assert_eq!(container.status(), "paused");
    case.call(&["resume", &container.id]).ok();
    container.delete_with(&["--force"]).ok();
    case.nothing_left();
}

fn process_runs_in_a_subgroup_of_its_scope(case: &Case) {
    let container = crate::cgroups::scope_with(case, &format!("{}0", case.mark), |config| {
        config["annotations"] = json!({ "run.oci.systemd.subgroup": "inner" });
        config["linux"]["resources"]["pids"] = json!({ "limit": 30 });
    });
    let path = fs::read_to_string(container.proc("cgroup")).expect("it runs");
    let (scope, rest) = path.trim().rsplit_once('/').expect("cgroup v2");
    assert_eq!(rest, "inner");
    assert!(scope.ends_with(".scope"), "{path}");
    let limit = format!("/sys/fs/cgroup{}/pids.max", scope.trim_start_matches("0::"));
    assert_eq!(fs::read_to_string(limit).expect("the scope's limit").trim(), "30");
    container.exec(&["true"]).ok();
    container.delete_with(&["--force"]).ok();
    case.nothing_left();
}

fn mapped_root_owns_a_delegated_cgroup(case: &Case) {
    use crate::harness::bundle::{add_mount, map_ids, set_namespace};
    let container = case.container_with(&["sleep", "100"], |config| {
        config["annotations"] = json!({ "run.oci.delegate-cgroup": "inner" });
        set_namespace(config, "cgroup", None);
        map_ids(config, 100_000);
        // Read-only, and so not given to the container as a whole.
        add_mount(config, "/sys/fs/cgroup", "cgroup", "cgroup", &["ro"]);
    });
    std::os::unix::fs::chown(container.bundle.join("rootfs"), Some(100_000), Some(100_000)).expect("ours");
    container.run_detached();
    let line = fs::read_to_string(container.proc("cgroup")).expect("it runs");
    assert!(line.trim_end().ends_with("/inner"), "{line}");
    let own = container.proc("root/sys/fs/cgroup/inner");
    use std::os::unix::fs::MetadataExt;
    for (file, owner) in [
        ("", 100_000),
        ("cgroup.procs", 100_000),
        ("cgroup.subtree_control", 100_000),
        ("cgroup.max.depth", 0),
    ] {
        let found = fs::metadata(own.join(file)).expect("it is there").uid();
        assert_eq!(found, owner, "{file}");
    }
    assert_eq!(fs::metadata(own.join("..")).expect("it is there").uid(), 0);
    let of = |path: &str| fs::read_to_string(own.join(path)).expect("a file of the cgroup");
    assert_eq!(of("cgroup.controllers"), of("../cgroup.controllers"));
    // By the mapped root itself, on a mount that it can write to.
    let script = "mount -t cgroup2 own /mnt && mkdir /mnt/inner/leaf && ls -d /mnt/inner/leaf && rmdir /mnt/inner/leaf \
                  && ! mkdir /mnt/beside 2>/dev/null";
    let output = container
        .exec_with(&["--cap", "CAP_SYS_ADMIN"], &["sh", "-c", script])
        .ok();
    assert_eq!(output.stdout, "/mnt/inner/leaf\n");
    container.delete_with(&["--force"]).ok();
    case.nothing_left();
}

fn delegation_needs_v2(case: &Case) {
    let container = annotated(case, &["true"], json!({ "run.oci.delegate-cgroup": "inner" }));
    case.names(&container.run().code_is(1), &["run.oci.delegate-cgroup", "v1"]);
    case.nothing_left();
}

fn what_is_refused_is_named(case: &Case) {
    for (key, value) in [
        ("run.oci.seccomp.plugins", "/plugin.so"),
        ("run.oci.seccomp_bpf_data", "BgAAAAAA/38="),
        ("run.oci.systemd.force_cgroup_v1", "/sys/fs/cgroup/systemd"),
        ("run.oci.systemd.subgroup", "../x"),
        ("run.oci.timens_offset", "monotonic 1 0"),
        ("run.oci.mount_context_type", "nonsense"),
        ("run.oci.handler", "krun"),
    ] {
        let container = annotated(case, &["true"], json!({ key: value }));
        case.names(&container.run().code_is(1), &[key]);
        case.nothing_left();
    }
}

fn unknown_keys_are_warned_of(case: &Case) {
    let container = annotated(
        case,
        &["true"],
        json!({ "run.oci.hooks.stdin": "/x", "run.oci.systemd.subgroup": "", "com.example": "x" }),
    );
    let log = case.path("log");
    let bundle = container.bundle();
    let run = [
        "--log",
        &log,
        "--log-format",
        "json",
        "run",
        "--bundle",
        &bundle,
        &container.id,
    ];
    case.call(&run).ok();
    let text = fs::read_to_string(&log).expect("a log");
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert_eq!(lines.len(), 1, "{text}");
    assert_eq!(lines[0]["level"], "warning");
    let message = lines[0]["msg"].as_str().expect("text");
    assert!(message.contains("run.oci.hooks.stdin"), "{message}");
}

/// Kubernetes hands a pod's annotations to its sandbox as well, which runs a native program.
fn sandbox_of_a_pod_is_native(case: &Case) {
    let sandbox = annotated(
        case,
        &["echo", "native"],
        json!({ "run.oci.handler": "wasm", "io.kubernetes.cri.container-type": "sandbox" }),
    );
    assert_eq!(sandbox.run().ok().stdout, "native\n");
    let container = annotated(
        case,
        &["/hello.wasm"],
        json!({ "run.oci.handler": "wasm", "io.kubernetes.cri.container-type": "container" }),
    );
    container.write("hello.wasm", guest::binary("hello"), 0o644);
    assert!(container.run().ok().stdout.contains("Hello from Wasm"));
}
