//! Scopes made by systemd: on hosts where it is in charge of a cgroup v2 tree.

use std::path::Path;
use std::process::Command;

use super::{is_host_root, is_root, is_v2};
use crate::cgroup::{Cgroup, CgroupError, Entry};
use crate::plan::cgroup::{self as plan, CgroupMode, CgroupPlan};

fn on_systemd() -> bool {
    let systemd = is_root() && is_v2() && Path::new("/run/systemd/system").is_dir();
    if !systemd {
        eprintln!("skipped: systemd is not in charge of a cgroup v2 tree here");
    }
    systemd
}

fn scope_plan(json: &str, name: &str) -> CgroupPlan {
    let resources = serde_json::from_str(json).expect("the test's JSON");
    let path = format!("wrun-test.slice:test{}:{name}", std::process::id());
    plan::build(Some(&resources), Some(&path), name, CgroupMode::V2, true, false).expect("a plan")
}

#[test]
fn a_scope_from_birth_to_removal() {
    if !on_systemd() {
        return;
    }
    let json = r#"{"pids": {"limit": 20}, "memory": {"limit": 104857600, "swap": 104857600},
        "cpu": {"shares": 512, "quota": 12345, "period": 100000, "cpus": "0"},
        "devices": [{"allow": false, "access": "rwm"}]}"#;
    let plan = scope_plan(json, "life");
    let mut cgroup = Cgroup::create(&plan).expect("create");
    let expected = cgroup.placement();
    let mut sleep = Command::new("sleep").arg("1000").spawn().unwrap();
    cgroup.attach(sleep.id().cast_signed()).expect("attach");
    let placement = cgroup.placement();
    assert_eq!(placement, expected, "the scope is where it was expected");
    let dir = &placement.paths[""];
    let read = |name: &str| std::fs::read_to_string(dir.join(name)).unwrap().trim().to_owned();
    for (name, value) in [
        ("pids.max", "20"),
        ("memory.max", "104857600"),
        ("memory.swap.max", "0"),
        ("cpu.weight", "59"),
        ("cpu.max", "13000 100000"),
        ("cpuset.cpus", "0"),
    ] {
        assert_eq!(read(name), value, "{name}");
    }
    assert_eq!(cgroup.processes().unwrap(), [sleep.id().cast_signed()]);

    // Another's scope of the same name is neither taken over nor harmed.
    let mut other = Command::new("sleep").arg("1000").spawn().unwrap();
    let error = Cgroup::create(&plan).expect_err("somebody lives there");
    assert!(matches!(error, CgroupError::InUse { .. }), "{error:?}");
    // As if that one had come between the look and the start.
    let mut twin = Cgroup::locate(&plan).expect("where it is to be");
    let error = twin
        .attach(other.id().cast_signed())
        .expect_err("the name is taken");
    assert!(
        matches!(&error, CgroupError::Systemd { source, .. } if source.is("UnitExists")),
        "{error:?}"
    );
    twin.kill_and_wait().unwrap();
    twin.discard().unwrap();
    other.kill().unwrap();
    other.wait().unwrap();

    let stored = Cgroup::open(&placement);
    let script = "(exec 3< /dev/null) || exit 7; (exec 3< /dev/kmsg) && exit 8; exit 9";
    let entry = stored.entry_for_exec(&[], sleep.id().cast_signed()).unwrap();
    assert!(entry.clone_into().is_some());
    let shell = format!("echo 0 > {}/cgroup.procs; {script}", dir.display());
    let status = Command::new("sh").args(["-c", &shell]).status().unwrap();
    assert_eq!(status.code(), Some(9), "7: no /dev/null, 8: /dev/kmsg opens");
    stored.freeze().unwrap();
    assert!(stored.is_frozen().unwrap());
    stored.kill_and_wait().unwrap();
    sleep.wait().unwrap();
    stored.remove().unwrap();
    stored.remove().expect("missing is fine");
    assert!(!dir.exists());
}

#[test]
fn a_scope_is_stopped_with_what_lives_in_it() {
    if !on_systemd() {
        return;
    }
    let mut cgroup = Cgroup::create(&scope_plan("{}", "stop")).expect("create");
    let mut sleep = Command::new("sleep").arg("1000").spawn().unwrap();
    cgroup.attach(sleep.id().cast_signed()).expect("attach");
    cgroup.remove().expect("systemd ends the process");
    assert!(!sleep.wait().unwrap().success());
    assert!(cgroup.placement().paths.values().all(|path| !path.exists()));
}

/// Run by a user in a login session, also as root of a user namespace in it (`unshare -Ur`).
#[test]
fn a_users_scope_from_birth_to_removal() {
    let bus = std::env::var_os("XDG_RUNTIME_DIR").map(|dir| Path::new(&dir).join("bus"));
    if is_host_root() || !is_v2() || !bus.is_some_and(|bus| bus.exists()) {
        eprintln!("skipped: this is no user with a systemd and a cgroup v2 tree");
        return;
    }
    let resources = serde_json::from_str(r#"{"pids": {"limit": 20}}"#).unwrap();
    let path = format!(":test{}:user", std::process::id());
    let plan = plan::build(Some(&resources), Some(&path), "user", CgroupMode::V2, true, true).unwrap();
    let mut cgroup = Cgroup::create(&plan).expect("create");
    let expected = cgroup.placement();
    let mut sleep = Command::new("sleep").arg("1000").spawn().unwrap();
    cgroup.attach(sleep.id().cast_signed()).expect("attach");
    assert_eq!(cgroup.placement(), expected, "the scope is where it was expected");
    assert_eq!(
        std::fs::read_to_string(expected.paths[""].join("pids.max")).unwrap(),
        "20\n"
    );
    let stored = Cgroup::open(&expected);
    stored.freeze().unwrap();
    stored.kill_and_wait().unwrap();
    sleep.wait().unwrap();
    stored.remove().unwrap();
    assert!(!expected.paths[""].exists());
}

#[test]
fn a_user_without_rights_does_without_a_cgroup_nobody_asked_for() {
    if is_host_root() || !is_v2() {
        eprintln!("skipped: this is no user on a cgroup v2 host");
        return;
    }
    let plan = plan::build(None, None, "id", CgroupMode::V2, false, true).unwrap();
    // A user may have been given the cgroup beside his own; then it is made.
    let mut cgroup = Cgroup::create(&plan).expect("a cgroup or none");
    assert!(matches!(cgroup.entry().unwrap(), Entry::Into(_) | Entry::None));
    cgroup.discard().unwrap();
    let plan = plan::build(None, Some("/id"), "id", CgroupMode::V2, false, true).unwrap();
    let error = Cgroup::create(&plan).expect_err("no right to make what was asked for");
    assert_eq!(error.to_string(), "cannot create /sys/fs/cgroup/id");
}
