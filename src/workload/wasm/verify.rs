//! Compares every entry of the cache with its digest, and looks for what does not belong there.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;

use rustix::fs::{FileType, OFlags};
use rustix::io::Errno;

use super::cache::{Cache, CacheError};
use super::entry;
use super::key::Key;
use super::survey::{Listed, Part};

/// Something that is not as it should be.
#[derive(Debug)]
pub struct Finding {
    /// The file's name in the cache's directory.
    pub name: String,
    pub problem: &'static str,
    /// What has the name of one of the cache's files is removed; anything else is left to its owner.
    pub removed: bool,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Verified {
    /// Entries that are, to the last byte, as they were written.
    pub sound: usize,
    pub findings: Vec<Finding>,
}

impl Cache {
    /// Reads every entry whole, whether it was verified in this boot or not. What is bad is removed, and so
    /// compiled anew at the next start.
    pub fn verify(&self) -> Result<Verified, CacheError> {
        let mut verified = Verified::default();
        for file in self.files()? {
            let problem = match file.part {
                Part::Code(key) => match self.problem_of_entry(&key, &file)? {
                    Some(problem) => Some(problem),
                    None => {
                        verified.sound += 1;
                        None
                    }
                },
                Part::Filters if file.kind() == FileType::Directory => None,
                Part::Foreign => Some("is no file of the cache's"),
                _ => problem_of_file(&file),
            };
            let Some(problem) = problem else { continue };
            let removed = file.part != Part::Foreign && file.kind() != FileType::Directory;
            if removed {
                self.remove(&file.name)?;
            }
            if let Part::Code(key) = file.part {
                self.remove(&key.file("seen"))?;
            }
            verified.findings.push(Finding {
                name: file.name,
                problem,
                removed,
            });
        }
        Ok(verified)
    }

    fn problem_of_entry(&self, key: &Key, listed: &Listed) -> Result<Option<&'static str>, CacheError> {
        if let Some(problem) = problem_of_file(listed) {
            return Ok(Some(problem));
        }
        let file = match self.open_file(&listed.name, OFlags::RDONLY | OFlags::NONBLOCK) {
            Ok(file) => file,
            // Evicted meanwhile.
            Err(Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(self.error("open", &listed.name)(errno.into())),
        };
        let compared = file.metadata().and_then(|metadata| {
            let problem = compare(key, &file, &metadata)?;
            if problem.is_none() {
                self.mark_seen(key, &metadata);
            }
            Ok(problem)
        });
        compared.map_err(self.error("read", &listed.name))
    }
}

fn compare(key: &Key, file: &File, metadata: &Metadata) -> io::Result<Option<&'static str>> {
    let Some(footer) = entry::footer(file, metadata.size())? else {
        return Ok(Some("is no entry, or one of another version of wrun"));
    };
    if !footer.verify(file, metadata.size(), key.bytes())? {
        return Ok(Some("is not what was written under this name"));
    }
    let told = footer.about(file)?.is_some();
    Ok((!told).then_some("is of another version of wrun"))
}

/// What no file of the cache is, whatever is in it.
fn problem_of_file(file: &Listed) -> Option<&'static str> {
    let own = rustix::process::geteuid().as_raw();
    match file.kind() {
        FileType::Symlink => Some("is a symbolic link"),
        FileType::RegularFile if file.stat.st_uid != own => Some("belongs to another user"),
        FileType::RegularFile if file.stat.st_mode & 0o022 != 0 => Some("can be written by other users"),
        FileType::RegularFile => None,
        _ => Some("is not a regular file"),
    }
}
