//! A process of ours that changes the mounts of a container that runs, and ends. It enters the container's user and mount
//! namespaces and no others: not the pid namespace above all, in which the container's processes could get at it, with the
//! host's rights and descriptors that it has. It runs nothing of the container's, and stays out of its cgroup, whose
//! limits are not about it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, Mode, OFlags, StatxFlags};
use rustix::process::Signal;

use super::init::{InitError, become_root, step};
use super::join::{self, Join};
use super::protect::undumpable;
use super::protocol::{Channel, ChannelError, Message};
use super::spawn::{Side, Spawn, SpawnError};
use super::{LaunchError, own_proc, userns};
use crate::cgroup::Entry;
use crate::plan::LiveMounts;
use crate::plan::namespaces::Kind;
use crate::reason::chain;
use crate::rootfs::Sources;
use crate::rootfs::live::{Changed, Changer, Known, mount_id};
use crate::state::LiveMount;
use crate::sys::wait::becomes_readable;

/// How long a change may take. The container's paths may lead to file systems of its own (FUSE), which can make whoever
/// looks at them wait without end, while the container's lock is held.
const LIMIT: Duration = Duration::from_secs(30);

/// How long a process that is killed may take to end. One that waits for such a file system may not end before that does.
const END: Duration = Duration::from_secs(1);

/// What is to be done.
pub enum Change<'a> {
    Add(&'a LiveMounts),
    Remove(&'a [PathBuf]),
}

/// The container in which it is to be done.
pub struct Remount<'a> {
    /// Its first process.
    pub init: OwnedFd,
    pub pid: i32,
    /// Kinds in which the container differs from us.
    pub namespaces: &'a [Kind],
    pub rootless: bool,
}

impl Remount<'_> {
    /// Does it, and waits until it is done. `live` is what there is of such mounts, and kept true, also where this fails.
    pub fn carry_out(self, change: &Change<'_>, live: &mut Vec<LiveMount>) -> Result<(), LaunchError> {
        let failed = |action| move |error: io::Error| LaunchError::Step(action, error);
        let (ours, theirs) = Channel::pair().map_err(failed("make a socket pair"))?;
        let own_root = self.own_root().map_err(failed("look at the first process"))?;
        let mut sources = match change {
            Change::Add(plan) => {
                let user_namespace = self.namespaces.contains(&Kind::User);
                Sources::open_binds(&plan.rootfs, user_namespace, &|idmap| {
                    userns::for_mount(idmap, &plan.namespaces)
                })?
            }
            Change::Remove(_) => Sources::default(),
        };
        let join = self.join()?;
        let spawn = Spawn {
            new: &[],
            join: &join,
            rootless: self.rootless,
            entry: &Entry::None,
            keep: sources.descriptors(),
            first: &|| {
                undumpable().map_err(|error| {
                    SpawnError::Step("make this process undumpable", io::Error::other(error))
                })
            },
        };
        match spawn.go(&ours, &theirs)? {
            Side::Child => {
                let done = enter(&spawn, own_root)
                    .and_then(|descriptors| change.make(descriptors, &theirs, &mut sources, live));
                let told = theirs.send(&match &done {
                    Ok(()) => Message::Ready,
                    Err(error) => Message::Failed { error: chain(error) },
                });
                // Where the parent is gone there is nobody to tell.
                std::process::exit(i32::from(done.is_err() || told.is_err()))
            }
            Side::Parent {
                pidfd, intermediate, ..
            } => {
                drop(theirs);
                intermediate.reap()?;
                let answer = follow(&ours, live);
                if !becomes_readable(pidfd.as_fd(), Instant::now() + END).map_err(failed("wait"))? {
                    // Where it is gone there is nobody to end.
                    let _ = rustix::process::pidfd_send_signal(&pidfd, Signal::KILL);
                }
                if becomes_readable(pidfd.as_fd(), Instant::now() + END).map_err(failed("wait"))? {
                    crate::console::reap(pidfd.as_fd()).map_err(failed("wait for our own process"))?;
                }
                answer
            }
        }
    }

    fn join(&self) -> Result<Join, LaunchError> {
        let kinds: Vec<Kind> = [Kind::User, Kind::Mount]
            .into_iter()
            .filter(|kind| self.namespaces.contains(kind))
            .collect();
        let mount = (kinds.len() == 2).then(|| join::mount_namespace(self.init.as_fd()));
        let init = self.init.try_clone();
        Ok(Join::Process {
            mount: mount
                .transpose()
                .map_err(|error| LaunchError::Step("open the mount namespace of the first process", error))?,
            pidfd: init.map_err(|error| LaunchError::Step("copy a descriptor", error))?,
            kinds,
        })
    }

    /// Where the first process is our own executable, which a native program is not once it runs: the mount that is its
    /// root. A Wasm guest has a root of its own, to which no mount can be added.
    fn own_root(&self) -> io::Result<Option<u64>> {
        let theirs = match executable(&PathBuf::from(format!("/proc/{}/exe", self.pid))) {
            Ok(theirs) => theirs,
            // A container that hides it from us runs something else.
            Err(error) if matches!(error.raw_os_error(), Some(libc::EACCES | libc::EPERM)) => {
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        if theirs != executable(Path::new("/proc/self/exe"))? {
            return Ok(None);
        }
        let root = mount_of(&format!("/proc/{}/root", self.pid))?;
        // While it lives no other process has its number.
        crate::sys::pidfd::send_signal(self.init.as_fd(), 0)?;
        Ok(Some(root))
    }
}

impl Change<'_> {
    /// The child's side.
    fn make(
        &self,
        descriptors: OwnedFd,
        channel: &Channel,
        sources: &mut Sources,
        live: &[LiveMount],
    ) -> Result<(), InitError> {
        let tell = |changed: Changed<'_>| {
            let message = match changed {
                Changed::Mounted { destination, id } => Message::Mounted {
                    destination: destination.to_owned(),
                    id,
                },
                Changed::Unmounted { id } => Message::Unmounted { id },
            };
            channel.send(&message).map_err(io::Error::other)
        };
        let changer = Changer {
            descriptors,
            tell: &tell,
        };
        match self {
            Change::Add(plan) => Ok(changer.add(&plan.rootfs, sources)?),
            Change::Remove(destinations) => {
                let known = live.iter().map(|mount| Known {
                    destination: &mount.destination,
                    id: mount.id,
                });
                Ok(changer.remove(destinations, &known.collect::<Vec<_>>())?)
            }
        }
    }
}

/// Hears what the child does, to the end.
fn follow(channel: &Channel, live: &mut Vec<LiveMount>) -> Result<(), LaunchError> {
    let deadline = Instant::now() + LIMIT;
    loop {
        match channel.receive_until(deadline) {
            Ok((Message::Mounted { destination, id }, None)) => live.push(LiveMount { destination, id }),
            Ok((Message::Unmounted { id }, None)) => live.retain(|mount| mount.id != id),
            Ok((Message::Ready, None)) => return Ok(()),
            Ok((Message::Failed { error }, _)) => return Err(LaunchError::Said(error)),
            Ok((other, _)) => return Err(ChannelError::Unexpected(format!("{other:?}")).into()),
            Err(ChannelError::Ended) => {
                return Err(LaunchError::Ended("our own process was ended".to_owned()));
            }
            Err(ChannelError::Late) => return Err(LaunchError::Slow(LIMIT.as_secs())),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Which file it is. Opened as a path only, and asked of nobody but the kernel: it may be on a file system of the
/// container's.
fn executable(path: &Path) -> io::Result<(u32, u32, u64)> {
    let file = rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
    let stat = rustix::fs::statx(&file, "", flags, StatxFlags::INO)?;
    Ok((stat.stx_dev_major, stat.stx_dev_minor, stat.stx_ino))
}

/// The id of the mount that a path is on.
fn mount_of(path: &str) -> io::Result<u64> {
    let place = rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    Ok(mount_id(place.as_fd())?.0)
}

/// Enters the container, and gives our own descriptors as paths (/proc/self/fd of the host's procfs).
fn enter(spawn: &Spawn<'_>, own_root: Option<u64>) -> Result<OwnedFd, InitError> {
    // For the places of mounts, whose modes are given.
    rustix::process::umask(Mode::empty());
    let descriptors = own_proc::open()
        .and_then(|proc_self| open_descriptors(proc_self.as_fd()))
        .map_err(step("open /proc/self/fd"))?;
    spawn.enter_rest()?;
    if let Some(theirs) = own_root
        && mount_of("/").map_err(step("look at the container's root"))? != theirs
    {
        return Err(InitError::GuestRoot);
    }
    if spawn.join.has(Kind::User) {
        become_root().map_err(step("become root of the user namespace"))?;
        // A change of ids may have undone it (fs.suid_dumpable of proc(5)).
        undumpable()?;
    }
    Ok(descriptors)
}

fn open_descriptors(proc_self: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(proc_self, "fd", flags, Mode::empty())?)
}
