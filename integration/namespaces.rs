//! Namespaces, new and joined by path; id maps; time offsets; host name, domain name and sysctl.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::harness::bundle::{add_mount, map_ids, remove_namespace, set_namespace};
use crate::harness::{Case, Container, Need, Test, test};

pub fn tests() -> Vec<Test> {
    vec![
        test!(new_ones_differ_from_the_host).covers(&[
            "linux.namespaces.type",
            "linux.namespaces.type={pid,network,ipc,uts,mount,cgroup}",
        ]),
        test!(left_out_ones_are_the_host_s).covers(&["linux.namespaces.type"]),
        test!(without_a_mount_namespace)
            .covers(&["linux.namespaces.type"])
            .wrun_only("runc makes all mounts of the host slaves for it"),
        test!(what_fails_without_a_mount_namespace_leaves_nothing_mounted)
            .wrun_only("runc leaves it mounted"),
        test!(network_joined_by_path).covers(&["linux.namespaces.path"]),
        test!(network_joined_by_a_pinned_file).covers(&["linux.namespaces.path"]),
        test!(ipc_and_uts_joined_by_path).covers(&["linux.namespaces.path"]),
        test!(pid_joined_by_path).covers(&["linux.namespaces.path"]),
        test!(user_joined_by_path_with_its_network)
            .covers(&["linux.namespaces.path"])
            .runc_from(2, "the map of a joined user namespace"),
        test!(user_joined_by_path_and_its_map_named)
            .covers(&["linux.namespaces.path", "linux.uidMappings.hostID"]),
        test!(cgroup_namespace_hides_the_host_s_path),
        test!(named_twice_is_refused),
        test!(loopback_is_up_in_a_new_network),
        test!(id_map_of_a_range).covers(&[
            "linux.{uidMappings,gidMappings}.{hostID,containerID,size}",
            "linux.namespaces.type=user",
        ]),
        test!(id_map_of_several_entries).covers(&["linux.uidMappings.{hostID,containerID,size}"]),
        test!(user_namespace_without_a_map_is_refused),
        test!(mapped_root_owns_its_terminals_and_mounts),
        test!(user_that_is_not_mapped_is_refused),
        test!(time_offsets)
            .covers(&["linux.timeOffsets.{secs,nanosecs}", "linux.namespaces.type=time"])
            .needs(Need::TimeNamespace)
            .runc_from(2, "time namespaces"),
        test!(time_offsets_without_a_namespace_are_refused)
            .covers(&["linux.timeOffsets.secs"])
            .runc_from(2, "time namespaces"),
        test!(host_name).covers(&["hostname"]),
        test!(host_name_without_a_namespace_is_refused).covers(&["hostname"]),
        test!(domain_name)
            .covers(&["domainname"])
            .runc_from(2, "the domain name"),
        test!(sysctl_of_a_namespace).covers(&["linux.sysctl"]),
        test!(sysctl_of_a_shared_namespace_is_refused).covers(&["linux.sysctl"]),
        test!(sysctl_that_does_not_exist_is_refused).covers(&["linux.sysctl"]),
    ]
}

const KINDS: [(&str, &str); 6] = [
    ("pid", "pid"),
    ("network", "net"),
    ("ipc", "ipc"),
    ("uts", "uts"),
    ("mount", "mnt"),
    ("cgroup", "cgroup"),
];

/// The name of a process's namespace, such as `net:[4026531840]`.
fn namespace(pid: &str, file: &str) -> String {
    let path = format!("/proc/{pid}/ns/{file}");
    fs::read_link(&path)
        .unwrap_or_else(|error| panic!("{path}: {error}"))
        .to_string_lossy()
        .into_owned()
}

/// The names of the container's namespaces, as its own first process sees them.
fn own_namespaces(container: &Container) -> String {
    container.run().ok().stdout
}

/// A container that runs until it is deleted.
fn sleeper_with<'case>(case: &'case Case, edit: impl FnOnce(&mut Value)) -> Container<'case> {
    let container = case.container_with(&["sleep", "1000"], edit);
    container.run_detached();
    container
}

fn new_ones_differ_from_the_host(case: &Case) {
    let container = case.container_with(
        &["sh", "-c", "for file in /proc/self/ns/*; do readlink $file; done"],
        |config| {
            for (kind, _) in KINDS {
                set_namespace(config, kind, None);
            }
        },
    );
    let own = own_namespaces(&container);
    for (_, file) in KINDS {
        assert!(own.contains(&format!("{file}:[")), "{own}");
        assert!(
            !own.contains(&namespace("self", file)),
            "{file} is the host's: {own}"
        );
    }
    assert!(own.contains(&namespace("self", "user")), "{own}");
}

fn left_out_ones_are_the_host_s(case: &Case) {
    let container = case.container_with(
        &["sh", "-c", "for file in /proc/self/ns/*; do readlink $file; done"],
        |config| {
            for kind in ["pid", "network", "ipc", "uts"] {
                remove_namespace(config, kind);
            }
            config.as_object_mut().expect("an object").remove("hostname");
            // sysfs belongs to the network namespace, and mqueue to that of ipc; both can be mounted as root.
        },
    );
    let own = own_namespaces(&container);
    for file in ["pid", "net", "ipc", "uts", "cgroup"] {
        assert!(
            own.contains(&namespace("self", file)),
            "{file} is not the host's: {own}"
        );
    }
}

/// A container whose mounts are the host's.
fn on_the_host<'case>(case: &'case Case, script: &str, edit: impl FnOnce(&mut Value)) -> Container<'case> {
    case.script_with(script, |config| {
        remove_namespace(config, "mount");
        let linux = config["linux"].as_object_mut().expect("an object");
        linux.remove("maskedPaths");
        linux.remove("readonlyPaths");
        edit(config);
    })
}

/// What is mounted at a path of the host and below, as mountinfo has it, and the host's root.
fn mounted(path: &Path) -> (Vec<String>, String) {
    let table = fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
    let point = |line: &&str| {
        line.split(' ')
            .nth(4)
            .map(Path::new)
            .map(Path::to_owned)
            .expect("a path")
    };
    let root = table
        .lines()
        .find(|line| point(line) == Path::new("/"))
        .expect("a root");
    let below = table
        .lines()
        .filter(|line| point(line).starts_with(path))
        .map(str::to_owned);
    (below.collect(), root.to_owned())
}

/// The root is the container's, and what is mounted for it stays, with nothing else of the host's changed. Nobody comes
/// to it any more, since its mount namespace does not lead to its root.
fn without_a_mount_namespace(case: &Case) {
    let dir = case.path("");
    let script = format!("readlink /proc/self/ns/mnt; touch /new; ls -d {dir} /marker /proc/1; sleep 1000");
    let container = on_the_host(case, &script, |config| config["root"]["readonly"] = json!(true));
    container.write("marker", "", 0o644);
    let rootfs = container.rootfs("");
    let before = mounted(&rootfs);
    assert!(before.0.is_empty(), "{before:?}");
    let running = case.start(container.command("run", &[]));
    let output = crate::harness::command::eventually("it has tried to write", || {
        let output = running.stdout();
        output.contains("/proc/1").then_some(output)
    });
    let refused = container.exec(&["true"]);
    container.kill("KILL");
    let ended = running.wait();
    let after = mounted(&rootfs);
    rustix::mount::unmount(&rootfs, rustix::mount::UnmountFlags::DETACH).expect("it is mounted");
    assert!(output.contains(&namespace("self", "mnt")), "{output}");
    assert!(
        output.contains("/marker") && !output.contains(&dir),
        "the host's root: {output}"
    );
    assert!(ended.stderr.contains("Read-only file system"), "{ended}");
    assert!(refused.stderr.contains("without a mount namespace"), "{refused}");
    assert!(
        after.0.iter().any(|line| line.contains("/rootfs/proc ")),
        "{after:?}"
    );
    assert!(!after.0.iter().any(|line| line.contains(" shared:")), "{after:?}");
    assert_eq!(after.1, before.1, "the host's root has another propagation");
    assert!(mounted(&rootfs).0.is_empty());
}

fn what_fails_without_a_mount_namespace_leaves_nothing_mounted(case: &Case) {
    let container = on_the_host(case, "true", |config| {
        add_mount(config, "/mnt", "tmpfs", "tmpfs", &["nonsense=1"]);
    });
    case.names(&container.run().code_is(1), &["/mnt", "nonsense"]);
    assert_eq!(mounted(&container.rootfs("")).0, Vec::<String>::new());
    // Nor where it fails after the root has become that: with its rights, and without.
    for (cwd, program, named) in [("/file", "true", "/file"), ("/", "/no/such", "/no/such")] {
        let container = on_the_host(case, "true", |config| {
            config["process"]["cwd"] = json!(cwd);
            config["process"]["args"] = json!([program]);
        });
        container.write("file", "", 0o644);
        let output = container.run();
        assert!(!output.status.success(), "{output}");
        case.names(&output, &[named]);
        assert_eq!(mounted(&container.rootfs("")).0, Vec::<String>::new(), "{named}");
    }
    case.nothing_left();
}

fn network_joined_by_path(case: &Case) {
    let first = sleeper_with(case, |_| {});
    let path = format!("/proc/{}/ns/net", first.pid());
    let second = sleeper_with(case, |config| set_namespace(config, "network", Some(&path)));
    let (first, second) = (first.pid().to_string(), second.pid().to_string());
    assert_eq!(namespace(&first, "net"), namespace(&second, "net"));
    assert_ne!(namespace(&first, "ipc"), namespace(&second, "ipc"));
}

/// As Podman and containerd hand a sandbox's network over.
fn network_joined_by_a_pinned_file(case: &Case) {
    let file = case.dir.join("netns");
    fs::write(&file, "").expect("a file");
    let mut unshare = Command::new("unshare");
    unshare.arg(format!("--net={}", file.display())).arg("true");
    case.finish(unshare).ok();
    let container = sleeper_with(case, |config| set_namespace(config, "network", file.to_str()));
    let inode = std::os::unix::fs::MetadataExt::ino(&fs::metadata(&file).expect("the pinned namespace"));
    assert_eq!(
        namespace(&container.pid().to_string(), "net"),
        format!("net:[{inode}]")
    );
    container.delete_with(&["--force"]).ok();
    assert!(fs::metadata(&file).is_ok_and(|file| std::os::unix::fs::MetadataExt::ino(&file) == inode));
    rustix::mount::unmount(&file, rustix::mount::UnmountFlags::empty()).expect("it is pinned");
}

fn ipc_and_uts_joined_by_path(case: &Case) {
    let first = sleeper_with(case, |_| {});
    let pid = first.pid();
    let second = sleeper_with(case, |config| {
        set_namespace(config, "ipc", Some(&format!("/proc/{pid}/ns/ipc")));
        set_namespace(config, "uts", Some(&format!("/proc/{pid}/ns/uts")));
        config.as_object_mut().expect("an object").remove("hostname");
    });
    for kind in ["ipc", "uts"] {
        assert_eq!(
            namespace(&pid.to_string(), kind),
            namespace(&second.pid().to_string(), kind)
        );
    }
    assert_eq!(second.sh("hostname"), "testhost");
}

fn pid_joined_by_path(case: &Case) {
    let first = sleeper_with(case, |_| {});
    let path = format!("/proc/{}/ns/pid", first.pid());
    let second = sleeper_with(case, |config| set_namespace(config, "pid", Some(&path)));
    assert_eq!(
        namespace(&first.pid().to_string(), "pid"),
        namespace(&second.pid().to_string(), "pid")
    );
    let seen = second.sh("ps -o pid,args");
    assert_eq!(seen.matches("sleep 1000").count(), 2, "{seen}");
    // Its end is not the end of the namespace.
    second.kill("KILL").ok();
    second.wait_for("stopped");
    second.delete();
    assert_eq!(first.status(), "running");
}

/// Joins a container's user and network namespace; `edit` adds to that.
fn join_user_and_network(case: &Case, edit: impl FnOnce(&mut Value)) {
    let first = sleeper_with(case, |config| map_ids(config, 100_000));
    let pid = first.pid();
    let second = sleeper_with(case, |config| {
        edit(config);
        set_namespace(config, "user", Some(&format!("/proc/{pid}/ns/user")));
        set_namespace(config, "network", Some(&format!("/proc/{pid}/ns/net")));
    });
    for kind in ["user", "net"] {
        assert_eq!(
            namespace(&pid.to_string(), kind),
            namespace(&second.pid().to_string(), kind),
            "{kind}"
        );
    }
    assert_eq!(second.sh("id -u"), "0");
    assert_eq!(
        second.sh("cat /proc/self/uid_map").split_whitespace().nth(1),
        Some("100000")
    );
}

fn user_joined_by_path_with_its_network(case: &Case) {
    join_user_and_network(case, |_| {});
}

fn user_joined_by_path_and_its_map_named(case: &Case) {
    join_user_and_network(case, |config| map_ids(config, 100_000));
}

fn cgroup_namespace_hides_the_host_s_path(case: &Case) {
    let container = case.container_with(&["cat", "/proc/self/cgroup"], |config| {
        set_namespace(config, "cgroup", None);
    });
    let output = container.run().ok();
    assert!(!output.stdout.contains(&container.id), "{output}");
}

fn named_twice_is_refused(case: &Case) {
    let container = case.container_with(&["true"], |config| {
        let list = config["linux"]["namespaces"].as_array_mut().expect("namespaces");
        list.push(json!({ "type": "network" }));
    });
    case.names(&container.run().code_is(1), &["network"]);
    case.nothing_left();
}

fn loopback_is_up_in_a_new_network(case: &Case) {
    let output = case.container(&["ifconfig", "lo"]).run().ok();
    assert!(
        output.stdout.contains("UP") && output.stdout.contains("127.0.0.1"),
        "{output}"
    );
}

fn id_map_of_a_range(case: &Case) {
    let script = "id -u; id -g; cat /proc/self/uid_map /proc/self/gid_map; touch /tmp/file";
    let container = case.script_with(script, |config| map_ids(config, 100_000));
    std::os::unix::fs::chown(container.rootfs("tmp"), Some(100_000), Some(100_000)).expect("chown");
    let output = container.run().ok();
    let words: Vec<_> = output.stdout.split_whitespace().collect();
    assert_eq!(
        words,
        ["0", "0", "0", "100000", "65536", "0", "100000", "65536"],
        "{output}"
    );
    let file = fs::metadata(container.rootfs("tmp/file")).expect("the file");
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&file), 100_000);
}

fn id_map_of_several_entries(case: &Case) {
    let container = case.container_with(&["cat", "/proc/self/uid_map"], |config| {
        map_ids(config, 100_000);
        config["linux"]["uidMappings"] = json!([
            { "containerID": 0, "hostID": 200_000, "size": 10 },
            { "containerID": 10, "hostID": 300_000, "size": 20 },
            { "containerID": 1000, "hostID": 0, "size": 1 },
        ]);
    });
    let output = container.run().ok();
    let lines: Vec<Vec<_>> = output
        .lines()
        .iter()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(
        lines,
        [["0", "200000", "10"], ["10", "300000", "20"], ["1000", "0", "1"]]
    );
}

fn user_namespace_without_a_map_is_refused(case: &Case) {
    let container = case.container_with(&["true"], |config| set_namespace(config, "user", None));
    case.names(&container.run().code_is(1), &["user namespace"]);
    case.nothing_left();
}

fn mapped_root_owns_its_terminals_and_mounts(case: &Case) {
    let script = "stat -c '%u %n' /dev /dev/pts /dev/shm /proc/1/status; touch /dev/shm/x && echo may write; \
                  echo >/dev/null && test -c /dev/zero && echo devices work";
    let container = case.script_with(script, |config| map_ids(config, 100_000));
    let output = container.run().ok();
    assert!(
        !output.stdout.contains("65534"),
        "something belongs to nobody: {output}"
    );
    assert!(output.stdout.contains("may write\ndevices work\n"), "{output}");
}

fn user_that_is_not_mapped_is_refused(case: &Case) {
    let container = case.container_with(&["true"], |config| {
        map_ids(config, 100_000);
        config["process"]["user"]["uid"] = json!(70_000);
    });
    case.names(&container.run().code_is(1), &["70000"]);
    case.nothing_left();
}

fn time_offsets(case: &Case) {
    let week = 7 * 24 * 3600;
    let container = case.container_with(&["cat", "/proc/uptime", "/proc/self/timens_offsets"], |config| {
        set_namespace(config, "time", None);
        config["linux"]["timeOffsets"] =
            json!({ "monotonic": { "secs": week, "nanosecs": 5 }, "boottime": { "secs": week } });
    });
    let host = fs::read_to_string("/proc/uptime").expect("the uptime");
    let seconds = |text: &str| {
        text.split(['.', ' '])
            .next()
            .and_then(|word| word.parse::<i64>().ok())
    };
    let (host, output) = (seconds(&host).expect("seconds"), container.run().ok());
    let own = seconds(&output.stdout).expect("seconds");
    assert!(
        (host + week..host + week + 120).contains(&own),
        "{host} and {own}"
    );
    let words: Vec<_> = output.stdout.split_whitespace().skip(2).collect();
    assert_eq!(
        words,
        ["monotonic", "604800", "5", "boottime", "604800", "0"],
        "{output}"
    );
}

fn time_offsets_without_a_namespace_are_refused(case: &Case) {
    let container = case.container_with(&["true"], |config| {
        config["linux"]["timeOffsets"] = json!({ "boottime": { "secs": 1 } });
    });
    case.names(&container.run().code_is(1), &["time namespace"]);
    case.nothing_left();
}

fn host_name(case: &Case) {
    let container = case.container_with(&["hostname"], |config| config["hostname"] = json!("another"));
    assert_eq!(container.run().ok().stdout, "another\n");
}

fn host_name_without_a_namespace_is_refused(case: &Case) {
    let container = case.container_with(&["hostname"], |config| remove_namespace(config, "uts"));
    case.names(&container.run().code_is(1), &["hostname", "uts"]);
    case.nothing_left();
}

fn domain_name(case: &Case) {
    let container = case.container_with(&["cat", "/proc/sys/kernel/domainname"], |config| {
        config["domainname"] = json!("example.org");
    });
    assert_eq!(container.run().ok().stdout, "example.org\n");
}

fn sysctl_of_a_namespace(case: &Case) {
    let script =
        "cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/shm_rmid_forced /proc/sys/fs/mqueue/msg_max";
    let container = case.script_with(script, |config| {
        config["linux"]["sysctl"] = json!({
            "net.ipv4.ip_forward": "1", "kernel.shm_rmid_forced": "1", "fs.mqueue.msg_max": "77"
        });
    });
    assert_eq!(container.run().ok().stdout, "1\n1\n77\n");
}

fn sysctl_of_a_shared_namespace_is_refused(case: &Case) {
    let container = case.container_with(&["true"], |config| {
        remove_namespace(config, "network");
        config["linux"]["sysctl"] = json!({ "net.ipv4.ip_forward": "1" });
    });
    case.names(&container.run().code_is(1), &["net.ipv4.ip_forward"]);
    case.nothing_left();
}

fn sysctl_that_does_not_exist_is_refused(case: &Case) {
    let container = case.container_with(&["true"], |config| {
        config["linux"]["sysctl"] = json!({ "net.nonsense": "1" });
    });
    case.names(&container.run().code_is(1), &["net"]);
    case.nothing_left();
}
