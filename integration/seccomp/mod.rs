//! seccomp filters: actions, arguments, flags, and the hand-over of notifications.

mod names;

use serde_json::{Value, json};

use crate::harness::terminal::DescriptorSocket;
use crate::harness::{Case, Container, Need, Test, test};

pub fn tests() -> Vec<Test> {
    let mut tests = vec![
        test!(errno).covers(&[
            "linux.seccomp.syscalls.{names,action,errnoRet}",
            "linux.seccomp.defaultAction=SCMP_ACT_ALLOW",
            "linux.seccomp.syscalls.action=SCMP_ACT_ERRNO",
        ]),
        test!(errno_is_eperm_by_default).covers(&["linux.seccomp.syscalls.action=SCMP_ACT_ERRNO"]),
        test!(default_action_with_an_allow_list).covers(&["linux.seccomp.defaultAction"]),
        test!(kill).covers(&["linux.seccomp.syscalls.action={SCMP_ACT_KILL,SCMP_ACT_KILL_PROCESS}"]),
        test!(arguments).covers(&["linux.seccomp.syscalls.args.{index,value,op}"]),
        test!(masked_arguments).covers(&["linux.seccomp.syscalls.args.{index,value,valueTwo,op}"]),
        test!(names_that_the_kernel_lacks_are_left_out).covers(&["linux.seccomp.syscalls.names"]),
        test!(flags).covers(&["linux.seccomp.flags"]),
        test!(unknown_flag_is_refused).covers(&["linux.seccomp.flags"]),
        test!(other_architectures).covers(&["linux.seccomp.architectures"]),
        test!(without_no_new_privileges),
        test!(calls_of_newer_kernels_may_be_forbidden),
        test!(notifications_are_handed_over).covers(&[
            "linux.seccomp.{listenerPath,listenerMetadata}",
            "linux.seccomp.syscalls.action=SCMP_ACT_NOTIFY",
        ]),
        test!(notification_without_a_listener_is_refused).covers(&["linux.seccomp.listenerPath"]),
        test!(same_filter_twice),
    ];
    tests.extend(names::tests());
    tests
}

/// An allow-all filter with `rules` and `extra` keys.
fn filter(config: &mut Value, rules: Value) {
    config["linux"]["seccomp"] = json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules });
}

fn mkdir_gives(action: &str, number: Option<u32>) -> Value {
    let mut rule = json!({ "names": ["mkdir", "mkdirat"], "action": action });
    if let Some(number) = number {
        rule["errnoRet"] = json!(number);
    }
    json!([rule])
}

fn errno(case: &Case) {
    let container = case.container_with(&["mkdir", "/tmp/x"], |config| {
        filter(config, mkdir_gives("SCMP_ACT_ERRNO", Some(95)));
    });
    let output = container.run().code_is(1);
    assert!(output.stderr.contains("not supported"), "{output}");
    let others = case.script_with("touch /tmp/x && grep ^Seccomp: /proc/self/status", |config| {
        filter(config, mkdir_gives("SCMP_ACT_ERRNO", Some(95)));
    });
    assert_eq!(others.run().ok().stdout, "Seccomp:\t2\n");
}

fn errno_is_eperm_by_default(case: &Case) {
    let container = case.container_with(&["mkdir", "/tmp/x"], |config| {
        filter(config, mkdir_gives("SCMP_ACT_ERRNO", None));
    });
    let output = container.run().code_is(1);
    assert!(output.stderr.contains("not permitted"), "{output}");
}

/// The filter that Docker gives every container.
fn default_action_with_an_allow_list(case: &Case) {
    let docker: Value = serde_json::from_str(include_str!("../fixtures/docker.json")).expect("JSON");
    let script = "echo works; ls / >/dev/null; unshare -U true 2>&1; keyctl 2>/dev/null; exit 0";
    let container = case.script_with(script, |config| {
        config["linux"]["seccomp"] = docker["linux"]["seccomp"].clone();
    });
    let output = container.run().ok();
    assert!(output.stdout.starts_with("works\n"), "{output}");
    assert!(
        output.stdout.contains("not permitted"),
        "unshare is not on Docker's list: {output}"
    );
}

fn kill(case: &Case) {
    for action in ["SCMP_ACT_KILL", "SCMP_ACT_KILL_PROCESS"] {
        let container = case.script_with("mkdir /tmp/x; echo $?", |config| {
            filter(config, mkdir_gives(action, None));
        });
        // 128 + SIGSYS.
        assert_eq!(container.run().ok().stdout.trim(), "159", "{action}");
    }
}

/// A rule on the second argument of kill(2).
fn kill_refuses(config: &mut Value, argument: Value) {
    filter(
        config,
        json!([{ "names": ["kill"], "action": "SCMP_ACT_ERRNO", "args": [argument] }]),
    );
}

fn arguments(case: &Case) {
    let script = "trap 'echo usr1' USR1; trap 'echo usr2' USR2; kill -USR1 $$ 2>/dev/null || echo refused; \
                  kill -USR2 $$ && true";
    let container = case.script_with(script, |config| {
        kill_refuses(config, json!({ "index": 1, "value": 10, "op": "SCMP_CMP_EQ" }));
    });
    assert_eq!(container.run().ok().stdout, "refused\nusr2\n");
}

fn masked_arguments(case: &Case) {
    // USR1 is 10 = 0b1010 and USR2 is 12 = 0b1100: they differ in bit 1.
    let script = "trap 'echo usr1' USR1; trap 'echo usr2' USR2; kill -USR1 $$ 2>/dev/null || echo refused; \
                  kill -USR2 $$ && true";
    let container = case.script_with(script, |config| {
        kill_refuses(
            config,
            json!({ "index": 1, "value": 2, "valueTwo": 2, "op": "SCMP_CMP_MASKED_EQ" }),
        );
    });
    assert_eq!(container.run().ok().stdout, "refused\nusr2\n");
}

fn names_that_the_kernel_lacks_are_left_out(case: &Case) {
    let container = case.container_with(&["echo", "fine"], |config| {
        filter(
            config,
            json!([{ "names": ["no_such_call", "mkdir"], "action": "SCMP_ACT_ERRNO" }]),
        );
    });
    assert_eq!(container.run().ok().stdout, "fine\n");
}

fn flags(case: &Case) {
    for flag in [
        "SECCOMP_FILTER_FLAG_LOG",
        "SECCOMP_FILTER_FLAG_TSYNC",
        "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
    ] {
        let container = case.container_with(&["grep", "^Seccomp:", "/proc/self/status"], |config| {
            filter(config, mkdir_gives("SCMP_ACT_ERRNO", None));
            config["linux"]["seccomp"]["flags"] = json!([flag]);
        });
        let output = container.run();
        // runc 1.1 knows these three but for SPEC_ALLOW with an old libseccomp.
        if case.runtime.ours || output.status.success() {
            assert_eq!(output.ok().stdout, "Seccomp:\t2\n", "{flag}");
        }
    }
}

fn unknown_flag_is_refused(case: &Case) {
    let container = case.container_with(&["true"], |config| {
        filter(config, mkdir_gives("SCMP_ACT_ERRNO", None));
        config["linux"]["seccomp"]["flags"] = json!(["SECCOMP_FILTER_FLAG_NONSENSE"]);
    });
    case.names(&container.run().code_is(1), &["SECCOMP_FILTER_FLAG_NONSENSE"]);
    case.nothing_left();
}

fn other_architectures(case: &Case) {
    let container = case.container_with(&["mkdir", "/tmp/x"], |config| {
        filter(config, mkdir_gives("SCMP_ACT_ERRNO", Some(95)));
        config["linux"]["seccomp"]["architectures"] = json!([
            "SCMP_ARCH_X86_64",
            "SCMP_ARCH_X86",
            "SCMP_ARCH_X32",
            "SCMP_ARCH_AARCH64",
            "SCMP_ARCH_ARM"
        ]);
    });
    assert!(container.run().code_is(1).stderr.contains("not supported"));
}

/// Then the filter must be loaded while the process may still do that, and let what follows through.
fn without_no_new_privileges(case: &Case) {
    let container = case.container_with(
        &["grep", "-E", "^(Seccomp|NoNewPrivs):", "/proc/self/status"],
        |config| {
            filter(config, mkdir_gives("SCMP_ACT_ERRNO", None));
            config["process"]["noNewPrivileges"] = json!(false);
            config["process"]["user"] = json!({ "uid": 1000, "gid": 1000 });
        },
    );
    assert_eq!(container.run().ok().stdout, "NoNewPrivs:\t0\nSeccomp:\t2\n");
}

/// The filter is in force while the runtime still looks for the program.
fn calls_of_newer_kernels_may_be_forbidden(case: &Case) {
    for errno in [38, 1] {
        for program in ["true", "/tools/true"] {
            let container = case.container_with(&[program], |config| {
                config["process"]["noNewPrivileges"] = json!(false);
                let names = [
                    "close_range",
                    "fsopen",
                    "fsconfig",
                    "fspick",
                    "openat2",
                    "open_tree",
                    "move_mount",
                    "mount_setattr",
                ];
                filter(
                    config,
                    json!([{ "names": names, "action": "SCMP_ACT_ERRNO", "errnoRet": errno }]),
                );
            });
            std::os::unix::fs::symlink("bin", container.rootfs("tools")).expect("a link");
            container.run().ok();
        }
    }
}

fn notifications_are_handed_over(case: &Case) {
    let path = case.dir.join("notify.sock");
    let socket = DescriptorSocket::listen(&path);
    let container = case.container_with(&["mkdir", "/tmp/x"], |config| {
        filter(config, mkdir_gives("SCMP_ACT_NOTIFY", None));
        config["linux"]["seccomp"]["listenerPath"] = json!(path);
        config["linux"]["seccomp"]["listenerMetadata"] = json!("the metadata");
    });
    let run = case.start(container.command("run", &[]));
    let (state, notifications) = socket.receive_with_data();
    let state: Value = serde_json::from_str(&state).expect("the container process state is JSON");
    assert_eq!(state["fds"], json!(["seccompFd"]), "{state}");
    assert_eq!(state["metadata"], "the metadata", "{state}");
    assert_eq!(state["state"]["id"], json!(container.id), "{state}");
    assert!(state["pid"].as_i64().is_some_and(|pid| pid > 0), "{state}");
    // seccomp_unotify(2): with the last descriptor closed, the calls fail with ENOSYS.
    drop(notifications);
    let output = run.wait().code_is(1);
    assert!(output.stderr.contains("not implemented"), "{output}");
}

fn notification_without_a_listener_is_refused(case: &Case) {
    let container = case.container_with(&["mkdir", "/tmp/x"], |config| {
        filter(config, mkdir_gives("SCMP_ACT_NOTIFY", None));
    });
    case.names(&container.run().code_is(1), &["listenerPath"]);
    case.nothing_left();
    let container = case.container_with(&["mkdir", "/tmp/x"], |config| {
        filter(config, mkdir_gives("SCMP_ACT_NOTIFY", None));
        config["linux"]["seccomp"]["listenerPath"] = json!("/no/such/socket");
    });
    case.names(&container.run().code_is(1), &["/no/such/socket"]);
    case.nothing_left();
}

/// The second container takes the compiled filter from the cache, and is confined by it all the same.
fn same_filter_twice(case: &Case) {
    for _ in 0..2 {
        let container = case.container_with(&["mkdir", "/tmp/x"], |config| {
            filter(config, mkdir_gives("SCMP_ACT_ERRNO", Some(38)));
        });
        let output = container.run().code_is(1);
        assert!(output.stderr.contains("not implemented"), "{output}");
    }
}
