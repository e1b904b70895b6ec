//! What an added process shares with the first one.

use super::*;

pub fn tests() -> Vec<Test> {
    vec![
        test!(environment_of_the_config),
        test!(same_namespaces_as_the_first_process),
        test!(same_cgroups_as_the_first_process),
        test!(same_user_namespace_and_ids),
        test!(same_seccomp_filter),
        test!(same_capabilities_user_and_limits),
        test!(first_process_sees_the_added_one),
        test!(added_process_ends_with_the_container),
        test!(many_at_once),
    ]
}

fn environment_of_the_config(case: &Case) {
    let container = sleeper_with(case, |config| {
        config["process"]["env"]
            .as_array_mut()
            .expect("an array")
            .push(json!("FROM=config"));
    });
    let output = container.exec(&["env"]).ok();
    assert!(
        output.lines().contains(&"FROM=config") && output.lines().contains(&"TERM=xterm"),
        "{output}"
    );
    assert!(
        output.lines().contains(&"HOME=/root"),
        "HOME comes from /etc/passwd: {output}"
    );
    assert!(
        !output.stdout.contains("CARGO"),
        "the caller's environment: {output}"
    );
}

fn same_namespaces_as_the_first_process(case: &Case) {
    let container = sleeper(case);
    for kind in ["pid", "net", "ipc", "uts", "mnt", "cgroup", "user", "time"] {
        let own = container.sh(&format!("readlink /proc/self/ns/{kind}"));
        let first = fs::read_link(container.proc(&format!("ns/{kind}"))).expect("a namespace");
        assert_eq!(own, first.to_string_lossy(), "{kind}");
    }
}

fn same_cgroups_as_the_first_process(case: &Case) {
    let container = sleeper(case);
    let file = case.path("exec.pid");
    container
        .exec_with(&["--detach", "--pid-file", &file], &["sleep", "500"])
        .ok();
    let pid = fs::read_to_string(&file).expect("the pid file");
    let cgroups = |pid: &str| fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("its cgroups");
    assert_eq!(cgroups(&pid), cgroups(&container.pid().to_string()));
    assert!(cgroups(&pid).contains(&container.id), "{}", cgroups(&pid));
}

fn same_user_namespace_and_ids(case: &Case) {
    let container = sleeper_with(case, |config| map_ids(config, 100_000));
    let first = fs::read_link(container.proc("ns/user")).expect("a namespace");
    assert_eq!(
        container.sh("readlink /proc/self/ns/user"),
        first.to_string_lossy()
    );
    let map = container.sh("cat /proc/self/uid_map");
    assert_eq!(
        map.split_whitespace().collect::<Vec<_>>(),
        ["0", "100000", "65536"]
    );
    assert_eq!(container.sh("id -u"), "0");
}

fn same_seccomp_filter(case: &Case) {
    let container = sleeper_with(case, |config| {
        config["linux"]["seccomp"] = json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{ "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95 }]
        });
    });
    assert_eq!(container.sh("grep ^Seccomp: /proc/self/status"), "Seccomp:\t2");
    let output = container.exec(&["mkdir", "/tmp/x"]).code_is(1);
    assert!(output.stderr.contains("not supported"), "{output}");
}

fn same_capabilities_user_and_limits(case: &Case) {
    let container = sleeper_with(case, |config| {
        config["process"]["user"] = json!({ "uid": 1000, "gid": 1000, "additionalGids": [2000] });
        config["process"]["rlimits"] = json!([{ "type": "RLIMIT_CORE", "soft": 123, "hard": 456 }]);
        config["process"]["oomScoreAdj"] = json!(321);
        config["process"]["cwd"] = json!("/tmp");
    });
    let lines = |text: &str| -> Vec<String> {
        let kept = [
            "Uid:",
            "Gid:",
            "Groups:",
            "CapBnd:",
            "CapPrm:",
            "CapEff:",
            "CapInh:",
            "CapAmb:",
            "NoNewPrivs:",
        ];
        let of = |line: &&str| kept.iter().any(|name| line.starts_with(name));
        text.lines()
            .filter(of)
            .map(|line| line.trim().to_owned())
            .collect()
    };
    // A detached run may return a moment before the program is in place.
    crate::harness::command::eventually("the first process is the program", || {
        let name = fs::read_to_string(container.proc("comm")).ok()?;
        (name == "sleep\n").then_some(())
    });
    let first = fs::read_to_string(container.proc("status")).expect("the status of the first process");
    assert_eq!(lines(&container.sh("cat /proc/self/status")), lines(&first));
    assert_eq!(container.sh("cat /proc/self/oom_score_adj; pwd"), "321\n/tmp");
    let limits = container.sh("grep 'Max core' /proc/self/limits");
    assert_eq!(
        limits.split_whitespace().skip(4).take(2).collect::<Vec<_>>(),
        ["123", "456"]
    );
}

fn first_process_sees_the_added_one(case: &Case) {
    let container = case.script("while :; do ps -o args >/seen.new; mv /seen.new /seen; sleep 0.05; done");
    container.run_detached();
    container.exec_with(&["--detach"], &["sleep", "4321"]).ok();
    eventually("the first process sees the added one", || {
        fs::read_to_string(container.rootfs("seen"))
            .ok()?
            .contains("sleep 4321")
            .then_some(())
    });
}

fn added_process_ends_with_the_container(case: &Case) {
    let container = sleeper(case);
    let exec = case.start(case.command(&["exec", &container.id, "sh", "-c", "echo up >/up; exec sleep 500"]));
    container.wait_for_file("up");
    container.kill("KILL").ok();
    exec.wait().code_is(128 + 9);
    container.wait_for("stopped");
}

fn many_at_once(case: &Case) {
    let container = sleeper(case);
    let running: Vec<_> = (0..20)
        .map(|number| {
            let script = format!("echo {number}; exit {number}");
            (
                number,
                case.start(case.command(&["exec", &container.id, "sh", "-c", &script])),
            )
        })
        .collect();
    for (number, exec) in running {
        assert_eq!(exec.wait().code_is(number).stdout, format!("{number}\n"));
    }
}
