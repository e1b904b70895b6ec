//! The files that a component sees: nothing of the container's but what its manifest names, and that for reading only.
//!
//! Whole directories are shown as they are. Where a component wants single files, patterns or exceptions, it gets copies
//! of what these choose, in memory, as its `/`; the copies count as the container's memory, and are bounded.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::{Component as Step, Path, PathBuf};

use globset::{Glob, GlobBuilder, GlobMatcher};
use rustix::fs::{Dir, FileType, Mode, OFlags};
use wasmtime_wasi::{FsPerms, WasiCtxBuilder};

use super::manifest::{Component, Files, ManifestError};
use crate::workload::wasm::application::Open;

/// Most bytes of all copies of an application, and most files and directories that are looked at for them.
const MAX_BYTES: u64 = 256 << 20;
const MAX_SEEN: usize = 100_000;
/// What is never shown, whatever a pattern says: addresses with passwords, and stores of all components.
const HIDDEN: [&str; 2] = ["runtime-config.toml", ".spin"];
/// How deep directories are looked into.
const MAX_DEPTH: usize = 64;

/// A directory that a component sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    place: Place,
    guest: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    /// Of the container's root.
    Root(PathBuf),
    /// Of the application's own directory.
    Copies(String),
}

/// Puts the files of components together.
pub struct Collector<'a> {
    open: Open,
    directory: Option<BorrowedFd<'a>>,
    bytes: u64,
    seen: usize,
}

/// Which files of a tree are copied, and where to.
struct Walk<'a> {
    /// What is below it is at the same place below `to`.
    base: &'a Path,
    to: &'a Path,
    wanted: &'a dyn Fn(&Path) -> bool,
    excluded: &'a dyn Fn(&Path) -> bool,
    /// Directories of other devices are left out; `None` where the whole tree was named.
    device: Option<u64>,
}

/// What a path of the image is.
enum Found {
    File,
    Directory,
    Nothing,
}

impl<'a> Collector<'a> {
    /// `directory` is where copies go.
    pub fn new(open: Open, directory: Option<BorrowedFd<'a>>) -> Self {
        Self {
            open,
            directory,
            bytes: 0,
            seen: 0,
        }
    }

    /// What a component sees. Its copies are in a directory of the component's id.
    pub fn collect(&mut self, id: &str, component: &Component) -> Result<Vec<Mount>, ManifestError> {
        if component.files.is_empty() {
            return Ok(Vec::new());
        }
        let key = |at: usize| format!("{}.files[{at}]", component.key);
        for (at, files) in component.files.iter().enumerate() {
            if let Some(hidden) = hidden(&plain(files.source())) {
                let reason = format!("/{hidden} is the runtime's, and no component sees it");
                return Err(ManifestError::at(key(at), reason));
            }
        }
        let mut mounts = Vec::new();
        for (at, files) in component.files.iter().enumerate() {
            match self.whole_directory(files) {
                Ok(mount) => mounts.extend(mount),
                Err(error) => return Err(ManifestError::at(key(at), error.to_string())),
            }
        }
        let places: BTreeSet<&str> = mounts.iter().map(|mount| mount.guest.as_str()).collect();
        if mounts.len() == component.files.len()
            && places.len() == mounts.len()
            && component.exclude_files.is_empty()
        {
            return Ok(mounts);
        }
        self.copy_all(id, component)?;
        Ok(vec![Mount {
            place: Place::Copies(id.to_owned()),
            guest: "/".to_owned(),
        }])
    }

    /// The mount that these files are, where they are a directory.
    fn whole_directory(&self, files: &Files) -> io::Result<Option<Mount>> {
        let (source, destination) = match files {
            Files::Pattern(path) => (path, path),
            Files::Placed { source, destination } => (source, destination),
        };
        let place = rooted(source);
        if place == Path::new("/") {
            // Something of it is hidden.
            return Ok(None);
        }
        Ok(match self.find(&place)? {
            Found::Directory => Some(Mount {
                place: Place::Root(place),
                guest: rooted(destination).to_string_lossy().into_owned(),
            }),
            Found::File | Found::Nothing => None,
        })
    }

    fn find(&self, path: &Path) -> io::Result<Found> {
        let file = match (self.open)(path, OFlags::PATH) {
            Ok(file) => file,
            Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => return Ok(Found::Nothing),
            Err(error) => return Err(error.into()),
        };
        Ok(match file_type(&file)? {
            FileType::Directory => Found::Directory,
            FileType::RegularFile => Found::File,
            _ => Found::Nothing,
        })
    }

    fn copy_all(&mut self, id: &str, component: &Component) -> Result<(), ManifestError> {
        let exclude: Vec<GlobMatcher> = component
            .exclude_files
            .iter()
            .filter_map(|pattern| Glob::new(pattern).ok())
            .map(|glob| glob.compile_matcher())
            .collect();
        let excluded = |path: &Path| exclude.iter().any(|pattern| pattern.is_match(path));
        for (at, files) in component.files.iter().enumerate() {
            let copied = self.copy(Path::new(id), files, &excluded);
            copied.map_err(|error| {
                ManifestError::at(format!("{}.files[{at}]", component.key), error.to_string())
            })?;
        }
        Ok(())
    }

    fn copy(&mut self, to: &Path, files: &Files, excluded: &dyn Fn(&Path) -> bool) -> io::Result<()> {
        let (source, destination) = match files {
            Files::Pattern(pattern) => (plain(pattern), plain(pattern)),
            Files::Placed { source, destination } => (plain(source), plain(destination)),
        };
        self.make_directory(to)?;
        match self.find(&rooted_path(&source))? {
            // What is named itself is wanted, whatever is excluded.
            Found::File => self.copy_file(&source, &to.join(destination)),
            Found::Directory => {
                let everything = |_: &Path| true;
                let walk = Walk {
                    base: &source,
                    to: &to.join(destination),
                    wanted: &everything,
                    excluded,
                    device: self.device(&source)?.filter(|_| source.as_os_str().is_empty()),
                };
                self.copy_tree(&source, &walk, 0)
            }
            Found::Nothing => {
                let Files::Pattern(pattern) = files else {
                    return Err(io::Error::other(format!("there is no {}", source.display())));
                };
                if !pattern.contains(['*', '?', '[', '{']) {
                    return Err(io::Error::other(format!("there is no {pattern}")));
                }
                let matcher = GlobBuilder::new(pattern.trim_start_matches("./").trim_start_matches('/'))
                    .literal_separator(true)
                    .build()
                    .map_err(io::Error::other)?
                    .compile_matcher();
                let wanted = |path: &Path| matcher.is_match(path);
                let start = before_pattern(&source);
                match self.find(&rooted_path(&start))? {
                    Found::Directory => {
                        let walk = Walk {
                            base: Path::new(""),
                            to,
                            wanted: &wanted,
                            excluded,
                            device: self.device(&start)?,
                        };
                        self.copy_tree(&start, &walk, 0)
                    }
                    Found::File | Found::Nothing => Ok(()),
                }
            }
        }
    }

    /// The device of a directory.
    fn device(&self, directory: &Path) -> io::Result<Option<u64>> {
        let opened = (self.open)(&rooted_path(directory), OFlags::PATH).map_err(of(directory))?;
        Ok(Some(rustix::fs::fstat(&opened)?.st_dev))
    }

    /// Copies the files below `directory` that are wanted.
    fn copy_tree(&mut self, directory: &Path, walk: &Walk<'_>, depth: usize) -> io::Result<()> {
        if depth > MAX_DEPTH {
            let what = format!("{}: more than {MAX_DEPTH} directories deep", directory.display());
            return Err(io::Error::other(what));
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let opened = (self.open)(&rooted_path(directory), flags).map_err(of(directory))?;
        // Volumes, /proc and /sys are not the image's, and may be endless.
        if walk
            .device
            .is_some_and(|device| rustix::fs::fstat(&opened).is_ok_and(|status| status.st_dev != device))
        {
            return Ok(());
        }
        for entry in Dir::read_from(&opened).map_err(of(directory))? {
            let entry = entry.map_err(of(directory))?;
            let Ok(name) = entry.file_name().to_str() else {
                continue;
            };
            if name == "." || name == ".." {
                continue;
            }
            self.seen += 1;
            if self.seen > MAX_SEEN {
                let what = format!("more than {MAX_SEEN} files are to be looked at");
                return Err(io::Error::other(what));
            }
            let path = directory.join(name);
            if hidden(&path).is_some() {
                continue;
            }
            // A link to a directory is not followed: it may lead back.
            if entry.file_type() == FileType::Directory {
                self.copy_tree(&path, walk, depth + 1)?;
            } else if (walk.wanted)(&path)
                && !(walk.excluded)(&path)
                && matches!(self.find(&rooted_path(&path))?, Found::File)
            {
                let relative = path.strip_prefix(walk.base).map_err(io::Error::other)?;
                self.copy_file(&path, &walk.to.join(relative))?;
            }
        }
        Ok(())
    }

    fn copy_file(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        let source = (self.open)(&rooted_path(from), flags).map_err(of(from))?;
        if file_type(&source)? != FileType::RegularFile {
            return Err(io::Error::other(format!("{} is no file", from.display())));
        }
        if let Some(parent) = to.parent() {
            self.make_directory(parent)?;
        }
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let copy = rustix::fs::openat(self.place()?, to, flags, Mode::RUSR | Mode::WUSR).map_err(of(to))?;
        let left = MAX_BYTES - self.bytes;
        // One byte more tells that there is more.
        let mut source = File::from(source).take(left + 1);
        let copied = io::copy(&mut source, &mut File::from(copy))?;
        if copied > left {
            let what = format!("the files of all components have more than {MAX_BYTES} bytes");
            return Err(io::Error::other(what));
        }
        self.bytes += copied;
        Ok(())
    }

    fn make_directory(&self, path: &Path) -> io::Result<()> {
        let place = self.place()?;
        let mut made = PathBuf::new();
        for step in path.components() {
            made.push(step);
            match rustix::fs::mkdirat(place, &made, Mode::RWXU) {
                Ok(()) | Err(rustix::io::Errno::EXIST) => {}
                Err(error) => return Err(of(&made)(error)),
            }
        }
        Ok(())
    }

    fn place(&self) -> io::Result<BorrowedFd<'a>> {
        self.directory
            .ok_or_else(|| io::Error::other("there is no directory for copies"))
    }
}

fn of(path: &Path) -> impl Fn(rustix::io::Errno) -> io::Error {
    let path = path.to_owned();
    move |error| io::Error::other(format!("{}: {error}", path.display()))
}

fn file_type(file: &OwnedFd) -> io::Result<FileType> {
    Ok(FileType::from_raw_mode(rustix::fs::fstat(file)?.st_mode))
}

/// A path's names alone, from the root.
fn plain(path: &str) -> PathBuf {
    let names = Path::new(path).components();
    names
        .filter_map(|step| match step {
            Step::Normal(name) => Some(name),
            _ => None,
        })
        .collect()
}

fn rooted(path: &str) -> PathBuf {
    rooted_path(&plain(path))
}

fn rooted_path(plain: &Path) -> PathBuf {
    Path::new("/").join(plain)
}

/// The directories of a pattern before the first that has anything of a pattern in it.
fn before_pattern(pattern: &Path) -> PathBuf {
    let is_plain = |step: &Step<'_>| !step.as_os_str().to_string_lossy().contains(['*', '?', '[', '{']);
    pattern.components().take_while(is_plain).collect()
}

/// What of [`HIDDEN`] a path from the root is, or is below.
fn hidden(plain: &Path) -> Option<&'static str> {
    HIDDEN.into_iter().find(|name| plain.starts_with(name))
}

/// Gives a component its directories; `directory` is where copies are. Changes the working directory meanwhile.
pub fn show(
    mounts: &[Mount],
    directory: Option<BorrowedFd<'_>>,
    wasi: &mut WasiCtxBuilder,
) -> wasmtime::Result<()> {
    for Mount { place, guest } in mounts {
        match (place, directory) {
            (Place::Root(path), _) => {
                wasi.preopened_dir(path, guest, FsPerms::ReadOnly)?;
            }
            (Place::Copies(name), Some(directory)) => {
                let back = rustix::fs::open(".", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
                rustix::process::fchdir(directory)?;
                let opened = wasi.preopened_dir(name, guest, FsPerms::ReadOnly).map(drop);
                rustix::process::fchdir(&back)?;
                opened?;
            }
            (Place::Copies(name), None) => wasmtime::bail!("there are no copies of {name}"),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::fd::AsFd as _;

    use super::*;
    use crate::workload::wasm::spin::manifest::Manifest;

    fn open(path: &Path, flags: OFlags) -> rustix::io::Result<OwnedFd> {
        rustix::fs::open(path, flags | OFlags::CLOEXEC, Mode::empty())
    }

    fn collected(files: &str, copies: &Path) -> Result<Vec<Mount>, ManifestError> {
        let manifest = Manifest::parse(&format!(
            "spin_manifest_version = 2\n[application]\nname = 'a'\n[[trigger.http]]\nroute = '/'\n\
             component = 'a'\n[component.a]\nsource = 'a.wasm'\nfiles = [{files}]\n"
        ))?;
        let directory = fs::File::open(copies).expect("a directory");
        Collector::new(open, Some(directory.as_fd())).collect("a", &manifest.components["a"])
    }

    #[test]
    fn what_is_the_runtime_s_is_not_shown() {
        let copies = tempfile::tempdir().expect("a directory");
        for files in [
            "'/.spin'",
            "'.spin/*.db'",
            "'runtime-config.toml'",
            "{ source = './.spin', destination = '/x' }",
        ] {
            let error = collected(files, copies.path()).expect_err(files).to_string();
            assert!(error.contains("component.a.files[0]: /"), "{error}");
        }
        assert_eq!(hidden(Path::new(".spin/sqlite_db.db")), Some(".spin"));
        assert_eq!(hidden(Path::new(".spinner")), None);
        assert_eq!(hidden(Path::new("a/.spin")), None);
    }

    /// /dev/shm is a file system of its own in every container, and nearly everywhere else.
    #[test]
    fn a_pattern_does_not_leave_its_file_system() {
        let device = |path: &str| rustix::fs::stat(path).map(|status| status.st_dev);
        if device("/dev/shm").is_err() || device("/dev/shm") == device("/dev") {
            return;
        }
        let there = tempfile::tempdir_in("/dev/shm").expect("a directory");
        fs::write(there.path().join("wrun-file"), "x").expect("a file");
        let from_root = there.path().strip_prefix("/").expect("absolute");
        let below = format!("'{}/**/wrun-file'", from_root.display());
        for (files, shown) in [("'dev/**/wrun-file'", false), (below.as_str(), true)] {
            let copies = tempfile::tempdir().expect("a directory");
            collected(files, copies.path()).expect(files);
            let copy = copies.path().join("a").join(from_root).join("wrun-file");
            assert_eq!(copy.exists(), shown, "{files}");
        }
    }
}
