//! Who the process is: its groups, gid and uid, its capabilities, its umask.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use rustix::fs::{FileType, Gid, Mode, Uid, fchown, fstat, major, minor};
use rustix::io::Errno;
use rustix::thread::{set_keep_capabilities, set_thread_groups, set_thread_res_gid, set_thread_res_uid};

use super::capabilities::{self, Ungranted};
use super::{ProcDirectory, SecurityError};
use crate::plan::process::{Capabilities, User};

/// Becomes `user` with `wanted` capabilities and no more; answers the capabilities that were asked for and
/// could not be given. `process` is asked only where groups cannot be set.
///
/// # Errors
/// The first step that failed. The process must not go on then.
pub fn switch<'p>(
    user: &User,
    wanted: &Capabilities,
    process: impl FnOnce() -> Result<ProcDirectory<'p>, SecurityError>,
) -> Result<Ungranted, SecurityError> {
    // Needs CAP_SETPCAP, which a change of uid takes out of the effective set.
    capabilities::drop_bounding(wanted.bounding)?;
    // Leaving uid 0 would empty the permitted set, of which the wanted capabilities are a part.
    if user.uid != 0 {
        set_keep_capabilities(true).map_err(SecurityError::step("keep capabilities"))?;
    }
    if !user.keep_groups {
        set_groups(&user.additional_gids, process)?;
    }
    set_ids(user)?;
    // execve(2) would clear it; a Wasm guest is run without one.
    if user.uid != 0 {
        set_keep_capabilities(false).map_err(SecurityError::step("stop keeping capabilities"))?;
    }
    capabilities::set(wanted)
}

/// An empty list clears the caller's groups, so that they give no access to the container's files.
fn set_groups<'p>(
    groups: &[u32],
    process: impl FnOnce() -> Result<ProcDirectory<'p>, SecurityError>,
) -> Result<(), SecurityError> {
    let gids: Vec<Gid> = groups.iter().map(|gid| Gid::from_raw(*gid)).collect();
    let error = match set_thread_groups(&gids) {
        Ok(()) => return Ok(()),
        Err(error) => error,
    };
    match error {
        // A user namespace whose gid map an unprivileged user wrote (user_namespaces(7)): groups can neither
        // be added nor given up, by anyone in it. The user has them in any case.
        Errno::PERM if process()?.read("setgroups")?.starts_with(b"deny") => {
            if groups.is_empty() {
                Ok(())
            } else {
                Err(SecurityError::GroupsDenied {
                    groups: groups.into(),
                })
            }
        }
        // A user without privileges or a user namespace: nothing to change where there is nothing to clear.
        Errno::PERM if groups.is_empty() && rustix::process::getgroups().is_ok_and(|own| own.is_empty()) => {
            Ok(())
        }
        error => Err(SecurityError::Groups {
            groups: groups.into(),
            source: error.into(),
        }),
    }
}

fn set_ids(user: &User) -> Result<(), SecurityError> {
    let failed = |kind, id| {
        move |error| match error {
            Errno::INVAL => SecurityError::Unmapped { kind, id },
            error => SecurityError::Identity {
                kind,
                id,
                source: error.into(),
            },
        }
    };
    // Real, effective and saved, said one by one: setuid(2) sets only one of them for an unprivileged caller.
    let gid = Gid::from_raw(user.gid);
    set_thread_res_gid(gid, gid, gid).map_err(failed("gid", user.gid))?;
    let uid = Uid::from_raw(user.uid);
    set_thread_res_uid(uid, uid, uid).map_err(failed("uid", user.uid))
}

/// Sets the umask; without one 0022, as runc does, and not the caller's.
pub fn set_umask(umask: Option<u32>) {
    rustix::process::umask(Mode::from_raw_mode(umask.unwrap_or(0o022)));
}

/// Gives standard input, output and error to `uid`, so that the user can open them again through /dev/stdout
/// and the like: whoever called the runtime made them as another user. To be done before [`switch`].
///
/// /dev/null is left alone, which others share. So is what cannot be changed: the owner is not mapped in the
/// user namespace, or the file system is read-only; the descriptors themselves work all the same.
///
/// # Errors
/// Those of fstat(2) and fchown(2).
pub fn own_stdio(uid: u32) -> Result<(), SecurityError> {
    let (stdin, stdout, stderr) = (io::stdin(), io::stdout(), io::stderr());
    [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()]
        .into_iter()
        .try_for_each(|fd| own(fd, uid))
}

fn own(fd: BorrowedFd<'_>, uid: u32) -> Result<(), SecurityError> {
    let failed = |error: Errno| SecurityError::Stdio {
        fd: fd.as_raw_fd(),
        uid,
        source: error.into(),
    };
    let stat = fstat(fd).map_err(failed)?;
    let is_null = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice
        && (major(stat.st_rdev), minor(stat.st_rdev)) == (1, 3);
    if stat.st_uid == uid || is_null {
        return Ok(());
    }
    match fchown(fd, Some(Uid::from_raw(uid)), None) {
        Ok(()) | Err(Errno::PERM | Errno::ROFS) => Ok(()),
        Err(error) => Err(failed(error)),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::super::proc_directory::tests::own_directory;
    use super::*;

    fn status_line(name: &str) -> String {
        let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().skip(1).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_thread_becomes_the_user_and_keeps_what_was_asked_for() {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: needs root");
            return;
        }
        std::thread::spawn(|| {
            let directory = own_directory();
            let process = ProcDirectory::new(directory.as_fd());
            let net_bind = 1 << 10;
            let wanted = Capabilities {
                bounding: net_bind,
                effective: net_bind,
                permitted: net_bind,
                ..Capabilities::default()
            };
            let user = User {
                uid: 1234,
                gid: 2345,
                additional_gids: vec![7, 9],
                keep_groups: false,
                umask: None,
            };
            assert!(switch(&user, &wanted, || Ok(process)).unwrap().is_empty());
            assert_eq!(status_line("Uid:"), "1234 1234 1234 1234");
            assert_eq!(status_line("Gid:"), "2345 2345 2345 2345");
            assert_eq!(status_line("Groups:"), "7 9");
            assert_eq!(status_line("CapEff:"), "0000000000000400");
            assert_eq!(status_line("CapBnd:"), "0000000000000400");
            assert!(!rustix::thread::get_keep_capabilities().unwrap());
            let error = set_groups(&[1], || Ok(process)).unwrap_err();
            assert!(matches!(error, SecurityError::Groups { .. }), "{error:?}");
            let error = set_ids(&User { uid: 0, ..user }).unwrap_err();
            assert_eq!(error.to_string(), "cannot change to uid 0");
        })
        .join()
        .unwrap();
    }

    #[test]
    fn an_empty_list_clears_the_callers_groups() {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: needs root");
            return;
        }
        std::thread::spawn(|| {
            let directory = own_directory();
            set_thread_groups(&[Gid::from_raw(33)]).unwrap();
            set_groups(&[], || Ok(ProcDirectory::new(directory.as_fd()))).unwrap();
            assert_eq!(status_line("Groups:"), "");
        })
        .join()
        .unwrap();
    }

    #[test]
    fn stdio_is_given_away_but_not_dev_null() {
        let file = tempfile::tempfile().unwrap();
        let uid = if rustix::process::geteuid().is_root() {
            1234
        } else {
            rustix::process::geteuid().as_raw()
        };
        own(file.as_fd(), uid).unwrap();
        assert_eq!(file.metadata().unwrap().uid(), uid);
        let null = std::fs::File::open("/dev/null").unwrap();
        let before = null.metadata().unwrap().uid();
        own(null.as_fd(), 1234).unwrap();
        assert_eq!(null.metadata().unwrap().uid(), before);
    }
}
