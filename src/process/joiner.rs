//! `exec`: making a further process in a running container, with everything the first one got.
//!
//! It is in sight of the container's processes from its birth in their pid namespace, and until it is confined it has our
//! capabilities: one with CAP_SYS_PTRACE that is in no user namespace of its own could take it over in that moment, as
//! with runc. What it holds open by then is not the host's (see [`super::spawn`]).

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::fs::{Mode, OFlags};

use super::LaunchError;
use super::confine::Confinement;
use super::conversation::{Child, Service};
use super::init::{InitError, become_root, open_terminal, show_as_init, step};
use super::join::{self, Join};
use super::own_proc::{self, OwnProc};
use super::protect::undumpable;
use super::protocol::{Channel, ChannelError, Message};
use super::spawn::{Side, Spawn, SpawnError};
use super::streams;
use crate::cgroup::Entry;
use crate::console::Relay;
use crate::plan::namespaces::Kind;
use crate::plan::process::Process;
use crate::plan::{GuestOptions, Workload};
use crate::rdt;
use crate::security::cpu_affinity;
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
    pub rootless: bool,
    /// Whether we are in a user namespace, whatever `rootless` says.
    pub in_user_namespace: bool,
    pub filter: Option<Filter>,
    pub relay: Option<&'a Relay>,
    pub preserve_fds: u32,
    pub listen_fds: u32,
    pub memory_limit: Option<u64>,
    pub guest: &'a GuestOptions,
    /// Whether somebody is told of the process before it runs.
    pub announced: bool,
}

impl Exec<'_> {
    /// Makes the process and brings it to where it only waits to be let go ([`Child::commit`]), or, where nobody is to be
    /// told, runs its program. The result carries the master of its terminal, unless that was sent to a socket.
    pub fn launch(self, service: &Service<'_>) -> Result<(Child, Option<OwnedFd>), LaunchError> {
        let (ours, theirs) =
            Channel::pair().map_err(|error| LaunchError::Step("make a socket pair", error))?;
        let init = self
            .init
            .try_clone()
            .map_err(|error| LaunchError::Step("copy a descriptor", error))?;
        let join = Join::Process {
            mount: self.mount_namespace()?,
            pidfd: init,
            kinds: self.namespaces.to_vec(),
        };
        if let Some(affinity) = &self.process.exec_cpu_affinity {
            // Of ourselves, so that the process is born with it.
            cpu_affinity::set(&affinity.initial, "process.execCPUAffinity.initial")?;
        }
        let host_proc = if self.makes_own_proc() {
            None
        } else {
            Some(own_proc::open_host().map_err(|error| LaunchError::Step("open /proc", error))?)
        };
        let passed = (3..3 + self.preserve_fds + self.listen_fds).map(u32::cast_signed);
        let spawn = Spawn {
            new: &[],
            join: &join,
            rootless: self.rootless,
            entry: &self.entry,
            keep: passed.chain(host_proc.iter().map(AsRawFd::as_raw_fd)).collect(),
            first: &|| self.first(),
        };
        let proceed = Message::Proceed { waits: self.waits() };
        match spawn.go(&ours, &theirs)? {
            Side::Child => Joiner {
                exec: &self,
                spawn: &spawn,
                channel: theirs,
            }
            .live(host_proc),
            Side::Parent {
                pid,
                pidfd,
                intermediate,
            } => {
                drop(theirs);
                let child = Child {
                    pid,
                    pidfd,
                    channel: ours,
                };
                let served = self
                    .set_up(&child, service)
                    .and_then(|()| child.say(&proceed))
                    .and_then(|()| child.serve(service));
                match intermediate.reap().map_err(LaunchError::from).and(served) {
                    Ok(master) => Ok((child, master)),
                    Err(error) => {
                        child.end();
                        Err(error)
                    }
                }
            }
        }
    }

    /// Whether the process is told about itself by a procfs of the container's pid namespace. The host's leads to all of
    /// the host, and processes of the container that may trace others can take it from him. Those in a user namespace of
    /// the container's own may not, since he has never executed anything there; but then neither may he make a procfs as a
    /// rule. Where we are in a user namespace ourselves and the container has no other, they may: what they find then
    /// leads as far as our own namespace's rights do.
    fn makes_own_proc(&self) -> bool {
        let joins = |kind| self.namespaces.contains(&kind);
        joins(Kind::Pid) && !joins(Kind::User) && !self.rootless && !self.in_user_namespace
    }

    /// What will be out of reach of a process in the container's user namespace.
    fn mount_namespace(&self) -> Result<Option<OwnedFd>, LaunchError> {
        let needed = [Kind::User, Kind::Mount]
            .iter()
            .all(|kind| self.namespaces.contains(kind));
        if !needed {
            return Ok(None);
        }
        let action =
            "open the mount namespace of the first process (where that is a Wasm guest, only root can)";
        match join::mount_namespace(self.init.as_fd()) {
            Ok(namespace) => Ok(Some(namespace)),
            Err(error) => Err(LaunchError::Step(action, error)),
        }
    }

    /// Whether the process waits for [`Child::commit`]: where others are told of it, or get its terminal or its filter's
    /// descriptor, and where it gets its limits from us, see [`Child::serve`].
    pub fn waits(&self) -> bool {
        self.announced
            || self.process.terminal
            || self.filter.as_ref().is_some_and(Filter::notifies)
            || self.namespaces.contains(&Kind::User)
    }

    fn set_up(&self, child: &Child, service: &Service<'_>) -> Result<(), LaunchError> {
        self.entry.attach(child.pid.as_raw())?;
        if let Some(placement) = &service.record.rdt {
            rdt::add(placement, child.pid.as_raw())?;
        }
        Ok(())
    }

    /// The child's first steps, while it is not yet in the container.
    fn first(&self) -> Result<(), SpawnError> {
        let step = |action| move |error| SpawnError::Step(action, error);
        if let Some(relay) = self.relay {
            // A blocked SIGTERM would be inherited by the program.
            relay.restore().map_err(step("restore the signal mask"))?;
        }
        if let Some(adjustment) = self.process.oom_score_adj {
            let set = std::fs::write("/proc/self/oom_score_adj", adjustment.to_string());
            // A lower score than its own a rootless caller may not give; it stays as it is, as in runc.
            if !self.rootless {
                set.map_err(step("set process.oomScoreAdj"))?;
            }
        }
        undumpable().map_err(|error| step("make this process undumpable")(io::Error::other(error)))
    }
}

/// The child's side.
struct Joiner<'a> {
    exec: &'a Exec<'a>,
    spawn: &'a Spawn<'a>,
    channel: Channel,
}

impl Joiner<'_> {
    fn live(self, host_proc: Option<OwnedFd>) -> ! {
        let code = match self.become_program(host_proc) {
            Ok(code) => i32::from(code),
            Err(error) => {
                // Where the parent is gone there is nobody to tell.
                let _ = self.channel.send(&Message::Failed {
                    error: crate::reason::chain(&error),
                });
                1
            }
        };
        std::process::exit(code)
    }

    fn become_program(&self, host_proc: Option<OwnedFd>) -> Result<u8, InitError> {
        let exec = self.exec;
        show_as_init().map_err(step("replace the arguments of the command"))?;
        let waits = match self.channel.read()? {
            Message::Proceed { waits } => waits,
            other => return Err(ChannelError::Unexpected(format!("{other:?}")).into()),
        };
        // In the cgroup by now, whose cpuset has a say in it.
        match &exec.process.exec_cpu_affinity {
            Some(affinity) if !(affinity.initial.is_empty() && affinity.last.is_empty()) => {
                cpu_affinity::set(&affinity.last, "process.execCPUAffinity.final")?;
            }
            _ => cpu_affinity::reset(),
        }
        rustix::process::setsid().map_err(step("start a session"))?;
        let make = || {
            let (proc_self, mount) = own_proc::make()?;
            let told = self.channel.send_with(&Message::Procfs, mount.as_fd());
            told.map_err(io::Error::other)?;
            Ok(proc_self)
        };
        let proc_self = match host_proc {
            Some(proc) => OwnProc::opened(own_proc::open_in(proc.as_fd()).map_err(step("open /proc/self"))?),
            None => OwnProc::to_be_made(&make),
        };
        self.spawn.enter_rest()?;
        let user_namespace = exec.namespaces.contains(&Kind::User);
        if user_namespace {
            become_root().map_err(step("become root of the user namespace"))?;
            // A change of ids may have undone it (fs.suid_dumpable of proc(5)).
            undumpable()?;
        }
        let root = rustix::fs::open("/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
            .map_err(step("open the root"))?;
        streams::use_own_null(root.as_fd(), &self.channel)?;
        let terminal = if exec.process.terminal {
            let terminal = open_terminal(root.as_fd(), None, exec.process.console_size)?;
            self.channel
                .send_with(&Message::Console, terminal.master.as_fd())?;
            Some(terminal)
        } else {
            None
        };
        // Before a guest's process closes all that it does not know.
        drop(root);
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
            cpus: None,
            guest: exec.guest,
            runs_hooks: false,
        }
        .confine()?;
        self.channel.send(&Message::Ready)?;
        if waits {
            self.channel
                .expect(|message| matches!(message, Message::Committed))?;
        }
        Ok(confined.run(exec.listen_fds, exec.preserve_fds)?)
    }
}
