//! The kernel's table of mounts as text (proc_pid_mountinfo(5)), line by line.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

/// One mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line<'t> {
    /// What of its file system is seen: `/` for all of it.
    pub root: PathBuf,
    /// Where it is, relative to the root directory of the process whose table it is.
    pub point: PathBuf,
    /// Options of this mount (`rw,nosuid,relatime`), separated by commas.
    pub attributes: &'t str,
    pub fstype: &'t str,
    /// Options of the file system, separated by commas.
    pub options: &'t str,
}

/// All mounts of a table, in its order, which is that of mounting.
pub fn lines(table: &str) -> impl Iterator<Item = Line<'_>> {
    table.lines().filter_map(|line| {
        let (left, right) = line.split_once(" - ")?;
        let mut left = left.split(' ').skip(3);
        let mut right = right.split(' ');
        Some(Line {
            root: unescape(left.next()?),
            point: unescape(left.next()?),
            attributes: left.next()?,
            fstype: right.next()?,
            options: right.nth(1)?,
        })
    })
}

/// Blank, tab, newline and backslash stand there as a backslash and three octal digits.
fn unescape(field: &str) -> PathBuf {
    if !field.contains('\\') {
        return PathBuf::from(field);
    }
    let bytes = field.as_bytes();
    let mut path = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let digits = bytes
            .get(at + 1..at + 4)
            .and_then(|digits| std::str::from_utf8(digits).ok());
        match (
            bytes[at],
            digits.and_then(|digits| u8::from_str_radix(digits, 8).ok()),
        ) {
            (b'\\', Some(byte)) => {
                path.push(byte);
                at += 4;
            }
            (byte, _) => {
                path.push(byte);
                at += 1;
            }
        }
    }
    PathBuf::from(OsString::from_vec(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_taken_apart() {
        let table = "\
            21 20 0:5 / /proc rw - proc proc rw\n\
            23 20 0:6 /part /with\\040blank\\134 rw shared:1 master:2 - ext4 /dev/vda rw,discard\n\
            broken\n";
        let lines: Vec<Line<'_>> = lines(table).collect();
        assert_eq!(lines.len(), 2);
        assert_eq!(
            (lines[0].point.to_str(), lines[0].fstype),
            (Some("/proc"), "proc")
        );
        let other = Line {
            root: PathBuf::from("/part"),
            point: PathBuf::from("/with blank\\"),
            attributes: "rw",
            fstype: "ext4",
            options: "rw,discard",
        };
        assert_eq!(lines[1], other);
    }
}
