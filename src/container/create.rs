//! `create`: from a bundle to a container that waits at its gate.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;

use nix::unistd::Pid;

use super::making::{self, Making, Terminal};
use super::stored::store;
use super::{Context, CreateOptions, Error, begin};
use crate::bundle::Bundle;
use crate::cgroup::Cgroup;
use crate::console::{ConsoleSocket, Relay};
use crate::hooks::Outputs;
use crate::host::Host;
use crate::plan::namespaces::Kind;
use crate::plan::{self, Plan};
use crate::process::{Child, Launch, LaunchError, Service, send_bytes};
use crate::rootfs::HostRoot;
use crate::security::seccomp::Program as Filter;
use crate::security::seccomp_cache;
use crate::state::{Identity, Record};
use crate::sys::fault;

/// A container at its gate.
pub(super) struct Created {
    pub pid: Pid,
    pub pidfd: OwnedFd,
    pub master: Option<OwnedFd>,
}

/// Makes a container.
pub fn create(context: &Context<'_>, options: &CreateOptions) -> Result<(), Error> {
    let host = Host::probe(context.rootless);
    begin(options.preserve_fds + options.listen_fds)?;
    create_with(context, options, &host, Terminal::Socket, None).map(|_| ())
}

pub(super) fn create_with(
    context: &Context<'_>,
    options: &CreateOptions,
    host: &Host,
    terminal: Terminal,
    relay: Option<&Relay>,
) -> Result<Created, Error> {
    let bundle = Bundle::open(&options.bundle, options.config.as_deref())?;
    let wanted = plan::Options {
        id: options.id.clone(),
        bundle: bundle.path().to_owned(),
        no_pivot: options.no_pivot,
        no_new_keyring: options.no_new_keyring,
        cgroup_manager: context.cgroup_manager,
        wasm_required: context.wasm_required,
        notify: making::notify(context, &options.id),
    };
    let plan = making::plan(context, &wanted, &bundle, host)?;
    let console = making::console(options.console_socket.as_deref(), &plan, terminal)?;
    let hook_outputs = making::hook_outputs(&plan)?;
    let filter = filter(&plan, host)?;
    let cgroup = Cgroup::locate(&plan.cgroup)?;
    let entry = store(context).reserve(&options.id)?;
    fault::point("parent:reserved");
    let mut creating = Creating {
        options,
        relay,
        console,
        hook_outputs,
        making: Making::new(context, &plan, &bundle, host, &entry, cgroup),
        child: None,
        host_root: None,
    };
    let made = creating.make(filter);
    made.inspect_err(|_| creating.undo())
}

fn filter(plan: &Plan, host: &Host) -> Result<Option<Filter>, Error> {
    let seccomp = plan.process.as_ref().and_then(|process| process.seccomp.as_ref());
    seccomp
        .map(|seccomp| {
            Ok(seccomp_cache::compile(
                seccomp,
                super::filter_cache(host).as_deref(),
            )?)
        })
        .transpose()
}

/// A container on its way to the gate.
struct Creating<'a> {
    options: &'a CreateOptions,
    relay: Option<&'a Relay>,
    console: Option<ConsoleSocket>,
    hook_outputs: Outputs,
    making: Making<'a>,
    child: Option<Child>,
    /// Where the root gets mounted on the host.
    host_root: Option<HostRoot>,
}

impl Creating<'_> {
    fn make(&mut self, filter: Option<Filter>) -> Result<Created, Error> {
        let _lock = self.making.entry.lock()?;
        let record = self.making.make_groups()?;
        self.host_root = HostRoot::look(&self.making.plan.rootfs).map_err(LaunchError::from)?;
        let child = self.launch(&record, filter)?;
        let plan = self.making.plan;
        let service = Service {
            record: &record,
            plan: Some(plan),
            cgroup: &self.making.cgroup,
            init: None,
            process: plan.process.as_ref(),
            hooks: Some((&plan.hooks, &self.hook_outputs)),
            console: self.console.as_ref(),
            rootless: self.making.host.rootless(),
            user_namespace: plan.namespaces.has(Kind::User),
            memory_limit: plan.cgroup.memory_limit(),
            guest: &plan.guest,
            warn: self.making.context.warn,
        };
        let child = self.child.insert(child);
        child.proceed()?;
        let master = child.serve(&service)?;
        // Now that its cgroup namespace has the container's cgroup as its root.
        self.making.cgroup.delegate(&plan.cgroup, child.pid.as_raw())?;
        fault::point("parent:ready");
        self.tell(record, master)
    }

    fn launch(&mut self, record: &Record, filter: Option<Filter>) -> Result<Child, Error> {
        let launch = Launch {
            plan: self.making.plan,
            record,
            state: self.making.entry.dir(),
            cgroup: &mut self.making.cgroup,
            filter,
            relay: self.relay,
            privileged: self.making.host.euid == 0,
            preserve_fds: self.options.preserve_fds,
            listen_fds: self.options.listen_fds,
            hook_outputs: self.hook_outputs.try_clone().map_err(|source| Error::Process {
                id: self.options.id.clone(),
                action: "copy the descriptors of hooks' output",
                source,
            })?,
        };
        Ok(launch.clone()?)
    }

    /// Tells all who are to know of the first process, and lets it wait for `start`.
    fn tell(&self, mut record: Record, master: Option<OwnedFd>) -> Result<Created, Error> {
        let options = self.options;
        let failed = |action| {
            move |source| Error::Process {
                id: options.id.clone(),
                action,
                source,
            }
        };
        let Some(child) = &self.child else {
            return Err(failed("find the first process")(io::Error::from_raw_os_error(
                libc::ESRCH,
            )));
        };
        record.placement = self.making.cgroup.placement();
        let identity = Identity::of(child.pid.as_raw());
        record.init = Some(identity.map_err(failed("read the start time of the first process"))?);
        self.making.entry.write(&record)?;
        write_pid_file(options.pid_file.as_deref(), child.pid)?;
        send_pidfd("--pidfd-socket", options.pidfd_socket.as_deref(), &child.pidfd)?;
        let receiver = self.making.plan.pidfd_receiver.as_deref();
        send_pidfd(plan::PIDFD_RECEIVER, receiver, &child.pidfd)?;
        child.commit()?;
        fault::point("parent:committed");
        Ok(Created {
            pid: child.pid,
            pidfd: child.pidfd.try_clone().map_err(failed("copy the pidfd"))?,
            master,
        })
    }

    fn undo(&mut self) {
        if let Some(child) = &self.child {
            child.end();
        }
        if let Some(root) = &self.host_root {
            root.restore();
        }
        self.making.undo(self.child.is_some());
    }
}

/// Written whole or not at all: who waits for the file reads it at once.
pub(super) fn write_pid_file(path: Option<&Path>, pid: Pid) -> Result<(), Error> {
    let Some(path) = path else { return Ok(()) };
    let failed = |source: io::Error| Error::File {
        option: "--pid-file",
        path: path.to_owned(),
        action: "write it",
        source,
    };
    let name = path
        .file_name()
        .ok_or_else(|| failed(io::Error::from_raw_os_error(libc::EISDIR)))?;
    let temporary = path.with_file_name(format!(".{}", name.to_string_lossy()));
    // One that a killed predecessor left; a link that somebody planted is not followed.
    match std::fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o666)
        .open(&temporary)
        .and_then(|mut file| file.write_all(pid.to_string().as_bytes()))
        .and_then(|()| std::fs::rename(&temporary, path));
    written.map_err(|error| {
        // The error of writing is the one to tell.
        let _ = std::fs::remove_file(&temporary);
        failed(error)
    })
}

/// Sends the pidfd to a unix socket, as runc does.
pub(super) fn send_pidfd(option: &'static str, path: Option<&Path>, pidfd: &OwnedFd) -> Result<(), Error> {
    let Some(path) = path else { return Ok(()) };
    UnixStream::connect(path)
        .and_then(|stream| send_bytes(stream.as_fd(), b"pidfd", Some(pidfd.as_fd())))
        .map_err(|source| Error::File {
            option,
            path: path.to_owned(),
            action: "send the pidfd",
            source,
        })
}
