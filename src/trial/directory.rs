//! A directory for one trial, which goes with it.

use std::fs::{self, DirBuilder};
use std::io::{self, ErrorKind};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::StatVfsMountFlags;

/// A new directory, which is removed with all that is in it when this is dropped.
pub(super) struct Directory {
    path: PathBuf,
}

impl Directory {
    /// Made where programs may be executed, which /tmp may forbid.
    pub(super) fn new() -> io::Result<Self> {
        let places = [std::env::temp_dir(), "/var/tmp".into(), "/run".into()];
        let executable = |place: &&PathBuf| {
            rustix::fs::statvfs(place.as_path())
                .is_ok_and(|it| !it.f_flag.contains(StatVfsMountFlags::NOEXEC))
        };
        let place = places.iter().find(executable).unwrap_or(&places[0]);
        for number in 0..1000 {
            let path = place.join(format!("wrun-trial-{}-{number}", std::process::id()));
            // Open to all, since the container may be of another user; but nobody else can make it before us.
            match DirBuilder::new().mode(0o755).create(&path) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                result => return result.map(|()| Self { path }),
            }
        }
        Err(ErrorKind::AlreadyExists.into())
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
