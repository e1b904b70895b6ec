//! CPU scheduling policy and I/O priority of the process.

use super::SecurityError;
use crate::plan::process::{IoPriority, Scheduler};
use crate::sys::scheduling::{self, SchedulerAttributes};

/// Sets policy and attributes (process.scheduler; sched_setattr(2)).
///
/// # Errors
/// `EPERM` where the policy needs CAP_SYS_NICE, or for the deadline policy under a cpuset.
pub fn set_scheduler(scheduler: &Scheduler) -> Result<(), SecurityError> {
    let attributes = SchedulerAttributes {
        policy: scheduler.policy,
        flags: scheduler.flags,
        nice: scheduler.nice,
        priority: scheduler.priority,
        runtime: scheduler.runtime,
        deadline: scheduler.deadline,
        period: scheduler.period,
        ..SchedulerAttributes::default()
    };
    scheduling::set_scheduler(&attributes).map_err(|source| SecurityError::Step {
        step: match source.raw_os_error() {
            Some(libc::EPERM) if scheduler.policy == libc::SCHED_DEADLINE.cast_unsigned() => {
                "set process.scheduler (process scheduler can't be used together with AllowedCPUs: SCHED_DEADLINE \
                 needs all CPUs of the host, and CAP_SYS_NICE)"
            }
            _ => "set process.scheduler",
        },
        source,
    })
}

/// Sets class and level (process.ioPriority; ioprio_set(2)).
///
/// # Errors
/// `EPERM` for the real-time class without CAP_SYS_NICE, `EINVAL` for a level out of range.
pub fn set_io_priority(priority: &IoPriority) -> Result<(), SecurityError> {
    scheduling::set_io_priority(io_priority(priority)).map_err(|source| SecurityError::Step {
        step: "set process.ioPriority",
        source,
    })
}

fn io_priority(priority: &IoPriority) -> u16 {
    const CLASS_SHIFT: u32 = 13;
    (priority.class << CLASS_SHIFT) | priority.level
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn class_and_level_share_one_number() {
        let number = |class, level| io_priority(&IoPriority { class, level });
        assert_eq!(number(1, 0), 0x2000);
        assert_eq!(number(2, 7), 0x4007);
        assert_eq!(number(3, 0), 0x6000);
    }

    #[test]
    fn they_are_set_for_the_calling_thread() {
        let batch = Scheduler {
            policy: 3,
            flags: 0,
            nice: 5,
            priority: 0,
            runtime: 0,
            deadline: 0,
            period: 0,
        };
        std::thread::spawn(move || {
            set_io_priority(&IoPriority { class: 2, level: 7 }).unwrap();
            set_scheduler(&batch).unwrap();
            let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
            // Field 19 is nice, 41 the policy (3 is SCHED_BATCH).
            let fields: Vec<_> = stat[stat.rfind(')').unwrap() + 2..].split(' ').collect();
            assert_eq!((fields[19 - 3], fields[41 - 3]), ("5", "3"));
            assert!(set_scheduler(&Scheduler { policy: 99, ..batch }).is_err());
        })
        .join()
        .unwrap();
    }
}
