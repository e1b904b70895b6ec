//! `linux.resources.memory`.
//!
//! `kernel` is ignored, as the specification's deprecation of it allows and runc does: kernels from 5.16 on
//! refuse it, and its memory counts towards `limit` anyway. `checkBeforeUpdate` says nothing about a cgroup
//! that is made new.

use oci_spec::runtime::LinuxMemory;

use super::{CgroupMode, CgroupPlanError, IfAbsent, Settings, invalid};

/// Engines send "unset" as -1 in an unsigned field.
const SWAPPINESS_UNSET: u64 = u64::MAX;

pub(super) fn memory(memory: &LinuxMemory, settings: &mut Settings) -> Result<(), CgroupPlanError> {
    let limit = bytes(memory.limit(), "memory.limit")?;
    let reservation = bytes(memory.reservation(), "memory.reservation")?;
    let swap = bytes(memory.swap(), "memory.swap")?;
    check_swap(limit, swap)?;
    match settings.mode {
        CgroupMode::V1 => v1(memory, limit, reservation, swap, settings),
        CgroupMode::V2 => v2(memory, limit, reservation, swap, settings),
    }
}

/// A number of bytes, with 0 for "not set" taken away; -1 is "no limit".
fn bytes(value: Option<i64>, property: &str) -> Result<Option<i64>, CgroupPlanError> {
    match value {
        Some(value) if value < -1 => Err(invalid(property, value, "it is a number of bytes, or -1")),
        value => Ok(value.filter(|value| *value != 0)),
    }
}

/// `swap` is memory and swap together.
fn check_swap(limit: Option<i64>, swap: Option<i64>) -> Result<(), CgroupPlanError> {
    match (limit, swap) {
        (None, Some(swap)) if swap > 0 => Err(invalid(
            "memory.swap",
            swap,
            "it counts memory and swap together and needs memory.limit",
        )),
        (Some(limit), Some(swap)) if limit > 0 && swap > 0 && swap < limit => Err(invalid(
            "memory.swap",
            swap,
            "it counts memory and swap together and cannot be below memory.limit",
        )),
        _ => Ok(()),
    }
}

/// The limit comes before memsw, right for a new cgroup, whose memsw is unlimited. Where the kernel refuses
/// the order with EINVAL (a limit raised past an old memsw), the cgroup room writes the first again last.
fn v1(
    memory: &LinuxMemory,
    limit: Option<i64>,
    reservation: Option<i64>,
    swap: Option<i64>,
    settings: &mut Settings,
) -> Result<(), CgroupPlanError> {
    if let Some(limit) = limit {
        settings.push("memory", "memory.limit_in_bytes", limit, "memory.limit");
    }
    if let Some(swap) = swap {
        let if_absent = if swap == -1 {
            IfAbsent::Skip
        } else {
            IfAbsent::Fail
        };
        settings.push_or(
            "memory",
            "memory.memsw.limit_in_bytes",
            swap,
            "memory.swap",
            if_absent,
        );
    } else if limit == Some(-1) {
        // Unlimited memory with an old limit on memory and swap would not be unlimited.
        settings.push_or(
            "memory",
            "memory.memsw.limit_in_bytes",
            -1,
            "memory.limit",
            IfAbsent::Skip,
        );
    }
    if let Some(reservation) = reservation {
        settings.push(
            "memory",
            "memory.soft_limit_in_bytes",
            reservation,
            "memory.reservation",
        );
    }
    if let Some(tcp) = memory.kernel_tcp().filter(|tcp| !matches!(tcp, 0 | -1)) {
        settings.push(
            "memory",
            "memory.kmem.tcp.limit_in_bytes",
            tcp,
            "memory.kernelTCP",
        );
    }
    if memory.disable_oom_killer() == Some(true) {
        settings.push("memory", "memory.oom_control", 1, "memory.disableOOMKiller");
    }
    match memory.swappiness() {
        None | Some(SWAPPINESS_UNSET) => {}
        Some(swappiness) if swappiness <= 100 => {
            settings.push("memory", "memory.swappiness", swappiness, "memory.swappiness");
        }
        Some(swappiness) => {
            return Err(invalid(
                "memory.swappiness",
                swappiness,
                "it is between 0 and 100",
            ));
        }
    }
    if let Some(hierarchy) = memory.use_hierarchy() {
        // Always on since Linux 5.11, where only 1 can be written.
        settings.push_or(
            "memory",
            "memory.use_hierarchy",
            u8::from(hierarchy),
            "memory.useHierarchy",
            if hierarchy { IfAbsent::Skip } else { IfAbsent::Fail },
        );
    }
    Ok(())
}

fn v2(
    memory: &LinuxMemory,
    limit: Option<i64>,
    reservation: Option<i64>,
    swap: Option<i64>,
    settings: &mut Settings,
) -> Result<(), CgroupPlanError> {
    for (asked, property) in [
        (
            memory.kernel_tcp().is_some_and(|tcp| !matches!(tcp, 0 | -1)),
            "memory.kernelTCP",
        ),
        (
            memory.swappiness().is_some_and(|value| value != SWAPPINESS_UNSET),
            "memory.swappiness",
        ),
        (
            memory.disable_oom_killer() == Some(true),
            "memory.disableOOMKiller",
        ),
        (memory.use_hierarchy() == Some(false), "memory.useHierarchy"),
    ] {
        if asked {
            return Err(settings.inexpressible(property));
        }
    }
    if let Some(swap) = swap_max(limit, swap) {
        // A kernel without swap accounting has no file; no swap and any amount of it then mean the same.
        let if_absent = if swap == "max" || swap == "0" {
            IfAbsent::Skip
        } else {
            IfAbsent::Fail
        };
        settings.push_or("memory", "memory.swap.max", swap, "memory.swap", if_absent);
    }
    if let Some(limit) = limit {
        settings.push("memory", "memory.max", max(limit), "memory.limit");
    }
    if let Some(reservation) = reservation {
        settings.push("memory", "memory.low", max(reservation), "memory.reservation");
    }
    Ok(())
}

/// `memory.swap.max`, swap alone, out of v1's memory and swap together.
fn swap_max(limit: Option<i64>, swap: Option<i64>) -> Option<String> {
    match (limit, swap) {
        // Unlimited memory asks for unlimited swap with it.
        (Some(-1), None) | (_, Some(-1)) => Some("max".to_owned()),
        (_, None) => None,
        (Some(limit), Some(swap)) if limit > 0 => Some((swap - limit).to_string()),
        (_, Some(swap)) => Some(swap.to_string()),
    }
}

fn max(value: i64) -> String {
    if value == -1 {
        "max".to_owned()
    } else {
        value.to_string()
    }
}
