//! What the caller may do, and what watches over it: capabilities, ids, limits, security modules, the view of /proc.

use rustix::thread::CapabilitySet;

use super::{Check, Surroundings, Verdict, check};
use crate::sys::mountinfo;
use crate::trial::find_program;

const AREA: &str = "rights";

pub(super) const CHECKS: &[Check] = &[
    check(AREA, "capabilities", capabilities),
    check(AREA, "subordinate user ids", |here| {
        subordinate(here, "/etc/subuid")
    }),
    check(AREA, "subordinate group ids", |here| {
        subordinate(here, "/etc/subgid")
    }),
    check(AREA, "newuidmap", |here| {
        mapper(here, "newuidmap", CapabilitySet::SETUID)
    }),
    check(AREA, "newgidmap", |here| {
        mapper(here, "newgidmap", CapabilitySet::SETGID)
    }),
    check(AREA, "open files", open_files),
    check(AREA, "AppArmor", apparmor),
    check(AREA, "SELinux", selinux),
    check(AREA, "view of /proc", hidepid),
];

/// What each capability is for, of those that root usually has and may have been denied.
const WANTED: [(CapabilitySet, &str, &str); 8] = [
    (CapabilitySet::SYS_ADMIN, "CAP_SYS_ADMIN", "namespaces and mounts"),
    (
        CapabilitySet::SYS_RESOURCE,
        "CAP_SYS_RESOURCE",
        "raising limits (--ulimit, Podman's defaults, --privileged)",
    ),
    (
        CapabilitySet::NET_ADMIN,
        "CAP_NET_ADMIN",
        "networks and linux.netDevices",
    ),
    (CapabilitySet::MKNOD, "CAP_MKNOD", "devices"),
    (CapabilitySet::SETUID, "CAP_SETUID", "containers of other users"),
    (CapabilitySet::SETGID, "CAP_SETGID", "containers of other groups"),
    (CapabilitySet::SETPCAP, "CAP_SETPCAP", "dropping capabilities"),
    (
        CapabilitySet::BPF,
        "CAP_BPF",
        "nothing while CAP_SYS_ADMIN is there, else device rules on cgroup v2",
    ),
];

fn capabilities(here: &Surroundings) -> Option<Verdict> {
    if here.host.rootless() {
        return None;
    }
    let own = match rustix::thread::capabilities(None) {
        Ok(sets) => sets.effective,
        Err(error) => {
            return Some(Verdict::limited(
                error.to_string(),
                "unknown",
                "a kernel with capget(2)",
            ));
        }
    };
    let useful = |set: CapabilitySet| set != CapabilitySet::BPF || !own.contains(CapabilitySet::SYS_ADMIN);
    let lacking: Vec<_> = WANTED
        .iter()
        .filter(|(set, ..)| !own.contains(*set) && useful(*set))
        .collect();
    if lacking.is_empty() {
        return Some(Verdict::ok("all that containers are made with"));
    }
    let names: Vec<_> = lacking.iter().map(|(_, name, _)| *name).collect();
    let costs: Vec<_> = lacking.iter().map(|(_, _, cost)| *cost).collect();
    Some(Verdict::limited(
        format!("without {}", names.join(", ")),
        format!("what needs them fails: {}", costs.join("; ")),
        "whoever confines root here (a virtual machine, a container, a unit's CapabilityBoundingSet=) must grant them",
    ))
}

/// The name and the number of the calling user.
fn user(here: &Surroundings) -> (String, String) {
    let number = here.host.euid.to_string();
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let own = passwd
        .lines()
        .find(|line| line.split(':').nth(2) == Some(&number));
    let name = own.and_then(|line| line.split(':').next());
    (name.unwrap_or(&number).to_owned(), number)
}

fn subordinate(here: &Surroundings, file: &str) -> Option<Verdict> {
    if here.host.euid == 0 {
        return None;
    }
    let (name, number) = user(here);
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let count: u64 = text
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>())
        .filter(|fields| fields.len() == 3 && (fields[0] == name || fields[0] == number))
        .filter_map(|fields| fields[2].trim().parse::<u64>().ok())
        .sum();
    let option = if file.ends_with("uid") {
        "--add-subuids"
    } else {
        "--add-subgids"
    };
    Some(if count >= 65_536 {
        Verdict::ok(format!("{count} in {file}"))
    } else {
        Verdict::limited(
            format!("{count} in {file}"),
            "images whose files belong to several users do not unpack, and their programs cannot change user",
            format!("usermod {option} 100000-165535 {name} (a range that nobody else has)"),
        )
    })
}

/// newuidmap and newgidmap need their right from their file.
fn mapper(here: &Surroundings, name: &str, right: CapabilitySet) -> Option<Verdict> {
    use std::os::unix::fs::MetadataExt as _;
    if here.host.euid == 0 {
        return None;
    }
    let cost = "containers with more than one id do not run";
    let Some(path) = find_program(name) else {
        return Some(Verdict::limited(
            "not installed",
            cost,
            "the package uidmap (shadow-utils)",
        ));
    };
    let setuid = path
        .metadata()
        .is_ok_and(|metadata| metadata.uid() == 0 && metadata.mode() & 0o4000 != 0);
    let mut value = [0_u8; 64];
    // struct vfs_cap_data of linux/capability.h: a word of magic, and permitted bits 0 to 31 in the second.
    let capable = rustix::fs::getxattr(&path, "security.capability", &mut value).is_ok_and(|length| {
        let word = u32::from_le_bytes([value[4], value[5], value[6], value[7]]);
        length >= 8 && u64::from(word) & right.bits() != 0
    });
    Some(if setuid || capable {
        Verdict::ok(path.display().to_string())
    } else {
        Verdict::limited(
            format!("{} is neither setuid nor has it the capability", path.display()),
            cost,
            format!(
                "chmod u+s {}, or install the package uidmap again",
                path.display()
            ),
        )
    })
}

fn open_files(_: &Surroundings) -> Option<Verdict> {
    let hard = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum;
    Some(match hard {
        Some(hard) if hard < 4096 => Verdict::limited(
            format!("at most {hard}"),
            "programs in containers may have no more open files either",
            "raise RLIMIT_NOFILE of the caller (LimitNOFILE= of a unit)",
        ),
        Some(hard) => Verdict::ok(format!("at most {hard}")),
        None => Verdict::ok("no limit"),
    })
}

fn apparmor(here: &Surroundings) -> Option<Verdict> {
    // No lack by itself: other hosts have SELinux, or neither.
    Some(Verdict::ok(match here.host.apparmor() {
        true => "enabled: process.apparmorProfile is applied",
        false => "not enabled: a config.json that names a profile is refused",
    }))
}

fn selinux(here: &Surroundings) -> Option<Verdict> {
    let enforcing =
        || std::fs::read_to_string("/sys/fs/selinux/enforce").is_ok_and(|text| text.trim() == "1");
    Some(Verdict::ok(
        match (here.host.selinux(), here.host.selinux() && enforcing()) {
            (_, true) => "enforcing: labels are applied",
            (true, false) => "permissive: labels are applied and only logged",
            (false, _) => "not enabled: labels of a config.json are left to that",
        },
    ))
}

fn hidepid(here: &Surroundings) -> Option<Verdict> {
    let table = std::fs::read_to_string("/proc/self/mountinfo").ok()?;
    let proc = mountinfo::lines(&table)
        .filter(|line| line.point == std::path::Path::new("/proc"))
        .last()?;
    let option = proc
        .options
        .split(',')
        .find(|option| option.starts_with("hidepid="));
    let hidden = option.filter(|option| !matches!(*option, "hidepid=0" | "hidepid=off"));
    Some(match hidden {
        Some(option) if here.host.euid != 0 => Verdict::limited(
            option,
            "processes of containers in user namespaces are not seen, so that exec and ps may fail",
            "mount -o remount,hidepid=0 /proc, or gid= of a group of the caller",
        ),
        Some(option) => Verdict::ok(format!("{option}, which root sees through")),
        None => Verdict::ok("all processes"),
    })
}
