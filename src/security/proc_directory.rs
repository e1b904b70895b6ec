//! Files of the calling process's directory in procfs, opened so that nothing the container mounted can take
//! their place (CVE-2025-52881: writes of labels redirected to another file of procfs, or to a fake).

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::BorrowedFd;

use rustix::fs::{Mode, OFlags, PROC_SUPER_MAGIC, ResolveFlags};
use rustix::io::Errno;

use super::SecurityError;

/// The directory of one process in a procfs that the container does not control: the host's, opened before
/// the root changed, or a private mount of ours.
///
/// To change its own attributes a process needs the directory of itself (the kernel compares), opened by
/// itself: /proc/self of a procfs of its own pid namespace. `O_PATH` is enough.
#[derive(Debug, Clone, Copy)]
pub struct ProcDirectory<'a>(BorrowedFd<'a>);

impl<'a> ProcDirectory<'a> {
    pub fn new(directory: BorrowedFd<'a>) -> Self {
        Self(directory)
    }

    /// Writes `value` to `file`, a path below the directory, in one write(2) as procfs wants it.
    ///
    /// # Errors
    /// [`SecurityError::ProcOpen`] with the kernel's reason (`NotFound` where this kernel has no such file),
    /// [`SecurityError::ProcForged`], [`SecurityError::ProcWrite`].
    pub(super) fn write(self, file: &str, value: &str) -> Result<(), SecurityError> {
        let failed = |source| SecurityError::ProcWrite {
            file: file.into(),
            value: value.into(),
            source,
        };
        let written = self
            .open(file, OFlags::WRONLY)?
            .write(value.as_bytes())
            .map_err(failed)?;
        if written == value.len() {
            Ok(())
        } else {
            Err(failed(io::ErrorKind::WriteZero.into()))
        }
    }

    /// What `file` holds, as far as it fits in 4096 bytes.
    ///
    /// # Errors
    /// As [`ProcDirectory::write`].
    pub(super) fn read(self, file: &str) -> Result<Vec<u8>, SecurityError> {
        let mut buffer = vec![0; 4096];
        let read = self
            .open(file, OFlags::RDONLY)?
            .read(&mut buffer)
            .map_err(|source| SecurityError::ProcOpen {
                file: file.into(),
                source,
            })?;
        buffer.truncate(read);
        Ok(buffer)
    }

    /// Opens `file`, which stays the process's own as long as it executes nothing.
    ///
    /// # Errors
    /// As [`ProcDirectory::write`].
    pub(super) fn open(self, file: &str, access: OFlags) -> Result<File, SecurityError> {
        let failed = |error: Errno| SecurityError::ProcOpen {
            file: file.into(),
            source: error.into(),
        };
        let flags = access | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NOCTTY;
        let resolve = ResolveFlags::BENEATH
            | ResolveFlags::NO_XDEV
            | ResolveFlags::NO_SYMLINKS
            | ResolveFlags::NO_MAGICLINKS;
        let opened = match rustix::fs::openat2(self.0, file, flags, Mode::empty(), resolve) {
            // Before Linux 5.6, or under an outer filter that does not know openat2: what is mounted over the
            // file shows in its file system, except for another file of procfs. Whoever can mount there can
            // do so only in a procfs of the container's, which this is not.
            Err(Errno::NOSYS | Errno::PERM) => rustix::fs::openat(self.0, file, flags, Mode::empty()),
            other => other,
        }
        .map_err(failed)?;
        if rustix::fs::fstatfs(&opened).map_err(failed)?.f_type != PROC_SUPER_MAGIC {
            return Err(SecurityError::ProcForged { file: file.into() });
        }
        Ok(File::from(opened))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::os::fd::{AsFd, OwnedFd};

    use super::*;

    pub fn own_directory() -> OwnedFd {
        open_directory("/proc/thread-self")
    }

    fn open_directory(path: &str) -> OwnedFd {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::open(path, flags, Mode::empty()).unwrap()
    }

    #[test]
    fn reads_and_refuses_what_leaves_the_directory() {
        let directory = own_directory();
        let proc = ProcDirectory::new(directory.as_fd());
        assert!(proc.read("stat").unwrap().contains(&b')'));
        for (file, errno) in [
            ("../../uptime", libc::EXDEV),
            ("/etc/passwd", libc::EXDEV),
            ("cwd/Cargo.toml", libc::ELOOP),
            ("fd/0", libc::ELOOP),
            ("nothing", libc::ENOENT),
        ] {
            let error = proc.read(file).unwrap_err();
            let SecurityError::ProcOpen { source, .. } = error else {
                panic!("{file}: {error:?}")
            };
            assert_eq!(source.raw_os_error(), Some(errno), "{file}");
        }
    }

    #[test]
    fn a_directory_outside_procfs_is_found_out() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("attr")).unwrap();
        std::fs::write(dir.path().join("attr/exec"), b"").unwrap();
        let forged = open_directory(dir.path().to_str().unwrap());
        let error = ProcDirectory::new(forged.as_fd())
            .write("attr/exec", "x")
            .unwrap_err();
        assert!(matches!(error, SecurityError::ProcForged { .. }), "{error:?}");
        assert_eq!(std::fs::read(dir.path().join("attr/exec")).unwrap(), b"");
    }
}
