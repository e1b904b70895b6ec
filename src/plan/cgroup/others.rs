//! The small controllers, and `linux.resources.unified`.

use std::collections::{BTreeMap, HashMap};

use oci_spec::runtime::{LinuxHugepageLimit, LinuxNetwork, LinuxPids, LinuxRdma};

use super::{CgroupMode, CgroupPlanError, IfAbsent, Settings, invalid};

/// Below 0 is no limit. 0 becomes 1, as runc: systemd takes no 0, and to a container, whose first process
/// is moved in and not forked there, both mean the same.
pub(super) fn pids(pids: &LinuxPids, settings: &mut Settings) {
    let value = match pids.limit() {
        ..0 => "max".to_owned(),
        0 => "1".to_owned(),
        limit => limit.to_string(),
    };
    settings.push("pids", "pids.max", value, "pids.limit");
}

/// Usage and, where the kernel knows them, reservations get the same limit.
pub(super) fn hugepages(
    limits: &[LinuxHugepageLimit],
    settings: &mut Settings,
) -> Result<(), CgroupPlanError> {
    for (index, limit) in limits.iter().enumerate() {
        let size = limit.page_size();
        let property = format!("hugepageLimits[{index}].pageSize");
        if !is_page_size(size) {
            return Err(invalid(
                &property,
                format!("{size:?}"),
                "it is a number with KB, MB or GB",
            ));
        }
        let property = format!("hugepageLimits[{index}].limit");
        let Ok(bytes) = u64::try_from(limit.limit()) else {
            return Err(invalid(&property, limit.limit(), "it is a number of bytes"));
        };
        let suffix = match settings.mode {
            CgroupMode::V1 => "limit_in_bytes",
            CgroupMode::V2 => "max",
        };
        settings.push("hugetlb", format!("hugetlb.{size}.{suffix}"), bytes, &property);
        let file = format!("hugetlb.{size}.rsvd.{suffix}");
        settings.push_or("hugetlb", file, bytes, &property, IfAbsent::Skip);
    }
    Ok(())
}

/// It becomes part of a file's name.
fn is_page_size(size: &str) -> bool {
    let digits = size
        .strip_suffix("KB")
        .or_else(|| size.strip_suffix("MB"))
        .or_else(|| size.strip_suffix("GB"));
    digits.is_some_and(|digits| {
        !digits.is_empty() && !digits.starts_with('0') && digits.bytes().all(|byte| byte.is_ascii_digit())
    })
}

pub(super) fn network(network: &LinuxNetwork, settings: &mut Settings) -> Result<(), CgroupPlanError> {
    if let Some(class) = network.class_id().filter(|class| *class != 0) {
        if settings.mode == CgroupMode::V2 {
            return Err(settings.inexpressible("network.classID"));
        }
        settings.push("net_cls", "net_cls.classid", class, "network.classID");
    }
    for (index, priority) in network.priorities().iter().flatten().enumerate() {
        let property = format!("network.priorities[{index}]");
        if settings.mode == CgroupMode::V2 {
            return Err(settings.inexpressible(&property));
        }
        let value = format!("{} {}", priority.name(), priority.priority());
        settings.push("net_prio", "net_prio.ifpriomap", value, &property);
    }
    Ok(())
}

pub(super) fn rdma(
    devices: &HashMap<String, LinuxRdma>,
    settings: &mut Settings,
) -> Result<(), CgroupPlanError> {
    for (device, limits) in devices.iter().collect::<BTreeMap<_, _>>() {
        let property = format!("rdma.{device}");
        if device.is_empty() || device.contains(char::is_whitespace) {
            return Err(invalid("rdma", format!("{device:?}"), "it is no device name"));
        }
        let mut value = device.clone();
        for (name, limit) in [
            ("hca_handle", limits.hca_handles()),
            ("hca_object", limits.hca_objects()),
        ] {
            if let Some(limit) = limit {
                value.push_str(&format!(" {name}={limit}"));
            }
        }
        if value.len() > device.len() {
            settings.push("rdma", "rdma.max", value, &property);
        }
    }
    Ok(())
}

/// Files of v2 by name; a value of several lines is written line by line, as io.max needs it.
pub(super) fn unified(
    files: &HashMap<String, String>,
    settings: &mut Settings,
) -> Result<(), CgroupPlanError> {
    if settings.mode == CgroupMode::V1 && !files.is_empty() {
        return Err(settings.inexpressible("unified"));
    }
    for (file, value) in files.iter().collect::<BTreeMap<_, _>>() {
        let well_formed = file
            .split_once('.')
            .is_some_and(|(controller, rest)| !controller.is_empty() && !rest.is_empty());
        if !well_formed || file.contains('/') {
            return Err(invalid(
                "unified",
                format!("{file:?}"),
                "a key is the name of a file, CONTROLLER.PARAMETER",
            ));
        }
        let property = format!("unified.{file}");
        for line in value.lines().filter(|line| !line.trim().is_empty()) {
            settings.push("", file.as_str(), line.trim(), &property);
        }
    }
    Ok(())
}
