//! `doctor`: that it says what is true, on this machine as it is and on one from which a test has taken something.

use std::fs;
use std::os::unix::fs::chown;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use crate::harness::{Case, Need, Output, Test, program, test};

pub fn tests() -> Vec<Test> {
    let ours = |test: Test| test.wrun_only("no other runtime examines its host");
    vec![
        ours(test!(containers_run_here)),
        ours(test!(the_table_has_the_advice_below)),
        ours(test!(without_a_capability)),
        ours(test!(without_root)),
        ours(test!(without_network_namespaces)),
        ours(test!(without_a_cache)),
        ours(test!(an_engine_that_calls_nothing)).needs(Need::Docker),
        ours(test!(a_user_s_engines_are_root_s)).needs(Need::Docker),
        ours(test!(a_disabled_plugin_is_told)).needs(Need::Containerd),
        ours(test!(a_hidden_temporary_directory)),
        ours(test!(nowhere_to_try)),
        ours(test!(nothing_is_left)),
    ]
}

/// `doctor --format json` under `wrapper`.
#[track_caller]
fn examine(case: &Case, wrapper: &[&str]) -> (Output, Vec<Value>) {
    let output = case.finish(case.command_under(wrapper, &["doctor", "--format", "json"]));
    let findings = output.json().as_array().expect("a list").clone();
    for finding in &findings {
        let text = |key: &str| {
            finding[key]
                .as_str()
                .unwrap_or_else(|| panic!("no {key} in {finding}"))
                .to_owned()
        };
        let ill = text("state") != "ok";
        assert!(
            !text("found").is_empty() && !text("found").contains('\n'),
            "{finding}"
        );
        assert_eq!(
            (text("cost").is_empty(), text("mend").is_empty()),
            (!ill, !ill),
            "{finding}"
        );
    }
    let missing = findings.iter().any(|finding| finding["state"] == "missing");
    (output.code_is(i32::from(missing)), findings)
}

#[track_caller]
fn finding<'a>(findings: &'a [Value], check: &str) -> &'a Value {
    findings
        .iter()
        .find(|finding| finding["check"] == check)
        .unwrap_or_else(|| panic!("no check {check:?}: {findings:#?}"))
}

fn containers_run_here(case: &Case) {
    let (output, findings) = examine(case, &[]);
    output.code_is(0);
    for check in [
        "native",
        "Wasm",
        "memory limit",
        "seccomp",
        "user namespace",
        "openat2",
        "clone3",
        "mount namespace",
    ] {
        assert_eq!(finding(&findings, check)["state"], "ok", "{check}");
    }
}

fn the_table_has_the_advice_below(case: &Case) {
    let output = case.call(&["doctor"]).ok();
    let lines = output.lines();
    assert!(
        lines[0].starts_with("AREA") && lines[1].starts_with("containers"),
        "{output}"
    );
    assert!(
        lines.last().is_some_and(|line| line.ends_with(" 0 missing")),
        "{output}"
    );
    let limited = lines.iter().filter(|line| line.contains(" limited  ")).count();
    let advice = lines.iter().filter(|line| line.starts_with("  mend: ")).count();
    assert_eq!(limited, advice, "{output}");
}

fn without_a_capability(case: &Case) {
    let (output, findings) = examine(
        case,
        &[
            "setpriv",
            "--bounding-set",
            "-sys_admin",
            "--inh-caps",
            "-sys_admin",
        ],
    );
    output.code_is(1);
    assert_eq!(finding(&findings, "native")["state"], "missing");
    assert!(
        !findings.iter().any(|finding| finding["check"] == "memory limit"),
        "{findings:#?}"
    );
    let capabilities = finding(&findings, "capabilities");
    assert!(
        capabilities["found"]
            .as_str()
            .is_some_and(|found| found.contains("CAP_SYS_ADMIN")),
        "{capabilities}"
    );
}

/// A home of the user nobody, and a copy of the program that he may execute.
fn nobody(case: &Case) -> (PathBuf, PathBuf) {
    let home = case.dir.join("home");
    fs::create_dir(&home).expect("a directory");
    chown(&home, Some(65_534), Some(65_534)).expect("chown");
    let wrun = case.dir.join("wrun");
    program::copy(&case.runtime.path, &wrun);
    (home, wrun)
}

/// `doctor` as the user nobody, after what the shell command `before` does as root.
#[track_caller]
fn examine_as_nobody(case: &Case, before: &str) -> Vec<Value> {
    let (home, wrun) = nobody(case);
    let script = format!(
        "mount --make-rprivate / && {before} && \
         exec setpriv --reuid 65534 --regid 65534 --clear-groups -- \"$0\" doctor --format json"
    );
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", &script]).arg(&wrun);
    command
        .env("HOME", &home)
        .env("XDG_RUNTIME_DIR", &home)
        .env_remove("XDG_CONFIG_HOME")
        .env_remove("WRUN_CACHE_DIR");
    let findings = case.finish(command).ok().json();
    findings.as_array().expect("a list").clone()
}

fn without_root(case: &Case) {
    let findings = examine_as_nobody(case, "true");
    assert_eq!(finding(&findings, "native")["state"], "ok");
    assert_eq!(finding(&findings, "Wasm")["state"], "ok");
    assert_eq!(finding(&findings, "subordinate user ids")["state"], "limited");
}

/// A caller's umask hides nothing from the container, and his TMPDIR may be of another user.
fn a_hidden_temporary_directory(case: &Case) {
    let findings = examine_as_nobody(case, "umask 077 && export TMPDIR=/root");
    assert_eq!(finding(&findings, "native")["state"], "ok", "{findings:#?}");
    assert_eq!(finding(&findings, "Wasm")["state"], "ok");
    let wrapper = ["sh", "-c", "umask 077 && exec \"$@\"", "x"];
    let (_, findings) = examine(case, &wrapper);
    assert_eq!(
        finding(&findings, "user namespace")["state"],
        "ok",
        "{findings:#?}"
    );
}

/// That nothing could be tried does not mean that no container runs.
fn nowhere_to_try(case: &Case) {
    let script = "mount --make-rprivate / && for dir in /tmp /var/tmp /run; do \
        mount --bind $dir $dir && mount -o remount,bind,noexec $dir; done && exec \"$@\"";
    let mut command = case.command_under(
        &["unshare", "-m", "sh", "-c", script, "x"],
        &["doctor", "--format", "json"],
    );
    command.env_remove("TMPDIR").env_remove("XDG_RUNTIME_DIR");
    let findings = case.finish(command).json();
    let findings = findings.as_array().expect("a list");
    let native = finding(findings, "native");
    assert_eq!(native["state"], "limited", "{native}");
    assert!(
        !findings.iter().any(|it| it["check"] == "memory limit"),
        "{findings:#?}"
    );
}

/// What root's daemon runs a user can see, and a file of his own would be read by nobody.
fn a_user_s_engines_are_root_s(case: &Case) {
    let docker = |case: &Case, text: &str| {
        let _ = fs::remove_dir_all(case.dir.join("home")); // Of the call before.
        let findings = examine_as_nobody(
            case,
            &format!(
                "mkdir -p /etc/docker && mount -t tmpfs none /etc/docker && \
                 printf %s '{text}' > /etc/docker/daemon.json"
            ),
        );
        finding(&findings, "Docker").clone()
    };
    let wrun = case.dir.join("wrun");
    let known = format!(
        "{{\"runtimes\": {{\"wrun\": {{\"path\": \"{}\"}}}}}}",
        wrun.display()
    );
    let found = docker(case, &known);
    assert_eq!(found["state"], "ok", "{found}");
    let found = docker(case, "{}");
    assert_eq!(found["mend"], "sudo wrun install docker", "{found}");
}

fn a_disabled_plugin_is_told(case: &Case) {
    let script = "mount --make-rprivate / && mkdir -p /etc/containerd && mount -t tmpfs none /etc/containerd && \
        \"$0\" install containerd --no-check && \
        sed -i 's/^version = [23]$/&\\ndisabled_plugins = [\"cri\"]/' /etc/containerd/config.toml && exec \"$0\" doctor";
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", script]).arg(&case.runtime.path);
    let output = case.finish(command).ok();
    assert!(
        output
            .stdout
            .contains("names wrun, but: It disables containerd's CRI plugin"),
        "{output}"
    );
}

/// In a user namespace of its own a user may take away what follows.
fn without_network_namespaces(case: &Case) {
    let script = "echo 0 > /proc/sys/user/max_net_namespaces && exec \"$@\"";
    let (output, findings) = examine(case, &["unshare", "-r", "sh", "-c", script, "x"]);
    output.code_is(1);
    assert_eq!(finding(&findings, "network namespace")["state"], "missing");
    assert_eq!(finding(&findings, "mount namespace")["state"], "ok");
}

fn without_a_cache(case: &Case) {
    fs::write(case.dir.join("cache"), "").expect("a file where the cache should be");
    let (_, findings) = examine(case, &[]);
    assert_eq!(finding(&findings, "cache of compiled code")["state"], "limited");
    assert_eq!(finding(&findings, "Wasm")["state"], "ok");
    let fits = |case: &Case, options: &str| {
        let script = format!(
            "mount --make-rprivate / && mount -t tmpfs -o mode=700,{options} none \"$0\" && exec \"$@\""
        );
        fs::create_dir_all(case.dir.join("cache")).expect("a directory");
        let (_, findings) = examine(case, &["unshare", "-m", "sh", "-c", &script, &case.path("cache")]);
        finding(&findings, "cache of compiled code")["state"] == "ok"
    };
    fs::remove_file(case.dir.join("cache")).expect("it was made");
    assert!(fits(case, "size=1g") && !fits(case, "size=1m") && !fits(case, "size=1g,noexec"));
}

fn an_engine_that_calls_nothing(case: &Case) {
    let script = "mount --make-rprivate / && mkdir -p /etc/docker && mount -t tmpfs none /etc/docker && \
        printf %s \"$0\" > /etc/docker/daemon.json && exec \"$@\"";
    let with = |json: &str| {
        let (_, findings) = examine(case, &["unshare", "-m", "sh", "-c", script, json]);
        finding(&findings, "Docker")["found"]
            .as_str()
            .expect("text")
            .to_owned()
    };
    assert!(
        with("{\"runtimes\": {\"wrun\": {\"path\": \"/nowhere/wrun\"}}}")
            .contains("/nowhere/wrun, which is not there")
    );
    assert!(with("{}").contains("does not name wrun"));
    assert!(
        with("{\"runtimes\": {\"wrun\": {\"path\": \"/etc/passwd\"}}}")
            .contains("/etc/passwd, which is no program that can be executed")
    );
    assert!(with("{\"runtimes\": 1,}").contains("line 1"));
    let path = case.runtime.path.display();
    let known =
        format!("{{\"runtimes\": {{\"wrun\": {{\"path\": \"{path}\"}}}}, \"default-runtime\": \"wrun\"}}");
    assert!(with(&known).ends_with("names wrun as the default"));
}

fn nothing_is_left(case: &Case) {
    let mut command = case.command(&["doctor"]);
    command.env("TMPDIR", &case.dir);
    case.finish(command).ok();
    let entries = fs::read_dir(&case.dir).expect("it is ours").flatten();
    let left: Vec<_> = entries
        .filter(|entry| entry.file_name().to_string_lossy().contains("trial"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}
