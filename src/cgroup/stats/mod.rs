//! What a container has used: the figures of its cgroup, in the form in which runc's `events` writes them.
//!
//! [`model`] is that form, [`v1`] and [`v2`] fill it. A controller that is not there leaves its part as it is
//! for one that counts nothing.

mod model;
mod v1;
mod v2;

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use crate::plan::cgroup::CgroupMode;

pub use model::Stats;

use super::{Cgroup, CgroupError};

impl Cgroup {
    /// What the container's processes have used, those of cgroups below included. `lenient`: what of v2 cannot
    /// be read (a rootless container's) counts as not there; on v1 such a container has no cgroup.
    ///
    /// # Errors
    /// A file that cannot be read, or holds what no kernel writes.
    pub fn stats(&self, lenient: bool) -> Result<Stats, CgroupError> {
        let mut stats = Stats::default();
        match self.mode {
            CgroupMode::V2 => {
                if let Some(tree) = self.own().first() {
                    v2::read(&Files(&tree.path), lenient, &mut stats)?;
                }
            }
            CgroupMode::V1 => {
                for tree in self.own() {
                    for controller in &tree.controllers {
                        v1::read(controller, &Files(&tree.path), &mut stats)?;
                    }
                }
            }
        }
        Ok(stats)
    }
}

/// The files of one directory.
struct Files<'a>(&'a Path);

impl Files<'_> {
    /// `None` where there is no such file.
    fn text(&self, name: &str) -> Result<Option<String>, CgroupError> {
        match std::fs::read_to_string(self.0.join(name)) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(CgroupError::Io {
                action: "read",
                path: self.0.join(name),
                source,
            }),
        }
    }

    /// A file with one number.
    fn number(&self, name: &str) -> Result<Option<u64>, CgroupError> {
        let Some(text) = self.text(name)? else {
            return Ok(None);
        };
        self.parse(name, text.trim()).map(Some)
    }

    /// A file with a number that has to be there.
    fn required(&self, name: &str) -> Result<u64, CgroupError> {
        self.number(name)?.ok_or_else(|| CgroupError::Io {
            action: "read",
            path: self.0.join(name),
            source: io::ErrorKind::NotFound.into(),
        })
    }

    /// A file of lines with a key and a number.
    fn table(&self, name: &str) -> Result<Option<BTreeMap<String, u64>>, CgroupError> {
        let Some(text) = self.text(name)? else {
            return Ok(None);
        };
        let lines = text.lines().map(|line| match line.split_once(' ') {
            Some((key, number)) => Ok((key.to_owned(), self.parse(name, number)?)),
            None => Err(self.malformed(name, line)),
        });
        lines.collect::<Result<_, _>>().map(Some)
    }

    /// `max` is the largest number. Some counters of v1 fall below 0 for a moment (a fault of the kernel),
    /// which is 0.
    fn parse(&self, name: &str, text: &str) -> Result<u64, CgroupError> {
        if text == "max" {
            return Ok(u64::MAX);
        }
        text.parse::<u64>()
            .or_else(|error| if text.starts_with('-') { Ok(0) } else { Err(error) })
            .map_err(|_| self.malformed(name, text))
    }

    fn malformed(&self, name: &str, text: &str) -> CgroupError {
        CgroupError::Malformed {
            path: self.0.join(name),
            text: text.to_owned(),
        }
    }
}

/// The sizes of huge page that the kernel has, as its files are named after them (`2MB`).
fn huge_page_sizes() -> Vec<String> {
    // Where there is no such directory, there are no huge pages.
    let Ok(list) = std::fs::read_dir("/sys/kernel/mm/hugepages") else {
        return Vec::new();
    };
    let mut sizes: Vec<String> = list
        .filter_map(|entry| huge_page_size(entry.ok()?.file_name().to_str()?))
        .collect();
    sizes.sort();
    sizes
}

fn huge_page_size(directory: &str) -> Option<String> {
    let kib: u64 = directory
        .strip_prefix("hugepages-")?
        .strip_suffix("kB")?
        .parse()
        .ok()?;
    Some(match kib {
        0..1024 => format!("{kib}KB"),
        1024..1_048_576 => format!("{}MB", kib >> 10),
        _ => format!("{}GB", kib >> 20),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory with files.
    pub(super) fn directory(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        dir
    }

    #[test]
    fn numbers_are_read_as_the_kernel_writes_them() {
        let dir = directory(&[
            ("one", "17\n"),
            ("none", "max\n"),
            ("below", "-4096\n"),
            ("wrong", "1 2\n"),
            ("table", "a 1\nb -1\n"),
            ("words", "a\n"),
        ]);
        let files = Files(dir.path());
        assert_eq!(files.number("one").unwrap(), Some(17));
        assert_eq!(files.number("none").unwrap(), Some(u64::MAX));
        assert_eq!(files.number("below").unwrap(), Some(0));
        assert_eq!(files.number("missing").unwrap(), None);
        let error = files.number("wrong").unwrap_err().to_string();
        assert!(error.contains("/wrong") && error.contains("\"1 2\""), "{error}");
        assert!(files.required("missing").is_err());
        let table = files.table("table").unwrap().unwrap();
        assert_eq!(table, BTreeMap::from([("a".into(), 1), ("b".into(), 0)]));
        assert!(files.table("words").is_err());
    }

    #[test]
    fn huge_pages_have_the_kernels_names() {
        for (directory, size) in [
            ("hugepages-64kB", Some("64KB")),
            ("hugepages-2048kB", Some("2MB")),
            ("hugepages-1048576kB", Some("1GB")),
            ("hugepages-1048576", None),
            ("other", None),
        ] {
            assert_eq!(huge_page_size(directory).as_deref(), size, "{directory}");
        }
    }
}
