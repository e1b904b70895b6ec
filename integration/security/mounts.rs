//! Mounts that come to a container that runs, and go: nothing that protects the host from the container goes with them,
//! and the process that changes them is in nobody's sight.

use super::*;
use crate::harness::Output;

pub fn tests() -> Vec<Test> {
    [
        test!(protection_is_not_unmounted),
        test!(protection_is_not_unmounted_through_a_link),
        test!(a_failed_add_unmounts_no_protection),
        test!(what_the_container_mounts_is_not_removed),
        test!(who_changes_mounts_is_not_seen),
        test!(who_changes_mounts_is_not_looked_into),
    ]
    .map(|test| test.wrun_only("it is a command of crun's"))
    .into()
}

fn change(container: &Container, verb: &str, mounts: &Value) -> Output {
    let file = container.case.dir.join("mounts.json");
    fs::write(&file, mounts.to_string()).expect("a file");
    let file = file.to_str().expect("UTF-8");
    container.case.call(&["mounts", verb, &container.id, file])
}

fn add(container: &Container, destination: &str) -> Output {
    change(container, "add", &tmpfs(destination))
}

fn remove(container: &Container, destination: &str) -> Output {
    change(container, "remove", &json!([{ "destination": destination }]))
}

fn tmpfs(destination: &str) -> Value {
    json!([{ "destination": destination, "type": "tmpfs", "source": "tmpfs" }])
}

/// The container's mounts: where each is, in order.
fn table(container: &Container) -> Vec<String> {
    let table = fs::read_to_string(container.proc("mountinfo")).expect("its mounts");
    let place = |line: &str| line.split(' ').nth(4).expect("a place").to_owned();
    table.lines().map(place).collect()
}

/// With masks and read-only paths, as engines have them.
fn protected<'c>(case: &'c Case, script: &str) -> Container<'c> {
    let container = case.script_with(script, |config| {
        config["linux"]["maskedPaths"] = json!(["/proc/kcore", "/proc/keys", "/sys/firmware"]);
        config["linux"]["readonlyPaths"] = json!(["/proc/sys", "/proc/irq"]);
        let readonly =
            json!({ "destination": "/opt", "type": "tmpfs", "source": "tmpfs", "options": ["ro"] });
        let mounts = config["mounts"].as_array_mut().expect("mounts");
        mounts.push(readonly);
    });
    container.run_detached();
    container
}

fn protection_is_not_unmounted(case: &Case) {
    let container = protected(case, "sleep 100");
    let before = table(&container);
    for place in [
        "/",
        "/proc",
        "/proc/sys",
        "/proc/irq",
        "/proc/kcore",
        "/proc/keys",
        "/dev",
        "/dev/pts",
        "/opt",
        "/tmp/../proc/sys",
        "/proc/self/root/proc/sys",
    ] {
        assert!(before.iter().any(|mount| mount == "/proc/sys"), "{before:?}");
        let refused = remove(&container, place).code_is(1);
        assert!(refused.stderr.contains("mounts add"), "{place}: {refused}");
        assert_eq!(table(&container), before, "{place}");
    }
}

/// A container without capabilities of note puts a link where a directory was whose mount is to be removed.
fn protection_is_not_unmounted_through_a_link(case: &Case) {
    let container = protected(case, "sleep 100");
    add(&container, "/tmp/x/sys").ok();
    add(&container, "/tmp/x/kcore").ok();
    let before = table(&container);
    container.sh("mv /tmp/x /tmp/y && ln -s /proc /tmp/x");
    for place in ["/tmp/x/sys", "/tmp/x/kcore"] {
        case.names(&remove(&container, place).code_is(1), &[place, "mounts add"]);
    }
    container.sh("rm /tmp/x && mkdir /tmp/x && ln -s /proc/sys /tmp/x/sys");
    remove(&container, "/tmp/x/sys").code_is(1);
    // Nor is another one of its own taken for it.
    container.sh("rm /tmp/x/sys && ln -s /tmp/y/kcore /tmp/x/sys");
    remove(&container, "/tmp/x/sys").code_is(1);
    let after = table(&container);
    assert_eq!(after.len(), before.len(), "{after:?}");
    assert!(after.iter().any(|place| place == "/proc/sys"));
    container.sh("! (echo x >/proc/sys/kernel/core_pattern) 2>/dev/null");
    // Back in its place it can be removed.
    container.sh("rm -r /tmp/x && mv /tmp/y /tmp/x");
    remove(&container, "/tmp/x/sys").ok();
    remove(&container, "/tmp/x/kcore").ok();
    assert_eq!(table(&container).len(), before.len() - 2);
}

/// The list fails at its end, while the container changes the place of its beginning again and again.
fn a_failed_add_unmounts_no_protection(case: &Case) {
    let container = protected(
        case,
        "mkdir /tmp/d; ln -s /proc /tmp/l; echo up >/up
         while :; do
             mv -T /tmp/d /tmp/x; mv -T /tmp/x /tmp/d; mv -T /tmp/l /tmp/x; mv -T /tmp/x /tmp/l
         done",
    );
    container.wait_for_file("up");
    let protection = |mount: &String| mount.starts_with("/proc/") || mount == "/opt";
    let before: Vec<String> = table(&container).into_iter().filter(protection).collect();
    // Many in between, so that there is time for that.
    let between = (0..100).flat_map(|n| tmpfs(&format!("/mnt/{n}")).as_array().cloned().expect("a list"));
    let between: Vec<Value> = between.collect();
    let ends = ["/tmp/x/sys", "/etc/passwd/none"].map(|place| tmpfs(place)[0].clone());
    let mounts = Value::from([&ends[..1], &between, &ends[1..]].concat());
    for _ in 0..15 {
        change(&container, "add", &mounts).code_is(1);
        let after: Vec<String> = table(&container).into_iter().filter(protection).collect();
        assert_eq!(after, before);
    }
    let left = table(&container)
        .into_iter()
        .filter(|mount| mount.starts_with("/tmp/") || mount.starts_with("/mnt/"));
    assert_eq!(left.collect::<Vec<_>>(), Vec::<String>::new(), "all or none");
}

fn what_the_container_mounts_is_not_removed(case: &Case) {
    let container = case.container_with(&["sleep", "100"], |config| {
        for set in ["bounding", "effective", "permitted"] {
            config["process"]["capabilities"][set] = json!(["CAP_SYS_ADMIN"]);
        }
    });
    container.run_detached();
    add(&container, "/mnt").ok();
    container.sh("mount -t tmpfs own /mnt");
    case.names(&remove(&container, "/mnt").code_is(1), &["/mnt", "mounts add"]);
    container.sh("umount /mnt");
    remove(&container, "/mnt").ok();
    // What the container has unmounted itself is nowhere any more.
    add(&container, "/mnt").ok();
    container.sh("umount /mnt && mount -t tmpfs own /mnt");
    remove(&container, "/mnt").code_is(1);
    assert!(container.sh("cat /proc/mounts").contains("own /mnt"));
}

const EVERY_CAPABILITY: [&str; 5] = [
    "CAP_SYS_PTRACE",
    "CAP_SYS_ADMIN",
    "CAP_DAC_READ_SEARCH",
    "CAP_DAC_OVERRIDE",
    "CAP_KILL",
];

fn watching<'c>(case: &'c Case, script: &str) -> Container<'c> {
    let container = case.script_with(script, |config| {
        for set in ["bounding", "effective", "permitted"] {
            config["process"]["capabilities"][set] = json!(EVERY_CAPABILITY);
        }
    });
    container.run_detached();
    container.wait_for_file("up");
    container
}

fn change_often(container: &Container) {
    for _ in 0..20 {
        add(container, "/mnt").ok();
        remove(container, "/mnt").ok();
    }
}

fn who_changes_mounts_is_not_seen(case: &Case) {
    // No process but the shell itself.
    let container = watching(
        case,
        "echo up >/up
         while :; do for p in /proc/[0-9]*; do [ $p = /proc/1 ] || echo $p >>/seen; done; done",
    );
    change_often(&container);
    assert!(!container.rootfs("seen").exists(), "{}", container.read("seen"));
}

/// In the pid namespace of the host, as some are, it is seen; but not without the host's rights.
fn who_changes_mounts_is_not_looked_into(case: &Case) {
    let container = case.script_with(
        "echo up >/up
         while :; do for p in /proc/[0-9]*; do
             for f in $p/fd/*; do [ -e $f/state.json ] && echo $f >>/seen; done
         done; done",
        |config| crate::harness::bundle::remove_namespace(config, "pid"),
    );
    container.run_detached();
    container.wait_for_file("up");
    change_often(&container);
    assert!(!container.rootfs("seen").exists(), "{}", container.read("seen"));
    container.delete_with(&["--force"]).ok();
}
