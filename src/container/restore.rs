//! `restore`: makes a container from a bundle and a checkpoint. Its processes are CRIU's work; its state, its cgroup
//! and where all is mounted from are ours, as for `create`.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::sched::CloneFlags;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::checkpoint::{mount_without_checkpoint, refuse_rootless};
use super::create::{Created, write_pid_file};
use super::making::{self, Making, Terminal};
use super::run::{Following, become_reaper};
use super::stored::store;
use super::{Context, Error, RestoreOptions, close_to_others};
use crate::bundle::Bundle;
use crate::cgroup::{Cgroup, Entry};
use crate::console::{ConsoleSocket, Relay};
use crate::criu::{
    self, CgroupsMode, External, Feature, Images, Namespace, Notice, Program, Session, Stdio, Task, rpc,
};
use crate::hooks::{self, Outputs, Setting};
use crate::host::Host;
use crate::plan::namespaces::Kind;
use crate::plan::{self, Plan};
use crate::process::{self, compare};
use crate::rdt;
use crate::security::keyring::{self, Role};
use crate::state::{HookState, Identity, Record, Status, now};
use crate::sys::fault;

/// The directory of the state where CRIU finds the rootfs, as with runc.
const ROOT: &str = "criu-root";

/// Restores a container. In the foreground the result is its exit code, and it is deleted when it ends.
pub fn restore(context: &Context<'_>, options: &RestoreOptions) -> Result<u8, Error> {
    close_to_others()?;
    let host = Host::probe(context.rootless);
    refuse_rootless(&host)?;
    let failed = |action| {
        let id = options.id.clone();
        move |source| Error::Process { id, action, source }
    };
    if options.detach {
        return restore_with(context, options, &host, None).map(|_| 0);
    }
    if !options.no_subreaper {
        become_reaper().map_err(failed("become the reaper"))?;
    }
    let relay = Relay::new().map_err(failed("collect signals"))?;
    let restored = restore_with(context, options, &host, Some(&relay))?;
    let mut following = Following {
        context,
        id: &options.id,
        relay,
        notify: None,
    };
    following.until_the_end(restored, false)
}

fn restore_with(
    context: &Context<'_>,
    options: &RestoreOptions,
    host: &Host,
    relay: Option<&Relay>,
) -> Result<Created, Error> {
    let bundle = Bundle::open(&options.bundle, None)?;
    let wanted = plan::Options {
        id: options.id.clone(),
        bundle: bundle.path().to_owned(),
        no_pivot: options.no_pivot,
        no_new_keyring: false,
        cgroup_manager: context.cgroup_manager,
        wasm_required: context.wasm_required,
        notify: making::notify(context, &options.id),
    };
    let plan = making::plan(context, &wanted, &bundle, host)?;
    refuse_unrestorable(&plan)?;
    let terminal = if relay.is_some() {
        Terminal::Foreground
    } else {
        Terminal::Socket
    };
    let console = making::console(options.console_socket.as_deref(), &plan, terminal)?;
    let images = Images::existing(&options.images.image_path, options.images.work_path.as_deref())?;
    let program = Program::find()?;
    if options.images.shared.lazy_pages {
        program.require(Feature::LazyPages)?;
    }
    let cgroup = Cgroup::locate(&plan.cgroup)?;
    let config = criu::Config::find(&plan.annotations)?;
    let hook_outputs = making::hook_outputs(&plan)?;
    let entry = store(context).reserve(&options.id)?;
    fault::point("parent:reserved");
    let mut restoring = Restoring {
        options,
        relay,
        console,
        images,
        config,
        program,
        hook_outputs,
        making: Making::new(context, &plan, &bundle, host, &entry, cgroup),
        told: Told::default(),
    };
    let made = restoring.make();
    made.inspect_err(|_| restoring.undo())
}

/// What a checkpoint cannot be of.
fn refuse_unrestorable(plan: &Plan) -> Result<(), Error> {
    let refuse = |reason| {
        Err(Error::CannotRestore {
            id: plan.id.clone(),
            reason,
        })
    };
    if plan.process.is_none() {
        return refuse("config.json has no process");
    }
    if plan.workload.requires_wasm() {
        return refuse("a Wasm guest has no checkpoint");
    }
    if plan.rootfs.on_host {
        return refuse("linux.namespaces: there is no mount namespace");
    }
    if plan.namespaces.joins(Kind::Cgroup).is_some() {
        return refuse("linux.namespaces: criu cannot restore into a joined cgroup namespace");
    }
    if mount_without_checkpoint(plan).is_some() {
        return refuse("mounts: criu cannot restore id-mapped ones, or those of symbolic links themselves");
    }
    Ok(())
}

fn failed_for(id: &str, action: &'static str) -> impl FnOnce(io::Error) -> Error + use<> {
    let id = id.to_owned();
    move |source| Error::Process { id, action, source }
}

/// What CRIU has told of while it worked.
#[derive(Default)]
struct Told {
    /// Hooks were run, or begun.
    hooks: bool,
    /// What confines the processes is as config.json says.
    compared: bool,
    process: Option<(i32, OwnedFd)>,
    master: Option<OwnedFd>,
}

/// A container on its way back.
struct Restoring<'a> {
    options: &'a RestoreOptions,
    relay: Option<&'a Relay>,
    console: Option<ConsoleSocket>,
    images: Images,
    config: criu::Config,
    program: Program,
    hook_outputs: Outputs,
    making: Making<'a>,
    told: Told,
}

impl Restoring<'_> {
    fn make(&mut self) -> Result<Created, Error> {
        let _lock = self.making.entry.lock()?;
        let mut record = self.making.make_groups()?;
        let root = self.make_root()?;
        let restored = self.restore_into(&root, &mut record);
        // Empty for us: what is mounted there is so in CRIU's namespace, which is gone.
        let removed = std::fs::remove_dir(&root).map_err(|source| self.failed("remove criu-root")(source));
        restored.and(removed)?;
        self.tell()
    }

    fn make_root(&self) -> Result<PathBuf, Error> {
        let make = || -> io::Result<PathBuf> {
            let root = self.making.entry.path().canonicalize()?.join(ROOT);
            std::fs::create_dir(&root)?;
            Ok(root)
        };
        make().map_err(self.failed("make criu-root in the state directory"))
    }

    fn restore_into(&mut self, root: &Path, record: &mut Record) -> Result<(), Error> {
        let plan = self.making.plan;
        let namespaces = Namespace::open_all(plan)?;
        let (mut session, binds) = self.start(root, &namespaces, record)?;
        let opts = self.message(root, &binds, &namespaces)?;
        if self.relay.is_some() {
            session.heed(Relay::ends().map_err(self.failed("watch for signals"))?);
        }
        fault::point("restore:started");
        let images = &self.images;
        let mut watch = Watch {
            making: &self.making,
            hook_outputs: &self.hook_outputs,
            console: self.console.as_ref(),
            relabeled: self.options.lsm.profile.is_some(),
            criu: session.pid().as_raw(),
            told: &mut self.told,
            record,
        };
        Task::Restore.carry_out(session, opts, images, &mut |notice| watch.see(notice))?;
        if self.told.compared {
            Ok(())
        } else {
            Err(Error::NotCompared {
                id: self.options.id.clone(),
            })
        }
    }

    /// CRIU where the restored processes are to be: they are born where it is.
    fn start(
        &mut self,
        root: &Path,
        namespaces: &[Namespace],
        record: &mut Record,
    ) -> Result<(Session, Vec<External>), Error> {
        let making = &mut self.making;
        let plan = making.plan;
        let entry = making.cgroup.entry()?;
        let user_namespace = if plan.namespaces.has(Kind::User) {
            Some(
                process::own_map(&plan.namespaces)
                    .map_err(failed_for(&self.options.id, "make a user namespace with the ids"))?,
            )
        } else {
            None
        };
        let mut keep = entry.descriptors();
        keep.extend(namespaces.iter().map(AsRawFd::as_raw_fd));
        let terminal = plan.process.as_ref().is_some_and(|process| process.terminal);
        let stdio = if terminal { Stdio::Null } else { Stdio::Ours };
        let place = Place {
            relay: self.relay,
            entry: &entry,
            plan,
            // CRIU makes the namespace with the cgroups, and here it is to leave those alone.
            cgroup_namespace: self.options.images.shared.cgroups_mode == CgroupsMode::Ignore
                && plan.namespaces.is_new(Kind::Cgroup),
        };
        let (waiting, binds) = criu::in_own_mounts(|| {
            let binds = criu::prepare(root, &plan.rootfs)?;
            self.images = self.images.reopen()?;
            if let Some(user_namespace) = &user_namespace {
                self.images.map_ids(user_namespace.as_fd())?;
            }
            let waiting = Session::start(&self.program, &keep, stdio, &|| place.enter())?;
            Ok::<_, Error>((waiting, binds))
        })?;
        let pid = waiting.pid().as_raw();
        making.cgroup.attach(pid)?;
        if let Some(placement) = &record.rdt {
            rdt::add(placement, pid)?;
        }
        // Where systemd has put it is known only now.
        record.placement = making.cgroup.placement();
        making.entry.write(record)?;
        Ok((waiting.go()?, binds))
    }

    fn message(
        &self,
        root: &Path,
        binds: &[External],
        namespaces: &[Namespace],
    ) -> Result<rpc::Criu_opts, Error> {
        let plan = self.making.plan;
        let placement = self.making.cgroup.placement();
        let shared = &self.options.images.shared;
        let mut opts = shared.message(&self.images, Task::Restore.log(), &self.config);
        opts.set_root(root.to_string_lossy().into_owned());
        // A device node that is another by now is opened all the same.
        opts.set_evasive_devices(true);
        // The first process becomes our child and not CRIU's.
        opts.set_rst_sibling(true);
        self.options.lsm.add_to(&mut opts);
        criu::restored(&mut opts, binds, plan, &placement)?;
        criu::Namespace::restored(&mut opts, namespaces, plan)?;
        criu::cgroup_roots(&mut opts, &placement);
        self.images.inherit_streams(&mut opts);
        Ok(opts)
    }

    fn failed(&self, action: &'static str) -> impl FnOnce(io::Error) -> Error + use<> {
        failed_for(&self.options.id, action)
    }

    /// Tells all who are to know of the first process.
    fn tell(&mut self) -> Result<Created, Error> {
        let gone = || io::Error::from_raw_os_error(libc::ESRCH);
        let process = self.told.process.as_ref();
        let (pid, pidfd) = process.ok_or_else(|| self.failed("find the first process")(gone()))?;
        if self.options.images.shared.cgroups_mode == CgroupsMode::Ignore {
            // In the other modes CRIU has put the processes below, where they were.
            self.making.cgroup.delegate(&self.making.plan.cgroup, *pid)?;
        }
        let pid = nix::unistd::Pid::from_raw(*pid);
        write_pid_file(self.options.pid_file.as_deref(), pid)?;
        let pidfd = pidfd.try_clone().map_err(self.failed("copy the pidfd"))?;
        fault::point("parent:committed");
        Ok(Created {
            pid,
            pidfd,
            master: self.told.master.take(),
        })
    }

    fn undo(&mut self) {
        if let Some((_, pidfd)) = &self.told.process {
            // It may have ended by itself, which is as good.
            let _ = rustix::process::pidfd_send_signal(pidfd, rustix::process::Signal::KILL);
            let _ = crate::console::reap(pidfd.as_fd());
        }
        self.making.undo(self.told.hooks);
    }
}

/// What becomes CRIU does first, on its side of the fork.
struct Place<'a> {
    relay: Option<&'a Relay>,
    entry: &'a Entry,
    plan: &'a Plan,
    cgroup_namespace: bool,
}

impl Place<'_> {
    fn enter(&self) -> Result<(), String> {
        let failed = |action: &'static str| move |error: io::Error| format!("cannot {action}: {error}");
        self.relay
            .map_or(Ok(()), Relay::restore)
            .map_err(failed("restore the signal mask"))?;
        self.entry
            .move_self()
            .map_err(failed("enter the container's cgroup"))?;
        if self.cgroup_namespace {
            nix::sched::unshare(CloneFlags::CLONE_NEWCGROUP)
                .map_err(|error| failed("make a cgroup namespace")(error.into()))?;
        }
        if self
            .plan
            .process
            .as_ref()
            .is_some_and(|process| process.new_keyring)
        {
            let user_namespace = self.plan.namespaces.has(Kind::User);
            keyring::join(&self.plan.id, Role::Init { user_namespace })
                .map_err(|error| crate::reason::chain(&error))?;
        }
        Ok(())
    }
}

/// What is done when CRIU tells of a step.
struct Watch<'a, 'm> {
    making: &'a Making<'m>,
    hook_outputs: &'a Outputs,
    console: Option<&'a ConsoleSocket>,
    relabeled: bool,
    criu: i32,
    told: &'a mut Told,
    record: &'a mut Record,
}

impl Watch<'_, '_> {
    fn see(&mut self, notice: Notice) -> Result<(), Error> {
        match notice.script.as_str() {
            "setup-namespaces" => self.set_up(notice.pid),
            "post-restore" => self.keep(notice.pid),
            "pre-resume" => self.compare().inspect_err(|_| self.kill()),
            "orphan-pts-master" => {
                if let Some(master) = notice.descriptor {
                    self.told.master = process::hand_over(master, self.console)?;
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// The namespaces are there, and nothing of the container runs yet.
    fn set_up(&mut self, pid: i32) -> Result<(), Error> {
        let lists = &self.making.plan.hooks;
        self.remember(pid)?;
        compare::early_namespaces(pid, &self.making.plan.namespaces).map_err(self.differs())?;
        process::renew_network(pid, self.making.plan)?;
        self.told.hooks = true;
        let state = HookState::new(self.record, Status::Creating)
            .with_pid(pid)
            .to_json();
        let setting = |stage| Setting {
            stage,
            cwd: Some(&self.record.bundle),
            outputs: Some(self.hook_outputs),
        };
        hooks::run(&lists.prestart, &state, setting("prestart"))?;
        hooks::run(&lists.create_runtime, &state, setting("createRuntime"))?;
        fault::point("parent:hooks");
        Ok(())
    }

    /// All is restored, and the processes wait for our answer.
    fn keep(&mut self, pid: i32) -> Result<(), Error> {
        self.remember(pid)?;
        let failed = |action| failed_for(&self.making.plan.id, action);
        compare::namespaces(pid, &self.making.plan.namespaces).map_err(self.differs())?;
        process::protect_mounts(pid, self.making.plan)?;
        let identity = Identity::of(pid).map_err(failed("read the start time of the first process"))?;
        let time = has_own(Kind::Time, pid).map_err(failed("look at the time namespace"))?;
        if time && !self.record.namespaces.contains(&Kind::Time) {
            // CRIU makes one, so that clocks go on where they were.
            self.record.namespaces.push(Kind::Time);
        }
        self.record.init = Some(identity);
        // They may be files by now where they were pipes before.
        self.record.streams = making::streams(&pid.to_string());
        self.record.created = now();
        self.making.entry.write(self.record)?;
        fault::point("restore:recorded");
        Ok(())
    }
}

impl Watch<'_, '_> {
    /// Keeps hold of the first process, to end it where this comes to nothing.
    fn remember(&mut self, pid: i32) -> Result<(), Error> {
        let failed = |action| failed_for(&self.record.id, action);
        let gone = || io::Error::from_raw_os_error(libc::ESRCH);
        let number = Pid::from_raw(pid).ok_or_else(|| failed("find the first process")(gone()))?;
        let pidfd = pidfd_open(number, PidfdFlags::empty())
            .map_err(|error| failed("open the first process")(error.into()))?;
        self.told.process = Some((pid, pidfd));
        Ok(())
    }

    /// Credentials, filters and labels are what CRIU restores last; then the processes are stopped once more.
    fn compare(&mut self) -> Result<(), Error> {
        // CRIU does not say it again at this step.
        let gone = || io::Error::from_raw_os_error(libc::ESRCH);
        let process = self.told.process.as_ref();
        let (pid, _) =
            process.ok_or_else(|| failed_for(&self.record.id, "find the first process")(gone()))?;
        compare::confinement(*pid, self.making.plan, self.relabeled).map_err(self.differs())?;
        self.told.compared = true;
        Ok(())
    }

    fn differs(&self) -> impl FnOnce(compare::Difference) -> Error + use<> {
        let id = self.record.id.clone();
        move |source| Error::Differs { id, source }
    }

    /// At this step CRIU does not heed what we answer: the processes would go on.
    fn kill(&self) {
        if let Some((_, pidfd)) = &self.told.process {
            // What lives on in spite of it is killed when all is undone.
            let _ = rustix::process::pidfd_send_signal(pidfd, rustix::process::Signal::KILL);
        }
        // CRIU is among them, holds them until it ends, and waits for them: it comes last.
        let mut pids = self.making.cgroup.processes().unwrap_or_default();
        pids.retain(|pid| *pid != self.criu);
        pids.push(self.criu);
        for pid in pids {
            let _ =
                nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
        }
    }
}

/// Whether a process has another namespace of a kind than we.
fn has_own(kind: Kind, pid: i32) -> io::Result<bool> {
    let number = |process: &str| match std::fs::metadata(format!("/proc/{process}/ns/{}", kind.link())) {
        Ok(metadata) => Ok(Some(metadata.ino())),
        // A kernel without this kind.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    };
    Ok(number("self")? != number(&pid.to_string())?)
}
