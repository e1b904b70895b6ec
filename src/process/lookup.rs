//! Opening a path in the container as its program would, under whatever seccomp filter is already in force. What
//! is done with the file, others decide.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path};

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

/// Symbolic links followed on the way to one path, as in the kernel.
const MAX_LINKS: usize = 40;

/// Opens a path from the current directory. A magic link of procfs could lead, by a descriptor of ours that is
/// open yet, out of the container (CVE-2024-21626); it counts as one link too many.
pub fn open(path: &Path, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    let flags = flags | OFlags::CLOEXEC;
    match rustix::fs::openat2(CWD, path, flags, Mode::empty(), ResolveFlags::NO_MAGICLINKS) {
        // The container's filter may be older than the call. Where the refusal is the file's, it comes again.
        Err(Errno::NOSYS | Errno::PERM) => walk(path, flags),
        result => result,
    }
}

/// The same without openat2(2): link by link.
fn walk(path: &Path, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    let place = OFlags::PATH | OFlags::CLOEXEC;
    let directory = |name: &str| rustix::fs::open(name, place | OFlags::DIRECTORY, Mode::empty());
    let mut at = directory(if path.is_absolute() { "/" } else { "." })?;
    let mut rest = steps(path);
    let mut links = 0;
    while let Some(step) = rest.pop() {
        let found = rustix::fs::openat(&at, &step, place | OFlags::NOFOLLOW, Mode::empty())?;
        let kind = FileType::from_raw_mode(rustix::fs::fstat(&found)?.st_mode);
        if kind == FileType::Symlink {
            links += 1;
            if links > MAX_LINKS || is_proc(&found)? {
                return Err(Errno::LOOP);
            }
            let target = rustix::fs::readlinkat(&found, "", Vec::new())?;
            let target = Path::new(OsStr::from_bytes(target.as_bytes()));
            if target.is_absolute() {
                at = directory("/")?;
            }
            rest.extend(steps(target));
        } else if rest.is_empty() && !flags.contains(OFlags::PATH) {
            // A link that has come in its place since fails.
            return rustix::fs::openat(&at, &step, flags | OFlags::NOFOLLOW, Mode::empty());
        } else {
            at = found;
        }
    }
    Ok(at)
}

/// The components of a path, the first one last.
fn steps(path: &Path) -> Vec<OsString> {
    let step = |component: Component<'_>| match component {
        Component::Normal(_) | Component::ParentDir => Some(component.as_os_str().to_owned()),
        _ => None,
    };
    path.components().rev().filter_map(step).collect()
}

fn is_proc(fd: impl AsFd) -> rustix::io::Result<bool> {
    Ok(rustix::fs::fstatfs(fd)?.f_type == rustix::fs::PROC_SUPER_MAGIC)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, symlink};

    use super::*;

    #[test]
    fn a_walk_finds_what_the_kernel_finds() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::create_dir_all(at("a/b")).unwrap();
        fs::write(at("a/b/file"), "x").unwrap();
        symlink("b", at("a/link")).unwrap();
        symlink(at("a/link/../b/file"), at("absolute")).unwrap();
        symlink("../../absolute", at("a/b/back")).unwrap();
        symlink("loop", at("loop")).unwrap();
        for name in [
            "a/b/file",
            "a/link/file",
            "absolute",
            "a/link/back",
            "a/b/../b/file",
            "a",
            "a/link",
        ] {
            let path = at(name);
            let file = fs::File::from(walk(&path, OFlags::PATH).unwrap());
            assert_eq!(
                file.metadata().unwrap().ino(),
                fs::metadata(&path).unwrap().ino(),
                "{name}"
            );
        }
        let file = fs::File::from(walk(&at("a/link/back"), OFlags::RDONLY).unwrap());
        assert_eq!(std::io::read_to_string(file).unwrap(), "x");
        for (name, error) in [
            ("a/none", Errno::NOENT),
            ("a/b/file/x", Errno::NOTDIR),
            ("loop", Errno::LOOP),
        ] {
            assert_eq!(walk(&at(name), OFlags::RDONLY).unwrap_err(), error, "{name}");
        }
        walk(Path::new("."), OFlags::PATH).unwrap();
        walk(Path::new("/"), OFlags::PATH).unwrap();
    }

    #[test]
    fn links_of_procfs_are_not_followed() {
        for path in ["/proc/self/exe", "/proc/thread-self/root/bin/sh"] {
            assert_eq!(
                walk(Path::new(path), OFlags::PATH).unwrap_err(),
                Errno::LOOP,
                "{path}"
            );
        }
        assert_eq!(
            open(Path::new("/proc/self/exe"), OFlags::PATH).unwrap_err(),
            Errno::LOOP
        );
    }
}
