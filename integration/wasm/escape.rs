//! A guest that broke out of the engine would be native code in that very process. There such code runs here, in
//! place of the guest, and tries what src/sys/escape.rs lists: our own confinement must refuse all of it, whatever
//! the container was granted.

use super::*;

pub fn tests() -> Vec<Test> {
    vec![
        test!(escape_default_container),
        test!(escape_container_with_every_right),
        test!(escape_added_guest),
        test!(escape_other_user),
        test!(escape_user_namespace),
        test!(guest_keeps_only_useful_capabilities),
        test!(capabilities_are_of_use),
        test!(hooks_of_the_container_run_first),
        test!(profile_without_landlock),
    ]
}

/// Attempts that every run must have made; a list that shrinks by accident proves nothing.
const MADE: [&str; 24] = [
    "execve",
    "execveat",
    "fork",
    "ptrace-attach",
    "read-process",
    "write-process",
    "kill-all",
    "kill-another",
    "signal-by-owner",
    "mount",
    "unshare-user",
    "socket-raw",
    "socket-packet",
    "open-path",
    "open-dotdot",
    "open-proc-1-root",
    "open-by-handle",
    "chroot-out",
    "map-writable-and-executable",
    "make-executable",
    "keyctl",
    "bpf",
    "io-uring",
    "userfaultfd",
];

#[track_caller]
fn all_refused(output: &Output) {
    let lines = output.lines();
    for name in MADE {
        let made = lines.iter().any(|line| line.starts_with(&format!("{name}: ")));
        assert!(made, "{name} was not tried: {output}");
    }
    assert!(
        lines
            .iter()
            .any(|line| line.starts_with("descriptor-3-leads-out")),
        "the list of descriptors: {output}"
    );
    assert!(lines.len() > 100, "the list is cut short: {output}");
    // ENOSYS, EPERM, EACCES; ENOENT and ENOTDIR of paths. Any other error would be of the arguments, and the call
    // itself allowed.
    let refusals = [38, 1, 13, 2, 20].map(|errno| format!("(os error {errno})"));
    let reached: Vec<_> = lines
        .iter()
        .filter(|line| !refusals.iter().any(|refusal| line.ends_with(refusal)))
        .collect();
    assert!(reached.is_empty(), "{reached:#?}");
}

/// Runs the guest's container with the attempts in place of the guest.
fn attempt(case: &Case, container: &Container) -> Output {
    fs::write(case.dir.join("secret"), "the secret\n").expect("a file");
    let mut command = container.command("run", &[]);
    command.env("WRUN_TEST_ESCAPE", case.dir.join("secret"));
    case.finish(command).ok()
}

/// Everything that config.json can grant, and nothing that it can deny.
fn grant_all(config: &mut Value) {
    let all: Vec<String> = (0..=40)
        .filter_map(|number| wrun::spec::capabilities::NAMES.get(number))
        .map(ToString::to_string)
        .collect();
    for set in ["bounding", "effective", "permitted", "inheritable", "ambient"] {
        config["process"]["capabilities"][set] = json!(all);
    }
    config["process"]["noNewPrivileges"] = json!(false);
    let linux = config["linux"].as_object_mut().expect("the fixture has it");
    for key in ["seccomp", "maskedPaths", "readonlyPaths"] {
        linux.remove(key);
    }
    config["linux"]["resources"]["devices"] = json!([{ "allow": true, "access": "rwm" }]);
}

/// The same in the host's own namespaces, as far as a container can be there.
fn grant_all_of_the_host(config: &mut Value) {
    grant_all(config);
    for kind in ["pid", "network", "ipc"] {
        crate::harness::bundle::remove_namespace(config, kind);
    }
}

fn escape_default_container(case: &Case) {
    for name in ["sleep", "command"] {
        all_refused(&attempt(case, &guest_with(case, name, &[], |_| {})));
    }
}

fn escape_container_with_every_right(case: &Case) {
    all_refused(&attempt(
        case,
        &guest_with(case, "sleep", &[], grant_all_of_the_host),
    ));
}

fn escape_added_guest(case: &Case) {
    let container = guest_with(case, "sleep", &[], grant_all_of_the_host);
    container.run_detached();
    fs::write(case.dir.join("secret"), "the secret\n").expect("a file");
    let mut command = case.command(&["exec", &container.id, "/sleep.wasm"]);
    command.env("WRUN_TEST_ESCAPE", case.dir.join("secret"));
    all_refused(&case.finish(command).ok());
    container.kill("KILL").ok();
}

fn escape_other_user(case: &Case) {
    let container = guest_with(case, "sleep", &[], |config| {
        config["process"]["user"] = json!({ "uid": 1000, "gid": 1000 });
    });
    all_refused(&attempt(case, &container));
}

fn escape_user_namespace(case: &Case) {
    let container = guest_with(case, "sleep", &[], |config| {
        grant_all(config);
        crate::harness::bundle::map_ids(config, 100_000);
    });
    all_refused(&attempt(case, &container));
}

fn guest_keeps_only_useful_capabilities(case: &Case) {
    let container = guest_with(case, "sleep", &[], grant_all);
    let run = case.start(container.command("run", &[]));
    eventually("it sleeps", || run.stdout().contains("sleeping").then_some(()));
    let status = fs::read_to_string(container.proc("status")).expect("its status");
    let value = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_else(|| panic!("no {name}")).trim().to_owned()
    };
    // CAP_DAC_OVERRIDE, CAP_FOWNER and CAP_NET_BIND_SERVICE.
    assert_eq!(value("CapEff:"), "000000000000040a");
    assert_eq!(value("CapPrm:"), "000000000000040a");
    for none in ["CapBnd:", "CapInh:", "CapAmb:"] {
        assert_eq!(value(none), "0000000000000000", "{none}");
    }
    container.kill("KILL").ok();
    run.wait();
}

/// What is kept does what it is kept for: root of a container writes where others own it.
fn capabilities_are_of_use(case: &Case) {
    let granted = |config: &mut Value| {
        for set in ["bounding", "effective", "permitted"] {
            config["process"]["capabilities"][set] = json!(["CAP_DAC_OVERRIDE", "CAP_CHOWN"]);
        }
    };
    for (edit, code) in [
        (&granted as &dyn Fn(&mut Value), 0),
        (
            &|config: &mut Value| config["process"]["capabilities"] = json!({}),
            // WASI's number for a permission that is denied.
            2,
        ),
    ] {
        let container = guest_with(case, "file", &["/theirs/new", "x"], |config| edit(config));
        fs::create_dir(container.rootfs("theirs")).expect("a directory");
        let closed = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        fs::set_permissions(container.rootfs("theirs"), closed).expect("it is ours");
        std::os::unix::fs::chown(container.rootfs("theirs"), Some(1000), Some(1000)).expect("chown");
        container.run().code_is(code);
    }
}

/// A startContainer hook is a program that this process executes, before the guest.
fn hooks_of_the_container_run_first(case: &Case) {
    let container = guest_with(case, "hello", &[], |config| {
        let hook = json!({ "path": "/bin/sh", "args": ["sh", "-c", "echo hooked >/tmp/hooked"] });
        config["hooks"]["startContainer"] = json!([hook]);
    });
    let output = container.run().ok();
    assert!(output.stdout.contains("Hello from Wasm"), "{output}");
    assert_eq!(container.read("tmp/hooked"), "hooked\n");
}

/// The container's own profile comes after Landlock, so it may know nothing of it.
fn profile_without_landlock(case: &Case) {
    let container = guest_with(case, "hello", &[], |config| {
        let calls = [
            "landlock_create_ruleset",
            "landlock_add_rule",
            "landlock_restrict_self",
        ];
        config["linux"]["seccomp"] = json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{ "names": calls, "action": "SCMP_ACT_KILL_PROCESS" }]
        });
    });
    assert!(container.run().ok().stdout.contains("Hello from Wasm"));
}
