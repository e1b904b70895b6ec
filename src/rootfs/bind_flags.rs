//! The flags of a bind mount, of which a user namespace may hold some fast: what is read-only on the host, say, is not
//! made writable in there (mount_namespaces(7), "Restrictions on mount namespaces").
//!
//! This is about what config.json asks for. A mount that the host opened is not locked for the kernel, which locks only
//! what a namespace copies: a container with CAP_SYS_ADMIN in its user namespace can change its flags, as with crun.

use std::io;
use std::os::fd::BorrowedFd;

use rustix::fs::StatVfsMountFlags;

use super::mount::set_attributes;
use super::source::Locks;
use crate::plan::mounts::Attributes;

const ACCESS_TIME: u64 = Attributes::ATIME_MASK | Attributes::NODIRATIME;

/// Gives a detached bind mount its flags. Those of its source's that the plan neither names nor may clear stay.
///
/// `locks`: of a mount for a user namespace that the host opened, we know what the kernel would have locked in one that
/// the namespace had taken over, and keep to it.
///
/// # Errors
/// EPERM where a flag is to be cleared by name (`cleared`), or an access-time mode to be set, against a lock.
pub fn set(tree: BorrowedFd<'_>, wanted: Attributes, cleared: u64, locks: &Locks) -> io::Result<()> {
    if wanted.is_empty() {
        return Ok(());
    }
    if matches!(locks, Locks::OfTheKernel) {
        match set_attributes(tree, wanted, false) {
            // Something is locked.
            Err(error) if error.raw_os_error() == Some(libc::EPERM) => {}
            result => return result,
        }
    }
    let source = rustix::fs::fstatvfs(tree)?.f_flag;
    set_attributes(tree, keeping(wanted, cleared, attributes_of(source))?, false)
}

/// Whether recursive options, which always name what they clear, go against a lock of any mount of the tree.
///
/// # Errors
/// EPERM where they do.
pub fn check_recursive(tree: BorrowedFd<'_>, wanted: Attributes, locks: &Locks) -> io::Result<()> {
    let Locks::Ours(below) = locks else {
        return Ok(());
    };
    if wanted.is_empty() {
        return Ok(());
    }
    let own = attributes_of(rustix::fs::fstatvfs(tree)?.f_flag);
    for source in std::iter::once(own).chain(below.iter().copied()) {
        keeping(wanted, wanted.clear, source)?;
    }
    Ok(())
}

/// The attributes in the options of a mount, as mountinfo has them.
pub fn attributes_named(options: &str) -> u64 {
    let one = |option: &str| match option {
        "ro" => Attributes::RDONLY,
        "nosuid" => Attributes::NOSUID,
        "nodev" => Attributes::NODEV,
        "noexec" => Attributes::NOEXEC,
        "nodiratime" => Attributes::NODIRATIME,
        "noatime" => Attributes::NOATIME,
        "relatime" => Attributes::RELATIME,
        _ => 0,
    };
    let mut all = Attributes::STRICTATIME;
    for option in options.split(',') {
        if matches!(option, "noatime" | "relatime") {
            all &= !Attributes::ATIME_MASK;
        }
        all |= one(option);
    }
    all
}

/// What is wanted, less what the source's locked flags forbid.
fn keeping(wanted: Attributes, cleared: u64, source: u64) -> io::Result<Attributes> {
    let names_access_time = wanted.clear & Attributes::ATIME_MASK != 0;
    if source & cleared & Attributes::LOCKABLE != 0
        || names_access_time && (wanted.set ^ source) & ACCESS_TIME != 0
    {
        return Err(io::Error::from_raw_os_error(libc::EPERM));
    }
    Ok(Attributes {
        set: wanted.set & !ACCESS_TIME,
        clear: wanted.clear & !(source & Attributes::LOCKABLE) & !ACCESS_TIME,
    })
}

/// As attributes of mount_setattr(2).
fn attributes_of(flags: StatVfsMountFlags) -> u64 {
    let plain = [
        (StatVfsMountFlags::RDONLY, Attributes::RDONLY),
        (StatVfsMountFlags::NOSUID, Attributes::NOSUID),
        (StatVfsMountFlags::NODEV, Attributes::NODEV),
        (StatVfsMountFlags::NOEXEC, Attributes::NOEXEC),
        (StatVfsMountFlags::NODIRATIME, Attributes::NODIRATIME),
    ];
    let set = plain.iter().filter(|(flag, _)| flags.contains(*flag));
    let mode = if flags.contains(StatVfsMountFlags::NOATIME) {
        Attributes::NOATIME
    } else if flags.contains(StatVfsMountFlags::RELATIME) {
        Attributes::RELATIME
    } else {
        Attributes::STRICTATIME
    };
    set.fold(mode, |all, (_, attribute)| all | attribute)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RO: u64 = Attributes::RDONLY;

    #[test]
    fn locked_flags_stay_unless_cleared_by_name() {
        let source = RO | Attributes::NODEV | Attributes::NOATIME;
        let wanted = Attributes {
            set: Attributes::NOSUID,
            clear: Attributes::PLAIN & !Attributes::NOSUID,
        };
        let kept = keeping(wanted, 0, source).expect("allowed");
        assert_eq!(kept.set, Attributes::NOSUID);
        assert_eq!(kept.clear & source, 0);
        assert_ne!(kept.clear & Attributes::NOSYMFOLLOW, 0, "which is never locked");
        let error = keeping(wanted, RO, source).expect_err("locked");
        assert_eq!(error.raw_os_error(), Some(libc::EPERM));
        assert!(
            keeping(wanted, Attributes::NOEXEC, source).is_ok(),
            "not set there"
        );
    }

    #[test]
    fn recursive_options_keep_to_the_locks_of_every_mount() {
        let file = std::fs::File::open("/").expect("the root");
        let tree = std::os::fd::AsFd::as_fd(&file);
        // Which no mount has set.
        let harmless = Attributes {
            set: Attributes::NOSUID,
            clear: Attributes::NOSYMFOLLOW,
        };
        let writable = Attributes { set: 0, clear: RO };
        let below = Locks::Ours(vec![attributes_named("ro,relatime")]);
        assert!(check_recursive(tree, harmless, &below).is_ok());
        assert!(check_recursive(tree, writable, &below).is_err());
        assert!(check_recursive(tree, writable, &Locks::OfTheKernel).is_ok());
    }

    #[test]
    fn options_of_a_mount_are_attributes() {
        assert_eq!(
            attributes_named("ro,nosuid,relatime"),
            RO | Attributes::NOSUID | Attributes::RELATIME
        );
        assert_eq!(attributes_named("rw"), Attributes::STRICTATIME);
    }

    #[test]
    fn a_locked_access_time_can_only_be_named_again() {
        let named = |mode| Attributes {
            set: mode,
            clear: ACCESS_TIME,
        };
        let source = Attributes::NOATIME;
        assert!(keeping(named(Attributes::RELATIME), 0, source).is_err());
        let same = keeping(named(Attributes::NOATIME), 0, source).expect("the same");
        assert_eq!((same.set & ACCESS_TIME, same.clear & ACCESS_TIME), (0, 0));
    }
}
