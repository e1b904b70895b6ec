//! From the code of an application's components to a running server.

use std::collections::{BTreeMap, HashMap};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use wasmtime::Engine;
use wasmtime::component::Component;
use wasmtime_wasi::WasiCtx;

use super::beside::Beside;
use super::http::{self, HttpOut, Link, Prepared};
use super::manifest::{Executor, Target};
use super::pace::Pace;
use super::part::{self, Part};
use super::program::Once;
use super::redis::Subscriber;
use super::seed::{Directories, Ready, Seed};
use super::settings::ADDRESS;
use super::{Application, Member, SpinError, files};
use crate::sys::{escape, memory, signal};
use crate::workload::wasm::engine::{self, Build};
use crate::workload::wasm::guest_filter;
use crate::workload::wasm::kinds::http::{InstanceSize, Limits, Server, Settings, Slots, guest_memory};
use crate::workload::wasm::kinds::{GuestKind, Wasi};
use crate::workload::wasm::limits::{Limits as GuestLimits, usable};
use crate::workload::wasm::run::{self, Code, Guest};

/// An application whose code is loaded.
pub struct Loaded {
    application: Application,
    /// In the order of its members.
    components: Vec<(Engine, Component, Part)>,
    limits: Limits,
}

impl Application {
    /// Sees that each component can be entered as its triggers want it. `codes` are in the order of the members.
    pub fn accept(&self, codes: &[Code]) -> Result<(), SpinError> {
        for trigger in &self.triggers {
            let Target::Component { id, executor } = &trigger.target else {
                continue;
            };
            match executor {
                Executor::Http => self.enters(codes, &trigger.key, id, HANDLER, |part| {
                    part.http().is_some() || part.is_inbound()
                }),
                Executor::Wagi { .. } => self.enters(codes, &trigger.key, id, PROGRAM, is_program),
            }?;
        }
        for trigger in &self.subscriptions {
            let wanted = "a handler of messages, fermyon:spin/inbound-redis";
            self.enters(codes, &trigger.key, &trigger.component, wanted, |part| {
                part.redis().is_some()
            })?;
        }
        match &self.command {
            Some(id) => self.enters(codes, "trigger.command[0]", id, PROGRAM, is_program),
            None => Ok(()),
        }
    }

    /// Sees that a component fits the trigger at this key.
    fn enters(
        &self,
        codes: &[Code],
        key: &str,
        id: &str,
        wanted: &'static str,
        fits: fn(&Part) -> bool,
    ) -> Result<(), SpinError> {
        let at = self.members.iter().position(|member| member.id == id);
        match at.and_then(|at| codes.get(at)).map(|code| &code.kind) {
            Some(GuestKind::Spin(part)) if !fits(part) => Err(SpinError::Handler {
                key: key.to_owned(),
                id: id.to_owned(),
                part: part.clone(),
                wanted,
            }),
            _ => Ok(()),
        }
    }

    /// Maps the code of the components. Those that were compiled alike share an engine.
    pub fn load(
        self,
        codes: Vec<Code>,
        guest: &Guest,
        proc_self: BorrowedFd<'_>,
    ) -> wasmtime::Result<Loaded> {
        let mut parts = Vec::new();
        for code in codes {
            match code.kind {
                GuestKind::Spin(part) => parts.push((code.file, code.build, part)),
                other => wasmtime::bail!("{other} is no component of an application"),
            }
        }
        if parts.len() != self.members.len() {
            wasmtime::bail!("of {} components, {} have code", self.members.len(), parts.len());
        }
        let sizes = parts.iter().map(|(_, _, part)| part.size);
        let size = sizes.fold(InstanceSize::default(), InstanceSize::both);
        let asynchronous = parts.iter().any(|(_, _, part)| part.is_concurrent());
        let wasi = if asynchronous { Wasi::V03 } else { Wasi::V02 };
        let mut limits = run::service_limits(guest, wasi, size)?;
        // Some are kept for components that others call, for messages, and for a program.
        limits.instances = limits.instances.max(4);
        let mut engines: HashMap<Build, Engine> = HashMap::new();
        let mut components = Vec::new();
        for (file, build, part) in parts {
            let engine = match engines.get(&build) {
                Some(engine) => engine.clone(),
                None => {
                    let engine = engine::serving_engine(build, wasi, limits, size, &guest.options)?;
                    engines.insert(build, engine.clone());
                    engine
                }
            };
            let component = run::load_component(&engine, file, guest, proc_self)?;
            components.push((engine, component, part));
        }
        Ok(Loaded {
            application: self,
            components,
            limits,
        })
    }
}

/// What executor http wants.
const HANDLER: &str = "a handler of wasi:http, or fermyon:spin/inbound-http,";
/// What executor wagi and command triggers want.
const PROGRAM: &str = "a program with wasi:cli/run";

fn is_program(part: &Part) -> bool {
    part.command().is_some()
}

/// How many instances there may be at once, by what they are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Shares {
    http: u32,
    messages: u32,
}

impl Shares {
    /// Of `all`, at least four. A program that runs once has one for itself.
    fn new(all: u32, application: &Application) -> Self {
        let rest = all - u32::from(application.command.is_some());
        let messages = match (
            application.triggers.is_empty(),
            application.subscriptions.is_empty(),
        ) {
            (_, true) => 0,
            (true, false) => rest,
            (false, false) => (rest / 4).max(1),
        };
        Self {
            http: rest - messages,
            messages,
        }
    }
}

impl Loaded {
    /// Runs it until a signal asks to stop, or until its command ends.
    pub fn run(self, guest: Guest) -> wasmtime::Result<()> {
        let Self {
            application,
            components,
            limits,
        } = self;
        let memory = guest.memory_limit.map(usable);
        let guest_limits = GuestLimits::with_share(memory, guest_memory, &guest.options);
        let guest_limits = guest_limits
            .at_most_each(application.settings.instance_memory)
            .yielding();
        let link = Link::default();
        let ready = ready(&application, components, &guest_limits, &link)?;
        let shares = Shares::new(limits.instances, &application);
        let beside = beside(&application, &ready, shares, &guest)?;
        // On one CPU as well: the kernel then shares it out, and a component that computes for ever does not keep it.
        let threads = run::threads(&guest).max(2);
        if application.triggers.is_empty() {
            // A program alone is ended by signals as any other.
            let listens = !application.subscriptions.is_empty();
            let stop = listens.then(signal::stop_on_signals).transpose()?;
            confine()?;
            return beside.run_alone(stop, threads);
        }
        let settings = Settings {
            address: application.settings.address,
            variable: ADDRESS,
            limits,
            threads,
            access_log: guest.options.access_log,
        };
        let prepared = Prepared {
            name: &application.name,
            version: &application.version,
            triggers: application.triggers,
            components: &ready,
            link,
            instances: shares.http,
            limits: &guest_limits,
        };
        let server = Server::new(settings, |stopping| http::Site::new(prepared, stopping))?;
        confine()?;
        server.run_beside(|stopping| beside.run(stopping))
    }
}

/// Last before any code of a guest's can run.
fn confine() -> wasmtime::Result<()> {
    memory::give_back_stack();
    run::confine_with_databases(guest_filter::INTERNET)?;
    escape::attempt_if_asked();
    Ok(())
}

/// Links the components, in the order of the members.
fn ready(
    application: &Application,
    components: Vec<(Engine, Component, Part)>,
    limits: &GuestLimits,
    link: &Link,
) -> wasmtime::Result<Vec<Arc<Ready>>> {
    let mut engines: Vec<Engine> = Vec::new();
    for (engine, ..) in &components {
        if !engines.iter().any(|known| Engine::same(known, engine)) {
            engines.push(engine.clone());
        }
    }
    let pace = Pace::new(engines);
    let ready = |(member, (engine, component, part)): (&Member, (Engine, Component, Part))| {
        let seed = Seed {
            environment: member.environment.clone(),
            directories: directories(application, member)?,
            sockets: member.sockets,
            grants: Arc::clone(&member.grants),
            stores: Arc::clone(&application.stores),
            limits: limits.another(),
            outbound: Arc::new(HttpOut::new(
                &member.grants,
                &application.stores,
                Arc::clone(link),
            )),
            pace: Arc::clone(&pace),
            concurrent: part.is_concurrent(),
        };
        Ok(Arc::new(Ready {
            linked: part::link(&engine, &component)?.instantiate_pre(&component)?,
            engine,
            part,
            seed: Arc::new(seed),
        }))
    };
    application.members.iter().zip(components).map(ready).collect()
}

/// What is not served by HTTP.
fn beside(
    application: &Application,
    components: &[Arc<Ready>],
    shares: Shares,
    guest: &Guest,
) -> wasmtime::Result<Beside> {
    let by_id = components.iter().map(|it| (it.id().to_owned(), Arc::clone(it)));
    let by_id: BTreeMap<String, Arc<Ready>> = by_id.collect();
    let slots = Arc::new(Slots::new(shares.messages));
    let most = application.stores.call_bytes();
    let command = application.command.as_ref().and_then(|id| by_id.get(id));
    let once = command.map(|component| Once::new(Arc::clone(component), guest.args.clone()));
    Ok(Beside {
        subscribers: Subscriber::all(&application.subscriptions, &by_id, &slots, most)?,
        once: once.transpose()?,
    })
}

/// The directories of a member, opened once; every instance has a copy of the list.
fn directories(application: &Application, member: &Member) -> wasmtime::Result<Directories> {
    let mut opened = WasiCtx::builder();
    opened.allow_blocking_current_thread(true);
    let directory = application.directory.as_ref().map(AsFd::as_fd);
    files::show(&member.mounts, directory, &mut opened)
        .map_err(|error| error.context(format!("cannot open the files of component `{}`", member.id)))?;
    Ok(opened.build().filesystem().clone())
}
