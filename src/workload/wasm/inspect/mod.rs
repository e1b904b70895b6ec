//! Tells what a file is, what it wants and gives, and how it would be run, for `wrun wasm inspect`. Nothing is
//! compiled, and how a guest would be run is decided by what decides it for containers.
//!
//! The file may be anybody's: it is read once and looked into by a process that is confined as the compiler's
//! is. The world of a component is told by a process of its own, since it is made by a library for developers'
//! own files: should that fail, only the world is missing.

mod look;
mod report;
mod world;

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::wait::{WaitStatus, waitpid};

pub use report::{
    CoreModule, ImportGroup, ImportItem, Item, Kind, Memory, Producer, Proposal, Report, Run, Section,
};

use super::compile::Failure;
use super::input::Input;
use super::{WasmError, confine};
use crate::sys::fork;
use crate::workload::detect::{self, Format};

/// Most bytes that are told of one file.
const MAX_REPORT: u64 = 64 << 20;

/// Most bytes of a component's world.
const MAX_WORLD: u64 = 4 << 20;

/// Bytes of memory that looking may take, the file itself among them.
const MAX_MEMORY: u64 = 4 << 30;

/// Seconds of CPU that it may take.
const CPU_SECONDS: u64 = 120;

/// Looks at an untrusted file, open for reading; `name` decides whether it may be text, and is told in errors.
pub fn inspect(file: File, name: &str, export: Option<&str>) -> Result<Report, WasmError> {
    let input = Input::new(file, name)?;
    let size = input.metadata().len();
    let format = detect::detect(input.head(), name);
    if let Some(report) = not_wasm(format, size, name) {
        return Ok(report);
    }
    let bytes = input.read()?;
    let text = confined(name, MAX_REPORT, || {
        serde_json::to_vec(&look::look(&bytes, export)).map_err(io::Error::other)
    })?;
    let mut report: Report = serde_json::from_slice(&text).map_err(|error| WasmError::Crashed {
        path: name.to_owned(),
        how: format!("left no report: {error}"),
    })?;
    report.size = size;
    if report.kind == Kind::Component && report.error.is_none() {
        // Without it all else is as true.
        let world = confined(name, MAX_WORLD, || world::world(&bytes).map(String::into_bytes));
        report.world = world.ok().and_then(|text| String::from_utf8(text).ok());
    }
    Ok(report)
}

/// What can be said of other files without looking further.
fn not_wasm(format: Format, size: u64, name: &str) -> Option<Report> {
    let native = || Run {
        runs: true,
        text: format!("{}, which the kernel executes", format.describe()),
        entry: None,
        part: None,
    };
    let (kind, run) = match format {
        Format::WasmModule | Format::WasmComponent | Format::WasmText => return None,
        Format::Precompiled => {
            let refused = WasmError::Precompiled {
                path: name.to_owned(),
            };
            let run = Run {
                runs: false,
                text: refused.to_string(),
                entry: None,
                part: None,
            };
            (Kind::Precompiled, run)
        }
        Format::Elf => (Kind::Native, native()),
        Format::Script => (Kind::Script, native()),
        Format::Other => {
            let run = Run {
                runs: false,
                text: "not recognised; the kernel would be asked to execute it".to_owned(),
                entry: None,
                part: None,
            };
            (Kind::Unknown, run)
        }
    };
    Some(Report::of_other(kind, size, run))
}

/// Lets `job` run in a confined process, and gives what it made, up to `most` bytes.
pub(super) fn confined(
    name: &str,
    most: u64,
    job: impl FnOnce() -> io::Result<Vec<u8>>,
) -> Result<Vec<u8>, WasmError> {
    let error = |step| {
        move |source: io::Error| WasmError::Confine {
            path: name.to_owned(),
            step,
            source,
        }
    };
    let (reader, writer) = io::pipe()
        .map(|(r, w)| (OwnedFd::from(r), OwnedFd::from(w)))
        .map_err(error("making its pipe"))?;
    let child = fork::run_in_child(|| in_child(&writer, most, job)).map_err(error("forking"))?;
    drop(writer);
    let mut made = Vec::new();
    let read = File::from(reader).take(most + 1).read_to_end(&mut made);
    let status = loop {
        match waitpid(child, None) {
            Err(nix::errno::Errno::EINTR) => {}
            other => break other.map_err(|errno| error("waiting for it")(errno.into()))?,
        }
    };
    read.map_err(error("reading from it"))?;
    let crashed = |how: String| WasmError::Crashed {
        path: name.to_owned(),
        how,
    };
    match status {
        _ if made.len() as u64 > most => Err(crashed(format!("has more to tell than {most} bytes"))),
        WaitStatus::Exited(_, 0) => Ok(made),
        WaitStatus::Exited(_, code) => Err(crashed(format!("gave up at step {code}"))),
        WaitStatus::Signaled(_, signal, _) => Err(crashed(format!("was ended by {signal}"))),
        other => Err(crashed(format!("ended without a report ({other:?})"))),
    }
}

/// The whole life of the confined process; its exit code tells how far it came.
fn in_child(writer: &OwnedFd, most: u64, job: impl FnOnce() -> io::Result<Vec<u8>>) -> u8 {
    // Nobody reads what a panic would say; the parent sees that there was one.
    std::panic::set_hook(Box::new(|_| {}));
    if prepare(writer).is_err() {
        return 1;
    }
    let Ok(made) = job() else { return 2 };
    // One byte too many tells the parent that there was too much.
    let length = made
        .len()
        .min(usize::try_from(most).unwrap_or(usize::MAX).saturating_add(1));
    u8::from(write_all(&made[..length]).is_err()) * 3
}

/// The recipe, in the order that it must have.
fn prepare(writer: &OwnedFd) -> Result<(), Failure> {
    let step = |step| move |error| Failure { step, error };
    nix::unistd::dup2_stdout(writer).map_err(|errno| step("arranging descriptors")(errno.into()))?;
    fork::close_from(2).map_err(step("closing descriptors"))?;
    confine::leave_host()?;
    lower(Resource::RLIMIT_AS, MAX_MEMORY).map_err(step("limiting memory"))?;
    lower(Resource::RLIMIT_CPU, CPU_SECONDS).map_err(step("limiting CPU"))?;
    confine::forbid_syscalls()
}

/// Lowers a limit; one that is lower stays.
fn lower(resource: Resource, limit: u64) -> io::Result<()> {
    let (soft, hard) = getrlimit(resource)?;
    Ok(setrlimit(resource, soft.min(limit), hard)?)
}

fn write_all(mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match rustix::io::write(io::stdout(), bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
