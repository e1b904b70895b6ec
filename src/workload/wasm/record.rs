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
    pub const SIZE: usize = 16 + 32 + 8 * 5;

    /// `boot` is [`boot_id`]'s.
    pub fn new(metadata: &Metadata, boot: &[u8; 16]) -> Self {
        let mut place = [0; 16];
        place[..8].copy_from_slice(&metadata.dev().to_le_bytes());
        place[8..].copy_from_slice(&metadata.ino().to_le_bytes());
        Self::of_numbers(metadata, boot, &place)
    }

    /// `place` is what identifies the file among all.
    fn of_numbers(metadata: &Metadata, boot: &[u8; 16], place: &[u8]) -> Self {
        let mut bytes = [0; Self::SIZE];
        bytes[..16].copy_from_slice(boot);
        bytes[16..48].copy_from_slice(blake3::hash(place).as_bytes());
        let numbers = [
            metadata.size(),
            metadata.mtime().cast_unsigned(),
            metadata.mtime_nsec().cast_unsigned(),
            metadata.ctime().cast_unsigned(),
            metadata.ctime_nsec().cast_unsigned(),
        ];
        for (at, number) in numbers.into_iter().enumerate() {
            bytes[48 + at * 8..56 + at * 8].copy_from_slice(&number.to_le_bytes());
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

/// File systems of which a change of content is sure to show in the change time, and whose device numbers
/// stay the same for one boot.
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
const OVERLAYFS: i64 = 0x794C_7630;

/// Youngest change, in seconds, that a later change is sure to differ from: clocks of file systems are coarse.
const SETTLED: i64 = 2;

/// The stamp by which an entry point may be known again; `None` where it might be mistaken for another.
pub fn recognise(file: &File, metadata: &Metadata, boot: &[u8; 16]) -> Option<Stamp> {
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .ok()?
        .as_secs()
        .cast_signed();
    if now - metadata.ctime() <= SETTLED || now - metadata.mtime() <= SETTLED {
        return None;
    }
    match rustix::fs::fstatfs(file).ok()?.f_type {
        OVERLAYFS => {
            let handle = crate::sys::file_handle::of(file.as_fd()).ok()?;
            // Each mount of the same layers has a device number of its own: the handle takes its place.
            below_overlay(&handle).then(|| Stamp::of_numbers(metadata, boot, &handle))
        }
        kind if LOCAL.contains(&kind) => Some(Stamp::new(metadata, boot)),
        _ => None,
    }
}

/// Whether the handle that overlayfs gives is sure to name one file of one file system below it.
///
/// `struct ovl_fh` of fs/overlayfs/overlayfs.h: three bytes of padding, then version, magic, length, flags,
/// type, 16 bytes of UUID and the handle of the file below. Images that are made alike, byte for byte, may
/// have equal UUIDs and times, so only file systems are accepted that number their inodes' generations.
fn below_overlay(handle: &[u8]) -> bool {
    const MAGIC: u8 = 0xfb;
    const FILEID_INO32_GEN: u8 = 1;
    /// XFS with 64-bit inode numbers; FUSE has the same number, but no UUID.
    const FILEID_INO64_GEN: u8 = 0x81;
    const BTRFS_WITHOUT_PARENT: u8 = 0x4d;
    let [_, _, _, 0, MAGIC, _, _, kind, rest @ ..] = handle else {
        return false;
    };
    let Some((uuid, below)) = rest.split_at_checked(16) else {
        return false;
    };
    let has_uuid = uuid.iter().any(|byte| *byte != 0);
    match *kind {
        FILEID_INO32_GEN => below.len() == 8 && below[4..].iter().any(|byte| *byte != 0),
        FILEID_INO64_GEN | BTRFS_WITHOUT_PARENT => has_uuid,
        _ => false,
    }
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
    fn a_fresh_file_is_not_recognised() {
        let file = tempfile::tempfile().expect("a file");
        assert!(recognise(&file, &file.metadata().expect("metadata"), &[7; 16]).is_none());
    }

    #[test]
    fn a_handle_of_overlayfs_must_tell_files_apart() {
        let handle = |kind: u8, uuid: u8, generation: u8| {
            let mut bytes = vec![0, 0, 0, 0, 0xfb, 0x1d, 0, kind];
            bytes.extend([uuid; 16]);
            bytes.extend([0x76, 0x3f, 0x9b, 0, generation, 0xaa, 0, 0]);
            bytes
        };
        assert!(below_overlay(&handle(1, 0, 0x66)));
        let mut image = handle(1, 9, 0);
        image[29] = 0;
        assert!(!below_overlay(&image), "no generation");
        assert!(!below_overlay(&handle(0x81, 0, 1)), "FUSE");
        assert!(below_overlay(&handle(0x81, 7, 1)));
        assert!(!below_overlay(&handle(0x42, 7, 1)), "unknown");
        assert!(!below_overlay(&[0, 0, 0, 0, 0xfb]) && !below_overlay(&[]));
    }
}
