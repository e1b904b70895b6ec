//! What a container is kept from: capabilities, seccomp, AppArmor, labels, read-only files.

use serde_json::json;

use super::*;

pub fn tests() -> Vec<Test> {
    vec![
        test!(dropped_capabilities),
        test!(readonly),
        test!(seccomp_profile),
        test!(seccomp_profile_of_a_file),
        test!(fewer_restrictions),
        test!(apparmor).needs(Need::AppArmorProfile),
        test!(writable_cgroups)
            .needs(Need::DockerFrom(28))
            .needs(Need::CgroupV2),
        test!(users),
    ]
}

pub fn wasm_tests() -> Vec<Test> {
    vec![test!(restrictions_of_a_guest)]
}

fn dropped_capabilities(case: &Case) {
    let docker = Docker::new(case);
    let show = ["grep", "CapEff", "/proc/self/status"];
    let none = docker.run(&["--cap-drop", "ALL"], NATIVE, &show).ok();
    assert_eq!(none.stdout, "CapEff:\t0000000000000000\n");
    let one = docker
        .run(&["--cap-drop", "ALL", "--cap-add", "NET_ADMIN"], NATIVE, &show)
        .ok();
    assert_eq!(one.stdout, "CapEff:\t0000000000001000\n");
}

fn readonly(case: &Case) {
    let docker = Docker::new(case);
    let script = "touch /x 2>&1; touch /tmp/x && echo tmpfs";
    let output = docker
        .run(&["--read-only", "--tmpfs", "/tmp"], NATIVE, &["sh", "-c", script])
        .ok();
    assert!(
        output.stdout.contains("Read-only") && output.stdout.ends_with("tmpfs\n"),
        "{output}"
    );
}

fn seccomp_profile(case: &Case) {
    let docker = Docker::new(case);
    let show = ["grep", "-E", "^(Seccomp|NoNewPrivs):", "/proc/self/status"];
    assert_eq!(
        docker.run(&[], NATIVE, &show).ok().stdout,
        "NoNewPrivs:\t0\nSeccomp:\t2\n"
    );
    let flags = [
        "--security-opt",
        "no-new-privileges",
        "--security-opt",
        "seccomp=unconfined",
    ];
    assert_eq!(
        docker.run(&flags, NATIVE, &show).ok().stdout,
        "NoNewPrivs:\t1\nSeccomp:\t0\n"
    );
}

/// It holds for what is executed later as well.
fn seccomp_profile_of_a_file(case: &Case) {
    let docker = Docker::new(case);
    let profile = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [
            { "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38 },
            { "names": ["sethostname"], "action": "SCMP_ACT_KILL_PROCESS" },
        ],
    });
    fs::write(case.dir.join("profile"), profile.to_string()).expect("a profile");
    let option = format!("seccomp={}", case.path("profile"));
    let id = docker.start(&["--security-opt", &option], NATIVE, &["sleep", "100"]);
    let exec = |arguments: &[&str]| docker.call(&[&["exec", &id], arguments].concat());
    let output = exec(&["mkdir", "/new"]).code_is(1);
    assert!(output.stderr.contains("Function not implemented"), "{output}");
    // 128 and SIGSYS.
    exec(&["hostname", "new"]).code_is(159);
    exec(&["touch", "/new"]).ok();
}

/// Options that take away what Docker adds.
fn fewer_restrictions(case: &Case) {
    let docker = Docker::new(case);
    // Masked and read-only paths are mounts below /proc and /sys.
    let script = "grep -c ' /proc/\\| /sys/firmware ' /proc/self/mountinfo; \
        cat /proc/self/attr/current 2>/dev/null; echo 7 >/proc/sys/net/ipv4/ip_default_ttl && echo sets";
    let with = docker.run(&[], NATIVE, &["sh", "-c", script]);
    assert!(
        !with.stdout.starts_with("0\n") && !with.stdout.contains("sets"),
        "{with}"
    );
    let flags = [
        "--security-opt",
        "systempaths=unconfined",
        "--security-opt",
        "label=disable",
        "--security-opt",
        "apparmor=unconfined",
    ];
    let output = docker.run(&flags, NATIVE, &["sh", "-c", script]);
    let lines = output.lines();
    assert!(
        matches!(lines[..], ["0", "sets"] | ["0", "unconfined", "sets"]),
        "{output}"
    );
    // Labels mean nothing without SELinux.
    let label = ["--security-opt", "label=level:s0:c100,c200"];
    docker.run(&label, NATIVE, &["true"]).ok();
}

fn apparmor(case: &Case) {
    let docker = Docker::new(case);
    let show = ["cat", "/proc/self/attr/current"];
    let id = docker.start(&[], NATIVE, &["sleep", "100"]);
    let exec = docker.call(&[&["exec", &id], &show[..]].concat()).ok();
    assert_eq!(exec.stdout, "docker-default (enforce)\n");
    let attribute = format!("/proc/{}/attr/current", docker.inspect(&id, "{{.State.Pid}}"));
    assert_eq!(
        fs::read_to_string(attribute).expect("a process"),
        "docker-default (enforce)\n"
    );
    let denied = docker.call(&["exec", &id, "sh", "-c", "echo x >/proc/sysrq-trigger"]);
    assert!(!denied.status.success(), "{denied}");
    let unconfined = docker
        .run(&["--security-opt", "apparmor=unconfined"], NATIVE, &show)
        .ok();
    assert_eq!(unconfined.stdout, "unconfined\n");
    let absent = docker.run(&["--security-opt", "apparmor=none-such"], NATIVE, &show);
    // Ours alone tells which.
    let told = absent.stderr.contains("none-such") || !case.runtime.ours;
    assert!(!absent.status.success() && told, "{absent}");
}

fn writable_cgroups(case: &Case) {
    let docker = Docker::new(case);
    let script = "mkdir /sys/fs/cgroup/inner && echo made; rmdir /sys/fs/cgroup/inner";
    let run = |flags: &[&str]| docker.run(flags, NATIVE, &["sh", "-c", script]);
    assert!(run(&[]).stderr.contains("Read-only file system"));
    let output = run(&["--security-opt", "writable-cgroups=true"]).ok();
    assert_eq!(output.stdout, "made\n");
    assert!(
        !run(&["--security-opt", "writable-cgroups=false"])
            .status
            .success()
    );
}

/// The names of a user and groups, ids that no file lists, and the capabilities of one who is not root.
fn users(case: &Case) {
    let docker = Docker::new(case);
    let show = [
        "sed",
        "-n",
        "s/^\\(Uid\\|Gid\\|Groups\\|CapEff\\|CapBnd\\):\\t//p",
        "/proc/self/status",
    ];
    let flags = [
        "-u",
        "user:extra",
        "--group-add",
        "2500",
        "--cap-drop",
        "CHOWN",
        "--entrypoint",
        show[0],
    ];
    let output = docker.run(&flags, NATIVE, &show[1..]).ok();
    let id = |number: u32| {
        [
            number.to_string(),
            number.to_string(),
            number.to_string(),
            number.to_string(),
        ]
        .join("\t")
    };
    let expected = [
        &*id(1000),
        &id(2000),
        "2000 2500 ",
        "0000000000000000",
        "00000000a80425fa",
    ];
    let lines = output.lines();
    let same = lines
        .iter()
        .zip(expected)
        .all(|(line, expected)| line.trim_end() == expected.trim_end());
    assert!(same && lines.len() == expected.len(), "{output}");
    let unknown = docker
        .run(
            &["-u", "54321"],
            NATIVE,
            &["sh", "-c", "id -u; id -g; echo $HOME"],
        )
        .ok();
    assert_eq!(unknown.lines(), ["54321", "0", "/"]);
}

/// A guest's process is kept from as much as a program's; with one filter more, which is there without Docker's too.
fn restrictions_of_a_guest(case: &Case) {
    let docker = Docker::new(case);
    let status = |flags: &[&str]| {
        let id = docker.start(flags, "wasm-sleep:test", &[]);
        docker.wait_for_log(&id, "sleeping");
        let pid = docker.inspect(&id, "{{.State.Pid}}");
        let file = |name: &str| fs::read_to_string(format!("/proc/{pid}/{name}")).unwrap_or_default();
        (file("status"), file("attr/current"))
    };
    let has = |status: &str, line: &str| {
        let found = status.lines().any(|own| own.trim_end() == line);
        assert!(found, "{line}: {status}");
    };
    let flags = [
        "-u",
        "1000:2000",
        "--group-add",
        "2500",
        "--security-opt",
        "no-new-privileges",
    ];
    let (ordinary, profile) = status(&flags);
    for line in [
        "Uid:\t1000\t1000\t1000\t1000",
        "Gid:\t2000\t2000\t2000\t2000",
        "Groups:\t2000 2500",
    ] {
        has(&ordinary, line);
    }
    for line in [
        "CapEff:\t0000000000000000",
        "NoNewPrivs:\t1",
        "Seccomp_filters:\t2",
    ] {
        has(&ordinary, line);
    }
    if Need::AppArmorProfile.missing().is_none() {
        assert_eq!(profile, "docker-default (enforce)\n");
    }
    let (free, profile) = status(&[
        "--security-opt",
        "seccomp=unconfined",
        "--security-opt",
        "apparmor=unconfined",
    ]);
    has(&free, "Seccomp_filters:\t1");
    assert!(["", "unconfined\n"].contains(&profile.as_str()), "{profile}");
}
