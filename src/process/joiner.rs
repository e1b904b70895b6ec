//! `exec`: making a further process in a running container, with everything the first one got.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::fs::{Mode, OFlags};

use super::confine::Confinement;
use super::conversation::{Child, Service};
use super::init::{InitError, become_root, open_proc_self, open_terminal, step};
use super::protocol::{Channel, Message};
use super::spawn::{Join, Side, enter_rest, spawn};
use super::{LaunchError, chain};
use crate::cgroup::Entry;
use crate::console::Relay;
use crate::plan::Workload;
use crate::plan::namespaces::Kind;
use crate::plan::process::Process;
use crate::security::keyring::Role;
use crate::security::seccomp::Program as Filter;

/// What is needed to add a process.
pub struct Exec<'a> {
    pub id: &'a str,
    pub process: &'a Process,
    pub workload: Workload,
    /// The container's first process.
    pub init: OwnedFd,
    /// Kinds in which the container differs from us.
    pub namespaces: &'a [Kind],
    pub entry: Entry,
    pub filter: Option<Filter>,
    pub relay: Option<&'a Relay>,
    pub preserve_fds: u32,
    pub listen_fds: u32,
    pub memory_limit: Option<u64>,
}

impl Exec<'_> {
    /// Makes the process and brings it to where it only waits to be let go ([`Child::commit`]). The result
    /// carries the master of its terminal, unless that was sent to a socket.
    pub fn launch(self, service: &Service<'_>) -> Result<(Child, Option<OwnedFd>), LaunchError> {
        let (ours, theirs) =
            Channel::pair().map_err(|error| LaunchError::Step("make a socket pair", error))?;
        let init = self
            .init
            .try_clone()
            .map_err(|error| LaunchError::Step("copy a descriptor", error))?;
        let join = Join::Process {
            pidfd: init,
            kinds: self.namespaces.to_vec(),
        };
        match spawn(&[], &join, &self.entry, (&ours, &theirs))? {
            Side::Child => Joiner {
                exec: self,
                join,
                channel: theirs,
            }
            .live(),
            Side::Parent { pid, pidfd } => {
                drop(theirs);
                let child = Child {
                    pid,
                    pidfd,
                    channel: ours,
                };
                let served = self.set_up(&child).and_then(|()| child.serve(service));
                match served {
                    Ok(master) => Ok((child, master)),
                    Err(error) => {
                        child.end();
                        Err(error)
                    }
                }
            }
        }
    }

    fn set_up(&self, child: &Child) -> Result<(), LaunchError> {
        match self.process.oom_score_adj {
            Some(adjustment) => super::launch::set_oom_score(child.pid, adjustment),
            None => Ok(()),
        }
    }
}

/// The child's side.
struct Joiner<'a> {
    exec: Exec<'a>,
    join: Join,
    channel: Channel,
}

impl Joiner<'_> {
    fn live(self) -> ! {
        let code = match self.become_program() {
            Ok(code) => i32::from(code),
            Err(error) => {
                // Where the parent is gone there is nobody to tell.
                let _ = self.channel.send(&Message::Failed { error: chain(&error) });
                1
            }
        };
        std::process::exit(code)
    }

    fn become_program(&self) -> Result<u8, InitError> {
        let exec = &self.exec;
        if let Some(relay) = exec.relay {
            relay.restore().map_err(step("restore the signal mask"))?;
        }
        let mut keep = vec![self.channel.as_fd().as_raw_fd()];
        keep.extend(self.join.descriptors().iter().map(AsRawFd::as_raw_fd));
        keep.extend((3..3 + exec.preserve_fds + exec.listen_fds).map(|fd| fd as i32));
        crate::sys::exec::close_all_but(&keep).map_err(step("close the host's descriptors"))?;
        self.channel
            .expect(|message| matches!(message, Message::Proceed))?;
        rustix::process::setsid().map_err(step("start a session"))?;
        // While the host's /proc is still ours to see.
        let proc_self = open_proc_self().map_err(step("open /proc/self"))?;
        enter_rest(&self.join, &[])?;
        let user_namespace = exec.namespaces.contains(&Kind::User);
        if user_namespace {
            become_root().map_err(step("become root of the user namespace"))?;
        }
        let terminal = if exec.process.terminal {
            let root = rustix::fs::open("/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
                .map_err(step("open the root"))?;
            let terminal = open_terminal(root.as_fd(), None, exec.process.console_size)?;
            self.channel
                .send_with(&Message::Console, terminal.master.as_fd())?;
            Some(terminal)
        } else {
            None
        };
        let confined = Confinement {
            id: exec.id,
            process: exec.process,
            workload: exec.workload,
            filter: exec.filter.as_ref(),
            proc_self,
            role: Role::Joiner,
            user_namespace,
            terminal,
            channel: &self.channel,
            preserve: exec.preserve_fds + exec.listen_fds,
            memory_limit: exec.memory_limit,
        }
        .confine()?;
        self.channel.send(&Message::Ready)?;
        self.channel
            .expect(|message| matches!(message, Message::Committed))?;
        Ok(confined.run(exec.listen_fds, exec.preserve_fds)?)
    }
}
