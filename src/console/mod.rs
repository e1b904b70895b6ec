//! The container's terminal: made from its own devpts, bound on /dev/console, given to whoever asked for it.
//!
//! Nothing is opened through a path of the container that it could have swapped: the master comes from the
//! devpts mount that we made, the slave from the master (`TIOCGPTPEER`), and /dev/console is covered by
//! descriptor (CVE-2025-52565).

mod relay;

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::mount::{MoveMountFlags, OpenTreeFlags};
use rustix::pty::OpenptFlags;
use rustix::termios::Winsize;

pub use relay::{Relay, Waited, Watched, copy_size, keep_line_ends, reap};

use crate::plan::process::ConsoleSize;

/// `DEVPTS_SUPER_MAGIC` of statfs(2).
const DEVPTS_MAGIC: i64 = 0x1cd1;

#[derive(Debug, thiserror::Error)]
pub enum ConsoleError {
    #[error("terminal: cannot {0}")]
    Terminal(&'static str, #[source] io::Error),
    #[error(
        "terminal: /dev/ptmx of the container is not a pseudo-terminal multiplexer; mount devpts on /dev/pts"
    )]
    NotPtmx,
    #[error("console socket {path}: cannot {action}")]
    Socket {
        path: PathBuf,
        action: &'static str,
        source: io::Error,
    },
}

fn fail<E: Into<io::Error>>(action: &'static str) -> impl FnOnce(E) -> ConsoleError {
    move |source| ConsoleError::Terminal(action, source.into())
}

/// A new pseudo-terminal of the container.
#[derive(Debug)]
pub struct Terminal {
    pub master: OwnedFd,
    slave: OwnedFd,
}

impl Terminal {
    /// Opens one in the container's devpts.
    ///
    /// `ptmx` is a descriptor of the container's multiplexer, for whatever access: `/ptmx` of a devpts that we
    /// mounted, or what /dev/ptmx of the container leads to. It is checked before it is opened.
    pub fn open(directory: BorrowedFd<'_>, name: &OsStr) -> Result<Self, ConsoleError> {
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let master = rustix::fs::openat(directory, name, flags, Mode::empty())
            .map_err(fail("open the multiplexer"))?;
        let stat = rustix::fs::fstat(&master).map_err(fail("examine the multiplexer"))?;
        let filesystem = rustix::fs::fstatfs(&master).map_err(fail("examine the multiplexer"))?;
        let is_ptmx = stat.st_rdev == rustix::fs::makedev(5, 2);
        if !is_ptmx || filesystem.f_type != DEVPTS_MAGIC {
            return Err(ConsoleError::NotPtmx);
        }
        rustix::pty::unlockpt(&master).map_err(fail("unlock the terminal"))?;
        let peer = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let slave =
            rustix::pty::ioctl_tiocgptpeer(&master, peer).map_err(fail("open the terminal's other end"))?;
        Ok(Self { master, slave })
    }

    /// Gives the terminal to the user of the process.
    pub fn give_to(&self, uid: u32, gid: Option<u32>) -> Result<(), ConsoleError> {
        let owner = rustix::fs::Uid::from_raw(uid);
        rustix::fs::fchown(&self.slave, Some(owner), gid.map(rustix::fs::Gid::from_raw))
            .map_err(fail("change the terminal's owner"))
    }

    pub fn set_size(&self, size: ConsoleSize) -> Result<(), ConsoleError> {
        let size = Winsize {
            ws_row: size.height,
            ws_col: size.width,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        rustix::termios::tcsetwinsize(&self.slave, size).map_err(fail("set the terminal's size"))
    }

    /// Covers `place`, the container's /dev/console opened with `O_PATH`, with the terminal.
    pub fn cover(&self, place: BorrowedFd<'_>) -> Result<(), ConsoleError> {
        let flags =
            OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
        let clone = rustix::mount::open_tree(&self.slave, "", flags)
            .map_err(fail("clone the terminal for /dev/console"))?;
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
        rustix::mount::move_mount(&clone, "", place, "", flags)
            .map_err(fail("mount the terminal on /dev/console"))
    }

    /// Makes it the controlling terminal of the calling process, a session leader, and its standard streams.
    pub fn take(&self) -> Result<(), ConsoleError> {
        rustix::process::ioctl_tiocsctty(&self.slave).map_err(fail("become the terminal's session"))?;
        nix::unistd::dup2_stdin(&self.slave).map_err(fail("make the terminal the standard input"))?;
        nix::unistd::dup2_stdout(&self.slave).map_err(fail("make the terminal the standard output"))?;
        nix::unistd::dup2_stderr(&self.slave).map_err(fail("make the terminal the standard error"))
    }
}

/// The socket at which an engine waits for the terminal's master (`--console-socket`).
#[derive(Debug)]
pub struct ConsoleSocket {
    path: PathBuf,
    stream: UnixStream,
}

impl ConsoleSocket {
    /// Connects early, so that a wrong path fails before anything is made.
    pub fn connect(path: &Path) -> Result<Self, ConsoleError> {
        let stream = UnixStream::connect(path).map_err(|source| ConsoleError::Socket {
            path: path.to_owned(),
            action: "connect",
            source,
        })?;
        Ok(Self {
            path: path.to_owned(),
            stream,
        })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl AsFd for ConsoleSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}
