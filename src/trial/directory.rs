//! A directory for one trial, which goes with it.

use std::fs::{self, DirBuilder};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::StatVfsMountFlags;

use super::signals::Held;

/// Open to all, since the container may be of another user; but nobody else can make it before us.
const OPEN: u32 = 0o755;

/// Lets all look into a directory of ours, whatever the caller's umask.
pub(super) fn open(path: &Path) -> io::Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(OPEN))
}

/// A new directory, which is removed with all that is in it when this is dropped. Signals that would end us before that
/// wait.
pub(super) struct Directory {
    path: PathBuf,
    // Dropped last.
    signals: Held,
}

impl Directory {
    /// Made where programs may be executed, which /tmp may forbid, and where the caller may write, which his TMPDIR may
    /// not allow: the first place that does.
    pub(super) fn new() -> io::Result<Self> {
        let places = [
            std::env::temp_dir(),
            "/tmp".into(),
            "/var/tmp".into(),
            "/run".into(),
        ];
        let run = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
        let executable = |place: &PathBuf| {
            rustix::fs::statvfs(place.as_path())
                .is_ok_and(|it| !it.f_flag.contains(StatVfsMountFlags::NOEXEC))
        };
        let mut first = None;
        for place in places.into_iter().chain(run).filter(executable) {
            match Self::within(&place) {
                Ok(directory) => return Ok(directory),
                Err(error) => first.get_or_insert(error),
            };
        }
        let none = "no directory for temporary files (TMPDIR) allows programs to be executed";
        Err(first.unwrap_or_else(|| io::Error::other(none)))
    }

    fn within(place: &Path) -> io::Result<Self> {
        let signals = Held::new()?;
        for number in 0..1000 {
            let path = place.join(format!("wrun-trial-{}-{number}", std::process::id()));
            match DirBuilder::new().mode(OPEN).create(&path) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
                Ok(()) => {
                    let made = Self { path, signals };
                    open(made.path())?;
                    return Ok(made);
                }
            }
        }
        Err(ErrorKind::AlreadyExists.into())
    }

    pub(super) const fn signals(&self) -> &Held {
        &self.signals
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path); // It is in a place that the machine cleans up by itself.
    }
}
