//! Seccomp (config-linux.md, "Seccomp"): what the types cannot say.

use super::{Check, Problem};
use crate::spec::model::{Config, Seccomp, SeccompAction};
use crate::spec::runtime_options;

pub(super) const CHECKS: &[Check<Config>] = &[default_action, rules, listener];

const FIELD: &str = "linux.seccomp";

/// Error numbers and trace messages have 16 bits; the kernel caps error numbers at 4095 (seccomp(2)).
const NUMBER_MAX: u32 = u16::MAX as u32;
const ERRNO_MAX: u32 = 4095;

fn filter(config: &Config) -> Option<&Seccomp> {
    config.linux.seccomp.as_ref().filter(|seccomp| !seccomp.is_off())
}

fn default_action(config: &Config, _: &mut Vec<String>) -> Result<(), Problem> {
    let Some(seccomp) = filter(config) else {
        return Ok(());
    };
    let Some(action) = seccomp.default_action else {
        return Err(Problem::new(format!("{FIELD}.defaultAction"), "is missing"));
    };
    // The listener could not even be handed over.
    if action == SeccompAction::Notify {
        return Err(Problem::new(
            format!("{FIELD}.defaultAction"),
            "SCMP_ACT_NOTIFY cannot be the default action",
        ));
    }
    number(
        &format!("{FIELD}.defaultErrnoRet"),
        action,
        seccomp.default_errno_ret,
    )
}

fn rules(config: &Config, _: &mut Vec<String>) -> Result<(), Problem> {
    for (index, rule) in filter(config)
        .iter()
        .flat_map(|seccomp| &seccomp.syscalls)
        .enumerate()
    {
        let field = format!("{FIELD}.syscalls[{index}]");
        if rule.names.is_empty() || rule.names.iter().any(String::is_empty) {
            return Err(Problem::new(
                format!("{field}.names"),
                "has no name, or an empty one",
            ));
        }
        // The descriptor of the filter is sent with sendmsg and acknowledged by write.
        if rule.action == SeccompAction::Notify && rule.names.iter().any(|name| name == "write") {
            return Err(Problem::new(
                format!("{field}.action"),
                "SCMP_ACT_NOTIFY cannot be used for the write syscall",
            ));
        }
        number(&format!("{field}.errnoRet"), rule.action, rule.errno_ret)?;
        for (position, argument) in rule.args.iter().enumerate() {
            if argument.index > 5 {
                return Err(Problem::new(
                    format!("{field}.args[{position}].index"),
                    format!("{} is not 0 to 5", argument.index),
                ));
            }
        }
    }
    Ok(())
}

fn number(field: &str, action: SeccompAction, number: Option<u32>) -> Result<(), Problem> {
    let Some(number) = number else { return Ok(()) };
    let max = if action == SeccompAction::Errno {
        ERRNO_MAX
    } else {
        NUMBER_MAX
    };
    if !action.takes_number() {
        // Engines write 0 beside actions that take none.
        return match number {
            0 => Ok(()),
            _ => Err(Problem::new(
                field,
                format!("{number} is set, but the action takes no number"),
            )),
        };
    }
    if number > max {
        return Err(Problem::new(field, format!("{number} is larger than {max}")));
    }
    Ok(())
}

fn listener(config: &Config, _: &mut Vec<String>) -> Result<(), Problem> {
    let Some(seccomp) = filter(config) else {
        return Ok(());
    };
    let path = &seccomp.listener_path;
    let receiver = config.annotations.contains_key(runtime_options::SECCOMP_RECEIVER);
    if seccomp.notifies() && path.as_os_str().is_empty() && !receiver {
        return Err(Problem::new(
            format!("{FIELD}.listenerPath"),
            "is missing: SCMP_ACT_NOTIFY needs it",
        ));
    }
    if !path.as_os_str().is_empty() && !path.is_absolute() {
        return Err(Problem::new(
            format!("{FIELD}.listenerPath"),
            format!("{path:?} is not an absolute path"),
        ));
    }
    if path.as_os_str().is_empty() && !seccomp.listener_metadata.is_empty() {
        return Err(Problem::new(
            format!("{FIELD}.listenerMetadata"),
            "is set without listenerPath",
        ));
    }
    Ok(())
}
