//! cgroups: where the container's are, that limits are set and bite, and that they are gone afterwards.

mod rest;

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::harness::bundle::{add_mount, map_ids, set_namespace};
use crate::harness::command::eventually;
use crate::harness::{Case, Container, Need, Test, leaks, test};

pub fn tests() -> Vec<Test> {
    let mut tests = vec![
        test!(path_of_the_config).covers(&["linux.cgroupsPath"]),
        test!(path_is_the_id_by_default),
        test!(path_for_systemd_is_a_path_without_it).covers(&["linux.cgroupsPath"]),
        test!(cgroup_is_given_to_a_user_namespace)
            .unified()
            .wrun_only("runc gives away only what systemd has made"),
        test!(scope_is_given_to_a_user_namespace)
            .needs(Need::Systemd)
            .needs(Need::CgroupV2),
        test!(cgroup_that_is_lived_in_is_refused).wrun_only("runc did no more than warn before 1.2"),
        test!(frozen_cgroup_is_refused),
        test!(scope_that_is_lived_in_is_refused).needs(Need::Systemd),
        test!(two_containers_below_one_parent).covers(&["linux.cgroupsPath"]),
        test!(memory)
            .covers(&["linux.resources.memory.{limit,reservation,swappiness}"])
            .needs(Need::CgroupV1),
        test!(cpu)
            .covers(&["linux.resources.cpu.{shares,quota,period}"])
            .needs(Need::CgroupV1),
        test!(cpuset).covers(&["linux.resources.cpu.{cpus,mems}"]),
        test!(pids).covers(&["linux.resources.pids.limit"]),
        test!(devices)
            .covers(&[
                "linux.resources.devices.{allow,type,major,minor,access}",
                "linux.resources.devices.type=c",
            ])
            .needs(Need::CgroupV1),
        test!(memory_limit_bites).covers(&["linux.resources.memory.{limit,swap}"]),
        test!(pids_limit_of_zero_is_none)
            .covers(&["linux.resources.pids.limit"])
            .runc_before(4, "no limit where it is 0"),
        test!(pids_limit_bites).covers(&["linux.resources.pids.limit"]),
        test!(cpu_quota_bites).covers(&["linux.resources.cpu.{quota,period}"]),
        test!(device_is_denied),
        test!(device_is_allowed).covers(&[
            "linux.resources.devices.{allow,type,major,minor,access}",
            "linux.resources.devices.type=c",
        ]),
        test!(rule_for_all_devices_may_name_less_than_all_access),
        test!(zero_and_minus_one_are_no_limits).needs(Need::CgroupV1),
        test!(unified_on_v1_is_refused)
            .covers(&["linux.resources.unified"])
            .needs(Need::CgroupV1),
        test!(cgroup_made_inside_is_removed),
        test!(limit_below_the_use_is_refused).needs(Need::CgroupV1),
        test!(lifecycle_on_v2).unified(),
        test!(device_is_denied_on_v2).unified(),
        test!(device_is_allowed_on_v2)
            .covers(&[
                "linux.resources.devices.{allow,type,major,minor,access}",
                "linux.resources.devices.type=c",
            ])
            .unified(),
        test!(exec_on_v2).unified(),
        test!(pause_and_resume_on_v2).unified(),
        test!(kill_all_on_v2).unified(),
        test!(cgroup_made_inside_is_removed_on_v2).unified(),
        test!(unified_on_v2)
            .covers(&["linux.resources.unified"])
            .unified(),
        test!(hugetlb_on_v2)
            .covers(&["linux.resources.hugepageLimits.{pageSize,limit}"])
            .unified(),
        test!(controller_that_v2_lacks_is_refused).unified(),
        test!(limits_on_v2)
            .covers(&[
                "linux.resources.memory.{limit,swap,reservation}",
                "linux.resources.cpu.{shares,quota,period,cpus,mems}",
                "linux.resources.pids.limit",
                "linux.resources.unified",
            ])
            .needs(Need::CgroupV2),
        test!(no_limits_on_v2).needs(Need::CgroupV2),
        test!(systemd_scope)
            .covers(&["linux.cgroupsPath"])
            .needs(Need::Systemd),
        test!(limits_of_a_systemd_scope)
            .covers(&[
                "linux.resources.memory.{limit,swap,reservation}",
                "linux.resources.cpu.{shares,quota,period,cpus,mems}",
                "linux.resources.pids.limit",
                "linux.resources.unified",
            ])
            .needs(Need::Systemd)
            .needs(Need::CgroupV2),
        test!(systemd_scope_is_free_again_after_a_failure).needs(Need::Systemd),
        test!(mount_that_fails_is_told_also_below_systemd).needs(Need::Systemd),
    ];
    tests.extend(rest::tests());
    tests
}

/// A container that runs until it is deleted.
pub fn sleeper_with<'case>(case: &'case Case, edit: impl FnOnce(&mut Value)) -> Container<'case> {
    let container = case.container_with(&["sleep", "1000"], edit);
    container.run_detached();
    container
}

/// The container's cgroup of a controller, from the kernel's own account; where no v1 hierarchy has the
/// controller, the one of v2.
pub fn cgroup(container: &Container, controller: &str) -> PathBuf {
    let table = fs::read_to_string(container.proc("cgroup")).expect("its cgroups");
    let path = table.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let controllers = fields.next()?;
        controllers
            .split(',')
            .any(|own| own == controller)
            .then(|| fields.next().expect("a path").to_owned())
    });
    let root = PathBuf::from("/sys/fs/cgroup");
    if let Some(path) = path {
        return root.join(controller).join(path.trim_start_matches('/'));
    }
    let path = table.lines().find_map(|line| line.strip_prefix("0::/"));
    root.join(path.unwrap_or_else(|| panic!("no {controller} in {table}")))
}

#[track_caller]
pub fn assert_file(container: &Container, controller: &str, file: &str, expected: &str) {
    let path = cgroup(container, controller).join(file);
    let content = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert_eq!(content.trim(), expected, "{}", path.display());
}

fn path_of_the_config(case: &Case) {
    let path = format!("/{}parent/child", case.mark);
    let container = sleeper_with(case, |config| config["linux"]["cgroupsPath"] = json!(path));
    let table = fs::read_to_string(container.proc("cgroup")).expect("its cgroups");
    assert!(table.lines().any(|line| line.ends_with(&path)), "{table}");
    container.delete_with(&["--force"]).ok();
    for group in leaks::cgroups(&case.mark).iter().rev() {
        // The parent is not the container's: whoever made the path may want it kept.
        assert!(
            group.ends_with(format!("{}parent", case.mark)),
            "{}",
            group.display()
        );
        fs::remove_dir(group).expect("it is empty");
    }
}

fn path_is_the_id_by_default(case: &Case) {
    let container = sleeper_with(case, |_| {});
    let groups = leaks::cgroups(&case.mark);
    assert!(
        !groups.is_empty() && groups.iter().all(|group| group.ends_with(&container.id)),
        "{groups:?}"
    );
}

/// As BuildKit in Docker's daemon asks for it where that one has its cgroups from systemd.
fn path_for_systemd_is_a_path_without_it(case: &Case) {
    let path = format!("{}.slice:docker:one", case.mark);
    let container = sleeper_with(case, |config| config["linux"]["cgroupsPath"] = json!(path));
    let table = fs::read_to_string(container.proc("cgroup")).expect("its cgroups");
    let of_its_own = |line: &str| line.ends_with(&format!("/{path}"));
    assert!(table.lines().any(of_its_own), "{table}");
    let output = container.exec(&["cat", "/proc/self/cgroup"]).ok();
    assert!(output.lines().into_iter().any(of_its_own), "{output}");
    container.delete_with(&["--force"]).ok();
    case.nothing_left();
}

/// With a user namespace, a cgroup namespace and its file system mounted, for a user of the container.
fn with_own_cgroup(config: &mut Value, user: u32, options: &[&str]) {
    map_ids(config, 100_000);
    set_namespace(config, "cgroup", None);
    config["process"]["user"] = json!({ "uid": user, "gid": 0 });
    let mounts = config["mounts"].as_array_mut().expect("mounts");
    mounts.retain(|mount| mount["destination"] != "/sys/fs/cgroup");
    add_mount(config, "/sys/fs/cgroup", "cgroup", "cgroup", options);
}

/// Who owns what decides on dividing it, for the container's root and for another user; the limits stay ours.
fn cgroup_is_given_to_a_user_namespace(case: &Case) {
    let script = "cd /sys/fs/cgroup; stat -c %u . cgroup.procs cgroup.max.depth; mkdir inner && rmdir inner && echo made";
    for (user, options, expected) in [
        (0, &["rw"][..], "0\n0\n65534\nmade\n"),
        (7, &[], "7\n7\n65534\nmade\n"),
        (0, &["ro"], "65534\n65534\n65534\n"),
    ] {
        let container = case.script_with(script, |config| with_own_cgroup(config, user, options));
        let output = container.run();
        assert_eq!(output.stdout, expected, "{output}");
        case.nothing_left();
    }
}

fn scope_is_given_to_a_user_namespace(case: &Case) {
    let container = scope_with(case, &case.mark, |config| with_own_cgroup(config, 0, &["rw"]));
    let owners = container.sh("cd /sys/fs/cgroup; stat -c %u . cgroup.procs memory.max");
    assert_eq!(owners, "0\n0\n65534");
    container.sh("mkdir /sys/fs/cgroup/inner");
    container.delete_with(&["--force"]).ok();
    case.nothing_left();
}

fn cgroup_that_is_lived_in_is_refused(case: &Case) {
    let in_it = |config: &mut Value| config["linux"]["cgroupsPath"] = json!(format!("/{}both", case.mark));
    let first = sleeper_with(case, in_it);
    let second = case.container_with(&["true"], in_it);
    for output in [second.run(), second.try_create(&[])] {
        let error = output.clone().code_is(1).error();
        assert!(error.contains("container's cgroup is not empty"), "{output}");
    }
    assert_eq!(first.status(), "running");
}

fn frozen_cgroup_is_refused(case: &Case) {
    let path = format!("{}frozen", case.mark);
    let root = PathBuf::from("/sys/fs/cgroup");
    let (dir, file, word) = match Need::CgroupV1.missing() {
        None => (root.join("freezer"), "freezer.state", "FROZEN"),
        Some(_) => (root, "cgroup.freeze", "1"),
    };
    let dir = dir.join(&path);
    fs::create_dir(&dir).expect("a cgroup");
    fs::write(dir.join(file), word).expect("it is frozen");
    let container = case.container_with(&["true"], |config| {
        config["linux"]["cgroupsPath"] = json!(format!("/{path}"));
    });
    let output = container.run().code_is(1);
    let error = output.error();
    fs::remove_dir(&dir).expect("nobody is in it");
    assert!(
        error.contains("container's cgroup unexpectedly frozen"),
        "{output}"
    );
    case.nothing_left();
}

/// Not only systemd says so, which would do it in its own words and after the container's process is made.
fn scope_that_is_lived_in_is_refused(case: &Case) {
    let first = scope_with(case, &case.mark, |_| {});
    let second = case.container_with(&["true"], |config| {
        config["linux"]["cgroupsPath"] = json!(format!("system.slice:wrun:{}", case.mark));
    });
    let bundle = second.bundle();
    let output = case.call(&["--systemd-cgroup", "run", "--bundle", &bundle, &second.id]);
    let error = output.clone().code_is(1).error();
    assert!(error.contains("container's cgroup is not empty"), "{output}");
    assert_eq!(first.status(), "running");
    first.delete_with(&["--force"]).ok();
    case.nothing_left();
}

fn two_containers_below_one_parent(case: &Case) {
    let path = |name: &str| json!(format!("/{}parent/{name}", case.mark));
    let first = sleeper_with(case, |config| config["linux"]["cgroupsPath"] = path("first"));
    let second = sleeper_with(case, |config| config["linux"]["cgroupsPath"] = path("second"));
    first.delete_with(&["--force"]).ok();
    assert_eq!(second.status(), "running");
    second.delete_with(&["--force"]).ok();
    for group in leaks::cgroups(&case.mark).iter().rev() {
        fs::remove_dir(group).expect("it is empty");
    }
}

fn memory(case: &Case) {
    let container = sleeper_with(case, |config| {
        config["linux"]["resources"]["memory"] = json!({ "limit": 64 << 20, "reservation": 32 << 20, "swappiness": 10, "disableOOMKiller": false });
    });
    assert_file(&container, "memory", "memory.limit_in_bytes", "67108864");
    assert_file(&container, "memory", "memory.soft_limit_in_bytes", "33554432");
    assert_file(&container, "memory", "memory.swappiness", "10");
}

fn cpu(case: &Case) {
    let container = sleeper_with(case, |config| {
        config["linux"]["resources"]["cpu"] = json!({ "shares": 512, "quota": 50_000, "period": 200_000 });
    });
    assert_file(&container, "cpu", "cpu.shares", "512");
    assert_file(&container, "cpu", "cpu.cfs_quota_us", "50000");
    assert_file(&container, "cpu", "cpu.cfs_period_us", "200000");
}

fn cpuset(case: &Case) {
    let container = sleeper_with(case, |config| {
        config["linux"]["resources"]["cpu"] = json!({ "cpus": "0", "mems": "0" });
    });
    assert_file(&container, "cpuset", "cpuset.cpus", "0");
    assert_file(&container, "cpuset", "cpuset.mems", "0");
    assert_eq!(
        container.sh("grep Cpus_allowed_list /proc/self/status"),
        "Cpus_allowed_list:\t0"
    );
}

fn pids(case: &Case) {
    let container = sleeper_with(case, |config| {
        config["linux"]["resources"]["pids"] = json!({ "limit": 33 })
    });
    assert_file(&container, "pids", "pids.max", "33");
}

fn devices(case: &Case) {
    let container = sleeper_with(case, |config| {
        let rules = config["linux"]["resources"]["devices"]
            .as_array_mut()
            .expect("rules");
        rules.push(json!({ "allow": true, "type": "c", "major": 10, "minor": 229, "access": "rw" }));
    });
    let path = cgroup(&container, "devices").join("devices.list");
    let list = fs::read_to_string(path).expect("the list");
    assert!(
        list.contains("c 10:229 rw\n") && list.contains("c 1:3 rwm\n"),
        "{list}"
    );
    assert!(!list.contains("a *:*"), "{list}");
}

fn memory_limit_bites(case: &Case) {
    // tail keeps what it has read of a file without lines.
    let container = case.script_with("tail /dev/zero; echo ended with $?", |config| {
        config["linux"]["resources"]["memory"] = json!({ "limit": 32 << 20, "swap": 32 << 20 });
    });
    let output = container.run();
    assert_eq!(output.stdout.trim(), "ended with 137", "{output}");
}

/// As CRI-O up to 1.26 writes it into each config.json, whose version of the specification knows no other sense of it.
fn pids_limit_of_zero_is_none(case: &Case) {
    let container = case.script_with("sleep 0 & wait; echo all", |config| {
        config["ociVersion"] = json!("1.0.2-dev");
        config["linux"]["resources"]["pids"] = json!({ "limit": 0 });
    });
    assert_eq!(container.run().ok().stdout, "all\n");
}

fn pids_limit_bites(case: &Case) {
    let script = "for n in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do sleep 100 & done; echo all";
    let container = case.script_with(script, |config| {
        config["linux"]["resources"]["pids"] = json!({ "limit": 10 });
    });
    let output = container.run();
    assert!(!output.stdout.contains("all"), "{output}");
    assert!(output.stderr.contains("can't fork"), "{output}");
    case.nothing_left();
}

fn cpu_quota_bites(case: &Case) {
    let container = case.script_with("while :; do :; done", |config| {
        config["linux"]["resources"]["cpu"] = json!({ "quota": 10_000, "period": 100_000 });
    });
    container.run_detached();
    let path = cgroup(&container, "cpu").join("cpu.stat");
    eventually("the container is throttled", || {
        let text = fs::read_to_string(&path).ok()?;
        let count = text
            .lines()
            .find_map(|line| line.strip_prefix("nr_throttled "))?
            .parse::<u64>()
            .ok()?;
        (count > 2).then_some(())
    });
}

/// A container allowed to make nodes, and not to open those it makes.
fn makes_a_device(case: &Case, allowed: bool) -> Container<'_> {
    // In a tmpfs of the container's own: the mount that the test's directory is on may have `nodev`.
    let script = "mknod /dev/kernel c 1 11 && : </dev/kernel && echo opened";
    case.script_with(script, |config| {
        for set in ["bounding", "effective", "permitted"] {
            let list = config["process"]["capabilities"][set]
                .as_array_mut()
                .expect("a list");
            list.extend([json!("CAP_MKNOD"), json!("CAP_SYSLOG")]);
        }
        if allowed {
            let rules = config["linux"]["resources"]["devices"]
                .as_array_mut()
                .expect("rules");
            rules.push(json!({ "allow": true, "type": "c", "major": 1, "minor": 11, "access": "rm" }));
        }
    })
}

fn device_is_denied(case: &Case) {
    let output = makes_a_device(case, false).run();
    assert!(!output.stdout.contains("opened"), "{output}");
    assert!(output.stderr.contains("Operation not permitted"), "{output}");
}

fn device_is_allowed(case: &Case) {
    let output = makes_a_device(case, true).run().ok();
    assert_eq!(output.stdout, "opened\n");
}

fn rule_for_all_devices_may_name_less_than_all_access(case: &Case) {
    let container = makes_a_device(case, false);
    container.edit(|config| {
        let rules = config["linux"]["resources"]["devices"]
            .as_array_mut()
            .expect("rules");
        rules.push(json!({ "allow": true, "type": "a", "access": "rw" }));
    });
    assert_eq!(container.run().ok().stdout, "opened\n");
}

/// What Docker writes where nothing was asked for.
fn ask_for_nothing(config: &mut Value) {
    let resources = &mut config["linux"]["resources"];
    resources["memory"] = json!({ "disableOOMKiller": false });
    resources["cpu"] = json!({ "shares": 0, "quota": 0, "period": 0, "cpus": "", "mems": "" });
    resources["pids"] = json!({ "limit": -1 });
    resources["blockIO"] = json!({ "weight": 0 });
}

fn zero_and_minus_one_are_no_limits(case: &Case) {
    let container = sleeper_with(case, ask_for_nothing);
    assert_file(&container, "pids", "pids.max", "max");
    assert_file(&container, "cpu", "cpu.cfs_quota_us", "-1");
}

fn unified_on_v1_is_refused(case: &Case) {
    let container = case.container_with(&["true"], |config| {
        config["linux"]["resources"]["unified"] = json!({ "memory.max": "100000000" });
    });
    case.names(&container.run().code_is(1), &["unified"]);
    case.nothing_left();
}

fn cgroup_made_inside_is_removed(case: &Case) {
    let container = sleeper_with(case, |_| {});
    for controller in ["memory", "pids"] {
        fs::create_dir_all(cgroup(&container, controller).join("a/b")).expect("cgroups inside");
    }
    container.delete_with(&["--force"]).ok();
    case.nothing_left();
}

fn limit_below_the_use_is_refused(case: &Case) {
    let container = case.container_with(&["true"], |config| {
        config["linux"]["resources"]["memory"] = json!({ "limit": 1000 });
    });
    let output = container.try_create(&[]);
    assert!(!output.status.success(), "{output}");
    case.names(&output, &["memory"]);
    case.nothing_left();
}

/// The container's cgroup on v2, as the host sees it through its own mount of the tree.
pub fn unified_cgroup(case: &Case) -> PathBuf {
    let groups = leaks::cgroups(&case.mark);
    let group = groups
        .iter()
        .find(|group| group.starts_with("/sys/fs/cgroup/unified"));
    group
        .or(groups.first())
        .expect("the container has a cgroup")
        .clone()
}

fn lifecycle_on_v2(case: &Case) {
    let container = case.container(&["sleep", "100"]);
    container.create();
    assert_eq!(container.status(), "created");
    let procs = fs::read_to_string(unified_cgroup(case).join("cgroup.procs")).expect("cgroup.procs");
    assert_eq!(procs.trim(), container.pid().to_string());
    container.start();
    assert_eq!(container.status(), "running");
    container.kill("KILL").ok();
    container.wait_for("stopped");
    container.delete();
    case.nothing_left();
    assert_eq!(case.script("echo fine; exit 5").run().code_is(5).stdout, "fine\n");
    case.nothing_left();
}

fn device_is_denied_on_v2(case: &Case) {
    device_is_denied(case);
}

fn device_is_allowed_on_v2(case: &Case) {
    device_is_allowed(case);
}

fn exec_on_v2(case: &Case) {
    let container = sleeper_with(case, |config| set_namespace(config, "cgroup", None));
    assert_eq!(container.sh("cat /proc/self/cgroup | grep ^0:"), "0::/");
    let file = case.path("exec.pid");
    container
        .exec_with(&["--detach", "--pid-file", &file], &["sleep", "500"])
        .ok();
    let pid = fs::read_to_string(&file).expect("the pid file");
    let procs = fs::read_to_string(unified_cgroup(case).join("cgroup.procs")).expect("cgroup.procs");
    assert!(procs.lines().any(|line| line == pid), "{procs}");
    // The device filter holds for it as well.
    let output = container
        .exec(&["sh", "-c", "head -c 1 /dev/full >/dev/null && echo allowed"])
        .ok();
    assert_eq!(output.stdout, "allowed\n");
}

fn pause_and_resume_on_v2(case: &Case) {
    let container = sleeper_with(case, |_| {});
    case.call(&["pause", &container.id]).ok();
    assert_eq!(container.status(), "paused");
    let frozen = || fs::read_to_string(unified_cgroup(case).join("cgroup.freeze")).expect("cgroup.freeze");
    assert_eq!(frozen().trim(), "1");
    case.call(&["resume", &container.id]).ok();
    assert_eq!(container.status(), "running");
    assert_eq!(frozen().trim(), "0");
    case.call(&["pause", &container.id]).ok();
    container.delete_with(&["--force"]).ok();
    case.nothing_left();
}

fn kill_all_on_v2(case: &Case) {
    crate::lifecycle::kill_all_ends_processes_without_a_pid_namespace(case);
}

fn cgroup_made_inside_is_removed_on_v2(case: &Case) {
    let container = sleeper_with(case, |_| {});
    fs::create_dir_all(unified_cgroup(case).join("a/b")).expect("cgroups inside");
    container.delete_with(&["--force"]).ok();
    case.nothing_left();
}

fn unified_on_v2(case: &Case) {
    let container = sleeper_with(case, |config| {
        config["linux"]["resources"]["unified"] = json!({ "cgroup.max.descendants": "7" });
    });
    let value = fs::read_to_string(unified_cgroup(case).join("cgroup.max.descendants")).expect("the file");
    assert_eq!(value.trim(), "7");
    container.delete_with(&["--force"]).ok();
    let refused = case.container_with(&["true"], |config| {
        config["linux"]["resources"]["unified"] = json!({ "no.such.file": "7" });
    });
    case.names(&refused.run().code_is(1), &["no.such.file"]);
    case.nothing_left();
}

fn hugetlb_on_v2(case: &Case) {
    let file = "hugetlb.2MB.max";
    let controllers = fs::read_to_string("/sys/fs/cgroup/unified/cgroup.controllers");
    if !controllers.is_ok_and(|list| list.contains("hugetlb")) {
        return; // A machine with v2 alone has it elsewhere, or not at all.
    }
    let _container = sleeper_with(case, |config| {
        config["linux"]["resources"]["hugepageLimits"] = json!([{ "pageSize": "2MB", "limit": 4 << 20 }]);
    });
    let value = fs::read_to_string(unified_cgroup(case).join(file)).expect("the file");
    assert_eq!(value.trim(), "4194304");
}

fn controller_that_v2_lacks_is_refused(case: &Case) {
    let controllers = fs::read_to_string("/sys/fs/cgroup/unified/cgroup.controllers");
    if !controllers.is_ok_and(|list| !list.contains("memory")) {
        return; // A machine with all controllers on v2 has nothing to refuse.
    }
    let container = case.container_with(&["true"], |config| {
        config["linux"]["resources"]["memory"] = json!({ "limit": 64 << 20 });
    });
    case.names(&container.run().code_is(1), &["memory"]);
    case.nothing_left();
}

/// A limit of each kind for [`has_all_limits`].
fn with_all_limits(config: &mut Value) {
    let resources = &mut config["linux"]["resources"];
    resources["memory"] = json!({ "limit": 64 << 20, "swap": 96 << 20, "reservation": 16 << 20 });
    resources["cpu"] = json!({ "shares": 512, "quota": 50_000, "period": 200_000, "cpus": "0", "mems": "0" });
    resources["pids"] = json!({ "limit": 33 });
    resources["blockIO"] = json!({ "weight": 500 });
    resources["unified"] = json!({ "memory.high": (48 << 20).to_string() });
}

fn has_all_limits(container: &Container) {
    for (file, expected) in [
        ("memory.max", "67108864"),
        ("memory.swap.max", "33554432"),
        ("memory.low", "16777216"),
        ("memory.high", "50331648"),
        ("cpu.max", "50000 200000"),
        ("cpuset.cpus", "0"),
        ("cpuset.mems", "0"),
        ("pids.max", "33"),
    ] {
        assert_file(container, "", file, expected);
    }
    // How shares become a weight has changed over time; 100 is the default of both.
    let weight = fs::read_to_string(cgroup(container, "").join("cpu.weight")).expect("cpu.weight");
    let weight: u64 = weight.trim().parse().expect("a number");
    assert!((10..100).contains(&weight), "cpu.weight is {weight}");
}

fn limits_on_v2(case: &Case) {
    let container = sleeper_with(case, with_all_limits);
    has_all_limits(&container);
    let controllers = fs::read_to_string(cgroup(&container, "").join("cgroup.controllers"));
    // What is not limited is still accounted.
    assert!(controllers.expect("the list").contains("io"));
}

fn no_limits_on_v2(case: &Case) {
    let container = sleeper_with(case, ask_for_nothing);
    assert_file(&container, "", "pids.max", "max");
    assert_file(&container, "", "cpu.max", "max 100000");
    assert_file(&container, "", "memory.max", "max");
}

/// A running container in a scope of `name`.
pub fn scope_with<'case>(case: &'case Case, name: &str, edit: impl FnOnce(&mut Value)) -> Container<'case> {
    let container = in_scope(case, name, edit);
    run_in_scope(&container);
    container
}

/// A container whose config.json asks for a scope of `name`; it is not run yet.
pub fn in_scope<'case>(case: &'case Case, name: &str, edit: impl FnOnce(&mut Value)) -> Container<'case> {
    case.container_with(&["sleep", "1000"], |config| {
        config["linux"]["cgroupsPath"] = json!(format!("system.slice:wrun:{name}"));
        edit(config);
    })
}

/// `run --detach` with systemd's driver.
#[track_caller]
pub fn run_in_scope(container: &Container) {
    let bundle = container.bundle();
    let run = [
        "--systemd-cgroup",
        "run",
        "--detach",
        "--bundle",
        &bundle,
        &container.id,
    ];
    container.case.call(&run).ok();
}

fn limits_of_a_systemd_scope(case: &Case) {
    let container = scope_with(case, &case.mark, with_all_limits);
    has_all_limits(&container);
    // systemd writes what it knows anew whenever a unit changes: it must know all of it.
    let reload = std::process::Command::new("systemctl")
        .arg("daemon-reload")
        .status();
    assert!(reload.expect("systemctl starts").success());
    has_all_limits(&container);
    // The device filter is ours also where systemd has made the cgroup.
    let output = container.exec(&["sh", "-c", "head -c 1 /dev/full >/dev/null && echo allowed"]);
    assert_eq!(output.ok().stdout, "allowed\n");
    container.delete_with(&["--force"]).ok();
    case.nothing_left();
}

/// A unit that has failed stays loaded, unless it is told not to, and its name with it.
fn systemd_scope_is_free_again_after_a_failure(case: &Case) {
    for _ in 0..2 {
        let container = scope_with(case, &case.mark, |_| {});
        case.call(&["pause", &container.id]).ok();
        case.call(&["resume", &container.id]).ok();
        container.kill("KILL").ok();
        container.wait_for("stopped");
        container.delete();
        case.nothing_left();
    }
}

/// The process may fail while systemd still works on its scope.
fn mount_that_fails_is_told_also_below_systemd(case: &Case) {
    let container = case.container_with(&["true"], |config| {
        config["linux"]["cgroupsPath"] = json!(format!("system.slice:wrun:{}", case.mark));
        let mounts = config["mounts"].as_array_mut().expect("mounts");
        let missing =
            json!({"destination": "/here", "type": "bind", "source": "/not-there", "options": ["bind"]});
        mounts.insert(0, missing);
    });
    for verb in ["create", "run"] {
        let bundle = container.bundle();
        let output = case.call(&["--systemd-cgroup", verb, "--bundle", &bundle, &container.id]);
        assert_ne!(output.code(), 0);
        assert!(output.error().contains("/not-there"), "{output}");
        case.nothing_left();
    }
}

fn systemd_scope(case: &Case) {
    let container = case.container_with(&["sleep", "100"], |config| {
        config["linux"]["cgroupsPath"] = json!(format!("system.slice:wrun:{}", case.mark));
        config["linux"]["resources"]["pids"] = json!({ "limit": 44 });
    });
    let bundle = container.bundle();
    case.call(&["--systemd-cgroup", "create", "--bundle", &bundle, &container.id])
        .ok();
    let scope = format!("system.slice/wrun-{}.scope", case.mark);
    let table = fs::read_to_string(container.proc("cgroup")).expect("its cgroups");
    assert!(table.contains(&scope), "{table}");
    container.delete_with(&["--force"]).ok();
    case.nothing_left();
}
