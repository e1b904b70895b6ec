//! From the code of an application's components to a running server.

use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd};

use wasmtime::Engine;
use wasmtime::component::Component;
use wasmtime_wasi::WasiCtx;

use super::http::{self, Prepared};
use super::manifest::{Executor, Target};
use super::part::Part;
use super::settings::ADDRESS;
use super::{Application, Member, SpinError, files};
use crate::sys::{escape, memory};
use crate::workload::wasm::engine::{self, Build};
use crate::workload::wasm::guest_filter;
use crate::workload::wasm::kinds::http::{InstanceSize, Limits, Server, Settings, guest_memory};
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
            let at = self.members.iter().position(|member| member.id == *id);
            let Some(GuestKind::Spin(part)) = at.and_then(|at| codes.get(at)).map(|code| &code.kind) else {
                continue;
            };
            let (fits, wanted) = match executor {
                Executor::Http => (part.http().is_some(), "a handler of wasi:http"),
                Executor::Wagi { .. } => (part.command().is_some(), "a program with wasi:cli/run"),
            };
            if !fits {
                return Err(SpinError::Handler {
                    key: trigger.key.clone(),
                    id: id.clone(),
                    part: part.clone(),
                    wanted,
                });
            }
        }
        Ok(())
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
        // Some are kept for components that others call, so there are two at least.
        limits.instances = limits.instances.max(2);
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

impl Loaded {
    /// Serves until a signal asks to stop.
    pub fn run(self, guest: Guest) -> wasmtime::Result<()> {
        let Self {
            application,
            components,
            limits,
        } = self;
        let memory = guest.memory_limit.map(usable);
        let guest_limits = GuestLimits::with_share(memory, guest_memory, &guest.options);
        let guest_limits = guest_limits.at_most_each(application.settings.instance_memory);
        let settings = Settings {
            address: application.settings.address,
            variable: ADDRESS,
            limits,
            // On one CPU as well: the kernel then shares it out, and a component that computes for ever does not keep it.
            threads: run::threads(&guest).max(2),
            access_log: guest.options.access_log,
        };
        let prepared = Prepared {
            directories: directories(&application)?,
            application,
            components,
            instances: limits.instances,
            limits: guest_limits,
        };
        let server = Server::new(settings, |stopping| http::Site::new(prepared, stopping))?;
        memory::give_back_stack();
        run::confine_with_databases(guest_filter::INTERNET)?;
        escape::attempt_if_asked();
        server.run()
    }
}

/// The directories of each member, opened once; every instance has a copy of the list.
fn directories(application: &Application) -> wasmtime::Result<Vec<http::Directories>> {
    let open = |member: &Member| {
        let mut opened = WasiCtx::builder();
        opened.allow_blocking_current_thread(true);
        let directory = application.directory.as_ref().map(AsFd::as_fd);
        files::show(&member.mounts, directory, &mut opened)
            .map_err(|error| error.context(format!("cannot open the files of component `{}`", member.id)))?;
        Ok(opened.build().filesystem().clone())
    };
    application.members.iter().map(open).collect()
}
