//! The six hooks: where each runs, in which order, what it is told, and what follows when one fails.

use std::fs;

use serde_json::{Value, json};

use crate::harness::{Case, Container, Test, leaks, test};

pub fn tests() -> Vec<Test> {
    vec![
        test!(order).covers(&[
            "hooks.{prestart,createRuntime,createContainer,startContainer,poststart,poststop}.path",
        ]),
        test!(namespaces_of_each),
        test!(create_container_hooks_start_in_the_root),
        test!(state_on_standard_input).covers(&["annotations"]),
        test!(arguments_and_environment).covers(&[
            "hooks.{prestart,createRuntime,createContainer,startContainer,poststart,poststop}.{path,args,env}",
        ]),
        test!(environment_where_none_is_given),
        test!(signals_have_names_in_errors),
        test!(several_of_one_kind_run_in_order),
        test!(network_can_be_set_up_by_prestart),
        test!(timeout_ends_each_hook_of_create)
            .covers(&["hooks.{prestart,createRuntime,createContainer}.timeout"]),
        test!(timeout_of_the_later_hooks)
            .covers(&["hooks.{startContainer,poststart,poststop}.timeout"]),
        test!(failure_before_the_start_ends_create),
        test!(failure_of_start_container_ends_start),
        test!(failure_of_poststart_stops_the_container),
        test!(failure_of_poststop_still_deletes),
        test!(missing_program_is_a_failure),
        test!(relative_path_is_refused),
        test!(poststop_runs_when_create_fails),
        test!(poststop_runs_for_a_forced_delete),
        test!(exec_runs_no_hook),
    ]
}

/// In the order in which the spec runs them.
pub const KINDS: [&str; 6] = [
    "prestart",
    "createRuntime",
    "createContainer",
    "startContainer",
    "poststart",
    "poststop",
];

/// A hook that runs a shell script with $0 its kind; in the container for `startContainer`, on the host for
/// the others.
fn hook(kind: &str, script: &str) -> Value {
    json!({ "path": "/bin/sh", "args": ["sh", "-c", script, kind], "env": ["PATH=/bin:/usr/bin"] })
}

/// A container running `args` with one hook of each of `kinds`, all with the same script. Scripts can write
/// into `$LOG`, which is /log in the container and the returned host's path outside.
fn with_hooks<'case>(case: &'case Case, args: &[&str], kinds: &[&str], script: &str) -> Container<'case> {
    case.container_with(args, |config| {
        let root = case.path("bundle-0/rootfs");
        for kind in kinds {
            let log = if *kind == "startContainer" {
                "/log".to_owned()
            } else {
                format!("{root}/log")
            };
            let script = format!("LOG={log}; {script}");
            config["hooks"][kind] = json!([hook(kind, &script)]);
        }
    })
}

/// create, start, wait, delete.
fn live(container: &Container) {
    container.create();
    container.start();
    container.wait_for("stopped");
    container.delete();
}

fn order(case: &Case) {
    let container = with_hooks(
        case,
        &["sh", "-c", "echo process >>/log"],
        &KINDS,
        "echo $0 >>$LOG",
    );
    let lines = || -> Vec<String> { container.read("log").lines().map(str::to_owned).collect() };
    let created = ["prestart", "createRuntime", "createContainer"];
    container.create();
    // runc 1.1 calls poststart already at the end of create.
    let at_create = if case.runtime.ours {
        lines()
    } else {
        lines()[..3].to_vec()
    };
    assert_eq!(at_create, created);
    container.start();
    container.wait_for("stopped");
    let before_start = if case.runtime.ours {
        &[][..]
    } else {
        &["poststart"]
    };
    let upto_start = [&created[..], before_start, &["startContainer"]].concat();
    assert_eq!(lines()[..upto_start.len()], upto_start);
    // The process is running when poststart is called, so either may write first.
    let mut rest = lines()[upto_start.len()..].to_vec();
    rest.sort_unstable();
    let expected = if case.runtime.ours {
        &["poststart", "process"][..]
    } else {
        &["process"]
    };
    assert_eq!(rest, expected);
    container.delete();
    assert_eq!(container.read("log").lines().last(), Some("poststop"));
}

fn namespaces_of_each(case: &Case) {
    let script = "echo $0 $(readlink /proc/self/ns/mnt) $(readlink /proc/self/ns/uts) >>$LOG";
    let container = with_hooks(case, &["sleep", "100"], &KINDS, script);
    container.create();
    let own = |file: &str| {
        fs::read_link(container.proc(&format!("ns/{file}")))
            .expect("it")
            .to_string_lossy()
            .into_owned()
    };
    let (mount, uts) = (own("mnt"), own("uts"));
    container.start();
    container.delete_with(&["--force"]).ok();
    let host = |file: &str| {
        fs::read_link(format!("/proc/self/ns/{file}"))
            .expect("it")
            .to_string_lossy()
            .into_owned()
    };
    let text = container.read("log");
    for kind in KINDS {
        let inside = ["createContainer", "startContainer"].contains(&kind);
        let expected = if inside {
            [mount.clone(), uts.clone()]
        } else {
            [host("mnt"), host("uts")]
        };
        let line = format!("{kind} {}", expected.join(" "));
        assert!(text.lines().any(|own| own == line), "{line:?} is not in\n{text}");
    }
}

fn create_container_hooks_start_in_the_root(case: &Case) {
    let container = with_hooks(case, &["true"], &["createContainer"], "pwd >$LOG");
    live(&container);
    assert_eq!(
        container.read("log").trim(),
        container.rootfs("").to_string_lossy().trim_end_matches('/')
    );
}

fn state_on_standard_input(case: &Case) {
    let container = with_hooks(case, &["sleep", "100"], &KINDS, "cat >>$LOG.$0");
    container.edit(|config| config["annotations"] = json!({ "key": "value" }));
    container.create();
    let pid = container.pid();
    container.start();
    container.delete_with(&["--force"]).ok();
    for (kind, status) in KINDS.iter().zip([
        "creating", "creating", "creating", "created", "running", "stopped",
    ]) {
        let text = container.read(&format!("log.{kind}"));
        let state: Value =
            serde_json::from_str(&text).unwrap_or_else(|error| panic!("{kind}: {error}: {text}"));
        assert_eq!(state["id"], json!(container.id), "{kind}");
        assert_eq!(state["bundle"], json!(container.bundle()), "{kind}");
        assert_eq!(state["annotations"]["key"], "value", "{kind}");
        assert!(state["ociVersion"].is_string(), "{kind}");
        assert!(state["status"] == status || !case.runtime.ours, "{kind}: {state}");
        // The spec: as seen from the namespace in which the hook runs.
        let seen = if ["createContainer", "startContainer"].contains(kind) {
            1
        } else {
            pid
        };
        if *kind != "poststop" {
            assert_eq!(state["pid"], json!(seen), "{kind}: {state}");
        }
    }
}

fn arguments_and_environment(case: &Case) {
    let container = case.container_with(&["true"], |config| {
        for kind in KINDS {
            // `startContainer` runs in the container.
            let log = match kind {
                "startContainer" => "/log".to_owned(),
                _ => format!("{}/log.{kind}", case.path("bundle-0/rootfs")),
            };
            let script = format!(
                "echo \"$0|$1|$#\" >{log}; env | grep -v -e PWD -e PATH -e SHLVL -e _= | sort >>{log}"
            );
            config["hooks"][kind] = json!([{
                // busybox, in the container, goes by its name.
                "path": "/bin/sh", "args": [if kind == "startContainer" { "sh" } else { "called so" },
                    "-c", script, "zero", "one one"], "env": ["A=1", "B=2 2"]
            }]);
        }
    });
    live(&container);
    for kind in KINDS {
        let file = match kind {
            "startContainer" => "log".to_owned(),
            _ => format!("log.{kind}"),
        };
        assert_eq!(container.read(&file), "zero|one one|1\nA=1\nB=2 2\n", "{kind}");
    }
}

fn environment_where_none_is_given(case: &Case) {
    let container = case.container_with(&["/bin/true"], |config| {
        config["process"]["env"] = json!(["ONE=two"]);
        config["hooks"]["createRuntime"] = json!([{
            "path": "/bin/sh", "args": ["sh", "-c", format!("echo $FROM_THE_CALLER >{}", case.path("log"))]
        }]);
        config["hooks"]["startContainer"] = json!([{
            "path": "/bin/sh", "args": ["sh", "-c", "echo $ONE $FROM_THE_CALLER$HOME >/log"]
        }]);
    });
    let mut run = container.command("run", &[]);
    run.env("FROM_THE_CALLER", "three");
    case.finish(run).ok();
    let log = fs::read_to_string(case.dir.join("log")).expect("the log");
    assert_eq!(log, "three\n");
    // runc before 1.2 has no HOME for them.
    let in_container = container.read("log");
    assert!(
        in_container == "two /root\n" || !case.runtime.ours,
        "{in_container}"
    );
    assert!(in_container.starts_with("two"), "{in_container}");
}

fn signals_have_names_in_errors(case: &Case) {
    let container = case.container_with(&["true"], |config| {
        config["hooks"]["startContainer"] = json!([hook("startContainer", "kill -SYS $$")]);
    });
    let output = container.run().code_is(1);
    assert!(output.stderr.contains("signal: bad system call"), "{output}");
}

fn several_of_one_kind_run_in_order(case: &Case) {
    let container = case.container_with(&["true"], |config| {
        let write = |word: &str| hook("createRuntime", &format!("echo {word} >>{}", case.path("log")));
        config["hooks"]["createRuntime"] = json!([write("one"), write("two"), write("three")]);
    });
    container.run().ok();
    assert_eq!(
        fs::read_to_string(case.dir.join("log")).expect("the log"),
        "one\ntwo\nthree\n"
    );
}

/// Docker's way: the hook finds the network namespace by the pid in the state.
fn network_can_be_set_up_by_prestart(case: &Case) {
    let container = case.container_with(&["cat", "/proc/sys/net/ipv4/ip_forward"], |config| {
        let script = "pid=$(grep -o '\"pid\": *[0-9]*' | grep -o '[0-9]*$'); \
                      exec nsenter -t $pid -n sh -c 'echo 1 >/proc/sys/net/ipv4/ip_forward'";
        config["hooks"]["prestart"] = json!([hook("prestart", script)]);
        config["linux"]["readonlyPaths"] = json!([]);
    });
    assert_eq!(container.run().ok().stdout, "1\n");
}

fn timeout_ends_each_hook_of_create(case: &Case) {
    for kind in ["prestart", "createRuntime", "createContainer"] {
        let container = case.container_with(&["true"], |config| {
            let mut hook = hook(kind, "exec sleep 100");
            hook["timeout"] = json!(1);
            config["hooks"][kind] = json!([hook]);
        });
        let start = std::time::Instant::now();
        let output = container.try_create(&[]).code_is(1);
        assert!(start.elapsed().as_secs() < 30, "the {kind} hook was waited for");
        case.names(&output, &[kind, "timeout"]);
        case.nothing_left();
    }
}

/// Of the later hooks: what the failure means depends on the kind, but none is waited for.
fn timeout_of_the_later_hooks(case: &Case) {
    for kind in ["startContainer", "poststart", "poststop"] {
        let container = case.container_with(&["sleep", "100"], |config| {
            let mut hook = hook(kind, "exec sleep 200");
            hook["timeout"] = json!(1);
            config["hooks"][kind] = json!([hook]);
        });
        let start = std::time::Instant::now();
        let created = container.try_create(&[]);
        // runc 1.1 calls poststart at the end of create.
        if case.runtime.ours || created.status.success() {
            let started = case.call(&["start", &container.id]);
            let deleted = container.delete_with(&["--force"]);
            if case.runtime.ours {
                let output = if kind == "poststop" { &deleted } else { &started };
                assert!(
                    output.stderr.contains(kind) && output.stderr.contains("timeout"),
                    "{output}"
                );
            }
        }
        assert!(start.elapsed().as_secs() < 60, "the {kind} hook was waited for");
        case.nothing_left();
    }
}

fn failure_before_the_start_ends_create(case: &Case) {
    for kind in ["prestart", "createRuntime", "createContainer"] {
        let container = case.container_with(&["true"], |config| {
            config["hooks"][kind] = json!([hook(kind, "echo the reason >&2; exit 3")]);
        });
        let output = container.try_create(&[]).code_is(1);
        case.names(&output, &[kind, "3", "the reason"]);
        case.nothing_left();
    }
}

fn failure_of_start_container_ends_start(case: &Case) {
    let container = case.script_with("echo ran >/ran", |config| {
        config["hooks"]["startContainer"] = json!([hook("startContainer", "exit 3")]);
    });
    container.create();
    let output = case.call(&["start", &container.id]);
    // The hook runs in init when start has done its part, so runc's start does not see the failure.
    assert!(!output.status.success() || !case.runtime.ours, "{output}");
    if case.runtime.ours {
        case.names(&output, &["startContainer", "3"]);
    }
    container.wait_for("stopped");
    assert!(
        !container.rootfs("ran").exists(),
        "the program ran in spite of the hook"
    );
    container.delete();
}

fn failure_of_poststart_stops_the_container(case: &Case) {
    let container = case.container_with(&["sleep", "100"], |config| {
        config["hooks"]["poststart"] = json!([hook("poststart", "exit 3")]);
    });
    // runc 1.1 calls it already at the end of create.
    let created = container.try_create(&[]);
    if created.status.success() || case.runtime.ours {
        created.ok();
        let output = case.call(&["start", &container.id]).code_is(1);
        case.names(&output, &["poststart", "3"]);
    }
    if case.call(&["state", &container.id]).status.success() {
        container.wait_for("stopped");
        container.delete();
    }
    case.nothing_left();
}

/// The spec has the failure logged, and the rest go on.
fn failure_of_poststop_still_deletes(case: &Case) {
    let container = case.container_with(&["true"], |config| {
        let second = hook("poststop", &format!("echo second >{}", case.path("log")));
        config["hooks"]["poststop"] = json!([hook("poststop", "exit 3"), second]);
    });
    container.create();
    container.start();
    container.wait_for("stopped");
    let output = container.delete_with(&[]);
    assert!(
        output.stderr.contains("poststop") || !case.runtime.ours,
        "not a word of the failure: {output}"
    );
    if case.runtime.ours {
        assert_eq!(
            fs::read_to_string(case.dir.join("log")).expect("the log"),
            "second\n"
        );
    }
    assert!(leaks::cgroups(&case.mark).is_empty());
    assert!(
        !case.root.join(&container.id).exists() || !case.runtime.ours,
        "the state is left"
    );
}

fn missing_program_is_a_failure(case: &Case) {
    for kind in ["prestart", "createRuntime", "createContainer"] {
        let container = case.container_with(&["true"], |config| {
            config["hooks"][kind] = json!([{ "path": "/no/such/hook" }]);
        });
        case.names(&container.try_create(&[]).code_is(1), &[kind, "/no/such/hook"]);
        case.nothing_left();
    }
}

fn relative_path_is_refused(case: &Case) {
    let container = case.container_with(&["true"], |config| {
        config["hooks"]["createRuntime"] = json!([{ "path": "bin/true" }]);
    });
    case.names(
        &container.try_create(&[]).code_is(1),
        &["createRuntime", "bin/true"],
    );
    case.nothing_left();
}

fn poststop_runs_when_create_fails(case: &Case) {
    let container = case.container_with(&["true"], |config| {
        config["hooks"]["createRuntime"] = json!([hook("createRuntime", "exit 3")]);
        let poststop = hook("poststop", &format!("echo called >{}", case.path("log")));
        config["hooks"]["poststop"] = json!([poststop]);
    });
    container.try_create(&[]).code_is(1);
    case.nothing_left();
    // The spec: "stop the container, and continue the lifecycle at step 12"; step 13 is poststop.
    let called = case.dir.join("log").exists();
    assert!(called || !case.runtime.ours, "poststop was not called");
}

fn poststop_runs_for_a_forced_delete(case: &Case) {
    let container = with_hooks(case, &["sleep", "100"], &["poststop"], "echo $0 >>$LOG");
    container.run_detached();
    container.delete_with(&["--force"]).ok();
    assert_eq!(container.read("log"), "poststop\n");
    let container = with_hooks_at(case, "poststop");
    live(&container);
    assert_eq!(
        fs::read_to_string(case.dir.join("log")).expect("the log"),
        "poststop\n"
    );
}

/// A container that ends at once, with one hook that writes into the test's own log.
fn with_hooks_at<'case>(case: &'case Case, kind: &str) -> Container<'case> {
    case.container_with(&["true"], |config| {
        config["hooks"][kind] = json!([hook(kind, &format!("echo $0 >>{}", case.path("log")))]);
    })
}

fn exec_runs_no_hook(case: &Case) {
    let container = with_hooks(case, &["sleep", "100"], &KINDS[..5], "echo $0 >>$LOG");
    container.run_detached();
    let before = container.read("log");
    container.exec(&["true"]).ok();
    assert_eq!(container.read("log"), before);
}
