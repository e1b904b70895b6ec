//! What a guest cannot reach, and what confines its process.

use super::*;
use crate::harness::Need;
use crate::harness::facts::APPARMOR_PROFILE;

pub fn tests() -> Vec<Test> {
    vec![
        test!(guest_sees_no_host_file),
        test!(guest_leaves_the_root_by_no_link),
        test!(guest_sees_no_host_variable),
        test!(guest_reaches_none_of_our_descriptors),
        test!(guest_is_confined),
        test!(memory_limit_traps_or_refuses),
        test!(waiting_guest_holds_little_memory),
        test!(other_user),
        test!(apparmor_profile_of_a_guest).needs(Need::AppArmorProfile),
        test!(user_namespace),
    ]
}

/// `path` as a guest sees it must be a file that is not there, or one that it may not reach.
#[track_caller]
fn unreachable(case: &Case, path: &str, prepare: impl FnOnce(&Container)) {
    let container = guest_with(case, "file", &[path], |_| {});
    prepare(&container);
    let output = container.run();
    assert!(
        output.code() != 0 && output.stdout.is_empty(),
        "{path} was reached: {output}"
    );
}

fn guest_sees_no_host_file(case: &Case) {
    fs::write(case.dir.join("secret"), "the secret\n").expect("a file");
    let secret = case.path("secret");
    unreachable(case, &secret, |_| {});
    unreachable(case, &format!("/../../../../../../..{secret}"), |_| {});
    unreachable(case, "../bundle-0/config.json", |_| {});
}

fn guest_leaves_the_root_by_no_link(case: &Case) {
    fs::write(case.dir.join("secret"), "the secret\n").expect("a file");
    let secret = case.path("secret");
    for target in [
        secret.clone(),
        format!("../../../../../../../..{secret}"),
        format!("/proc/1/root{secret}"),
    ] {
        unreachable(case, "/link", |container| {
            symlink(&target, container.rootfs("link")).expect("a link")
        });
    }
}

fn guest_sees_no_host_variable(case: &Case) {
    let container = guest_with(case, "hello", &[], |config| {
        config["process"]["env"] = json!(["ONLY=this"])
    });
    let mut command = container.command("run", &[]);
    command.env("HOST_SECRET", "the secret");
    let output = case.finish(command).ok();
    let variables: Vec<_> = output
        .lines()
        .into_iter()
        .filter(|line| line.starts_with("env "))
        .collect();
    assert!(variables.contains(&"env ONLY=this"), "{output}");
    // HOME and PWD are what the container's own user and cwd make them.
    let others = variables.iter().filter(|line| {
        !["env ONLY=", "env HOME=", "env PWD="]
            .iter()
            .any(|own| line.starts_with(own))
    });
    assert_eq!(others.count(), 0, "{output}");
}

fn guest_reaches_none_of_our_descriptors(case: &Case) {
    for number in 3..16 {
        unreachable(case, &format!("/proc/self/fd/{number}"), |_| {});
        unreachable(case, &format!("/proc/1/fd/{number}"), |_| {});
    }
    unreachable(case, "/proc/self/exe", |_| {});
    unreachable(case, "/proc/self/mem", |_| {});
    unreachable(case, "/proc/self/environ", |_| {});
}

/// What the kernel says of a running guest's process.
fn guest_is_confined(case: &Case) {
    let (container, run) = start_endless(case, "sleep", "sleeping");
    let status = fs::read_to_string(container.proc("status")).expect("its status");
    let value = |name: &str| {
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix(&format!("{name}:\t")));
        line.unwrap_or_else(|| panic!("no {name} in {status}"))
            .trim()
            .to_owned()
    };
    assert_eq!(value("NoNewPrivs"), "1");
    assert_eq!(
        value("Seccomp"),
        "2",
        "our own allow-list is on top of the engine's profile"
    );
    container.kill("KILL").ok();
    run.wait();
}

fn memory_limit_traps_or_refuses(case: &Case) {
    let container = guest_with(case, "hog", &[], |config| {
        config["linux"]["resources"]["memory"] = json!({ "limit": 64 << 20, "swap": 64 << 20 });
    });
    let output = container.run();
    // Refused by memory.grow, so that the guest can say so; not killed.
    assert_eq!(
        (output.code(), output.stdout.as_str()),
        (3, "refused\n"),
        "{output}"
    );
}

/// Private dirty memory of a process, in kB (proc_pid_smaps(5)).
fn private_dirty(container: &Container) -> u64 {
    let text = fs::read_to_string(container.proc("smaps_rollup")).expect("smaps_rollup");
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("Private_Dirty:"))
        .expect("Private_Dirty");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// Ten times what the release build is held to by the benchmark: this is the test build.
fn waiting_guest_holds_little_memory(case: &Case) {
    let container = guest_with(case, "sleep", &[], |_| {});
    container.create();
    assert!(
        private_dirty(&container) < 5_000,
        "{} kB created",
        private_dirty(&container)
    );
    container.start();
    assert!(
        private_dirty(&container) < 10_000,
        "{} kB running",
        private_dirty(&container)
    );
}

/// A guest has no execve(2) at which the kernel would put the profile on.
fn apparmor_profile_of_a_guest(case: &Case) {
    let container = guest_with(case, "sleep", &[], |config| {
        config["process"]["apparmorProfile"] = json!(APPARMOR_PROFILE);
    });
    container.run_detached();
    let path = format!("/proc/{}/attr/current", container.pid());
    eventually("the guest is under its profile", || {
        let label = fs::read_to_string(&path).expect("the process lives");
        label.starts_with(APPARMOR_PROFILE).then_some(())
    });
    container.delete_with(&["--force"]).ok();
}

fn other_user(case: &Case) {
    let container = guest_with(case, "file", &["/tmp/new", "x"], |config| {
        config["process"]["user"] = json!({ "uid": 1000, "gid": 1000 });
    });
    fs::set_permissions(
        container.rootfs("tmp"),
        std::os::unix::fs::PermissionsExt::from_mode(0o1777),
    )
    .expect("it");
    container.run().ok();
    assert_eq!(
        fs::metadata(container.rootfs("tmp/new")).expect("the file").uid(),
        1000
    );
    // Engines grant capabilities whoever the user is; a program has them after execve(2) as root only.
    let denied = guest_with(case, "file", &["/root-alone", "x"], |config| {
        config["process"]["user"] = json!({ "uid": 1000, "gid": 1000 });
        for set in ["bounding", "effective", "permitted"] {
            config["process"]["capabilities"][set] = json!(["CAP_DAC_OVERRIDE"]);
        }
    });
    assert_ne!(denied.run().code(), 0);
    assert!(!denied.rootfs("root-alone").exists());
}

fn user_namespace(case: &Case) {
    let container = guest_with(case, "hello", &[], |config| {
        crate::harness::bundle::map_ids(config, 100_000)
    });
    assert!(container.run().ok().stdout.contains("Hello from Wasm"));
}
