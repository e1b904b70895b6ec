//! `linux.resources.cpu`: the cpu and cpuset controllers.

use oci_spec::runtime::LinuxCpu;

use super::{CgroupMode, CgroupPlanError, IfAbsent, Setting, Settings, invalid};

/// The kernel's default period in microseconds, the same for v1 and v2.
const DEFAULT_PERIOD: u64 = 100_000;
/// systemd keeps a CPU quota as whole percent, which are 10 ms of a second.
const QUOTA_STEP: u64 = 10_000;

/// Values where the order counts (period before quota, burst after it) and the kernel refuses the first
/// with EINVAL, are written again after the others; the cgroup room does that for every setting.
pub(super) fn cpu(cpu: &LinuxCpu, settings: &mut Settings) -> Result<(), CgroupPlanError> {
    if let Some(idle) = cpu.idle().filter(|idle| !matches!(idle, 0 | 1)) {
        return Err(invalid("cpu.idle", idle, "it is 0 or 1"));
    }
    match settings.mode {
        CgroupMode::V1 => v1(cpu, settings)?,
        CgroupMode::V2 => v2(cpu, settings)?,
    }
    cpuset(cpu, settings);
    Ok(())
}

fn v1(cpu: &LinuxCpu, settings: &mut Settings) -> Result<(), CgroupPlanError> {
    if let Some(shares) = cpu.shares().filter(|shares| *shares != 0) {
        // The kernel clamps in silence.
        if !(2..=262_144).contains(&shares) {
            return Err(invalid(
                "cpu.shares",
                shares,
                "on cgroup v1 it is between 2 and 262144",
            ));
        }
        settings.push("cpu", "cpu.shares", shares, "cpu.shares");
    }
    if let Some(period) = cpu.period().filter(|period| *period != 0) {
        settings.push("cpu", "cpu.cfs_period_us", period, "cpu.period");
    }
    if let Some(quota) = cpu.quota().filter(|quota| *quota != 0) {
        settings.push("cpu", "cpu.cfs_quota_us", quota, "cpu.quota");
    }
    if let Some(burst) = cpu.burst() {
        let if_absent = if burst == 0 {
            IfAbsent::Skip
        } else {
            IfAbsent::Fail
        };
        settings.push_or("cpu", "cpu.cfs_burst_us", burst, "cpu.burst", if_absent);
    }
    if let Some(idle) = cpu.idle() {
        let if_absent = if idle == 0 { IfAbsent::Skip } else { IfAbsent::Fail };
        settings.push_or("cpu", "cpu.idle", idle, "cpu.idle", if_absent);
    }
    if let Some(period) = cpu.realtime_period().filter(|period| *period != 0) {
        settings.push("cpu", "cpu.rt_period_us", period, "cpu.realtimePeriod");
    }
    if let Some(runtime) = cpu.realtime_runtime().filter(|runtime| *runtime != 0) {
        settings.push("cpu", "cpu.rt_runtime_us", runtime, "cpu.realtimeRuntime");
    }
    Ok(())
}

fn v2(cpu: &LinuxCpu, settings: &mut Settings) -> Result<(), CgroupPlanError> {
    if cpu.realtime_period().is_some_and(|period| period != 0) {
        return Err(settings.inexpressible("cpu.realtimePeriod"));
    }
    if cpu.realtime_runtime().is_some_and(|runtime| runtime != 0) {
        return Err(settings.inexpressible("cpu.realtimeRuntime"));
    }
    if let Some(idle) = cpu.idle() {
        let if_absent = if idle == 0 { IfAbsent::Skip } else { IfAbsent::Fail };
        settings.push_or("cpu", "cpu.idle", idle, "cpu.idle", if_absent);
    }
    if let Some(shares) = cpu.shares().filter(|shares| *shares != 0) {
        settings.push("cpu", "cpu.weight", weight(shares), "cpu.shares");
    }
    let quota = cpu.quota().filter(|quota| *quota != 0);
    let period = cpu.period().filter(|period| *period != 0);
    if quota.is_some() || period.is_some() {
        let quota_text = match quota {
            Some(quota) if quota > 0 => quota.to_string(),
            _ => "max".to_owned(),
        };
        let property = if quota.is_some() {
            "cpu.quota"
        } else {
            "cpu.period"
        };
        let value = format!("{quota_text} {}", period.unwrap_or(DEFAULT_PERIOD));
        settings.push("cpu", "cpu.max", value, property);
    }
    if let Some(burst) = cpu.burst() {
        let if_absent = if burst == 0 {
            IfAbsent::Skip
        } else {
            IfAbsent::Fail
        };
        settings.push_or("cpu", "cpu.max.burst", burst, "cpu.burst", if_absent);
    }
    Ok(())
}

fn cpuset(cpu: &LinuxCpu, settings: &mut Settings) {
    for (file, value, property) in [
        ("cpuset.cpus", cpu.cpus(), "cpu.cpus"),
        ("cpuset.mems", cpu.mems(), "cpu.mems"),
    ] {
        if let Some(value) = value.as_deref().filter(|value| !value.is_empty()) {
            settings.push("cpuset", file, value, property);
        }
    }
}

/// Rounds quotas up to what systemd can keep, as runc: it writes its files anew when it sees fit, and one limit is
/// better than two that take turns.
pub(super) fn round_quota(settings: &mut [Setting]) {
    let v1_period = settings
        .iter()
        .rfind(|setting| setting.file == "cpu.cfs_period_us");
    let v1_period = v1_period.and_then(|setting| setting.value.parse().ok());
    for setting in settings {
        let rounded = match setting.file.as_str() {
            "cpu.cfs_quota_us" => rounded(&setting.value, v1_period.unwrap_or(DEFAULT_PERIOD)),
            "cpu.max" => {
                let (quota, rest) = setting.value.split_once(' ').unwrap_or((&setting.value, ""));
                let period = if rest.is_empty() {
                    Ok(DEFAULT_PERIOD)
                } else {
                    rest.trim().parse()
                };
                let quota = period.ok().and_then(|period| rounded(quota, period));
                quota.map(|quota| format!("{quota} {rest}").trim_end().to_owned())
            }
            _ => None,
        };
        if let Some(rounded) = rounded {
            setting.value = rounded;
        }
    }
}

/// `None` for what is no limit, is no number, or is round.
fn rounded(quota: &str, period: u64) -> Option<String> {
    let quota: u64 = quota.parse().ok()?;
    let in_a_second = quota.checked_mul(1_000_000)?;
    if period == 0 || in_a_second % period.checked_mul(QUOTA_STEP)? == 0 {
        return None;
    }
    let per_second = in_a_second
        .div_ceil(period)
        .checked_next_multiple_of(QUOTA_STEP)?;
    Some((per_second.checked_mul(period)? / 1_000_000).to_string())
}

/// `cpu.weight` (1 to 10000, default 100) for v1 shares (2 to 262144, default 1024): the quadratic curve in
/// log space through the two minima, defaults and maxima, which runc 1.3.2 and crun 1.23 took in place of
/// the straight line that gave the default of 1024 a weight of 39.
pub(super) fn weight(shares: u64) -> u64 {
    match shares {
        0..=2 => 1,
        262_144.. => 10_000,
        shares => {
            #[expect(clippy::cast_precision_loss, reason = "below 2^18, so exact")]
            let log = (shares as f64).log2();
            let exponent = (log * log + 125.0 * log) / 612.0 - 7.0 / 34.0;
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "the curve's range over 3..262144 is 2 to 10000"
            )]
            let weight = 10f64.powf(exponent).ceil() as u64;
            weight
        }
    }
}
