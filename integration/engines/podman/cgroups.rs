//! Limits and where they are kept: `--cgroups`, `--cgroup-manager`, `--cgroupns`.

use super::super::cgroup_file;
use super::*;

pub fn tests() -> Vec<Test> {
    vec![
        test!(limits),
        test!(killed_for_its_memory).needs(Need::CgroupV2),
        test!(without_a_cgroup).wrun_only("Podman knows that of crun and, by its configuration, of wrun"),
        test!(conmon_outside_and_a_cgroup_namespace),
        test!(key_of_cgroup_v2).needs(Need::CgroupV2),
        test!(cgroupfs_beside_systemd)
            .needs(Need::Systemd)
            .needs(Need::CgroupV2),
    ]
}

fn limits(case: &Case) {
    let podman = Podman::new(case);
    let flags = [
        "--network",
        "none",
        "--memory",
        "50m",
        "--pids-limit",
        "30",
        "--cpus",
        "0.5",
    ];
    let id = podman.start(&flags, NATIVE, &["sleep", "100"]);
    let read = |controller, v1, v2| cgroup_file(&podman.inspect(&id, "{{.State.Pid}}"), controller, v1, v2);
    assert_eq!(read("memory", "memory.limit_in_bytes", "memory.max"), "52428800");
    assert_eq!(read("pids", "pids.max", "pids.max"), "30");
    let quota = read("cpu", "cpu.cfs_quota_us", "cpu.max");
    assert!(quota.starts_with("50000"), "{quota}");
    let stats = podman
        .call(&["stats", "--no-stream", "--format", "{{.PIDs}}", &id])
        .ok();
    assert_eq!(stats.stdout.trim(), "1");
    podman
        .call(&["update", "--memory", "60m", "--cpus", "0.3", &id])
        .ok();
    assert_eq!(read("memory", "memory.limit_in_bytes", "memory.max"), "62914560");
    let quota = read("cpu", "cpu.cfs_quota_us", "cpu.max");
    assert!(quota.starts_with("30000"), "{quota}");
    podman.remove(&id);
}

/// conmon watches the cgroup for it.
fn killed_for_its_memory(case: &Case) {
    let podman = Podman::new(case);
    let flags = alone(&["--memory", "20m", "--memory-swap", "20m"]);
    let id = podman.start(&flags, NATIVE, &["tail", "/dev/zero"]);
    assert_eq!(podman.call(&["wait", &id]).ok().stdout, "137\n");
    assert_eq!(podman.inspect(&id, "{{.State.OOMKilled}}"), "true");
    podman.remove(&id);
}

/// Podman asks for it with crun's `--cgroup-manager=disabled`.
fn without_a_cgroup(case: &Case) {
    let podman = Podman::new(case);
    let flags = ["--rm", "--network", "none", "--cgroups", "disabled"];
    // No parent, which Podman would refuse beside it.
    let command = podman.command(
        &[
            &["run"],
            &flags[..],
            &[NATIVE, "sh", "-c", "cat /proc/self/cgroup; exit 3"],
        ]
        .concat(),
    );
    let output = case.finish(command);
    assert_eq!(output.code(), 3, "{output}");
    assert!(!output.stdout.contains("libpod"), "{output}");
}

fn conmon_outside_and_a_cgroup_namespace(case: &Case) {
    let podman = Podman::new(case);
    let flags = alone(&["--cgroups=no-conmon", "--cgroupns", "private"]);
    let script = "cut -d : -f 3 /proc/self/cgroup | sort -u; echo up; sleep 100";
    let id = start_up(&podman, &flags, script);
    assert_eq!(podman.call(&["logs", &id]).ok().stdout, "/\nup\n");
    let table = |name: &str| {
        let pid = podman.inspect(&id, &format!("{{{{.State.{name}}}}}"));
        fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("its cgroups")
    };
    assert!(table("Pid").contains("libpod-"), "{}", table("Pid"));
    assert!(!table("ConmonPid").contains("libpod-"), "{}", table("ConmonPid"));
    podman.remove(&id);
}

fn key_of_cgroup_v2(case: &Case) {
    let podman = Podman::new(case);
    let flags = alone(&["--cgroup-conf", "memory.high=41943040"]);
    let id = podman.start(&flags, NATIVE, &["sleep", "100"]);
    let pid = podman.inspect(&id, "{{.State.Pid}}");
    assert_eq!(cgroup_file(&pid, "memory", "", "memory.high"), "41943040");
    podman.remove(&id);
}

fn cgroupfs_beside_systemd(case: &Case) {
    let podman = Podman::new(case);
    let flags = alone(&["--rm", "--memory", "50m", "--cgroupns", "host"]);
    let script =
        "path=$(cut -d : -f 3 /proc/self/cgroup); echo $path; cat /sys/fs/cgroup$path/memory.max; exit 3";
    let command = podman.run_command_without_systemd(&flags, NATIVE, &["sh", "-c", script]);
    let output = case.finish(command).code_is(3);
    let (path, limit) = (output.lines()[0], output.lines()[1]);
    assert!(
        path.starts_with(&format!("/{}podman/libpod-", case.mark)),
        "{output}"
    );
    assert_eq!(limit, "52428800", "{output}");
}
