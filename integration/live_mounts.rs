//! `mounts add` and `mounts remove`: what comes to a container that runs, where it may come, and who is refused.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};

use serde_json::{Value, json};

use crate::harness::bundle::map_ids;
use crate::harness::{Case, Container, Output, Test, guest, test};

pub fn tests() -> Vec<Test> {
    [
        test!(bind_mounts_come_and_go),
        test!(options_are_those_of_config_json),
        test!(new_file_systems),
        test!(what_cannot_come_is_refused),
        test!(one_upon_the_other),
        test!(destinations_are_read_alike),
        test!(other_files_than_plain_ones_are_refused),
        test!(a_file_onto_a_file),
        test!(relative_sources_start_from_the_current_directory),
        test!(all_or_none),
        test!(with_a_user_namespace),
        test!(without_namespaces_but_the_mounts),
        test!(links_of_the_container_stay_inside),
        test!(sources_below_the_root_are_the_container_s),
        test!(flags_that_a_user_namespace_locks_stay),
        test!(no_link_leads_onto_the_root),
        test!(procfs_is_not_to_be_covered),
        test!(the_root_stays),
        test!(what_is_not_mounted_is_not_removed),
        test!(a_created_container_takes_mounts),
        test!(paused_and_stopped_containers_are_refused),
        test!(a_guest_is_refused),
        test!(wrong_files_are_named),
        test!(the_host_keeps_its_mounts),
    ]
    .map(|test| test.wrun_only("it is a command of crun's"))
    .into()
}

fn change(container: &Container, verb: &str, mounts: &Value) -> Output {
    let case = container.case;
    let file = case.dir.join("mounts.json");
    fs::write(&file, mounts.to_string()).expect("a file");
    case.call(&["mounts", verb, &container.id, file.to_str().expect("UTF-8")])
}

fn running(case: &Case) -> Container<'_> {
    let container = case.container(&["sleep", "100"]);
    container.run_detached();
    container
}

/// A directory of the host with a file in it.
fn source(case: &Case) -> String {
    let path = case.dir.join("source");
    fs::create_dir_all(&path).expect("a directory");
    fs::write(path.join("file"), "of the host\n").expect("a file");
    case.path("source")
}

fn bind(source: &str, destination: &str, options: &[&str]) -> Value {
    let options: Vec<_> = ["bind"].iter().chain(options).collect();
    json!({ "source": source, "destination": destination, "options": options })
}

/// The line of what is mounted at a place of the container, as its own first process sees it.
fn mounted(container: &Container, path: &str) -> Option<String> {
    let table = container.sh("cat /proc/1/mountinfo");
    let line = table.lines().rfind(|line| line.split(' ').nth(4) == Some(path));
    line.map(str::to_owned)
}

fn bind_mounts_come_and_go(case: &Case) {
    let container = running(case);
    let mounts = json!([
        bind(&source(case), "/new/place", &["ro"]),
        bind(&source(case), "/mnt", &[])
    ]);
    change(&container, "add", &mounts).ok();
    assert_eq!(
        container.sh("cat /new/place/file /mnt/file"),
        "of the host\nof the host"
    );
    assert!(
        container
            .sh("touch /new/place/x 2>&1; true")
            .contains("Read-only")
    );
    container.sh("touch /mnt/x");
    assert!(case.dir.join("source/x").exists());
    change(&container, "remove", &mounts).ok();
    assert_eq!(mounted(&container, "/mnt"), None);
    assert_eq!(container.sh("ls -A /new/place /mnt"), "/mnt:\n\n/new/place:");
}

fn options_are_those_of_config_json(case: &Case) {
    let container = running(case);
    let mounts = json!([bind(
        &source(case),
        "/mnt",
        &["nosuid", "noexec", "noatime", "rro"]
    )]);
    change(&container, "add", &mounts).ok();
    let line = mounted(&container, "/mnt").expect("it is mounted");
    for option in ["ro", "nosuid", "noexec", "noatime"] {
        let options = line.split(' ').nth(5).expect("options");
        assert!(options.split(',').any(|own| own == option), "{option}: {line}");
    }
    let mounts = json!([bind(&source(case), "/tmp", &["nonsense"])]);
    case.names(
        &change(&container, "add", &mounts).code_is(1),
        &["nonsense", "mounts[0]"],
    );
}

fn new_file_systems(case: &Case) {
    let container = running(case);
    let mounts = json!([
        { "destination": "/scratch", "type": "tmpfs", "source": "tmpfs", "options": ["size=64k", "mode=1777", "nodev"] },
        { "destination": "/dev/mine", "type": "devpts", "source": "devpts", "options": ["newinstance"] }
    ]);
    change(&container, "add", &mounts).ok();
    let line = mounted(&container, "/scratch").expect("it is mounted");
    assert!(line.contains("size=64k") && line.contains("nodev"), "{line}");
    assert_eq!(container.sh("stat -c %a /scratch"), "1777");
    assert!(container.sh("ls /dev/mine").contains("ptmx"));
    change(&container, "remove", &mounts).ok();
}

/// None of them is left out: the whole list is refused.
fn what_cannot_come_is_refused(case: &Case) {
    let container = running(case);
    let good = bind(&source(case), "/mnt", &[]);
    for fstype in ["proc", "sysfs", "mqueue", "cgroup", "cgroup2"] {
        let bad = json!({ "destination": "/new", "type": fstype, "source": fstype });
        let refused = change(&container, "add", &json!([good, bad])).code_is(1);
        case.names(&refused, &["mounts[1].type", fstype]);
    }
    for bad in [
        bind("", "/dev", &["remount", "ro"]),
        json!({ "destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["remount", "ro"] }),
    ] {
        let refused = change(&container, "add", &json!([good, bad])).code_is(1);
        case.names(&refused, &["mounts[1].options", "remount"]);
    }
    let copy = json!({ "destination": "/etc", "type": "tmpfs", "source": "tmpfs", "options": ["tmpcopyup"] });
    let refused = change(&container, "add", &json!([copy])).code_is(1);
    case.names(&refused, &["mounts[0].options", "tmpcopyup"]);
    assert_eq!(mounted(&container, "/mnt"), None);
    assert!(!container.rootfs("new").exists());
}

/// The last that came goes first, and each once.
fn one_upon_the_other(case: &Case) {
    let container = running(case);
    for size in ["4k", "8k"] {
        let options = [format!("size={size}")];
        let mounts =
            json!([{ "destination": "/mnt", "type": "tmpfs", "source": "tmpfs", "options": options }]);
        change(&container, "add", &mounts).ok();
    }
    let gone = json!([{ "destination": "/mnt" }]);
    assert!(mounted(&container, "/mnt").expect("two").contains("size=8k"));
    change(&container, "remove", &gone).ok();
    assert!(mounted(&container, "/mnt").expect("one").contains("size=4k"));
    change(&container, "remove", &gone).ok();
    assert_eq!(mounted(&container, "/mnt"), None);
    case.names(&change(&container, "remove", &gone).code_is(1), &["/mnt"]);
}

/// A destination may begin with where the root is on the host, for both commands alike.
fn destinations_are_read_alike(case: &Case) {
    let container = running(case);
    for place in [
        container.rootfs("mnt").to_str().expect("UTF-8"),
        "mnt",
        "/x/.././mnt/",
    ] {
        let mounts = json!([bind(&source(case), place, &[])]);
        change(&container, "add", &mounts).ok();
        assert_eq!(container.sh("cat /mnt/file"), "of the host", "{place}");
        change(&container, "remove", &mounts).ok();
        assert_eq!(mounted(&container, "/mnt"), None, "{place}");
    }
}

fn other_files_than_plain_ones_are_refused(case: &Case) {
    let container = running(case);
    let large = case.dir.join("large.json");
    fs::File::create(&large)
        .expect("a file")
        .set_len(1 << 30)
        .expect("a hole");
    for verb in ["add", "remove"] {
        let file = case.path("large.json");
        let refused = case.call(&["mounts", verb, &container.id, &file]).code_is(1);
        case.names(&refused, &[&file, "larger"]);
        for file in ["/dev/zero", "/tmp"] {
            let refused = case.call(&["mounts", verb, &container.id, file]).code_is(1);
            case.names(&refused, &[file, "regular file"]);
        }
    }
}

fn a_file_onto_a_file(case: &Case) {
    let container = running(case);
    let file = format!("{}/file", source(case));
    let mounts = json!([
        bind(&file, "/etc/passwd", &["ro"]),
        bind(&file, "/a/new/file", &[])
    ]);
    change(&container, "add", &mounts).ok();
    assert_eq!(
        container.sh("cat /etc/passwd /a/new/file"),
        "of the host\nof the host"
    );
    change(&container, "remove", &mounts).ok();
    assert!(container.sh("cat /etc/passwd").starts_with("root:"));
}

fn relative_sources_start_from_the_current_directory(case: &Case) {
    let container = running(case);
    source(case);
    fs::write(
        case.dir.join("mounts.json"),
        json!([bind("source", "/mnt", &[])]).to_string(),
    )
    .expect("a file");
    let mut command = case.command(&["mounts", "add", &container.id, "mounts.json"]);
    command.current_dir(&case.dir);
    case.finish(command).ok();
    assert_eq!(container.sh("cat /mnt/file"), "of the host");
}

fn all_or_none(case: &Case) {
    let container = running(case);
    // The source is looked up first, the place last: either way nothing stays.
    for bad in [
        bind("/no/such/source", "/tmp", &[]),
        bind(&source(case), "/etc/passwd/x", &[]),
    ] {
        let mounts = json!([
            bind(&source(case), "/mnt", &[]),
            bind(&source(case), "/home", &[]),
            bad
        ]);
        case.names(&change(&container, "add", &mounts).code_is(1), &["mounts[2]"]);
        assert_eq!(mounted(&container, "/mnt"), None);
        assert_eq!(mounted(&container, "/home"), None);
    }
}

fn with_a_user_namespace(case: &Case) {
    let container = case.container_with(&["sleep", "100"], |config| map_ids(config, 100_000));
    for directory in [container.bundle.join("rootfs"), container.rootfs("mnt")] {
        std::os::unix::fs::chown(directory, Some(100_000), Some(100_000)).expect("our own directory");
    }
    container.run_detached();
    let mounts = json!([
        bind(&source(case), "/made/place", &["ro"]),
        { "destination": "/scratch", "type": "tmpfs", "source": "tmpfs" }
    ]);
    change(&container, "add", &mounts).ok();
    assert_eq!(container.sh("cat /made/place/file"), "of the host");
    // Root of the container owns what was made for it.
    assert_eq!(container.sh("stat -c %u /made /scratch"), "0\n0");
    assert_eq!(
        fs::metadata(container.rootfs("made")).expect("there").uid(),
        100_000
    );
    change(&container, "remove", &mounts).ok();
    assert_eq!(mounted(&container, "/scratch"), None);
}

fn without_namespaces_but_the_mounts(case: &Case) {
    let container = case.container_with(&["sleep", "100"], |config| {
        config["linux"]["namespaces"] = json!([{ "type": "mount" }]);
        config["hostname"] = json!("");
    });
    container.run_detached();
    let mounts = json!([bind(&source(case), "/mnt", &[])]);
    change(&container, "add", &mounts).ok();
    assert_eq!(container.sh("cat /mnt/file"), "of the host");
    change(&container, "remove", &mounts).ok();
    assert_eq!(container.sh("ls /mnt"), "");
    container.delete_with(&["--force"]).ok();
}

/// A running container can put anything where the source is said to be.
fn sources_below_the_root_are_the_container_s(case: &Case) {
    let container = running(case);
    let secret = source(case);
    container.sh(&format!(
        "mkdir /own && echo own >/own/file && ln -s {secret} /link"
    ));
    let rootfs = container.rootfs("");
    let below = |name: &str| rootfs.join(name).to_str().expect("UTF-8").to_owned();
    change(&container, "add", &json!([bind(&below("own"), "/a", &[])])).ok();
    assert_eq!(container.sh("cat /a/file"), "own");
    let refused = change(&container, "add", &json!([bind(&below("link"), "/b", &[])]));
    assert!(
        !refused.status.success() && refused.stderr.contains("open the source"),
        "{refused}"
    );
    container.sh("! test -e /b/file");
}

fn links_of_the_container_stay_inside(case: &Case) {
    let container = case.container(&["sleep", "100"]);
    let outside = case.dir.join("outside");
    fs::create_dir(&outside).expect("a directory");
    symlink(&outside, container.rootfs("absolute")).expect("a link");
    let up = "../".repeat(20) + outside.to_str().expect("UTF-8").trim_start_matches('/');
    symlink(up, container.rootfs("climbing")).expect("a link");
    container.run_detached();
    for place in [
        "/absolute",
        "/climbing",
        "/absolute/below",
        "/tmp/../../../climbing",
    ] {
        let mounts = json!([bind(&source(case), place, &[])]);
        change(&container, "add", &mounts).ok();
        assert_eq!(
            container.sh(&format!("cat {place}/file")),
            "of the host",
            "{place}"
        );
        assert!(
            !outside.join("file").exists() && !outside.join("below").exists(),
            "{place}"
        );
        change(&container, "remove", &mounts).ok();
        container.sh(&format!("test ! -e {place}/file"));
    }
    assert_eq!(fs::read_dir(&outside).expect("there").count(), 0);
}

fn flags_that_a_user_namespace_locks_stay(case: &Case) {
    let container = case.container_with(&["sleep", "100"], |config| map_ids(config, 100_000));
    std::os::unix::fs::chown(container.rootfs("mnt"), Some(100_000), Some(100_000))
        .expect("our own directory");
    container.run_detached();
    let source = source(case);
    let host = |arguments: &[&str]| {
        let mut command = std::process::Command::new("mount");
        command.args(arguments);
        case.finish(command).ok();
    };
    host(&["-t", "tmpfs", "none", &source]);
    host(&["-o", "remount,bind,ro,nodev", &source]);
    let mut refused = Vec::new();
    for options in [&["rw"][..], &["rrw"], &["rdev"]] {
        refused.push(change(
            &container,
            "add",
            &json!([bind(&source, "/mnt", options)]),
        ));
    }
    let kept = change(&container, "add", &json!([bind(&source, "/mnt", &["nosuid"])]));
    rustix::mount::unmount(&source, rustix::mount::UnmountFlags::DETACH).expect("it is mounted");
    for refused in refused {
        case.names(&refused.code_is(1), &["/mnt", "operation not permitted"]);
    }
    kept.ok();
    let line = mounted(&container, "/mnt").expect("it is mounted");
    assert!(line.contains(" ro,nosuid,nodev"), "{line}");
}

fn no_link_leads_onto_the_root(case: &Case) {
    let container = running(case);
    container.sh("ln -s / /vol; ln -s ../.. /tmp/up");
    for place in ["/vol", "/tmp/up"] {
        let refused = change(&container, "add", &json!([bind(&source(case), place, &[])]));
        case.names(&refused.code_is(1), &[place, "the root of the container"]);
    }
}

fn procfs_is_not_to_be_covered(case: &Case) {
    let container = running(case);
    for place in ["/proc", "/proc/sys", "/proc/self/attr"] {
        let output = change(&container, "add", &json!([bind(&source(case), place, &[])]));
        case.names(&output.code_is(1), &[place, "proc"]);
    }
}

fn the_root_stays(case: &Case) {
    let container = running(case);
    for place in ["/", "/tmp/.."] {
        let mounts = json!([bind(&source(case), place, &[])]);
        case.names(&change(&container, "add", &mounts).code_is(1), &["root"]);
    }
    let root = json!([{ "destination": "/" }]);
    change(&container, "remove", &root).code_is(1);
    assert_eq!(container.sh("cat /proc/1/comm"), "sleep");
}

fn what_is_not_mounted_is_not_removed(case: &Case) {
    let container = running(case);
    for place in ["/mnt", "/none"] {
        let output = change(&container, "remove", &json!([{ "destination": place }]));
        case.names(&output.code_is(1), &[place]);
    }
}

fn a_created_container_takes_mounts(case: &Case) {
    let container = case.container(&["sh", "-c", "cat /mnt/file >/tmp/seen; sleep 100"]);
    container.create();
    change(&container, "add", &json!([bind(&source(case), "/mnt", &["ro"])])).ok();
    container.start();
    assert_eq!(container.wait_for_file("tmp/seen"), "of the host\n");
}

fn paused_and_stopped_containers_are_refused(case: &Case) {
    let container = running(case);
    let mounts = json!([bind(&source(case), "/mnt", &[])]);
    case.call(&["pause", &container.id]).ok();
    for verb in ["add", "remove"] {
        case.names(&change(&container, verb, &mounts).code_is(1), &["paused"]);
    }
    case.call(&["resume", &container.id]).ok();
    container.kill("KILL").ok();
    container.wait_for("stopped");
    for verb in ["add", "remove"] {
        case.names(&change(&container, verb, &mounts).code_is(1), &["stopped"]);
    }
    let missing = case.call(&["mounts", "add", "nobody", &case.path("mounts.json")]);
    case.names(&missing.code_is(1), &["does not exist"]);
}

/// Its root is a view of its own, in which the mounts would not be seen.
fn a_guest_is_refused(case: &Case) {
    let container = case.container(&["/sleep.wasm"]);
    container.write("sleep.wasm", guest::binary("sleep"), 0o644);
    container.run_detached();
    let output = change(&container, "add", &json!([bind(&source(case), "/mnt", &[])]));
    case.names(&output.code_is(1), &["Wasm"]);
}

fn wrong_files_are_named(case: &Case) {
    let container = running(case);
    case.names(
        &change(&container, "add", &json!({ "mounts": [] })).code_is(1),
        &["mounts.json"],
    );
    case.names(
        &change(&container, "add", &json!([{ "destination": 1 }])).code_is(1),
        &["[0].destination"],
    );
    case.names(
        &change(&container, "remove", &json!([{}])).code_is(1),
        &["mounts[0].destination"],
    );
    let output = case.call(&["mounts", "add", &container.id, "/no/such.json"]);
    case.names(&output.code_is(1), &["/no/such.json"]);
}

fn the_host_keeps_its_mounts(case: &Case) {
    let table = || fs::read_to_string("/proc/self/mountinfo").expect("our own mounts");
    let ours = |table: String| -> Vec<String> {
        let lines = table.lines().filter(|line| line.contains(&case.mark));
        lines.map(str::to_owned).collect()
    };
    let container = running(case);
    let before = ours(table());
    let mounts = json!([
        bind(&source(case), "/mnt", &["rshared"]),
        { "destination": "/mnt/inner", "type": "tmpfs", "source": "tmpfs" }
    ]);
    change(&container, "add", &mounts).ok();
    assert_eq!(ours(table()), before);
    let back: Vec<_> = mounts.as_array().expect("a list").iter().rev().cloned().collect();
    change(&container, "remove", &Value::from(back)).ok();
    assert_eq!(ours(table()), before);
}
