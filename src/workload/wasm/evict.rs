//! Keeps the cache in its bounds: before something is added, and when asked to. Never called by a warm start.
//! Containers that have an entry mapped keep it; only its name goes.

use std::collections::{BTreeSet, HashSet};
use std::time::{Duration, SystemTime};

use super::cache::{Cache, CacheError};
use super::key::Key;
use super::survey::{Listed, Part, last_uses};

/// Notes on files, and locks of processes that were killed, are dropped at this age.
const FORGET_AFTER: Duration = Duration::from_secs(30 * 24 * 3600);

/// Most notes that are kept, each a file of some bytes: whoever starts ever new modules may leave no more.
const MOST_NOTES: usize = 4096;

/// What is to go.
#[derive(Debug, Clone, Copy, Default)]
pub struct Bounds {
    /// Bytes of code that may stay; the least recently used goes first.
    pub size: Option<u64>,
    /// What was not used for so long.
    pub age: Option<Duration>,
    /// All.
    pub all: bool,
}

/// An entry that was removed.
#[derive(Debug)]
pub struct Freed {
    /// Hexadecimal.
    pub key: String,
    /// Bytes.
    pub size: u64,
}

/// An entry with the time of its last use.
struct Used {
    at: SystemTime,
    size: u64,
    key: Key,
}

impl Cache {
    /// Removes the least recently used entries until at most `limit` bytes of code are kept.
    pub(super) fn trim(&self, limit: u64) -> Result<(), CacheError> {
        let files = self.files()?;
        let bounds = Bounds {
            size: Some(limit),
            ..Bounds::default()
        };
        self.evict(&files, &bounds)?;
        self.forget(&files, false)
    }

    /// Removes what is beyond the bounds, and all that is of no use any more: quickly compiled code where there
    /// is optimised code, locks that nobody holds, stamps and notes without an entry.
    pub fn prune(&self, bounds: &Bounds) -> Result<Vec<Freed>, CacheError> {
        let files = self.files()?;
        let freed = self.evict(&files, bounds)?;
        self.forget(&self.files()?, true)?;
        Ok(freed)
    }

    fn evict(&self, files: &[Listed], bounds: &Bounds) -> Result<Vec<Freed>, CacheError> {
        let used = last_uses(files);
        let mut entries: Vec<Used> = files
            .iter()
            .filter_map(|file| match file.part {
                Part::Code(key) => Some(Used {
                    at: used.get(&key).copied().unwrap_or_else(|| file.modified()),
                    size: file.size(),
                    key,
                }),
                _ => None,
            })
            .collect();
        entries.sort_by_key(|entry| (entry.at, entry.key.to_hex()));
        let superseded: HashSet<Key> = entries.iter().map(|entry| entry.key.provisional()).collect();
        let mut total: u64 = entries.iter().map(|entry| entry.size).sum();
        let mut freed = Vec::new();
        // What is superseded goes first, since nothing is lost with it.
        let (useless, rest): (Vec<_>, Vec<_>) = entries
            .into_iter()
            .partition(|entry| superseded.contains(&entry.key));
        let useless = useless.into_iter().map(|entry| (entry, true));
        for (entry, useless) in useless.chain(rest.into_iter().map(|entry| (entry, false))) {
            let old = bounds.age.is_some_and(|age| is_older(entry.at, age));
            if useless || bounds.all || old || bounds.size.is_some_and(|size| total > size) {
                self.remove(&entry.key.file("code"))?;
                self.remove(&entry.key.file("seen"))?;
                total -= entry.size;
                freed.push(Freed {
                    key: entry.key.to_hex(),
                    size: entry.size,
                });
            }
        }
        Ok(freed)
    }

    /// Removes stamps without an entry, notes and free locks that are old, and the oldest notes where there are
    /// too many; thoroughly, also young ones that are of no use. That takes a look into each.
    fn forget(&self, files: &[Listed], thorough: bool) -> Result<(), CacheError> {
        let codes: BTreeSet<String> = files
            .iter()
            .filter_map(|file| match file.part {
                Part::Code(key) => Some(key.to_hex()),
                _ => None,
            })
            .collect();
        let mut notes = Vec::new();
        for file in files {
            match file.part {
                Part::Seen(key) if !codes.contains(&key.to_hex()) => self.remove(&file.name)?,
                Part::Lock if thorough || is_older(file.modified(), FORGET_AFTER) => {
                    self.remove_free_lock(&file.name)?;
                }
                Part::Note => notes.push(file),
                _ => {}
            }
        }
        notes.sort_by_key(|note| note.modified());
        let excess = notes.len().saturating_sub(MOST_NOTES);
        for (number, note) in notes.into_iter().enumerate() {
            let old = number < excess || is_older(note.modified(), FORGET_AFTER);
            if old || thorough && !self.note_leads_to(&codes, &note.name) {
                self.remove(&note.name)?;
            }
        }
        Ok(())
    }

    fn note_leads_to(&self, codes: &BTreeSet<String>, note: &str) -> bool {
        self.read_note(note)
            .is_some_and(|key| codes.contains(&key.to_hex()) || codes.contains(&key.provisional().to_hex()))
    }
}

fn is_older(time: SystemTime, age: Duration) -> bool {
    // A time in the future is no age.
    time.elapsed().is_ok_and(|elapsed| elapsed >= age)
}
