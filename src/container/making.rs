//! What `create` and `restore` have in common: the plan, the state, the groups of a new container, and taking all
//! of it away again where it comes to nothing.

use std::path::{Path, PathBuf};

use super::{Context, Error, delete};
use crate::bundle::Bundle;
use crate::cgroup::Cgroup;
use crate::console::ConsoleSocket;
use crate::hooks::Outputs;
use crate::host::Host;
use crate::plan::namespaces::Kind;
use crate::plan::{Options, Plan};
use crate::rdt;
use crate::spec::Spec;
use crate::state::{Entry, RECORD_VERSION, Record, StateError, now};
use crate::sys::fault;

/// Where the container's terminal goes, if it has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Terminal {
    /// To the console socket, which must be given.
    Socket,
    /// To the caller.
    Foreground,
}

/// Reads the bundle's configuration and decides what to do.
pub(super) fn plan(
    context: &Context<'_>,
    options: &Options,
    bundle: &Bundle,
    host: &Host,
) -> Result<Plan, Error> {
    let spec = Spec::parse(bundle.config(), bundle.config_path())?;
    for warning in &spec.warnings {
        (context.warn)(warning);
    }
    let plan = Plan::new(&spec, options, host)?;
    if let Some(warning) = plan.cgroup.left_out {
        (context.warn)(warning);
    }
    Ok(plan)
}

/// Where the container's NOTIFY_SOCKET will be, if our caller waits for word from it.
pub(super) fn notify(context: &Context<'_>, id: &str) -> Option<PathBuf> {
    let wanted = context.notify_socket.is_some();
    wanted.then(|| Entry::notify_path(&context.root.join(id)))
}

/// Where hooks write, opened only where there are some that do.
pub(super) fn hook_outputs(plan: &Plan) -> Result<Outputs, Error> {
    if !plan.hooks.write_to_host() {
        return Ok(Outputs::default());
    }
    Ok(Outputs::open(&plan.hook_output)?)
}

/// A terminal needs somewhere to go, and a socket a terminal, as in runc.
pub(super) fn console(
    socket: Option<&Path>,
    plan: &Plan,
    terminal: Terminal,
) -> Result<Option<ConsoleSocket>, Error> {
    let wanted = plan.process.as_ref().is_some_and(|process| process.terminal);
    match (socket, wanted) {
        (Some(path), true) if terminal == Terminal::Socket => Ok(Some(ConsoleSocket::connect(path)?)),
        (None, true) if terminal == Terminal::Socket => Err(Error::Usage(
            "cannot allocate tty if wrun will detach without setting console socket (--console-socket)",
        )),
        (Some(_), _) => Err(Error::Usage(
            "cannot use console socket if wrun will not detach or allocate tty (process.terminal)",
        )),
        (None, _) => Ok(None),
    }
}

/// What has been made so far, to be undone on failure.
pub(super) struct Making<'a> {
    pub context: &'a Context<'a>,
    pub plan: &'a Plan,
    pub bundle: &'a Bundle,
    pub host: &'a Host,
    pub entry: &'a Entry,
    pub cgroup: Cgroup,
    /// Whether the cgroup is this container's; until then another may live there.
    cgroup_made: bool,
    rdt: Option<rdt::Group>,
}

impl<'a> Making<'a> {
    pub fn new(
        context: &'a Context<'a>,
        plan: &'a Plan,
        bundle: &'a Bundle,
        host: &'a Host,
        entry: &'a Entry,
        cgroup: Cgroup,
    ) -> Self {
        Self {
            context,
            plan,
            bundle,
            host,
            entry,
            cgroup,
            cgroup_made: false,
            rdt: None,
        }
    }

    /// The cgroup, and the class of cache and memory bandwidth.
    pub fn make_groups(&mut self) -> Result<Record, Error> {
        let rdt = self
            .plan
            .rdt
            .as_ref()
            .map(|rdt| rdt::Group::locate(rdt, &self.plan.id))
            .transpose()?;
        let mut record = self.first_record();
        record.rdt = rdt.as_ref().map(|group| group.placement().clone());
        // Before the cgroup is made: whoever cleans up after us finds it by this.
        self.entry.write(&record)?;
        fault::point("parent:recorded");
        if self.context.notify_socket.is_some() {
            self.entry.make_notify_directory()?;
        }
        self.cgroup.make(&self.plan.cgroup).map_err(Error::MakeCgroup)?;
        self.cgroup_made = true;
        if self.host.rootless()
            && self.cgroup.placement().paths.is_empty()
            && !self.plan.namespaces.is_new(Kind::Pid)
        {
            // The words are those that runc's users know.
            (self.context.warn)(
                "there is neither a cgroup nor a pid namespace by which all processes of this rootless container \
                 could be found and ended. Such configuration is strongly discouraged",
            );
        }
        // After the cgroup: its copy of config.json is also the sign that the cgroup is this container's.
        self.entry.write_config(self.bundle.config())?;
        if let (Some(plan), Some(group)) = (&self.plan.rdt, rdt) {
            self.rdt.insert(group).make(plan)?;
        }
        fault::point("parent:cgroup");
        Ok(record)
    }

    fn first_record(&self) -> Record {
        let plan = self.plan;
        let namespaces = &plan.namespaces;
        Record {
            version: RECORD_VERSION,
            oci_version: plan.oci_version.clone(),
            id: plan.id.clone(),
            bundle: self.bundle.path().to_owned(),
            rootfs: plan.rootfs.path.clone(),
            init: None,
            created: now(),
            annotations: plan.annotations.clone(),
            placement: self.cgroup.placement(),
            rdt: None,
            namespaces: Kind::ALL
                .into_iter()
                .filter(|kind| namespaces.has(*kind))
                .collect(),
            own_pid_namespace: namespaces.is_new(Kind::Pid),
            rootless: self.host.rootless(),
            new_keyring: plan.process.as_ref().is_some_and(|process| process.new_keyring),
            streams: streams("self"),
            poststart: plan.hooks.poststart.clone(),
            poststop: plan.hooks.poststop.clone(),
            live_mounts: Vec::new(),
        }
    }

    /// Takes everything away again. What fails here is a warning: the error that led here is what is told.
    /// `lived` tells whether there was a process, for which hooks may have run.
    pub fn undo(&mut self, lived: bool) {
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
        if lived && let Ok(record) = self.entry.read() {
            delete::poststop(self.context, &record);
        }
        self.warn_of(self.entry.remove());
    }

    fn warn_of<E: std::error::Error>(&self, result: Result<(), E>) {
        if let Err(error) = result {
            let id = self.entry.id();
            (self.context.warn)(&format!("container {id}: {}", crate::reason::chain(&error)));
        }
    }
}

/// The standard streams of a process: ours, which the container's first process gets where it has no terminal, or its own.
pub(super) fn streams(process: &str) -> Vec<String> {
    let name = |number| std::fs::read_link(format!("/proc/{process}/fd/{number}"));
    // One that is closed, or a /proc that is missing, is no pipe that a checkpoint would have to know.
    (0..3)
        .map(|number| name(number).map_or_else(|_| String::new(), |name| name.to_string_lossy().into_owned()))
        .collect()
}
