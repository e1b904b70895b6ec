//! Every name that seccomp's part of config.json knows, one by one: actions, operators, architectures, flags; and what
//! system calls get that a profile is too old to know.

use super::*;

pub fn tests() -> Vec<Test> {
    vec![
        test!(each_action_of_a_rule).covers(&[
            "linux.seccomp.syscalls.{action,errnoRet}",
            "linux.seccomp.syscalls.action={SCMP_ACT_KILL,SCMP_ACT_KILL_THREAD,SCMP_ACT_KILL_PROCESS}",
            "linux.seccomp.syscalls.action={SCMP_ACT_TRAP,SCMP_ACT_ERRNO,SCMP_ACT_TRACE,SCMP_ACT_LOG}",
        ]),
        test!(rule_that_allows).covers(&["linux.seccomp.syscalls.action=SCMP_ACT_ALLOW"]),
        test!(each_default_action).covers(&[
            "linux.seccomp.{defaultAction,defaultErrnoRet}",
            "linux.seccomp.defaultAction=*",
        ]),
        test!(each_operator).covers(&[
            "linux.seccomp.syscalls.args.{index,value,valueTwo,op}",
            "linux.seccomp.syscalls.args.op=*",
        ]),
        test!(each_architecture).covers(&["linux.seccomp.architectures", "linux.seccomp.architectures=*"]),
        test!(rule_holds_for_another_architecture)
            .needs(Need::Ia32)
            .covers(&["linux.seccomp.architectures=SCMP_ARCH_X86"]),
        test!(each_flag).covers(&["linux.seccomp.flags", "linux.seccomp.flags=*"]),
        test!(call_newer_than_the_profile_is_unknown).needs(Need::KnownMachineCode),
    ]
}

/// What becomes of a `mkdir` whose call gets an action: the exit status that the shell tells, and a word of it.
const FATES: [(&str, &str, &str); 8] = [
    ("SCMP_ACT_ALLOW", "0", ""),
    ("SCMP_ACT_LOG", "0", ""),
    ("SCMP_ACT_ERRNO", "1", "not supported"),
    // Nobody traces.
    ("SCMP_ACT_TRACE", "1", "not implemented"),
    // 128 + SIGSYS.
    ("SCMP_ACT_TRAP", "159", ""),
    ("SCMP_ACT_KILL", "159", ""),
    ("SCMP_ACT_KILL_THREAD", "159", ""),
    ("SCMP_ACT_KILL_PROCESS", "159", ""),
];

#[track_caller]
fn assert_fate(container: &Container, action: &str, status: &str, word: &str) {
    let output = container.run();
    // runc knows SCMP_ACT_KILL_THREAD with a newer libseccomp alone.
    if container.case.runtime.ours || output.status.success() {
        assert_eq!(
            output.stdout.trim().lines().last(),
            Some(status),
            "{action}: {output}"
        );
        assert!(output.stderr.contains(word), "{action}: {output}");
    }
}

const MAKE: &str = "mkdir /tmp/x; echo $?";

fn each_action_of_a_rule(case: &Case) {
    for (action, status, word) in FATES.iter().filter(|fate| fate.0 != "SCMP_ACT_ALLOW") {
        let number = (*action == "SCMP_ACT_ERRNO").then_some(95);
        let container = case.script_with(MAKE, |config| filter(config, mkdir_gives(action, number)));
        assert_fate(&container, action, status, word);
    }
    // A trap can be caught, a kill cannot: `kill` is a command of the shell's own.
    for (action, last) in [("SCMP_ACT_TRAP", "caught"), ("SCMP_ACT_KILL_PROCESS", "")] {
        let script = "sh -c 'trap \"echo caught\" SYS; kill -0 $$; true' 2>/dev/null; true";
        let container = case.script_with(script, |config| {
            filter(config, json!([{ "names": ["kill"], "action": action }]));
        });
        assert_eq!(container.run().ok().stdout.trim(), last, "{action}");
    }
}

/// Docker's list of what is allowed, without mkdir.
fn docker_without_mkdir(config: &mut Value, default: &str, number: Option<u32>) {
    let docker: Value = serde_json::from_str(include_str!("../fixtures/docker.json")).expect("JSON");
    let mut seccomp = docker["linux"]["seccomp"].clone();
    seccomp["defaultAction"] = json!(default);
    if let Some(number) = number {
        seccomp["defaultErrnoRet"] = json!(number);
    }
    for rule in seccomp["syscalls"].as_array_mut().expect("rules") {
        let names = rule["names"].as_array_mut().expect("names");
        names.retain(|name| name != "mkdir" && name != "mkdirat");
    }
    config["linux"]["seccomp"] = seccomp;
}

fn rule_that_allows(case: &Case) {
    let container = case.script_with(MAKE, |config| {
        docker_without_mkdir(config, "SCMP_ACT_ERRNO", None);
        let rules = config["linux"]["seccomp"]["syscalls"]
            .as_array_mut()
            .expect("rules");
        rules.push(json!({ "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ALLOW" }));
    });
    assert_eq!(container.run().ok().stdout, "0\n");
}

fn each_default_action(case: &Case) {
    for (action, status, word) in FATES {
        let number = (action == "SCMP_ACT_ERRNO").then_some(95);
        let container = case.script_with(MAKE, |config| docker_without_mkdir(config, action, number));
        assert_fate(&container, action, status, word);
    }
    let container = case.script_with(MAKE, |config| {
        docker_without_mkdir(config, "SCMP_ACT_NOTIFY", None);
        config["linux"]["seccomp"]["listenerPath"] = json!(case.path("socket"));
    });
    let output = container.run();
    assert!(!output.status.success(), "{output}");
    case.names(&output, &["linux.seccomp.defaultAction", "SCMP_ACT_NOTIFY"]);
    case.nothing_left();
}

fn each_operator(case: &Case) {
    // Whether signal 10 (USR1) and signal 12 (USR2) are refused.
    for (operator, value, two, usr1, usr2) in [
        ("SCMP_CMP_EQ", 10, 0, true, false),
        ("SCMP_CMP_NE", 10, 0, false, true),
        ("SCMP_CMP_LT", 12, 0, true, false),
        ("SCMP_CMP_LE", 10, 0, true, false),
        ("SCMP_CMP_GE", 12, 0, false, true),
        ("SCMP_CMP_GT", 10, 0, false, true),
        ("SCMP_CMP_MASKED_EQ", 6, 4, false, true),
    ] {
        let script = "trap '' USR1 USR2; for n in 10 12; do \
                      kill -$n $$ 2>/dev/null && echo passed || echo refused; done";
        let container = case.script_with(script, |config| {
            let argument = json!({ "index": 1, "value": value, "valueTwo": two, "op": operator });
            kill_refuses(config, argument);
        });
        let word = |refused| if refused { "refused" } else { "passed" };
        assert_eq!(
            container.run().ok().lines(),
            [word(usr1), word(usr2)],
            "{operator}"
        );
    }
}

fn each_architecture(case: &Case) {
    // With the machine's own there is a filter that the test's own calls go through.
    let own = match std::env::consts::ARCH {
        "aarch64" => "SCMP_ARCH_AARCH64",
        _ => "SCMP_ARCH_X86_64",
    };
    let architectures = crate::properties::values_of("linux.seccomp.architectures");
    assert!(architectures.len() > 20, "{architectures:?}");
    for architecture in architectures {
        let container = case.container_with(&["mkdir", "/tmp/x"], |config| {
            filter(config, mkdir_gives("SCMP_ACT_ERRNO", Some(95)));
            config["linux"]["seccomp"]["architectures"] = json!([own, architecture]);
        });
        let output = container.run();
        let refused = !output.stderr.contains("not supported");
        // The crate has a name that is none of the specification's. A peer's libseccomp may be too old for others.
        if architecture == "SCMP_ARCH_NATIVE" {
            assert!(refused, "{output}");
            case.names(&output, &["linux.seccomp.architectures", "SCMP_ARCH_NATIVE"]);
        } else if case.runtime.ours {
            assert!(!refused, "{architecture}: {output}");
        }
    }
}

/// i386's mkdir called from a 64-bit program: `int $0x80`.
fn rule_holds_for_another_architecture(case: &Case) {
    let code = [
        &[0xb8, 39, 0, 0, 0][..],      // mov $39, %eax
        &[0xbb, 0, 0, 0x40, 0],        // mov $0x400000, %ebx: a path of no sense
        &[0x31, 0xc9, 0xcd, 0x80],     // xor %ecx, %ecx; int $0x80
        &[0xf7, 0xd8, 0x89, 0xc7],     // neg %eax; mov %eax, %edi
        &[0xb8, 60, 0, 0, 0, 0x0f, 5], // mov $60, %eax; syscall
    ]
    .concat();
    for (architectures, code_expected) in [
        (&["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"][..], 95),
        // What no list names is killed for it.
        (&["SCMP_ARCH_X86_64"], 128 + 31),
    ] {
        let container = case.container_with(&["sh", "-c", "/program; exit $?"], |config| {
            filter(config, mkdir_gives("SCMP_ACT_ERRNO", Some(95)));
            config["linux"]["seccomp"]["architectures"] = json!(architectures);
        });
        container.write("program", elf(&code), 0o755);
        container.run().code_is(code_expected);
    }
}

fn each_flag(case: &Case) {
    let flags = crate::properties::values_of("linux.seccomp.flags");
    assert!(flags.len() >= 4, "{flags:?}");
    for flag in flags {
        let path = case.dir.join("notify.sock");
        let _ = std::fs::remove_file(&path);
        let socket = DescriptorSocket::listen(&path);
        // This one is for a filter with a listener, which the kernel would refuse it without.
        let notifies = flag == "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV";
        let container = case.container_with(&["grep", "^Seccomp:", "/proc/self/status"], |config| {
            let action = if notifies {
                "SCMP_ACT_NOTIFY"
            } else {
                "SCMP_ACT_ERRNO"
            };
            filter(config, mkdir_gives(action, None));
            config["linux"]["seccomp"]["flags"] = json!([flag]);
            if notifies {
                config["linux"]["seccomp"]["listenerPath"] = json!(path);
            }
        });
        let run = case.start(container.command("run", &[]));
        if notifies && case.runtime.ours {
            drop(socket.receive_with_data());
        }
        let output = run.wait();
        if case.runtime.ours || output.status.success() {
            assert_eq!(output.ok().stdout, "Seccomp:\t2\n", "{flag}");
        }
    }
}

/// A profile that allows what it knows must not give EPERM for what came later: programs try new calls and fall back
/// when the kernel does not know them.
fn call_newer_than_the_profile_is_unknown(case: &Case) {
    let code: Vec<u8> = match std::env::consts::ARCH {
        // mov $9999, %eax; syscall; neg %eax; mov %eax, %edi; mov $60, %eax; syscall
        "x86_64" => [
            &[0xb8, 0x0f, 0x27, 0, 0, 0x0f, 5, 0xf7, 0xd8, 0x89, 0xc7][..],
            &[0xb8, 60, 0, 0, 0, 0x0f, 5],
        ]
        .concat(),
        // mov x8, #9999; svc #0; neg x0, x0; mov x8, #93; svc #0
        _ => [
            0xd284_e1e8_u32,
            0xd400_0001,
            0xcb00_03e0,
            0xd280_0ba8,
            0xd400_0001,
        ]
        .iter()
        .flat_map(|word| word.to_le_bytes())
        .collect(),
    };
    let container = case.container_with(&["/program"], |config| {
        docker_without_mkdir(config, "SCMP_ACT_ERRNO", None);
    });
    container.write("program", elf(&code), 0o755);
    // ENOSYS.
    container.run().code_is(38);
}

/// A program of the code alone, at the address 0x400000 (elf(5)).
fn elf(code: &[u8]) -> Vec<u8> {
    let machine: u16 = if std::env::consts::ARCH == "x86_64" {
        62
    } else {
        183
    };
    let (header, base) = (64_u64 + 56, 0x40_0000_u64);
    let size = header + code.len() as u64;
    let mut file = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    file.extend([2_u16.to_le_bytes(), machine.to_le_bytes()].concat());
    file.extend(1_u32.to_le_bytes());
    file.extend([base + header, 64, 0].map(u64::to_le_bytes).concat());
    file.extend(0_u32.to_le_bytes());
    file.extend([64, 56, 1, 64, 0, 0].map(u16::to_le_bytes).concat());
    // One segment to load, readable and executable.
    file.extend([1_u32, 5].map(u32::to_le_bytes).concat());
    file.extend([0, base, base, size, size, 0x1000].map(u64::to_le_bytes).concat());
    file.extend(code);
    file
}
