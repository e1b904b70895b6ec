//! Every mount option that is not file-system data: one table, from which options are parsed and which
//! `features` prints. What is not in it is handed to the file system as it is.
//!
//! Sources: runtime spec 1.3 (config.md, "Mounts"; config-linux.md), mount(2), mount_setattr(2), and the
//! extensions that runc and crun share (`tmpcopyup`, `rro` and its like).

use serde::{Deserialize, Serialize};

/// Attributes of mount_setattr(2), as MOUNT_ATTR_* bits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Attributes {
    pub set: u64,
    pub clear: u64,
}

impl Attributes {
    pub const RDONLY: u64 = 0x1;
    pub const NOSUID: u64 = 0x2;
    pub const NODEV: u64 = 0x4;
    pub const NOEXEC: u64 = 0x8;
    /// The access-time mode is one field of three bits: relatime 0x00, noatime 0x10, strictatime 0x20.
    pub const ATIME_MASK: u64 = 0x70;
    pub const RELATIME: u64 = 0x0;
    pub const NOATIME: u64 = 0x10;
    pub const STRICTATIME: u64 = 0x20;
    pub const NODIRATIME: u64 = 0x80;
    pub const NOSYMFOLLOW: u64 = 0x20_0000;
    /// Those that are on or off.
    pub const PLAIN: u64 = Self::RDONLY | Self::NOSUID | Self::NODEV | Self::NOEXEC | Self::NOSYMFOLLOW;
    /// Those that a user namespace locks on the mounts it takes over (mount_namespaces(7)), besides access times.
    pub const LOCKABLE: u64 = Self::RDONLY | Self::NOSUID | Self::NODEV | Self::NOEXEC;

    pub const fn is_empty(self) -> bool {
        self.set == 0 && self.clear == 0
    }

    /// Adds a later option, which wins over an earlier one. The access-time mode stays in `clear` even
    /// where a mode is set: mount_setattr(2) demands it.
    const fn apply(self, later: Self) -> Self {
        Self {
            set: (self.set & !later.clear) | later.set,
            clear: (self.clear & !(later.set & !Self::ATIME_MASK)) | later.clear,
        }
    }
}

/// A propagation type of mount_namespaces(7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Propagation {
    pub kind: PropagationKind,
    pub recursive: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PropagationKind {
    Shared,
    Slave,
    Private,
    Unbindable,
}

impl Propagation {
    /// The propagation that an option names (`rslave`); also the values of `linux.rootfsPropagation`.
    pub fn named(name: &str) -> Option<Self> {
        match lookup(name)? {
            Effect::Propagation(propagation) => Some(propagation),
            _ => None,
        }
    }
}

/// What one option does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Effect {
    Nothing,
    Bind {
        recursive: bool,
    },
    Remount,
    Attribute(Attributes),
    /// Takes an access-time mode back that was named before.
    AnyAccessTime,
    Recursive(Attributes),
    /// Superblock flags of mount(2), set and cleared.
    Superblock {
        set: u64,
        clear: u64,
    },
    Propagation(Propagation),
    CopyUp,
    IdMap {
        recursive: bool,
    },
    Link(LinkOption),
}

/// What crun does about symbolic links at the ends of a bind mount (crun(1)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LinkOption {
    /// A source that is a link is made anew at the destination, in place of a mount.
    Copy,
    /// A source that is a link is mounted itself, not what it points to.
    KeepSource,
    /// A destination that is a link is mounted on itself, not what it points to.
    KeepDestination,
}

const fn set(bits: u64) -> Effect {
    Effect::Attribute(Attributes { set: bits, clear: 0 })
}
const fn clear(bits: u64) -> Effect {
    Effect::Attribute(Attributes { set: 0, clear: bits })
}
const fn atime(mode: u64) -> Effect {
    Effect::Attribute(Attributes {
        set: mode,
        clear: Attributes::ATIME_MASK,
    })
}
const fn rset(bits: u64) -> Effect {
    Effect::Recursive(Attributes { set: bits, clear: 0 })
}
const fn rclear(bits: u64) -> Effect {
    Effect::Recursive(Attributes { set: 0, clear: bits })
}
const fn ratime(mode: u64) -> Effect {
    Effect::Recursive(Attributes {
        set: mode,
        clear: Attributes::ATIME_MASK,
    })
}
const fn superblock(bits: u64) -> Effect {
    Effect::Superblock { set: bits, clear: 0 }
}
const fn no_superblock(bits: u64) -> Effect {
    Effect::Superblock { set: 0, clear: bits }
}
const fn propagation(kind: PropagationKind, recursive: bool) -> Effect {
    Effect::Propagation(Propagation { kind, recursive })
}

/// `acl` and `noacl` are missing on purpose: what they mean depends on the file system, which takes them as
/// data (MS_POSIXACL has no effect from user space).
///
/// Clearing one access-time mode means the kernel's default, relatime; for a bind mount that of its source.
const TABLE: &[(&str, Effect)] = &[
    ("async", no_superblock(libc::MS_SYNCHRONOUS)),
    ("atime", Effect::AnyAccessTime),
    ("bind", Effect::Bind { recursive: false }),
    ("copy-symlink", Effect::Link(LinkOption::Copy)),
    ("defaults", Effect::Nothing),
    ("dest-nofollow", Effect::Link(LinkOption::KeepDestination)),
    ("dev", clear(Attributes::NODEV)),
    ("diratime", clear(Attributes::NODIRATIME)),
    ("dirsync", superblock(libc::MS_DIRSYNC)),
    ("exec", clear(Attributes::NOEXEC)),
    ("idmap", Effect::IdMap { recursive: false }),
    ("iversion", superblock(libc::MS_I_VERSION)),
    ("lazytime", superblock(libc::MS_LAZYTIME)),
    ("loud", no_superblock(libc::MS_SILENT)),
    ("mand", superblock(libc::MS_MANDLOCK)),
    ("noatime", atime(Attributes::NOATIME)),
    ("nodev", set(Attributes::NODEV)),
    ("nodiratime", set(Attributes::NODIRATIME)),
    ("noexec", set(Attributes::NOEXEC)),
    ("noiversion", no_superblock(libc::MS_I_VERSION)),
    ("nolazytime", no_superblock(libc::MS_LAZYTIME)),
    ("nomand", no_superblock(libc::MS_MANDLOCK)),
    ("norelatime", Effect::AnyAccessTime),
    ("nostrictatime", Effect::AnyAccessTime),
    ("nosuid", set(Attributes::NOSUID)),
    ("nosymfollow", set(Attributes::NOSYMFOLLOW)),
    ("private", propagation(PropagationKind::Private, false)),
    ("ratime", ratime(Attributes::RELATIME)),
    ("rbind", Effect::Bind { recursive: true }),
    ("rdev", rclear(Attributes::NODEV)),
    ("rdiratime", rclear(Attributes::NODIRATIME)),
    ("relatime", atime(Attributes::RELATIME)),
    ("remount", Effect::Remount),
    ("rexec", rclear(Attributes::NOEXEC)),
    ("ridmap", Effect::IdMap { recursive: true }),
    ("rnoatime", ratime(Attributes::NOATIME)),
    ("rnodev", rset(Attributes::NODEV)),
    ("rnodiratime", rset(Attributes::NODIRATIME)),
    ("rnoexec", rset(Attributes::NOEXEC)),
    ("rnorelatime", ratime(Attributes::RELATIME)),
    ("rnostrictatime", ratime(Attributes::RELATIME)),
    ("rnosuid", rset(Attributes::NOSUID)),
    ("rnosymfollow", rset(Attributes::NOSYMFOLLOW)),
    ("ro", set(Attributes::RDONLY)),
    ("rprivate", propagation(PropagationKind::Private, true)),
    ("rrelatime", ratime(Attributes::RELATIME)),
    ("rro", rset(Attributes::RDONLY)),
    ("rrw", rclear(Attributes::RDONLY)),
    ("rshared", propagation(PropagationKind::Shared, true)),
    ("rslave", propagation(PropagationKind::Slave, true)),
    ("rstrictatime", ratime(Attributes::STRICTATIME)),
    ("rsuid", rclear(Attributes::NOSUID)),
    ("rsymfollow", rclear(Attributes::NOSYMFOLLOW)),
    ("runbindable", propagation(PropagationKind::Unbindable, true)),
    ("rw", clear(Attributes::RDONLY)),
    ("shared", propagation(PropagationKind::Shared, false)),
    ("silent", superblock(libc::MS_SILENT)),
    ("slave", propagation(PropagationKind::Slave, false)),
    ("src-nofollow", Effect::Link(LinkOption::KeepSource)),
    ("strictatime", atime(Attributes::STRICTATIME)),
    ("suid", clear(Attributes::NOSUID)),
    ("symfollow", clear(Attributes::NOSYMFOLLOW)),
    ("sync", superblock(libc::MS_SYNCHRONOUS)),
    ("tmpcopyup", Effect::CopyUp),
    ("unbindable", propagation(PropagationKind::Unbindable, false)),
];

fn lookup(name: &str) -> Option<Effect> {
    let index = TABLE.binary_search_by(|(known, _)| (*known).cmp(name)).ok()?;
    Some(TABLE[index].1)
}

/// All options, sorted, for `features`.
pub fn names() -> impl Iterator<Item = &'static str> {
    TABLE.iter().map(|(name, _)| *name)
}

/// The options of one mount, taken together.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "Option<Vec<String>>")]
pub struct MountOptions {
    pub bind: bool,
    /// `rbind`.
    pub recursive: bool,
    pub remount: bool,
    pub attributes: Attributes,
    /// An option is among them that sets or clears a flag of mount(2).
    pub flags_named: bool,
    /// An access-time mode was named, and not taken back by a later option.
    pub access_time_named: bool,
    pub recursive_attributes: Attributes,
    /// Flags of mount(2) that belong to the superblock.
    pub superblock_flags: u64,
    /// The options that asked for superblock flags, for errors.
    pub superblock_names: Vec<String>,
    pub propagation: Vec<Propagation>,
    pub copy_up: bool,
    /// `idmap` (false) or `ridmap` (true).
    pub idmap_recursive: Option<bool>,
    /// Its ranges, after a `=`, as crun takes them (see [`super::idmap_option`]).
    pub idmap_ranges: Option<String>,
    /// Handed to the file system, in order.
    pub data: Vec<String>,
    pub copy_symlink: bool,
    pub source_nofollow: bool,
    pub destination_nofollow: bool,
}

impl From<Option<Vec<String>>> for MountOptions {
    fn from(options: Option<Vec<String>>) -> Self {
        Self::parse(options.unwrap_or_default())
    }
}

impl MountOptions {
    /// The attributes of a bind mount: as in runc, one whose options name any flag has those and no others of its
    /// source's (mount(8) has them added where they only clear). Its access-time mode stays the source's unless one is
    /// named; nodiratime alone means relatime, as in mount(2).
    pub fn bind_attributes(&self) -> Attributes {
        if !self.flags_named {
            return Attributes::default();
        }
        let mut set = self.attributes.set;
        let mut clear = Attributes::PLAIN & !set;
        if self.access_time_named || set & Attributes::NODIRATIME != 0 {
            clear |= Attributes::ATIME_MASK | (Attributes::NODIRATIME & !set);
        } else {
            set &= !Attributes::ATIME_MASK;
        }
        Attributes { set, clear }
    }

    pub fn parse(options: Vec<String>) -> Self {
        let mut all = Self::default();
        for option in options {
            if let Some((name @ ("idmap" | "ridmap"), ranges)) = option.split_once('=') {
                all.idmap_recursive = Some(name == "ridmap");
                all.idmap_ranges = Some(ranges.to_owned());
                continue;
            }
            match lookup(&option) {
                // Podman 5 writes an empty one for a tmpfs; mount(2), to which others give all in one text, passes it over.
                None if option.is_empty() => {}
                None => all.data.push(option),
                Some(Effect::Nothing) => {}
                Some(Effect::Bind { recursive }) => {
                    all.bind = true;
                    all.recursive |= recursive;
                }
                Some(Effect::Remount) => all.remount = true,
                Some(Effect::Attribute(later)) => {
                    all.attributes = all.attributes.apply(later);
                    all.flags_named = true;
                    all.access_time_named |= later.clear & Attributes::ATIME_MASK != 0;
                }
                Some(Effect::AnyAccessTime) => {
                    let default = Attributes {
                        set: Attributes::RELATIME,
                        clear: Attributes::ATIME_MASK,
                    };
                    all.attributes = all.attributes.apply(default);
                    all.flags_named = true;
                    all.access_time_named = false;
                }
                Some(Effect::Recursive(later)) => {
                    all.recursive_attributes = all.recursive_attributes.apply(later);
                }
                Some(Effect::Superblock { set, clear }) => {
                    all.superblock_flags = (all.superblock_flags & !clear) | set;
                    all.superblock_names.push(option);
                    all.flags_named = true;
                }
                Some(Effect::Propagation(propagation)) => all.propagation.push(propagation),
                Some(Effect::CopyUp) => all.copy_up = true,
                Some(Effect::IdMap { recursive }) => all.idmap_recursive = Some(recursive),
                Some(Effect::Link(LinkOption::Copy)) => all.copy_symlink = true,
                Some(Effect::Link(LinkOption::KeepSource)) => all.source_nofollow = true,
                Some(Effect::Link(LinkOption::KeepDestination)) => all.destination_nofollow = true,
            }
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(options: &str) -> MountOptions {
        MountOptions::parse(options.split(' ').map(String::from).collect())
    }

    #[test]
    fn table_is_sorted_for_the_binary_search() {
        assert!(TABLE.windows(2).all(|pair| pair[0].0 < pair[1].0));
    }

    #[test]
    fn later_options_win() {
        let options = parse("ro rw nosuid suid noexec");
        assert_eq!(options.attributes.set, Attributes::NOEXEC);
        assert_eq!(options.attributes.clear, Attributes::RDONLY | Attributes::NOSUID);
        let options = parse("rw ro");
        assert_eq!(
            options.attributes,
            Attributes {
                set: Attributes::RDONLY,
                clear: 0
            }
        );
    }

    #[test]
    fn access_time_is_one_field() {
        let options = parse("noatime strictatime nodiratime");
        assert_eq!(
            options.attributes.set,
            Attributes::STRICTATIME | Attributes::NODIRATIME
        );
        assert_eq!(options.attributes.clear, Attributes::ATIME_MASK);
        let options = parse("noatime relatime");
        assert_eq!(
            options.attributes,
            Attributes {
                set: 0,
                clear: Attributes::ATIME_MASK
            }
        );
        let options = parse("noatime ro");
        assert_eq!(options.attributes.clear, Attributes::ATIME_MASK);
    }

    #[test]
    fn a_bind_mount_has_the_flags_that_are_named_and_no_others() {
        let bind = |options: &str| parse(options).bind_attributes();
        for none in ["rbind rprivate rro", "bind", "bind defaults"] {
            assert!(bind(none).is_empty(), "{none}");
        }
        for cleared in ["bind dev", "bind rw", "bind atime", "bind async"] {
            assert_eq!(
                (bind(cleared).set, bind(cleared).clear),
                (0, Attributes::PLAIN),
                "{cleared}"
            );
        }
        let ro = bind("bind ro");
        assert_eq!(
            (ro.set, ro.clear),
            (Attributes::RDONLY, Attributes::PLAIN & !Attributes::RDONLY)
        );
    }

    #[test]
    fn the_access_time_of_a_bind_mount_is_its_sources_unless_named() {
        let bind = |options: &str| parse(options).bind_attributes();
        let field = Attributes::ATIME_MASK | Attributes::NODIRATIME;
        for kept in ["bind noatime atime", "bind norelatime", "bind diratime"] {
            assert_eq!(
                (bind(kept).set & field, bind(kept).clear & field),
                (0, 0),
                "{kept}"
            );
        }
        let relatime = bind("bind relatime");
        assert_eq!((relatime.set & field, relatime.clear & field), (0, field));
        let nodiratime = bind("bind nodiratime");
        assert_eq!(nodiratime.set & field, Attributes::NODIRATIME);
        assert_eq!(nodiratime.clear & field, Attributes::ATIME_MASK);
    }

    #[test]
    fn kinds_are_told_apart() {
        let options = parse("rbind rro rslave tmpcopyup ridmap sync async dirsync mode=755 acl");
        assert!(options.bind && options.recursive && options.copy_up);
        assert_eq!(options.recursive_attributes.set, Attributes::RDONLY);
        assert_eq!(
            options.propagation,
            [Propagation {
                kind: PropagationKind::Slave,
                recursive: true
            }]
        );
        assert_eq!(options.idmap_recursive, Some(true));
        assert_eq!(options.idmap_ranges, None);
        assert_eq!(options.superblock_flags, libc::MS_DIRSYNC);
        assert_eq!(options.data, ["mode=755", "acl"]);
    }

    #[test]
    fn an_empty_option_is_none() {
        assert!(parse("").data.is_empty());
    }

    #[test]
    fn what_is_done_about_links() {
        let options = parse("bind src-nofollow dest-nofollow");
        assert!(options.source_nofollow && options.destination_nofollow && !options.copy_symlink);
        assert!(parse("bind copy-symlink").copy_symlink);
    }

    #[test]
    fn propagation_by_name() {
        assert!(Propagation::named("rshared").is_some_and(|propagation| propagation.recursive));
        assert_eq!(Propagation::named("ro"), None);
    }
}
