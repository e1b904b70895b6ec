//! What the caller of the runtime has, and the container or a hook must not get; what a container may ask of us,
//! and must not turn against the host.

use std::fs;
use std::os::unix::fs::symlink;

use serde_json::json;

use crate::harness::bundle::{map_ids, set_namespace};
use crate::harness::{Case, Test, test};

pub fn tests() -> Vec<Test> {
    vec![
        test!(pid_file_follows_no_planted_link),
        test!(hooks_inherit_no_descriptor_of_the_caller),
        test!(create_container_hooks_have_the_caller_s_umask),
        test!(filter_that_knows_no_messages),
        test!(new_user_namespace_with_a_joined_network),
        test!(no_pivot_lets_no_unmasked_proc_be_mounted),
        test!(preserve_fds_that_are_not_open_are_refused),
        test!(entry_point_leads_through_no_descriptor_of_ours),
    ]
}

fn pid_file_follows_no_planted_link(case: &Case) {
    let container = case.container(&["sleep", "100"]);
    let victim = case.dir.join("victim");
    fs::write(&victim, "precious").expect("a file");
    symlink(&victim, case.dir.join(".pid")).expect("a link where a temporary file could be");
    container.try_create(&["--pid-file", &case.path("pid")]);
    assert_eq!(fs::read_to_string(&victim).expect("it is there"), "precious");
    container.delete_with(&["--force"]).ok();
}

fn hooks_inherit_no_descriptor_of_the_caller(case: &Case) {
    let seen = case.path("seen");
    let hook = json!([{ "path": "/bin/sh", "args": ["sh", "-c", format!("ls -l /proc/self/fd >> {seen}")] }]);
    let container = case.container_with(&["true"], |config| {
        config["hooks"] = json!({ "createRuntime": hook, "poststop": hook });
    });
    let mut command = std::process::Command::new("sh");
    let call = container.command("run", &[]);
    // 9 is open and not close-on-exec, as an engine's could be.
    command
        .args(["-c", "exec \"$@\" 9</etc", "sh"])
        .arg(call.get_program())
        .args(call.get_args());
    case.finish(command).ok();
    let seen = fs::read_to_string(seen).expect("the hooks ran");
    assert!(!seen.contains("/etc"), "{seen}");
}

fn create_container_hooks_have_the_caller_s_umask(case: &Case) {
    let made = case.path("made");
    let container = case.container_with(&["true"], |config| {
        let args = ["sh", "-c", &format!("umask > {made}")];
        config["hooks"] = json!({ "createContainer": [{ "path": "/bin/sh", "args": args }] });
    });
    container.run().ok();
    let umask = fs::read_to_string(made).expect("the hook ran");
    assert_ne!(
        umask.trim().trim_start_matches('0'),
        "",
        "a hook's files would be open to all"
    );
}

/// A profile for a program that only computes.
fn filter_that_knows_no_messages(case: &Case) {
    let names = ["sendmsg", "recvmsg", "sendto", "recvfrom"];
    for no_new_privileges in [true, false] {
        let container = case.container_with(&["echo", "ran"], |config| {
            config["process"]["noNewPrivileges"] = json!(no_new_privileges);
            config["linux"]["seccomp"] = json!({
                "defaultAction": "SCMP_ACT_ALLOW",
                "syscalls": [{ "names": names, "action": "SCMP_ACT_ERRNO" }]
            });
        });
        assert_eq!(container.run().ok().stdout, "ran\n");
    }
}

fn new_user_namespace_with_a_joined_network(case: &Case) {
    let other = case.container_with(&["sleep", "100"], |config| set_namespace(config, "network", None));
    other.run_detached();
    let network = fs::read_link(other.proc("ns/net")).expect("a namespace");
    let path = other.proc("ns/net");
    let container = case.container_with(&["readlink", "/proc/self/ns/net"], |config| {
        map_ids(config, 100_000);
        set_namespace(config, "network", path.to_str());
        // The network belongs to the host's user namespace, so that no sysfs of it may be mounted here.
        let mounts = config["mounts"].as_array_mut().expect("mounts");
        mounts.retain(|mount| mount["destination"] != "/sys");
    });
    assert_eq!(container.run().ok().stdout.trim(), network.to_string_lossy());
}

/// While a whole procfs is in the mount namespace, the kernel lets a user namespace mount another.
fn no_pivot_lets_no_unmasked_proc_be_mounted(case: &Case) {
    let script = "unshare -U -r -m -p -f sh -c 'mount -t proc proc /mnt && wc -c < /mnt/timer_list'; echo $?";
    let container = case.script_with(script, |config| {
        config["process"]["noNewPrivileges"] = json!(false);
        let all = json!(["CAP_SYS_ADMIN", "CAP_SETFCAP", "CAP_SETUID", "CAP_SETGID"]);
        for set in ["bounding", "effective", "permitted"] {
            config["process"]["capabilities"][set] = all.clone();
        }
    });
    let output = case.finish(container.command("run", &["--no-pivot"])).ok();
    assert!(output.stdout.ends_with("1\n"), "{output}");
}

fn preserve_fds_that_are_not_open_are_refused(case: &Case) {
    let container = case.container(&["ls", "/proc/self/fd"]);
    let output = case.finish(container.command("run", &["--preserve-fds", "6"]));
    assert!(!output.status.success(), "{output}");
    case.nothing_left();
}

fn entry_point_leads_through_no_descriptor_of_ours(case: &Case) {
    let sleeper = case.container(&["sleep", "100"]);
    sleeper.run_detached();
    for descriptor in 3..12 {
        let path = format!("/proc/self/fd/{descriptor}/../../../../../usr/bin/env");
        let output = sleeper.exec(&[&path]);
        assert!(!output.status.success(), "{path}: {output}");
        let path = format!("/proc/self/fd/{descriptor}/../../etc/shadow");
        let output = sleeper.exec(&[&path]);
        assert!(
            !output.stderr.contains("permission denied") || !case.runtime.ours,
            "{path} was found: {output}"
        );
    }
}
