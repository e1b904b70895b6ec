//! The directory of a checkpoint, the one for logs, and the one file in the former that is ours: descriptors.json,
//! the standard streams of the container's first process, in the form that runc and crun give it.

use std::fs::{DirBuilder, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::mount::OpenTreeFlags;

use super::{CriuError, options, rpc};
use crate::rootfs::open_tree;
use crate::sys::mount::{MOUNT_ATTR_IDMAP, MountAttr, mount_setattr};

const DESCRIPTORS: &str = "descriptors.json";
/// The file without which a directory holds no checkpoint.
const INVENTORY: &str = "inventory.img";

/// Where a checkpoint is written or read, opened: CRIU reaches the directories through our descriptors.
#[derive(Debug)]
pub struct Images {
    path: PathBuf,
    pub(super) directory: OwnedFd,
    pub(super) work: Option<(PathBuf, OwnedFd)>,
}

fn failed(option: &'static str, path: &Path, action: &'static str) -> impl FnOnce(io::Error) -> CriuError {
    let path = path.to_owned();
    move |source| CriuError::Path {
        option,
        path,
        action,
        source,
    }
}

fn open(option: &'static str, path: &Path) -> Result<OwnedFd, CriuError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty())
        .map_err(|error| failed(option, path, "open the directory")(error.into()))
}

fn make(option: &'static str, path: &Path) -> Result<(), CriuError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(failed(option, path, "make the directory"))
}

fn work(path: Option<&Path>) -> Result<Option<(PathBuf, OwnedFd)>, CriuError> {
    path.map(|path| {
        make("--work-path", path)?;
        Ok((absolute(path), open("--work-path", path)?))
    })
    .transpose()
}

/// For errors, which are read elsewhere.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

impl Images {
    /// For a dump: makes what is missing. Memory is secret, so others may not enter.
    ///
    /// # Errors
    /// Why the file system refuses.
    pub fn create(path: &Path, work_path: Option<&Path>) -> Result<Self, CriuError> {
        make("--image-path", path)?;
        Ok(Self {
            directory: open("--image-path", path)?,
            path: absolute(path),
            work: work(work_path)?,
        })
    }

    /// For a restore: the checkpoint must be there.
    ///
    /// # Errors
    /// No such directory, or none with a checkpoint in it.
    pub fn existing(path: &Path, work_path: Option<&Path>) -> Result<Self, CriuError> {
        let directory = open("--image-path", path)?;
        for name in [INVENTORY, DESCRIPTORS] {
            rustix::fs::accessat(
                &directory,
                name,
                rustix::fs::Access::READ_OK,
                rustix::fs::AtFlags::empty(),
            )
            .map_err(|error| {
                failed(
                    "--image-path",
                    &path.join(name),
                    "read it, so this is no checkpoint",
                )(error.into())
            })?;
        }
        Ok(Self {
            directory,
            path: absolute(path),
            work: work(work_path)?,
        })
    }

    /// The same, opened once more: CRIU mounts below these directories, so they must be of its mount namespace.
    ///
    /// # Errors
    /// A directory that is gone.
    pub fn reopen(&self) -> Result<Self, CriuError> {
        let work = self
            .work
            .as_ref()
            .map(|(path, _)| Ok::<_, CriuError>((path.clone(), open("--work-path", path)?)));
        Ok(Self {
            path: self.path.clone(),
            directory: open("--image-path", &self.path)?,
            work: work.transpose()?,
        })
    }

    /// Shows the images to CRIU's processes in a user namespace, whose root is nobody on the host: as files of that
    /// root, on a mount with the map of `user_namespace`. The work directory stays CRIU's own.
    ///
    /// # Errors
    /// A file system that cannot be mounted with a map.
    pub fn map_ids(&mut self, user_namespace: BorrowedFd<'_>) -> Result<(), CriuError> {
        let failed = || {
            failed(
                "--image-path",
                &self.path,
                "mount it with the ids of the user namespace",
            )
        };
        let plain = self.directory.try_clone().map_err(failed())?;
        let tree = open_tree(&self.path, OpenTreeFlags::OPEN_TREE_CLONE).map_err(failed())?;
        let attr = MountAttr {
            set: MOUNT_ATTR_IDMAP,
            userns_fd: u64::try_from(user_namespace.as_raw_fd()).unwrap_or(u64::MAX),
            ..MountAttr::default()
        };
        mount_setattr(tree.as_fd(), false, &attr).map_err(failed())?;
        if self.work.is_none() {
            self.work = Some((self.path.clone(), plain));
        }
        self.directory = tree;
        Ok(())
    }

    /// Checks `--parent-path`, which CRIU follows from the images' directory.
    ///
    /// # Errors
    /// An absolute path, or one that leads to no directory.
    pub fn check_parent(&self, parent: &Path) -> Result<(), CriuError> {
        if parent.is_absolute() {
            return Err(CriuError::AbsoluteParent(parent.to_owned()));
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::openat(&self.directory, parent, flags, Mode::empty())
            .map(drop)
            .map_err(|error| {
                failed("--parent-path", &self.path.join(parent), "open the directory")(error.into())
            })
    }

    /// Where a log of this name is.
    pub fn log(&self, name: &str) -> PathBuf {
        let directory = self.work.as_ref().map_or(&self.path, |(path, _)| path);
        directory.join(name)
    }

    /// Writes down what the standard streams were, as readlink(2) names them.
    ///
    /// # Errors
    /// Why the file system refuses.
    pub fn write_descriptors(&self, streams: &[String]) -> Result<(), CriuError> {
        let path = self.path.join(DESCRIPTORS);
        let failed = failed("--image-path", &path, "write it");
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        rustix::fs::openat(&self.directory, DESCRIPTORS, flags, Mode::RUSR | Mode::WUSR)
            .map_err(io::Error::from)
            .and_then(|file| Ok(serde_json::to_writer(File::from(file), streams)?))
            .map_err(failed)
    }

    /// Has the restored processes get our standard streams in the place of the pipes that these were.
    ///
    /// # Errors
    /// A file that is no list of names.
    pub fn inherit_streams(&self, opts: &mut rpc::Criu_opts) -> Result<(), CriuError> {
        let path = self.path.join(DESCRIPTORS);
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.directory, DESCRIPTORS, flags, Mode::empty())
            .map_err(|error| failed("--image-path", &path, "open it")(error.into()))?;
        let streams: Vec<String> = serde_json::from_reader(File::from(file))
            .map_err(|source| CriuError::Descriptors { path, source })?;
        let pipes = (0..3)
            .zip(&streams)
            .filter(|(_, stream)| stream.starts_with("pipe:"));
        opts.inherit_fd
            .extend(pipes.map(|(number, stream)| options::inherited(stream, number)));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_that_were_pipes_are_inherited() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a/images");
        let images = Images::create(&path, None).unwrap();
        let streams = ["/dev/null", "pipe:[17]", "socket:[3]"].map(str::to_owned);
        images.write_descriptors(&streams).unwrap();
        let mut opts = rpc::Criu_opts::new();
        images.inherit_streams(&mut opts).unwrap();
        let inherited: Vec<_> = opts.inherit_fd.iter().map(|it| (it.key(), it.fd())).collect();
        assert_eq!(inherited, [("pipe:[17]", 1)]);
        assert_eq!(images.log("dump.log"), path.join("dump.log"));

        let error = Images::existing(&path, None).unwrap_err().to_string();
        assert!(error.contains("inventory.img"), "{error}");
        std::fs::write(path.join(INVENTORY), b"").unwrap();
        std::fs::write(path.join(DESCRIPTORS), b"{").unwrap();
        let work = directory.path().join("work");
        let images = Images::existing(&path, Some(&work)).unwrap();
        assert_eq!(images.log("restore.log"), work.join("restore.log"));
        assert!(matches!(
            images.inherit_streams(&mut opts),
            Err(CriuError::Descriptors { .. })
        ));
    }

    #[test]
    fn a_parent_is_relative_and_a_directory() {
        let directory = tempfile::tempdir().unwrap();
        let images = Images::create(&directory.path().join("images"), None).unwrap();
        std::fs::create_dir(directory.path().join("parent")).unwrap();
        std::fs::write(directory.path().join("file"), b"").unwrap();
        assert!(images.check_parent(Path::new("../parent")).is_ok());
        for wrong in ["/tmp", "../nowhere", "../file"] {
            let error = images.check_parent(Path::new(wrong)).unwrap_err().to_string();
            assert!(error.contains("--parent-path"), "{error}");
        }
    }
}
