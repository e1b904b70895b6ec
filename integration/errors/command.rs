//! A command line or a state directory that is wrong, and where errors are told.

use super::*;

pub fn tests() -> Vec<Test> {
    vec![
        test!(id_is_taken),
        test!(id_is_illegal),
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
    case.names(&output, &[case.root.to_str().expect("UTF-8"), "no space left"]);
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
    case.names(&output, &[case.root.to_str().expect("UTF-8"), "no space left"]);
    unmount_state(case);
    case.nothing_left();
}

fn readonly_state_directory(case: &Case) {
    let container = case.container(&["true"]);
    mount_state(case, "ro");
    let output = container.try_create(&[]).code_is(1);
    case.names(&output, &[case.root.to_str().expect("UTF-8"), "read-only"]);
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
