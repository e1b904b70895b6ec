//! Where an application is unpacked to: a directory beside the one that is asked for, which takes its name when all is
//! written, and is removed otherwise.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use super::UnpackError;

const FILE: Mode = Mode::from_raw_mode(0o644);
const DIRECTORY: Mode = Mode::from_raw_mode(0o755);

pub struct Target {
    /// What is asked for.
    path: PathBuf,
    /// Has what is written meanwhile; removed with this unless it is finished.
    beside: PathBuf,
    directory: OwnedFd,
    finished: bool,
}

impl Target {
    /// `path` must not exist, or be an empty directory.
    pub fn new(path: &Path) -> Result<Self, UnpackError> {
        let occupied = || UnpackError::Occupied {
            path: path.to_owned(),
        };
        match path.symlink_metadata() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(failed(path, "cannot be looked at", source)),
            Ok(metadata) if !metadata.is_dir() => return Err(occupied()),
            Ok(_) => {
                let mut entries =
                    fs::read_dir(path).map_err(|source| failed(path, "cannot be read", source))?;
                if entries.next().is_some() {
                    return Err(occupied());
                }
            }
        }
        // Where it ends in `/` or `..` there is no name to put a directory beside.
        let name = path.file_name().ok_or_else(occupied)?;
        let mut beside = std::ffi::OsString::from(".");
        beside.push(name);
        beside.push(format!(".wrun-{}", std::process::id()));
        let beside = path.with_file_name(beside);
        // Nobody else's until it is whole.
        let made = fs::DirBuilder::new().mode(0o700).create(&beside);
        made.map_err(|source| failed(&beside, "cannot be made", source))?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = rustix::fs::open(&beside, flags, Mode::empty());
        match opened {
            Ok(directory) => Ok(Self {
                path: path.to_owned(),
                beside,
                directory,
                finished: false,
            }),
            Err(error) => {
                let _ = fs::remove_dir(&beside);
                Err(failed(&beside, "cannot be opened", error.into()))
            }
        }
    }

    /// A new file at this path, and the directories that it is in. No link is followed, and none was made.
    pub fn create(&self, path: &str) -> Result<File, UnpackError> {
        self.create_beneath(path)
            .map_err(|error| self.unwritten(path, error.into()))
    }

    fn create_beneath(&self, path: &str) -> rustix::io::Result<File> {
        let (directories, name) = path.rsplit_once('/').unwrap_or(("", path));
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut directory = rustix::io::dup(&self.directory)?;
        for part in directories.split('/').filter(|part| !part.is_empty()) {
            match rustix::fs::mkdirat(&directory, part, DIRECTORY) {
                Ok(()) | Err(rustix::io::Errno::EXIST) => {}
                Err(error) => return Err(error),
            }
            directory = rustix::fs::openat(&directory, part, flags, Mode::empty())?;
        }
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(File::from(rustix::fs::openat(&directory, name, flags, FILE)?))
    }

    pub fn write(&self, file: &mut File, path: &str, bytes: &[u8]) -> Result<(), UnpackError> {
        file.write_all(bytes).map_err(|error| self.unwritten(path, error))
    }

    /// Gives it its name.
    pub fn finish(mut self) -> Result<(), UnpackError> {
        let named = fs::set_permissions(&self.beside, fs::Permissions::from_mode(0o755))
            .and_then(|()| fs::rename(&self.beside, &self.path));
        named.map_err(|source| failed(&self.path, "cannot be made", source))?;
        self.finished = true;
        Ok(())
    }

    fn unwritten(&self, path: &str, source: io::Error) -> UnpackError {
        failed(&self.path.join(path), "cannot be written", source)
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        if !self.finished {
            // There is nobody to tell where it fails: why this was not finished is told.
            let _ = fs::remove_dir_all(&self.beside);
        }
    }
}

fn failed(path: &Path, what: &str, source: io::Error) -> UnpackError {
    UnpackError::Write {
        path: path.to_owned(),
        what: what.to_owned(),
        source,
    }
}
