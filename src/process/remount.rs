//! A process of ours that changes the mounts of a container that runs, and ends: it enters the container's namespaces as
//! one of `exec` does, but runs nothing of the container's, and stays out of its cgroup, whose limits are not about it.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, StatxFlags};

use super::init::{InitError, become_root, step};
use super::join::{self, Join};
use super::protect::undumpable;
use super::protocol::{Channel, ChannelError, Message};
use super::spawn::{Side, Spawn, SpawnError};
use super::{LaunchError, userns};
use crate::cgroup::Entry;
use crate::plan::LiveMounts;
use crate::plan::namespaces::Kind;
use crate::reason::chain;
use crate::rootfs::{Sources, live};

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
    /// Does it, and waits until it is done.
    pub fn carry_out(self, change: &Change<'_>) -> Result<(), LaunchError> {
        let failed = |action| move |error: io::Error| LaunchError::Step(action, error);
        let (ours, theirs) = Channel::pair().map_err(failed("make a socket pair"))?;
        let own_root = self.own_root().map_err(failed("look at the first process"))?;
        let mut sources = match change {
            Change::Add(plan) => {
                Sources::open_binds(&plan.rootfs, &|idmap| userns::for_mount(idmap, &plan.namespaces))?
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
                let done = enter(&spawn, self.namespaces, own_root).and_then(|()| match change {
                    Change::Add(plan) => Ok(live::add(&plan.rootfs, &mut sources)?),
                    Change::Remove(destinations) => Ok(live::remove(destinations)?),
                });
                let told = theirs.send(&match &done {
                    Ok(()) => Message::Ready,
                    Err(error) => Message::Failed { error: chain(error) },
                });
                // Where the parent is gone there is nobody to tell.
                std::process::exit(i32::from(done.is_err() || told.is_err()))
            }
            Side::Parent { pidfd, .. } => {
                drop(theirs);
                let answer = ours.receive();
                crate::console::reap(pidfd.as_fd()).map_err(failed("wait for our own process"))?;
                match answer {
                    Ok((Message::Ready, _)) => Ok(()),
                    Ok((Message::Failed { error }, _)) => Err(LaunchError::Said(error)),
                    Ok((other, _)) => Err(ChannelError::Unexpected(format!("{other:?}")).into()),
                    // With the container's pid namespace, as a rule.
                    Err(ChannelError::Ended) => Err(LaunchError::Ended("the container has ended".to_owned())),
                    Err(error) => Err(error.into()),
                }
            }
        }
    }

    fn join(&self) -> Result<Join, LaunchError> {
        let both = [Kind::User, Kind::Mount]
            .iter()
            .all(|kind| self.namespaces.contains(kind));
        let mount = both.then(|| join::mount_namespace(self.init.as_fd())).transpose();
        let init = self.init.try_clone();
        Ok(Join::Process {
            mount: mount
                .map_err(|error| LaunchError::Step("open the mount namespace of the first process", error))?,
            pidfd: init.map_err(|error| LaunchError::Step("copy a descriptor", error))?,
            kinds: self.namespaces.to_vec(),
        })
    }

    /// Where the first process is our own executable, which a native program is not once it runs: the mount that is its
    /// root. A Wasm guest has a root of its own, to which no mount can be added.
    fn own_root(&self) -> io::Result<Option<u64>> {
        let executable = |path: &Path| -> io::Result<_> {
            let stat = rustix::fs::fstat(File::open(path)?)?;
            Ok((stat.st_dev, stat.st_ino))
        };
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

/// The id of the mount that a path is on (statx(2)).
fn mount_of(path: &str) -> io::Result<u64> {
    Ok(rustix::fs::statx(CWD, path, AtFlags::empty(), StatxFlags::MNT_ID)?.stx_mnt_id)
}

fn enter(spawn: &Spawn<'_>, namespaces: &[Kind], own_root: Option<u64>) -> Result<(), InitError> {
    // For the places of mounts, whose modes are given.
    rustix::process::umask(Mode::empty());
    spawn.enter_rest()?;
    if let Some(theirs) = own_root
        && mount_of("/").map_err(step("look at the container's root"))? != theirs
    {
        return Err(InitError::GuestRoot);
    }
    if namespaces.contains(&Kind::User) {
        become_root().map_err(step("become root of the user namespace"))?;
        // A change of ids may have undone it (fs.suid_dumpable of proc(5)).
        undumpable()?;
    }
    Ok(())
}
