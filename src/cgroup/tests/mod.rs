//! Real cgroups, made and removed on the host. They need root, and say so where they cannot run; the v1
//! tests need a v1 or hybrid host. The v2 tests run on a v2 host and, on a hybrid one, in a child of this
//! test program in a mount namespace where a v2 tree lies over /sys/fs/cgroup.

mod scopes;

use std::os::fd::AsRawFd;
use std::process::{Child, Command, Stdio};

use crate::plan::cgroup::{self as plan, CgroupMode};

use super::*;

/// Set for the child that sees a v2 tree.
const V2_CHILD: &str = "WRUN_TEST_CGROUP_V2";

fn is_host_root() -> bool {
    let map = mounts::read_proc("/proc/self/uid_map").unwrap();
    rustix::process::geteuid().is_root() && devices::is_initial_user_namespace(&map)
}

fn is_root() -> bool {
    let root = is_host_root();
    if !root {
        eprintln!("skipped: cgroups are made by root");
    }
    root
}

fn is_v2() -> bool {
    rustix::fs::statfs(mounts::V2_ROOT).is_ok_and(|fs| fs.f_type == 0x6367_7270)
}

fn on_v1() -> bool {
    let v1 = is_root() && !is_v2() && mounts::v1().is_ok();
    if !v1 {
        eprintln!("skipped: this is no cgroup v1 host");
    }
    v1
}

/// Whether the test goes on here; otherwise it has been run in a child, or cannot be.
fn on_v2(test: &str) -> bool {
    if !is_root() {
        return false;
    }
    if is_v2() {
        return true;
    }
    let script = "umount -R /sys/fs/cgroup && mount -t cgroup2 none /sys/fs/cgroup && exec \"$@\"";
    let output = Command::new("unshare")
        .args(["-m", "--propagation", "private", "sh", "-c", script, "sh"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--test-threads", "1"])
        .env(V2_CHILD, "1")
        .output()
        .expect("unshare(1)");
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    false
}

fn plan_of(json: &str, name: &str, mode: CgroupMode) -> CgroupPlan {
    let resources = serde_json::from_str(json).expect("the test's JSON");
    // A parent for each: whoever made one that another uses meanwhile leaves it.
    let path = format!("/wrun-test-{}-{name}/{name}", std::process::id());
    plan::build(Some(&resources), Some(&path), name, mode, false, false).expect("a plan")
}

/// A process that lives until it is killed, put in as the launch path would.
fn spawn(cgroup: &mut Cgroup, script: &str) -> Child {
    let entry = cgroup.entry().expect("an entry");
    // Command has no CLONE_INTO_CGROUP, so on v2 the shell moves itself.
    let procs = match &entry {
        Entry::Into(dir) => format!("/proc/{}/fd/{}/cgroup.procs", std::process::id(), dir.as_raw_fd()),
        _ => "/dev/null".to_owned(),
    };
    let tasks = match &entry {
        Entry::Tasks { tasks, .. } => tasks
            .iter()
            .map(|fd| format!("/proc/{}/fd/{}", std::process::id(), fd.as_raw_fd()))
            .collect(),
        _ => Vec::new(),
    };
    let mut child = Command::new("sh")
        .args([
            "-c",
            "for f; do echo 0 > $f; done; echo ready; eval \"$SCRIPT\"",
            "sh",
            &procs,
        ])
        .args(tasks)
        .env("SCRIPT", script)
        .stdout(Stdio::piped())
        .spawn()
        .expect("a shell");
    let mut ready = [0; 6];
    std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut ready).expect("the shell got in");
    child
}

fn exercise(mode: CgroupMode, name: &str, json: &str) {
    let mut cgroup = Cgroup::create(&plan_of(json, name, mode)).expect("create");
    let placement = cgroup.placement();
    assert!(
        placement.paths.values().all(|path| path.is_dir()),
        "{placement:?}"
    );
    assert!(cgroup.is_empty().unwrap());

    let mut child = spawn(&mut cgroup, "sleep 1000 & sleep 1000 & wait");
    let stored = Cgroup::open(&placement);
    while stored.processes().unwrap().len() < 3 {
        std::thread::yield_now();
    }
    assert!(!stored.is_empty().unwrap());
    let entry = stored
        .entry_for_exec(&[], child.id().cast_signed())
        .expect("an entry for exec");
    assert_eq!(
        entry.clone_into().is_some(),
        mode == CgroupMode::V2 || placement.paths.contains_key("")
    );
    let in_use = Cgroup::create(&plan_of(json, name, mode)).expect_err("a cgroup in use");
    assert!(matches!(in_use, CgroupError::InUse { .. }), "{in_use}");

    if stored.freezer().is_some_and(|tree| {
        tree.path
            .join(if tree.unified {
                "cgroup.freeze"
            } else {
                "freezer.state"
            })
            .exists()
    }) {
        stored.freeze().unwrap();
        assert!(stored.is_frozen().unwrap());
        stored.thaw().unwrap();
        assert!(!stored.is_frozen().unwrap());
        stored.freeze().unwrap();
    }
    stored.kill_and_wait().unwrap();
    child.wait().unwrap();
    assert!(stored.processes().unwrap().is_empty());
    assert_eq!(stored.oom_kills().unwrap(), 0);

    // What the container made below goes with it.
    for path in placement.paths.values() {
        std::fs::create_dir_all(path.join("a/b")).unwrap();
    }
    stored.remove().unwrap();
    stored.remove().expect("missing is fine");
    assert!(placement.paths.values().all(|path| !path.exists()));
    cgroup.discard().unwrap();
    assert!(
        placement
            .paths
            .values()
            .all(|path| !path.parent().unwrap().exists())
    );
    stored.signal_all(libc::SIGTERM).expect("nobody there is fine");
    stored.kill_and_wait().expect("nobody there is fine");
}

#[test]
fn a_cgroup_on_v1_from_birth_to_removal() {
    if !on_v1() {
        return;
    }
    exercise(
        CgroupMode::V1,
        "life",
        r#"{"pids": {"limit": 20}, "memory": {"limit": 104857600}}"#,
    );
}

#[test]
fn v1_settings_arrive() {
    if !on_v1() {
        return;
    }
    let json = r#"{"pids": {"limit": 20}, "memory": {"limit": 104857600, "swap": 209715200},
        "cpu": {"shares": 512, "quota": 20000, "period": 50000, "cpus": "0"}}"#;
    let mut cgroup = Cgroup::create(&plan_of(json, "settings", CgroupMode::V1)).expect("create");
    let read = |cgroup: &Cgroup, controller: &str, name: &str| {
        let path = &cgroup.placement().paths[controller];
        std::fs::read_to_string(path.join(name))
            .unwrap()
            .trim()
            .to_owned()
    };
    for (controller, name, value) in [
        ("pids", "pids.max", "20"),
        ("memory", "memory.limit_in_bytes", "104857600"),
        ("memory", "memory.memsw.limit_in_bytes", "209715200"),
        ("cpu", "cpu.shares", "512"),
        ("cpu", "cpu.cfs_quota_us", "20000"),
        ("cpu", "cpu.cfs_period_us", "50000"),
        ("cpuset", "cpuset.cpus", "0"),
    ] {
        assert_eq!(read(&cgroup, controller, name), value, "{name}");
    }
    assert!(!read(&cgroup, "cpuset", "cpuset.mems").is_empty());
    let devices = read(&cgroup, "devices", "devices.list");
    assert!(
        devices.contains("c 1:3 rwm") && !devices.contains("a *:*"),
        "{devices}"
    );
    // Raised past the old memsw, lowered below the old limit: either order of the two is taken.
    for json in [
        r#"{"memory": {"limit": 314572800, "swap": 419430400}}"#,
        r#"{"memory": {"limit": 52428800, "swap": 62914560}}"#,
    ] {
        cgroup
            .apply(&plan_of(json, "settings", CgroupMode::V1).settings)
            .expect(json);
    }
    assert_eq!(read(&cgroup, "memory", "memory.memsw.limit_in_bytes"), "62914560");
    cgroup.discard().unwrap();
}

#[test]
fn a_setting_that_fails_leaves_no_v1_cgroup() {
    if !on_v1() {
        return;
    }
    let plan = plan_of(r#"{"cpu": {"cpus": "4000"}}"#, "fails", CgroupMode::V1);
    let error = Cgroup::create(&plan).expect_err("no such processor");
    assert!(
        error
            .to_string()
            .starts_with("linux.resources.cpu.cpus: cannot write \"4000\" to "),
        "{error}"
    );
    let plan = plan_of(r#"{"rdma": {"x": {"hcaHandles": 1}}}"#, "fails", CgroupMode::V1);
    let error = Cgroup::create(&plan).expect_err("no such controller");
    assert!(
        error.to_string().contains("no cgroup controller \"rdma\""),
        "{error}"
    );
    let Location::Cgroupfs { path } = plan.location else {
        panic!("a path")
    };
    for tree in v1::locate(&path).unwrap() {
        assert!(!tree.path.parent().unwrap().exists(), "{}", tree.path.display());
    }
}

#[test]
fn a_device_that_is_not_allowed_cannot_be_opened_on_v1() {
    if !on_v1() {
        return;
    }
    let json = r#"{"devices": [{"allow": false, "access": "rwm"}]}"#;
    let mut cgroup = Cgroup::create(&plan_of(json, "devices", CgroupMode::V1)).expect("create");
    refuses_kmsg(&mut cgroup);
}

fn refuses_kmsg(cgroup: &mut Cgroup) {
    std::fs::File::open("/dev/kmsg").expect("outside of the container it opens");
    let script = "(exec 3< /dev/null) || exit 7; (exec 3< /dev/kmsg) && exit 8; exit 9";
    let mut child = spawn(cgroup, script);
    let status = child.wait().unwrap();
    cgroup.discard().unwrap();
    assert_eq!(status.code(), Some(9), "7: no /dev/null, 8: /dev/kmsg opens");
}

#[test]
fn a_cgroup_on_v2_from_birth_to_removal() {
    if !on_v2("cgroup::tests::a_cgroup_on_v2_from_birth_to_removal") {
        return;
    }
    exercise(CgroupMode::V2, "life", "{}");
}

#[test]
fn a_device_that_is_not_allowed_cannot_be_opened_on_v2() {
    if !on_v2("cgroup::tests::a_device_that_is_not_allowed_cannot_be_opened_on_v2") {
        return;
    }
    let json = r#"{"devices": [{"allow": false, "access": "rwm"}]}"#;
    let mut cgroup = Cgroup::create(&plan_of(json, "devices", CgroupMode::V2)).expect("create");
    refuses_kmsg(&mut cgroup);
}

#[test]
fn a_missing_controller_is_named_on_v2() {
    if !on_v2("cgroup::tests::a_missing_controller_is_named_on_v2") {
        return;
    }
    let plan = plan_of(r#"{"unified": {"nosuch.max": "1"}}"#, "missing", CgroupMode::V2);
    let error = Cgroup::create(&plan).expect_err("no such controller");
    assert_eq!(
        error.to_string(),
        "linux.resources.unified.nosuch.max: the host has no cgroup controller \"nosuch\", or does not pass it on"
    );
    let Location::Cgroupfs { path } = plan.location else {
        panic!("a path")
    };
    assert!(!v2::locate(&path).unwrap().path.parent().unwrap().exists());
}

#[test]
fn sub_cgroups_stay_below_the_containers() {
    let tree = Tree::new(
        vec!["cpu".to_owned(), "cpuacct".to_owned()],
        PathBuf::from("/x"),
        false,
    );
    let sub = |subs: &[&str]| {
        let subs: Vec<String> = subs.iter().map(|&sub| sub.to_owned()).collect();
        entry::sub_path(&subs, &tree)
            .map(|path| path.map(Path::to_owned))
            .map_err(|error| error.to_string())
    };
    assert_eq!(sub(&[]), Ok(None));
    assert_eq!(sub(&["a/b"]), Ok(Some(PathBuf::from("a/b"))));
    assert_eq!(sub(&["/"]), Ok(Some(PathBuf::from(""))));
    assert_eq!(sub(&["memory:a", "cpuacct,pids:b"]), Ok(Some(PathBuf::from("b"))));
    assert_eq!(sub(&["memory:a"]), Ok(None));
    for wrong in [&["../a"][..], &["a/../../b"], &[",cpu:a"], &["a", "b"]] {
        assert!(sub(wrong).is_err(), "{wrong:?}");
    }
}

#[test]
fn v2_settings_arrive() {
    if !on_v2("cgroup::tests::v2_settings_arrive") {
        return;
    }
    let available = mounts::read_proc("/sys/fs/cgroup/cgroup.controllers").unwrap();
    if !["cpu", "memory", "pids"]
        .iter()
        .all(|name| available.split_whitespace().any(|other| other == *name))
    {
        eprintln!("skipped: the v2 tree here has only {available:?}");
        return;
    }
    let json = r#"{"pids": {"limit": 20}, "memory": {"limit": 104857600, "swap": 209715200},
        "cpu": {"shares": 1024, "quota": 20000, "burst": 1000}, "unified": {"memory.high": "100000000"}}"#;
    let mut cgroup = Cgroup::create(&plan_of(json, "settings", CgroupMode::V2)).expect("create");
    let dir = cgroup.placement().paths[""].clone();
    for (name, value) in [
        ("pids.max", "20"),
        ("memory.max", "104857600"),
        ("memory.swap.max", "104857600"),
        ("memory.high", "99999744"),
        ("cpu.weight", "100"),
        ("cpu.max", "20000 100000"),
        ("cpu.max.burst", "1000"),
    ] {
        assert_eq!(
            std::fs::read_to_string(dir.join(name)).unwrap().trim(),
            value,
            "{name}"
        );
    }
    // A process of the container that has made its own cgroup an inner one is followed by exec.
    let mut child = spawn(&mut cgroup, "sleep 1000 & wait");
    let inner = dir.join("inner");
    std::fs::create_dir(&inner).unwrap();
    std::fs::write(inner.join("cgroup.procs"), child.id().to_string()).unwrap();
    for pid in Cgroup::open(&cgroup.placement()).processes().unwrap() {
        std::fs::write(inner.join("cgroup.procs"), pid.to_string()).unwrap();
    }
    std::fs::write(dir.join("cgroup.subtree_control"), "+pids +memory").unwrap();
    let Entry::Into(entry) = cgroup.entry_for_exec(&[], child.id().cast_signed()).unwrap() else {
        panic!("v2")
    };
    let entered = std::fs::read_link(format!("/proc/self/fd/{}", entry.as_raw_fd())).unwrap();
    assert_eq!(entered, inner);
    cgroup.kill_and_wait().unwrap();
    child.wait().unwrap();
    cgroup.discard().unwrap();
}
