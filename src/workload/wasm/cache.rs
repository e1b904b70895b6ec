//! The cache of compiled code: files named by what was compiled and for which engine, in a directory that is
//! only ours. Everything in it that is trusted was written by this room and is verified once per boot.
//!
//! ```text
//! <key>.code       an entry, see `entry`; replaced, never written in place, since others have it mapped
//! <key>.seen       a stamp of the entry: verified in this boot. Its own time is that of the last use
//! <key>.lock       held while somebody waits for the entry to be compiled, see `locks`
//! <key>.background held while it is compiled for the next start
//! <stamp>.file     the key of a large entry point of a container that had this stamp
//! orphan           held by the one compilation whose container has ended
//! seccomp/         compiled filters, which are `security`'s
//! ```

use std::fs::{DirBuilder, File, Metadata};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::OpenTreeFlags;

use super::engine::{Build, Tier};
use super::entry::{self, About};
use super::input::Input;
use super::key::{Key, Purpose};
use super::record::{self, Stamp};
use crate::plan::mounts::Attributes;
use crate::sys::mount::{MountAttr, mount_setattr};

/// Bytes of code that are kept by default.
const DEFAULT_LIMIT: u64 = 1 << 30;

/// Bytes of a key.
const DIGEST_LENGTH: usize = blake3::OUT_LEN;

/// From this size on an entry point is recognised by its stamp; smaller ones are hashed in less time.
const STAMPED_SIZE: u64 = 256 << 10;

/// How stale the time of last use may get, to spare a write per start.
const USE_GRAIN: Duration = Duration::from_secs(600);

/// Why the cache is not used.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    #[error(
        "no place for the cache of compiled Wasm: neither WRUN_CACHE_DIR, XDG_CACHE_HOME nor HOME is set"
    )]
    NoHome,
    #[error(
        "{path}: {what}; the cache of compiled Wasm wants a directory of its own, owned by uid {uid}, mode 0700"
    )]
    NotOurs {
        path: PathBuf,
        what: &'static str,
        uid: u32,
    },
    #[error("{path}: is on a file system mounted noexec, from which compiled code cannot be mapped")]
    NoExec { path: PathBuf },
    #[error("WRUN_CACHE_SIZE: `{value}` is not a number of bytes")]
    Size { value: String },
    #[error("the cache of compiled Wasm: cannot {what} {path}")]
    Io {
        what: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// An open cache.
#[derive(Debug)]
pub struct Cache {
    pub(super) path: PathBuf,
    pub(super) dir: OwnedFd,
    limit: u64,
    boot: Option<[u8; 16]>,
}

impl Cache {
    /// Opens the cache in `path`, and makes it where it is missing.
    pub fn open(path: &Path) -> Result<Self, CacheError> {
        let io_error = |what| {
            let path = path.to_owned();
            move |source: io::Error| CacheError::Io { what, path, source }
        };
        let limit = match std::env::var("WRUN_CACHE_SIZE") {
            Ok(value) => value
                .parse()
                .map_err(|_not_a_number| CacheError::Size { value })?,
            Err(_unset) => DEFAULT_LIMIT,
        };
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::RDONLY;
        let open = || rustix::fs::open(path, flags, Mode::empty());
        let dir = match open() {
            Err(Errno::NOENT) => {
                DirBuilder::new()
                    .recursive(true)
                    .mode(0o700)
                    .create(path)
                    .map_err(io_error("make"))?;
                open()
            }
            other => other,
        };
        let uid = rustix::process::geteuid().as_raw();
        let not_ours = |what| CacheError::NotOurs {
            path: path.to_owned(),
            what,
            uid,
        };
        let dir = match dir {
            Err(Errno::LOOP | Errno::NOTDIR) => return Err(not_ours("is a symbolic link or no directory")),
            other => other.map_err(|error| io_error("open")(error.into()))?,
        };
        let stat = rustix::fs::fstat(&dir).map_err(|error| io_error("look at")(error.into()))?;
        if stat.st_uid != uid {
            return Err(not_ours("belongs to another user"));
        }
        if stat.st_mode & 0o077 != 0 {
            return Err(not_ours("is open to other users"));
        }
        let fs = rustix::fs::fstatvfs(&dir).map_err(|error| io_error("look at")(error.into()))?;
        if fs.f_flag.contains(rustix::fs::StatVfsMountFlags::NOEXEC) {
            return Err(CacheError::NoExec {
                path: path.to_owned(),
            });
        }
        Ok(Self {
            path: path.to_owned(),
            dir,
            limit,
            boot: record::boot_id(),
        })
    }

    pub(super) fn error(&self, what: &'static str, name: &str) -> impl Fn(io::Error) -> CacheError + use<> {
        let path = self.path.join(name);
        move |source| CacheError::Io {
            what,
            path: path.clone(),
            source,
        }
    }

    pub(super) fn open_file(&self, name: &str, flags: OFlags) -> Result<File, Errno> {
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(&self.dir, name, flags, Mode::RUSR | Mode::WUSR).map(File::from)
    }

    pub(super) fn remove(&self, name: &str) -> Result<(), CacheError> {
        match rustix::fs::unlinkat(&self.dir, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(self.error("remove", name)(error.into())),
        }
    }

    /// The directory to open entries in for a container: by way of a read-only mount of our own.
    ///
    /// A process that may trace the guest's could open its descriptors anew for writing, through procfs, and
    /// so change code that other containers have mapped; on this mount not even the host's root can. `None`
    /// where we may not mount: then a container's processes are not the host's root, and have no right to
    /// trace a process that was made outside of their user namespace.
    fn read_only(&self) -> io::Result<Option<OwnedFd>> {
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        let tree = match rustix::mount::open_tree(&self.dir, "", flags | OpenTreeFlags::AT_EMPTY_PATH) {
            Ok(tree) => tree,
            Err(Errno::PERM | Errno::NOSYS) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let attributes = MountAttr {
            set: Attributes::RDONLY,
            ..MountAttr::default()
        };
        match mount_setattr(tree.as_fd(), false, &attributes) {
            Ok(()) => Ok(Some(tree)),
            // Linux before 5.12.
            Err(error) if error.raw_os_error() == Some(libc::ENOSYS) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Compiled code that is there and sound. What is there and is not sound is removed.
    pub fn lookup(&self, key: &Key) -> Result<Option<(OwnedFd, About)>, CacheError> {
        let name = key.file("code");
        let read_only = self.read_only().map_err(self.error("protect", ""))?;
        let dir = read_only.as_ref().unwrap_or(&self.dir);
        // Without waiting, should it be a pipe.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = match rustix::fs::openat(dir, &name, flags, Mode::empty()) {
            Ok(file) => File::from(file),
            Err(Errno::NOENT) => return Ok(None),
            // A symbolic link: not of our making.
            Err(Errno::LOOP) => return self.remove(&name).map(|()| None),
            Err(error) => return Err(self.error("open", &name)(error.into())),
        };
        match self.check(key, &file).map_err(self.error("read", &name))? {
            Some(about) => Ok(Some((file.into(), about))),
            None => self.remove(&name).map(|()| None),
        }
    }

    fn check(&self, key: &Key, file: &File) -> io::Result<Option<About>> {
        let metadata = file.metadata()?;
        if !is_ours(&metadata) {
            return Ok(None);
        }
        let Some(footer) = entry::footer(file, metadata.size())? else {
            return Ok(None);
        };
        if !self.was_seen(key, &metadata) {
            if !footer.verify(file, metadata.size(), key.bytes())? {
                return Ok(None);
            }
            self.mark_seen(key, &metadata);
        }
        // The key is of the settings of optimised code, which tell nothing about those of other tiers.
        let fits = |about: &About| about.build.tier == Tier::Optimized || about.fits();
        Ok(footer.about(file)?.filter(fits))
    }

    /// Whether this very file was verified in this boot.
    pub(super) fn is_seen(&self, key: &Key, metadata: &Metadata) -> bool {
        self.stamp_of(key, metadata).is_some()
    }

    /// The file of its stamp, where this very entry was verified in this boot.
    fn stamp_of(&self, key: &Key, metadata: &Metadata) -> Option<File> {
        let boot = self.boot.as_ref()?;
        let mut file = self.open_file(&key.file("seen"), OFlags::RDONLY).ok()?;
        let mut bytes = [0; Stamp::SIZE + 1];
        let length = file.read(&mut bytes).ok()?;
        (bytes[..length] == *Stamp::new(metadata, boot).bytes()).then_some(file)
    }

    /// The same, where it is about to be used; notes that.
    fn was_seen(&self, key: &Key, metadata: &Metadata) -> bool {
        let Some(file) = self.stamp_of(key, metadata) else {
            return false;
        };
        let stale = |time: SystemTime| time.elapsed().is_ok_and(|age| age > USE_GRAIN);
        if file
            .metadata()
            .and_then(|metadata| metadata.modified())
            .is_ok_and(stale)
        {
            // An entry whose use cannot be noted is only evicted earlier.
            let _ = file.set_modified(SystemTime::now());
        }
        true
    }

    /// A note that cannot be written costs another verification at the next start, nothing else.
    pub(super) fn mark_seen(&self, key: &Key, metadata: &Metadata) {
        if let Some(boot) = &self.boot {
            self.note(&key.file("seen"), Stamp::new(metadata, boot).bytes());
        }
    }

    fn note(&self, name: &str, content: &[u8]) {
        let file = self.open_file(name, OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC);
        if let Ok(mut file) = file {
            // A short note matches nothing.
            let _ = file.write_all(content);
        }
    }

    /// The key of a large entry point that was seen before, by its stamp.
    pub fn recall(&self, input: &Input, purpose: Purpose<'_>, build: Build) -> Option<Key> {
        self.read_note(&self.note_name(input, purpose, build)?)
    }

    /// The key in a note; `None` where it holds none.
    pub(super) fn read_note(&self, name: &str) -> Option<Key> {
        let file = self.open_file(name, OFlags::RDONLY | OFlags::NONBLOCK).ok()?;
        let mut hex = String::new();
        file.take(2 * DIGEST_LENGTH as u64)
            .read_to_string(&mut hex)
            .ok()?;
        Key::from_hex(&hex)
    }

    /// Notes the key for [`Self::recall`], where the file can be known again.
    pub fn remember(&self, input: &Input, purpose: Purpose<'_>, build: Build, key: &Key) {
        if let Some(name) = self.note_name(input, purpose, build)
            && !self.exists(&name)
        {
            self.note(&name, key.to_hex().as_bytes());
        }
    }

    fn note_name(&self, input: &Input, purpose: Purpose<'_>, build: Build) -> Option<String> {
        let metadata = input.metadata();
        if metadata.size() < STAMPED_SIZE {
            return None;
        }
        let stamp = record::recognise(input.file(), metadata, self.boot.as_ref()?)?;
        Some(Key::new(&blake3::hash(stamp.bytes()), purpose, build).file("file"))
    }

    /// Removes quickly compiled code that optimised code has taken the place of. Where it cannot be removed it
    /// stays until it is evicted.
    pub fn drop_provisional(&self, key: &Key) {
        let provisional = key.provisional();
        for extension in ["code", "seen"] {
            let _ = self.remove(&provisional.file(extension));
        }
    }

    fn exists(&self, name: &str) -> bool {
        rustix::fs::accessat(&self.dir, name, rustix::fs::Access::EXISTS, AtFlags::empty()).is_ok()
    }

    /// Keeps `length` bytes of `code`, and returns the entry open for reading.
    pub fn insert(&self, key: &Key, code: &File, length: u64, about: &About) -> Result<OwnedFd, CacheError> {
        let name = key.file("code");
        let error = self.error("write", &name);
        let full = || io::Error::from(io::ErrorKind::QuotaExceeded);
        if length > self.limit {
            return Err(error(full()));
        }
        self.trim(self.limit - length)?;
        let file = self.unnamed().map_err(&error)?;
        entry::write(code, length, about, key.bytes(), &file).map_err(&error)?;
        match link(&file, &self.dir, &name) {
            // Another was first; what it wrote is as good, and verified below.
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(error(errno.into())),
        }
        drop(file);
        let missing = || error(io::Error::from(io::ErrorKind::InvalidData));
        self.lookup(key)?.map(|(code, _)| code).ok_or_else(missing)
    }

    /// A file without a name, of which nothing is left where we are killed. All may read it who are given it:
    /// a component's code is opened once more by the guest's process, whatever its user.
    fn unnamed(&self) -> io::Result<File> {
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.dir, ".", flags, Mode::RUSR)?;
        // Not by the call before, which the umask has a say in.
        rustix::fs::fchmod(&file, Mode::RUSR | Mode::RGRP | Mode::ROTH)?;
        Ok(file.into())
    }
}

/// Whether a file is one that we may have made: nobody else can have written to it.
pub(super) fn is_ours(metadata: &Metadata) -> bool {
    metadata.is_file()
        && metadata.uid() == rustix::process::geteuid().as_raw()
        && metadata.mode() & 0o022 == 0
}

/// Gives an unnamed file its name (open(2), O_TMPFILE).
fn link(file: &File, dir: &OwnedFd, name: &str) -> Result<(), Errno> {
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    rustix::fs::linkat(rustix::fs::CWD, path, dir, name, AtFlags::SYMLINK_FOLLOW)
}
