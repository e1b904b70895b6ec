//! `run`: create and start in one, and in the foreground also wait, forward and delete.

use std::io;
use std::os::fd::AsFd;

use rustix::process::Pid;

use super::create::{Created, create_with};
use super::making::Terminal;
use super::notify::Notify;
use super::start::begin as begin_start;
use super::stored::store;
use super::{Context, Error, RunOptions, begin, delete, start, tell_of_oom};
use crate::cgroup::Cgroup;
use crate::console::{Relay, Waited, Watched};
use crate::host::Host;

/// Runs a container. In the foreground the result is its exit code, and it is deleted unless it is to be kept.
pub fn run(context: &Context<'_>, options: &RunOptions) -> Result<u8, Error> {
    let failed = |action| {
        let id = options.create.id.clone();
        move |source| Error::Process { id, action, source }
    };
    let host = Host::probe(context.rootless);
    begin(options.create.preserve_fds + options.create.listen_fds)?;
    if options.detach {
        create_with(context, &options.create, &host, Terminal::Socket, None)?;
        return match start(context, &options.create.id) {
            Ok(()) => Ok(0),
            Err(error) => Err(undo(context, &options.create.id, error)),
        };
    }
    if !options.no_subreaper {
        become_reaper().map_err(failed("become the reaper"))?;
    }
    let relay = Relay::new().map_err(failed("collect signals"))?;
    let terminal = if options.create.console_socket.is_some() {
        Terminal::Socket
    } else {
        Terminal::Foreground
    };
    let created = create_with(context, &options.create, &host, terminal, Some(&relay))?;
    let notify = match begin_start(context, &options.create.id) {
        Ok(notify) => notify,
        Err(error) => return Err(undo(context, &options.create.id, error)),
    };
    let mut following = Following {
        context,
        id: &options.create.id,
        relay,
        notify,
    };
    following.until_the_end(created, options.keep)
}

/// So that we see the end of processes whose parents in the container ended before them.
pub(super) fn become_reaper() -> io::Result<()> {
    Ok(rustix::process::set_child_subreaper(Some(Pid::INIT))?)
}

/// Staying with a running container.
pub(super) struct Following<'a> {
    pub context: &'a Context<'a>,
    pub id: &'a str,
    pub relay: Relay,
    /// Where word of the container comes from, if somebody waits for it.
    pub notify: Option<Notify>,
}

impl Following<'_> {
    /// Until it ends; then it is deleted unless it is to be kept. The result is its exit code.
    pub fn until_the_end(&mut self, created: Created, keep: bool) -> Result<u8, Error> {
        let (context, id, notify) = (self.context, self.id, self.notify.as_ref());
        let Created { pid, pidfd, master } = created;
        let mut pass_on = || notify.is_some_and(|notify| !pass_on(context, notify));
        let watched = notify.map(|notify| Watched {
            fd: notify.descriptor(),
            ready: &mut pass_on,
        });
        let waited = self
            .relay
            .wait(pidfd.as_fd(), pid.as_raw(), master, watched)
            .map_err(|source| Error::Process {
                id: id.to_owned(),
                action: "follow the first process",
                source,
            });
        let waited = match waited {
            Ok(waited) => waited,
            Err(error) => return Err(undo(context, id, error)),
        };
        if waited == Waited::Signaled(9)
            && let Ok(record) = store(context).open(id).and_then(|entry| entry.read())
        {
            // Where there is no record any more, somebody has deleted the container by force, which is as much a
            // reason.
            tell_of_oom(context, &Cgroup::open(&record.placement), 0);
        }
        if !keep {
            let entry = store(context).open(id)?;
            delete::remove(context, &entry, true)?;
        }
        Ok(waited.code())
    }
}

/// Passes the container's word on if it has come; whether there is nothing more to be passed on. The service is this
/// process, which ends after the container, so that nobody has to wait for the service manager.
fn pass_on(context: &Context<'_>, notify: &Notify) -> bool {
    let told = match notify.is_ready() {
        Ok(true) => notify.tell(std::process::id()),
        Ok(false) => return false,
        Err(error) => Err(error),
    };
    if let Err(error) = told {
        (context.warn)(&format!(
            "NOTIFY_SOCKET: cannot pass the container's word on: {error}"
        ));
    }
    true
}

/// Removes what a failed run has made; the failure itself is what is told.
fn undo(context: &Context<'_>, id: &str, error: Error) -> Error {
    if let Err(another) = delete::destroy(context, id) {
        (context.warn)(&format!(
            "cannot remove container {id}: {}",
            crate::reason::chain(&another)
        ));
    }
    error
}
