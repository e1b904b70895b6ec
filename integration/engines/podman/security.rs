//! `--security-opt`, capabilities, devices, limits, kernel parameters and secrets.

use super::*;

pub fn tests() -> Vec<Test> {
    vec![
        test!(unconfined),
        test!(confined),
        test!(devices),
        test!(limits_parameters_and_secrets),
        test!(privileged_among_the_host_s),
    ]
}

fn unconfined(case: &Case) {
    let podman = Podman::new(case);
    let options = [
        "no-new-privileges",
        "seccomp=unconfined",
        "unmask=ALL",
        "label=disable",
    ]
    .map(|option| format!("--security-opt={option}"));
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let flags = alone(&[&options[..], &["--cap-drop", "all", "--cap-add", "NET_ADMIN"]].concat());
    let script =
        "grep -E '^(CapBnd|NoNewPrivs|Seccomp):' /proc/self/status; grep -cE ' /(proc|sys)/' /proc/mounts";
    let output = podman.run(&flags, NATIVE, &["sh", "-c", script]);
    let lines = output.lines();
    let expected = ["CapBnd:\t0000000000001000", "NoNewPrivs:\t1", "Seccomp:\t0"];
    assert_eq!(lines[..3], expected, "{output}");
    // The cgroups alone.
    let masked = podman.run(NO_NETWORK, NATIVE, &["sh", "-c", script]).ok();
    let number = |text: &str| text.parse::<usize>().expect("a number");
    let (few, more) = (number(lines[3]), number(masked.lines()[3]));
    assert!(few + 5 <= more, "{output}{masked}");
}

fn confined(case: &Case) {
    let podman = Podman::new(case);
    let profile = case.path("profile.json");
    let text = r#"{ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
        { "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28 }] }"#;
    fs::write(&profile, text).expect("a file");
    let profile = format!("seccomp={profile}");
    let flags = [
        "--security-opt",
        &profile,
        "--security-opt",
        "mask=/etc/group:/home",
        "--security-opt",
        "proc-opts=hidepid=2",
    ];
    let script = "cat /etc/group; ls /home; grep '^proc /proc ' /proc/mounts | grep -o hidepid; mkdir /tmp/d";
    let output = podman
        .run(&alone(&flags), NATIVE, &["sh", "-c", script])
        .code_is(1);
    assert_eq!(output.stdout, "hidepid\n", "{output}");
    assert!(output.stderr.contains("No space left"), "{output}");
}

fn devices(case: &Case) {
    let podman = Podman::new(case);
    let flags = [
        "--cap-add",
        "MKNOD",
        "--device",
        "/dev/zero:/dev/other:r",
        "--device-cgroup-rule",
        "c 10:229 r",
    ];
    // The kernel asks for the rule before it looks for a driver; and in /dev, since the root may be on a mount without
    // devices, which runc and we leave so.
    let script = "
        dd if=/dev/other bs=3 count=1 2>/dev/null | wc -c
        mknod /dev/ruled c 10 229; mknod /dev/unruled c 10 228
        for node in ruled unruled; do
            for sign in '<' '>'; do
                (eval \"exec 3$sign/dev/$node\") 2>&1 | grep -q 'not permitted' && echo $node $sign is denied
            done
        done; true";
    let output = podman.run(&alone(&flags), NATIVE, &["sh", "-c", script]).ok();
    let expected = [
        "3",
        "ruled > is denied",
        "unruled < is denied",
        "unruled > is denied",
    ];
    assert_eq!(output.lines(), expected, "{output}");
}

fn limits_parameters_and_secrets(case: &Case) {
    let podman = Podman::new(case);
    let file = case.path("secret");
    fs::write(&file, "secretly").expect("a file");
    podman.call(&["secret", "create", "word", &file]).ok();
    let flags = [
        "--ulimit",
        "nofile=100:200",
        "--ulimit",
        "nproc=4096:4096",
        "--ulimit",
        "core=0",
        "--sysctl",
        "net.ipv4.ip_forward=1",
        "--sysctl",
        "kernel.shmmax=100000",
        "--secret",
        "word,mode=0400,uid=1000",
        "--secret",
        "word,type=env,target=WORD",
        "--shm-size",
        "3m",
        "--hostname",
        "named",
    ];
    let script = "
        ulimit -n; ulimit -Hn; ulimit -c
        cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/shmmax
        echo $WORD; cat /run/secrets/word; stat -c ' %a %u' /run/secrets/word
        df -m /dev/shm | awk 'END { print $2 }'; hostname";
    let output = podman.run(&alone(&flags), NATIVE, &["sh", "-c", script]).ok();
    let expected = [
        "100",
        "200",
        "0",
        "1",
        "100000",
        "secretly",
        "secretly 400 1000",
        "3",
        "named",
    ];
    assert_eq!(output.lines(), expected, "{output}");
}

/// `--privileged` in namespaces that are the host's.
fn privileged_among_the_host_s(case: &Case) {
    let podman = Podman::new(case);
    let kinds = ["pid", "ipc", "uts", "net"];
    let script = "
        for kind in pid ipc uts net; do readlink /proc/self/ns/$kind; done
        grep -o 'sysfs /sys sysfs rw' /proc/mounts; grep -E '^(CapEff|Seccomp):' /proc/self/status
        ls -l /dev/kmsg | cut -c 1; dd if=/dev/kmsg bs=8192 count=1 >/dev/null 2>&1 && echo read";
    let host = ["--pid", "--ipc", "--uts", "--network", "--cgroupns"].map(|flag| [flag, "host"]);
    let flags = [&["--privileged"], &host.concat()[..]].concat();
    let output = podman.run(&flags, NATIVE, &["sh", "-c", script]).ok();
    let own: Vec<String> = kinds
        .iter()
        .map(|kind| {
            let link = case.finish(podman.beside(&["readlink", &format!("/proc/self/ns/{kind}")]));
            link.ok().stdout.trim().to_owned()
        })
        .collect();
    let capabilities = fs::read_to_string("/proc/self/status").expect("our status");
    let all = capabilities
        .lines()
        .find_map(|line| line.strip_prefix("CapBnd:\t"));
    let capabilities = format!("CapEff:\t{}", all.expect("a set"));
    let rest = ["sysfs /sys sysfs rw", &capabilities, "Seccomp:\t0", "c", "read"];
    let own: Vec<&str> = own.iter().map(String::as_str).collect();
    assert_eq!(output.lines(), [&own[..], &rest].concat(), "{output}");
}
