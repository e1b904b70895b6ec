//! Making a container's first process and bringing it to the gate: the parent's recipe.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use nix::unistd::Pid;
use rustix::fs::{Mode, OFlags};

use super::conversation::Child;
use super::gate::Gate;
use super::init::Birth;
use super::join::Join;
use super::protocol::{Channel, Message};
use super::spawn::{Side, Spawn, SpawnError};
use super::{LaunchError, net_devices, userns};
use crate::cgroup::Cgroup;
use crate::console::Relay;
use crate::hooks::Outputs;
use crate::plan::Plan;
use crate::plan::namespaces::Kind;
use crate::rdt;
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
    /// For hooks that init runs.
    pub hook_outputs: Outputs,
}

impl Launch<'_> {
    /// Clones. The child's own recipe starts at once and does not return from here.
    pub fn clone(self) -> Result<Child, LaunchError> {
        let step = |action| move |source: io::Error| LaunchError::Step(action, source);
        let namespaces = &self.plan.namespaces;
        let (ours, theirs) = Channel::pair().map_err(step("make a socket pair"))?;
        let join = Join::open(namespaces)?;
        // A caller without the host's rights cannot clone mounts here; then init, who can in its own namespace,
        // reaches what its user reaches.
        let for_init = namespaces.has(Kind::User) && self.privileged;
        let sources = Sources::open(&self.plan.rootfs, for_init, &|idmap| {
            userns::for_mount(idmap, namespaces)
        })?;
        let gate = Gate::create(self.state).map_err(step("make the start gate in the state directory"))?;
        let entry = self.cgroup.entry()?;
        let mut keep = gate.descriptors().to_vec();
        keep.extend(sources.descriptors());
        keep.extend((3..3 + self.preserve_fds + self.listen_fds).map(u32::cast_signed));
        keep.extend(self.hook_outputs.descriptors());
        let relay = self.relay;
        // A blocked SIGTERM would be inherited by the program.
        let first = || match relay.map_or(Ok(()), Relay::restore) {
            Ok(()) => Ok(()),
            Err(error) => Err(SpawnError::Step("restore the signal mask", error)),
        };
        let spawn = Spawn {
            new: &namespaces.new,
            join: &join,
            rootless: self.plan.rootless,
            entry: &entry,
            keep,
            first: &first,
        };
        match spawn.go(&ours, &theirs)? {
            Side::Child => {
                let placement = self.cgroup.placement();
                Birth {
                    plan: self.plan,
                    record: self.record,
                    placement: &placement,
                    spawn,
                    sources,
                    filter: self.filter,
                    gate,
                    privileged: self.privileged,
                    channel: theirs,
                    preserve_fds: self.preserve_fds,
                    listen_fds: self.listen_fds,
                    hook_outputs: self.hook_outputs,
                }
                .live()
            }
            Side::Parent {
                pid,
                pidfd,
                intermediate,
            } => {
                fault::point("parent:cloned");
                drop(theirs);
                let child = Child {
                    pid,
                    pidfd,
                    channel: ours,
                };
                let set_up = self.set_up(&child, &join);
                match set_up.and_then(|()| Ok(intermediate.reap()?)) {
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
    fn set_up(self, child: &Child, join: &Join) -> Result<(), LaunchError> {
        let namespaces = &self.plan.namespaces;
        if namespaces.is_new(Kind::User) {
            userns::write_maps(
                child.pid,
                &namespaces.uid_map,
                &namespaces.gid_map,
                self.privileged,
            )?;
        }
        // A caller without the host's rights could not do the rest to a process that goes on: it is not dumpable then.
        if self.cgroup.is_attached_later() && self.privileged {
            child.say(&Message::Begin)?;
        }
        self.cgroup
            .attach(child.pid.as_raw())
            .map_err(|error| child.failure().unwrap_or(error.into()))?;
        if let Some(placement) = &self.record.rdt {
            rdt::add(placement, child.pid.as_raw())?;
        }
        self.move_net_devices(child, join)?;
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

    /// Before anything in the container looks at its network: sysctls are set and hooks run on these devices.
    fn move_net_devices(&self, child: &Child, join: &Join) -> Result<(), LaunchError> {
        let devices = &self.plan.net_devices;
        if devices.is_empty() {
            return Ok(());
        }
        if let Some(joined) = join.path(Kind::Network) {
            return Ok(net_devices::move_all(devices, joined)?);
        }
        // The clone made it, or the plan would have been refused.
        let own = File::open(format!("/proc/{}/ns/net", child.pid))
            .map_err(|error| LaunchError::Step("open the container's network namespace", error))?;
        Ok(net_devices::move_all(devices, own.as_fd())?)
    }
}

/// Sets the score with the host's rights, which the child may have lost.
fn set_oom_score(pid: Pid, adjustment: i32) -> Result<(), LaunchError> {
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
