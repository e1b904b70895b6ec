//! The parent's side of the conversation with a container's process; the words are in [`super::protocol`].

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Instant;

use nix::unistd::Pid;

use super::protocol::{Channel, ChannelError, Message, send_bytes};
use super::{LaunchError, userns};
use crate::cgroup::Cgroup;
use crate::console::{ConsoleError, ConsoleSocket, Waited};
use crate::hooks::{self, Outputs, Setting};
use crate::plan::mounts::MountIdMap;
use crate::plan::process::Process;
use crate::plan::seccomp::Listener;
use crate::plan::{GuestOptions, Hooks, Plan};
use crate::rootfs;
use crate::security;
use crate::state::{HookState, Record, Status};
use crate::sys::fault;
use crate::workload::wasm::application::MAX_COMPONENTS;
use crate::workload::wasm::{self, Confine, Request, Ties};

/// The process on the other side, before it runs anything of the container's.
pub struct Child {
    pub pid: Pid,
    pub pidfd: OwnedFd,
    pub channel: Channel,
}

/// What the parent does for its child while they speak.
pub struct Service<'a> {
    pub record: &'a Record,
    /// Of the container that is made; `None` for `exec`, which mounts nothing.
    pub plan: Option<&'a Plan>,
    pub cgroup: &'a Cgroup,
    /// The container's first process, where the child is another.
    pub init: Option<&'a OwnedFd>,
    /// Where the cgroup below the container's is that the process is in, see `exec --cgroup`.
    pub process: Option<&'a Process>,
    /// With where they write; `None` for `exec`, which runs none.
    pub hooks: Option<(&'a Hooks, &'a Outputs)>,
    /// Where the master of the terminal is sent; without it the caller keeps it.
    pub console: Option<&'a ConsoleSocket>,
    pub rootless: bool,
    /// Whether the container has a user namespace.
    pub user_namespace: bool,
    /// Bytes, of the container's cgroup.
    pub memory_limit: Option<u64>,
    pub guest: &'a GuestOptions,
    pub warn: &'a dyn Fn(&str),
}

impl Child {
    /// Tells the child to go on; at the end it waits for [`Self::commit`].
    pub fn proceed(&self) -> Result<(), LaunchError> {
        self.say(&Message::Proceed { waits: true })
    }

    /// Serves a child that was told to go on until it is ready. The result is the master of its terminal, unless that was
    /// sent to a socket.
    pub fn serve(&self, service: &Service<'_>) -> Result<Option<OwnedFd>, LaunchError> {
        let mut master = None;
        let mut modules = 0;
        loop {
            match self.channel.receive() {
                Ok((Message::Console, Some(fd))) => master = hand_over(fd, service.console)?,
                Ok((Message::MapIds { index }, Some(tree))) => self.map_ids(service, index, tree.as_fd())?,
                Ok((Message::Procfs, Some(mount))) => drop(mount),
                Ok((Message::Null, None)) => self.lend_null()?,
                Ok((Message::RunHooks, None)) => self.run_hooks(service)?,
                Ok((Message::Module { name, export, world }, Some(file))) => {
                    modules += 1;
                    if modules > MAX_COMPONENTS {
                        return Err(ChannelError::Unexpected(format!("module {modules}")).into());
                    }
                    let request = Request {
                        name: &name,
                        export: export.as_deref(),
                        world,
                        options: service.guest,
                    };
                    self.provide(service, file, &request)?;
                }
                Ok((Message::Listener, Some(fd))) => self.send_listener(service, fd.as_fd())?,
                Ok((Message::Warning { text }, None)) => (service.warn)(&text),
                Ok((Message::Ready, None)) => break,
                Ok((Message::Failed { error }, _)) => return Err(LaunchError::Said(error)),
                Ok((other, _)) => return Err(ChannelError::Unexpected(format!("{other:?}")).into()),
                Err(ChannelError::Ended) => return Err(self.ended()),
                Err(error) => return Err(error.into()),
            }
        }
        if let Some(process) = service.process.filter(|_| service.user_namespace) {
            // From here, with the host's rights: root of a user namespace may not raise a limit.
            security::rlimits::apply(
                rustix::process::Pid::from_raw(self.pid.as_raw()),
                &process.rlimits,
            )?;
        }
        Ok(master)
    }

    /// Lets a ready child wait at the gate, or run.
    pub fn commit(&self) -> Result<(), LaunchError> {
        self.say(&Message::Committed)
    }

    pub(super) fn say(&self, message: &Message) -> Result<(), LaunchError> {
        self.channel.send(message).map_err(|error| match error {
            // It may have said why before it ended.
            ChannelError::Ended => match self.channel.receive() {
                Ok((Message::Failed { error }, _)) => LaunchError::Said(error),
                _ => self.ended(),
            },
            other => other.into(),
        })
    }

    /// What the child has failed at by now, if it has: then whatever else goes wrong with it comes of that.
    pub(super) fn failure(&self) -> Option<LaunchError> {
        match self.channel.receive_until(Instant::now()) {
            Ok((Message::Failed { error }, _)) => Some(LaunchError::Said(error)),
            Err(ChannelError::Ended) => Some(self.ended()),
            _ => None,
        }
    }

    /// How the child ended without a word: killed, most likely by the cgroup's memory limit.
    fn ended(&self) -> LaunchError {
        match crate::console::reap(self.pidfd.as_fd()) {
            Ok(Waited::Signaled(9)) => {
                LaunchError::Ended("killed (is the container's memory limit too low to start it?)".to_owned())
            }
            Ok(Waited::Signaled(signal)) => LaunchError::Ended(format!("ended by signal {signal}")),
            Ok(Waited::Exited(code)) => LaunchError::Ended(format!("exit status {code}")),
            Err(error) => LaunchError::Ended(error.to_string()),
        }
    }

    /// For a mount whose source init has found on one that it had made.
    fn map_ids(&self, service: &Service<'_>, index: usize, tree: BorrowedFd<'_>) -> Result<(), LaunchError> {
        let unknown = || ChannelError::Unexpected(format!("id map of mounts[{index}]"));
        let plan = service.plan.ok_or_else(unknown)?;
        let mount = plan.rootfs.mounts.iter().find(|mount| mount.index == index);
        let make = |idmap: &MountIdMap| userns::for_mount(idmap, &plan.namespaces);
        rootfs::map_ids(tree, mount.ok_or_else(unknown)?, &make)?;
        self.say(&Message::IdsMapped)
    }

    fn lend_null(&self) -> Result<(), LaunchError> {
        let lent = rootfs::open_host_null().map_err(|error| LaunchError::Step("open /dev/null", error))?;
        match lent {
            Some(null) => Ok(self.channel.send_with(&Message::Null, null.as_fd())?),
            None => self.say(&Message::Null),
        }
    }

    fn run_hooks(&self, service: &Service<'_>) -> Result<(), LaunchError> {
        if let Some((lists, outputs)) = service.hooks {
            let state = HookState::new(service.record, Status::Creating)
                .with_pid(self.pid.as_raw())
                .to_json();
            let setting = |stage| Setting {
                stage,
                cwd: Some(&service.record.bundle),
                outputs: Some(outputs),
            };
            hooks::run(&lists.prestart, &state, setting("prestart"))?;
            hooks::run(&lists.create_runtime, &state, setting("createRuntime"))?;
        }
        fault::point("parent:hooks");
        self.say(&Message::HooksDone)
    }

    fn provide(
        &self,
        service: &Service<'_>,
        file: OwnedFd,
        request: &Request<'_>,
    ) -> Result<(), LaunchError> {
        let cache = wasm::default_dir(service.rootless).and_then(|path| wasm::Cache::open(&path));
        let entry = service.cgroup.entry_for_exec(&[], self.pid.as_raw())?;
        let confine = Confine {
            enter_cgroup: &|| {
                entry.move_self()?;
                fault::hold("compiler:entered");
                Ok(())
            },
            memory_limit: service.memory_limit,
            threads: true,
        };
        let provided = wasm::provide(File::from(file), request, cache, &confine)?;
        if let Some(trouble) = &provided.uncached {
            (service.warn)(&format!(
                "compiled code is not kept: {}",
                crate::reason::chain(trouble)
            ));
        }
        let answer = Message::Code {
            kind: provided.kind,
            build: provided.build,
        };
        self.channel.send_with(&answer, provided.code.as_fd())?;
        if let Some(later) = provided.later {
            let room = service
                .cgroup
                .room()
                .map_err(|error| crate::reason::chain(&error));
            let left = room.and_then(|room| {
                let ties = Ties {
                    confine: &confine,
                    descriptors: entry.descriptors(),
                    init: service.init.unwrap_or(&self.pidfd).as_fd(),
                    room,
                };
                let left = later.leave_behind(request, &ties);
                left.map_err(|error| crate::reason::chain(&error))
            });
            // The container has all that it needs.
            if let Err(reason) = left {
                (service.warn)(&format!("optimised code is not made now: {reason}"));
            }
        }
        Ok(())
    }

    /// The spec's container process state, with the filter's descriptor, for the agent that listens.
    fn send_listener(&self, service: &Service<'_>, fd: BorrowedFd<'_>) -> Result<(), LaunchError> {
        let listener = service
            .process
            .and_then(|process| process.seccomp.as_ref())
            .and_then(|filter| filter.listener.as_ref());
        let Some(Listener { path, metadata }) = listener else {
            return Err(LaunchError::Listener {
                path: PathBuf::new(),
                source: io::Error::other("no path is set"),
            });
        };
        let status = if service.hooks.is_some() {
            Status::Creating
        } else {
            Status::Running
        };
        let container = HookState::new(service.record, status);
        let container = if service.hooks.is_some() {
            container.with_pid(self.pid.as_raw())
        } else {
            container
        };
        let state = serde_json::json!({
            "ociVersion": service.record.oci_version,
            "fds": ["seccompFd"],
            "pid": self.pid.as_raw(),
            "metadata": metadata,
            "state": container,
        });
        UnixStream::connect(path)
            .and_then(|stream| send_bytes(stream.as_fd(), state.to_string().as_bytes(), Some(fd)))
            .map_err(|source| LaunchError::Listener {
                path: path.clone(),
                source,
            })
    }
}

/// Sends a terminal's master to the socket, or prepares it for the caller, who keeps it.
///
/// # Errors
/// A socket that does not take it, or a terminal that cannot be set up.
pub fn hand_over(master: OwnedFd, socket: Option<&ConsoleSocket>) -> Result<Option<OwnedFd>, LaunchError> {
    let Some(socket) = socket else {
        // Before the program can ask for it.
        crate::console::copy_size(&master)?;
        crate::console::keep_line_ends(&master)?;
        return Ok(Some(master));
    };
    // The name is what runc sends along; engines show it, at most.
    send_bytes(socket.as_fd(), b"/dev/ptmx", Some(master.as_fd())).map_err(|source| {
        ConsoleError::Socket {
            path: socket.path().to_owned(),
            action: "send the terminal",
            source,
        }
    })?;
    Ok(None)
}

impl Child {
    /// Waits until a committed child has become its program, which closes its end of the conversation, or has
    /// said why it could not.
    pub fn wait_for_program(&self) -> Result<(), LaunchError> {
        match self.channel.receive() {
            Err(ChannelError::Ended) => Ok(()),
            Ok((Message::Failed { error }, _)) => Err(LaunchError::Said(error)),
            Ok((other, _)) => Err(ChannelError::Unexpected(format!("{other:?}")).into()),
            Err(error) => Err(error.into()),
        }
    }
}
