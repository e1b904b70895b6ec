//! The five capability sets of a process (capabilities(7)), as bit masks.

use std::fmt;

use rustix::io::Errno;
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, capability_is_in_bounding_set, clear_ambient_capability_set,
    configure_capability_in_ambient_set, remove_capability_from_bounding_set, set_capabilities,
};

use super::SecurityError;
use crate::plan::process::Capabilities;
use crate::spec::capabilities::NAMES;

/// Capabilities that were asked for and could not be given: the runtime itself does not hold them, or the
/// sets do not go together. The user is owed a warning, which this is the text of.
#[must_use = "the runtime spec wants a warning about capabilities that cannot be granted"]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ungranted(Capabilities);

impl Ungranted {
    pub fn is_empty(&self) -> bool {
        self.0 == Capabilities::default()
    }
}

impl fmt::Display for Ungranted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sets = [
            ("effective", self.0.effective),
            ("permitted", self.0.permitted),
            ("inheritable", self.0.inheritable),
            ("ambient", self.0.ambient),
        ];
        f.write_str("capabilities that cannot be granted:")?;
        for (name, set) in sets.into_iter().filter(|(_, set)| *set != 0) {
            write!(f, " {name}")?;
            for number in numbers(set) {
                match NAMES.get(number as usize) {
                    Some(name) => write!(f, " {name}")?,
                    None => write!(f, " {number}")?,
                }
            }
            f.write_str(";")?;
        }
        Ok(())
    }
}

/// Drops every capability that the kernel has and `keep` lacks from the bounding set. Needs CAP_SETPCAP.
///
/// # Errors
/// [`SecurityError::Bounding`] where one that is still in the set cannot be dropped.
pub fn drop_bounding(keep: u64) -> Result<(), SecurityError> {
    for number in numbers(!keep) {
        let one = CapabilitySet::from_bits_retain(1 << number);
        match remove_capability_from_bounding_set(one) {
            Ok(()) => {}
            // The first number above the kernel's last capability.
            Err(Errno::INVAL) => return Ok(()),
            // Privileges are looked at before the number. Without them: what is not there need not be dropped.
            Err(Errno::PERM) => match capability_is_in_bounding_set(one) {
                Ok(false) => {}
                Err(Errno::INVAL) => return Ok(()),
                Ok(true) | Err(_) => {
                    return Err(SecurityError::Bounding {
                        number,
                        source: Errno::PERM.into(),
                    });
                }
            },
            Err(error) => {
                return Err(SecurityError::Bounding {
                    number,
                    source: error.into(),
                });
            }
        }
    }
    Ok(())
}

/// Sets effective, permitted, inheritable and ambient capabilities, as far as the process holds them; answers
/// those that were asked for and could not be given.
///
/// This follows the runtime spec (config.md "process", `capabilities`): what cannot be granted is warned
/// about, and a container that asks for all of them runs where the runtime itself has fewer. It is never
/// given more than it asked for.
///
/// # Errors
/// Those of capset(2) and prctl(2) that are not about privileges which the process lacks.
pub fn set(wanted: &Capabilities) -> Result<Ungranted, SecurityError> {
    let given = match set_sets(wanted) {
        Ok(()) => *wanted,
        Err(Errno::PERM) => {
            let given = grantable(wanted)?;
            set_sets(&given).map_err(SecurityError::step("set capabilities"))?;
            given
        }
        Err(error) => return Err(SecurityError::step("set capabilities")(error)),
    };
    let ambient = set_ambient(wanted.ambient)?;
    Ok(Ungranted(Capabilities {
        // Nothing can be added to this one; where it lacks something, so does permitted.
        bounding: 0,
        effective: wanted.effective & !given.effective,
        inheritable: wanted.inheritable & !given.inheritable,
        permitted: wanted.permitted & !given.permitted,
        ambient: wanted.ambient & !ambient,
    }))
}

fn set_sets(sets: &Capabilities) -> Result<(), Errno> {
    let set = CapabilitySet::from_bits_retain;
    let (effective, permitted, inheritable) =
        (set(sets.effective), set(sets.permitted), set(sets.inheritable));
    set_capabilities(
        None,
        CapabilitySets {
            effective,
            permitted,
            inheritable,
        },
    )
}

/// What capset(2) allows of `wanted`: permitted only shrinks, effective lies within it, and inheritable grows
/// only by what is permitted now and in the bounding set.
fn grantable(wanted: &Capabilities) -> Result<Capabilities, SecurityError> {
    let held = capabilities(None).map_err(SecurityError::step("read capabilities"))?;
    let (held_permitted, held_inheritable) = (held.permitted.bits(), held.inheritable.bits());
    let bounding = numbers(wanted.inheritable & !held_inheritable)
        .map(|number| 1 << number)
        .filter(|bit| capability_is_in_bounding_set(CapabilitySet::from_bits_retain(*bit)) == Ok(true))
        .fold(0, |set, bit| set | bit);
    let permitted = wanted.permitted & held_permitted;
    Ok(Capabilities {
        permitted,
        effective: wanted.effective & permitted,
        inheritable: wanted.inheritable & (held_inheritable | (held_permitted & bounding)),
        ..*wanted
    })
}

/// Makes the ambient set that of `wanted` which is permitted and inheritable too; answers it.
fn set_ambient(wanted: u64) -> Result<u64, SecurityError> {
    match clear_ambient_capability_set() {
        Ok(()) => {}
        // Before Linux 4.3 there is no such set, so it is empty.
        Err(Errno::INVAL) => return Ok(0),
        Err(error) => return Err(SecurityError::step("clear ambient capabilities")(error)),
    }
    let mut given = 0;
    for number in numbers(wanted) {
        match configure_capability_in_ambient_set(CapabilitySet::from_bits_retain(1 << number), true) {
            Ok(()) => given |= 1 << number,
            Err(Errno::PERM | Errno::INVAL) => {}
            Err(error) => return Err(SecurityError::step("raise ambient capabilities")(error)),
        }
    }
    Ok(given)
}

/// The numbers of the bits that are set.
fn numbers(mask: u64) -> impl Iterator<Item = u32> {
    (0..u64::BITS).filter(move |number| mask & (1 << number) != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHOWN: u64 = 1 << 0;
    const KILL: u64 = 1 << 5;
    const NET_RAW: u64 = 1 << 13;

    /// The five sets of the calling thread, as the kernel shows them.
    fn sets_now() -> Capabilities {
        let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
        let field = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name)).unwrap();
            u64::from_str_radix(line.split_whitespace().nth(1).unwrap(), 16).unwrap()
        };
        Capabilities {
            bounding: field("CapBnd"),
            effective: field("CapEff"),
            inheritable: field("CapInh"),
            permitted: field("CapPrm"),
            ambient: field("CapAmb"),
        }
    }

    /// Runs in a thread of its own, whose capabilities are its own, too.
    fn privileged(test: impl FnOnce() + Send + 'static) {
        let needed = CHOWN | KILL | NET_RAW | (1 << 8);
        if sets_now().effective & needed != needed {
            eprintln!("skipped: needs CAP_SETPCAP and the capabilities that it gives away");
            return;
        }
        std::thread::spawn(test).join().unwrap();
    }

    #[test]
    fn numbers_of_a_mask() {
        assert_eq!(numbers(0b1010_0001).collect::<Vec<_>>(), [0, 5, 7]);
        assert_eq!(numbers(1 << 63).collect::<Vec<_>>(), [63]);
        assert_eq!(numbers(0).count(), 0);
    }

    #[test]
    fn all_five_sets_are_what_was_asked_for() {
        privileged(|| {
            let wanted = Capabilities {
                bounding: CHOWN | KILL | NET_RAW,
                effective: CHOWN,
                permitted: CHOWN | KILL | NET_RAW,
                inheritable: KILL,
                ambient: KILL,
            };
            drop_bounding(wanted.bounding).unwrap();
            assert!(set(&wanted).unwrap().is_empty());
            assert_eq!(sets_now(), wanted);
            // Again, now without any privilege to do so: what is already so is no error.
            drop_bounding(wanted.bounding).unwrap();
            assert!(matches!(
                drop_bounding(CHOWN),
                Err(SecurityError::Bounding { number: 5, .. })
            ));
        });
    }

    #[test]
    fn what_the_process_lacks_is_reported_and_the_rest_given() {
        privileged(|| {
            let few = Capabilities {
                effective: CHOWN,
                permitted: CHOWN | KILL,
                ..Capabilities::default()
            };
            assert!(set(&few).unwrap().is_empty());
            let wanted = Capabilities {
                bounding: 0,
                effective: CHOWN | NET_RAW,
                permitted: CHOWN | NET_RAW,
                inheritable: CHOWN | NET_RAW,
                ambient: CHOWN | NET_RAW,
            };
            let missing = set(&wanted).unwrap();
            let text = "capabilities that cannot be granted: effective CAP_NET_RAW; permitted CAP_NET_RAW; \
                        inheritable CAP_NET_RAW; ambient CAP_NET_RAW;";
            assert_eq!(missing.to_string(), text);
            let now = sets_now();
            assert_eq!(
                (now.effective, now.permitted, now.inheritable, now.ambient),
                (CHOWN, CHOWN, CHOWN, CHOWN)
            );
        });
    }

    #[test]
    fn no_capabilities_leave_none() {
        privileged(|| {
            drop_bounding(0).unwrap();
            assert!(set(&Capabilities::default()).unwrap().is_empty());
            assert_eq!(sets_now(), Capabilities::default());
        });
    }
}
