//! The container's side: loads compiled code, gives the guest its surroundings and runs it in this very
//! process. Called when everything else about the container is done and no right is left to give up.

use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use rustix::fs::{Access, AtFlags};
use wasmtime::component::Component;
use wasmtime::{Engine, Module, Trap};
use wasmtime_wasi::{FsPerms, I32Exit, WasiCtx, WasiCtxBuilder};

use super::engine::Build;
use super::kinds::{self, GuestKind, Surroundings};
use super::{engine, guest_filter, stdio};
use crate::plan::GuestOptions;
use crate::sys::signal;
use crate::sys::wasm_code::{self, TrustedCode};
use crate::workload::exit;

/// What the plan gives a guest.
#[derive(Debug, Clone)]
pub struct Guest {
    /// Whole argv.
    pub args: Vec<String>,
    pub env: Vec<(String, String)>,
    /// Absolute.
    pub cwd: PathBuf,
    /// Bytes, of the container's cgroup.
    pub memory_limit: Option<u64>,
    pub options: GuestOptions,
}

/// A guest that is loaded, and only needs to be entered.
pub struct Loaded {
    engine: Engine,
    code: Code,
}

enum Code {
    Module(Module, String),
    Command(Component, kinds::Wasi),
}

/// Maps the compiled code. Needs nothing of the container's file system, except that a component's code is
/// shared with other containers only where a proc is mounted on /proc.
pub fn load(code: OwnedFd, kind: &GuestKind, build: Build) -> wasmtime::Result<Loaded> {
    let engine = engine::runtime_engine(build)?;
    // `provide` hands out nothing but verified entries and sealed copies of what our compiler wrote.
    let trusted = TrustedCode::vouch(code);
    let code = match kind {
        GuestKind::CorePreview1 { entry } => {
            Code::Module(wasm_code::load_module(&engine, trusted)?, entry.clone())
        }
        GuestKind::Command { wasi } => Code::Command(wasm_code::load_component(&engine, trusted)?, *wasi),
    };
    Ok(Loaded { engine, code })
}

/// Loads and runs a guest to its end, and returns the exit code for the process to leave with.
///
/// Whatever went wrong is written to stderr, as the guest's last words: nobody is left to return it to.
pub fn run(code: OwnedFd, kind: &GuestKind, build: Build, guest: Guest) -> u8 {
    match load(code, kind, build) {
        Ok(loaded) => loaded.run(guest),
        Err(error) => verdict(Err(error.context("cannot load the compiled code"))),
    }
}

impl Loaded {
    /// Runs the guest to its end; see [`run`].
    pub fn run(self, guest: Guest) -> u8 {
        verdict(self.enter(guest))
    }

    fn enter(self, guest: Guest) -> wasmtime::Result<()> {
        signal::end_on_signals()?;
        require_random_device()?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build()?;
        let outcome = runtime.block_on(async {
            let surroundings = surroundings(&guest)?;
            // Last before any code of the guest's can run; all code is mapped by now.
            confine()?;
            match &self.code {
                Code::Module(module, entry) => {
                    kinds::core::run(&self.engine, module, entry, surroundings).await
                }
                Code::Command(component, wasi) => {
                    kinds::command::run(&self.engine, component, *wasi, surroundings).await
                }
            }
        });
        // The process ends right after; a name lookup that still hangs in a thread must not hold it up.
        runtime.shutdown_background();
        outcome.map_err(explain_address_limit)
    }
}

fn confine() -> wasmtime::Result<()> {
    guest_filter::install().map_err(|error| {
        let hint = "cannot add the engine's own seccomp filter; the container's profile must allow seccomp";
        wasmtime::Error::from(error).context(hint)
    })
}

fn surroundings(guest: &Guest) -> wasmtime::Result<Surroundings> {
    let mut wasi = WasiCtx::builder();
    wasi.allow_blocking_current_thread(true);
    wasi.args(&guest.args).envs(&guest.env);
    wasi.stdin(stdio::Stdin::new())
        .stdout(stdio::Output::Stdout)
        .stderr(stdio::Output::Stderr);
    // Whatever the container's network namespace offers.
    wasi.inherit_network()
        .allow_tcp(true)
        .allow_udp(true)
        .allow_ip_name_lookup(true);
    directories(&mut wasi, guest)?;
    Ok(Surroundings {
        wasi,
        memory_limit: guest.memory_limit.map(usable),
    })
}

/// The rootfs as `/`, writable as far as its mounts are, and the working directory.
///
/// Preview 1 has no working directory; languages differ in what they make of that. C and Rust (wasi-libc)
/// take paths without a leading `/` from the preopen `/`, and of two preopens `.` and `/` see only the last;
/// Zig takes the first preopen; Go takes PWD. So `.` comes first, `/` last, and PWD is set where the spec
/// does not set it. Components ask for the initial directory.
fn directories(wasi: &mut WasiCtxBuilder, guest: &Guest) -> wasmtime::Result<()> {
    let cwd = guest.cwd.to_string_lossy();
    if cwd != "/" {
        let opened = wasi.preopened_dir(&guest.cwd, ".", FsPerms::ReadWrite);
        opened.map_err(|error| error.context(format!("cannot open the working directory {cwd}")))?;
        if !guest.env.iter().any(|(key, _)| key == "PWD") {
            wasi.env("PWD", &cwd);
        }
    }
    wasi.initial_cwd(&cwd);
    wasi.preopened_dir("/", "/", FsPerms::ReadWrite)?;
    Ok(())
}

/// What of the cgroup's limit a guest's memory may take: the rest is for the engine and page tables, so that
/// the guest is told that memory is short before the kernel kills it.
const fn usable(limit: u64) -> u64 {
    let reserve = limit / 16;
    limit - if reserve < 16 << 20 { reserve } else { 16 << 20 }
}

/// The engine seeds its generators from here (in a static executable it finds no getrandom(2)), and panics
/// where it cannot.
fn require_random_device() -> wasmtime::Result<()> {
    let device = "/dev/urandom";
    rustix::fs::accessat(rustix::fs::CWD, device, Access::READ_OK, AtFlags::empty())
        .map_err(|error| wasmtime::format_err!("{device}: {error}; a Wasm guest needs it for random numbers"))
}

/// Adds why memory cannot be reserved where RLIMIT_AS is the reason.
fn explain_address_limit(error: wasmtime::Error) -> wasmtime::Error {
    use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit};
    /// 4 GiB and the guard regions, for each linear memory.
    const RESERVATION: u64 = 5 << 30;
    let out_of_memory = error.chain().any(|cause| {
        cause.downcast_ref::<rustix::io::Errno>() == Some(&rustix::io::Errno::NOMEM)
            || cause
                .downcast_ref::<std::io::Error>()
                .and_then(std::io::Error::raw_os_error)
                == Some(libc::ENOMEM)
    });
    match getrlimit(Resource::RLIMIT_AS) {
        Ok((limit, _)) if out_of_memory && limit != RLIM_INFINITY && limit < RESERVATION => {
            error.context(format!(
                "RLIMIT_AS is {limit} bytes, but the engine reserves {RESERVATION} bytes of address space for \
                 each memory; limit the container's memory by its cgroup"
            ))
        }
        _ => error,
    }
}

/// The exit code; with the reason on stderr where it is not the guest's own.
fn verdict(outcome: wasmtime::Result<()>) -> u8 {
    let Err(error) = outcome else { return 0 };
    if let Some(I32Exit(code)) = error.downcast_ref::<I32Exit>() {
        return exit::guest(*code);
    }
    let trapped = error.downcast_ref::<Trap>().is_some();
    let what = if trapped {
        "the guest trapped"
    } else {
        "the guest failed"
    };
    // One write, so that lines of others do not come between; there is nobody to tell where it fails.
    let _ = std::io::stderr().write_all(format!("wrun: {what}: {error:?}\n").as_bytes());
    if trapped { exit::TRAP } else { exit::FAILURE }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_engine_keeps_a_share_of_the_limit() {
        assert_eq!(usable(64 << 20), 60 << 20);
        assert_eq!(usable(1 << 30), (1 << 30) - (16 << 20));
        assert_eq!(usable(0), 0);
    }
}
