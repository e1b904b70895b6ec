//! The seccomp filter that a process gets, as the runtime spec says it (config-linux.md "Seccomp").

use std::path::PathBuf;

use serde::Serialize;

use crate::spec::model;
use crate::spec::runtime_options::RuntimeOptions;

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Seccomp {
    pub default_action: Action,
    /// `SCMP_ARCH_*` names; empty means the native one.
    pub architectures: Vec<String>,
    pub flags: Flags,
    pub rules: Vec<Rule>,
    /// Socket to which the descriptor of a notifying filter is sent, and the text sent with it.
    pub listener: Option<Listener>,
    /// A syscall that is unknown here is an error, and not left out.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub fail_unknown: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    Allow,
    KillThread,
    KillProcess,
    Trap,
    /// The error number returned to the caller.
    Errno(u16),
    /// The message number for the tracer.
    Trace(u16),
    Log,
    Notify,
}

/// Flags of seccomp(2), SECCOMP_SET_MODE_FILTER.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Flags {
    pub tsync: bool,
    pub log: bool,
    pub spec_allow: bool,
    pub wait_killable: bool,
}

/// One syscall of one rule; a rule of the spec with n names becomes n of these, in order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Rule {
    pub syscall: String,
    pub action: Action,
    /// All must hold.
    pub conditions: Vec<Condition>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Condition {
    /// Argument number, 0 to 5.
    pub index: u32,
    pub operator: Operator,
    /// The value, or the mask for `MaskedEqual`.
    pub value: u64,
    /// The value compared with under `MaskedEqual`.
    pub value_two: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Operator {
    NotEqual,
    LessThan,
    LessOrEqual,
    Equal,
    GreaterOrEqual,
    GreaterThan,
    MaskedEqual,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Listener {
    pub path: PathBuf,
    pub metadata: String,
}

/// The error number of a rule that names none: EPERM, as in runc.
const DEFAULT_NUMBER: u16 = libc::EPERM as u16;

/// Plans the filter; `None` where config.json has none, or one that says nothing.
pub(super) fn build(seccomp: Option<&model::Seccomp>, asked: &RuntimeOptions) -> Option<Seccomp> {
    let seccomp = seccomp.filter(|seccomp| !seccomp.is_off())?;
    let rules = seccomp
        .syscalls
        .iter()
        .flat_map(|rule| {
            let action = action(rule.action, rule.errno_ret);
            rule.names.iter().flat_map(move |name| {
                alternatives(&rule.args).into_iter().map(move |conditions| Rule {
                    syscall: name.clone(),
                    action,
                    conditions,
                })
            })
        })
        .collect();
    Some(Seccomp {
        // A filter without a default action does not pass the checks of the spec.
        default_action: action(seccomp.default_action?, seccomp.default_errno_ret),
        architectures: seccomp
            .architectures
            .iter()
            .map(|architecture| architecture.0.to_owned())
            .collect(),
        flags: flags(seccomp.flags.as_deref()),
        rules,
        listener: listener(seccomp, asked.seccomp_receiver.as_ref()),
        fail_unknown: asked.seccomp_fail_unknown,
    })
}

/// What config.json says wins over the annotation, as in crun.
fn listener(seccomp: &model::Seccomp, receiver: Option<&PathBuf>) -> Option<Listener> {
    let own = Some(&seccomp.listener_path).filter(|path| !path.as_os_str().is_empty());
    own.or(receiver).map(|path| Listener {
        path: path.clone(),
        metadata: seccomp.listener_metadata.clone(),
    })
}

fn action(action: model::SeccompAction, number: Option<u32>) -> Action {
    // Larger numbers do not pass the checks of the spec.
    let number = number.map_or(DEFAULT_NUMBER, |number| number as u16);
    match action {
        model::SeccompAction::Allow => Action::Allow,
        model::SeccompAction::KillThread => Action::KillThread,
        model::SeccompAction::KillProcess => Action::KillProcess,
        model::SeccompAction::Trap => Action::Trap,
        model::SeccompAction::Errno => Action::Errno(number),
        model::SeccompAction::Trace => Action::Trace(number),
        model::SeccompAction::Log => Action::Log,
        model::SeccompAction::Notify => Action::Notify,
    }
}

/// A missing list means SPEC_ALLOW, as in runc: without it, kernels before 5.16 slow every filtered process
/// down by switching speculative store bypass off. An empty list means no flag.
fn flags(names: Option<&[model::SeccompFlag]>) -> Flags {
    let Some(names) = names else {
        return Flags {
            spec_allow: true,
            ..Flags::default()
        };
    };
    Flags {
        tsync: names.contains(&model::SeccompFlag::Tsync),
        log: names.contains(&model::SeccompFlag::Log),
        spec_allow: names.contains(&model::SeccompFlag::SpecAllow),
        wait_killable: names.contains(&model::SeccompFlag::WaitKillable),
    }
}

/// The sets of conditions of which one must hold. Conditions on different arguments must all hold; where one
/// argument has several, libseccomp cannot join them, and runc has made each of them an alternative ever
/// since (Docker's profile relies on it).
fn alternatives(arguments: &[model::SeccompArgument]) -> Vec<Vec<Condition>> {
    let conditions: Vec<Condition> = arguments.iter().map(condition).collect();
    let repeated = conditions.iter().enumerate().any(|(place, later)| {
        conditions[..place]
            .iter()
            .any(|earlier| earlier.index == later.index)
    });
    if repeated {
        conditions.into_iter().map(|condition| vec![condition]).collect()
    } else {
        vec![conditions]
    }
}

fn condition(argument: &model::SeccompArgument) -> Condition {
    Condition {
        index: argument.index,
        operator: match argument.op {
            model::SeccompOperator::NotEqual => Operator::NotEqual,
            model::SeccompOperator::LessThan => Operator::LessThan,
            model::SeccompOperator::LessOrEqual => Operator::LessOrEqual,
            model::SeccompOperator::Equal => Operator::Equal,
            model::SeccompOperator::GreaterOrEqual => Operator::GreaterOrEqual,
            model::SeccompOperator::GreaterThan => Operator::GreaterThan,
            model::SeccompOperator::MaskedEqual => Operator::MaskedEqual,
        },
        value: argument.value,
        value_two: argument.value_two,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(json: &str) -> Option<Seccomp> {
        build(
            Some(&serde_json::from_str(json).unwrap()),
            &RuntimeOptions::default(),
        )
    }

    #[test]
    fn an_empty_filter_is_none() {
        assert_eq!(plan("{}"), None);
        assert_eq!(build(None, &RuntimeOptions::default()), None);
    }

    #[test]
    fn names_become_rules_and_numbers_have_defaults() {
        let filter = plan(
            r#"{"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38, "syscalls": [
                {"names": ["read", "write"], "action": "SCMP_ACT_ALLOW"},
                {"names": ["mount"], "action": "SCMP_ACT_ERRNO"},
                {"names": ["reboot"], "action": "SCMP_ACT_KILL"}]}"#,
        )
        .unwrap();
        assert_eq!(filter.default_action, Action::Errno(38));
        assert_eq!(filter.rules.len(), 4);
        assert_eq!(filter.rules[2].action, Action::Errno(1));
        assert_eq!(filter.rules[3].action, Action::KillThread);
        assert!(filter.flags.spec_allow);
    }

    #[test]
    fn the_annotation_s_receiver_is_the_second_choice() {
        let asked = RuntimeOptions {
            seccomp_receiver: Some("/annotation".into()),
            ..RuntimeOptions::default()
        };
        let path = |json: &str| {
            let filter = build(Some(&serde_json::from_str(json).unwrap()), &asked);
            filter.unwrap().listener.unwrap().path
        };
        assert_eq!(
            path(r#"{"defaultAction": "SCMP_ACT_ALLOW"}"#),
            PathBuf::from("/annotation")
        );
        let own = r#"{"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/own"}"#;
        assert_eq!(path(own), PathBuf::from("/own"));
    }

    #[test]
    fn empty_flags_are_no_flags() {
        let filter = plan(r#"{"defaultAction": "SCMP_ACT_ALLOW", "flags": []}"#).unwrap();
        assert_eq!(filter.flags, Flags::default());
    }

    #[test]
    fn conditions_on_one_argument_are_alternatives() {
        let rule = |second: u32| {
            format!(
                r#"{{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{{"names": ["socket"],
                "action": "SCMP_ACT_ALLOW", "args": [
                {{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}},
                {{"index": {second}, "value": 2, "op": "SCMP_CMP_EQ"}}]}}]}}"#
            )
        };
        assert_eq!(plan(&rule(1)).unwrap().rules.len(), 1);
        assert_eq!(plan(&rule(0)).unwrap().rules.len(), 2);
    }
}
