//! What is left of a process's rights when it is to run a Wasm guest. The engine makes syscalls for the guest,
//! and it is known which: whatever they do not need is given up, so that a guest that broke out of the engine
//! finds nothing to use.

use std::io;
use std::os::fd::BorrowedFd;

use landlock::{
    ABI, Access, AccessFs, BitFlags, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreated, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
};

use super::SecurityError;
use crate::plan::process::Capabilities;

/// Files of others may be opened, as root of a container expects it.
const CAP_DAC_OVERRIDE: u64 = 1 << 1;
/// The same for reading alone: superfluous beside the one above, and then not kept, since it also lets a
/// process open files by handle, in whatever directory they are (open_by_handle_at(2)).
const CAP_DAC_READ_SEARCH: u64 = 1 << 2;
/// Times of others' files may be set, and their files removed from a directory with the sticky bit
/// (`path_filestat_set_times`, `path_unlink_file`, `path_rename`).
const CAP_FOWNER: u64 = 1 << 3;
/// Sockets may be bound to ports below 1024.
const CAP_NET_BIND_SERVICE: u64 = 1 << 10;

/// The capabilities of `granted` that WASI's calls can make use of, and that a native program of the same user
/// would have. None is inherited by another program: a guest's process executes none.
///
/// Engines grant the same sets whoever the user is, and leave it to execve(2) to take them from all but root
/// (capabilities(7), "Transformation of capabilities during execve()"): others keep the ambient ones. A guest
/// is run without an execve, so it is done here.
///
/// With `hooks` it does execute: startContainer hooks run in it first, and as root they have what the bounding
/// set has.
pub fn capabilities(granted: &Capabilities, root: bool, hooks: bool) -> Capabilities {
    let held = granted.permitted
        & if root {
            granted.effective
        } else {
            granted.inheritable & granted.ambient
        };
    let mut useful = CAP_DAC_OVERRIDE | CAP_FOWNER | CAP_NET_BIND_SERVICE;
    if held & CAP_DAC_OVERRIDE == 0 {
        useful |= CAP_DAC_READ_SEARCH;
    }
    Capabilities {
        bounding: if hooks { granted.bounding & useful } else { 0 },
        effective: held & useful,
        // Nothing in the process ever raises a capability, so more than is effective would be of use to an
        // attacker only.
        permitted: held & useful,
        inheritable: 0,
        ambient: 0,
    }
}

/// Puts the calling thread, which must have no_new_privs, under Landlock for good: files are reached below the
/// present root only, besides `code`, which may be opened anew for reading, and below `directory`; no device is made
/// or commanded, no mount changed, and nothing executed (but `hooks`, see [`capabilities`]); no process outside is signalled or
/// traced, and no abstract socket outside is reached.
///
/// Does as much of this as the kernel knows, and nothing on those before Linux 5.19: their Landlock refuses to
/// move a file from one directory to another, which a guest may.
///
/// To be called before the container's own seccomp filter is loaded, which may not know these syscalls; where
/// a filter that we run under ourselves refuses to say that the kernel has Landlock, it counts as missing.
///
/// # Errors
/// A kernel that has Landlock and does not do it.
pub fn landlock(
    hooks: bool,
    code: &[BorrowedFd<'_>],
    directory: Option<BorrowedFd<'_>>,
) -> Result<(), SecurityError> {
    restrict(hooks, code, directory)
        .map(drop)
        .map_err(|error| SecurityError::Step {
            step: "confine the guest's process by Landlock",
            source: io::Error::other(error),
        })
}

type Refused = Box<dyn std::error::Error + Send + Sync>;

fn restrict(
    hooks: bool,
    code: &[BorrowedFd<'_>],
    directory: Option<BorrowedFd<'_>>,
) -> Result<RulesetStatus, Refused> {
    let mut readable = code.to_vec();
    loop {
        let mut rules = rules(hooks, PathFd::new("/")?)?;
        if let Some(directory) = directory {
            rules = rules.add_rule(PathBeneath::new(directory, allowed(hooks)))?;
        }
        match with_readable(rules, &readable) {
            Ok(rules) => return Ok(rules.restrict_self()?.ruleset),
            // A file in memory has no path: the kernel takes no rule for it (EBADFD), and needs none.
            Err(refused) => {
                readable.remove(refused);
            }
        }
    }
}

/// The rules with one for each file; or which file has none, and then all rules are gone.
fn with_readable(mut rules: RulesetCreated, code: &[BorrowedFd<'_>]) -> Result<RulesetCreated, usize> {
    for (at, file) in code.iter().enumerate() {
        let rule = PathBeneath::new(*file, AccessFs::ReadFile);
        rules = rules.add_rule(rule).map_err(|_| at)?;
    }
    Ok(rules)
}

/// The kernel's rights that existed when this was written; those of later kernels are not restricted before
/// somebody has looked at what they mean for guests.
const KNOWN: ABI = ABI::V6;

/// What may be done below the present root.
fn allowed(hooks: bool) -> BitFlags<AccessFs> {
    let forbidden = AccessFs::MakeChar | AccessFs::MakeBlock | AccessFs::IoctlDev;
    let mut allowed = AccessFs::from_all(KNOWN) & !forbidden;
    if !hooks {
        allowed.remove(AccessFs::Execute);
    }
    allowed
}

fn rules(hooks: bool, root: PathFd) -> Result<RulesetCreated, RulesetError> {
    Ruleset::default()
        // Without this right there is to be no rule at all.
        .set_compatibility(CompatLevel::SoftRequirement)
        .handle_access(AccessFs::Refer)?
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(KNOWN))?
        .scope(Scope::from_all(KNOWN))?
        .create()?
        .add_rule(PathBeneath::new(root, allowed(hooks)))
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    const ALL: u64 = (1 << 41) - 1;

    fn granted(mask: u64) -> Capabilities {
        Capabilities {
            bounding: mask,
            effective: mask,
            inheritable: mask,
            permitted: mask,
            ambient: mask,
        }
    }

    #[test]
    fn of_all_capabilities_three_are_kept() {
        let kept = capabilities(&granted(ALL), true, false);
        let useful = CAP_DAC_OVERRIDE | CAP_FOWNER | CAP_NET_BIND_SERVICE;
        assert_eq!((kept.effective, kept.permitted), (useful, useful));
        assert_eq!((kept.bounding, kept.inheritable, kept.ambient), (0, 0, 0));
        assert_eq!(capabilities(&granted(ALL), true, true).bounding, useful);
    }

    #[test]
    fn nothing_is_kept_that_was_not_granted() {
        assert_eq!(capabilities(&granted(0), true, true), Capabilities::default());
        let read = capabilities(&granted(CAP_DAC_READ_SEARCH), true, false);
        assert_eq!(read.effective, CAP_DAC_READ_SEARCH);
        let dormant = Capabilities {
            effective: 0,
            ..granted(ALL)
        };
        assert_eq!(capabilities(&dormant, true, false), Capabilities::default());
    }

    #[test]
    fn who_is_not_root_has_the_ambient_ones_alone() {
        let engine = Capabilities {
            inheritable: 0,
            ambient: 0,
            ..granted(ALL)
        };
        assert_eq!(capabilities(&engine, false, false), Capabilities::default());
        let port = Capabilities {
            inheritable: ALL,
            ambient: CAP_NET_BIND_SERVICE,
            ..granted(ALL)
        };
        let kept = capabilities(&port, false, false);
        assert_eq!(
            (kept.effective, kept.permitted),
            (CAP_NET_BIND_SERVICE, CAP_NET_BIND_SERVICE)
        );
        // Raising it takes the inheritable one.
        let alone = Capabilities {
            inheritable: 0,
            ..port
        };
        assert_eq!(capabilities(&alone, false, false), Capabilities::default());
    }

    /// Runs in a thread of its own, which alone is restricted; not on a kernel without Landlock.
    fn restricted(hooks: bool, test: impl FnOnce() + Send) {
        std::thread::scope(|scope| {
            let body = || {
                crate::security::no_new_privileges().expect("set");
                let code = std::fs::File::open("/dev/null").expect("opened");
                match restrict(hooks, &[code.as_fd()], None).expect("a kernel that does what it says") {
                    RulesetStatus::NotEnforced => eprintln!("skipped: this kernel has no Landlock"),
                    _ => test(),
                }
            };
            scope.spawn(body).join().expect("it passes");
        });
    }

    #[test]
    fn under_landlock_files_work_as_before() {
        let dir = tempfile::tempdir().expect("a directory");
        restricted(false, || {
            use std::fs;
            let path = |name: &str| dir.path().join(name);
            fs::create_dir(path("one")).expect("made");
            fs::create_dir(path("two")).expect("made");
            fs::write(path("one/file"), "text").expect("written");
            fs::rename(path("one/file"), path("two/file")).expect("moved");
            fs::hard_link(path("two/file"), path("one/link")).expect("linked");
            std::os::unix::fs::symlink("two/file", path("symbolic")).expect("linked");
            fs::File::options()
                .write(true)
                .truncate(true)
                .open(path("symbolic"))
                .expect("emptied");
            assert_eq!(fs::read(path("one/link")).expect("read"), b"");
            std::os::unix::net::UnixListener::bind(path("socket")).expect("bound");
            fs::remove_file(path("one/link")).expect("removed");
            fs::remove_dir(path("one")).expect("removed");
        });
    }

    #[test]
    fn under_landlock_nothing_is_executed_but_by_hooks() {
        restricted(false, || {
            let error = std::process::Command::new("/bin/true").status().unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
        });
        restricted(true, || {
            assert!(
                std::process::Command::new("/bin/true")
                    .status()
                    .expect("run")
                    .success()
            );
        });
    }

    #[test]
    fn under_landlock_no_device_is_made_and_nobody_outside_reached() {
        use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};
        use std::os::linux::net::SocketAddrExt;
        use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
        let dir = tempfile::tempdir().expect("a directory");
        let name = format!("wrun-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(name).expect("a name");
        let _listener = UnixListener::bind_addr(&address).expect("bound");
        restricted(false, || {
            for kind in [FileType::CharacterDevice, FileType::BlockDevice] {
                let made = mknodat(CWD, dir.path().join("null"), kind, Mode::RUSR, makedev(1, 3));
                // Without root it is forbidden in any case.
                assert!(matches!(
                    made,
                    Err(rustix::io::Errno::ACCESS | rustix::io::Errno::PERM)
                ));
            }
            let parent = rustix::process::getppid().expect("it has one");
            assert_eq!(
                rustix::process::test_kill_process(parent),
                Err(rustix::io::Errno::PERM)
            );
            let error = UnixStream::connect_addr(&address).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
        });
    }
}
