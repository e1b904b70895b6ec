//! Making the container's process: one clone3(2) into its new namespaces and cgroup.
//!
//! Joined namespaces are entered by the child itself, except for two kinds that the kernel gives only to
//! children: a pid namespace is set on the parent for the moment of the clone. An intermediate process appears
//! only where a user namespace is joined and others are to be made or entered as its owner: they must be made
//! by a process that is in it.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::sched::CloneFlags;
use nix::unistd::Pid;
use rustix::process::{WaitId, WaitIdOptions};

use super::protocol::{Channel, ChannelError, Message};
use crate::cgroup::Entry;
use crate::plan::namespaces::{Kind, Namespaces};
use crate::sys::clone::{CLONE_PARENT, Cloned, clone3};

/// Why no process could be made.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    #[error("cannot open namespace {path}")]
    Open { path: PathBuf, source: io::Error },
    #[error("{path} is not a {kind:?} namespace")]
    WrongKind { path: PathBuf, kind: Kind },
    #[error("cannot join the container's {0} namespace")]
    Join(&'static str, #[source] io::Error),
    #[error("cannot make a process in new namespaces ({0})")]
    Clone(String, #[source] io::Error),
    #[error("the process that enters the user namespace failed")]
    Intermediate(#[source] ChannelError),
    #[error("the process that enters the user namespace failed: {0}")]
    IntermediateSaid(String),
    #[error("cannot enter the container's cgroup")]
    Cgroup(#[source] io::Error),
}

/// Namespaces to join.
#[derive(Debug)]
pub enum Join {
    /// By descriptors of paths in config.json, in the order of joining.
    Paths(Vec<(Kind, OwnedFd)>),
    /// Those of a running process, all at once.
    Process { pidfd: OwnedFd, kinds: Vec<Kind> },
}

impl Join {
    /// Opens the paths of a plan and checks that each is what it is said to be.
    pub fn open(namespaces: &Namespaces) -> Result<Self, SpawnError> {
        let mut joined = Vec::new();
        for kind in Kind::ALL {
            if let Some(path) = namespaces.joins(kind) {
                joined.push((kind, open(kind, path)?));
            }
        }
        Ok(Self::Paths(joined))
    }

    fn has(&self, kind: Kind) -> bool {
        match self {
            Self::Paths(paths) => paths.iter().any(|(joined, _)| *joined == kind),
            Self::Process { kinds, .. } => kinds.contains(&kind),
        }
    }

    /// Enters those that `wanted` picks.
    pub fn enter(&self, wanted: impl Fn(Kind) -> bool) -> Result<(), SpawnError> {
        match self {
            Self::Paths(paths) => {
                for (kind, fd) in paths.iter().filter(|(kind, _)| wanted(*kind)) {
                    setns(fd.as_fd(), kind.flag(), kind.link())?;
                }
                Ok(())
            }
            Self::Process { pidfd, kinds } => {
                let flags = kinds
                    .iter()
                    .filter(|kind| wanted(**kind))
                    .fold(0, |flags, kind| flags | kind.flag());
                if flags == 0 {
                    Ok(())
                } else {
                    setns(pidfd.as_fd(), flags, "own")
                }
            }
        }
    }

    /// Descriptors that the child must keep until it has joined.
    pub fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        match self {
            Self::Paths(paths) => paths.iter().map(|(_, fd)| fd.as_fd()).collect(),
            Self::Process { pidfd, .. } => vec![pidfd.as_fd()],
        }
    }
}

fn open(kind: Kind, path: &Path) -> Result<OwnedFd, SpawnError> {
    let file = File::open(path).map_err(|source| SpawnError::Open {
        path: path.to_owned(),
        source,
    })?;
    // setns(2) checks it too, but this error names the path.
    match crate::sys::namespace::kind(file.as_fd()) {
        Ok(found) if found == kind.flag() => Ok(file.into()),
        _ => Err(SpawnError::WrongKind {
            path: path.to_owned(),
            kind,
        }),
    }
}

fn setns(fd: BorrowedFd<'_>, flags: u64, name: &'static str) -> Result<(), SpawnError> {
    nix::sched::setns(fd, CloneFlags::from_bits_retain(flags as i32))
        .map_err(|error| SpawnError::Join(name, error.into()))
}

/// Which side one is on after [`spawn`].
pub enum Side {
    Parent {
        pid: Pid,
        pidfd: OwnedFd,
    },
    /// In the new namespaces; what is still to be entered, [`enter_rest`] does.
    Child,
}

/// The kinds that clone3(2) makes new. A cgroup namespace takes the cgroup of the process that makes it as
/// its root, so the child makes that one itself, when it is where it belongs; a time namespace must get its
/// offsets before anybody is in it.
fn made_by_clone(new: &[Kind]) -> u64 {
    new.iter()
        .filter(|kind| !matches!(kind, Kind::Cgroup | Kind::Time))
        .fold(0, |flags, kind| flags | kind.flag())
}

/// Makes the process. The child returns too.
pub fn spawn(
    new: &[Kind],
    join: &Join,
    entry: &Entry,
    channel: (&Channel, &Channel),
) -> Result<Side, SpawnError> {
    let cgroup = entry.clone_into();
    if join.has(Kind::User) && (made_by_clone(new) != 0 || join.has(Kind::Pid)) {
        return through_user_namespace(new, join, entry, cgroup, channel);
    }
    let parent_namespace = join.has(Kind::Pid).then(|| own("pid")).transpose()?;
    join.enter(|kind| kind == Kind::Pid)?;
    let cloned = clone(made_by_clone(new), cgroup);
    match cloned? {
        Cloned::Child => {
            entry.enter().map_err(SpawnError::Cgroup)?;
            Ok(Side::Child)
        }
        Cloned::Parent { pid, pidfd } => {
            if let Some(own) = parent_namespace {
                setns(own.as_fd(), Kind::Pid.flag(), "pid")?;
            }
            Ok(Side::Parent { pid, pidfd })
        }
    }
}

fn own(link: &str) -> Result<OwnedFd, SpawnError> {
    let path = PathBuf::from("/proc/self/ns").join(link);
    File::open(&path)
        .map(OwnedFd::from)
        .map_err(|source| SpawnError::Open { path, source })
}

fn clone(flags: u64, cgroup: Option<BorrowedFd<'_>>) -> Result<Cloned, SpawnError> {
    clone3(flags, cgroup).map_err(|source| {
        let kinds: Vec<&str> = Kind::ALL
            .iter()
            .filter(|kind| flags & kind.flag() != 0)
            .map(|kind| kind.link())
            .collect();
        SpawnError::Clone(kinds.join(", "), source)
    })
}

/// The intermediate process: enters the user namespace and all joined ones, and makes the real process as a
/// child of our parent.
fn through_user_namespace(
    new: &[Kind],
    join: &Join,
    entry: &Entry,
    cgroup: Option<BorrowedFd<'_>>,
    (parent_end, child_end): (&Channel, &Channel),
) -> Result<Side, SpawnError> {
    match clone(0, cgroup)? {
        Cloned::Child => {
            let made = entry.enter().map_err(SpawnError::Cgroup).and_then(|()| {
                join.enter(|kind| kind != Kind::Mount)?;
                clone(made_by_clone(new) | CLONE_PARENT, None)
            });
            let told = match made {
                Ok(Cloned::Child) => return Ok(Side::Child),
                Ok(Cloned::Parent { pid, pidfd }) => {
                    child_end.send_with(&Message::Cloned { pid: pid.as_raw() }, pidfd.as_fd())
                }
                Err(error) => child_end.send(&Message::Failed { error: chain(&error) }),
            };
            // Where the parent cannot be told, it is dead, and the real process ends by itself.
            std::process::exit(if told.is_ok() { 0 } else { 1 })
        }
        Cloned::Parent { pidfd, .. } => {
            let answer = parent_end.receive().map_err(SpawnError::Intermediate);
            rustix::process::waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED)
                .map_err(|error| SpawnError::Intermediate(ChannelError::Io(error.into())))?;
            match answer? {
                // The pid is as the intermediate process sees it: it stayed in our pid namespace.
                (Message::Cloned { pid }, Some(pidfd)) => Ok(Side::Parent {
                    pid: Pid::from_raw(pid),
                    pidfd,
                }),
                (Message::Failed { error }, _) => Err(SpawnError::IntermediateSaid(error)),
                (other, _) => Err(SpawnError::Intermediate(ChannelError::Unexpected(format!(
                    "{other:?}"
                )))),
            }
        }
    }
}

/// An error with its causes, on one line, each said once.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.ends_with(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    text
}

/// What a child enters after the clone: what it joins (unless an intermediate process did) and its own time
/// and cgroup namespaces are made by the caller in its own order.
pub fn enter_rest(join: &Join, new: &[Kind]) -> Result<(), SpawnError> {
    let intermediate = join.has(Kind::User) && (made_by_clone(new) != 0 || join.has(Kind::Pid));
    join.enter(|kind| {
        if intermediate {
            kind == Kind::Mount
        } else {
            kind != Kind::Pid
        }
    })
}
