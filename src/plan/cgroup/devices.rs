//! Device rules, and what a list of them amounts to.
//!
//! The rules are config.json's in its order and then the defaults that every container gets, as runc has
//! it: engines begin with "deny all", which must not take the defaults away. [`DevicePolicy`] plays the list
//! through as the devices controller of v1 would: a rule for all devices (type `a`) starts anew with its
//! verdict, later rules add to or take from the exceptions to it, so that the last match wins. One thing v1
//! does is refused: it ignores in silence a denial of a part of an exception, all of which it keeps. v2's filter
//! program is made from the same policy, so both modes give the same verdicts.

use std::collections::BTreeMap;
use std::fmt;

use oci_spec::runtime::{LinuxDeviceCgroup, LinuxDeviceType};

use super::{CgroupPlanError, DeviceRule, DeviceRuleKind, invalid};

/// What every container may use: any device node may be made (a node is not yet access), and the devices
/// of the specification's default list, ptys, and /dev/net/tun, which runc keeps for its users' sake.
const DEFAULTS: [DeviceRule; 11] = [
    DeviceRule {
        read: false,
        write: false,
        ..allow(DeviceRuleKind::Character, None, None)
    },
    DeviceRule {
        read: false,
        write: false,
        ..allow(DeviceRuleKind::Block, None, None)
    },
    allow(DeviceRuleKind::Character, Some(1), Some(3)), // /dev/null
    allow(DeviceRuleKind::Character, Some(1), Some(8)), // /dev/random
    allow(DeviceRuleKind::Character, Some(1), Some(7)), // /dev/full
    allow(DeviceRuleKind::Character, Some(5), Some(0)), // /dev/tty
    allow(DeviceRuleKind::Character, Some(1), Some(5)), // /dev/zero
    allow(DeviceRuleKind::Character, Some(1), Some(9)), // /dev/urandom
    allow(DeviceRuleKind::Character, Some(136), None),  // /dev/pts/*, and with it /dev/console
    allow(DeviceRuleKind::Character, Some(5), Some(2)), // /dev/ptmx
    allow(DeviceRuleKind::Character, Some(10), Some(200)), // /dev/net/tun
];

const fn allow(kind: DeviceRuleKind, major: Option<u32>, minor: Option<u32>) -> DeviceRule {
    DeviceRule {
        allow: true,
        kind,
        major,
        minor,
        read: true,
        write: true,
        mknod: true,
    }
}

pub(super) fn rules(devices: &[LinuxDeviceCgroup]) -> Result<Vec<DeviceRule>, CgroupPlanError> {
    let mut rules = Vec::with_capacity(devices.len() + DEFAULTS.len());
    for (index, device) in devices.iter().enumerate() {
        let rule = rule(device, index)?;
        if rule.kind == DeviceRuleKind::All && !is_everything(&rule) {
            // The controller would take it for all devices and every access, whatever else the rule says.
            rules.extend(
                [DeviceRuleKind::Block, DeviceRuleKind::Character].map(|kind| DeviceRule { kind, ..rule }),
            );
        } else {
            rules.push(rule);
        }
    }
    rules.extend(DEFAULTS);
    Ok(rules)
}

fn rule(device: &LinuxDeviceCgroup, index: usize) -> Result<DeviceRule, CgroupPlanError> {
    let property = |field: &str| format!("devices[{index}].{field}");
    let kind = match device.typ().unwrap_or(LinuxDeviceType::A) {
        LinuxDeviceType::A => DeviceRuleKind::All,
        LinuxDeviceType::B => DeviceRuleKind::Block,
        LinuxDeviceType::C => DeviceRuleKind::Character,
        other => {
            return Err(invalid(
                &property("type"),
                other.as_str(),
                "a device rule is for a, b or c",
            ));
        }
    };
    let access = device.access().as_deref().unwrap_or_default();
    // Further letters mean nothing, as with runc: there are configurations with "rwa".
    if !access.contains(['r', 'w', 'm']) {
        return Err(invalid(
            &property("access"),
            format!("{access:?}"),
            "it has at least one of the letters r, w and m",
        ));
    }
    Ok(DeviceRule {
        allow: device.allow(),
        kind,
        major: number(device.major(), &property("major"))?,
        minor: number(device.minor(), &property("minor"))?,
        read: access.contains('r'),
        write: access.contains('w'),
        mknod: access.contains('m'),
    })
}

/// Whether a rule leaves out no number and no access.
fn is_everything(rule: &DeviceRule) -> bool {
    rule.major.is_none() && rule.minor.is_none() && Access::of(rule) == Access::ALL
}

/// -1 is "any", as engines write it.
fn number(number: Option<i64>, property: &str) -> Result<Option<u32>, CgroupPlanError> {
    match number {
        None | Some(-1) => Ok(None),
        Some(number) => match u32::try_from(number) {
            Ok(number) => Ok(Some(number)),
            Err(_) => Err(invalid(property, number, "it is no device number")),
        },
    }
}

/// What a list of rules amounts to: one verdict, and the exceptions to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DevicePolicy {
    /// The verdict on what no exception matches.
    pub default_allow: bool,
    /// None is for all devices; sorted by number.
    pub exceptions: Vec<DeviceException>,
}

/// An exception to a policy's default: allowed where that denies, denied where that allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceException {
    /// Block devices; otherwise character devices.
    pub block: bool,
    /// `None`: any.
    pub major: Option<u32>,
    pub minor: Option<u32>,
    pub read: bool,
    pub write: bool,
    pub mknod: bool,
}

/// `c 136:* rwm`: the form in which the files of v1 take it.
impl fmt::Display for DeviceException {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = |number: Option<u32>| number.map_or_else(|| "*".to_owned(), |number| number.to_string());
        let kind = if self.block { 'b' } else { 'c' };
        write!(f, "{kind} {}:{} ", number(self.major), number(self.minor))?;
        for (set, letter) in [(self.read, "r"), (self.write, "w"), (self.mknod, "m")] {
            if set {
                f.write_str(letter)?;
            }
        }
        Ok(())
    }
}

impl DevicePolicy {
    /// Plays the rules through, starting from a cgroup that denies all.
    ///
    /// # Errors
    /// A rule that takes a part out of a wider exception, which the devices cgroup cannot express.
    pub fn new(rules: &[DeviceRule]) -> Result<Self, CgroupPlanError> {
        let mut default_allow = false;
        let mut table: BTreeMap<Key, Access> = BTreeMap::new();
        for rule in rules {
            let block = match rule.kind {
                DeviceRuleKind::All => {
                    default_allow = rule.allow;
                    table.clear();
                    continue;
                }
                DeviceRuleKind::Block => true,
                DeviceRuleKind::Character => false,
            };
            let key = Key {
                major: rule.major,
                minor: rule.minor,
                block,
            };
            let access = Access::of(rule);
            if rule.allow == default_allow {
                take_away(&mut table, key, access)?;
            } else {
                let kept = table.entry(key).or_insert(Access(0));
                *kept = Access(kept.0 | access.0);
            }
        }
        let exceptions = table
            .into_iter()
            .map(|(key, access)| exception(key, access))
            .collect();
        Ok(Self {
            default_allow,
            exceptions,
        })
    }
}

fn take_away(table: &mut BTreeMap<Key, Access>, key: Key, access: Access) -> Result<(), CgroupPlanError> {
    // A wider one, or one that crosses it (`c *:1` and `c 1:*`): only a part would have to go.
    let mut partly = table
        .iter()
        .filter(|(kept, _)| key.meets(kept) && !key.covers(kept));
    if let Some((wider, kept)) = partly.find(|(_, kept)| kept.0 & access.0 != 0) {
        return Err(CgroupPlanError::DeviceHole {
            rule: exception(key, access).to_string(),
            wider: exception(*wider, *kept).to_string(),
        });
    }
    table.retain(|narrower, kept| {
        if key.covers(narrower) {
            kept.0 &= !access.0;
        }
        kept.0 != 0
    });
    Ok(())
}

fn exception(key: Key, access: Access) -> DeviceException {
    let Key { major, minor, block } = key;
    let has = |bit: u8| access.0 & bit != 0;
    DeviceException {
        block,
        major,
        minor,
        read: has(Access::READ),
        write: has(Access::WRITE),
        mknod: has(Access::MKNOD),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    major: Option<u32>,
    minor: Option<u32>,
    block: bool,
}

impl Key {
    /// Whether all devices of `other` are among its own.
    fn covers(&self, other: &Self) -> bool {
        let within = |own: Option<u32>, other: Option<u32>| own.is_none() || own == other;
        self.block == other.block && within(self.major, other.major) && within(self.minor, other.minor)
    }

    /// Whether there is a device of both.
    fn meets(&self, other: &Self) -> bool {
        let both = |own: Option<u32>, other: Option<u32>| own.is_none() || other.is_none() || own == other;
        self.block == other.block && both(self.major, other.major) && both(self.minor, other.minor)
    }
}

/// A set of the three kinds of access.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Access(u8);

impl Access {
    const READ: u8 = 1;
    const WRITE: u8 = 2;
    const MKNOD: u8 = 4;
    const ALL: Self = Self(Self::READ | Self::WRITE | Self::MKNOD);

    fn of(rule: &DeviceRule) -> Self {
        let bit = |set: bool, bit: u8| if set { bit } else { 0 };
        Self(bit(rule.read, Self::READ) | bit(rule.write, Self::WRITE) | bit(rule.mknod, Self::MKNOD))
    }
}
