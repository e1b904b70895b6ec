//! How much of a container's limits is left, for work of ours that counts against them.

use std::path::Path;

use super::tree::{Tree, is_gone};
use super::{Cgroup, CgroupError};
use crate::plan::cgroup::CgroupMode;

/// What is left of the limits at one moment; `None` where there is no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Room {
    /// Processes and threads.
    pub tasks: Option<u64>,
    /// Bytes.
    pub memory: Option<u64>,
    /// Whether the OOM killer ends all processes at once, whichever it chooses (memory.oom.group, cgroup-v2.rst;
    /// the kubelet sets it).
    pub ends_whole: bool,
}

/// From this size on v1's memory limit is none: it says so by the largest number of whole pages.
const V1_UNLIMITED: u64 = 1 << 62;

impl Cgroup {
    /// What the limits of this cgroup itself leave; those of cgroups above are not looked at.
    ///
    /// # Errors
    /// A limit that cannot be read.
    pub fn room(&self) -> Result<Room, CgroupError> {
        let (pids, memory, files) = match self.mode {
            CgroupMode::V2 => (self.tree(""), self.tree(""), ["memory.max", "memory.current"]),
            CgroupMode::V1 => (
                self.tree("pids"),
                self.tree("memory"),
                ["memory.limit_in_bytes", "memory.usage_in_bytes"],
            ),
        };
        Ok(Room {
            tasks: left(pids, ["pids.max", "pids.current"])?,
            memory: left(memory, files)?,
            ends_whole: match self.mode {
                CgroupMode::V2 => {
                    memory.map_or(Ok(None), |tree| number(tree, "memory.oom.group"))? == Some(1)
                }
                CgroupMode::V1 => false,
            },
        })
    }
}

/// The limit less what is used. A controller that is not there limits nothing.
fn left(tree: Option<&Tree>, [limit, used]: [&str; 2]) -> Result<Option<u64>, CgroupError> {
    let Some(tree) = tree else { return Ok(None) };
    let Some(limit) = number(tree, limit)?.filter(|limit| *limit < V1_UNLIMITED) else {
        return Ok(None);
    };
    let used = number(tree, used)?.unwrap_or(0);
    Ok(Some(limit.saturating_sub(used)))
}

/// A file's number; `None` for `max` and where there is no such file.
fn number(tree: &Tree, name: &str) -> Result<Option<u64>, CgroupError> {
    let path: &Path = &tree.path;
    match std::fs::read_to_string(path.join(name)) {
        Ok(text) => Ok(text.trim().parse().ok()),
        Err(error) if is_gone(&error) => Ok(None),
        Err(source) => Err(tree.file_error("read", name, source)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_the_limit_less_the_use() {
        let dir = tempfile::tempdir().expect("a directory");
        let tree = Tree::new(vec![String::new()], dir.path().to_owned(), true);
        let files = ["max", "current"];
        let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).expect("written");
        let left = || left(Some(&tree), files).expect("read");
        assert_eq!(left(), None, "no such controller");
        write("max", "100\n");
        assert_eq!(left(), Some(100));
        write("current", "30\n");
        assert_eq!(left(), Some(70));
        write("current", "130\n");
        assert_eq!(left(), Some(0), "a limit was lowered below the use");
        write("max", "max\n");
        assert_eq!(left(), None);
        write("max", "9223372036854771712\n");
        assert_eq!(left(), None, "as v1 says it");
    }
}
