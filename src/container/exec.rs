//! `exec`: a further process in a running container.

use std::os::fd::AsFd;

use super::create::{send_pidfd, write_pid_file};
use super::stored::{init_pidfd, permitted, refuse, store};
use super::{Context, Error, ExecOptions, ExecRequest, begin, tell_of_oom};
use crate::cgroup::Cgroup;
use crate::console::{ConsoleSocket, Relay, Waited};
use crate::host::Host;
use crate::plan::namespaces::Kind;
use crate::plan::process::Process;
use crate::plan::{GuestOptions, PlanError, Workload, exec};
use crate::process::{Child, Exec, Service};
use crate::security::seccomp_cache;
use crate::spec::{self, Spec};
use crate::state::{Refused, Status, Verb};

/// Runs a process in a container. Detached, the result is 0 once it runs; otherwise its exit code.
pub fn exec(context: &Context<'_>, options: &ExecOptions) -> Result<u8, Error> {
    let host = Host::probe(context.rootless);
    begin(options.preserve_fds + options.listen_fds)?;
    let entry = store(context).open(&options.id)?;
    let (record, _) = permitted(
        &entry,
        Verb::Exec {
            ignore_paused: options.ignore_paused,
        },
    )?;
    let init =
        init_pidfd(&record)?.ok_or_else(|| refuse(&options.id)(Refused::NotRunning(Status::Stopped)))?;
    if !record.namespaces.contains(&Kind::Mount) {
        return Err(refuse(&options.id)(Refused::HostMounts("exec in")));
    }
    // The copy kept at creation: the bundle's may have been changed since.
    let spec = Spec::parse(&entry.read_config()?, &entry.path().join("config.json"))?;
    let guest = GuestOptions::parse(&spec.config.annotations).map_err(PlanError::from)?;
    let process = process(context, &spec, options, record.new_keyring, &host)?;
    let console = console(options, &process)?;
    let filter = match &process.seccomp {
        Some(seccomp) => Some(seccomp_cache::compile(
            seccomp,
            super::filter_cache(&host).as_deref(),
        )?),
        None => None,
    };
    let mut relay = if options.detach {
        None
    } else {
        Some(Relay::new().map_err(failed(options, "collect signals"))?)
    };
    let cgroup = Cgroup::open(&record.placement);
    let memory_limit = cgroup.memory_limit()?;
    let killed_before = cgroup.oom_kills()?;
    let init_pid = record.init.map_or(0, |init| init.pid);
    let container = init.try_clone().map_err(failed(options, "copy the pidfd"))?;
    let service = Service {
        record: &record,
        plan: None,
        cgroup: &cgroup,
        init: Some(&container),
        process: Some(&process),
        hooks: None,
        console: console.as_ref(),
        rootless: host.rootless(),
        user_namespace: record.namespaces.contains(&Kind::User),
        memory_limit,
        guest: &guest,
        warn: context.warn,
    };
    let exec = Exec {
        id: &options.id,
        process: &process,
        workload: Workload::Detect,
        init,
        namespaces: &record.namespaces,
        entry: cgroup.entry_for_exec(&options.cgroup, init_pid)?,
        rootless: host.rootless(),
        in_user_namespace: host.in_user_namespace(),
        filter,
        relay: relay.as_ref(),
        preserve_fds: options.preserve_fds,
        listen_fds: options.listen_fds,
        memory_limit,
        guest: &guest,
        announced: options.pid_file.is_some() || options.pidfd_socket.is_some(),
    };
    let waits = exec.waits();
    let (child, master) = exec.launch(&service)?;
    if let Err(error) = let_go(options, &child, waits) {
        child.end();
        return Err(error);
    }
    match &mut relay {
        None => Ok(0),
        Some(relay) => {
            let waited = relay.wait(child.pidfd.as_fd(), child.pid.as_raw(), master, None);
            let waited = waited.map_err(failed(options, "follow the process"))?;
            if waited == Waited::Signaled(9) {
                tell_of_oom(context, &cgroup, killed_before);
            }
            Ok(waited.code())
        }
    }
}

fn failed(options: &ExecOptions, action: &'static str) -> impl FnOnce(std::io::Error) -> Error + use<> {
    let id = options.id.clone();
    move |source| Error::Process { id, action, source }
}

/// Tells everyone who asked about the process, and lets it run.
fn let_go(options: &ExecOptions, child: &Child, waits: bool) -> Result<(), Error> {
    write_pid_file(options.pid_file.as_deref(), child.pid)?;
    send_pidfd("--pidfd-socket", options.pidfd_socket.as_deref(), &child.pidfd)?;
    if waits {
        child.commit()?;
    }
    Ok(child.wait_for_program()?)
}

fn process(
    context: &Context<'_>,
    spec: &Spec,
    options: &ExecOptions,
    new_keyring: bool,
    host: &Host,
) -> Result<Process, Error> {
    let request = match &options.request {
        ExecRequest::File(path) => {
            let bytes = std::fs::read(path).map_err(|source| Error::File {
                option: "--process",
                path: path.clone(),
                action: "read it",
                source,
            })?;
            {
                let (process, warnings) = spec::process_from_json(&bytes, path)?;
                warnings.iter().for_each(|warning| (context.warn)(warning));
                exec::ExecRequest::Process(process)
            }
        }
        ExecRequest::Flags(flags) => exec::ExecRequest::Flags(flags.clone()),
    };
    Ok(exec::for_exec(spec, request, new_keyring, host)?)
}

fn console(options: &ExecOptions, process: &Process) -> Result<Option<ConsoleSocket>, Error> {
    match (&options.console_socket, process.terminal) {
        (Some(path), true) => Ok(Some(ConsoleSocket::connect(path)?)),
        (None, true) if options.detach => Err(Error::Usage(
            "cannot allocate tty if wrun will detach without setting console socket (--console-socket)",
        )),
        (Some(_), false) => Err(Error::Usage(
            "cannot use console socket if wrun will not detach or allocate tty (process.terminal)",
        )),
        (None, _) => Ok(None),
    }
}
