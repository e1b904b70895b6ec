//! Programs run by a small interpreter, and some of them by the kernel.

use rustix::io::Errno;

use super::*;
use crate::plan::seccomp::Flags;

fn rule(syscall: &str, action: Action) -> Rule {
    Rule {
        syscall: syscall.into(),
        action,
        conditions: vec![],
    }
}

fn condition(index: u32, operator: Operator, value: u64, value_two: u64) -> Condition {
    Condition {
        index,
        operator,
        value,
        value_two,
    }
}

fn conditional(syscall: &str, action: Action, conditions: &[Condition]) -> Rule {
    Rule {
        conditions: conditions.to_vec(),
        ..rule(syscall, action)
    }
}

fn with(default_action: Action, rules: Vec<Rule>) -> Seccomp {
    Seccomp {
        default_action,
        architectures: vec![],
        flags: Flags::default(),
        rules,
        listener: None,
        fail_unknown: false,
    }
}

/// Forbids by default, like the engines' profiles.
pub fn profile() -> Seccomp {
    let value = condition(0, Operator::Equal, 8, 0);
    let rules = vec![
        rule("read", Action::Allow),
        rule("statx", Action::Allow),
        conditional("personality", Action::Allow, &[value]),
    ];
    let architectures = vec![
        "SCMP_ARCH_X86_64".into(),
        "SCMP_ARCH_X86".into(),
        "SCMP_ARCH_X32".into(),
    ];
    Seccomp {
        architectures,
        ..with(Action::Errno(1), rules)
    }
}

/// Loads a filter in a thread of its own, to which it is confined, and answers what the calls gave.
fn under<T: Send + 'static>(seccomp: &Seccomp, calls: impl FnOnce() -> T + Send + 'static) -> T {
    let program = compile(seccomp).unwrap();
    std::thread::spawn(move || {
        super::super::no_new_privileges().unwrap();
        assert!(load(&program).unwrap().is_none());
        calls()
    })
    .join()
    .unwrap()
}

fn sethostname_error() -> Option<i32> {
    // An invalid name: changes nothing where the filter lets it through.
    nix::unistd::sethostname("x".repeat(200))
        .err()
        .map(|error| error as i32)
}

#[test]
fn errno_is_what_the_rule_says() {
    let seccomp = with(Action::Allow, vec![rule("sethostname", Action::Errno(61))]);
    assert_eq!(under(&seccomp, sethostname_error), Some(61));
}

#[test]
fn all_conditions_of_a_rule_must_hold_and_two_on_one_argument_are_alternatives() {
    let all = conditional(
        "kcmp",
        Action::Errno(61),
        &[
            condition(0, Operator::GreaterOrEqual, 10, 0),
            condition(1, Operator::MaskedEqual, 0xf0, 0x20),
        ],
    );
    let either = conditional(
        "sched_get_priority_max",
        Action::Errno(62),
        &[
            condition(0, Operator::Equal, 0, 0),
            condition(0, Operator::Equal, 1, 0),
        ],
    );
    assert!(names_an_argument_twice(&either.conditions) && !names_an_argument_twice(&all.conditions));
    let program = compile(&with(Action::Allow, vec![all, either])).unwrap();
    let answer = |name: &str, args: [u64; 2]| run(&program, name, args);
    assert_eq!(answer("kcmp", [10, 0x2f]), 0x0005_0000 | 61);
    assert_eq!(answer("kcmp", [9, 0x2f]), ALLOW);
    assert_eq!(answer("kcmp", [10, 0x3f]), ALLOW);
    assert_eq!(answer("sched_get_priority_max", [0, 0]), 0x0005_0000 | 62);
    assert_eq!(answer("sched_get_priority_max", [1, 0]), 0x0005_0000 | 62);
    assert_eq!(answer("sched_get_priority_max", [2, 0]), ALLOW);
}

const ALLOW: u32 = 0x7fff_0000;

/// A program's answer to a native call, as the kernel would find it.
fn run(program: &Program, name: &str, args: [u64; 2]) -> u32 {
    let number = i32::from(ScmpSyscall::from_name(name).unwrap());
    run_number(program, number as u32, args)
}

fn run_number(program: &Program, number: u32, args: [u64; 2]) -> u32 {
    let native = ScmpArch::native();
    let audit = ARCHITECTURES.iter().find(|one| one.scmp == native).unwrap().audit;
    answer(&program.instructions, audit, number, args)
}

/// What the instructions answer to a call on the architecture `audit`.
pub fn answer(instructions: &[u8], audit: u32, number: u32, args: [u64; 2]) -> u32 {
    let mut data = [number.to_ne_bytes(), audit.to_ne_bytes(), [0; 4], [0; 4]].concat();
    data.extend(args.iter().chain(&[0; 4]).flat_map(|arg| arg.to_ne_bytes()));
    let (mut at, mut value) = (0, 0_u32);
    loop {
        let one = &instructions[at * 8..at * 8 + 8];
        let operand = u32::from_ne_bytes([one[4], one[5], one[6], one[7]]);
        let jump = |condition: bool| usize::from(if condition { one[2] } else { one[3] });
        at += 1;
        match u16::from_ne_bytes([one[0], one[1]]) {
            0x20 => {
                let from = operand as usize;
                value = u32::from_ne_bytes(data[from..from + 4].try_into().unwrap());
            }
            0x54 => value &= operand,
            0x05 => at += operand as usize,
            0x15 => at += jump(value == operand),
            0x25 => at += jump(value > operand),
            0x35 => at += jump(value >= operand),
            0x45 => at += jump(value & operand != 0),
            0x06 => return operand,
            code => panic!("instruction {code:#x}"),
        }
    }
}

#[test]
fn every_action_comes_out_as_the_kernels_number() {
    for (action, number) in [
        (Action::Allow, ALLOW),
        (Action::KillThread, 0),
        (Action::KillProcess, 0x8000_0000),
        (Action::Trap, 0x0003_0000),
        (Action::Errno(13), 0x0005_000d),
        (Action::Trace(7), 0x7ff0_0007),
        (Action::Log, 0x7ffc_0000),
        (Action::Notify, 0x7fc0_0000),
    ] {
        let default = if action == Action::Allow {
            Action::Errno(1)
        } else {
            Action::Allow
        };
        let program = compile(&with(default, vec![rule("kcmp", action)])).unwrap();
        assert_eq!(run(&program, "kcmp", [0, 0]), number, "{action:?}");
        assert_eq!(program.notifies(), action == Action::Notify);
    }
}

#[test]
fn every_operator_compares_as_it_says() {
    for (operator, below, equal, above) in [
        (Operator::NotEqual, true, false, true),
        (Operator::LessThan, true, false, false),
        (Operator::LessOrEqual, true, true, false),
        (Operator::Equal, false, true, false),
        (Operator::GreaterOrEqual, false, true, true),
        (Operator::GreaterThan, false, false, true),
    ] {
        let value = 1 << 40;
        let rules = vec![conditional(
            "kcmp",
            Action::Allow,
            &[condition(1, operator, value, 0)],
        )];
        let program = compile(&with(Action::Errno(1), rules)).unwrap();
        for (argument, holds) in [(value - 1, below), (value, equal), (value + 1, above)] {
            assert_eq!(
                run(&program, "kcmp", [0, argument]) == ALLOW,
                holds,
                "{operator:?} {argument:#x}"
            );
        }
    }
}

#[test]
fn calls_newer_than_the_profile_get_enosys_and_others_the_default() {
    let program = compile(&profile()).unwrap();
    let statx = i32::from(ScmpSyscall::from_name("statx").unwrap()) as u32;
    assert_eq!(run_number(&program, statx, [0, 0]), ALLOW);
    assert_eq!(
        run_number(&program, statx + 1, [0, 0]),
        0x0005_0000 | libc::ENOSYS as u32
    );
    assert_eq!(run(&program, "mount", [0, 0]), 0x0005_0001);
    assert_eq!(run(&program, "personality", [8, 0]), ALLOW);
    assert_eq!(run(&program, "personality", [9, 0]), 0x0005_0001);
    // Nothing is put before a filter that allows by default.
    let program = compile(&with(Action::Allow, vec![rule("statx", Action::Errno(1))])).unwrap();
    assert_eq!(run_number(&program, statx + 1, [0, 0]), ALLOW);
}

#[test]
fn x32_numbers_carry_their_bit() {
    let number = highest_number(&profile(), ScmpArch::X32);
    assert!(
        number.is_some_and(|number| number & 0x4000_0000 != 0),
        "{number:x?}"
    );
}

#[test]
fn unknown_calls_and_rules_that_say_the_default_are_left_out() {
    let plain = compile(&with(Action::Allow, vec![rule("kcmp", Action::Errno(1))])).unwrap();
    let rules = vec![
        rule("no_such_call", Action::Errno(1)),
        rule("kcmp", Action::Errno(1)),
        rule("read", Action::Allow),
    ];
    assert_eq!(compile(&with(Action::Allow, rules)).unwrap(), plain);
}

#[test]
fn flags_are_the_kernels_and_those_without_effect_are_left_out() {
    let flags = Flags {
        tsync: true,
        log: true,
        spec_allow: true,
        wait_killable: true,
    };
    let quiet = Seccomp {
        flags,
        ..with(Action::Allow, vec![rule("kcmp", Action::Log)])
    };
    assert_eq!(kernel_flags(&quiet), 0b0110);
    let notifying = Seccomp {
        rules: vec![rule("kcmp", Action::Notify)],
        ..quiet
    };
    assert_eq!(kernel_flags(&notifying), 0b10_1110);
}

#[test]
fn what_cannot_be_had_is_named() {
    let unknown = Seccomp {
        architectures: vec!["SCMP_ARCH_VAX".into()],
        ..with(Action::Allow, vec![])
    };
    assert!(
        compile(&unknown)
            .unwrap_err()
            .to_string()
            .contains("SCMP_ARCH_VAX")
    );
    let write = with(Action::Allow, vec![rule("sendmsg", Action::Notify)]);
    assert!(matches!(compile(&write), Err(SecurityError::SeccompNotifyHandOver(call)) if call == "sendmsg"));
    let bad = with(
        Action::Allow,
        vec![conditional(
            "kcmp",
            Action::Log,
            &[condition(9, Operator::Equal, 0, 0)],
        )],
    );
    assert!(compile(&bad).unwrap_err().to_string().contains("kcmp"));
    let many = (0..4000)
        .map(|n| {
            conditional(
                "kcmp",
                Action::Log,
                &[condition(0, Operator::Equal, n << 32 | n, 0)],
            )
        })
        .collect();
    assert!(matches!(
        compile(&with(Action::Allow, many)),
        Err(SecurityError::SeccompTooLong(_))
    ));
}

#[test]
fn a_notifying_filter_answers_its_listener() {
    let program = compile(&with(Action::Allow, vec![rule("kcmp", Action::Notify)])).unwrap();
    let listener = std::thread::spawn(move || {
        super::super::no_new_privileges().unwrap();
        load(&program).unwrap()
    });
    let flags = rustix::io::fcntl_getfd(listener.join().unwrap().unwrap()).unwrap();
    assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
}

#[test]
fn without_privilege_or_no_new_privs_loading_is_refused() {
    let program = compile(&with(Action::Allow, vec![rule("kcmp", Action::Errno(1))])).unwrap();
    let error = std::thread::spawn(move || {
        let none = crate::plan::process::Capabilities::default();
        assert!(super::super::capabilities::set(&none).unwrap().is_empty());
        load(&program)
    })
    .join()
    .unwrap()
    .unwrap_err();
    let SecurityError::SeccompLoad { source, .. } = error else {
        panic!("{error:?}")
    };
    assert_eq!(source.raw_os_error(), Some(Errno::ACCESS.raw_os_error()));
}
