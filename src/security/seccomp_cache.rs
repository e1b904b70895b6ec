//! Compiled filters, kept between containers: translating Docker's profile takes milliseconds, and the same
//! few profiles come again and again.
//!
//! ```text
//! DIRECTORY/           0700, ours
//! └── seccomp/         0700, ours; checked at each use
//!     └── KEY          blake3 of the rules, the versions and the machine; holds magic, digest, instructions
//! ```
//!
//! An entry is found by its contents' name, so nothing in it ever changes; it is written beside and renamed,
//! and carries a digest of key and instructions that is checked before a byte of it is used. The cache only
//! saves time: whatever is wrong with it, the filter is compiled instead, and nobody is told.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::SecurityError;
use super::seccomp::{Program, check, compile as compile_anew, kernel_flags};
use crate::plan::seccomp::{Action, Seccomp};
use crate::sys::seccomp::{INSTRUCTION_SIZE, MAX_INSTRUCTIONS};

/// Raised whenever the same plan would be translated to another program.
const TRANSLATION: u32 = 2;
const MAGIC: [u8; 8] = *b"wrunbpf1";
const DIGEST_SIZE: usize = 32;
const HEADER_SIZE: usize = MAGIC.len() + DIGEST_SIZE;
/// Beyond so many entries the oldest goes. At 2 to 33 kB each they stay under 8.5 MB.
const MAX_ENTRIES: usize = 256;

/// As [`super::seccomp::compile`], by way of the cache below `directory` where one is given; it is made where
/// it is missing.
///
/// # Errors
/// Those of compiling; none of the cache's.
pub fn compile(seccomp: &Seccomp, directory: Option<&Path>) -> Result<Program, SecurityError> {
    // What a program does not show has to be refused before one is found.
    check(seccomp)?;
    let cache = directory.and_then(|directory| Cache::open(directory).ok());
    let Some(cache) = cache else {
        return compile_anew(seccomp);
    };
    let key = key(seccomp);
    // A broken entry is as good as none: it is replaced below.
    if let Ok(instructions) = cache.read(&key) {
        return Ok(Program {
            instructions,
            flags: kernel_flags(seccomp),
        });
    }
    let program = compile_anew(seccomp)?;
    // A megabyte, which every waiting container would hold otherwise.
    crate::sys::memory::give_back();
    // A cache that cannot be written (a full disk) costs the next container a translation, nothing else.
    let _ = cache
        .write(&key, &program.instructions)
        .and_then(|()| cache.evict());
    Ok(program)
}

/// All that the instructions depend on. Flags and listener do not go into them.
fn key(seccomp: &Seccomp) -> blake3::Hash {
    // A rule of Docker's profile takes about 25 bytes here.
    let mut bytes = Vec::with_capacity(32 * 1024);
    let version = libseccomp::ScmpVersion::current()
        .map(|v| [v.major, v.minor, v.micro])
        .unwrap_or_default();
    for number in version.into_iter().chain([TRANSLATION]) {
        bytes.extend_from_slice(&number.to_le_bytes());
    }
    put_text(&mut bytes, std::env::consts::ARCH);
    put_action(&mut bytes, seccomp.default_action);
    put_length(&mut bytes, seccomp.architectures.len());
    for architecture in &seccomp.architectures {
        put_text(&mut bytes, architecture);
    }
    for rule in &seccomp.rules {
        put_text(&mut bytes, &rule.syscall);
        put_action(&mut bytes, rule.action);
        put_length(&mut bytes, rule.conditions.len());
        for condition in &rule.conditions {
            bytes.extend_from_slice(&condition.index.to_le_bytes());
            bytes.push(condition.operator as u8);
            bytes.extend_from_slice(&condition.value.to_le_bytes());
            bytes.extend_from_slice(&condition.value_two.to_le_bytes());
        }
    }
    blake3::hash(&bytes)
}

fn put_length(bytes: &mut Vec<u8>, length: usize) {
    bytes.extend_from_slice(&(length as u64).to_le_bytes());
}

fn put_text(bytes: &mut Vec<u8>, text: &str) {
    put_length(bytes, text.len());
    bytes.extend_from_slice(text.as_bytes());
}

fn put_action(bytes: &mut Vec<u8>, action: Action) {
    let (kind, number): (u8, u16) = match action {
        Action::Allow => (0, 0),
        Action::KillThread => (1, 0),
        Action::KillProcess => (2, 0),
        Action::Trap => (3, 0),
        Action::Errno(number) => (4, number),
        Action::Trace(message) => (5, message),
        Action::Log => (6, 0),
        Action::Notify => (7, 0),
    };
    bytes.push(kind);
    bytes.extend_from_slice(&number.to_le_bytes());
}

/// Binds the instructions to the key, so that an entry under a wrong name is not taken.
fn digest(key: &blake3::Hash, instructions: &[u8]) -> blake3::Hash {
    blake3::Hasher::new()
        .update(key.as_bytes())
        .update(instructions)
        .finalize()
}

struct Cache {
    directory: OwnedFd,
}

impl Cache {
    fn open(parent: &Path) -> io::Result<Self> {
        let directory = match open_own_directory(parent) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                std::fs::create_dir_all(parent.parent().unwrap_or(parent))?;
                make_directory(parent, Mode::RWXU)?;
                make_directory(&parent.join("seccomp"), Mode::RWXU)?;
                open_own_directory(parent)?
            }
            other => other?,
        };
        Ok(Self { directory })
    }

    fn read(&self, key: &blake3::Hash) -> io::Result<Vec<u8>> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
        let file = File::from(rustix::fs::openat(
            &self.directory,
            &*key.to_hex(),
            flags,
            Mode::empty(),
        )?);
        let stat = rustix::fs::fstat(&file)?;
        check_own(&stat, FileType::RegularFile)?;
        let limit = HEADER_SIZE + MAX_INSTRUCTIONS * INSTRUCTION_SIZE;
        // Of the size that the file has (sizes are not negative), and one more to see its end.
        let mut entry = Vec::with_capacity(limit.min(stat.st_size as usize) + 1);
        file.take(limit as u64 + 1).read_to_end(&mut entry)?;
        let Some((header, instructions)) = entry.split_at_checked(HEADER_SIZE) else {
            return Err(io::ErrorKind::InvalidData.into());
        };
        let whole = !instructions.is_empty()
            && entry.len() <= limit
            && instructions.len().is_multiple_of(INSTRUCTION_SIZE)
            && header[..MAGIC.len()] == MAGIC
            && header[MAGIC.len()..] == *digest(key, instructions).as_bytes();
        if whole {
            entry.drain(..HEADER_SIZE);
            Ok(entry)
        } else {
            Err(io::ErrorKind::InvalidData.into())
        }
    }

    fn write(&self, key: &blake3::Hash, instructions: &[u8]) -> io::Result<()> {
        let name = key.to_hex();
        // Two that write the same entry at once write the same bytes, each into a file of its own.
        let new = format!(".{}.{name}", std::process::id());
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut file = File::from(rustix::fs::openat(
            &self.directory,
            &*new,
            flags,
            Mode::RUSR | Mode::WUSR,
        )?);
        let mut entry = Vec::with_capacity(HEADER_SIZE + instructions.len());
        entry.extend_from_slice(&MAGIC);
        entry.extend_from_slice(digest(key, instructions).as_bytes());
        entry.extend_from_slice(instructions);
        file.write_all(&entry)
            .and_then(|()| {
                Ok(rustix::fs::renameat(
                    &self.directory,
                    &*new,
                    &self.directory,
                    &*name,
                )?)
            })
            .inspect_err(|_| {
                // The first error is the one that matters, and nobody is told either.
                let _ = rustix::fs::unlinkat(&self.directory, &*new, AtFlags::empty());
            })
    }

    /// Unlinks the oldest files beyond [`MAX_ENTRIES`], remains of killed writers included.
    fn evict(&self) -> io::Result<()> {
        let mut names = Vec::new();
        for item in Dir::read_from(&self.directory)? {
            let name = item?.file_name().to_owned();
            if !matches!(name.to_bytes(), b"." | b"..") {
                names.push(name);
            }
        }
        let Some(excess) = names.len().checked_sub(MAX_ENTRIES).filter(|excess| *excess > 0) else {
            return Ok(());
        };
        let mut aged = Vec::with_capacity(names.len());
        for name in names {
            match rustix::fs::statat(&self.directory, &name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => aged.push(((stat.st_mtime, stat.st_mtime_nsec), name)),
                Err(Errno::NOENT) => {}
                Err(error) => return Err(error.into()),
            }
        }
        aged.sort_unstable();
        for (_, name) in aged.iter().take(excess) {
            match rustix::fs::unlinkat(&self.directory, name, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

/// The cache's directory, with both levels checked: a filter that another user could write would be no
/// filter. `O_NOFOLLOW` at each, so that neither is a link to elsewhere.
fn open_own_directory(parent: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let parent = rustix::fs::open(parent, flags, Mode::empty())?;
    check_own(&rustix::fs::fstat(&parent)?, FileType::Directory)?;
    let directory = rustix::fs::openat(&parent, "seccomp", flags, Mode::empty())?;
    check_own(&rustix::fs::fstat(&directory)?, FileType::Directory)?;
    Ok(directory)
}

fn make_directory(path: &Path, mode: Mode) -> io::Result<()> {
    match rustix::fs::mkdirat(CWD, path, mode) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Of the expected type, ours, and nobody else's to read or write.
fn check_own(stat: &Stat, kind: FileType) -> io::Result<()> {
    let private = Mode::from_raw_mode(stat.st_mode)
        .intersection(Mode::RWXG | Mode::RWXO)
        .is_empty();
    if FileType::from_raw_mode(stat.st_mode) == kind
        && stat.st_uid == rustix::process::geteuid().as_raw()
        && private
    {
        Ok(())
    } else {
        Err(io::ErrorKind::PermissionDenied.into())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::path::PathBuf;

    use super::super::seccomp::tests::profile;
    use super::*;

    /// A cache directory below a temporary one, and the files in it.
    fn place() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("wrun");
        (dir, path)
    }

    fn entries(place: &Path) -> Vec<PathBuf> {
        let mut entries: Vec<_> = place
            .join("seccomp")
            .read_dir()
            .unwrap()
            .map(|item| item.unwrap().path())
            .collect();
        entries.sort();
        entries
    }

    #[test]
    fn the_second_time_the_same_program_comes_from_the_cache() {
        let (_dir, place) = place();
        let fresh = compile(&profile(), Some(&place)).unwrap();
        assert_eq!(fresh, compile_anew(&profile()).unwrap());
        let [entry] = &entries(&place)[..] else { panic!() };
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        for directory in [&place, &place.join("seccomp")] {
            assert_eq!(directory.metadata().unwrap().permissions().mode() & 0o777, 0o700);
        }
        // A valid entry of another program under this name shows that it is the cache that answers.
        let cache = Cache::open(&place).unwrap();
        let other = [0x06, 0, 0, 0, 0, 0, 0xff, 0x7f];
        cache.write(&key(&profile()), &other).unwrap();
        assert_eq!(compile(&profile(), Some(&place)).unwrap().instructions, other);
    }

    #[test]
    fn a_damaged_entry_is_compiled_anew_and_replaced() {
        let (_dir, place) = place();
        let fresh = compile(&profile(), Some(&place)).unwrap();
        let entry = entries(&place).remove(0);
        let good = std::fs::read(&entry).unwrap();
        let mut flipped = good.clone();
        *flipped.last_mut().unwrap() ^= 1;
        let long = [good.clone(), vec![0; 8]].concat();
        for bad in [&flipped[..], &good[..good.len() - 8], &long, &good[..20], b""] {
            std::fs::write(&entry, bad).unwrap();
            assert_eq!(compile(&profile(), Some(&place)).unwrap(), fresh);
            assert_eq!(std::fs::read(&entry).unwrap(), good);
        }
        // Another filter's entry under this name is not taken either.
        let other = Seccomp {
            default_action: Action::Log,
            ..profile()
        };
        compile(&other, Some(&place)).unwrap();
        let name = place.join("seccomp").join(key(&other).to_hex().as_str());
        std::fs::copy(&name, &entry).unwrap();
        assert_eq!(compile(&profile(), Some(&place)).unwrap(), fresh);
    }

    #[test]
    fn a_directory_that_others_could_write_is_not_used() {
        let (_dir, place) = place();
        compile(&profile(), Some(&place)).unwrap();
        let inner = place.join("seccomp");
        for directory in [&place, &inner] {
            std::fs::set_permissions(directory, PermissionsExt::from_mode(0o770)).unwrap();
            assert!(Cache::open(&place).is_err());
            compile(&profile(), Some(&place)).unwrap();
            std::fs::set_permissions(directory, PermissionsExt::from_mode(0o700)).unwrap();
        }
        std::fs::rename(&inner, place.join("elsewhere")).unwrap();
        std::os::unix::fs::symlink("elsewhere", &inner).unwrap();
        assert!(Cache::open(&place).is_err());
        // Nor is one that cannot be made.
        compile(&profile(), Some(Path::new("/proc/wrun/cache"))).unwrap();
    }

    #[test]
    fn the_key_changes_with_all_that_the_program_depends_on_and_nothing_else() {
        let base = profile();
        let differ = |change: fn(&mut Seccomp)| {
            let mut other = profile();
            change(&mut other);
            key(&other) != key(&base)
        };
        assert!(differ(|s| s.default_action = Action::Errno(2)));
        assert!(differ(|s| s.default_action = Action::Trace(1)));
        assert!(differ(|s| s.architectures.clear()));
        assert!(differ(|s| s.rules.swap(0, 1)));
        assert!(differ(|s| s.rules[0].syscall.push('x')));
        assert!(differ(|s| s.rules[0].action = Action::Log));
        assert!(differ(|s| s.rules[2].conditions[0].value += 1));
        assert!(differ(|s| s.rules[2].conditions[0].value_two += 1));
        assert!(differ(|s| s.rules[2].conditions[0].index += 1));
        assert!(!differ(|s| s.flags.log = true));
        assert!(!differ(|_| {}));
    }

    #[test]
    fn it_stays_bounded_and_the_oldest_go() {
        let (_dir, place) = place();
        let cache_directory = place.join("seccomp");
        compile(&profile(), Some(&place)).unwrap();
        let first = entries(&place).remove(0);
        let old = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1000);
        File::options()
            .write(true)
            .open(&first)
            .unwrap()
            .set_modified(old)
            .unwrap();
        for number in 0..MAX_ENTRIES + 3 {
            std::fs::write(cache_directory.join(format!("{number:03}")), b"x").unwrap();
        }
        let other = Seccomp {
            default_action: Action::Log,
            ..profile()
        };
        compile(&other, Some(&place)).unwrap();
        assert_eq!(entries(&place).len(), MAX_ENTRIES);
        assert!(!first.exists());
        assert!(cache_directory.join(key(&other).to_hex().as_str()).exists());
    }

    #[test]
    fn what_would_hang_the_launch_is_refused_with_or_without_a_cache() {
        let (_dir, place) = place();
        let bad = Seccomp {
            default_action: Action::Notify,
            ..profile()
        };
        for directory in [None, Some(place.as_path())] {
            assert!(matches!(
                compile(&bad, directory),
                Err(SecurityError::SeccompNotifyDefault)
            ));
        }
    }
}
