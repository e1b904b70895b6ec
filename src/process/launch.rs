//! Making a container's first process and bringing it to the gate: the parent's recipe.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use nix::unistd::Pid;
use rustix::fs::{Mode, OFlags};

use super::conversation::Child;
use super::gate::Gate;
use super::init::Birth;
use super::protocol::Channel;
use super::spawn::{Join, Side, spawn};
use super::{LaunchError, userns};
use crate::cgroup::Cgroup;
use crate::console::Relay;
use crate::plan::Plan;
use crate::plan::namespaces::Kind;
use crate::rootfs::Sources;
use crate::security::seccomp::Program as Filter;
use crate::security::{ProcDirectory, oom};
use crate::state::Record;
use crate::sys::fault;

/// What is needed to launch.
pub struct Launch<'a> {
    pub plan: &'a Plan,
    pub record: &'a Record,
    /// The container's state directory, where the gate is made.
    pub state: BorrowedFd<'a>,
    pub cgroup: &'a mut Cgroup,
    pub filter: Option<Filter>,
    /// Blocked signals that the child must unblock.
    pub relay: Option<&'a Relay>,
    pub privileged: bool,
    pub preserve_fds: u32,
    pub listen_fds: u32,
}

impl Launch<'_> {
    /// Clones. The child's own recipe starts at once and does not return from here.
    pub fn clone(self) -> Result<Child, LaunchError> {
        let step = |action| move |source: io::Error| LaunchError::Step(action, source);
        let namespaces = &self.plan.namespaces;
        let (ours, theirs) = Channel::pair().map_err(step("make a socket pair"))?;
        let join = Join::open(namespaces)?;
        let sources = Sources::open(&self.plan.rootfs, namespaces.has(Kind::User), &|idmap| {
            userns::for_mount(idmap, namespaces)
        })?;
        let gate = Gate::create(self.state).map_err(step("make the start gate in the state directory"))?;
        let entry = self.cgroup.entry()?;
        match spawn(&namespaces.new, &join, &entry, (&ours, &theirs))? {
            Side::Child => {
                if let Some(relay) = self.relay {
                    // Before anything is waited for: a blocked SIGTERM would be inherited by the program.
                    if relay.restore().is_err() {
                        std::process::exit(1);
                    }
                }
                let placement = self.cgroup.placement();
                Birth {
                    plan: self.plan,
                    record: self.record,
                    placement: &placement,
                    join,
                    sources,
                    filter: self.filter,
                    gate,
                    channel: theirs,
                    preserve_fds: self.preserve_fds,
                    listen_fds: self.listen_fds,
                }
                .live()
            }
            Side::Parent { pid, pidfd } => {
                fault::point("parent:cloned");
                drop(theirs);
                let child = Child {
                    pid,
                    pidfd,
                    channel: ours,
                };
                match self.set_up(&child) {
                    Ok(()) => Ok(child),
                    Err(error) => {
                        child.end();
                        Err(error)
                    }
                }
            }
        }
    }

    /// What needs the host's rights, before the child may go on.
    fn set_up(self, child: &Child) -> Result<(), LaunchError> {
        let namespaces = &self.plan.namespaces;
        if namespaces.is_new(Kind::User) {
            userns::write_maps(
                child.pid,
                &namespaces.uid_map,
                &namespaces.gid_map,
                self.privileged,
            )?;
        }
        self.cgroup.attach(child.pid.as_raw())?;
        if let Some(adj) = self
            .plan
            .process
            .as_ref()
            .and_then(|process| process.oom_score_adj)
        {
            let set = set_oom_score(child.pid, adj);
            // A lower score than its own a rootless caller may not give; it stays as it is, as in runc.
            if !self.plan.rootless {
                set?;
            }
        }
        fault::point("parent:mapped");
        Ok(())
    }
}

/// Sets the score with the host's rights, which the child may have lost.
pub(super) fn set_oom_score(pid: Pid, adjustment: i32) -> Result<(), LaunchError> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = rustix::fs::open(format!("/proc/{pid}"), flags, Mode::empty())
        .map_err(|error| LaunchError::Step("open the process in /proc", error.into()))?;
    Ok(oom::set_score_adjustment(
        ProcDirectory::new(directory.as_fd()),
        adjustment,
    )?)
}

impl Child {
    /// Kills it and waits for its end. For a child that is of no use any more.
    pub fn end(&self) {
        // It may have ended by itself, which is as good; there is nothing else to be done with it.
        let _ = rustix::process::pidfd_send_signal(&self.pidfd, rustix::process::Signal::KILL);
        let _ = crate::console::reap(self.pidfd.as_fd());
    }
}
