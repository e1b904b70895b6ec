//! Making the container's process: one clone3(2) into its new namespaces and cgroup.
//!
//! Joined namespaces are entered by the child itself, with two exceptions that the kernel demands. A pid
//! namespace is given to children only, and from a new user namespace none of the host's can be joined: there
//! the parent visits them for the moment of the clone. And where a user namespace is joined and others are to
//! be made, or a pid namespace entered, as its root, an intermediate process goes there and makes the real one.
//! So it does for a rootless caller who joins a pid namespace: his own may belong to a user namespace above his
//! (Podman's users), and then there is no way back from the visit.
//!
//! And so it does for all that join the pid namespace of a running container: whoever is born there is in sight of the
//! container's processes at once, and one of them that may trace others can take over what he holds. So the intermediate
//! process closes what is the host's and enters all other namespaces before; the real one has never seen the host. It does
//! have our capabilities until it is confined, and a process that may trace it has the use of them for that moment; so has
//! one in a pid namespace that a new container joins by its path, where the first process sees the host until its pivot.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::PathBuf;

use nix::unistd::Pid;
use rustix::process::{WaitId, WaitIdOptions};

use super::join::{Join, JoinError, Visit};
use super::protocol::{Channel, ChannelError, Message};
use crate::cgroup::Entry;
use crate::plan::namespaces::Kind;
use crate::sys::clone::{CLONE_PARENT, Cloned, clone3};

/// Why no process could be made.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    #[error(transparent)]
    Join(#[from] JoinError),
    #[error("cannot make a process in new namespaces ({0})")]
    Clone(String, #[source] io::Error),
    #[error("error adding pid of the new process to cgroups {}/cgroup.procs", .0.display())]
    Busy(PathBuf, #[source] io::Error),
    #[error("the process that enters the namespaces failed")]
    Intermediate(#[source] ChannelError),
    #[error("the process that enters the namespaces failed: {0}")]
    IntermediateSaid(String),
    #[error("cannot enter the container's cgroup")]
    Cgroup(#[source] io::Error),
    #[error("cannot {0}")]
    Step(&'static str, #[source] io::Error),
}

/// How a process is made.
pub struct Spawn<'a> {
    /// Kinds of namespace that it gets new.
    pub new: &'a [Kind],
    pub join: &'a Join,
    /// We lack the rights of root on the host.
    pub rootless: bool,
    pub entry: &'a Entry,
    /// Descriptors that it keeps, besides those for joining; all others of ours are closed at once.
    pub keep: Vec<RawFd>,
    /// What the process does before it enters what its parent does not enter for it.
    pub first: &'a dyn Fn() -> Result<(), SpawnError>,
}

/// Which side one is on after [`Spawn::go`].
pub enum Side {
    Parent {
        pid: Pid,
        pidfd: OwnedFd,
        /// To be waited for once the other has what it needs to go on.
        intermediate: Intermediate,
    },
    /// In the new namespaces; what is still to be entered, [`Spawn::enter_rest`] does.
    Child,
}

/// The process that made the real one, if there was one: it has nothing left to do but to end.
#[must_use]
pub struct Intermediate(Option<OwnedFd>);

impl Intermediate {
    /// Waits for its end.
    pub fn reap(self) -> Result<(), SpawnError> {
        self.0.as_ref().map_or(Ok(()), reap)
    }
}

fn reap(pidfd: &OwnedFd) -> Result<(), SpawnError> {
    rustix::process::waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED)
        .map(|_| ())
        .map_err(|error| SpawnError::Intermediate(ChannelError::Io(error.into())))
}

/// The kinds that clone3(2) makes new. A cgroup namespace takes the cgroup of the process that makes it as
/// its root, so the child makes that one itself, when it is where it belongs; a time namespace must get its
/// offsets before anybody is in it.
fn made_by_clone(new: &[Kind]) -> u64 {
    new.iter()
        .filter(|kind| !matches!(kind, Kind::Cgroup | Kind::Time))
        .fold(0, |flags, kind| flags | kind.flag())
}

impl Spawn<'_> {
    /// Makes the process. The child returns too. `ours` and `theirs` are the ends of their conversation.
    pub fn go(&self, ours: &Channel, theirs: &Channel) -> Result<Side, SpawnError> {
        if self.needs_intermediate() {
            return self.through_intermediate(ours, theirs);
        }
        let visit = Visit::begin(self.join, |kind| self.parent_enters(kind))?;
        let cloned = clone(made_by_clone(self.new), self.entry.clone_into());
        if matches!(cloned, Ok(Cloned::Child)) {
            // Now, since `begin` closes the descriptors it holds, whose numbers others may have afterwards.
            drop(visit);
        } else {
            visit.end()?;
        }
        match cloned? {
            Cloned::Child => match self.begin(theirs) {
                Ok(()) => Ok(Side::Child),
                // Returned, it would run the parent's clean-up a second time.
                Err(error) => fail(theirs, &error),
            },
            Cloned::Parent { pid, pidfd } => Ok(Side::Parent {
                pid,
                pidfd,
                intermediate: Intermediate(None),
            }),
        }
    }

    fn needs_intermediate(&self) -> bool {
        let pid = self.join.has(Kind::Pid);
        self.join.has(Kind::User) && (made_by_clone(self.new) != 0 || pid)
            || pid && (self.rootless || self.join.is_of_a_process())
    }

    fn parent_enters(&self, kind: Kind) -> bool {
        if self.new.contains(&Kind::User) {
            kind != Kind::Mount
        } else {
            kind == Kind::Pid
        }
    }

    /// The first steps of every process made here: it is a copy of its parent, which no container may get at.
    fn begin(&self, theirs: &Channel) -> Result<(), SpawnError> {
        self.entry.enter().map_err(SpawnError::Cgroup)?;
        self.close_all_but(theirs, self.join.descriptors())?;
        (self.first)()
    }

    fn close_all_but(&self, theirs: &Channel, others: Vec<RawFd>) -> Result<(), SpawnError> {
        let mut keep = self.keep.clone();
        keep.push(theirs.as_fd().as_raw_fd());
        keep.extend(others);
        crate::sys::exec::close_all_but(&keep)
            .map_err(|error| SpawnError::Step("close the host's descriptors", error))
    }

    /// What the child still has to enter: its own time and cgroup namespaces are made by the caller, in its own
    /// order.
    pub fn enter_rest(&self) -> Result<(), JoinError> {
        self.join.enter(|kind| match kind {
            Kind::Mount => !(self.needs_intermediate() && self.join.is_of_a_process()),
            _ => !self.needs_intermediate() && !self.parent_enters(kind),
        })
    }

    /// The intermediate process: enters all joined namespaces, but for the mount namespace of a path, and makes the real process as a
    /// child of our parent.
    fn through_intermediate(&self, ours: &Channel, theirs: &Channel) -> Result<Side, SpawnError> {
        match clone(0, self.entry.clone_into())? {
            Cloned::Child => {
                let made = self.begin(theirs).and_then(|()| {
                    if self.join.is_of_a_process() {
                        self.join.enter(|_| true)?;
                        self.close_all_but(theirs, Vec::new())?;
                    } else {
                        self.join.enter(|kind| kind != Kind::Mount)?;
                    }
                    clone(made_by_clone(self.new) | CLONE_PARENT, None)
                });
                match made {
                    Ok(Cloned::Child) => Ok(Side::Child),
                    Ok(Cloned::Parent { pid, pidfd }) => {
                        let told = theirs.send_with(&Message::Cloned { pid: pid.as_raw() }, pidfd.as_fd());
                        // Where the parent cannot be told, it is dead, and the real process ends by itself.
                        std::process::exit(if told.is_ok() { 0 } else { 1 })
                    }
                    Err(error) => fail(theirs, &error),
                }
            }
            Cloned::Parent {
                pidfd: intermediate, ..
            } => {
                let answer = ours.receive().map_err(SpawnError::Intermediate);
                // The pid is as the intermediate process sees it: it stayed in our pid namespace.
                if let Ok((Message::Cloned { pid }, Some(pidfd))) = answer {
                    return Ok(Side::Parent {
                        pid: Pid::from_raw(pid),
                        pidfd,
                        intermediate: Intermediate(Some(intermediate)),
                    });
                }
                reap(&intermediate)?;
                match answer? {
                    (Message::Failed { error }, _) => Err(SpawnError::IntermediateSaid(error)),
                    (other, _) => Err(SpawnError::Intermediate(ChannelError::Unexpected(format!(
                        "{other:?}"
                    )))),
                }
            }
        }
    }
}

/// The end of a child that came to nothing.
fn fail(theirs: &Channel, error: &SpawnError) -> ! {
    // Where the parent is gone there is nobody to tell.
    let _ = theirs.send(&Message::Failed {
        error: crate::reason::chain(error),
    });
    std::process::exit(1)
}

fn clone(flags: u64, cgroup: Option<BorrowedFd<'_>>) -> Result<Cloned, SpawnError> {
    clone3(flags, cgroup).map_err(|source| {
        if let (Some(cgroup), Some(libc::EBUSY)) = (cgroup, source.raw_os_error()) {
            // Only for the error's text: the kernel knows the directory by its descriptor.
            let path = std::fs::read_link(format!("/proc/self/fd/{}", cgroup.as_raw_fd()));
            return SpawnError::Busy(path.unwrap_or_default(), source);
        }
        let kinds: Vec<&str> = Kind::ALL
            .iter()
            .filter(|kind| flags & kind.flag() != 0)
            .map(|kind| kind.link())
            .collect();
        SpawnError::Clone(kinds.join(", "), source)
    })
}
