//! Closed sets of names, each of which must mean what it says: capabilities and limits; and what is for another
//! system.

use serde_json::json;

use super::{assert_sets, limits, status_with};
use crate::harness::{Case, Test, test};

pub fn tests() -> Vec<Test> {
    vec![
        test!(each_capability)
            .covers(&["process.capabilities.{bounding,effective,inheritable,permitted,ambient}=*"]),
        test!(each_limit).covers(&["process.rlimits.{type,soft,hard}", "process.rlimits.type=*"]),
        test!(what_is_for_windows_is_passed_over).covers(&["process.user.username", "process.commandLine"]),
    ]
}

/// By number (linux/capability.h).
pub const CAPABILITIES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// Container n has those whose number has bit n, so that two names in each other's place would show.
fn each_capability(case: &Case) {
    let ours = rustix::thread::capabilities(None)
        .expect("our own sets")
        .permitted
        .bits();
    for bit in 0..6 {
        let numbers: Vec<usize> = (0..CAPABILITIES.len())
            .filter(|number| number & (1 << bit) != 0 && ours & (1 << number) != 0)
            .collect();
        let names: Vec<_> = numbers
            .iter()
            .map(|number| format!("CAP_{}", CAPABILITIES[*number]))
            .collect();
        let text = status_with(case, |config| {
            config["process"]["user"] = json!({ "uid": 1000, "gid": 1000 });
            config["process"]["capabilities"] = json!({
                "bounding": names, "permitted": names, "effective": names, "inheritable": names, "ambient": names
            });
        });
        let mask = numbers.iter().map(|number| 1_u64 << number).sum();
        assert_sets(&text, [mask; 5]);
    }
}

/// Each with a value of its own, below what the machine allows.
fn each_limit(case: &Case) {
    const HUGE: u64 = 1 << 45;
    let all: [(&str, &str, u64, u64); 16] = [
        ("RLIMIT_CPU", "Max cpu time", 101, 201),
        ("RLIMIT_FSIZE", "Max file size", 1 << 20, 1 << 21),
        ("RLIMIT_DATA", "Max data size", HUGE + 4096, HUGE + 8192),
        ("RLIMIT_STACK", "Max stack size", 4 << 20, 5 << 20),
        ("RLIMIT_CORE", "Max core file size", 1003, 2003),
        ("RLIMIT_RSS", "Max resident set", HUGE + 12288, HUGE + 16384),
        ("RLIMIT_NPROC", "Max processes", 104, 204),
        ("RLIMIT_NOFILE", "Max open files", 105, 205),
        ("RLIMIT_MEMLOCK", "Max locked memory", 4097, 4098),
        ("RLIMIT_AS", "Max address space", HUGE + 20480, HUGE + 24576),
        ("RLIMIT_LOCKS", "Max file locks", 106, 206),
        ("RLIMIT_SIGPENDING", "Max pending signals", 107, 207),
        ("RLIMIT_MSGQUEUE", "Max msgqueue size", 1008, 2008),
        ("RLIMIT_NICE", "Max nice priority", 0, 0),
        ("RLIMIT_RTPRIO", "Max realtime priority", 0, 0),
        ("RLIMIT_RTTIME", "Max realtime timeout", 1_000_009, 2_000_009),
    ];
    let container = case.container_with(&["cat", "/proc/self/limits"], |config| {
        let list = all.map(|(kind, _, soft, hard)| json!({ "type": kind, "soft": soft, "hard": hard }));
        config["process"]["rlimits"] = json!(list);
    });
    let text = container.run().ok().stdout;
    for (kind, line, soft, hard) in all {
        // runc built with Go 1.19 raises this soft limit.
        if kind != "RLIMIT_NOFILE" || case.runtime.ours {
            assert_eq!(
                limits(&text, line),
                [soft.to_string(), hard.to_string()],
                "{kind}"
            );
        }
    }
}

fn what_is_for_windows_is_passed_over(case: &Case) {
    let container = case.script_with("id -u; echo by args", |config| {
        config["process"]["user"]["username"] = json!("nobody");
        config["process"]["commandLine"] = json!("echo by commandLine");
    });
    assert_eq!(container.run().ok().stdout, "0\nby args\n");
}
