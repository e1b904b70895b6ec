//! The recipe of a container's first process, from the clone to the program.
//!
//! It runs as a copy of the command, in the container's new namespaces, and never returns into it: it becomes
//! the program or exits. The order below is part of the design; each step says what it must come after.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::sched::CloneFlags;
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};
use rustix::process::{DumpableBehavior, getpid};

use super::confine::{Confined, Confinement};
use super::gate::Gate;
use super::join::JoinError;
use super::own_proc::{self, OwnProc, PROC_MAGIC};
use super::protect::{ProtectError, undumpable};
use super::protocol::{Channel, ChannelError, Message};
use super::spawn::{Spawn, SpawnError};
use super::streams;
use crate::console::{ConsoleError, Terminal};
use crate::hooks::{self, HookError, Outputs, Setting};
use crate::plan::Plan;
use crate::plan::cgroup::Placement;
use crate::plan::namespaces::{Kind, Namespaces};
use crate::plan::process::ConsoleSize;
use crate::rootfs::{CgroupView, RootfsError, Sources, Tree, resolve};
use crate::security::cpu_affinity;
use crate::security::keyring::Role;
use crate::security::seccomp::Program as Filter;
use crate::state::{HookState, Record, Status};
use crate::sys::fault;

/// What init is born with.
pub struct Birth<'a> {
    pub spawn: Spawn<'a>,
    pub plan: &'a Plan,
    pub record: &'a Record,
    pub placement: &'a Placement,
    pub sources: Sources,
    pub filter: Option<Filter>,
    pub gate: Gate,
    /// Who runs us has root's rights, if only in the user namespace that he is in.
    pub privileged: bool,
    pub channel: Channel,
    /// Descriptors from 3 on that the program inherits.
    pub preserve_fds: u32,
    pub listen_fds: u32,
    pub hook_outputs: Outputs,
}

#[derive(Debug, thiserror::Error)]
pub enum InitError {
    #[error(transparent)]
    Spawn(#[from] SpawnError),
    #[error(transparent)]
    Join(#[from] JoinError),
    #[error(transparent)]
    Protect(#[from] ProtectError),
    #[error(transparent)]
    Channel(#[from] ChannelError),
    #[error(transparent)]
    Rootfs(#[from] RootfsError),
    #[error(transparent)]
    Console(#[from] ConsoleError),
    #[error(transparent)]
    Security(#[from] crate::security::SecurityError),
    #[error(transparent)]
    Hook(#[from] HookError),
    #[error(transparent)]
    Confine(#[from] super::confine::ConfineError),
    #[error("cannot {0}")]
    Step(&'static str, #[source] io::Error),
    #[error(
        "the container runs a Wasm guest, which has a root of its own (see wrun-wasm(7)): mounts cannot be changed for it"
    )]
    GuestRoot,
    #[error("cannot set sysctl {key}={value}")]
    Sysctl {
        key: String,
        value: String,
        source: io::Error,
    },
}

pub(super) fn step<E: Into<io::Error>>(action: &'static str) -> impl FnOnce(E) -> InitError {
    move |source| InitError::Step(action, source.into())
}

impl Birth<'_> {
    /// Becomes the container's program. On failure, or when a Wasm guest has ended, the process exits.
    pub fn live(mut self) -> ! {
        let code = match self.prepare() {
            Ok(confined) => self.go(confined),
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

    /// Everything up to the gate.
    fn prepare(&mut self) -> Result<Confined, InitError> {
        let plan = self.plan;
        fault::point("init:cloned");
        show_as_init().map_err(step("replace the arguments of the command"))?;
        let early = match self.channel.read()? {
            Message::Begin => true,
            Message::Proceed { .. } => false,
            other => return Err(ChannelError::Unexpected(format!("{other:?}")).into()),
        };
        // A session of its own: no terminal of the host's can reach it, or be reached.
        rustix::process::setsid().map_err(step("start a session"))?;
        let umask = rustix::process::umask(Mode::empty());
        self.spawn.enter_rest()?;
        self.make_late_namespaces()?;
        // Only now where the parent is no root, who could not have written the id maps otherwise.
        undumpable()?;
        // While the host's /proc is at hand; everything that is later written about ourselves goes through this.
        let proc_self = own_proc::open().map_err(step("open /proc/self"))?;
        let mut sources = std::mem::take(&mut self.sources);
        let hook_outputs = std::mem::take(&mut self.hook_outputs);
        let mut tree = self.enter_filesystem(&mut sources)?;
        self.set_names()?;
        fault::point("init:namespaces");
        if early {
            tree.mount_early(&mut sources)?;
            self.channel
                .expect(|message| matches!(message, Message::Proceed { .. }))?;
        }
        // In the cgroup by now, whose cpuset bounds it, and which is the root of its cgroup namespace.
        cpu_affinity::reset();
        if plan.namespaces.is_new(Kind::Cgroup) {
            unshare(Kind::Cgroup).map_err(step("make a cgroup namespace"))?;
        }
        let view = CgroupView {
            placement: self.placement,
            namespaced: plan.namespaces.has(Kind::Cgroup),
        };
        tree.mount_all(&mut sources, &view, &|index, tree| {
            self.have_ids_mapped(index, tree)
        })?;
        let user_namespace = plan.namespaces.has(Kind::User);
        tree.make_devices(user_namespace || plan.rootless)?;
        set_sysctls(&plan.namespaces)?;
        let terminal = self.make_terminal(&tree)?;
        fault::point("init:mounted");
        self.runtime_hooks()?;
        self.container_hooks(umask, hook_outputs)?;
        // After the hooks, which may mount things of their own that are then protected too.
        tree.protect_paths()?;
        let root = tree.pivot()?;
        streams::use_own_null(root.as_fd(), &self.channel)?;
        fault::point("init:pivoted");
        let Some(process) = &plan.process else {
            return self.hold_without_process();
        };
        make_cwd(&root, &process.cwd).map_err(step("make the working directory"))?;
        let confined = Confinement {
            id: &plan.id,
            process,
            workload: plan.workload,
            filter: self.filter.as_ref(),
            proc_self: OwnProc::opened(proc_self),
            role: Role::Init { user_namespace },
            user_namespace,
            terminal,
            channel: &self.channel,
            preserve: self.preserve_fds + self.listen_fds,
            memory_limit: plan.cgroup.memory_limit(),
            cpus: plan.cgroup.cpus(),
            guest: &plan.guest,
            runs_hooks: !plan.hooks.start_container.is_empty(),
        }
        .confine()?;
        fault::point("init:confined");
        self.channel.send(&Message::Ready)?;
        self.channel
            .expect(|message| matches!(message, Message::Committed))?;
        fault::point("init:waiting");
        Ok(confined)
    }

    /// A caller without the host's rights can join the namespaces of a process that is dumpable only, and `exec` may
    /// come before `start`. What a process of the container could find in this one goes first: what is open of the
    /// host's, and the caller's environment. Not for guests, whose process is never dumpable, and never where root calls,
    /// who gets in anyway.
    fn let_owner_in(&self, confined: &Confined) {
        if self.privileged || !matches!(confined, Confined::Native(_)) {
            return;
        }
        let mut keep = self.gate.descriptors().to_vec();
        keep.extend((3..3 + self.preserve_fds + self.listen_fds).map(u32::cast_signed));
        // The container's filter may refuse either call; then there is no `exec` before the start.
        if crate::sys::exec::close_all_but(&keep).is_ok() {
            // Which the program will get, see `workload::native`.
            crate::sys::memory::forget_environment("LISTEN_FDNAMES");
            let _ = rustix::process::set_dumpable_behavior(DumpableBehavior::Dumpable);
        }
    }

    /// Waits at the gate and runs. The result is the exit code of a process that did not become another.
    fn go(&mut self, confined: Confined) -> i32 {
        self.let_owner_in(&confined);
        if let Err(error) = self.gate.wait() {
            // The gate cannot break while `start` could still come; tell whoever reads our standard error.
            let _ = writeln!(io::stderr(), "wrun: cannot wait at the start gate: {error}");
            return 1;
        }
        match self.run(confined) {
            Ok(code) => code,
            Err(error) => {
                let text = crate::reason::chain(&error);
                if self.gate.fail(&text).is_err() {
                    let _ = writeln!(io::stderr(), "wrun: {text}");
                }
                1
            }
        }
    }

    fn run(&mut self, confined: Confined) -> Result<i32, InitError> {
        let state = HookState::new(self.record, Status::Created)
            .with_pid(getpid().as_raw_nonzero().get())
            .to_json();
        let hooks = &self.plan.hooks.start_container;
        if !hooks.is_empty() {
            let hooks = hooks::with_default_env(hooks, &confined.environment());
            let setting = Setting {
                stage: "startContainer",
                cwd: None,
                outputs: None,
            };
            hooks::run(&hooks, &state, setting)?;
        }
        Ok(i32::from(confined.run(self.listen_fds, self.preserve_fds)?))
    }

    /// What clone3(2) could not make of the namespaces, see [`super::spawn`], but for that of cgroups.
    fn make_late_namespaces(&self) -> Result<(), InitError> {
        let namespaces = &self.plan.namespaces;
        if namespaces.is_new(Kind::Time) {
            unshare(Kind::Time).map_err(step("make a time namespace"))?;
            let mut offsets = String::new();
            for (clock, offset) in &namespaces.time_offsets {
                offsets.push_str(&format!("{clock} {} {}\n", offset.seconds, offset.nanoseconds));
            }
            if !offsets.is_empty() {
                // Only before anybody is in it (time_namespaces(7)).
                std::fs::write("/proc/self/timens_offsets", offsets).map_err(step("set the time offsets"))?;
            }
            let time =
                File::open("/proc/self/ns/time_for_children").map_err(step("open the time namespace"))?;
            nix::sched::setns(&time, CloneFlags::from_bits_retain(Kind::Time.flag() as i32))
                .map_err(step("enter the time namespace"))?;
        }
        if namespaces.is_new(Kind::Network) {
            crate::sys::net::loopback_up().map_err(step("bring the loopback interface up"))?;
        }
        Ok(())
    }

    /// The parent has the host's rights, without which no mount gets an id map.
    fn have_ids_mapped(&self, index: usize, tree: BorrowedFd<'_>) -> io::Result<()> {
        self.channel
            .send_with(&Message::MapIds { index }, tree)
            .and_then(|()| {
                self.channel
                    .expect(|message| matches!(message, Message::IdsMapped))
            })
            .map_err(io::Error::other)
    }

    /// Attaches the rootfs, and becomes root of the user namespace if there is one: only after the attachment,
    /// since that user may not be able to reach the rootfs by its path, and before the mounts, whose files
    /// must belong to ids that exist there.
    fn enter_filesystem(&self, sources: &mut Sources) -> Result<Tree<'_>, InitError> {
        let tree = Tree::attach(&self.plan.rootfs, sources)?;
        if self.plan.namespaces.has(Kind::User) {
            become_root().map_err(step("become root of the user namespace"))?;
            // A change of ids may have undone it (fs.suid_dumpable of proc(5)).
            undumpable()?;
        }
        Ok(tree)
    }

    fn set_names(&self) -> Result<(), InitError> {
        if let Some(name) = &self.plan.namespaces.hostname {
            nix::unistd::sethostname(name).map_err(step("set the hostname"))?;
        }
        if let Some(name) = &self.plan.namespaces.domainname {
            crate::sys::uts::set_domainname(name).map_err(step("set the domainname"))?;
        }
        Ok(())
    }

    /// The terminal, if there is to be one; its master goes to the parent.
    fn make_terminal(&self, tree: &Tree<'_>) -> Result<Option<Terminal>, InitError> {
        let Some(process) = self.plan.process.as_ref().filter(|process| process.terminal) else {
            return Ok(None);
        };
        let terminal = open_terminal(tree.root(), tree.devpts(), process.console_size)?;
        let place = console_place(tree.root()).map_err(step("make /dev/console (it may not be a link)"))?;
        terminal.cover(place.as_fd())?;
        self.channel
            .send_with(&Message::Console, terminal.master.as_fd())?;
        Ok(Some(terminal))
    }

    fn runtime_hooks(&self) -> Result<(), InitError> {
        let hooks = &self.plan.hooks;
        if hooks.prestart.is_empty() && hooks.create_runtime.is_empty() {
            return Ok(());
        }
        self.channel.send(&Message::RunHooks)?;
        Ok(self
            .channel
            .expect(|message| matches!(message, Message::HooksDone))?)
    }

    /// Those in the container's namespaces, before its root is the root.
    ///
    /// Their outputs are files of the host, and closed with this: what runs in the container's root gets none.
    fn container_hooks(&self, umask: Mode, outputs: Outputs) -> Result<(), InitError> {
        let state = HookState::new(self.record, Status::Creating)
            .with_pid(getpid().as_raw_nonzero().get())
            .to_json();
        // They get the caller's mask, not the one under which we make files of given modes.
        rustix::process::umask(umask);
        let hooks = hooks::with_default_env(&self.plan.hooks.create_container, &[]);
        // In the rootfs, as with runc: hooks name what they change by `./lib/…`.
        let setting = Setting {
            stage: "createContainer",
            cwd: Some(&self.plan.rootfs.path),
            outputs: Some(&outputs),
        };
        hooks::run(&hooks, &state, setting)?;
        rustix::process::umask(Mode::empty());
        Ok(())
    }

    /// A container without a process is created, and can only be deleted.
    fn hold_without_process(&self) -> Result<Confined, InitError> {
        self.channel.send(&Message::Ready)?;
        self.channel
            .expect(|message| matches!(message, Message::Committed))?;
        Ok(Confined::Nothing)
    }
}

/// Opens a terminal in the container's devpts: the one that we mounted, or what is on /dev/pts of `root`.
pub(super) fn open_terminal(
    root: BorrowedFd<'_>,
    devpts: Option<BorrowedFd<'_>>,
    size: Option<ConsoleSize>,
) -> Result<Terminal, InitError> {
    let terminal = match devpts {
        Some(devpts) => Terminal::open(devpts, OsStr::new("ptmx"))?,
        None => {
            let found = resolve::locate(root, Path::new("/dev/pts"))
                .map_err(step("find /dev/pts for the terminal"))?;
            Terminal::open(found.as_fd(), OsStr::new("ptmx"))?
        }
    };
    if let Some(size) = size {
        terminal.set_size(size)?;
    }
    Ok(terminal)
}

/// /dev/console as a place to mount on; an image's link there is not followed.
fn console_place(root: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let (dev, name) = resolve::make_parent(root, Path::new("/dev/console"))?;
    let flags = OFlags::WRONLY
        | OFlags::CREATE
        | OFlags::NOFOLLOW
        | OFlags::NOCTTY
        | OFlags::NONBLOCK
        | OFlags::CLOEXEC;
    match rustix::fs::openat(&dev, name, flags | OFlags::EXCL, Mode::from_raw_mode(0o600)) {
        Ok(_) | Err(rustix::io::Errno::EXIST) => {}
        Err(error) => return Err(error.into()),
    }
    let place = rustix::fs::openat(
        &dev,
        name,
        OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    if FileType::from_raw_mode(rustix::fs::fstat(&place)?.st_mode) == FileType::Symlink {
        return Err(io::Error::from_raw_os_error(libc::ELOOP));
    }
    Ok(place)
}

/// Until the program runs, or a guest is known: the command's own arguments are paths of the host, and whoever shares the
/// pid namespace can read them.
pub(super) fn show_as_init() -> io::Result<()> {
    crate::sys::title::take(&["wrun", "init"].map(str::to_owned))
}

fn unshare(kind: Kind) -> io::Result<()> {
    Ok(nix::sched::unshare(CloneFlags::from_bits_retain(
        kind.flag() as i32
    ))?)
}

pub(super) fn become_root() -> io::Result<()> {
    use nix::unistd::{Gid, Uid, setresgid, setresuid};
    let (uid, gid) = (Uid::from_raw(0), Gid::from_raw(0));
    setresgid(gid, gid, gid)?;
    Ok(setresuid(uid, uid, uid)?)
}

/// Through the host's /proc/sys: the kernel looks at the namespaces of the writer.
pub(super) fn set_sysctls(namespaces: &Namespaces) -> Result<(), InitError> {
    if namespaces.sysctl.is_empty() {
        return Ok(());
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let sys = rustix::fs::open("/proc/sys", flags, Mode::empty()).map_err(step("open /proc/sys"))?;
    if rustix::fs::fstatfs(&sys)
        .map_err(step("examine /proc/sys"))?
        .f_type
        != PROC_MAGIC
    {
        return Err(step("trust /proc/sys: it is on no proc file system")(
            io::Error::from_raw_os_error(libc::EXDEV),
        ));
    }
    for (key, value) in &namespaces.sysctl {
        // A dot in a name (of a network interface) is written as a slash, as in sysctl(8).
        let path: String = key
            .chars()
            .map(|c| match c {
                '.' => '/',
                '/' => '.',
                other => other,
            })
            .collect();
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
        rustix::fs::openat2(
            &sys,
            path,
            OFlags::WRONLY | OFlags::CLOEXEC,
            Mode::empty(),
            resolve,
        )
        .map_err(io::Error::from)
        .and_then(|file| File::from(file).write_all(value.as_bytes()))
        .map_err(|source| InitError::Sysctl {
            key: key.clone(),
            value: value.clone(),
            source,
        })?;
    }
    Ok(())
}

/// runc makes the working directory if the image has none.
fn make_cwd(root: &OwnedFd, cwd: &Path) -> io::Result<()> {
    match resolve::make_directory(root.as_fd(), cwd) {
        Ok(_) => Ok(()),
        // On a read-only root, or over a file, the change of directory says what is wrong.
        Err(error)
            if matches!(
                error.raw_os_error(),
                Some(libc::EROFS | libc::ENOTDIR | libc::EACCES)
            ) =>
        {
            Ok(())
        }
        Err(error) => Err(error),
    }
}
