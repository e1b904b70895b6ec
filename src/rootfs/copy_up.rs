//! `tmpcopyup`: a fresh tmpfs starts with what the image has at that place.

use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, Dir, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid};

use super::resolve;

/// Copies what is in the directory at `destination`, if there is one, into the detached mount `tree`. Its owner, too,
/// where `options` give none; its mode is an option of the tmpfs already.
pub fn copy(
    root: BorrowedFd<'_>,
    destination: &Path,
    tree: BorrowedFd<'_>,
    options: &[String],
) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
    let from = match resolve::open(root, destination, flags) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    let into = rustix::fs::openat(tree, ".", flags | OFlags::CLOEXEC, Mode::empty())?;
    copy_entries(&from, &into)?;
    let stat = rustix::fs::fstat(&from)?;
    let given = |key: &str| options.iter().any(|option| option.starts_with(key));
    let uid = (!given("uid=")).then(|| Uid::from_raw(stat.st_uid));
    let gid = (!given("gid=")).then(|| Gid::from_raw(stat.st_gid));
    rustix::fs::fchown(&into, uid, gid)?;
    rustix::fs::futimens(&into, &times(&stat))?;
    Ok(())
}

fn copy_entries(from: &OwnedFd, into: &OwnedFd) -> io::Result<()> {
    for entry in Dir::read_from(from)? {
        let entry = entry?;
        let name = entry.file_name();
        if name != c"." && name != c".." {
            copy_entry(from, into, name)?;
        }
    }
    Ok(())
}

fn copy_directory(from: &OwnedFd, into: &OwnedFd) -> io::Result<()> {
    copy_entries(from, into)?;
    let stat = rustix::fs::fstat(from)?;
    rustix::fs::fchmod(into, Mode::from_raw_mode(stat.st_mode))?;
    rustix::fs::fchown(
        into,
        Some(Uid::from_raw(stat.st_uid)),
        Some(Gid::from_raw(stat.st_gid)),
    )?;
    rustix::fs::futimens(into, &times(&stat))?;
    Ok(())
}

fn copy_entry(from: &OwnedFd, into: &OwnedFd, name: &CStr) -> io::Result<()> {
    let stat = rustix::fs::statat(from, name, AtFlags::SYMLINK_NOFOLLOW)?;
    let mode = Mode::from_raw_mode(stat.st_mode);
    let nofollow = OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => {
            rustix::fs::mkdirat(into, name, Mode::from_raw_mode(0o700))?;
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | nofollow;
            let inner = rustix::fs::openat(from, name, flags, Mode::empty())?;
            return copy_directory(&inner, &rustix::fs::openat(into, name, flags, Mode::empty())?);
        }
        FileType::RegularFile => {
            let source = rustix::fs::openat(
                from,
                name,
                OFlags::RDONLY | OFlags::NONBLOCK | nofollow,
                Mode::empty(),
            )?;
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | nofollow;
            let target = rustix::fs::openat(into, name, flags, Mode::from_raw_mode(0o600))?;
            io::copy(&mut File::from(source), &mut File::from(target))?;
        }
        FileType::Symlink => {
            rustix::fs::symlinkat(rustix::fs::readlinkat(from, name, Vec::new())?, into, name)?;
        }
        kind => rustix::fs::mknodat(into, name, kind, mode, stat.st_rdev)?,
    }
    let owner = (Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)));
    rustix::fs::chownat(into, name, owner.0, owner.1, AtFlags::SYMLINK_NOFOLLOW)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
        // After chown, which clears the set-user-id bit. No link: it was made just now, in a detached mount.
        rustix::fs::chmodat(into, name, mode, AtFlags::empty())?;
    }
    rustix::fs::utimensat(into, name, &times(&stat), AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(())
}

fn times(stat: &rustix::fs::Stat) -> Timestamps {
    let at = |seconds: i64, nanoseconds: u64| Timespec {
        tv_sec: seconds,
        tv_nsec: nanoseconds as i64,
    };
    Timestamps {
        last_access: at(stat.st_atime, stat.st_atime_nsec),
        last_modification: at(stat.st_mtime, stat.st_mtime_nsec),
    }
}
