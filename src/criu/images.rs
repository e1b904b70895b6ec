//! The directory of a checkpoint, the one for logs, and the one file in the former that is ours: descriptors.json,
//! the standard streams of the container's first process, in the form that runc and crun give it.

use std::ffi::OsStr;
use std::fs::{DirBuilder, File};
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};
use rustix::mount::OpenTreeFlags;

use super::{CriuError, Task, options, rpc};
use crate::rootfs::open_tree;
use crate::sys::mount::{MOUNT_ATTR_IDMAP, MountAttr, mount_setattr};

const DESCRIPTORS: &str = "descriptors.json";
/// The file without which a directory holds no checkpoint.
const INVENTORY: &str = "inventory.img";
/// CRIU's link to the directory of an earlier checkpoint.
const PARENT: &str = "parent";
/// Earlier checkpoints that one may build upon; a link may also lead back.
const GENERATIONS: usize = 256;
/// Bytes of a list of descriptors: three paths.
const LARGEST_LIST: u64 = 64 * 1024;

/// Where a checkpoint is written or read, opened: CRIU reaches the directories through our descriptors.
#[derive(Debug)]
pub struct Images {
    path: PathBuf,
    pub(super) directory: OwnedFd,
    pub(super) work: Option<(PathBuf, OwnedFd)>,
    /// What the standard streams were; empty for a dump.
    streams: Vec<String>,
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

/// Refuses what CRIU must not find in a directory of images: it follows links, waits for the other end of a FIFO, and has
/// the rights of root. Sockets and directories it cannot open as files.
fn check(option: &'static str, path: &Path, directory: BorrowedFd<'_>, dump: bool) -> Result<(), CriuError> {
    let wrong = |error: rustix::io::Errno| failed(option, path, "look through it")(error.into());
    for entry in Dir::read_from(directory).map_err(wrong)? {
        let entry = entry.map_err(wrong)?;
        let name = entry.file_name();
        let stat = match rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
            // Another has taken it away.
            Err(rustix::io::Errno::NOENT) => continue,
            result => result.map_err(wrong)?,
        };
        let fine = match FileType::from_raw_mode(stat.st_mode) {
            // What is written there would be in another place, too.
            FileType::RegularFile => !dump || stat.st_nlink < 2,
            FileType::Symlink => name.to_bytes() == PARENT.as_bytes(),
            kind => matches!(kind, FileType::Directory | FileType::Socket),
        };
        if !fine {
            return Err(CriuError::NotRegular {
                option,
                path: path.join(OsStr::from_bytes(name.to_bytes())),
                besides: if dump { ", with one name each" } else { "" },
            });
        }
    }
    Ok(())
}

/// The same for the checkpoints that one builds upon.
fn check_generations(path: &Path, directory: BorrowedFd<'_>) -> Result<(), CriuError> {
    let mut path = path.to_owned();
    let mut directory =
        directory
            .try_clone_to_owned()
            .map_err(failed("--image-path", &path, "open it again"))?;
    for _ in 0..GENERATIONS {
        check("--image-path", &path, directory.as_fd(), false)?;
        path.push(PARENT);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        directory = match rustix::fs::openat(&directory, PARENT, flags, Mode::empty()) {
            Err(rustix::io::Errno::NOENT) => return Ok(()),
            result => {
                result.map_err(|error| failed("--image-path", &path, "open the directory")(error.into()))?
            }
        };
    }
    Err(
        failed("--image-path", &path, "find the first of its checkpoints")(io::Error::from_raw_os_error(
            libc::ELOOP,
        )),
    )
}

/// Reads descriptors.json, without waiting for anybody.
fn read_streams(path: &Path, directory: BorrowedFd<'_>) -> Result<Vec<String>, CriuError> {
    let path = path.join(DESCRIPTORS);
    let failed = |action| failed("--image-path", &path, action);
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = rustix::fs::openat(directory, DESCRIPTORS, flags, Mode::empty())
        .map_err(|error| failed("read it, so this is no checkpoint")(error.into()))?;
    let file = File::from(file);
    let metadata = file.metadata().map_err(failed("examine it"))?;
    if !metadata.is_file() || metadata.len() > LARGEST_LIST {
        let wrong = io::Error::other(format!(
            "it must be a regular file of at most {LARGEST_LIST} bytes"
        ));
        return Err(failed("take it for a list of descriptors")(wrong));
    }
    let mut text = String::new();
    file.take(LARGEST_LIST)
        .read_to_string(&mut text)
        .map_err(failed("read it"))?;
    serde_json::from_str(&text).map_err(|source| CriuError::Descriptors {
        path: path.clone(),
        source,
    })
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
        let directory = open("--image-path", path)?;
        let work = work(work_path)?;
        let images = Self {
            directory,
            path: absolute(path),
            work,
            streams: Vec::new(),
        };
        check("--image-path", &images.path, images.directory.as_fd(), true)?;
        Ok(images)
    }

    /// For a restore: the checkpoint must be there.
    ///
    /// # Errors
    /// No such directory, or none with a checkpoint in it.
    pub fn existing(path: &Path, work_path: Option<&Path>) -> Result<Self, CriuError> {
        let directory = open("--image-path", path)?;
        let path = absolute(path);
        rustix::fs::accessat(
            &directory,
            INVENTORY,
            rustix::fs::Access::READ_OK,
            AtFlags::empty(),
        )
        .map_err(|error| {
            let inventory = path.join(INVENTORY);
            failed("--image-path", &inventory, "read it, so this is no checkpoint")(error.into())
        })?;
        check_generations(&path, directory.as_fd())?;
        Ok(Self {
            streams: read_streams(&path, directory.as_fd())?,
            directory,
            path,
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
            streams: self.streams.clone(),
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

    /// Lets all read the offsets of clocks among the images. CRIU's process in a new user namespace opens them perhaps
    /// before that has a map (prepare_timens() in its cr-restore.c), when the file is still another's.
    ///
    /// # Errors
    /// A directory or file that cannot be changed.
    pub fn show_time_offsets(&self) -> Result<(), CriuError> {
        let wrong = |error: rustix::io::Errno| {
            failed("--image-path", &self.path, "let all read the offsets of clocks")(error.into())
        };
        for entry in Dir::read_from(&self.directory).map_err(wrong)? {
            let name = entry.map_err(wrong)?.file_name().to_owned();
            if name.to_bytes().starts_with(b"timens-") {
                let all = Mode::from_raw_mode(0o644);
                rustix::fs::chmodat(&self.directory, &name, all, AtFlags::empty()).map_err(wrong)?;
            }
        }
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

    /// Takes away what an earlier task of CRIU has left where this one writes its log and its counts, whatever it is now:
    /// CRIU would follow a link. To be done once, before CRIU starts.
    ///
    /// # Errors
    /// Why the file system refuses.
    pub fn clear(&self, log: &str, task: Task) -> Result<(), CriuError> {
        let directory = self.work.as_ref().map_or(&self.directory, |(_, work)| work);
        for name in [log, task.counts()] {
            match rustix::fs::unlinkat(directory, name, AtFlags::empty()) {
                Ok(()) | Err(rustix::io::Errno::NOENT) => {}
                Err(error) => {
                    return Err(failed("--work-path", &self.log(name), "take the old one away")(
                        error.into(),
                    ));
                }
            }
        }
        Ok(())
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
    pub fn inherit_streams(&self, opts: &mut rpc::Criu_opts) {
        let pipes = (0..3)
            .zip(&self.streams)
            .filter(|(_, stream)| stream.starts_with("pipe:"));
        opts.inherit_fd
            .extend(pipes.map(|(number, stream)| options::inherited(stream, number)));
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
        assert_eq!(images.log("dump.log"), path.join("dump.log"));

        let error = Images::existing(&path, None).unwrap_err().to_string();
        assert!(error.contains("inventory.img"), "{error}");
        std::fs::write(path.join(INVENTORY), b"").unwrap();
        let work = directory.path().join("work");
        let images = Images::existing(&path, Some(&work)).unwrap();
        assert_eq!(images.log("restore.log"), work.join("restore.log"));
        let mut opts = rpc::Criu_opts::new();
        images.inherit_streams(&mut opts);
        let inherited: Vec<_> = opts.inherit_fd.iter().map(|it| (it.key(), it.fd())).collect();
        assert_eq!(inherited, [("pipe:[17]", 1)]);

        std::fs::write(path.join(DESCRIPTORS), b"{").unwrap();
        assert!(matches!(
            Images::existing(&path, None),
            Err(CriuError::Descriptors { .. })
        ));
        std::fs::write(path.join(DESCRIPTORS), vec![b' '; 70_000]).unwrap();
        let error = Images::existing(&path, None).unwrap_err();
        assert!(crate::reason::chain(&error).contains("at most"), "{error}");
    }

    #[test]
    fn only_regular_files_are_left_to_criu() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("images");
        let aim = directory.path().join("aim");
        std::fs::write(&aim, b"[]").unwrap();
        Images::create(&path, None)
            .unwrap()
            .write_descriptors(&[])
            .unwrap();
        std::fs::write(path.join(INVENTORY), b"").unwrap();
        std::fs::create_dir(path.join("directory")).unwrap();
        let both = || {
            let images = Images::create(&path, None).map(drop);
            [images, Images::existing(&path, None).map(drop)]
        };
        assert!(both().iter().all(Result::is_ok));
        let link = path.join("pages-1.img");
        let fifo = || rustix::fs::mkfifoat(rustix::fs::CWD, &link, Mode::RUSR).map_err(io::Error::from);
        let makers: [&dyn Fn() -> io::Result<()>; 2] = [&|| std::os::unix::fs::symlink(&aim, &link), &fifo];
        for make in makers {
            make().unwrap();
            for result in both() {
                let error = result.unwrap_err().to_string();
                assert!(error.contains("pages-1.img: criu would follow it"), "{error}");
            }
            std::fs::remove_file(&link).unwrap();
        }
        std::fs::hard_link(&aim, &link).unwrap();
        let [dump, restore] = both();
        assert!(dump.is_err() && restore.is_ok());
        std::fs::remove_file(&link).unwrap();
        // The parents are looked through as well, and an endless line of them ends.
        std::os::unix::fs::symlink("../images", path.join(PARENT)).unwrap();
        let error = Images::existing(&path, None).unwrap_err().to_string();
        assert!(error.contains("the first of its checkpoints"), "{error}");
        std::fs::remove_file(path.join(PARENT)).unwrap();
        let early = directory.path().join("early");
        std::fs::create_dir(&early).unwrap();
        std::os::unix::fs::symlink("../early", path.join(PARENT)).unwrap();
        assert!(both().iter().all(Result::is_ok));
        std::os::unix::fs::symlink(&aim, early.join("pages-1.img")).unwrap();
        let error = Images::existing(&path, None).unwrap_err().to_string();
        assert!(error.contains("parent/pages-1.img"), "{error}");
    }

    #[test]
    fn a_link_in_the_place_of_a_log_is_taken_away() {
        let directory = tempfile::tempdir().unwrap();
        let aim = directory.path().join("aim");
        std::fs::write(&aim, b"kept").unwrap();
        let work = directory.path().join("work");
        let images = Images::create(&directory.path().join("images"), Some(&work)).unwrap();
        for name in ["dump.log", "stats-dump"] {
            std::os::unix::fs::symlink(&aim, work.join(name)).unwrap();
        }
        images.clear("dump.log", Task::Dump).unwrap();
        assert_eq!(std::fs::read_dir(&work).unwrap().count(), 0);
        assert_eq!(std::fs::read(&aim).unwrap(), b"kept");
        images.clear("dump.log", Task::Dump).unwrap();
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
