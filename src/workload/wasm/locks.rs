//! Who compiles what: locks of the cache, each a file that is locked whole (flock(2)) and removed afterwards.
//! A lock ends with its holder's process, whatever ends that; what a killed holder leaves is an empty file.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, FlockOperation, OFlags};
use rustix::io::Errno;

use super::cache::{Cache, CacheError};
use super::key::Key;

/// The lock of the one compilation, of all on the host, that goes on for a container that has ended.
pub const ORPHAN: &str = "orphan";

/// How long a start waits for another that compiles the same.
const PATIENCE: Duration = Duration::from_secs(10);

/// Between two looks at a lock that another holds; that long a start may be late.
const LONGEST_PAUSE: Duration = Duration::from_millis(16);

/// Held while one process compiles for a key; others wait for it.
pub struct Lock<'a> {
    cache: &'a Cache,
    claim: Option<Claim>,
}

impl Drop for Lock<'_> {
    fn drop(&mut self) {
        if let Some(claim) = self.claim.take() {
            self.cache.release(claim);
        }
    }
}

/// A lock that nobody waits for. It may be handed to a forked process: there it lives on when it is dropped
/// here, and whoever has done the work releases it.
#[derive(Debug)]
pub struct Claim {
    name: String,
    file: OwnedFd,
}

impl Claim {
    pub fn descriptor(&self) -> RawFd {
        self.file.as_raw_fd()
    }
}

impl Cache {
    /// Waits until no other process compiles for this key, or for `PATIENCE`: who holds the lock may be in a
    /// container that gets little of the processor, or is frozen, and must not keep others from starting. They
    /// then compile the same without it, and the first to end has its entry kept.
    pub fn lock(&self, key: &Key) -> Result<Lock<'_>, CacheError> {
        let name = key.file("lock");
        let error = self.error("lock", &name);
        let file = self.open_file(&name, OFlags::RDWR | OFlags::CREATE);
        let file = OwnedFd::from(file.map_err(|errno| error(errno.into()))?);
        let deadline = Instant::now() + PATIENCE;
        let mut pause = Duration::from_millis(1);
        let held = loop {
            match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => break true,
                Err(Errno::AGAIN) if Instant::now() >= deadline => break false,
                Err(Errno::AGAIN) => std::thread::sleep(pause),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(error(errno.into())),
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        };
        Ok(Lock {
            cache: self,
            claim: held.then_some(Claim { name, file }),
        })
    }

    /// The right to compile for this key in the background; `None` where another has it.
    pub fn claim_background(&self, key: &Key) -> Result<Option<Claim>, CacheError> {
        self.claim(key.file("background"))
    }

    /// The right to compile for a container that has ended; `None` where another has it.
    pub fn claim_orphan(&self) -> Result<Option<Claim>, CacheError> {
        self.claim(ORPHAN.to_owned())
    }

    fn claim(&self, name: String) -> Result<Option<Claim>, CacheError> {
        match self.lock_file(&name) {
            Ok(file) if self.is_named(&file, &name) => Ok(Some(Claim { name, file })),
            // Its last holder has just removed it: the work is done, or will be tried at the next start.
            Ok(_) | Err(Errno::AGAIN) => Ok(None),
            Err(errno) => Err(self.error("lock", &name)(errno.into())),
        }
    }

    fn lock_file(&self, name: &str) -> Result<OwnedFd, Errno> {
        let file = self.open_file(name, OFlags::RDWR | OFlags::CREATE)?;
        let operation = FlockOperation::NonBlockingLockExclusive;
        rustix::io::retry_on_intr(|| rustix::fs::flock(&file, operation))?;
        Ok(file.into())
    }

    fn is_named(&self, file: &OwnedFd, name: &str) -> bool {
        let named = rustix::fs::statat(&self.dir, name, AtFlags::SYMLINK_NOFOLLOW);
        let held = rustix::fs::fstat(file);
        matches!((named, held), (Ok(named), Ok(held))
            if (named.st_dev, named.st_ino) == (held.st_dev, held.st_ino))
    }

    /// Whoever waits on the removed file finds the entry; a leftover would only be an empty file.
    pub fn release(&self, claim: Claim) {
        self.release_inherited(&claim);
    }

    /// The same in a forked process, which ends with it and owns no descriptor.
    pub fn release_inherited(&self, claim: &Claim) {
        let _ = rustix::fs::unlinkat(&self.dir, &claim.name, AtFlags::empty());
    }

    /// Removes a lock's file where nobody holds it. Whether it did.
    pub(super) fn remove_free_lock(&self, name: &str) -> Result<bool, CacheError> {
        let file = match self.open_file(name, OFlags::RDWR) {
            Ok(file) => file,
            Err(Errno::NOENT) => return Ok(false),
            Err(errno) => return Err(self.error("open", name)(errno.into())),
        };
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            // While it is ours under this name, nobody can hold another under it.
            Ok(()) if self.is_named(&file.into(), name) => self.remove(name).map(|()| true),
            Ok(()) => Ok(false),
            Err(Errno::AGAIN) => Ok(false),
            Err(errno) => Err(self.error("lock", name)(io::Error::from(errno))),
        }
    }
}
