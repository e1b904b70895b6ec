//! Keeps the cache in its bounds. Called before something is added, never by a warm start.

use std::time::{Duration, SystemTime};

use rustix::fs::AtFlags;
use rustix::io::Errno;

use super::cache::{Cache, CacheError};

/// Notes on files, and locks of processes that were killed, are dropped at this age.
const FORGET_AFTER: Duration = Duration::from_secs(30 * 24 * 3600);

impl Cache {
    /// Removes the least recently used entries until at most `limit` bytes of code are kept. Containers that
    /// have them mapped keep them.
    pub(super) fn trim(&self, limit: u64) -> Result<(), CacheError> {
        let read_error = |errno: Errno| self.error("list", "")(errno.into());
        let mut entries = Vec::new();
        for found in rustix::fs::Dir::read_from(&self.dir).map_err(read_error)? {
            let found = found.map_err(read_error)?;
            let Ok(name) = found.file_name().to_str() else {
                continue;
            };
            let Some((key, extension)) = name.rsplit_once('.') else {
                continue;
            };
            let Some((size, modified)) = self.size_and_time(name) else {
                continue;
            };
            match extension {
                "code" => {
                    let used = self
                        .size_and_time(&format!("{key}.seen"))
                        .map_or(modified, |(_, used)| used);
                    entries.push((used, size, key.to_owned()));
                }
                "file" | "lock" if modified.elapsed().is_ok_and(|age| age > FORGET_AFTER) => {
                    self.remove(name)?
                }
                "seen" if !self.exists(&format!("{key}.code")) => self.remove(name)?,
                _ => {}
            }
        }
        let mut total: u64 = entries.iter().map(|(_, size, _)| size).sum();
        entries.sort();
        for (_, size, key) in entries {
            if total <= limit {
                break;
            }
            self.remove(&format!("{key}.code"))?;
            self.remove(&format!("{key}.seen"))?;
            total -= size;
        }
        Ok(())
    }

    /// `None` where the file is gone meanwhile.
    fn size_and_time(&self, name: &str) -> Option<(u64, SystemTime)> {
        let stat = rustix::fs::statat(&self.dir, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
        let since = Duration::new(
            u64::try_from(stat.st_mtime).ok()?,
            u32::try_from(stat.st_mtime_nsec).ok()?,
        );
        Some((u64::try_from(stat.st_size).ok()?, SystemTime::UNIX_EPOCH + since))
    }
}
