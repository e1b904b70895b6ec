//! What a scope is told of its container's limits: settings as properties of the unit. Pure.
//!
//! systemd writes its units' files anew when it sees fit, so what it does not know of would be lost then.
//! What has no property here is written to the file alone, as all of it is once more after the start.

use crate::plan::cgroup::{
    CgroupMode, CgroupPlan, DeviceException, DevicePolicy, PropertyValue, Setting, SystemdProperty,
};

use super::dbus::Value;

pub(super) type Property = (String, Value);

const INFINITY: u64 = u64::MAX;
const DEFAULT_PERIOD: u64 = 100_000;
/// systemd keeps a CPU quota as whole percent, which are 10 ms of a second.
const QUOTA_STEP: u64 = 10_000;
/// Versions of systemd that brought a property.
const HAS_QUOTA_PERIOD: u32 = 242;
const HAS_CPUSET: u32 = 244;
const HAS_DEVICE_MAJORS: u32 = 240;
const HAS_CPU_IDLE: u32 = 252;

/// `version`: systemd's.
pub(super) fn of(plan: &CgroupPlan, version: u32) -> Vec<Property> {
    let mut properties = limits(plan.mode, &plan.settings, version);
    if let Some(policy) = plan
        .devices
        .as_ref()
        .and_then(|rules| DevicePolicy::new(rules).ok())
    {
        push_devices(&mut properties, &policy, version);
    }
    properties
}

/// One that annotations ask for.
pub(super) fn given(property: &SystemdProperty) -> Property {
    let value = match &property.value {
        PropertyValue::Bool(value) => Value::Bool(*value),
        PropertyValue::Text(value) => Value::Text(value.clone()),
        PropertyValue::Texts(values) => Value::Texts(values.clone()),
        PropertyValue::Number(kind, value) => Value::Typed(*kind, *value),
        PropertyValue::Numbers(kind, values) => Value::TypedList(*kind, values.clone()),
    };
    (property.name.clone(), value)
}

/// The settings alone, for a scope that is there.
pub(super) fn limits(mode: CgroupMode, settings: &[Setting], version: u32) -> Vec<Property> {
    let mut properties = Vec::new();
    for setting in settings {
        push_setting(&mut properties, mode, settings, setting, version);
    }
    properties
}

fn push_setting(
    properties: &mut Vec<Property>,
    mode: CgroupMode,
    settings: &[Setting],
    setting: &Setting,
    version: u32,
) {
    let value = setting.value.as_str();
    let number = match value {
        "max" | "-1" => Some(INFINITY),
        value => value.parse::<u64>().ok(),
    };
    let name = match (mode, setting.file.as_str()) {
        (_, "pids.max") => "TasksMax",
        (CgroupMode::V2, "memory.max") => "MemoryMax",
        (CgroupMode::V2, "memory.low") => "MemoryLow",
        (CgroupMode::V2, "memory.high") => "MemoryHigh",
        (CgroupMode::V2, "memory.min") => "MemoryMin",
        (CgroupMode::V2, "memory.swap.max") => "MemorySwapMax",
        (CgroupMode::V2, "cpu.idle") => return push_idle(properties, value, version),
        (CgroupMode::V2, "cpu.weight") => "CPUWeight",
        (CgroupMode::V2, "cpu.max") => return push_quota(properties, value, version),
        (CgroupMode::V2, "cpuset.cpus") => return push_cpuset(properties, "AllowedCPUs", value, version),
        (CgroupMode::V2, "cpuset.mems") => {
            return push_cpuset(properties, "AllowedMemoryNodes", value, version);
        }
        (CgroupMode::V1, "memory.limit_in_bytes") => "MemoryLimit",
        (CgroupMode::V1, "cpu.shares") => "CPUShares",
        (CgroupMode::V1, "blkio.weight") => "BlockIOWeight",
        (CgroupMode::V1, "cpu.cfs_quota_us") => {
            let period = settings.iter().find(|other| other.file == "cpu.cfs_period_us");
            let period = period.map_or(DEFAULT_PERIOD.to_string(), |period| period.value.clone());
            let quota = if value.starts_with('-') { "max" } else { value };
            return push_quota(properties, &format!("{quota} {period}"), version);
        }
        _ => return,
    };
    // A value that is no number is for the kernel to refuse, in words that name the setting.
    properties.extend(number.map(|number| (name.to_owned(), Value::Number(number))));
}

fn push_idle(properties: &mut Vec<Property>, value: &str, version: u32) {
    if version >= HAS_CPU_IDLE {
        // The largest number is "not set", so that it does not stay idle.
        let weight = if value == "1" { 0 } else { INFINITY };
        properties.push(("CPUWeight".to_owned(), Value::Number(weight)));
    }
}

/// `value` as in cpu.max.
fn push_quota(properties: &mut Vec<Property>, value: &str, version: u32) {
    let mut words = value.split_whitespace();
    let quota = words.next().unwrap_or("max");
    let Ok(period) = words.next().map_or(Ok(DEFAULT_PERIOD), str::parse::<u64>) else {
        return;
    };
    if period == 0 {
        return;
    }
    let per_second = match quota.parse::<u64>() {
        Ok(quota) => quota
            .saturating_mul(1_000_000)
            .div_ceil(period)
            .next_multiple_of(QUOTA_STEP),
        Err(_) if quota == "max" => INFINITY,
        Err(_) => return,
    };
    if version >= HAS_QUOTA_PERIOD {
        properties.push(("CPUQuotaPeriodUSec".to_owned(), Value::Number(period)));
    }
    properties.push(("CPUQuotaPerSecUSec".to_owned(), Value::Number(per_second)));
}

fn push_cpuset(properties: &mut Vec<Property>, name: &str, list: &str, version: u32) {
    if version >= HAS_CPUSET {
        // No list takes a former one back.
        let bits = if list.trim().is_empty() {
            Some(Vec::new())
        } else {
            bits(list)
        };
        properties.extend(bits.map(|bits| (name.to_owned(), Value::Bits(bits))));
    }
}

/// A list of cpuset(7), `0-2,7`, as a bit mask with the low byte first.
fn bits(list: &str) -> Option<Vec<u8>> {
    let mut bits = Vec::new();
    for range in list.split(',').map(str::trim).filter(|range| !range.is_empty()) {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last) = (first.parse::<u16>().ok()?, last.parse::<u16>().ok()?);
        for bit in first..=last {
            let byte = usize::from(bit / 8);
            if bits.len() <= byte {
                bits.resize(byte + 1, 0);
            }
            bits[byte] |= 1 << (bit % 8);
        }
    }
    (!bits.is_empty()).then_some(bits)
}

/// systemd knows only lists of what is allowed, and no wildcard for the major number alone. Where a policy is
/// more than that, it is left open on systemd's side: our own filter holds it.
fn push_devices(properties: &mut Vec<Property>, policy: &DevicePolicy, version: u32) {
    let allowed: Option<Vec<(String, String)>> = if policy.default_allow || version < HAS_DEVICE_MAJORS {
        None
    } else {
        policy.exceptions.iter().map(device).collect()
    };
    properties.push(("DeviceAllow".to_owned(), Value::Pairs(Vec::new())));
    let policy = if allowed.is_some() { "strict" } else { "auto" };
    properties.push(("DevicePolicy".to_owned(), Value::Text(policy.to_owned())));
    properties.extend(allowed.map(|allowed| ("DeviceAllow".to_owned(), Value::Pairs(allowed))));
}

fn device(exception: &DeviceException) -> Option<(String, String)> {
    let kind = if exception.block { "block" } else { "char" };
    let path = match (exception.major, exception.minor) {
        (None, None) => format!("{kind}-*"),
        (None, Some(_)) => return None,
        (Some(major), None) => format!("{kind}-{major}"),
        (Some(major), Some(minor)) => format!("/dev/{kind}/{major}:{minor}"),
    };
    let access = [
        (exception.read, 'r'),
        (exception.write, 'w'),
        (exception.mknod, 'm'),
    ];
    Some((
        path,
        access
            .into_iter()
            .filter(|(set, _)| *set)
            .map(|(_, letter)| letter)
            .collect(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::cgroup::build;

    fn properties(json: &str, mode: CgroupMode, version: u32) -> Vec<Property> {
        let resources = serde_json::from_str(json).unwrap();
        let plan = build(Some(&resources), None, "id", mode, true, false).unwrap();
        of(&plan, version)
    }

    fn limits(json: &str, mode: CgroupMode, version: u32) -> Vec<Property> {
        let mut properties = properties(json, mode, version);
        properties.retain(|(name, _)| !name.starts_with("Device"));
        properties
    }

    fn number(name: &str, number: u64) -> Property {
        (name.to_owned(), Value::Number(number))
    }

    #[test]
    fn v2_limits_become_properties() {
        let json = r#"{"pids": {"limit": -1}, "memory": {"limit": 100, "swap": 300, "reservation": 50},
            "cpu": {"shares": 1024, "quota": 12345, "period": 100000, "cpus": "0-2,9"}}"#;
        assert_eq!(
            limits(json, CgroupMode::V2, 252),
            [
                number("TasksMax", INFINITY),
                number("MemorySwapMax", 200),
                number("MemoryMax", 100),
                number("MemoryLow", 50),
                number("CPUWeight", 100),
                number("CPUQuotaPeriodUSec", 100_000),
                number("CPUQuotaPerSecUSec", 130_000),
                ("AllowedCPUs".to_owned(), Value::Bits(vec![0b111, 0b10])),
            ]
        );
        assert_eq!(
            limits(r#"{"cpu": {"quota": -1, "cpus": "1"}}"#, CgroupMode::V2, 239),
            [number("CPUQuotaPerSecUSec", INFINITY)]
        );
    }

    #[test]
    fn idle_is_a_weight() {
        let idle = r#"{"cpu": {"idle": 1, "shares": 1024}}"#;
        assert_eq!(limits(idle, CgroupMode::V2, 252), [number("CPUWeight", 0)]);
        assert_eq!(limits(idle, CgroupMode::V2, 251), []);
        assert_eq!(
            limits(r#"{"cpu": {"idle": 0}}"#, CgroupMode::V2, 252),
            [number("CPUWeight", INFINITY)]
        );
    }

    #[test]
    fn v1_limits_become_properties() {
        let json = r#"{"memory": {"limit": -1}, "cpu": {"shares": 512, "quota": 50000, "period": 50000}}"#;
        assert_eq!(
            limits(json, CgroupMode::V1, 241),
            [
                number("MemoryLimit", INFINITY),
                number("CPUShares", 512),
                number("CPUQuotaPerSecUSec", 1_000_000),
            ]
        );
    }

    #[test]
    fn device_rules_become_a_list_of_what_is_allowed() {
        let properties = properties("{}", CgroupMode::V2, 252);
        let [clear, policy, allow] = &properties[..] else {
            panic!("{properties:?}")
        };
        assert_eq!(*clear, ("DeviceAllow".to_owned(), Value::Pairs(Vec::new())));
        assert_eq!(
            *policy,
            ("DevicePolicy".to_owned(), Value::Text("strict".to_owned()))
        );
        let Value::Pairs(pairs) = &allow.1 else {
            panic!("{allow:?}")
        };
        for (path, access) in [("char-*", "m"), ("/dev/char/1:3", "rwm"), ("char-136", "rwm")] {
            assert!(
                pairs.contains(&(path.to_owned(), access.to_owned())),
                "{path} in {pairs:?}"
            );
        }
    }

    #[test]
    fn what_systemd_cannot_say_is_left_to_our_filter() {
        for json in [
            r#"{"devices": [{"allow": true, "access": "rwm"}]}"#,
            r#"{"devices": [{"allow": true, "type": "c", "minor": 3, "access": "r"}]}"#,
        ] {
            let properties = properties(json, CgroupMode::V2, 252);
            assert_eq!(properties.len(), 2, "{properties:?}");
            assert_eq!(properties[1].1, Value::Text("auto".to_owned()));
        }
    }

    #[test]
    fn a_cpu_list_is_taken_back() {
        let mut properties = Vec::new();
        push_cpuset(&mut properties, "AllowedCPUs", "\n", HAS_CPUSET);
        assert_eq!(properties, [("AllowedCPUs".to_owned(), Value::Bits(Vec::new()))]);
    }

    #[test]
    fn cpu_lists_become_masks() {
        assert_eq!(bits("0"), Some(vec![1]));
        assert_eq!(bits(" 8 , 1-2 "), Some(vec![0b110, 1]));
        for wrong in ["", ",", "x", "1-", "70000"] {
            assert_eq!(bits(wrong), None, "{wrong}");
        }
    }
}
