//! Small notes beside the cache's entries that spare reading large files again. Each tells of a file as it
//! was, by what a change of its content would change too, and holds for one boot: device and inode numbers
//! mean nothing after that, and every entry is to be verified once per boot.

use std::fs::{File, Metadata};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::time::SystemTime;

/// A file at one moment, in one boot.
#[derive(Clone, PartialEq, Eq)]
pub struct Stamp([u8; Stamp::SIZE]);

impl Stamp {
    pub const SIZE: usize = 16 + 8 * 7;

    /// `boot` is [`boot_id`]'s.
    pub fn new(metadata: &Metadata, boot: &[u8; 16]) -> Self {
        let mut bytes = [0; Self::SIZE];
        bytes[..16].copy_from_slice(boot);
        let numbers = [
            metadata.dev(),
            metadata.ino(),
            metadata.size(),
            metadata.mtime().cast_unsigned(),
            metadata.mtime_nsec().cast_unsigned(),
            metadata.ctime().cast_unsigned(),
            metadata.ctime_nsec().cast_unsigned(),
        ];
        for (at, number) in numbers.into_iter().enumerate() {
            bytes[16 + at * 8..24 + at * 8].copy_from_slice(&number.to_le_bytes());
        }
        Self(bytes)
    }

    pub fn bytes(&self) -> &[u8; Self::SIZE] {
        &self.0
    }
}

/// /proc/sys/kernel/random/boot_id (random(4)), without its dashes; `None` where it cannot be read.
pub fn boot_id() -> Option<[u8; 16]> {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let mut id = [0; 16];
    let mut digits = text.trim_end().chars().filter(|c| *c != '-');
    for byte in &mut id {
        let high = digits.next()?.to_digit(16)?;
        let low = digits.next()?.to_digit(16)?;
        *byte = (high << 4 | low) as u8;
    }
    digits.next().is_none().then_some(id)
}

/// File systems of which a change of content is sure to show in the change time, and whose numbers stay the
/// same between two mounts of one boot. Not overlayfs, where each mount has a device number of its own.
const LOCAL: [i64; 8] = [
    0xEF53,      // ext4
    0x5846_5342, // XFS
    0x9123_683E, // Btrfs
    0x0102_1994, // tmpfs
    0xF2F5_2010, // F2FS
    0x2FC1_2FC1, // ZFS
    0xE0F5_E1E2, // EROFS
    0x7371_7368, // SquashFS
];

/// Youngest change, in seconds, that a later change is sure to differ from: clocks of file systems are coarse.
const SETTLED: i64 = 2;

/// Whether the file may be known again by a [`Stamp`].
pub fn is_settled(file: &File, metadata: &Metadata) -> bool {
    let Ok(now) = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH) else {
        return false;
    };
    let settled = |time: i64| now.as_secs().cast_signed() - time > SETTLED;
    settled(metadata.ctime())
        && settled(metadata.mtime())
        && rustix::fs::fstatfs(file.as_fd()).is_ok_and(|fs| LOCAL.contains(&fs.f_type))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_boot_has_an_id() {
        let id = boot_id().expect("this host has one");
        assert_ne!(id, [0; 16]);
        assert_eq!(Some(id), boot_id());
    }

    #[test]
    fn a_stamp_tells_a_changed_file() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let stamp = || Stamp::new(&file.as_file().metadata().expect("metadata"), &[7; 16]);
        let before = stamp();
        assert!(before == stamp());
        std::io::Write::write_all(&mut file.as_file(), b"x").expect("written");
        assert!(before != stamp());
    }

    #[test]
    fn a_fresh_file_is_not_settled() {
        let file = tempfile::tempfile().expect("a file");
        assert!(!is_settled(&file, &file.metadata().expect("metadata")));
    }
}
