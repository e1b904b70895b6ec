//! The last part of the recipe, common to a container's first process and to those of `exec`: from a process
//! in the right place to one that has given everything up and only waits to run its program.
//!
//! Why each step stands where it does is written at [`crate::security`].

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, ResolveFlags};

use super::lookup;
use super::own_proc::OwnProc;
use super::program::{self, Program, ProgramError};
use super::protect::{ProtectError, undumpable};
use super::protocol::{Channel, ChannelError, Message};
use crate::console::{ConsoleError, Terminal};
use crate::plan::process::{Capabilities, Process};
use crate::plan::{GuestOptions, Workload};
use crate::rootfs::{RootfsError, enter_guest_view, make_directory};
use crate::security::keyring::Role;
use crate::security::seccomp::Program as Filter;
use crate::security::{
    ProcDirectory, SecurityError, guest, keyring, lsm, memory_policy, no_new_privileges, personality,
    rlimits, scheduling, seccomp, user,
};
use crate::workload::detect::Application;
use crate::workload::native::{Native, NativeError};
use crate::workload::wasm::application::{self, ApplicationError, Source};
use crate::workload::wasm::{self, Code, Guest, Work, World};

#[derive(Debug, thiserror::Error)]
pub enum ConfineError {
    #[error(transparent)]
    Security(#[from] SecurityError),
    #[error(transparent)]
    Console(#[from] ConsoleError),
    #[error(transparent)]
    Program(#[from] ProgramError),
    #[error(transparent)]
    Channel(#[from] ChannelError),
    #[error("process.cwd {path}: cannot enter it")]
    Cwd { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Rootfs(#[from] RootfsError),
    #[error("{0}: became Wasm while the container was made")]
    Changed(String),
    #[error("config.json has no process to run")]
    NoProcess,
    #[error("cannot {0}")]
    Step(&'static str, #[source] io::Error),
    #[error(transparent)]
    Native(#[from] NativeError),
    #[error(transparent)]
    Application(#[from] ApplicationError),
}

/// What a process is confined with.
pub struct Confinement<'a> {
    pub id: &'a str,
    pub process: &'a Process,
    pub workload: Workload,
    pub filter: Option<&'a Filter>,
    /// Our own directory in a trusted procfs.
    pub proc_self: OwnProc<'a>,
    pub role: Role,
    pub user_namespace: bool,
    pub terminal: Option<Terminal>,
    pub channel: &'a Channel,
    /// Descriptors from 3 on that the program inherits.
    pub preserve: u32,
    /// Bytes; for the guest's memory.
    pub memory_limit: Option<u64>,
    /// What the CPU limit is worth; for the guest's threads.
    pub cpus: Option<u32>,
    pub guest: &'a GuestOptions,
    /// Whether it runs startContainer hooks before its program.
    pub runs_hooks: bool,
}

/// What a guest's process was given while it had the rights for that.
struct Prepared {
    /// See [`enter_guest_view`].
    view: OwnedFd,
    /// See [`make_directory`]; for an application that shows its components files.
    directory: Option<OwnedFd>,
}

/// A process that is confined and ready to run.
pub enum Confined {
    Native(Native),
    Wasm {
        work: Work,
        guest: Guest,
        /// See [`enter_guest_view`].
        view: OwnedFd,
        /// Our own directory in a trusted procfs, for loading the code.
        proc_self: OwnedFd,
        /// Taken on when the code is loaded.
        labels: lsm::Labels,
    },
    /// config.json has no process: there is nothing to run.
    Nothing,
}

impl Confinement<'_> {
    pub fn confine(mut self) -> Result<Confined, ConfineError> {
        let process = self.process;
        self.label()?;
        if process.no_new_privileges {
            no_new_privileges()?;
        }
        self.set_scheduling()?;
        // A terminal for the user: while we may still give files away.
        match self.terminal.take() {
            Some(terminal) => {
                terminal.give_to(process.user.uid, None)?;
                terminal.take()?;
            }
            None => user::own_stdio(process.user.uid)?,
        }
        // What is left open of ours ends with execve(2); what the caller passed does not.
        crate::sys::fd::cloexec_from(3 + self.preserve).map_err(step("mark descriptors close-on-exec"))?;
        crate::sys::fd::pass_on(self.preserve).map_err(step("pass descriptors on"))?;
        crate::sys::exec::default_signals().map_err(step("reset the actions of signals"))?;
        if matches!(self.role, Role::Init { .. }) {
            crate::sys::signal::end_on_requests().map_err(step("set the actions of signals"))?;
        }
        let mut entered = enter(&process.cwd);
        let prepared = self.prepare_for_guest()?;
        if prepared.is_some() {
            entered = enter(&process.cwd);
        }
        // Under no_new_privs, which a guest always has, it can wait until nothing but the program is left.
        let early = !process.no_new_privileges && prepared.is_none();
        if early {
            self.load_filter()?;
        }
        let capabilities = match &prepared {
            Some(_) => guest::capabilities(&process.capabilities, process.user.uid == 0, self.runs_hooks),
            None => process.capabilities,
        };
        self.become_user(&capabilities, early && self.filter.is_some())?;
        // A directory that only the user may enter, such as one on NFS.
        entered
            .or_else(|_| enter(&process.cwd))
            .map_err(|source| ConfineError::Cwd {
                path: process.cwd.clone(),
                source,
            })?;
        let confined = self.find_program(prepared)?;
        if let Confined::Wasm { work, .. } = &confined {
            // A native program's execve(2) does it. The command's own arguments are paths of the host, and whoever shares
            // the pid namespace can read them.
            crate::sys::title::take(&process.args).map_err(step("replace the arguments of the command"))?;
            let code: Vec<_> = work.codes().iter().map(|code| code.file.as_fd()).collect();
            guest::landlock(self.runs_hooks, &code, work.directory())?;
        }
        if !early {
            self.load_filter()?;
        }
        Ok(confined)
    }

    /// Keyring and labels, which need the trusted procfs.
    fn label(&self) -> Result<(), SecurityError> {
        if self.process.new_keyring {
            self.join_keyring()?;
        }
        if let Some(profile) = &self.process.apparmor_profile {
            lsm::set_apparmor_profile(self.proc_self()?, profile)?;
        }
        if let Some(label) = &self.process.selinux_label {
            lsm::set_selinux_label(self.proc_self()?, label)?;
        }
        Ok(())
    }

    fn proc_self(&self) -> Result<ProcDirectory<'_>, SecurityError> {
        let directory = self.proc_self.directory();
        directory
            .map(ProcDirectory::new)
            .map_err(|source| SecurityError::Step {
                step: "make a procfs of the container's pid namespace",
                source,
            })
    }

    fn become_user(&self, capabilities: &Capabilities, filtered: bool) -> Result<(), ConfineError> {
        let process = self.process;
        if !self.user_namespace {
            // With a user namespace the parent does it. Late, since a low limit on files would hinder the rest.
            rlimits::apply(None, &process.rlimits)?;
        }
        user::set_umask(process.user.umask);
        let ungranted = user::switch(&process.user, capabilities, || self.proc_self())?;
        if !ungranted.is_empty() {
            self.channel.send(&Message::Warning {
                text: ungranted.to_string(),
            })?;
        }
        // A change of ids may have undone it (fs.suid_dumpable of proc(5)); a filter that is loaded may refuse.
        match undumpable() {
            Err(ProtectError::Dumpable(error)) if !filtered => {
                Err(step("make this process undumpable")(error))
            }
            _ => Ok(()),
        }
    }

    /// Looks whether the program will be Wasm, while there are the rights to prepare for that: a guest's file
    /// accesses are made by this very process, which must not be able to open itself.
    fn prepare_for_guest(&self) -> Result<Option<Prepared>, ConfineError> {
        let application = match self.look() {
            Ok(Program::Wasm { .. }) => None,
            Ok(Program::Application(application)) => Some(application),
            // What cannot be found now is found, or its absence told, with the user's rights.
            _ => return Ok(None),
        };
        let proc_self = self.proc_self.directory();
        let view =
            enter_guest_view(proc_self.map_err(step("make a procfs of the container's pid namespace"))?)?;
        let directory = match application {
            Some(Application::Spin) => Some(make_directory(self.process.user.uid, self.process.user.gid)?),
            _ => None,
        };
        no_new_privileges()?;
        Ok(Some(Prepared { view, directory }))
    }

    /// What is to be run. An application is a container's first process alone: `exec` runs what it is told.
    fn look(&self) -> Result<Program, ProgramError> {
        match self.role {
            Role::Init { .. } => program::find_first(self.process, self.workload),
            _ => program::find(self.process, self.workload),
        }
    }

    fn join_keyring(&self) -> Result<(), SecurityError> {
        let Some(label) = &self.process.selinux_label else {
            return keyring::join(self.id, self.role);
        };
        let proc_self = self.proc_self()?;
        lsm::set_keyring_label(proc_self, label)?;
        keyring::join(self.id, self.role)?;
        lsm::set_keyring_label(proc_self, "")
    }

    fn set_scheduling(&self) -> Result<(), SecurityError> {
        if let Some(scheduler) = &self.process.scheduler {
            scheduling::set_scheduler(scheduler)?;
        }
        if let Some(priority) = &self.process.io_priority {
            scheduling::set_io_priority(priority)?;
        }
        if let Some(domain) = self.process.personality {
            personality::set(domain)?;
        }
        if let Some(policy) = &self.process.memory_policy {
            memory_policy::set(policy)?;
        }
        Ok(())
    }

    fn load_filter(&self) -> Result<(), ConfineError> {
        if let Some(filter) = self.filter
            && let Some(listener) = seccomp::load(filter)?
        {
            self.channel.send_with(&Message::Listener, listener.as_fd())?;
        }
        Ok(())
    }

    /// With the rights of the user, and under what is already in force.
    fn find_program(&self, prepared: Option<Prepared>) -> Result<Confined, ConfineError> {
        let process = self.process;
        let changed = |name: &str| ConfineError::Changed(name.to_owned());
        match self.look()? {
            Program::Native(path) => Ok(Confined::Native(Native::new(
                &path,
                &process.args,
                &self.environment(),
            )?)),
            Program::Wasm { file, name, export } => {
                let prepared = prepared.ok_or_else(|| changed(&name))?;
                let work = Work::Guest(self.fetch_code(file, name, export, World::Wasi)?);
                self.guest(work, prepared.view)
            }
            Program::Application(application) => {
                let prepared = prepared.ok_or_else(|| changed(application.manifest()))?;
                let work = self.fetch_application(application, prepared.directory)?;
                self.guest(work, prepared.view)
            }
        }
    }

    /// HOME is what programs take for granted; runc sets it from the image's passwd where it is missing.
    fn environment(&self) -> Vec<String> {
        let mut env = last_of_each_name(&self.process.env);
        env.retain(|entry| entry != "HOME=");
        if !env.iter().any(|entry| entry.starts_with("HOME=")) {
            env.push(format!("HOME={}", program::home_of(self.process.user.uid)));
        }
        env
    }

    fn fetch_code(
        &self,
        file: OwnedFd,
        name: String,
        export: Option<String>,
        world: World,
    ) -> Result<Code, ConfineError> {
        let request = Message::Module { name, export, world };
        self.channel.send_with(&request, file.as_fd())?;
        match self.channel.receive()? {
            (Message::Code { kind, build }, Some(file)) => Ok(Code { file, kind, build }),
            (other, _) => Err(ChannelError::Unexpected(format!("{other:?}")).into()),
        }
    }

    /// Reads the manifest, and has each file compiled that it names.
    fn fetch_application(
        &self,
        application: Application,
        directory: Option<OwnedFd>,
    ) -> Result<Work, ConfineError> {
        let surroundings = application::Surroundings {
            env: &self.variables(),
            open: lookup::open,
            directory,
            memory_limit: self.memory_limit,
        };
        let (application, sources) = application::read(application, surroundings)?;
        let mut codes = Vec::with_capacity(sources.len());
        for Source { name, file, world } in sources {
            codes.push(self.fetch_code(file, name, None, world)?);
        }
        application.accept(&codes)?;
        Ok(Work::Application(application, codes))
    }

    /// The environment in pairs.
    fn variables(&self) -> Vec<(String, String)> {
        self.environment()
            .iter()
            .map(|entry| entry.split_once('=').unwrap_or((entry, "")))
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect()
    }

    fn guest(&self, work: Work, view: OwnedFd) -> Result<Confined, ConfineError> {
        let guest = Guest {
            args: self.process.args.clone(),
            env: self.variables(),
            cwd: self.process.cwd.clone(),
            memory_limit: self.memory_limit,
            cpus: self.cpus,
            options: self.guest.clone(),
        };
        let directory = self.proc_self.directory();
        let proc_self = directory.and_then(|directory| directory.try_clone_to_owned());
        let labels = lsm::Labels::open(
            self.proc_self()?,
            self.process.apparmor_profile.as_deref(),
            self.process.selinux_label.as_deref(),
        )?;
        Ok(Confined::Wasm {
            work,
            guest,
            view,
            proc_self: proc_self.map_err(step("copy a descriptor"))?,
            labels,
        })
    }
}

/// Of a name that is given twice the last value counts, in the first one's place, as with runc.
fn last_of_each_name(given: &[String]) -> Vec<String> {
    let mut places: HashMap<&str, usize> = HashMap::with_capacity(given.len());
    let mut env: Vec<String> = Vec::with_capacity(given.len() + 1);
    for entry in given {
        let name = entry.split_once('=').map_or(entry.as_str(), |(name, _)| name);
        match places.get(name) {
            Some(place) => env[*place].clone_from(entry),
            None => {
                places.insert(name, env.len());
                env.push(entry.clone());
            }
        }
    }
    env
}

fn step(action: &'static str) -> impl FnOnce(io::Error) -> ConfineError {
    move |source| ConfineError::Step(action, source)
}

/// Enters a directory of the container. A magic link of procfs would lead out of it (CVE-2024-21626).
fn enter(cwd: &Path) -> io::Result<()> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let root = rustix::fs::open("/", flags, Mode::empty())?;
    let directory = rustix::fs::openat2(&root, cwd, flags, Mode::empty(), resolve)?;
    Ok(rustix::process::fchdir(directory)?)
}

impl Confined {
    /// The program's environment.
    pub fn environment(&self) -> Vec<String> {
        match self {
            Self::Native(native) => native.environment(),
            Self::Wasm { guest, .. } => {
                let entry = |(name, value): &(String, String)| format!("{name}={value}");
                guest.env.iter().map(entry).collect()
            }
            Self::Nothing => Vec::new(),
        }
    }

    /// Runs it, with the passed descriptors. The result is a guest's exit code.
    pub fn run(self, listen_fds: u32, preserve_fds: u32) -> Result<u8, ConfineError> {
        match self {
            Self::Native(native) => Err(native.exec(listen_fds).into()),
            Self::Wasm {
                work,
                guest,
                view,
                proc_self,
                labels,
            } => {
                // What execve(2) closes for others. The gate is among it: from here on the guest runs.
                let mut keep = vec![view.as_raw_fd(), proc_self.as_raw_fd()];
                keep.extend(work.codes().iter().map(|code| code.file.as_raw_fd()));
                keep.extend(work.directory().map(|directory| directory.as_raw_fd()));
                keep.extend(labels.descriptors());
                keep.extend((3..3 + listen_fds + preserve_fds).map(u32::cast_signed));
                crate::sys::exec::close_all_but(&keep).map_err(step("close our descriptors"))?;
                let take_on = || labels.take_on();
                Ok(wasm::run(work, guest, proc_self, take_on))
            }
            Self::Nothing => Err(ConfineError::NoProcess),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_value_of_a_name_counts() {
        let given = ["A=1", "B=2", "A=3", "C", "=x", "=y"].map(str::to_owned);
        assert_eq!(last_of_each_name(&given), ["A=3", "B=2", "C", "=y"]);
    }
}
