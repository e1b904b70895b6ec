//! Optimised code for the next start, made while the container runs on code that was compiled quickly.
//!
//! ```text
//! wrun create/run/exec          supervisor                      compiler, confined
//! ────────────────────          ──────────                      ──────────────────
//! claims the key ── fork ─────> own session, no descriptors
//! returns                       but the cache's ── fork ──────> in the container's cgroup
//!                               waits   <── code ────────────── optimises
//!                               into the cache, releases
//! ```
//!
//! Whoever runs a container pays for it: the compiler is held by the container's limits, yields to the guest in
//! all of them (the last in line for the CPU, the first for the OOM killer) and ends with the container. Where
//! it ends so, the supervisor compiles once more without a container, so that short-lived ones get optimised
//! code too: on one thread that runs when nothing else wants to, one such compilation at a time on the host. It
//! is made so from the beginning where the OOM killer would end the container together with the compiler.
//!
//! The cache gets a whole entry or nothing, and nobody is told of a failure: the next start tries again.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::SigSet;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{Mode, OFlags};

use super::cache::Cache;
use super::compile::{self, Compiled};
use super::engine::{Build, Tier};
use super::entry::About;
use super::input::Input;
use super::key::Key;
use super::locks::Claim;
use super::{Confine, Request, WasmError};
use crate::cgroup::Room;
use crate::sys::exec::close_all_but;
use crate::sys::scheduling::{SchedulerAttributes, set_scheduler};
use crate::sys::{fault, fork};

/// Processes and threads of the container's limit that are never taken from the guest.
const TASKS_FOR_GUEST: u64 = 8;

/// Least memory, in bytes, with which it is worth to begin.
const LEAST_MEMORY: u64 = 64 << 20;

/// Most memory, in bytes, and CPU seconds for a container that has ended.
const ORPHAN_MEMORY: u64 = 1 << 30;
const ORPHAN_CPU_SECONDS: u64 = 300;

/// How long after its compiler a container's first process may end, to have been ended by the same hand.
const SAME_END: Timespec = Timespec {
    tv_sec: 2,
    tv_nsec: 0,
};

/// How the compiler is tied to the container that was served.
pub struct Ties<'a> {
    pub confine: &'a Confine<'a>,
    /// What [`Confine::enter_cgroup`] needs to stay open.
    pub descriptors: Vec<RawFd>,
    /// The container's first process.
    pub init: BorrowedFd<'a>,
    /// What the container's limits leave.
    pub room: Room,
}

/// An entry point that is to be compiled for the next start.
#[derive(Debug)]
pub struct Later {
    cache: Cache,
    key: Key,
    source: Source,
}

#[derive(Debug)]
enum Source {
    Bytes(Vec<u8>),
    Input(Box<Input>),
}

impl Later {
    /// Of what was just read and compiled.
    pub(super) fn of_bytes(cache: Cache, key: Key, bytes: Vec<u8>) -> Self {
        let source = Source::Bytes(bytes);
        Self { cache, key, source }
    }

    /// Of what was not read, since its code was there.
    pub(super) fn of_input(cache: Cache, key: Key, input: Input) -> Self {
        let source = Source::Input(Box::new(input));
        Self { cache, key, source }
    }

    /// Leaves a process behind that compiles, unless another does already or the container has no room for
    /// it. To be called when the container has its code, since it may read the entry point first: nothing of
    /// the container's file system stays open.
    ///
    /// # Errors
    /// The process could not be made. The container does not need it.
    pub fn leave_behind(self, request: &Request<'_>, ties: &Ties<'_>) -> Result<(), WasmError> {
        let Some(limits) = Limits::within(ties.room) else {
            return Ok(());
        };
        // A cache that cannot be locked cannot be written either.
        let Ok(Some(claim)) = self.cache.claim_background(&self.key) else {
            return Ok(());
        };
        let build = Build {
            tier: Tier::Optimized,
            ..request.build()
        };
        let bytes = match self.source {
            Source::Bytes(bytes) => Ok(bytes),
            Source::Input(input) => input.read(),
        };
        let started = bytes.and_then(|bytes| {
            if self.key != Key::new(&blake3::hash(&bytes), request.purpose(), build) {
                // The file has changed since it was known by its stamp or its hash; so will its key.
                return Ok(false);
            }
            let work = Work {
                cache: &self.cache,
                key: self.key,
                bytes: &bytes,
                request,
                build,
                ties,
                limits,
            };
            let forked = fork::run_in_child(|| work.supervise(&claim));
            forked.map(|_pid| true).map_err(|source| WasmError::Confine {
                path: request.name.to_owned(),
                step: "forking to compile in the background",
                source,
            })
        });
        if !matches!(started, Ok(true)) {
            self.cache.release(claim);
        }
        started.map(|_| ())
    }
}

/// What a compilation in the container may take, so that its limits are not felt by the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Limits {
    threads: bool,
    /// Bytes.
    memory: Option<u64>,
    /// Not in the container, which the OOM killer would end with the compiler.
    apart: bool,
}

impl Limits {
    /// `None` where there is too little for any compilation.
    fn within(room: Room) -> Option<Self> {
        let threads = std::thread::available_parallelism().map_or(1, |count| count.get() as u64);
        let tasks = room.tasks.map(|tasks| tasks.saturating_sub(TASKS_FOR_GUEST));
        // Half of what is left; and short of that its own limit ends the compiler. The OOM killer would choose
        // it too, but engines would tell of an OOM kill in a container that is well.
        let memory = room.memory.map(|bytes| bytes / 2);
        let fits = tasks.is_none_or(|tasks| tasks > 0) && memory.is_none_or(|bytes| bytes >= LEAST_MEMORY);
        fits.then_some(Self {
            threads: tasks.is_none_or(|tasks| tasks > threads),
            memory,
            apart: room.ends_whole && room.memory.is_some(),
        })
    }
}

/// The supervisor's work.
struct Work<'a> {
    cache: &'a Cache,
    key: Key,
    bytes: &'a [u8],
    request: &'a Request<'a>,
    build: Build,
    ties: &'a Ties<'a>,
    limits: Limits,
}

impl Work<'_> {
    /// The whole life of the supervisor.
    fn supervise(&self, claim: &Claim) -> u8 {
        let kept = self.detach(claim).is_ok() && self.compile_and_keep();
        self.cache.release_inherited(claim);
        u8::from(!kept)
    }

    /// Leaves all that was its parent's: session, directory, streams, signals, descriptors; and lines up last.
    fn detach(&self, claim: &Claim) -> io::Result<()> {
        nix::unistd::setsid()?;
        nix::sys::prctl::set_name(c"wrun-optimizer")?;
        SigSet::empty().thread_set_mask()?;
        nix::unistd::chdir("/")?;
        let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
        nix::unistd::dup2_stdin(&null)?;
        nix::unistd::dup2_stdout(&null)?;
        nix::unistd::dup2_stderr(&null)?;
        let mut keep = self.ties.descriptors.clone();
        keep.extend([
            self.cache.dir.as_raw_fd(),
            claim.descriptor(),
            self.ties.init.as_raw_fd(),
        ]);
        // The containers' state lock and all else; `null` included, which must not be dropped any more.
        std::mem::forget(null);
        close_all_but(&keep)?;
        yield_memory()?;
        // A new session may have a share of the CPU of its own (sched(7), autogroup), in which niceness does not
        // count; where there is none, there is no such file.
        let _ = std::fs::write("/proc/self/autogroup", "19");
        set_scheduler(&SchedulerAttributes {
            policy: libc::SCHED_OTHER as u32,
            nice: 19,
            ..SchedulerAttributes::default()
        })
    }

    fn compile_and_keep(&self) -> bool {
        let compiled = if self.limits.apart {
            self.outside()
        } else {
            match self.in_container() {
                Err(error) if !matches!(error, WasmError::Refused { .. }) && self.has_ended(&SAME_END) => {
                    self.outside()
                }
                other => other.ok(),
            }
        };
        let Some(compiled) = compiled else { return false };
        let about = About::new(compiled.kind, self.build);
        let kept = self
            .cache
            .insert(&self.key, &compiled.code, compiled.length, &about);
        if kept.is_ok() {
            self.cache.drop_provisional(&self.key);
        }
        kept.is_ok()
    }

    fn in_container(&self) -> Result<Compiled, WasmError> {
        let enter = || {
            (self.ties.confine.enter_cgroup)()?;
            // Whoever ends a container kills its first process before all others. Once that is dead, a process
            // that comes late would be in the way of removing the cgroup.
            if self.has_ended(&Timespec::default()) {
                return Err(io::Error::from_raw_os_error(libc::ESRCH));
            }
            fault::hold("background:entered");
            limit_memory(self.limits.memory)
        };
        let confine = Confine {
            enter_cgroup: &enter,
            memory_limit: self.ties.confine.memory_limit,
            threads: self.limits.threads,
        };
        compile::compile(self.bytes, self.request, self.build, &confine)
    }

    /// Compiles outside of the container, which has ended or would be ended; where nobody else does so.
    fn outside(&self) -> Option<Compiled> {
        let claim = self.cache.claim_orphan().ok().flatten()?;
        let enter = || {
            set_scheduler(&SchedulerAttributes {
                policy: libc::SCHED_IDLE as u32,
                nice: 19,
                ..SchedulerAttributes::default()
            })?;
            // What the container could not have bought while it lived it does not get now.
            let memory = self
                .ties
                .confine
                .memory_limit
                .map_or(ORPHAN_MEMORY, |limit| limit.min(ORPHAN_MEMORY));
            limit_memory(Some(memory))?;
            Ok(setrlimit(
                Resource::RLIMIT_CPU,
                ORPHAN_CPU_SECONDS,
                ORPHAN_CPU_SECONDS + 10,
            )?)
        };
        let confine = Confine {
            enter_cgroup: &enter,
            memory_limit: None,
            threads: false,
        };
        let compiled = compile::compile(self.bytes, self.request, self.build, &confine);
        self.cache.release(claim);
        compiled.ok()
    }

    /// Whether the container's first process ends within `patience`, and with it the container.
    fn has_ended(&self, patience: &Timespec) -> bool {
        let mut fds = [PollFd::from_borrowed_fd(self.ties.init.as_fd(), PollFlags::IN)];
        rustix::event::poll(&mut fds, Some(patience)).is_ok_and(|ready| ready > 0)
    }
}

/// The OOM killer takes this process, and those it makes, before any other.
fn yield_memory() -> io::Result<()> {
    let yield_now = || std::fs::write("/proc/self/oom_score_adj", "1000");
    match yield_now() {
        // The files of an undumpable process are root's.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            nix::sys::prctl::set_dumpable(true)?;
            let yielded = yield_now();
            nix::sys::prctl::set_dumpable(false)?;
            yielded
        }
        other => other,
    }
}

/// Bounds the memory that the calling process may ask for, in bytes.
fn limit_memory(limit: Option<u64>) -> io::Result<()> {
    limit.map_or(Ok(()), |bytes| {
        Ok(setrlimit(Resource::RLIMIT_DATA, bytes, bytes)?)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_of_the_limits_is_left_to_the_guest() {
        let limits = |tasks, memory| {
            Limits::within(Room {
                tasks,
                memory,
                ends_whole: false,
            })
        };
        assert_eq!(
            limits(None, None),
            Some(Limits {
                threads: true,
                memory: None,
                apart: false
            })
        );
        let within = limits(Some(TASKS_FOR_GUEST + 1), Some(LEAST_MEMORY * 2));
        assert_eq!(
            within,
            Some(Limits {
                threads: false,
                memory: Some(LEAST_MEMORY),
                apart: false
            })
        );
        assert_eq!(limits(Some(TASKS_FOR_GUEST), None), None);
        assert_eq!(limits(None, Some(LEAST_MEMORY)), None);
        assert!(limits(Some(10_000), None).is_some_and(|limits| limits.threads));
        let whole = |memory| {
            Limits::within(Room {
                tasks: None,
                memory,
                ends_whole: true,
            })
        };
        assert!(whole(Some(LEAST_MEMORY * 2)).is_some_and(|limits| limits.apart));
        assert!(whole(None).is_some_and(|limits| !limits.apart), "no limit to hit");
    }
}
