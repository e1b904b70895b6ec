//! Standard streams that are the host's /dev/null become the container's own: then no mount of the host stays open
//! in the container, root in it cannot change the host's device by its descriptor, and CRIU, which finds every open file
//! in the container's mounts, can dump it. As in runc, and unlike it for added processes too.
//!
//! A container that has no such device must gain nothing by that: its streams become the host's, lent by the parent
//! through a read-only mount.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{FileType, OFlags};

use super::init::{InitError, step};
use super::protocol::{Channel, ChannelError, Message};
use crate::rootfs::resolve;

/// Opens the null device of the container below `root` in the place of each standard stream that is one, or else the one
/// that the parent lends.
///
/// # Errors
/// A device that cannot be lent: the streams are the host's still.
pub(super) fn use_own_null(root: BorrowedFd<'_>, channel: &Channel) -> Result<(), InitError> {
    let streams = [0, 1, 2].map(|number| (number, is_null(number)));
    if streams.iter().all(|(_, null)| !null) {
        return Ok(());
    }
    let null = match own(root) {
        Ok(Some(null)) => null,
        // Missing, something else or not to be opened: what the container has made of its device must keep no one from
        // a look inside, and leave no descriptor of the host's there.
        Ok(None) | Err(_) => match lent(channel)? {
            Some(null) => null,
            None => return Ok(()),
        },
    };
    for (number, _) in streams.into_iter().filter(|(_, null)| *null) {
        match number {
            0 => nix::unistd::dup2_stdin(&null),
            1 => nix::unistd::dup2_stdout(&null),
            _ => nix::unistd::dup2_stderr(&null),
        }
        .map_err(step("replace a standard stream"))?;
    }
    Ok(())
}

/// The container's null device, if it has one.
fn own(root: BorrowedFd<'_>) -> io::Result<Option<OwnedFd>> {
    let path = Path::new("/dev/null");
    // Looked at first: to open something else may have effects.
    if !null_device(resolve::locate(root, path)?)? {
        return Ok(None);
    }
    let own = resolve::open(root, path, OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK)?;
    if !null_device(&own)? {
        return Ok(None);
    }
    rustix::fs::fcntl_setfl(&own, OFlags::empty())?;
    Ok(Some(own))
}

/// The host's, from the parent; `None` where nobody in the container could change it anyway.
fn lent(channel: &Channel) -> Result<Option<OwnedFd>, InitError> {
    channel.send(&Message::Null)?;
    match channel.receive()? {
        (Message::Null, null) => Ok(null),
        (other, _) => Err(ChannelError::Unexpected(format!("{other:?}")).into()),
    }
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
