//! The files that a component sees: nothing of the container's but what its manifest names, and that for reading only.
//!
//! Whole directories are shown as they are. Where a component wants single files, patterns or exceptions, it gets copies
//! of what these choose, in memory, as its `/`; the copies count as the container's memory, and are bounded.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component as Step, Path, PathBuf};

use globset::{Glob, GlobBuilder, GlobMatcher};
use rustix::fs::{Dir, FileType, Mode, OFlags};
use wasmtime_wasi::{FsPerms, WasiCtxBuilder};

use super::manifest::{Component, Files, ManifestError};
use crate::workload::wasm::application::Open;

/// Most bytes of all copies of an application, and most files and directories that are looked at for them.
const MAX_BYTES: u64 = 256 << 20;
const MAX_SEEN: usize = 100_000;
/// Symbolic links that are followed on the way to one path, as in the kernel.
const MAX_LINKS: usize = 40;
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
    hidden: Vec<PathBuf>,
    bytes: u64,
    seen: usize,
}

/// Which files of a tree are copied, and where to.
struct Walk<'a> {
    /// The tree, without links on the way to it, and as it is written in the manifest.
    start: &'a Path,
    written: &'a Path,
    /// What is written below it is at the same place below `to`.
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
    /// `directory` is where copies go. What is at the paths of `hidden`, from the root, is never shown, whatever a
    /// pattern says and whatever links lead there: addresses with passwords, and stores of all components.
    pub fn new(
        open: Open,
        directory: Option<BorrowedFd<'a>>,
        hidden: impl IntoIterator<Item = PathBuf>,
    ) -> Self {
        let mut collector = Self {
            open,
            directory,
            hidden: Vec::new(),
            bytes: 0,
            seen: 0,
        };
        for path in hidden {
            // Where links lead to it, what they lead to is hidden as well.
            let real = collector.real(&path).ok().flatten();
            collector.hidden.extend([plain(&path)].into_iter().chain(real));
        }
        collector
    }

    /// What a component sees. Its copies are in a directory of the component's id.
    pub fn collect(&mut self, id: &str, component: &Component) -> Result<Vec<Mount>, ManifestError> {
        if component.files.is_empty() {
            return Ok(Vec::new());
        }
        let key = |at: usize| format!("{}.files[{at}]", component.key);
        for (at, files) in component.files.iter().enumerate() {
            let source = plain(Path::new(files.source()));
            let named = self.real(&before_pattern(&source)).unwrap_or_default();
            let hidden = named
                .and_then(|named| self.hides(&named))
                .or_else(|| self.hides(&source));
            if let Some(hidden) = hidden {
                let reason = format!("/{} is the runtime's, and no component sees it", hidden.display());
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
        let Some(place) = self.real(&plain(Path::new(source)))? else {
            return Ok(None);
        };
        if self.hidden.iter().any(|hidden| hidden.starts_with(&place)) {
            // Something of it is hidden.
            return Ok(None);
        }
        Ok(match self.find(&rooted(&place))? {
            Found::Directory => Some(Mount {
                place: Place::Root(rooted(&place)),
                guest: rooted(&plain(Path::new(destination)))
                    .to_string_lossy()
                    .into_owned(),
            }),
            Found::File | Found::Nothing => None,
        })
    }

    /// What is hidden, where a path without links is that or is below it.
    fn hides(&self, real: &Path) -> Option<&Path> {
        let mut hidden = self.hidden.iter();
        hidden
            .find(|hidden| real.starts_with(hidden))
            .map(PathBuf::as_path)
    }

    /// A path from the root without the links on the way to it; `None` where there is nothing.
    fn real(&self, path: &Path) -> io::Result<Option<PathBuf>> {
        let (mut at, mut rest, mut links) = (PathBuf::new(), steps(path), 0);
        while let Some(step) = rest.pop() {
            if step == ".." {
                at.pop();
                continue;
            }
            let next = at.join(step);
            let found = match (self.open)(&rooted(&next), OFlags::PATH | OFlags::NOFOLLOW) {
                Ok(found) => found,
                Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => return Ok(None),
                Err(error) => return Err(of(&next)(error)),
            };
            if file_type(&found)? != FileType::Symlink {
                at = next;
                continue;
            }
            links += 1;
            if links > MAX_LINKS {
                return Err(of(path)(rustix::io::Errno::LOOP));
            }
            let target = rustix::fs::readlinkat(&found, "", Vec::new()).map_err(of(&next))?;
            let target = Path::new(OsStr::from_bytes(target.as_bytes()));
            if target.is_absolute() {
                at = PathBuf::new();
            }
            rest.extend(steps(target));
        }
        Ok(Some(at))
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
            Files::Pattern(pattern) => (pattern, pattern),
            Files::Placed { source, destination } => (source, destination),
        };
        let (source, destination) = (plain(Path::new(source)), plain(Path::new(destination)));
        self.make_directory(to)?;
        let real = self.real(&source)?.unwrap_or_else(|| source.clone());
        match self.find(&rooted(&real))? {
            // What is named itself is wanted, whatever is excluded.
            Found::File => self.copy_file(&real, &to.join(destination)),
            Found::Directory => {
                let everything = |_: &Path| true;
                let walk = Walk {
                    start: &real,
                    written: &source,
                    base: &source,
                    to: &to.join(destination),
                    wanted: &everything,
                    excluded,
                    device: self.device(&real)?.filter(|_| real.as_os_str().is_empty()),
                };
                self.copy_tree(&real, &walk, 0)
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
                let written = before_pattern(&source);
                let start = self.real(&written)?.unwrap_or_else(|| written.clone());
                match self.find(&rooted(&start))? {
                    Found::Directory => {
                        let walk = Walk {
                            start: &start,
                            written: &written,
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
        let opened = (self.open)(&rooted(directory), OFlags::PATH).map_err(of(directory))?;
        Ok(Some(rustix::fs::fstat(&opened)?.st_dev))
    }

    /// Copies the files below `directory` that are wanted.
    fn copy_tree(&mut self, directory: &Path, walk: &Walk<'_>, depth: usize) -> io::Result<()> {
        if depth > MAX_DEPTH {
            let what = format!("{}: more than {MAX_DEPTH} directories deep", directory.display());
            return Err(io::Error::other(what));
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let opened = (self.open)(&rooted(directory), flags).map_err(of(directory))?;
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
            if self.hides(&path).is_some() {
                continue;
            }
            // A link to a directory is not followed: it may lead back.
            if entry.file_type() == FileType::Directory {
                self.copy_tree(&path, walk, depth + 1)?;
                continue;
            }
            let below = path.strip_prefix(walk.start).map_err(io::Error::other)?;
            let written = walk.written.join(below);
            if !(walk.wanted)(&written) || (walk.excluded)(&written) {
                continue;
            }
            let real = self.real(&path)?.filter(|real| self.hides(real).is_none());
            if let Some(real) = real
                && matches!(self.find(&rooted(&real))?, Found::File)
            {
                let relative = written.strip_prefix(walk.base).map_err(io::Error::other)?;
                self.copy_file(&real, &walk.to.join(relative))?;
            }
        }
        Ok(())
    }

    fn copy_file(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        let source = (self.open)(&rooted(from), flags).map_err(of(from))?;
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
fn plain(path: &Path) -> PathBuf {
    let name = |step| match step {
        Step::Normal(name) => Some(name),
        _ => None,
    };
    path.components().filter_map(name).collect()
}

/// The steps of a path, the first one last.
fn steps(path: &Path) -> Vec<OsString> {
    let step = |step: Step<'_>| match step {
        Step::Normal(_) | Step::ParentDir => Some(step.as_os_str().to_owned()),
        _ => None,
    };
    path.components().rev().filter_map(step).collect()
}

fn rooted(plain: &Path) -> PathBuf {
    Path::new("/").join(plain)
}

/// The directories of a pattern before the first that has anything of a pattern in it.
fn before_pattern(pattern: &Path) -> PathBuf {
    let is_plain = |step: &Step<'_>| !step.as_os_str().to_string_lossy().contains(['*', '?', '[', '{']);
    pattern.components().take_while(is_plain).collect()
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
mod tests;
