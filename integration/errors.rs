//! Bad input: each gives one error that names the culprit, the right exit code, and leaves nothing behind.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::harness::bundle::add_mount;
use crate::harness::{Case, Container, Output, Test, leaks, test};

pub fn tests() -> Vec<Test> {
    vec![
        test!(broken_json),
        test!(wrong_types),
        test!(unknown_version).wrun_only("runc takes any version"),
        test!(no_config),
        test!(no_bundle),
        test!(missing_rootfs),
        test!(missing_program),
        test!(missing_program_by_path),
        test!(program_not_executable),
        test!(program_is_a_directory),
        test!(missing_interpreter),
        test!(not_a_program),
        test!(id_is_taken),
        test!(id_is_illegal),
        test!(mount_source_is_missing),
        test!(mount_of_an_unknown_kind),
        test!(unknown_namespace),
        test!(namespace_path_is_missing),
        test!(namespace_path_of_another_kind),
        test!(unknown_capability_is_warned_of),
        test!(unknown_rlimit),
        test!(relative_cwd).wrun_only("runc 1.1 accepts a relative cwd"),
        test!(unknown_system_call_action),
        test!(sysctl_of_the_host),
        test!(cgroup_path_is_not_under_the_mount),
        test!(limit_that_the_kernel_refuses),
        test!(full_state_directory),
        test!(readonly_state_directory),
        test!(state_directory_is_a_file),
        test!(broken_state),
        test!(unknown_command),
        test!(unknown_flag),
        test!(missing_argument),
        test!(pid_file_cannot_be_written),
        test!(console_socket_without_a_terminal),
        test!(terminal_without_a_console_socket),
        test!(console_socket_is_missing),
        test!(errors_go_to_the_json_log),
        test!(errors_go_to_the_text_log),
    ]
}

/// `create` must fail with one error that names `culprits`, and leave nothing.
#[track_caller]
fn refused(container: &Container, culprits: &[&str]) -> Output {
    let output = container.try_create(&[]).code_is(1);
    container.case.names(&output, culprits);
    container.case.nothing_left();
    let output = container.run().code_is(1);
    container.case.names(&output, culprits);
    container.case.nothing_left();
    output
}

/// [`refused`] for a config.json made bad by `edit`.
#[track_caller]
fn refused_with(case: &Case, culprits: &[&str], edit: impl FnOnce(&mut Value)) {
    refused(&case.container_with(&["true"], edit), culprits);
}

fn broken_json(case: &Case) {
    let container = case.container(&["true"]);
    fs::write(
        container.bundle.join("config.json"),
        "{ \"ociVersion\": \"1.0.2\",\n  oops",
    )
    .expect("it");
    refused(&container, &["config.json", "line 2"]);
    fs::write(container.bundle.join("config.json"), "").expect("it");
    refused(&container, &["config.json"]);
}

fn wrong_types(case: &Case) {
    refused_with(case, &["config.json", "args"], |config| {
        config["process"]["args"] = json!("true")
    });
    refused_with(case, &["config.json", "uid"], |config| {
        config["process"]["user"]["uid"] = json!(-1)
    });
    refused_with(case, &["config.json", "mounts"], |config| {
        config["mounts"] = json!({})
    });
}

fn unknown_version(case: &Case) {
    refused_with(case, &["ociVersion", "7.0.0"], |config| {
        config["ociVersion"] = json!("7.0.0")
    });
    refused_with(case, &["ociVersion", "one"], |config| {
        config["ociVersion"] = json!("one")
    });
    refused_with(case, &["ociVersion"], |config| {
        config.as_object_mut().expect("an object").remove("ociVersion");
    });
}

fn no_config(case: &Case) {
    let container = case.container(&["true"]);
    fs::remove_file(container.bundle.join("config.json")).expect("it was there");
    refused(&container, &["config.json"]);
}

fn no_bundle(case: &Case) {
    let container = case.container(&["true"]);
    fs::remove_dir_all(&container.bundle).expect("it was there");
    refused(&container, &[&container.bundle()]);
}

fn missing_rootfs(case: &Case) {
    let container = case.container(&["true"]);
    fs::remove_dir_all(container.rootfs("")).expect("it was there");
    refused(&container, &["rootfs", "No such file"]);
    fs::write(container.rootfs("").with_file_name("rootfs"), "a file").expect("it");
    refused(&container, &["rootfs"]);
}

fn missing_program(case: &Case) {
    refused(
        &case.container(&["nonsense"]),
        &["nonsense", "executable file not found in $PATH"],
    );
}

fn missing_program_by_path(case: &Case) {
    refused(
        &case.container(&["/bin/nonsense"]),
        &["/bin/nonsense", "no such file or directory"],
    );
}

fn program_not_executable(case: &Case) {
    let container = case.container(&["/program"]);
    container.write("program", "#!/bin/sh\n", 0o644);
    refused(&container, &["/program", "permission denied"]);
}

fn program_is_a_directory(case: &Case) {
    refused(&case.container(&["/bin"]), &["/bin"]);
}

/// Found only by execve, so `create` succeeds with runc, and `start` or `run` tells.
#[track_caller]
fn fails_at_start(container: &Container, culprits: &[&str]) {
    let output = container.run();
    assert!(!output.status.success(), "{output}");
    container.case.names(&output, culprits);
    container.case.nothing_left();
}

fn missing_interpreter(case: &Case) {
    let container = case.container(&["/program"]);
    container.write("program", "#!/no/such/interpreter\n", 0o755);
    fails_at_start(&container, &["/program"]);
}

fn not_a_program(case: &Case) {
    let container = case.container(&["/program"]);
    container.write("program", "\0neither ELF nor script\n", 0o755);
    fails_at_start(&container, &["/program", "exec format error"]);
}

fn id_is_taken(case: &Case) {
    let container = case.container(&["sleep", "100"]);
    container.create();
    let again = container.try_create(&[]).code_is(1);
    case.names(&again, &[&container.id, "exist"]);
    assert_eq!(container.status(), "created", "the first container is as it was");
    container.start();
    container.delete_with(&["--force"]).ok();
    case.nothing_left();
}

fn id_is_illegal(case: &Case) {
    let container = case.container(&["true"]);
    let bundle = container.bundle();
    let refused = |args: &[&str]| {
        let output = case.call(args).code_is(1);
        let error = output.error().to_lowercase();
        assert!(error.contains("container id") || !case.runtime.ours, "{output}");
    };
    for id in ["../x", "a/b", "", ".", "..", "a b", "x\n", "ü"] {
        refused(&["create", "--bundle", &bundle, id]);
        for command in ["state", "start", "delete"] {
            refused(&[command, id]);
        }
    }
    refused(&["create", "--bundle", &bundle, &"a".repeat(1025)]);
    assert_eq!(fs::read_dir(&case.root).expect("the state directory").count(), 0);
    case.nothing_left();
}

fn mount_source_is_missing(case: &Case) {
    refused_with(case, &["/no/such/source"], |config| {
        add_mount(config, "/mnt", "bind", "/no/such/source", &["rbind"]);
    });
}

fn mount_of_an_unknown_kind(case: &Case) {
    refused_with(case, &["/mnt", "nonsensefs"], |config| {
        add_mount(config, "/mnt", "nonsensefs", "none", &[]);
    });
}

fn unknown_namespace(case: &Case) {
    refused_with(case, &["namespace", "nonsense"], |config| {
        crate::harness::bundle::set_namespace(config, "nonsense", None);
    });
}

fn namespace_path_is_missing(case: &Case) {
    refused_with(case, &["/no/such/namespace"], |config| {
        crate::harness::bundle::set_namespace(config, "network", Some("/no/such/namespace"));
    });
}

fn namespace_path_of_another_kind(case: &Case) {
    refused_with(case, &["/proc/self/ns/uts"], |config| {
        crate::harness::bundle::set_namespace(config, "network", Some("/proc/self/ns/uts"));
    });
}

/// The spec: what cannot be granted is logged as a warning.
fn unknown_capability_is_warned_of(case: &Case) {
    let container = case.container_with(&["echo", "fine"], |config| {
        config["process"]["capabilities"]["bounding"] = json!(["CAP_NONSENSE"]);
    });
    let output = container.run().ok();
    assert_eq!(output.stdout, "fine\n");
    assert!(
        output.stderr.contains("level=warning") && output.stderr.contains("CAP_NONSENSE"),
        "{output}"
    );
}

fn unknown_rlimit(case: &Case) {
    refused_with(case, &["RLIMIT_NONSENSE"], |config| {
        config["process"]["rlimits"] = json!([{ "type": "RLIMIT_NONSENSE", "soft": 1, "hard": 1 }]);
    });
}

fn relative_cwd(case: &Case) {
    refused_with(case, &["cwd", "tmp"], |config| {
        config["process"]["cwd"] = json!("tmp")
    });
}

fn unknown_system_call_action(case: &Case) {
    refused_with(case, &["SCMP_ACT_NONSENSE"], |config| {
        config["linux"]["seccomp"] = json!({ "defaultAction": "SCMP_ACT_NONSENSE" });
    });
}

fn sysctl_of_the_host(case: &Case) {
    refused_with(case, &["kernel.panic"], |config| {
        config["linux"]["sysctl"] = json!({ "kernel.panic": "1" })
    });
}

fn cgroup_path_is_not_under_the_mount(case: &Case) {
    // The dots are taken from the cgroup's root, never from the host's.
    let container = case.container_with(&["true"], |config| {
        let out = "../".repeat(8);
        config["linux"]["cgroupsPath"] = json!(format!("/{out}{}/{}cg", case.path("cgroup"), case.mark));
    });
    let output = container.run();
    assert!(!case.dir.join("cgroup").exists(), "{output}");
    // Parents that were made on the way stay: they are nobody's.
    let base = case
        .dir
        .parent()
        .and_then(Path::file_name)
        .expect("a name")
        .to_str()
        .expect("UTF-8");
    for group in leaks::cgroups(base).iter().rev() {
        fs::remove_dir(group).expect("it is empty");
    }
    for group in leaks::cgroups("/tmp").iter().rev() {
        let _ = fs::remove_dir(group); // Another's, where it is in use.
    }
    case.nothing_left();
}

fn limit_that_the_kernel_refuses(case: &Case) {
    refused_with(case, &["cpu"], |config| {
        config["linux"]["resources"]["cpu"] = json!({ "cpus": "9999" })
    });
}

/// Mounts a tmpfs on the state directory; the clean-up unmounts it.
fn mount_state(case: &Case, options: &str) {
    let mount = Command::new("mount")
        .args(["-t", "tmpfs", "-o", options, "none"])
        .arg(&case.root)
        .status()
        .expect("mount(8) starts");
    assert!(mount.success(), "mount of a tmpfs");
}

fn unmount_state(case: &Case) {
    rustix::mount::unmount(&case.root, rustix::mount::UnmountFlags::empty()).expect("it is mounted");
}

fn full_state_directory(case: &Case) {
    let container = case.container(&["true"]);
    // One page, and it is taken.
    mount_state(case, "size=4k,mode=700");
    let _ = fs::write(case.root.join("filler"), [0; 8192]); // It does not fit, and need not.
    let output = container.try_create(&[]).code_is(1);
    case.names(&output, &[case.root.to_str().expect("UTF-8"), "No space left"]);
    assert_eq!(
        fs::read_dir(&case.root).expect("the directory").count(),
        1,
        "something beside the filler"
    );
    unmount_state(case);
    case.nothing_left();
    // No inode for a directory.
    mount_state(case, "nr_inodes=1,mode=700");
    let output = container.try_create(&[]).code_is(1);
    case.names(&output, &[case.root.to_str().expect("UTF-8"), "No space left"]);
    unmount_state(case);
    case.nothing_left();
}

fn readonly_state_directory(case: &Case) {
    let container = case.container(&["true"]);
    mount_state(case, "ro");
    let output = container.try_create(&[]).code_is(1);
    case.names(&output, &[case.root.to_str().expect("UTF-8"), "Read-only"]);
    unmount_state(case);
    case.nothing_left();
}

fn state_directory_is_a_file(case: &Case) {
    let container = case.container(&["true"]);
    fs::remove_dir(&case.root).expect("it is empty");
    fs::write(&case.root, "").expect("a file");
    let output = container.try_create(&[]).code_is(1);
    case.names(&output, &[case.root.to_str().expect("UTF-8")]);
    fs::remove_file(&case.root).expect("it is a file");
    case.nothing_left();
}

fn broken_state(case: &Case) {
    let id = case.id();
    fs::create_dir(case.root.join(&id)).expect("a directory like that of a container");
    fs::write(case.root.join(&id).join("state.json"), "{ half").expect("a broken state");
    case.names(&case.call(&["state", &id]).code_is(1), &[&id]);
    // runc cannot delete what it cannot read.
    let deleted = case.call(&["delete", "--force", &id]);
    assert!(deleted.status.success() || !case.runtime.ours, "{deleted}");
    if !deleted.status.success() {
        fs::remove_dir_all(case.root.join(&id)).expect("it is still there");
    }
}

fn unknown_command(case: &Case) {
    let output = case.call(&["nonsense"]);
    assert!(!output.status.success() || !case.runtime.ours, "{output}");
    assert!(
        format!("{}{}", output.stdout, output.stderr).contains("nonsense"),
        "{output}"
    );
}

fn unknown_flag(case: &Case) {
    let output = case.call(&["create", "--nonsense", "x"]);
    assert!(!output.status.success(), "{output}");
    assert!(
        format!("{}{}", output.stdout, output.stderr).contains("nonsense"),
        "{output}"
    );
}

fn missing_argument(case: &Case) {
    for command in [
        "create", "start", "state", "kill", "delete", "exec", "ps", "pause", "resume",
    ] {
        let output = case.call(&[command]);
        assert!(!output.status.success(), "{output}");
    }
}

fn pid_file_cannot_be_written(case: &Case) {
    let container = case.container(&["true"]);
    let output = container
        .try_create(&["--pid-file", "/no/such/directory/pid"])
        .code_is(1);
    case.names(&output, &["/no/such/directory/pid"]);
    case.nothing_left();
}

fn console_socket_without_a_terminal(case: &Case) {
    let container = case.container(&["true"]);
    let output = container
        .try_create(&["--console-socket", &case.path("console.sock")])
        .code_is(1);
    case.names(&output, &["console socket"]);
    case.nothing_left();
}

fn terminal_without_a_console_socket(case: &Case) {
    let container = case.container_with(&["true"], |config| config["process"]["terminal"] = json!(true));
    let output = container.try_create(&[]).code_is(1);
    case.names(&output, &["console socket"]);
    case.nothing_left();
}

fn console_socket_is_missing(case: &Case) {
    let container = case.container_with(&["true"], |config| config["process"]["terminal"] = json!(true));
    let path = case.path("console.sock");
    let output = container.try_create(&["--console-socket", &path]).code_is(1);
    case.names(&output, &[&path]);
    case.nothing_left();
    // A dangling link is no socket either.
    symlink("/nowhere", &path).expect("a link");
    let output = container.try_create(&["--console-socket", &path]).code_is(1);
    case.names(&output, &[&path]);
    case.nothing_left();
}

/// Runs a `create` that fails with the log in a file; the log and the output.
fn log_of_a_failure(case: &Case, format: &str) -> (String, Output) {
    let container = case.container(&["nonsense"]);
    let log = case.path("log");
    let bundle = container.bundle();
    let flags = [
        "--log",
        &log,
        "--log-format",
        format,
        "create",
        "--bundle",
        &bundle,
        &container.id,
    ];
    let output = case.call(&flags).code_is(1);
    case.nothing_left();
    (fs::read_to_string(&log).expect("the log"), output)
}

fn errors_go_to_the_json_log(case: &Case) {
    let (log, output) = log_of_a_failure(case, "json");
    let line: Value = serde_json::from_str(log.lines().last().expect("a line")).expect("JSON");
    assert_eq!(line["level"], "error", "{log}");
    let message = line["msg"].as_str().expect("a message");
    assert!(
        message.contains("\"nonsense\": executable file not found in $PATH"),
        "{message}"
    );
    let time = line["time"].as_str().expect("a time");
    assert!(
        time.len() >= "2026-01-01T00:00:00Z".len() && time.as_bytes()[10] == b'T',
        "{time}"
    );
    assert_eq!(
        output.stderr.trim_end(),
        message,
        "the message alone goes to stderr as well"
    );
}

fn errors_go_to_the_text_log(case: &Case) {
    let (log, output) = log_of_a_failure(case, "text");
    let line = log.lines().last().expect("a line");
    assert!(
        line.starts_with("time=\"20") && line.contains("\" level=error msg=\""),
        "{line}"
    );
    assert!(line.contains("executable file not found"), "{line}");
    assert!(output.stderr.contains("executable file not found"), "{output}");
    assert!(!output.stderr.contains("level="), "{output}");
}
