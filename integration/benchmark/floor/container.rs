//! The child's side: from its birth in the new namespaces to the program.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use rustix::thread::{CapabilitySet, CapabilitySets};

use crate::{failed, seccomp};

/// What the child is told by its parent's memory.
pub struct Container<'a> {
    pub rootfs: &'a Path,
    pub filter: &'a [u8],
    pub groups: &'a [PathBuf],
    pub program: &'a [&'a str],
}

/// Mounts of config.json: where, type, flags, data. The one of cgroups is made by hand.
const MOUNTS: [(&str, &str, MsFlags, &str); 6] = [
    ("proc", "proc", STRICT, ""),
    (
        "dev",
        "tmpfs",
        MsFlags::MS_NOSUID.union(MsFlags::MS_STRICTATIME),
        "mode=755,size=65536k",
    ),
    (
        "dev/pts",
        "devpts",
        MsFlags::MS_NOSUID.union(MsFlags::MS_NOEXEC),
        "newinstance,ptmxmode=0666,mode=0620,gid=5",
    ),
    ("sys", "sysfs", STRICT.union(MsFlags::MS_RDONLY), ""),
    ("dev/mqueue", "mqueue", STRICT, ""),
    ("dev/shm", "tmpfs", STRICT, "mode=1777,size=67108864"),
];

const STRICT: MsFlags = MsFlags::MS_NOSUID
    .union(MsFlags::MS_NOEXEC)
    .union(MsFlags::MS_NODEV);

/// Those that every container has.
const DEVICES: [(&str, u64, u64); 6] = [
    ("null", 1, 3),
    ("zero", 1, 5),
    ("full", 1, 7),
    ("random", 1, 8),
    ("urandom", 1, 9),
    ("tty", 5, 0),
];

const LINKS: [(&str, &str); 5] = [
    ("/proc/self/fd", "dev/fd"),
    ("/proc/self/fd/0", "dev/stdin"),
    ("/proc/self/fd/1", "dev/stdout"),
    ("/proc/self/fd/2", "dev/stderr"),
    ("pts/ptmx", "dev/ptmx"),
];

const SYSCTLS: [(&str, &str); 2] = [
    ("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0"),
    ("/proc/sys/net/ipv4/ping_group_range", "0 2147483647"),
];

const READONLY: [&str; 5] = [
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
];

const MASKED: [&str; 10] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
];

/// Docker's.
const CAPABILITIES: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::FSETID)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::MKNOD)
    .union(CapabilitySet::NET_RAW)
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::SETUID)
    .union(CapabilitySet::SETFCAP)
    .union(CapabilitySet::SETPCAP)
    .union(CapabilitySet::NET_BIND_SERVICE)
    .union(CapabilitySet::SYS_CHROOT)
    .union(CapabilitySet::KILL)
    .union(CapabilitySet::AUDIT_WRITE);

/// mount(2) of a type, or with an empty one of what is there already.
fn mount_on(source: &Path, target: &Path, kind: &str, flags: MsFlags, data: &str) -> io::Result<()> {
    let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let (kind, data) = (given(kind), given(data));
    mount(Some(source), target, kind.as_deref(), flags, data.as_deref())
        .map_err(io::Error::from)
        .map_err(failed(&target.to_string_lossy()))
}

/// Makes the mount at `target` read-only.
fn make_readonly(target: &Path) -> io::Result<()> {
    let flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY | STRICT;
    mount_on(Path::new(""), target, "", flags, "")
}

impl Container<'_> {
    /// Comes back only with an error.
    pub fn become_program(&self) -> io::Error {
        match self.set_up() {
            Ok(never) => match never {},
            Err(error) => error,
        }
    }

    fn set_up(&self) -> io::Result<std::convert::Infallible> {
        for group in self.groups {
            if !group.join("cgroup.controllers").exists() {
                fs::write(group.join("cgroup.procs"), "0").map_err(failed("join a cgroup"))?;
            }
        }
        nix::unistd::setsid()?;
        nix::unistd::sethostname("bench")?;
        self.mounts()?;
        self.devices()?;
        nix::unistd::chdir(self.rootfs)?;
        nix::unistd::pivot_root(".", ".").map_err(|error| failed("pivot_root")(error.into()))?;
        umount2(".", MntFlags::MNT_DETACH)?;
        nix::unistd::chdir("/")?;
        for (file, value) in SYSCTLS {
            fs::write(file, value).map_err(failed(file))?;
        }
        hide()?;
        self.confine()?;
        let words: Vec<CString> = self
            .program
            .iter()
            .map(|word| CString::new(*word))
            .collect::<Result<_, _>>()?;
        let path = CString::new("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")?;
        Ok(nix::unistd::execve(&words[0], &words, &[path])?)
    }

    fn mounts(&self) -> io::Result<()> {
        let nothing = Path::new("");
        let recursive = MsFlags::MS_REC;
        mount_on(nothing, Path::new("/"), "", MsFlags::MS_SLAVE | recursive, "")?;
        mount_on(self.rootfs, self.rootfs, "", MsFlags::MS_BIND | recursive, "")?;
        for (place, kind, flags, data) in MOUNTS {
            let target = self.rootfs.join(place);
            if ["dev/pts", "dev/mqueue", "dev/shm"].contains(&place) {
                fs::create_dir(&target)?;
            }
            mount_on(Path::new(kind), &target, kind, flags, data)?;
        }
        self.cgroups()
    }

    /// The container's own cgroups at /sys/fs/cgroup: one of v2 itself, those of v1 side by side.
    fn cgroups(&self) -> io::Result<()> {
        let place = self.rootfs.join("sys/fs/cgroup");
        let (flags, data) = (STRICT, "mode=755");
        if let [group] = self.groups
            && group.join("cgroup.controllers").exists()
        {
            mount_on(group, &place, "", MsFlags::MS_BIND, "")?;
            return make_readonly(&place);
        }
        mount_on(Path::new("tmpfs"), &place, "tmpfs", flags, data)?;
        for group in self.groups {
            let hierarchy = group.strip_prefix("/sys/fs/cgroup").unwrap_or(group);
            let target = place.join(hierarchy.iter().next().unwrap_or_default());
            fs::create_dir(&target)?;
            mount_on(group, &target, "", MsFlags::MS_BIND, "")?;
            make_readonly(&target)?;
        }
        make_readonly(&place)
    }

    fn devices(&self) -> io::Result<()> {
        let mode = Mode::from_bits_truncate(0o666);
        rustix::process::umask(rustix::fs::Mode::empty());
        for (name, major, minor) in DEVICES {
            mknod(
                &self.rootfs.join("dev").join(name),
                SFlag::S_IFCHR,
                mode,
                makedev(major, minor),
            )?;
        }
        rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
        for (target, place) in LINKS {
            symlink(target, self.rootfs.join(place))?;
        }
        Ok(())
    }

    /// The filter before the capabilities, since without no_new_privs it takes CAP_SYS_ADMIN.
    fn confine(&self) -> io::Result<()> {
        // Unknown ones end the row that the kernel has.
        for number in 0..64 {
            let one = CapabilitySet::from_bits_retain(1 << number);
            if !CAPABILITIES.contains(one)
                && rustix::thread::remove_capability_from_bounding_set(one).is_err()
            {
                break;
            }
        }
        seccomp::set_filter(self.filter, 0).map_err(failed("seccomp"))?;
        let sets = CapabilitySets {
            effective: CAPABILITIES,
            permitted: CAPABILITIES,
            inheritable: CapabilitySet::empty(),
        };
        Ok(rustix::thread::set_capabilities(None, sets)?)
    }
}

/// Read-only and masked paths, those that this kernel has.
fn hide() -> io::Result<()> {
    for path in READONLY.map(Path::new).iter().filter(|path| path.exists()) {
        mount_on(path, path, "", MsFlags::MS_BIND | MsFlags::MS_REC, "")?;
        make_readonly(path)?;
    }
    for path in MASKED.map(Path::new) {
        match fs::symlink_metadata(path) {
            Ok(found) if found.is_dir() => {
                let flags = MsFlags::MS_RDONLY;
                mount_on(Path::new("tmpfs"), path, "tmpfs", flags, "size=0k")?;
            }
            Ok(_) => mount_on(Path::new("/dev/null"), path, "", MsFlags::MS_BIND, "")?,
            Err(_) => {} // This kernel has none.
        }
    }
    Ok(())
}
