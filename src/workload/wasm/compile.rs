//! Compiling an entry point: bytes of an unknown hand in, native code and a verdict out. Done in a process of
//! its own that has nothing but those bytes, two descriptors to write to and the container's cgroup.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};

use nix::sys::signal::Signal;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;
use rustix::fs::MemfdFlags;
use serde::{Deserialize, Serialize};
use wasmtime::component::Component;
use wasmtime::{Engine, Module};
use wasmtime_wasi::WasiCtx;

use super::engine::Build;
use super::key::Purpose;
use super::kinds::{self, GuestKind, Refusal, Surroundings, Way};
use super::limits::Limits;
use super::{Confine, Request, WasmError, World, confine, engine, proposals, threads};
use crate::sys::fork;

/// Most bytes of a verdict: a pipe holds as much, so the compiler never waits for its reader.
const MAX_VERDICT: u64 = 64 << 10;

/// What came out.
#[derive(Debug)]
pub struct Compiled {
    /// A memory file that can be sealed; nobody else holds it any more.
    pub code: File,
    /// Bytes of code.
    pub length: u64,
    pub kind: GuestKind,
}

/// What the compiler's process says at its end.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Verdict {
    Compiled { kind: GuestKind, length: u64 },
    Refused(Refusal),
    Failed { step: String, errno: Option<i32> },
    Panicked { message: String },
}

/// Compiles `bytes` in a confined process, and waits for it.
pub fn compile(
    bytes: &[u8],
    request: &Request<'_>,
    build: Build,
    confine: &Confine<'_>,
) -> Result<Compiled, WasmError> {
    let name = request.name;
    let purpose = request.purpose();
    let start_error = |step| {
        move |source: io::Error| WasmError::Confine {
            path: name.to_owned(),
            step,
            source,
        }
    };
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let output = rustix::fs::memfd_create("wrun-code", flags)
        .map_err(|error| start_error("making its output")(error.into()))?;
    let (reader, writer) = io::pipe()
        .map_err(start_error("making its pipe"))
        .map(|(r, w)| (OwnedFd::from(r), OwnedFd::from(w)))?;
    let parent = nix::unistd::getpid();
    let child = fork::run_in_child(|| in_child(bytes, purpose, build, confine, parent, &output, &writer))
        .map_err(start_error("forking"))?;
    drop(writer);
    let mut text = Vec::new();
    let read = File::from(reader).take(MAX_VERDICT + 1).read_to_end(&mut text);
    let status = wait(child).map_err(start_error("waiting for it"))?;
    read.map_err(start_error("reading its verdict"))?;
    conclude(&text, status, output, name, confine)
}

fn wait(child: Pid) -> io::Result<WaitStatus> {
    loop {
        match waitpid(child, None) {
            Err(nix::errno::Errno::EINTR) => {}
            other => return Ok(other?),
        }
    }
}

/// Makes sense of the verdict and of the way the process ended. Both may be an attacker's.
fn conclude(
    text: &[u8],
    status: WaitStatus,
    output: OwnedFd,
    name: &str,
    confine: &Confine<'_>,
) -> Result<Compiled, WasmError> {
    let path = || name.to_owned();
    let crashed = |how: String| WasmError::Crashed { path: path(), how };
    if let WaitStatus::Signaled(_, Signal::SIGKILL, _) = status {
        return Err(WasmError::OutOfMemory {
            path: path(),
            limit: confine.memory_limit,
        });
    }
    let verdict = (text.len() as u64 <= MAX_VERDICT).then(|| serde_json::from_slice(text));
    match (verdict, status) {
        (Some(Ok(Verdict::Compiled { kind, length })), WaitStatus::Exited(_, 0)) => {
            let code = File::from(output);
            let held = code.metadata().map(|metadata| metadata.len()).unwrap_or(0);
            if length == 0 || held != length {
                return Err(crashed(format!("says {length} bytes of code, but left {held}")));
            }
            Ok(Compiled { code, length, kind })
        }
        (Some(Ok(Verdict::Refused(refusal))), _) => Err(WasmError::Refused {
            path: path(),
            refusal,
        }),
        (Some(Ok(Verdict::Panicked { message })), _) => Err(crashed(format!("panicked: {message}"))),
        (Some(Ok(Verdict::Failed { step, errno })), _) => {
            let why = errno.map(|errno| format!(": {}", io::Error::from_raw_os_error(errno)));
            Err(crashed(format!("failed at {step}{}", why.unwrap_or_default())))
        }
        (_, WaitStatus::Signaled(_, signal, _)) => Err(crashed(format!("was ended by {signal}"))),
        (_, status) => Err(crashed(format!("ended without a verdict ({status:?})"))),
    }
}

/// The whole life of the compiler's process.
fn in_child(
    bytes: &[u8],
    purpose: Purpose<'_>,
    build: Build,
    ties: &Confine<'_>,
    parent: Pid,
    output: &OwnedFd,
    verdict: &OwnedFd,
) -> u8 {
    let result = prepare(build, ties, parent, output, verdict).and_then(|tools| {
        let (code, kind) = match translate(bytes, purpose, tools) {
            Ok(done) => done,
            Err(refusal) => return Ok(Verdict::Refused(refusal)),
        };
        let length = code.len() as u64;
        write_all(OUTPUT, &code).map_err(|error| Failure {
            step: "writing the code",
            error,
        })?;
        Ok(Verdict::Compiled { kind, length })
    });
    let verdict = result.unwrap_or_else(|failure| Verdict::Failed {
        step: failure.step.to_owned(),
        errno: failure.error.raw_os_error(),
    });
    u8::from(say(&verdict).is_err())
}

/// A step of the compiler's process that could not be done.
pub struct Failure {
    pub step: &'static str,
    pub error: io::Error,
}

/// Numbers of the only two descriptors that the process keeps.
const OUTPUT: i32 = 0;
const VERDICT: i32 = 1;

/// What is made before the process gives up the right to open files.
struct Tools {
    engine: Engine,
    /// Never run; the check of imports wants one. Made early since it takes random numbers.
    host: kinds::core::Host,
}

/// The recipe of the process, in the order that it must have.
fn prepare(
    build: Build,
    ties: &Confine<'_>,
    parent: Pid,
    output: &OwnedFd,
    verdict: &OwnedFd,
) -> Result<Tools, Failure> {
    let step = |step| move |error| Failure { step, error };
    // Before all that can fail, since this is how it is said.
    take_two_descriptors(output, verdict).map_err(step("arranging descriptors"))?;
    // For ps(1), which shows our own command line otherwise.
    nix::sys::prctl::set_name(c"wrun-compiler").map_err(|errno| step("taking a name")(errno.into()))?;
    // Until the credentials change, which clears it.
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)
        .map_err(|errno| step("tying its life to ours")(errno.into()))?;
    // Before all that costs, so that it is counted; and before descriptors and rights are gone.
    (ties.enter_cgroup)().map_err(step("joining the container's cgroup"))?;
    fork::close_from(2).map_err(step("closing descriptors"))?;
    std::panic::set_hook(Box::new(|info| {
        let message: String = info.to_string().chars().take(1000).collect();
        // If this fails the process ends without a verdict, which is told from one with.
        let _ = say(&Verdict::Panicked { message });
    }));
    confine::leave_host()?;
    if nix::unistd::getppid() != parent {
        // It was killed before our life was tied to its.
        return Err(step("finding its parent")(io::Error::from_raw_os_error(
            libc::ESRCH,
        )));
    }
    let parallel = ties.threads && can_start_threads();
    let engine = engine::compiler_engine(build, parallel).map_err(|error| Failure {
        step: "making the engine",
        error: io::Error::other(format!("{error:#}")),
    })?;
    let surroundings = Surroundings {
        wasi: WasiCtx::builder(),
        limits: Limits::none(),
        core_dump: None,
    };
    let host = kinds::core::Host::new(surroundings);
    confine::forbid_syscalls()?;
    Ok(Tools { engine, host })
}

fn take_two_descriptors(output: &OwnedFd, verdict: &OwnedFd) -> io::Result<()> {
    // By way of high numbers, since either may be 0 or 1 itself.
    let output = rustix::io::fcntl_dupfd_cloexec(output.as_fd(), 3)?;
    let verdict = rustix::io::fcntl_dupfd_cloexec(verdict.as_fd(), 3)?;
    nix::unistd::dup2_stdin(&output)?;
    nix::unistd::dup2_stdout(&verdict)?;
    Ok(())
}

/// Whether the container's pids limit leaves room for the compiler's threads; it does without otherwise.
fn can_start_threads() -> bool {
    std::thread::available_parallelism().is_ok_and(|count| count.get() > 1 && threads::can_start(count.get()))
}

/// Decides what kind of guest it is, and compiles it.
fn translate(bytes: &[u8], purpose: Purpose<'_>, tools: Tools) -> Result<(Vec<u8>, GuestKind), Refusal> {
    let binary = kinds::binary(bytes)?;
    match purpose.world {
        World::Wasi => translate_guest(&binary, purpose.export, tools),
        #[cfg(feature = "spin")]
        World::Spin => super::spin::translate(&binary, &tools.engine),
        #[cfg(feature = "slight")]
        World::Slight => super::slight::translate(&binary, &tools.engine),
        #[cfg(not(all(feature = "spin", feature = "slight")))]
        world => Err(Refusal::World {
            world: world.name().to_owned(),
        }),
    }
}

/// What the engine says of a binary that it does not take.
pub fn not_taken(binary: &[u8], error: &wasmtime::Error) -> Refusal {
    proposals::explain(binary).unwrap_or_else(|| Refusal::invalid(format_args!("{error:#}")))
}

/// What is wrong where the engine could not do what it always can.
pub fn failed(error: wasmtime::Error) -> Refusal {
    let reason = format!("{error:#}");
    Refusal::Engine { reason }
}

fn translate_guest(
    binary: &[u8],
    export: Option<&str>,
    tools: Tools,
) -> Result<(Vec<u8>, GuestKind), Refusal> {
    let Tools { engine, host } = tools;
    let invalid = |error: wasmtime::Error| not_taken(binary, &error);
    let shape = kinds::read::read(binary).map_err(Refusal::invalid)?;
    // Before the work of compiling, which would be for nothing.
    let way = kinds::decide(&shape, export)?;
    let component = || Component::from_binary(&engine, binary).map_err(invalid);
    let (code, kind) = match way {
        Way::Core { entry } => {
            let module = Module::from_binary(&engine, binary).map_err(invalid)?;
            let kind = kinds::core::examine(&engine, &module, entry, host)?;
            (module.serialize(), kind)
        }
        Way::Command { wasi } => {
            let component = component()?;
            let kind = kinds::command::examine(&engine, &component, wasi)?;
            (component.serialize(), kind)
        }
        Way::Http { wasi } => {
            let component = component()?;
            let kind = kinds::http::examine(&engine, &component, wasi)?;
            (component.serialize(), kind)
        }
        Way::Function { interface, function } => {
            let component = component()?;
            let kind = kinds::function::examine(&engine, &component, interface, function)?;
            (component.serialize(), kind)
        }
    };
    Ok((code.map_err(failed)?, kind))
}

fn say(verdict: &Verdict) -> io::Result<()> {
    let mut text = serde_json::to_vec(verdict)?;
    if text.len() as u64 > MAX_VERDICT {
        let step = "saying what is wrong: the text is too long".to_owned();
        text = serde_json::to_vec(&Verdict::Failed { step, errno: None })?;
    }
    write_all(VERDICT, &text)
}

fn write_all(number: i32, bytes: &[u8]) -> io::Result<()> {
    struct Fd(i32);
    impl Write for Fd {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            Ok(match self.0 {
                OUTPUT => rustix::io::write(io::stdin(), bytes)?,
                _ => rustix::io::write(io::stdout(), bytes)?,
            })
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    Fd(number).write_all(bytes)
}
