//! A process: that of config.json or one for `exec`. Fields are named from the process on.

use super::{Check, Problem};
use crate::spec::capabilities;
use crate::spec::model::{Process, SchedulerPolicy};

pub(super) const CHECKS: &[Check<Process>] = &[
    arguments,
    working_directory,
    environment,
    user,
    console_size,
    known_capabilities,
    effective_capabilities,
    ambient_capabilities,
    rlimits,
    oom_score,
    scheduler,
    io_priority,
];

fn arguments(process: &Process, _: &mut Vec<String>) -> Result<(), Problem> {
    match process.args.first().map(String::as_str) {
        None => Err(Problem::new("args", "is empty")),
        Some("") => Err(Problem::new("args[0]", "is empty")),
        Some(_) => Ok(()),
    }
}

fn working_directory(process: &Process, _: &mut Vec<String>) -> Result<(), Problem> {
    if process.cwd.as_os_str().is_empty() {
        return Err(Problem::new("cwd", "is missing"));
    }
    if !process.cwd.is_absolute() {
        return Err(Problem::new(
            "cwd",
            format!("{:?} is not an absolute path", process.cwd),
        ));
    }
    Ok(())
}

fn environment(process: &Process, _: &mut Vec<String>) -> Result<(), Problem> {
    for (index, variable) in process.env.iter().enumerate() {
        match variable.find('=') {
            None => {
                return Err(Problem::new(
                    format!("env[{index}]"),
                    format!("{variable:?} has no \"=\""),
                ));
            }
            Some(0) => {
                return Err(Problem::new(
                    format!("env[{index}]"),
                    format!("{variable:?} has no name"),
                ));
            }
            Some(_) => {}
        }
    }
    Ok(())
}

/// NGROUPS_MAX of the kernel (setgroups(2)).
const GROUPS_MAX: usize = 65536;

fn user(process: &Process, _: &mut Vec<String>) -> Result<(), Problem> {
    let user = &process.user;
    // The kernel takes the highest id for "unchanged" (setresuid(2)): the process would stay root.
    let groups = user
        .additional_gids
        .iter()
        .enumerate()
        .map(|(index, gid)| (format!("user.additionalGids[{index}]"), *gid));
    for (field, id) in [
        ("user.uid".to_owned(), user.uid),
        ("user.gid".to_owned(), user.gid),
    ]
    .into_iter()
    .chain(groups)
    {
        if id == u32::MAX {
            return Err(Problem::new(field, format!("{id} is no id")));
        }
    }
    if user.additional_gids.len() > GROUPS_MAX {
        return Err(Problem::new(
            "user.additionalGids",
            format!("has more than {GROUPS_MAX} groups"),
        ));
    }
    if let Some(umask) = user.umask.filter(|umask| *umask > 0o777) {
        return Err(Problem::new(
            "user.umask",
            format!("{umask} is larger than 511 (octal 777)"),
        ));
    }
    Ok(())
}

/// Without a terminal the size has no meaning, which config.md says to ignore.
fn console_size(process: &Process, warnings: &mut Vec<String>) -> Result<(), Problem> {
    let Some(size) = process.console_size else {
        return Ok(());
    };
    for (name, length) in [("height", size.height), ("width", size.width)] {
        if length > u64::from(u16::MAX) {
            return Err(Problem::new(
                format!("consoleSize.{name}"),
                format!("{length} is larger than 65535"),
            ));
        }
    }
    if !process.terminal && (size.height != 0 || size.width != 0) {
        warnings.push("consoleSize has no effect without a terminal".to_owned());
    }
    Ok(())
}

fn known_capabilities(process: &Process, warnings: &mut Vec<String>) -> Result<(), Problem> {
    let mut unknown: Vec<&str> = process
        .capabilities
        .iter()
        .flat_map(|capabilities| capabilities.sets())
        .flat_map(|(_, names)| names)
        .map(String::as_str)
        .filter(|name| capabilities::number(name).is_none())
        .collect();
    if !unknown.is_empty() {
        unknown.sort_unstable();
        unknown.dedup();
        warnings.push(format!("ignoring unknown capabilities: {}", unknown.join(", ")));
    }
    Ok(())
}

/// The kernel refuses them together with no more than EPERM (capset(2)).
fn effective_capabilities(process: &Process, _: &mut Vec<String>) -> Result<(), Problem> {
    let Some(sets) = &process.capabilities else {
        return Ok(());
    };
    for (index, name) in sets.effective.iter().enumerate() {
        if !sets.permitted.contains(name) && capabilities::number(name).is_some() {
            return Err(Problem::new(
                format!("capabilities.effective[{index}]"),
                format!("{name} is not in the permitted set"),
            ));
        }
    }
    Ok(())
}

/// The kernel raises an ambient capability only where it is both permitted and inheritable (capabilities(7)). The
/// process gets less than is asked for, so this is no reason to refuse it; as runc.
fn ambient_capabilities(process: &Process, warnings: &mut Vec<String>) -> Result<(), Problem> {
    let Some(sets) = &process.capabilities else {
        return Ok(());
    };
    let missing: Vec<&str> = sets
        .ambient
        .iter()
        .map(String::as_str)
        .filter(|name| capabilities::number(name).is_some())
        .filter(|name| {
            ![&sets.permitted, &sets.inheritable]
                .iter()
                .all(|set| set.iter().any(|it| it == name))
        })
        .collect();
    if !missing.is_empty() {
        warnings.push(format!(
            "can't raise ambient capability {}: not in both the permitted and the inheritable set",
            missing.join(", ")
        ));
    }
    Ok(())
}

fn rlimits(process: &Process, _: &mut Vec<String>) -> Result<(), Problem> {
    for (index, limit) in process.rlimits.iter().enumerate() {
        let field = format!("rlimits[{index}]");
        if process.rlimits[..index]
            .iter()
            .any(|earlier| earlier.resource == limit.resource)
        {
            return Err(Problem::new(
                format!("{field}.type"),
                format!("{} is set twice", limit.resource.name),
            ));
        }
        if limit.soft > limit.hard {
            return Err(Problem::new(
                format!("{field}.soft"),
                format!(
                    "{} is above the hard limit {} of {}",
                    limit.soft, limit.hard, limit.resource.name
                ),
            ));
        }
    }
    Ok(())
}

fn oom_score(process: &Process, _: &mut Vec<String>) -> Result<(), Problem> {
    match process.oom_score_adj {
        Some(score) if !(-1000..=1000).contains(&score) => Err(Problem::new(
            "oomScoreAdj",
            format!("{score} is not between -1000 and 1000"),
        )),
        _ => Ok(()),
    }
}

/// The rules of sched_setattr(2).
fn scheduler(process: &Process, _: &mut Vec<String>) -> Result<(), Problem> {
    let Some(scheduler) = &process.scheduler else {
        return Ok(());
    };
    let policy = scheduler.policy;
    if policy == SchedulerPolicy::SchedIso {
        return Err(Problem::unsupported(
            "scheduler.policy SCHED_ISO",
            "Linux does not have it",
        ));
    }
    if !(-20..=19).contains(&scheduler.nice) {
        return Err(Problem::new(
            "scheduler.nice",
            format!("{} is not between -20 and 19", scheduler.nice),
        ));
    }
    let real_time = matches!(policy, SchedulerPolicy::SchedFifo | SchedulerPolicy::SchedRr);
    let fits = if real_time {
        (1..=99).contains(&scheduler.priority)
    } else {
        scheduler.priority == 0
    };
    if !fits {
        return Err(Problem::new(
            "scheduler.priority",
            format!(
                "{} does not fit: 1 to 99 for SCHED_FIFO and SCHED_RR, 0 for others",
                scheduler.priority
            ),
        ));
    }
    let times = [scheduler.runtime, scheduler.deadline, scheduler.period];
    if policy != SchedulerPolicy::SchedDeadline && times.iter().any(|time| *time != 0) {
        return Err(Problem::new(
            "scheduler",
            "runtime, deadline and period are for SCHED_DEADLINE only",
        ));
    }
    Ok(())
}

fn io_priority(process: &Process, _: &mut Vec<String>) -> Result<(), Problem> {
    match process.io_priority {
        Some(priority) if !(0..=7).contains(&priority.priority) => Err(Problem::new(
            "ioPriority.priority",
            format!("{} is not between 0 and 7", priority.priority),
        )),
        _ => Ok(()),
    }
}
