//! `checkpoint`: has CRIU write a container's processes to files, and takes the container away, or lets it go on.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use super::making::streams;
use super::stored::{permitted, refuse, store};
use super::{CheckpointOptions, Context, Error, close_to_others, delete};
use crate::cgroup::Cgroup;
use crate::criu::{self, Config, Feature, Images, Notice, Program, Session, Stdio, Task, rpc};
use crate::host::Host;
use crate::plan::cgroup::{CgroupManager, CgroupMode, Location};
use crate::plan::mounts::MountSource;
use crate::plan::namespaces::Kind;
use crate::plan::{self, Plan};
use crate::spec::Spec;
use crate::state::{Entry, Record, Refused, Status, Verb};
use crate::sys::fault;

/// Dumps a container. Unless it is to go on, it is gone afterwards, as with runc.
pub fn checkpoint(context: &Context<'_>, options: &CheckpointOptions) -> Result<(), Error> {
    // As with runc, it counts for lazy pages alone.
    let status_fd = options.status_fd.filter(|_| options.images.shared.lazy_pages);
    let mut status_fd = status_fd.map(adopt_status_fd).transpose()?;
    close_to_others()?;
    let host = Host::probe(context.rootless);
    refuse_rootless(&host)?;
    let entry = store(context).open(&options.id)?;
    {
        let _lock = entry.lock()?;
        let (record, status) = permitted(&entry, Verb::Checkpoint)?;
        if !record.namespaces.contains(&Kind::Mount) {
            return Err(refuse(&options.id)(Refused::HostMounts("checkpoint")));
        }
        let dump = Dump::gather(options, &host, &entry, record)?;
        let dumped = dump.carry_out(&mut status_fd);
        let thawed = if dumped.is_err() || dump.goes_on() {
            dump.thaw(status)
        } else {
            Ok(())
        };
        if let (Err(_), Err(error)) = (&dumped, &thawed) {
            // Why nothing was dumped comes first.
            (context.warn)(&crate::reason::chain(error));
        }
        dumped.and(thawed)?;
        if dump.goes_on() {
            return Ok(());
        }
        fault::point("checkpoint:dumped");
    }
    // The checkpoint is whole; what is left of the container can be deleted again.
    if let Err(error) = delete::remove(context, &entry, true) {
        (context.warn)(&format!(
            "cannot remove container {}: {}",
            options.id,
            crate::reason::chain(&error)
        ));
    }
    Ok(())
}

/// CRIU dumps and restores without root, but not into what a rootless container is made of.
pub(super) fn refuse_rootless(host: &Host) -> Result<(), Error> {
    if host.rootless() {
        return Err(Error::Usage(
            "checkpoint and restore need root on the host: criu cannot do them without",
        ));
    }
    Ok(())
}

/// Takes over the descriptor that is to hear of lazy pages.
fn adopt_status_fd(number: i32) -> Result<File, Error> {
    let wrong = |action| {
        move |source: std::io::Error| Error::File {
            option: "--status-fd",
            path: PathBuf::from(number.to_string()),
            action,
            source,
        }
    };
    if number < 3 {
        return Err(wrong("use a standard stream")(
            std::io::ErrorKind::InvalidInput.into(),
        ));
    }
    crate::sys::fd::check_one(number).map_err(wrong("find it open; our caller must leave it so"))?;
    let descriptor = crate::sys::fd::adopt(number).map_err(wrong("find it open"))?;
    let flags = rustix::fs::fcntl_getfl(&descriptor).map_err(|error| wrong("examine it")(error.into()))?;
    if !flags.intersects(OFlags::WRONLY | OFlags::RDWR) {
        return Err(wrong("write to it")(std::io::Error::from_raw_os_error(
            libc::EBADF,
        )));
    }
    Ok(File::from(descriptor))
}

/// All that is known before anything is dumped.
struct Dump<'a> {
    options: &'a CheckpointOptions,
    record: Record,
    /// Of the container's first process.
    pid: i32,
    plan: Plan,
    config: Config,
    cgroup: Cgroup,
    program: Program,
    images: Images,
}

impl<'a> Dump<'a> {
    fn gather(
        options: &'a CheckpointOptions,
        host: &Host,
        entry: &Entry,
        record: Record,
    ) -> Result<Self, Error> {
        let spec = Spec::parse(&entry.read_config()?, &entry.path().join(crate::bundle::CONFIG))?;
        let has_notify = entry
            .notify_directory()
            .map_err(|source| Error::Process {
                id: options.id.clone(),
                action: "look for the notify directory",
                source,
            })?
            .is_some();
        let wanted = plan::Options {
            id: options.id.clone(),
            bundle: record.bundle.clone(),
            no_pivot: false,
            no_new_keyring: !record.new_keyring,
            // Not what the command line says: engines say it to `create` alone.
            cgroup_manager: match record.placement.location {
                Location::Systemd { .. } => CgroupManager::Systemd,
                Location::Cgroupfs { .. } => CgroupManager::Cgroupfs,
                Location::None => CgroupManager::Disabled,
            },
            wasm_required: false,
            notify: has_notify.then(|| Entry::notify_path(entry.path())),
        };
        let plan = Plan::new(&spec, &wanted, host)?;
        let cgroup = Cgroup::open(&record.placement);
        let pid = record.init.map_or(0, |init| init.pid);
        refuse_our_own(&options.id, pid, &cgroup)?;
        refuse_undumpable(&options.id, &plan)?;
        let config = Config::find(&plan.annotations)?;
        let program = Program::find()?;
        if options.pre_dump {
            program.require(Feature::MemoryTracking)?;
        }
        if options.images.shared.lazy_pages {
            program.require(Feature::LazyPages)?;
        }
        let images = Images::create(&options.images.image_path, options.images.work_path.as_deref())?;
        if let Some(parent) = &options.parent_path {
            images.check_parent(parent)?;
        }
        Ok(Self {
            options,
            record,
            pid,
            plan,
            config,
            cgroup,
            program,
            images,
        })
    }

    fn goes_on(&self) -> bool {
        self.options.leave_running || self.options.pre_dump
    }

    fn carry_out(&self, status_fd: &mut Option<File>) -> Result<(), Error> {
        let task = if self.options.pre_dump {
            Task::PreDump
        } else {
            Task::Dump
        };
        let opts = self.message(task)?;
        let private = || {
            // Memory is secret, and an engine's directory may be open to all.
            rustix::process::umask(Mode::RWXG | Mode::RWXO);
            Ok(())
        };
        let mut session = Session::start(&self.program, &[], Stdio::Null, &private)?.go()?;
        session.follow(self.pid);
        fault::point("checkpoint:started");
        task.carry_out(session, opts, &self.images, &mut |notice: Notice| {
            match notice.script.as_str() {
                "status-ready" => tell_ready(status_fd),
                "network-lock" => {
                    fault::point("checkpoint:locked");
                    refuse_our_own(&self.options.id, self.pid, &self.cgroup)?;
                }
                // Whatever was started after the first look: nothing can be now.
                "post-dump" => refuse_our_own(&self.options.id, self.pid, &self.cgroup)?,
                _ => {}
            }
            Ok::<(), Error>(())
        })?;
        if self.record.namespaces.contains(&Kind::User) {
            self.images.show_time_offsets()?;
        }
        Ok(())
    }

    fn message(&self, task: Task) -> Result<rpc::Criu_opts, Error> {
        let options = self.options;
        let mut opts = options
            .images
            .shared
            .message(&self.images, task.log(), &self.config);
        opts.set_pid(self.pid);
        opts.set_root(self.record.rootfs.to_string_lossy().into_owned());
        opts.set_leave_running(options.leave_running);
        opts.set_tcp_skip_in_flight(options.tcp_skip_in_flight);
        opts.set_link_remap(options.link_remap);
        if let Some(path) = self.freezer() {
            opts.set_freeze_cgroup(path.to_string_lossy().into_owned());
        }
        if let Some(server) = &options.page_server {
            server.add_to(&mut opts);
        }
        if let Some(parent) = &options.parent_path {
            opts.set_parent_img(parent.to_string_lossy().into_owned());
            opts.set_track_mem(true);
        }
        if task == Task::Dump {
            criu::dumped(&mut opts, self.pid, &self.plan)?;
            self.images.write_descriptors(&self.streams())?;
        }
        Ok(opts)
    }

    /// The cgroup by which CRIU stops all processes at once.
    fn freezer(&self) -> Option<&Path> {
        let placement = &self.record.placement;
        let controller = match placement.mode {
            CgroupMode::V1 => "freezer",
            CgroupMode::V2 => "",
        };
        placement.paths.get(controller).map(PathBuf::as_path)
    }

    fn streams(&self) -> Vec<String> {
        if !self.record.streams.is_empty() {
            return self.record.streams.clone();
        }
        streams(&self.pid.to_string())
    }

    /// A CRIU that was killed leaves the cgroup frozen.
    fn thaw(&self, before: Status) -> Result<(), Error> {
        if before != Status::Paused && self.cgroup.is_frozen()? {
            self.cgroup.thaw()?;
        }
        Ok(())
    }
}

/// Refuses processes that run wrun: CRIU would restore them without what confines them.
fn refuse_our_own(id: &str, init: i32, cgroup: &Cgroup) -> Result<(), Error> {
    let mut pids = cgroup.processes()?;
    if !pids.contains(&init) {
        pids.push(init);
    }
    if let Some(pid) = pids.into_iter().find(|pid| is_our_own(*pid)) {
        return Err(Error::CannotDump {
            id: id.to_owned(),
            reason: format!(
                "process {pid} is a Wasm guest, or about to become a program; it cannot be checkpointed: criu would \
                 restore it without what confines it"
            ),
        });
    }
    Ok(())
}

/// What CRIU would dump, but not restore as it was, and says nothing about.
fn refuse_undumpable(id: &str, plan: &Plan) -> Result<(), Error> {
    let refuse = |reason: String| Error::CannotDump {
        id: id.to_owned(),
        reason,
    };
    if let Some((index, why)) = mount_without_checkpoint(plan) {
        return Err(refuse(format!(
            "mounts[{index}] {why}, which criu cannot restore, so it cannot be checkpointed"
        )));
    }
    let seccomp = plan.process.as_ref().and_then(|process| process.seccomp.as_ref());
    if seccomp.is_some_and(|seccomp| seccomp.listener.is_some()) {
        return Err(refuse(
            "linux.seccomp.listenerPath: the agent that listens cannot be restored, so it cannot be checkpointed"
                .to_owned(),
        ));
    }
    Ok(())
}

/// A mount that CRIU would restore as another one.
pub(super) fn mount_without_checkpoint(plan: &Plan) -> Option<(usize, &'static str)> {
    plan.rootfs.mounts.iter().find_map(|mount| {
        let nofollow = matches!(&mount.source, MountSource::Bind { links, .. }
            if links.source_nofollow || links.destination_nofollow);
        if nofollow {
            Some((mount.index, "is of or on a symbolic link itself"))
        } else {
            mount.idmap.is_some().then_some((mount.index, "is id-mapped"))
        }
    })
}

/// Whether a process runs wrun itself: its executable is on a mount that has no place in any tree, see
/// [`crate::process::protect_executable`].
fn is_our_own(pid: i32) -> bool {
    std::fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|path| path == Path::new("/"))
}

/// A reader that has gone does not mind.
fn tell_ready(status_fd: &mut Option<File>) {
    if let Some(mut file) = status_fd.take() {
        let _ = file.write_all(&[0]);
    }
}
