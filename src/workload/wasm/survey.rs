//! What lies in the cache's directory: every file by what its name says it is, and every entry by what it
//! tells of itself. Trusts nothing and changes nothing.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::time::{Duration, SystemTime};

use rustix::fs::{AtFlags, FileType, OFlags, Stat};
use rustix::io::Errno;

use super::cache::{Cache, CacheError, is_ours};
use super::entry::{self, About};
use super::key::Key;
use super::locks::ORPHAN;

/// What a file is by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Code(Key),
    Seen(Key),
    Lock,
    /// The key of an entry point that had a stamp.
    Note,
    /// The directory of compiled filters, which looks after itself.
    Filters,
    /// Nothing that the cache makes.
    Foreign,
}

impl Part {
    fn of(name: &str) -> Self {
        match name {
            ORPHAN => return Self::Lock,
            "seccomp" => return Self::Filters,
            _ => {}
        }
        let known = name
            .rsplit_once('.')
            .and_then(|(hex, extension)| Some((Key::from_hex(hex)?, extension)));
        match known {
            Some((key, "code")) => Self::Code(key),
            Some((key, "seen")) => Self::Seen(key),
            Some((_, "lock" | "background")) => Self::Lock,
            Some((_, "file")) => Self::Note,
            _ => Self::Foreign,
        }
    }
}

/// One file of the directory.
pub(super) struct Listed {
    pub name: String,
    pub part: Part,
    pub stat: Stat,
}

impl Listed {
    pub fn size(&self) -> u64 {
        u64::try_from(self.stat.st_size).unwrap_or(0)
    }

    pub fn modified(&self) -> SystemTime {
        let seconds = u64::try_from(self.stat.st_mtime).unwrap_or(0);
        let nanoseconds = u32::try_from(self.stat.st_mtime_nsec).unwrap_or(0);
        SystemTime::UNIX_EPOCH + Duration::new(seconds, nanoseconds)
    }

    pub fn kind(&self) -> FileType {
        FileType::from_raw_mode(self.stat.st_mode)
    }
}

/// An entry, for people.
#[derive(Debug)]
pub struct Entry {
    /// Hexadecimal.
    pub key: String,
    /// Bytes.
    pub size: u64,
    /// To ten minutes.
    pub last_use: SystemTime,
    /// Whether it was compared with its digest in this boot, as it is before it is run.
    pub verified: bool,
    /// `None` where it is damaged, or was not made by us.
    pub about: Option<About>,
}

impl Entry {
    /// Whether a container of now could run it: the engine, its settings and the CPU are those it is for.
    pub fn fits(&self) -> bool {
        self.about.as_ref().is_some_and(About::fits)
    }
}

impl Cache {
    /// Every file but `.` and `..`; one that disappears meanwhile is left out.
    pub(super) fn files(&self) -> Result<Vec<Listed>, CacheError> {
        let list_error = |errno: Errno| self.error("list", "")(errno.into());
        let mut files = Vec::new();
        for found in rustix::fs::Dir::read_from(&self.dir).map_err(list_error)? {
            let found = found.map_err(list_error)?;
            if matches!(found.file_name().to_bytes(), b"." | b"..") {
                continue;
            }
            let stat = match rustix::fs::statat(&self.dir, found.file_name(), AtFlags::SYMLINK_NOFOLLOW) {
                Err(Errno::NOENT) => continue,
                other => other.map_err(list_error)?,
            };
            let (name, part) = match found.file_name().to_str() {
                Ok(name) => (name.to_owned(), Part::of(name)),
                Err(_not_utf8) => (found.file_name().to_string_lossy().into_owned(), Part::Foreign),
            };
            files.push(Listed { name, part, stat });
        }
        Ok(files)
    }

    /// All entries, the last used first.
    pub fn entries(&self) -> Result<Vec<Entry>, CacheError> {
        let files = self.files()?;
        let used = last_uses(&files);
        let mut entries = Vec::new();
        for file in &files {
            let Part::Code(key) = file.part else { continue };
            let Some((verified, about)) = self.look_at(&key, &file.name)? else {
                continue;
            };
            entries.push(Entry {
                key: key.to_hex(),
                size: file.size(),
                last_use: used.get(&key).copied().unwrap_or_else(|| file.modified()),
                verified,
                about,
            });
        }
        entries.sort_by(|a, b| (b.last_use, &b.key).cmp(&(a.last_use, &a.key)));
        Ok(entries)
    }

    /// Whether an entry was verified in this boot, and what it tells; `None` where it is gone.
    fn look_at(&self, key: &Key, name: &str) -> Result<Option<(bool, Option<About>)>, CacheError> {
        let file = match self.open_file(name, OFlags::RDONLY | OFlags::NONBLOCK) {
            Ok(file) => file,
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::LOOP) => return Ok(Some((false, None))),
            Err(errno) => return Err(self.error("open", name)(errno.into())),
        };
        self.tell(key, &file).map(Some).map_err(self.error("read", name))
    }

    fn tell(&self, key: &Key, file: &File) -> io::Result<(bool, Option<About>)> {
        let metadata = file.metadata()?;
        if !is_ours(&metadata) {
            return Ok((false, None));
        }
        let footer = entry::footer(file, metadata.len())?;
        let about = footer.map_or(Ok(None), |footer| footer.about(file))?;
        Ok((self.is_seen(key, &metadata), about))
    }
}

/// When entries were last used, by the times of their stamps.
pub(super) fn last_uses(files: &[Listed]) -> HashMap<Key, SystemTime> {
    let use_of = |file: &Listed| match file.part {
        Part::Seen(key) => Some((key, file.modified())),
        _ => None,
    };
    files.iter().filter_map(use_of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::wasm::engine::Build;
    use crate::workload::wasm::key::Purpose;

    #[test]
    fn files_are_known_by_their_names() {
        let key = Key::new(&blake3::hash(b"x"), Purpose::default(), Build::default());
        assert_eq!(Part::of(&key.file("code")), Part::Code(key));
        assert_eq!(Part::of(&key.file("seen")), Part::Seen(key));
        assert_eq!(Part::of(&key.file("lock")), Part::Lock);
        assert_eq!(Part::of(&key.file("background")), Part::Lock);
        assert_eq!(Part::of("orphan"), Part::Lock);
        assert_eq!(Part::of(&key.file("file")), Part::Note);
        assert_eq!(Part::of("seccomp"), Part::Filters);
        for foreign in ["x.code", &key.to_hex(), &key.file("so"), "", "README"] {
            assert_eq!(Part::of(foreign), Part::Foreign);
        }
    }
}
