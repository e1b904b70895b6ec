//! `create`: from a bundle to a container that waits at its gate.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;

use nix::unistd::Pid;

use super::stored::store;
use super::{Context, CreateOptions, Error, begin, delete};
use crate::bundle::Bundle;
use crate::cgroup::Cgroup;
use crate::console::{ConsoleSocket, Relay};
use crate::hooks::Outputs;
use crate::host::Host;
use crate::plan::namespaces::Kind;
use crate::plan::{self, Plan};
use crate::process::{Child, Launch, Service, send_bytes};
use crate::rdt;
use crate::security::seccomp::Program as Filter;
use crate::security::seccomp_cache;
use crate::spec::Spec;
use crate::state::{Entry, Identity, RECORD_VERSION, Record, StateError, now};
use crate::sys::fault;

/// Where the container's terminal goes, if it has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Terminal {
    /// To the console socket, which must be given.
    Socket,
    /// To the caller.
    Foreground,
}

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
    let notify = context
        .notify_socket
        .is_some()
        .then(|| Entry::notify_path(&context.root.join(&options.id)));
    let plan = plan(context, options, &bundle, host, notify.as_deref())?;
    let gathered = Gathered {
        options,
        host,
        bundle: &bundle,
        plan: &plan,
        relay,
        console: console(options, &plan, terminal)?,
        hook_outputs: if plan.hooks.is_empty() {
            Outputs::default()
        } else {
            Outputs::open(&plan.hook_output)?
        },
    };
    let filter = filter(&plan, host)?;
    let cgroup = Cgroup::locate(&plan.cgroup)?;
    let entry = store(context).reserve(&options.id)?;
    fault::point("parent:reserved");
    let mut making = Making {
        context,
        gathered,
        entry: &entry,
        cgroup,
        cgroup_made: false,
        rdt: None,
        child: None,
    };
    let made = making.make(filter);
    made.inspect_err(|_| making.undo())
}

/// All that is known before anything is made.
struct Gathered<'a> {
    options: &'a CreateOptions,
    host: &'a Host,
    bundle: &'a Bundle,
    plan: &'a Plan,
    relay: Option<&'a Relay>,
    console: Option<ConsoleSocket>,
    hook_outputs: Outputs,
}

fn plan(
    context: &Context<'_>,
    options: &CreateOptions,
    bundle: &Bundle,
    host: &Host,
    notify: Option<&Path>,
) -> Result<Plan, Error> {
    let spec = Spec::parse(bundle.config(), bundle.config_path())?;
    for warning in &spec.warnings {
        (context.warn)(warning);
    }
    let wanted = plan::Options {
        id: options.id.clone(),
        bundle: bundle.path().to_owned(),
        no_pivot: options.no_pivot,
        no_new_keyring: options.no_new_keyring,
        cgroup_manager: context.cgroup_manager,
        wasm_required: context.wasm_required,
        notify: notify.map(Path::to_owned),
    };
    let plan = Plan::new(&spec, &wanted, host)?;
    if let Some(warning) = plan.cgroup.left_out {
        (context.warn)(warning);
    }
    Ok(plan)
}

/// A terminal needs somewhere to go, and a socket a terminal, as in runc.
fn console(options: &CreateOptions, plan: &Plan, terminal: Terminal) -> Result<Option<ConsoleSocket>, Error> {
    let wanted = plan.process.as_ref().is_some_and(|process| process.terminal);
    match (&options.console_socket, wanted) {
        (Some(path), true) => Ok(Some(ConsoleSocket::connect(path)?)),
        (None, true) if terminal == Terminal::Socket => Err(Error::Usage(
            "cannot allocate tty if wrun will detach without setting console socket (--console-socket)",
        )),
        (Some(_), false) => Err(Error::Usage(
            "cannot use console socket if wrun will not detach or allocate tty (process.terminal)",
        )),
        (None, _) => Ok(None),
    }
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

/// What has been made so far, to be undone on failure.
struct Making<'a> {
    context: &'a Context<'a>,
    gathered: Gathered<'a>,
    entry: &'a Entry,
    cgroup: Cgroup,
    /// Whether the cgroup is this container's; until then another may live there.
    cgroup_made: bool,
    rdt: Option<rdt::Group>,
    child: Option<Child>,
}

impl Making<'_> {
    fn make(&mut self, filter: Option<Filter>) -> Result<Created, Error> {
        let _lock = self.entry.lock()?;
        let record = self.make_groups()?;
        let child = self.launch(&record, filter)?;
        let service = Service {
            record: &record,
            cgroup: &self.cgroup,
            init: None,
            process: self.gathered.plan.process.as_ref(),
            hooks: Some((&self.gathered.plan.hooks, &self.gathered.hook_outputs)),
            console: self.gathered.console.as_ref(),
            rootless: self.gathered.host.rootless(),
            user_namespace: self.gathered.plan.namespaces.has(Kind::User),
            memory_limit: self.gathered.plan.cgroup.memory_limit(),
            guest: &self.gathered.plan.guest,
            warn: self.context.warn,
        };
        let child = self.child.insert(child);
        let master = child.serve(&service)?;
        // Now that its cgroup namespace has the container's cgroup as its root.
        self.cgroup
            .delegate(&self.gathered.plan.cgroup, child.pid.as_raw())?;
        fault::point("parent:ready");
        self.tell(record, master)
    }

    /// The cgroup, and the class of cache and memory bandwidth.
    fn make_groups(&mut self) -> Result<Record, Error> {
        let Gathered {
            plan, bundle, host, ..
        } = self.gathered;
        let rdt = plan
            .rdt
            .as_ref()
            .map(|rdt| rdt::Group::locate(rdt, &plan.id))
            .transpose()?;
        let mut record = first_record(plan, bundle, host, &self.cgroup);
        record.rdt = rdt.as_ref().map(|group| group.placement().clone());
        // Before the cgroup is made: whoever cleans up after us finds it by this.
        self.entry.write(&record)?;
        fault::point("parent:recorded");
        if self.context.notify_socket.is_some() {
            self.entry.make_notify_directory()?;
        }
        self.cgroup.make(&plan.cgroup)?;
        self.cgroup_made = true;
        // After the cgroup: its copy of config.json is also the sign that the cgroup is this container's.
        self.entry.write_config(bundle.config())?;
        if let (Some(plan), Some(group)) = (&plan.rdt, rdt) {
            self.rdt.insert(group).make(plan)?;
        }
        fault::point("parent:cgroup");
        Ok(record)
    }

    fn launch(&mut self, record: &Record, filter: Option<Filter>) -> Result<Child, Error> {
        let launch = Launch {
            plan: self.gathered.plan,
            record,
            state: self.entry.dir(),
            cgroup: &mut self.cgroup,
            filter,
            relay: self.gathered.relay,
            privileged: self.gathered.host.euid == 0,
            preserve_fds: self.gathered.options.preserve_fds,
            listen_fds: self.gathered.options.listen_fds,
            hook_outputs: self
                .gathered
                .hook_outputs
                .try_clone()
                .map_err(|source| Error::Process {
                    id: self.gathered.options.id.clone(),
                    action: "copy the descriptors of hooks' output",
                    source,
                })?,
        };
        Ok(launch.clone()?)
    }

    /// Tells all who are to know of the first process, and lets it wait for `start`.
    fn tell(&self, mut record: Record, master: Option<OwnedFd>) -> Result<Created, Error> {
        let options = self.gathered.options;
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
        record.placement = self.cgroup.placement();
        let identity = Identity::of(child.pid.as_raw());
        record.init = Some(identity.map_err(failed("read the start time of the first process"))?);
        self.entry.write(&record)?;
        write_pid_file(options.pid_file.as_deref(), child.pid)?;
        send_pidfd("--pidfd-socket", options.pidfd_socket.as_deref(), &child.pidfd)?;
        let receiver = self.gathered.plan.pidfd_receiver.as_deref();
        send_pidfd(plan::PIDFD_RECEIVER, receiver, &child.pidfd)?;
        child.commit()?;
        fault::point("parent:committed");
        Ok(Created {
            pid: child.pid,
            pidfd: child.pidfd.try_clone().map_err(failed("copy the pidfd"))?,
            master,
        })
    }

    /// Takes everything away again. What fails here is a warning: the error that led here is what is told.
    fn undo(&mut self) {
        if let Some(child) = &self.child {
            child.end();
        }
        let _lock = match self.entry.lock() {
            Ok(lock) => Some(lock),
            // Somebody has deleted it by force meanwhile, and another may have taken the id.
            Err(StateError::NotExist { .. }) => return,
            // What was made is ours to take away all the same.
            Err(error) => {
                self.warn_of::<StateError>(Err(error));
                None
            }
        };
        if self.cgroup_made {
            self.warn_of(self.cgroup.kill_and_wait());
            let discarded = self.cgroup.discard();
            self.warn_of(discarded);
        }
        if let Some(discarded) = self.rdt.as_mut().map(rdt::Group::discard) {
            self.warn_of(discarded);
        }
        if self.child.is_some()
            && let Ok(record) = self.entry.read()
        {
            delete::poststop(self.context, &record);
        }
        self.warn_of(self.entry.remove());
    }

    fn warn_of<E: std::error::Error>(&self, result: Result<(), E>) {
        if let Err(error) = result {
            let id = self.entry.id();
            (self.context.warn)(&format!("container {id}: {}", crate::process::chain(&error)));
        }
    }
}

fn first_record(plan: &Plan, bundle: &Bundle, host: &Host, cgroup: &Cgroup) -> Record {
    let namespaces = &plan.namespaces;
    Record {
        version: RECORD_VERSION,
        oci_version: plan.oci_version.clone(),
        id: plan.id.clone(),
        bundle: bundle.path().to_owned(),
        rootfs: plan.rootfs.path.clone(),
        init: None,
        created: now(),
        annotations: plan.annotations.clone(),
        placement: cgroup.placement(),
        rdt: None,
        namespaces: Kind::ALL
            .into_iter()
            .filter(|kind| namespaces.has(*kind))
            .collect(),
        own_pid_namespace: namespaces.is_new(Kind::Pid),
        rootless: host.rootless(),
        new_keyring: plan.process.as_ref().is_some_and(|process| process.new_keyring),
        poststart: plan.hooks.poststart.clone(),
        poststop: plan.hooks.poststop.clone(),
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
