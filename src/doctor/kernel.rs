//! The calls and namespaces that containers are made with, each asked for in a child of ours.

use rustix::io::Errno;
use rustix::mount::FsOpenFlags;

use super::{Check, Surroundings, Verdict, check};
use crate::sys;

const AREA: &str = "kernel";

pub(super) const CHECKS: &[Check] = &[
    check(AREA, "version", version),
    check(AREA, "openat2", |_| Some(call(&openat2(), "5.6"))),
    check(AREA, "pidfd", |_| Some(call(&pidfd(), "5.3"))),
    check(AREA, "clone3", |_| Some(call(&clone3(), "5.3"))),
    check(AREA, "mount calls", |here| Some(mount_calls(here))),
    check(AREA, "mount namespace", |here| {
        namespace(here, libc::CLONE_NEWNS, "mnt")
    }),
    check(AREA, "pid namespace", |here| {
        namespace(here, libc::CLONE_NEWPID, "pid")
    }),
    check(AREA, "network namespace", |here| {
        namespace(here, libc::CLONE_NEWNET, "net")
    }),
    check(AREA, "ipc namespace", |here| {
        namespace(here, libc::CLONE_NEWIPC, "ipc")
    }),
    check(AREA, "uts namespace", |here| {
        namespace(here, libc::CLONE_NEWUTS, "uts")
    }),
    check(AREA, "cgroup namespace", |here| {
        namespace(here, libc::CLONE_NEWCGROUP, "cgroup")
    }),
    check(AREA, "user namespaces of users", user_namespaces),
    check(AREA, "seccomp notifications", notifications),
    check(AREA, "Landlock", landlock),
];

fn version(_: &Surroundings) -> Option<Verdict> {
    // Told, not judged: what counts is what the calls below do.
    let system = rustix::system::uname();
    let text = |text: &std::ffi::CStr| text.to_string_lossy().into_owned();
    Some(Verdict::ok(format!(
        "Linux {} on {}",
        text(system.release()),
        text(system.machine())
    )))
}

/// A call that is there, whatever else it says; what a filter around us refuses is as good as missing.
fn call(result: &Result<(), Errno>, since: &str) -> Verdict {
    match result {
        Ok(()) => Verdict::ok("there"),
        Err(error) => Verdict::missing(
            error.to_string(),
            "no container runs",
            format!(
                "Linux {since} or newer; wrun is made for 5.12. In a container, its seccomp profile must allow it"
            ),
        ),
    }
}

fn openat2() -> Result<(), Errno> {
    use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    rustix::fs::openat2(CWD, "/", flags, Mode::empty(), ResolveFlags::IN_ROOT).map(drop)
}

fn pidfd() -> Result<(), Errno> {
    let flags = rustix::process::PidfdFlags::empty();
    rustix::process::pidfd_open(rustix::process::getpid(), flags).map(drop)
}

/// Makes a child of a child, which ends at once.
fn clone3() -> Result<(), Errno> {
    in_child(|| {
        let cloned = sys::clone::clone3(0, None);
        match cloned.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))? {
            sys::clone::Cloned::Child => Ok(()),
            sys::clone::Cloned::Parent { pid, .. } => wait(pid),
        }
    })
}

/// The new mount calls take any file system that a container's may be.
fn mount_calls(here: &Surroundings) -> Verdict {
    let result = in_child(|| {
        enter(here, libc::CLONE_NEWNS)?;
        let context = rustix::mount::fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
        rustix::mount::fsconfig_create(&context)?;
        let flags = rustix::mount::FsMountFlags::FSMOUNT_CLOEXEC;
        let mount = rustix::mount::fsmount(&context, flags, rustix::mount::MountAttrFlags::empty())?;
        let attributes = sys::mount::MountAttr {
            set: u64::from(rustix::mount::MountAttrFlags::MOUNT_ATTR_RDONLY.bits()),
            ..Default::default()
        };
        let set = sys::mount::mount_setattr(std::os::fd::AsFd::as_fd(&mount), false, &attributes);
        set.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
    });
    match result {
        Ok(()) => Verdict::ok("fsopen, fsmount and mount_setattr work"),
        Err(error) => Verdict::limited(
            error.to_string(),
            "mounts are made by mount(2), without recursive attributes and id maps, if at all",
            "Linux 5.12 or newer; in a container, CAP_SYS_ADMIN and a seccomp profile that allows these calls",
        ),
    }
}

fn namespace(here: &Surroundings, flag: i32, file: &str) -> Option<Verdict> {
    let most = std::fs::read_to_string(format!("/proc/sys/user/max_{file}_namespaces"));
    Some(match in_child(|| enter(here, flag)) {
        Ok(()) => Verdict::ok("can be made"),
        Err(Errno::PERM) => Verdict::missing(
            Errno::PERM.to_string(),
            "containers that have one do not run",
            "CAP_SYS_ADMIN, see capabilities below; users without it need user namespaces",
        ),
        Err(error) => Verdict::missing(
            format!("{error}; at most {}", most.as_deref().map_or("none", str::trim)),
            "containers that have one do not run",
            format!(
                "sysctl user.max_{file}_namespaces must not be 0; the kernel must be built with these namespaces"
            ),
        ),
    })
}

/// Goes into a new namespace, as a container of the caller would.
fn enter(here: &Surroundings, flag: i32) -> Result<(), Errno> {
    let user = if here.host.rootless() {
        libc::CLONE_NEWUSER
    } else {
        0
    };
    unshare(user | flag)
}

fn unshare(flags: i32) -> Result<(), Errno> {
    let flags = nix::sched::CloneFlags::from_bits_truncate(flags);
    nix::sched::unshare(flags).map_err(|error| Errno::from_raw_os_error(error as i32))
}

/// Whether users without rights can make containers: some distributions forbid their namespaces.
fn user_namespaces(here: &Surroundings) -> Option<Verdict> {
    let result = in_child(|| {
        if here.host.euid == 0 && !here.host.in_user_namespace() {
            // As nobody, who has no rights at all.
            let id = nix::unistd::Uid::from_raw(65_534);
            let switched = nix::unistd::setresuid(id, id, id);
            switched.map_err(|error| Errno::from_raw_os_error(error as i32))?;
        }
        unshare(libc::CLONE_NEWUSER)?;
        // AppArmor takes the rights inside away instead (Ubuntu from 23.10 on).
        unshare(libc::CLONE_NEWNS)
    });
    let is = |file: &str, value: &str| {
        std::fs::read_to_string(format!("/proc/sys/{file}")).is_ok_and(|text| text.trim() == value)
    };
    let mend = if is("kernel/unprivileged_userns_clone", "0") {
        "sysctl -w kernel.unprivileged_userns_clone=1"
    } else if is("kernel/apparmor_restrict_unprivileged_userns", "1") {
        "an AppArmor profile for wrun with `userns,`, or sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"
    } else {
        "sysctl user.max_user_namespaces must not be 0, and the kernel needs CONFIG_USER_NS"
    };
    Some(match result {
        Ok(()) => Verdict::ok("anyone can make them"),
        Err(error) if here.host.rootless() => Verdict::missing(error.to_string(), "no container runs", mend),
        Err(error) => Verdict::limited(
            error.to_string(),
            "users other than root have no containers",
            mend,
        ),
    })
}

fn notifications(_: &Surroundings) -> Option<Verdict> {
    let actions = std::fs::read_to_string("/proc/sys/kernel/seccomp/actions_avail").unwrap_or_default();
    Some(
        if actions.split_whitespace().any(|action| action == "user_notif") {
            Verdict::ok(actions.trim())
        } else {
            Verdict::limited(
                if actions.is_empty() {
                    "no seccomp"
                } else {
                    actions.trim()
                },
                "profiles with SCMP_ACT_NOTIFY are refused",
                "Linux 5.0 or newer",
            )
        },
    )
}

fn landlock(_: &Surroundings) -> Option<Verdict> {
    use landlock::{ABI, Access as _, AccessFs, CompatLevel, Compatible as _, Ruleset, RulesetAttr as _};
    let ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(ABI::V2))
        .and_then(Ruleset::create);
    Some(match ruleset {
        Ok(_) => Verdict::ok("confines Wasm guests"),
        Err(error) => Verdict::limited(
            error.to_string().replace('\n', "; "),
            "Wasm guests have one wall less around the engine's; the others stand",
            "Linux 5.19 or newer with CONFIG_SECURITY_LANDLOCK, and landlock in the kernel's lsm= list",
        ),
    })
}

/// What `probe` gives in a child, whose namespaces and ids go with it.
fn in_child(probe: impl FnOnce() -> Result<(), Errno>) -> Result<(), Errno> {
    let code = || match probe() {
        Ok(()) => 0,
        // The numbers of errors fit, and no child of ours ends with 255 otherwise.
        Err(error) => u8::try_from(error.raw_os_error()).unwrap_or(255),
    };
    let child = sys::fork::run_in_child(code);
    wait(child.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?)
}

fn wait(child: nix::unistd::Pid) -> Result<(), Errno> {
    use nix::sys::wait::{WaitStatus, waitpid};
    match waitpid(child, None) {
        Ok(WaitStatus::Exited(_, 0)) => Ok(()),
        Ok(WaitStatus::Exited(_, code)) => Err(Errno::from_raw_os_error(code)),
        // Killed: a seccomp filter around us may do so.
        Ok(_) => Err(Errno::PERM),
        Err(error) => Err(Errno::from_raw_os_error(error as i32)),
    }
}
