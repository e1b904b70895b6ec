//! Namespaces that a process joins: opened by the parent, entered by whoever has the right to.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};

use nix::sched::CloneFlags;

use crate::plan::namespaces::{Kind, Namespaces};

/// Why a namespace could not be joined.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    #[error("cannot open namespace {path}")]
    Open { path: PathBuf, source: io::Error },
    #[error("{path} is not a {kind:?} namespace")]
    WrongKind { path: PathBuf, kind: Kind },
    #[error("cannot join the container's {0} namespace")]
    Enter(&'static str, #[source] io::Error),
}

/// Namespaces to join.
#[derive(Debug)]
pub enum Join {
    /// By descriptors of paths in config.json, in the order of [`Kind::ALL`].
    Paths(Vec<(Kind, OwnedFd)>),
    /// Those of a running process, all at once; but for its mount namespace where that is given as well, see
    /// [`mount_namespace`].
    Process {
        pidfd: OwnedFd,
        kinds: Vec<Kind>,
        mount: Option<OwnedFd>,
    },
}

impl Join {
    /// Opens the paths of a plan and checks that each is what it is said to be.
    pub fn open(namespaces: &Namespaces) -> Result<Self, JoinError> {
        let mut joined = Vec::new();
        for kind in Kind::ALL {
            if let Some(path) = namespaces.joins(kind) {
                joined.push((kind, open(kind, path)?));
            }
        }
        Ok(Self::Paths(joined))
    }

    pub fn has(&self, kind: Kind) -> bool {
        match self {
            Self::Paths(paths) => paths.iter().any(|(joined, _)| *joined == kind),
            Self::Process { kinds, .. } => kinds.contains(&kind),
        }
    }

    /// Whether they are those of a running process.
    pub fn is_of_a_process(&self) -> bool {
        matches!(self, Self::Process { .. })
    }

    /// The descriptor of a joined path.
    pub fn path(&self, kind: Kind) -> Option<BorrowedFd<'_>> {
        match self {
            Self::Paths(paths) => paths
                .iter()
                .find(|(joined, _)| *joined == kind)
                .map(|(_, fd)| fd.as_fd()),
            Self::Process { .. } => None,
        }
    }

    /// Enters those that `wanted` picks.
    ///
    /// Of paths, those that belong to the host come first, with the host's rights, and then the user namespace
    /// and what only its root may enter. For a process the kernel does the same in one call.
    pub fn enter(&self, wanted: impl Fn(Kind) -> bool) -> Result<(), JoinError> {
        let paths = match self {
            Self::Process { pidfd, kinds, mount } => {
                let by_itself = mount.as_ref().filter(|_| wanted(Kind::Mount));
                let flags = kinds
                    .iter()
                    .filter(|kind| wanted(**kind) && (by_itself.is_none() || **kind != Kind::Mount))
                    .fold(0, |all, kind| all | kind.flag());
                if flags != 0 {
                    setns(pidfd.as_fd(), flags, "own")?;
                }
                return by_itself.map_or(Ok(()), |mount| {
                    setns(mount.as_fd(), Kind::Mount.flag(), Kind::Mount.link())
                });
            }
            Self::Paths(paths) => paths,
        };
        let enter = |kind: Kind, fd: &OwnedFd| setns(fd.as_fd(), kind.flag(), kind.link());
        let mut later = Vec::new();
        let mut mount = None;
        for (kind, fd) in paths.iter().filter(|(kind, _)| wanted(*kind)) {
            match kind {
                Kind::User => {}
                // Last of all: after it our own paths are gone.
                Kind::Mount => mount = Some(fd),
                _ => match enter(*kind, fd) {
                    Err(JoinError::Enter(_, error)) if error.raw_os_error() == Some(libc::EPERM) => {
                        later.push((*kind, fd));
                    }
                    result => result?,
                },
            }
        }
        if let Some((kind, fd)) = paths
            .iter()
            .find(|(kind, _)| *kind == Kind::User && wanted(Kind::User))
        {
            enter(*kind, fd)?;
        }
        later.into_iter().try_for_each(|(kind, fd)| enter(kind, fd))?;
        mount.map_or(Ok(()), |fd| enter(Kind::Mount, fd))
    }

    /// Descriptors that the child must keep until it has joined.
    pub fn descriptors(&self) -> Vec<RawFd> {
        match self {
            Self::Paths(paths) => paths.iter().map(|(_, fd)| fd.as_raw_fd()).collect(),
            Self::Process { pidfd, mount, .. } => {
                let mount = mount.iter().map(AsRawFd::as_raw_fd);
                mount.chain([pidfd.as_raw_fd()]).collect()
            }
        }
    }
}

/// The mount namespace of the process behind a pidfd, opened with the rights that we have now.
///
/// The kernel lets nobody enter the namespaces of a process by its pidfd who may not look into it, and from a user
/// namespace nobody may look into a Wasm guest's: that never executed anything, so its memory belongs to where we
/// come from. The mount namespace is entered last, out of the container's user namespace.
///
/// # Errors
/// As of open(2): `EACCES` for a caller without rights on the host, of a process that is a guest's. `ESRCH` where
/// it is gone.
pub fn mount_namespace(pidfd: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let about = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd()))?;
    let gone = || io::Error::from_raw_os_error(libc::ESRCH);
    let pid: i32 = about
        .lines()
        .find_map(|line| line.strip_prefix("Pid:")?.trim().parse().ok())
        .filter(|pid| *pid > 0)
        .ok_or_else(gone)?;
    let namespace = File::open(format!("/proc/{pid}/ns/mnt"))?;
    // While it lives no other process has its number, so what was opened is its own.
    crate::sys::pidfd::send_signal(pidfd, 0)?;
    Ok(namespace.into())
}

/// The parent's stay in namespaces in which its child is to be born.
pub struct Visit {
    home: Vec<(Kind, OwnedFd)>,
}

impl Visit {
    /// Enters the kinds of `join` that `wanted` picks.
    pub fn begin(join: &Join, wanted: impl Fn(Kind) -> bool) -> Result<Self, JoinError> {
        let mut home = Vec::new();
        for kind in Kind::ALL
            .into_iter()
            .filter(|kind| join.has(*kind) && wanted(*kind))
        {
            home.push((kind, open(kind, &Path::new("/proc/self/ns").join(kind.link()))?));
        }
        let visit = Self { home };
        match join.enter(wanted) {
            Ok(()) => Ok(visit),
            Err(error) => {
                visit.end()?;
                Err(error)
            }
        }
    }

    /// Goes back to our own.
    pub fn end(self) -> Result<(), JoinError> {
        self.home
            .iter()
            .try_for_each(|(kind, fd)| setns(fd.as_fd(), kind.flag(), kind.link()))
    }
}

fn open(kind: Kind, path: &Path) -> Result<OwnedFd, JoinError> {
    let file = File::open(path).map_err(|source| JoinError::Open {
        path: path.to_owned(),
        source,
    })?;
    // setns(2) checks it too, but this error names the path.
    match crate::sys::namespace::kind(file.as_fd()) {
        Ok(found) if found == kind.flag() => Ok(file.into()),
        _ => Err(JoinError::WrongKind {
            path: path.to_owned(),
            kind,
        }),
    }
}

fn setns(fd: BorrowedFd<'_>, flags: u64, name: &'static str) -> Result<(), JoinError> {
    nix::sched::setns(fd, CloneFlags::from_bits_retain(flags as i32))
        .map_err(|error| JoinError::Enter(name, error.into()))
}
