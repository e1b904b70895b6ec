//! `linux.resources.blockIO`: the blkio controller of v1, io of v2.

use oci_spec::runtime::{LinuxBlockIo, LinuxThrottleDevice};

use super::{CgroupMode, CgroupPlanError, IfAbsent, Settings, invalid};

pub(super) fn block_io(block_io: &LinuxBlockIo, settings: &mut Settings) -> Result<(), CgroupPlanError> {
    if let Some(weight) = weight_value(block_io.weight(), "blockIO.weight")? {
        push_weight(settings, None, weight, "blockIO.weight");
    }
    if let Some(weight) = weight_value(block_io.leaf_weight(), "blockIO.leafWeight")? {
        if settings.mode == CgroupMode::V2 {
            return Err(settings.inexpressible("blockIO.leafWeight"));
        }
        settings.push("blkio", "blkio.leaf_weight", weight, "blockIO.leafWeight");
    }
    for (index, device) in block_io.weight_device().iter().flatten().enumerate() {
        let number = device_number(device.major(), device.minor(), "blockIO.weightDevice")?;
        let property = format!("blockIO.weightDevice[{index}].weight");
        if let Some(weight) = weight_value(device.weight(), &property)? {
            push_weight(settings, Some(&number), weight, &property);
        }
        let property = format!("blockIO.weightDevice[{index}].leafWeight");
        if let Some(weight) = weight_value(device.leaf_weight(), &property)? {
            if settings.mode == CgroupMode::V2 {
                return Err(settings.inexpressible(&property));
            }
            settings.push(
                "blkio",
                "blkio.leaf_weight_device",
                format!("{number} {weight}"),
                &property,
            );
        }
    }
    let throttles = [
        (
            block_io.throttle_read_bps_device(),
            "read_bps",
            "rbps",
            "throttleReadBpsDevice",
        ),
        (
            block_io.throttle_write_bps_device(),
            "write_bps",
            "wbps",
            "throttleWriteBpsDevice",
        ),
        (
            block_io.throttle_read_iops_device(),
            "read_iops",
            "riops",
            "throttleReadIOPSDevice",
        ),
        (
            block_io.throttle_write_iops_device(),
            "write_iops",
            "wiops",
            "throttleWriteIOPSDevice",
        ),
    ];
    for (devices, v1_name, v2_name, property) in throttles {
        for (index, device) in devices.iter().flatten().enumerate() {
            let property = format!("blockIO.{property}[{index}]");
            push_throttle(settings, device, v1_name, v2_name, &property)?;
        }
    }
    Ok(())
}

/// 0 is "not set".
fn weight_value(weight: Option<u16>, property: &str) -> Result<Option<u16>, CgroupPlanError> {
    match weight {
        None | Some(0) => Ok(None),
        Some(weight) if (10..=1000).contains(&weight) => Ok(Some(weight)),
        Some(weight) => Err(invalid(property, weight, "it is between 10 and 1000")),
    }
}

/// The file depends on the scheduler: v1 has blkio.weight (CFQ, up to Linux 4.20) or blkio.bfq.weight; v2
/// has io.bfq.weight, which takes v1's range, or io.weight, which is converted for.
fn push_weight(settings: &mut Settings, device: Option<&str>, weight: u16, property: &str) {
    let value = |weight: u64| match device {
        Some(device) => format!("{device} {weight}"),
        None => weight.to_string(),
    };
    let plain = value(u64::from(weight));
    let (file, other_file, other_value) = match (settings.mode, device) {
        (CgroupMode::V1, None) => ("blkio.weight", "blkio.bfq.weight", plain.clone()),
        (CgroupMode::V1, Some(_)) => ("blkio.weight_device", "blkio.bfq.weight_device", plain.clone()),
        (CgroupMode::V2, _) => ("io.bfq.weight", "io.weight", value(io_weight(weight))),
    };
    let if_absent = IfAbsent::Write {
        file: other_file.to_owned(),
        value: other_value,
    };
    settings.push_or("blkio", file, plain, property, if_absent);
}

/// `io.weight` (1 to 10000) for blkio.weight (10 to 1000), on a straight line.
fn io_weight(weight: u16) -> u64 {
    1 + (u64::from(weight) - 10) * 9999 / 990
}

fn push_throttle(
    settings: &mut Settings,
    device: &LinuxThrottleDevice,
    v1_name: &str,
    v2_name: &str,
    property: &str,
) -> Result<(), CgroupPlanError> {
    let number = device_number(device.major(), device.minor(), property)?;
    let rate = device.rate();
    match settings.mode {
        CgroupMode::V1 => {
            let file = format!("blkio.throttle.{v1_name}_device");
            settings.push("blkio", file, format!("{number} {rate}"), property);
        }
        CgroupMode::V2 => settings.push("blkio", "io.max", format!("{number} {v2_name}={rate}"), property),
    }
    Ok(())
}

fn device_number(major: i64, minor: i64, property: &str) -> Result<String, CgroupPlanError> {
    match (u32::try_from(major), u32::try_from(minor)) {
        (Ok(major), Ok(minor)) => Ok(format!("{major}:{minor}")),
        _ => Err(invalid(
            property,
            format!("{major}:{minor}"),
            "it is no device number",
        )),
    }
}
