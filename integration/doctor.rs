//! `doctor`: that it says what is true, on this machine as it is and on one from which a test has taken something.

use std::fs;

use serde_json::Value;

use crate::harness::{Case, Need, Output, Test, test};

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

fn without_root(case: &Case) {
    use std::os::unix::fs::{PermissionsExt, chown};
    let home = case.dir.join("home");
    fs::create_dir(&home).expect("a directory");
    chown(&home, Some(65_534), Some(65_534)).expect("chown");
    let wrun = case.dir.join("wrun");
    fs::copy(&case.runtime.path, &wrun).expect("a copy, which others may execute");
    fs::set_permissions(&wrun, PermissionsExt::from_mode(0o755)).expect("it is ours");
    let mut command = std::process::Command::new("setpriv");
    command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "--"]);
    command.arg(&wrun).args(["doctor", "--format", "json"]);
    command
        .env("HOME", &home)
        .env("XDG_RUNTIME_DIR", &home)
        .env_remove("WRUN_CACHE_DIR");
    let findings = case
        .finish(command)
        .ok()
        .json()
        .as_array()
        .expect("a list")
        .clone();
    assert_eq!(finding(&findings, "native")["state"], "ok");
    assert_eq!(finding(&findings, "Wasm")["state"], "ok");
    assert_eq!(finding(&findings, "subordinate user ids")["state"], "limited");
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
