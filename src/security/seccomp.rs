//! From the plan's rules to a program of the kernel's (libseccomp does the translation), and loading it.
//!
//! The translation follows runc's wherever the runtime spec leaves a choice, since engines' profiles are
//! tried with it: unknown syscalls are left out, rules that say what the default says as well, conditions on
//! one argument twice mean either, and new syscalls get `ENOSYS` (see `seccomp_enosys`).

use std::fs::File;
use std::io::{Read, Seek};
use std::os::fd::OwnedFd;

use libseccomp::error::SeccompError;
use libseccomp::{ScmpAction, ScmpArch, ScmpArgCompare, ScmpCompareOp, ScmpFilterContext, ScmpSyscall};
use rustix::fs::MemfdFlags;

use super::SecurityError;
use super::seccomp_enosys::{Highest, stub};
use super::seccomp_names::{ARCHITECTURES, AUDIT_X86_64, Architecture};
use super::seccomp_short::shorten;
use crate::plan::seccomp::{Action, Condition, Operator, Rule, Seccomp};
use crate::sys::seccomp::{INSTRUCTION_SIZE, MAX_INSTRUCTIONS, knows_flags, set_filter};

/// A filter ready to be loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// `struct sock_filter`s, in the machine's byte order.
    pub(super) instructions: Vec<u8>,
    /// SECCOMP_FILTER_FLAG_* for seccomp(2).
    pub(super) flags: u32,
}

impl Program {
    /// Whether [`load`] will answer a listener's descriptor.
    pub fn notifies(&self) -> bool {
        u64::from(self.flags) & libc::SECCOMP_FILTER_FLAG_NEW_LISTENER != 0
    }
}

/// Above so many rules the program becomes a binary tree over syscall numbers in place of a list (libseccomp's
/// SCMP_FLTATR_CTL_OPTIMIZE 2, which up to 2.5.4 is wrong for a filter without rules).
const TREE_ABOVE: usize = 32;

/// Translates a plan's filter.
///
/// # Errors
/// What the profile asks for and cannot be had: unknown architectures, notification where it would hang the
/// launch, a program that is too long for the kernel, or what libseccomp refuses.
pub fn compile(seccomp: &Seccomp) -> Result<Program, SecurityError> {
    check(seccomp)?;
    let architectures = seccomp.architectures.iter().map(|name| architecture(name));
    let architectures: Vec<Architecture> = architectures.collect::<Result<_, _>>()?;
    // Of the others no program runs here, and libseccomp may not know them, or not beside each other.
    let architectures: Vec<_> = architectures
        .into_iter()
        .filter(Architecture::runs_here)
        .collect();

    let default = scmp_action(seccomp.default_action);
    let failed = |step: String| move |source: SeccompError| SecurityError::SeccompCompile { step, source };
    let mut filter = ScmpFilterContext::new(default).map_err(failed("make a filter".into()))?;
    for architecture in &architectures {
        let step = || format!("add architecture {}", architecture.name);
        filter
            .add_arch(architecture.scmp)
            .map_err(|source| failed(step())(source))?;
    }
    if seccomp.rules.len() > TREE_ABOVE {
        filter
            .set_ctl_optimize(2)
            .map_err(failed("optimise the filter".into()))?;
    }
    for rule in seccomp
        .rules
        .iter()
        .filter(|rule| rule.action != seccomp.default_action)
    {
        // Unknown to this libseccomp: a call of another architecture or of a later kernel.
        let Ok(syscall) = ScmpSyscall::from_name(&rule.syscall) else {
            continue;
        };
        let step = || format!("add the rule for syscall {}", rule.syscall);
        add_rule(&mut filter, syscall, rule).map_err(|source| failed(step())(source))?;
    }

    let mut instructions = enosys_stub(seccomp, &architectures);
    export(&filter, &mut instructions)?;
    if let Some(shorter) = shorten(&instructions) {
        instructions = shorter;
    }
    let count = instructions.len() / INSTRUCTION_SIZE;
    if count > MAX_INSTRUCTIONS {
        return Err(SecurityError::SeccompTooLong(count));
    }
    Ok(Program {
        instructions,
        flags: kernel_flags(seccomp),
    })
}

/// Loads the program for the calling thread; from here on it and its children are bound by it.
///
/// Answers the descriptor of the listener where a rule notifies: to be handed over at once, since every call
/// that notifies waits for an answer.
///
/// # Errors
/// `EACCES` without no_new_privs and CAP_SYS_ADMIN; `EINVAL` where the kernel lacks a flag; `EBUSY` where an
/// outer filter has a listener already.
pub fn load(program: &Program) -> Result<Option<OwnedFd>, SecurityError> {
    set_filter(&program.instructions, program.flags).map_err(|source| SecurityError::SeccompLoad {
        flags: program.flags,
        source,
    })
}

/// Whether the kernel takes the SECCOMP_FILTER_FLAG_* `flag`.
pub(super) fn kernel_knows(flag: u64) -> bool {
    // This one is taken only together with a listener.
    let with = if flag == libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV {
        libc::SECCOMP_FILTER_FLAG_NEW_LISTENER
    } else {
        0
    };
    knows_flags((flag | with) as u32)
}

/// The flags of the plan, as seccomp(2) takes them.
///
/// TSYNC is not among them: it extends the filter to a process's other threads, and this process has none
/// (nor could it be had together with a listener). WAIT_KILLABLE_RECV is about how notified calls wait, and
/// the kernel refuses it where there are none.
pub(super) fn kernel_flags(seccomp: &Seccomp) -> u32 {
    let notifies = seccomp.rules.iter().any(|rule| rule.action == Action::Notify);
    let flags = [
        (seccomp.flags.log, libc::SECCOMP_FILTER_FLAG_LOG),
        (seccomp.flags.spec_allow, libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW),
        (notifies, libc::SECCOMP_FILTER_FLAG_NEW_LISTENER),
        (
            notifies && seccomp.flags.wait_killable,
            libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV,
        ),
    ];
    flags
        .into_iter()
        .filter(|(set, _)| *set)
        .fold(0, |all, (_, flag)| all | flag as u32)
}

/// What hands the listener's descriptor to the parent. A filter that holds these up would wait for an agent
/// that waits for the descriptor.
const HAND_OVER: [&str; 2] = ["sendmsg", "write"];

/// What a compiled program does not show.
pub(super) fn check(seccomp: &Seccomp) -> Result<(), SecurityError> {
    if seccomp.fail_unknown {
        let unknown = |rule: &&Rule| ScmpSyscall::from_name(&rule.syscall).is_err();
        if let Some(rule) = seccomp.rules.iter().find(unknown) {
            return Err(SecurityError::SeccompUnknown(rule.syscall.clone()));
        }
    }
    check_notify(seccomp)
}

fn check_notify(seccomp: &Seccomp) -> Result<(), SecurityError> {
    if seccomp.default_action == Action::Notify {
        return Err(SecurityError::SeccompNotifyDefault);
    }
    let mut notifying = seccomp.rules.iter().filter(|rule| rule.action == Action::Notify);
    match notifying.find(|rule| HAND_OVER.contains(&rule.syscall.as_str())) {
        Some(rule) => Err(SecurityError::SeccompNotifyHandOver(rule.syscall.clone())),
        None => Ok(()),
    }
}

fn architecture(name: &str) -> Result<Architecture, SecurityError> {
    let found = ARCHITECTURES
        .iter()
        .find(|architecture| architecture.name == name);
    found
        .copied()
        .ok_or_else(|| SecurityError::SeccompArchitecture(name.into()))
}

fn add_rule(filter: &mut ScmpFilterContext, syscall: ScmpSyscall, rule: &Rule) -> Result<(), SeccompError> {
    let action = scmp_action(rule.action);
    let conditions: Vec<ScmpArgCompare> = rule.conditions.iter().map(scmp_condition).collect();
    if conditions.is_empty() {
        filter.add_rule(action, syscall)?;
    } else if names_an_argument_twice(&rule.conditions) {
        // libseccomp cannot express two conditions on one argument; runc takes each for a rule of its own.
        for condition in conditions {
            filter.add_rule_conditional(action, syscall, &[condition])?;
        }
    } else {
        filter.add_rule_conditional(action, syscall, &conditions)?;
    }
    Ok(())
}

fn names_an_argument_twice(conditions: &[Condition]) -> bool {
    conditions
        .iter()
        .enumerate()
        .any(|(at, one)| conditions[..at].iter().any(|other| other.index == one.index))
}

fn scmp_action(action: Action) -> ScmpAction {
    match action {
        Action::Allow => ScmpAction::Allow,
        Action::KillThread => ScmpAction::KillThread,
        Action::KillProcess => ScmpAction::KillProcess,
        Action::Trap => ScmpAction::Trap,
        Action::Errno(number) => ScmpAction::Errno(number.into()),
        Action::Trace(message) => ScmpAction::Trace(message),
        Action::Log => ScmpAction::Log,
        Action::Notify => ScmpAction::Notify,
    }
}

fn scmp_condition(condition: &Condition) -> ScmpArgCompare {
    let Condition {
        index,
        operator,
        value,
        value_two,
    } = *condition;
    match operator {
        Operator::NotEqual => ScmpArgCompare::new(index, ScmpCompareOp::NotEqual, value),
        Operator::LessThan => ScmpArgCompare::new(index, ScmpCompareOp::Less, value),
        Operator::LessOrEqual => ScmpArgCompare::new(index, ScmpCompareOp::LessOrEqual, value),
        Operator::Equal => ScmpArgCompare::new(index, ScmpCompareOp::Equal, value),
        Operator::GreaterOrEqual => ScmpArgCompare::new(index, ScmpCompareOp::GreaterEqual, value),
        Operator::GreaterThan => ScmpArgCompare::new(index, ScmpCompareOp::Greater, value),
        Operator::MaskedEqual => ScmpArgCompare::new(index, ScmpCompareOp::MaskedEqual(value), value_two),
    }
}

/// Empty where the default lets new syscalls through, or answers `ENOSYS` already. A tracer is taken to deal
/// with calls that it does not know.
fn enosys_stub(seccomp: &Seccomp, architectures: &[Architecture]) -> Vec<u8> {
    match seccomp.default_action {
        Action::Allow | Action::Log | Action::Trace(_) => return Vec::new(),
        Action::Errno(number) if i32::from(number) == libc::ENOSYS => return Vec::new(),
        Action::Errno(_) | Action::KillThread | Action::KillProcess | Action::Trap | Action::Notify => {}
    }
    let native = ScmpArch::native();
    // The machine's own, which libseccomp adds in any case, first.
    let mut all: Vec<&Architecture> = ARCHITECTURES.iter().filter(|one| one.scmp == native).collect();
    all.extend(architectures.iter().filter(|one| one.scmp != native));

    let mut highest: Vec<Highest> = Vec::with_capacity(all.len());
    for architecture in all {
        let audit = architecture.audit;
        let number = highest_number(seccomp, architecture.scmp);
        let at = highest
            .iter()
            .position(|one| one.audit == audit)
            .unwrap_or_else(|| {
                highest.push(Highest {
                    audit,
                    native: None,
                    x32: None,
                    may_be_x32: audit == AUDIT_X86_64,
                    zero_is_unknown: matches!(architecture.scmp, ScmpArch::S390 | ScmpArch::S390X),
                });
                highest.len() - 1
            });
        let slot = if architecture.scmp == ScmpArch::X32 {
            &mut highest[at].x32
        } else {
            &mut highest[at].native
        };
        *slot = number;
    }
    stub(&highest)
}

/// The highest number that the profile names, whatever it says about it; libseccomp's own negative numbers
/// stand for calls that the architecture does not have.
fn highest_number(seccomp: &Seccomp, architecture: ScmpArch) -> Option<u32> {
    seccomp
        .rules
        .iter()
        .filter_map(|rule| ScmpSyscall::from_name_by_arch(&rule.syscall, architecture).ok())
        .filter_map(|syscall| u32::try_from(i32::from(syscall)).ok())
        .filter(|number| *number > 0)
        .max()
}

/// Appends the program to `instructions`. Through a file, since libseccomp before 2.6 knows no other way.
fn export(filter: &ScmpFilterContext, instructions: &mut Vec<u8>) -> Result<(), SecurityError> {
    let failed = |source| SecurityError::Step {
        step: "export the seccomp filter",
        source,
    };
    let memfd = rustix::fs::memfd_create("seccomp", MemfdFlags::CLOEXEC);
    let mut file = File::from(memfd.map_err(|error| failed(error.into()))?);
    filter
        .export_bpf(&file)
        .map_err(|source| SecurityError::SeccompCompile {
            step: "export the filter".into(),
            source,
        })?;
    file.rewind().map_err(failed)?;
    file.read_to_end(instructions).map_err(failed)?;
    Ok(())
}

#[cfg(test)]
pub(super) mod tests;
