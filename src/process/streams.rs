//! Standard streams that are the host's /dev/null become the container's own: then no mount of the host stays open
//! in the container, root in it cannot change the host's device by its descriptor, and CRIU, which finds every open file
//! in the container's mounts, can dump it. As in runc, and unlike it for added processes too.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use rustix::fs::{FileType, OFlags};

use crate::rootfs::resolve;

/// Opens the null device of the container below `root` in the place of each standard stream that is one. Where the
/// container has none, or something else under its name, the streams stay what they are.
///
/// # Errors
/// A device that cannot be opened.
pub(super) fn use_own_null(root: BorrowedFd<'_>) -> io::Result<()> {
    let streams = [0, 1, 2].map(|number| (number, is_null(number)));
    if streams.iter().all(|(_, null)| !null) {
        return Ok(());
    }
    let path = Path::new("/dev/null");
    match resolve::locate(root, path) {
        Ok(found) if null_device(&found)? => {}
        Ok(_) => return Ok(()),
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR)) => return Ok(()),
        Err(error) => return Err(error),
    }
    let own = resolve::open(root, path, OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK)?;
    if !null_device(&own)? {
        return Ok(());
    }
    rustix::fs::fcntl_setfl(&own, OFlags::empty())?;
    for (number, _) in streams.into_iter().filter(|(_, null)| *null) {
        match number {
            0 => nix::unistd::dup2_stdin(&own)?,
            1 => nix::unistd::dup2_stdout(&own)?,
            _ => nix::unistd::dup2_stderr(&own)?,
        }
    }
    Ok(())
}

/// Whether a standard stream is open and the null device.
fn is_null(number: u8) -> bool {
    let stream: &dyn AsFd = match number {
        0 => &io::stdin(),
        1 => &io::stdout(),
        _ => &io::stderr(),
    };
    null_device(stream.as_fd()).unwrap_or(false)
}

fn null_device(fd: impl AsFd) -> io::Result<bool> {
    let stat = rustix::fs::fstat(fd)?;
    let device = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice;
    Ok(device && stat.st_rdev == rustix::fs::makedev(1, 3))
}
