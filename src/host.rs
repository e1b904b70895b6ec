//! Facts about the host and about us on it. Each is probed at most once, when first asked for: most
//! containers need two or three of them. Tests inject their own. Nothing is decided here.

use std::cell::OnceCell;
use std::path::Path;

use thiserror::Error;

/// The inode of the initial user namespace, a constant of the kernel (PROC_USER_INIT_INO).
const INITIAL_USER_NAMESPACE: u64 = 0xEFFF_FFFD;
/// CGROUP2_SUPER_MAGIC and SELINUX_MAGIC of linux/magic.h.
const CGROUP2_MAGIC: i64 = 0x6367_7270;
const SELINUX_MAGIC: i64 = 0xf97c_ff8c;

/// `--rootless`: whether cgroup errors for lack of permission are to be expected.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Rootless {
    /// As [`Host::rootless`] finds out.
    #[default]
    Auto,
    True,
    False,
}

#[derive(Debug, Error)]
#[error("--rootless {value:?} is neither true, false nor auto")]
pub struct RootlessError {
    value: String,
}

impl std::str::FromStr for Rootless {
    type Err = RootlessError;

    /// The words that runc takes: those of Go's `ParseBool`, `auto` and nothing.
    fn from_str(value: &str) -> Result<Self, Self::Err> {
        match value {
            "" | "auto" => Ok(Self::Auto),
            "1" | "t" | "T" | "true" | "True" | "TRUE" => Ok(Self::True),
            "0" | "f" | "F" | "false" | "False" | "FALSE" => Ok(Self::False),
            _ => Err(RootlessError {
                value: value.to_owned(),
            }),
        }
    }
}

/// What we know of the host. Filled fields are taken as they are, empty ones are probed when asked for.
#[derive(Debug, Clone, Default)]
pub struct Host {
    /// Our effective user and group.
    pub euid: u32,
    pub egid: u32,
    /// What the user said to `--rootless`.
    pub rootless_option: Rootless,
    pub in_user_namespace: OnceCell<bool>,
    pub unified_cgroup: OnceCell<bool>,
    pub systemd: OnceCell<bool>,
    pub apparmor: OnceCell<bool>,
    pub selinux: OnceCell<bool>,
    pub last_capability: OnceCell<u8>,
}

impl Host {
    /// The host we run on.
    pub fn probe(rootless_option: Rootless) -> Self {
        Self {
            euid: rustix::process::geteuid().as_raw(),
            egid: rustix::process::getegid().as_raw(),
            rootless_option,
            ..Self::default()
        }
    }

    /// A host for tests: root in the initial user namespace, cgroup v2, systemd, no LSM, Linux 6.x. Change
    /// single facts by assigning to the fields.
    pub fn for_tests() -> Self {
        Self {
            euid: 0,
            egid: 0,
            rootless_option: Rootless::Auto,
            in_user_namespace: OnceCell::from(false),
            unified_cgroup: OnceCell::from(true),
            systemd: OnceCell::from(true),
            apparmor: OnceCell::from(false),
            selinux: OnceCell::from(false),
            last_capability: OnceCell::from(40),
        }
    }

    /// Whether we lack the rights of root on the host: another user, or root of a user namespace only.
    /// `--rootless` overrides.
    pub fn rootless(&self) -> bool {
        match self.rootless_option {
            Rootless::True => true,
            Rootless::False => false,
            Rootless::Auto => self.euid != 0 || self.in_user_namespace(),
        }
    }

    /// Whether we run in another user namespace than the initial one, where devices cannot be made and host
    /// settings cannot be changed whatever our capabilities say.
    pub fn in_user_namespace(&self) -> bool {
        *self.in_user_namespace.get_or_init(|| {
            use std::os::unix::fs::MetadataExt;
            // Without /proc or without user namespaces there is only the initial one.
            std::fs::metadata("/proc/self/ns/user")
                .is_ok_and(|metadata| metadata.ino() != INITIAL_USER_NAMESPACE)
        })
    }

    /// Whether /sys/fs/cgroup is the one tree of cgroup v2; hosts with v1 trees, hybrid ones included, say no.
    pub fn unified_cgroup(&self) -> bool {
        *self
            .unified_cgroup
            .get_or_init(|| has_magic("/sys/fs/cgroup", CGROUP2_MAGIC))
    }

    /// Whether systemd is the host's init (sd_booted(3)).
    pub fn systemd(&self) -> bool {
        *self.systemd.get_or_init(|| {
            std::fs::symlink_metadata("/run/systemd/system").is_ok_and(|metadata| metadata.is_dir())
        })
    }

    /// Whether AppArmor is compiled in and enabled. Its directory in securityfs says nothing: profiles are applied
    /// through /proc, and Podman unmounts all below /sys/kernel for a container with mapped ids.
    pub fn apparmor(&self) -> bool {
        *self.apparmor.get_or_init(|| {
            std::fs::read("/sys/module/apparmor/parameters/enabled")
                .is_ok_and(|enabled| enabled.starts_with(b"Y"))
        })
    }

    /// Whether SELinux is enabled with a policy loaded, enforcing or not. Without a policy all processes
    /// have the label `kernel`.
    pub fn selinux(&self) -> bool {
        *self.selinux.get_or_init(|| {
            has_magic("/sys/fs/selinux", SELINUX_MAGIC)
                && std::fs::read("/proc/self/attr/current")
                    .is_ok_and(|label| !label.is_empty() && !label.starts_with(b"kernel"))
        })
    }

    /// The highest capability that the kernel knows (capabilities(7), cap_last_cap).
    pub fn last_capability(&self) -> u8 {
        *self.last_capability.get_or_init(|| {
            std::fs::read_to_string("/proc/sys/kernel/cap_last_cap")
                .ok()
                .and_then(|text| text.trim_end().parse().ok())
                // CAP_AUDIT_READ, Linux 3.16: older kernels cannot run containers at all.
                .unwrap_or(37)
        })
    }

    /// Whether `path` is our own namespace, named by its link under /proc/self/ns: joining such a one gives
    /// the container no namespace of its own.
    pub fn is_own_namespace(&self, link: &str, path: &Path) -> bool {
        use std::os::unix::fs::MetadataExt;
        let identity = |path: &Path| std::fs::metadata(path).map(|metadata| (metadata.dev(), metadata.ino()));
        match (identity(&Path::new("/proc/self/ns").join(link)), identity(path)) {
            (Ok(own), Ok(other)) => own == other,
            // A path that is not there fails when it is joined, with its own error.
            _ => false,
        }
    }
}

/// Whether the file system at `path` is of the type with this magic number.
fn has_magic(path: &str, magic: i64) -> bool {
    rustix::fs::statfs(path).is_ok_and(|statistics| statistics.f_type == magic)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rootless_is_found_out_and_overridden() {
        let mut host = Host::for_tests();
        assert!(!host.rootless());
        host.euid = 1000;
        assert!(host.rootless());
        host.rootless_option = Rootless::False;
        assert!(!host.rootless());
        host = Host {
            in_user_namespace: OnceCell::from(true),
            ..Host::for_tests()
        };
        assert!(host.rootless());
    }

    #[test]
    fn rootless_option_parses_like_runc() {
        assert_eq!("auto".parse::<Rootless>().unwrap(), Rootless::Auto);
        assert_eq!("true".parse::<Rootless>().unwrap(), Rootless::True);
        assert_eq!("0".parse::<Rootless>().unwrap(), Rootless::False);
        assert!(
            "yes"
                .parse::<Rootless>()
                .unwrap_err()
                .to_string()
                .contains("\"yes\"")
        );
    }

    #[test]
    fn own_namespace_is_recognised() {
        let host = Host::for_tests();
        assert!(host.is_own_namespace("net", Path::new("/proc/thread-self/ns/net")));
        assert!(!host.is_own_namespace("net", Path::new("/proc/self/ns/uts")));
        assert!(!host.is_own_namespace("net", Path::new("/nowhere")));
    }
}
