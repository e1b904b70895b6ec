//! The container's side: loads compiled code, gives the guest its surroundings and runs it in this very
//! process. Called when everything else about the container is done and no right is left to give up.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;

use rustix::fs::{Access, AtFlags};
use wasmtime::component::Component;
use wasmtime::{Engine, Module};
use wasmtime_wasi::{FsPerms, WasiCtx, WasiCtxBuilder};

use super::application::{self, Application};
use super::core_dump::Wanted;
use super::engine::Build;
use super::kinds::wasi::MakeContext;
use super::kinds::{self, GuestKind, Surroundings, http};
use super::limits::{Limits, usable};
use super::verdict::{self, Circumstances};
use super::{engine, guest_filter, sockets, stdio};
use crate::plan::{GuestOptions, TIMEOUT};
use crate::sys::wasm_code::{self, TrustedCode};
use crate::sys::{escape, memory, name_lookup, signal, timer};
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
    /// What the container's CPU limit is worth, rounded up.
    pub cpus: Option<u32>,
    pub options: GuestOptions,
}

/// Compiled code, as the parent has given it.
#[derive(Debug)]
pub struct Code {
    pub file: OwnedFd,
    pub kind: GuestKind,
    /// What the engine must be made for.
    pub build: Build,
}

/// What a container's process runs.
pub enum Work {
    Guest(Code),
    /// With the code of its components, in its order.
    Application(Application, Vec<Code>),
}

impl Work {
    pub fn codes(&self) -> &[Code] {
        match self {
            Self::Guest(code) => std::slice::from_ref(code),
            Self::Application(_, codes) => codes,
        }
    }

    /// A directory apart from the container's root that it takes files from.
    pub fn directory(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::Guest(_) => None,
            Self::Application(application, _) => application.directory(),
        }
    }
}

/// What is loaded, and only needs to be entered.
pub struct Loaded(Task);

enum Task {
    Service(Engine, Component, kinds::Wasi, http::Limits),
    Alone(Engine, Alone),
    Application(application::Loaded),
}

/// A guest that has the process to itself.
enum Alone {
    Module(Module, String),
    Command(Component, kinds::Wasi),
    Function {
        component: Component,
        interface: Option<String>,
        function: String,
    },
}

/// Maps the compiled code. Needs nothing of the container's file system. `proc_self` is our own directory in a
/// procfs that is not the container's; no guest may run while it is open.
pub fn load(work: Work, guest: &Guest, proc_self: BorrowedFd<'_>) -> wasmtime::Result<Loaded> {
    let task = match work {
        Work::Guest(code) => load_guest(code, guest, proc_self)?,
        Work::Application(application, codes) => {
            Task::Application(application.load(codes, guest, proc_self)?)
        }
    };
    Ok(Loaded(task))
}

fn load_guest(code: Code, guest: &Guest, proc_self: BorrowedFd<'_>) -> wasmtime::Result<Task> {
    let Code { file, kind, build } = code;
    if let GuestKind::Http { wasi, size } = kind {
        let limits = service_limits(guest, wasi, size)?;
        let engine = engine::serving_engine(build, wasi, limits, size, &guest.options)?;
        let component = load_component(&engine, file, guest, proc_self)?;
        return Ok(Task::Service(engine, component, wasi, limits));
    }
    let engine = engine::runtime_engine(build, &guest.options)?;
    let component = |file| load_component(&engine, file, guest, proc_self);
    let alone = match kind {
        GuestKind::CorePreview1 { entry } => Alone::Module(load_module(&engine, file, guest)?, entry),
        GuestKind::Command { wasi } => Alone::Command(component(file)?, wasi),
        GuestKind::ComponentFunction { interface, function } => Alone::Function {
            component: component(file)?,
            interface,
            function,
        },
        other => wasmtime::bail!("{other} is no guest by itself"),
    };
    Ok(Task::Alone(engine, alone))
}

/// Maps the code of a module; see [`load_component`].
pub(super) fn load_module(engine: &Engine, file: OwnedFd, guest: &Guest) -> wasmtime::Result<Module> {
    let trusted = TrustedCode::vouch(file);
    if guest.options.perf_map {
        wasm_code::copy_module(engine, trusted)
    } else {
        wasm_code::load_module(engine, trusted)
    }
}

/// Maps the code of a component.
///
/// `provide` hands out nothing but verified entries and sealed copies of what our compiler wrote.
pub(super) fn load_component(
    engine: &Engine,
    file: OwnedFd,
    guest: &Guest,
    proc_self: BorrowedFd<'_>,
) -> wasmtime::Result<Component> {
    let trusted = TrustedCode::vouch(file);
    if guest.options.perf_map {
        wasm_code::copy_component(engine, trusted)
    } else {
        wasm_code::load_component(engine, trusted, proc_self)
    }
}

/// Loads and runs a guest, or an application, to its end, and returns the exit code for the process to leave with.
///
/// `take_on_labels` puts the process under the container's profiles, which need not know where our code is, but
/// hold for all that comes after.
///
/// Whatever went wrong is written to stderr, as the guest's last words: nobody is left to return it to.
pub fn run(
    work: Work,
    guest: Guest,
    proc_self: OwnedFd,
    take_on_labels: impl FnOnce() -> std::io::Result<()>,
) -> u8 {
    let loaded = load(work, &guest, proc_self.as_fd());
    // By way of it a guest could open its own process.
    drop(proc_self);
    let loaded = loaded.map_err(|error| error.context("cannot load the compiled code"));
    let labelled = loaded.and_then(|loaded| match take_on_labels() {
        Ok(()) => Ok(loaded),
        Err(error) => {
            let what = "cannot take on the container's AppArmor profile or SELinux label";
            Err(wasmtime::Error::from(error).context(what))
        }
    });
    match labelled {
        Ok(loaded) => loaded.run(guest),
        Err(error) => verdict::pronounce(Err(error), &Circumstances::default()),
    }
}

impl Loaded {
    /// Runs the guest to its end; see [`run`].
    pub fn run(self, guest: Guest) -> u8 {
        let limits = Limits::new(guest.memory_limit, &guest.options);
        let fuel = guest.options.fuel;
        let outcome = self.enter(guest, &limits);
        let circumstances = Circumstances {
            shortage: limits.shortage(),
            fuel,
            component: None,
        };
        verdict::pronounce(outcome, &circumstances)
    }

    fn enter(self, guest: Guest, limits: &Limits) -> wasmtime::Result<()> {
        signal::end_on_signals()?;
        start_clock(&guest.options)?;
        require_random_device()?;
        match self.0 {
            Task::Service(engine, component, wasi, size) => {
                keep_lookups_from_libraries()?;
                let server = serve(&engine, &component, wasi, guest, size)?;
                memory::give_back_stack();
                confine(guest_filter::INTERNET)?;
                escape::attempt_if_asked();
                server.run()
            }
            Task::Alone(engine, code) => {
                if code.looks_names_up() {
                    keep_lookups_from_libraries()?;
                }
                code.run(&engine, &guest, limits)
            }
            Task::Application(application) => {
                keep_lookups_from_libraries()?;
                application.run(guest)
            }
        }
    }
}

impl Alone {
    fn run(&self, engine: &Engine, guest: &Guest, limits: &Limits) -> wasmtime::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build()?;
        let outcome = runtime.block_on(async {
            let surroundings = surroundings(guest, limits)?;
            memory::give_back_stack();
            // Last before any code of the guest's can run; all code is mapped by now.
            confine(self.families())?;
            escape::attempt_if_asked();
            match self {
                Alone::Module(module, entry) => kinds::core::run(engine, module, entry, surroundings).await,
                Alone::Command(component, wasi) => {
                    kinds::command::run(engine, component, *wasi, surroundings).await
                }
                Alone::Function {
                    component,
                    interface,
                    function,
                } => {
                    let interface = interface.as_deref();
                    kinds::function::run(engine, component, interface, function, surroundings).await
                }
            }
        });
        // The process ends right after; a name lookup that still hangs in a thread must not hold it up.
        runtime.shutdown_background();
        outcome.map_err(explain_address_limit)
    }

    /// Whether the guest may ask for names: any but a module without the means.
    fn looks_names_up(&self) -> bool {
        match self {
            Alone::Module(module, _) => sockets::is_wanted(module),
            Alone::Command(..) | Alone::Function { .. } => true,
        }
    }

    /// Address families of the sockets that the guest can open.
    fn families(&self) -> &'static [i32] {
        match self {
            Alone::Module(module, _) if sockets::is_wanted(module) => guest_filter::INTERNET_AND_UNIX,
            _ => guest_filter::INTERNET,
        }
    }
}

fn keep_lookups_from_libraries() -> wasmtime::Result<()> {
    name_lookup::load_nothing().map_err(|error| {
        let hint = "cannot keep name lookups from loading the image's libraries";
        wasmtime::Error::from(error).context(hint)
    })
}

/// Last before any code of a guest's can run; all code is mapped by now.
pub(super) fn confine(families: &[i32]) -> wasmtime::Result<()> {
    confined(guest_filter::install(families))
}

/// The same for guests that databases are kept for.
#[cfg(feature = "spin")]
pub(super) fn confine_with_databases(families: &[i32]) -> wasmtime::Result<()> {
    confined(guest_filter::install_for_databases(families))
}

fn confined(outcome: std::io::Result<()>) -> wasmtime::Result<()> {
    outcome.map_err(|error| {
        let hint = "cannot add the engine's own seccomp filter; the container's profile must allow seccomp";
        wasmtime::Error::from(error).context(hint)
    })
}

/// From here on the guest's time runs.
fn start_clock(options: &GuestOptions) -> wasmtime::Result<()> {
    let Some(limit) = options.timeout else {
        return Ok(());
    };
    let message = format!(
        "wrun: the guest was ended after {} seconds (annotation {TIMEOUT})\n",
        limit.as_secs_f64()
    );
    timer::end_after(limit, message, exit::TIMEOUT)
        .map_err(|error| wasmtime::Error::from(error).context(format!("cannot start the clock of {TIMEOUT}")))
}

pub(super) fn surroundings(guest: &Guest, limits: &Limits) -> wasmtime::Result<Surroundings> {
    let mut wasi = context(guest);
    wasi.stdin(stdio::Stdin::new());
    directories(&mut wasi, guest)?;
    Ok(Surroundings {
        wasi,
        limits: limits.another(),
        core_dump: core_dump(guest),
    })
}

fn core_dump(guest: &Guest) -> Option<Wanted> {
    let path = guest.options.core_dump.clone()?;
    let program = guest.args.first().cloned().unwrap_or_default();
    Some(Wanted { path, program })
}

/// All that a guest is given but its standard input and its directories.
pub(super) fn context(guest: &Guest) -> WasiCtxBuilder {
    let mut wasi = WasiCtx::builder();
    wasi.allow_blocking_current_thread(true);
    wasi.args(&guest.args).envs(&guest.env);
    wasi.stdout(stdio::Output::Stdout).stderr(stdio::Output::Stderr);
    // Whatever the container's network namespace offers.
    wasi.inherit_network()
        .allow_tcp(true)
        .allow_udp(true)
        .allow_ip_name_lookup(true);
    let cwd = guest.cwd.to_string_lossy();
    if cwd != "/" && !guest.env.iter().any(|(key, _)| key == "PWD") {
        wasi.env("PWD", &cwd);
    }
    wasi.initial_cwd(&cwd);
    wasi
}

/// How much a service may take on in this container.
pub(super) fn service_limits(
    guest: &Guest,
    wasi: kinds::Wasi,
    size: http::InstanceSize,
) -> wasmtime::Result<http::Limits> {
    use nix::sys::resource::{Resource, getrlimit};
    let (descriptors, _) = getrlimit(Resource::RLIMIT_NOFILE)?;
    Ok(http::Limits::new(
        wasi,
        guest.memory_limit.map(usable),
        descriptors,
        size,
    ))
}

/// A server of one component. Its instances have no standard input: there is but one, for many of them.
fn serve(
    engine: &Engine,
    component: &Component,
    wasi: kinds::Wasi,
    guest: Guest,
    limits: http::Limits,
) -> wasmtime::Result<http::Server<http::One>> {
    // Opened once; every instance has a copy of the list.
    let mut opened = WasiCtx::builder();
    opened.allow_blocking_current_thread(true);
    directories(&mut opened, &guest)?;
    let directories = opened.build().filesystem().clone();
    let settings = http::Settings {
        address: http::address(&guest.env)?,
        variable: http::ADDRESS,
        limits,
        threads: threads(&guest),
        access_log: guest.options.access_log,
    };
    let memory = guest.memory_limit.map(usable);
    let guest_limits = Limits::with_share(memory, http::guest_memory, &guest.options);
    let each = guest_limits.another();
    let context: MakeContext = Arc::new(move || {
        let mut wasi = context(&guest).build();
        *wasi.filesystem() = directories.clone();
        wasi
    });
    let host: http::MakeHost =
        Arc::new(move || kinds::wasi::Host::one_of_many(Arc::clone(&context), each.another()));
    http::Server::new(settings, |stopping| {
        http::One::new(engine, component, wasi, limits, guest_limits, host, stopping)
    })
}

/// Threads that a service may use, by the CPUs and the container's limit.
pub(super) fn threads(guest: &Guest) -> usize {
    let available = std::thread::available_parallelism().map_or(1, usize::from);
    let allowed = guest.cpus.map_or(usize::MAX, |cpus| cpus.max(1) as usize);
    available.min(allowed)
}

/// The rootfs as `/`, writable as far as its mounts are, and the working directory.
///
/// Preview 1 has no working directory; languages differ in what they make of that. C and Rust (wasi-libc)
/// take paths without a leading `/` from the preopen `/`, and of two preopens `.` and `/` see only the last;
/// Zig takes the first preopen; Go takes PWD. So `.` comes first, `/` last, and PWD is set where the spec
/// does not set it. Components ask for the initial directory.
pub(super) fn directories(wasi: &mut WasiCtxBuilder, guest: &Guest) -> wasmtime::Result<()> {
    let cwd = guest.cwd.to_string_lossy();
    if cwd != "/" {
        let opened = wasi.preopened_dir(&guest.cwd, ".", FsPerms::ReadWrite);
        opened.map_err(|error| error.context(format!("cannot open the working directory {cwd}")))?;
    }
    wasi.preopened_dir("/", "/", FsPerms::ReadWrite)?;
    Ok(())
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
