//! From the code of an application's module to a running program or server.

use std::collections::BTreeSet;
use std::sync::Arc;

use wasmtime::{Engine, Module, Store};

use super::host::{App, Host, Server};
use super::http::{Instances, Site};
use super::part::{INIT, Part};
use super::{SlightError, link};
use crate::plan::CORE_DUMP;
use crate::sys::{escape, memory};
use crate::workload::wasm::core_dump;
use crate::workload::wasm::engine;
use crate::workload::wasm::guest_filter;
use crate::workload::wasm::kinds::core::START;
use crate::workload::wasm::kinds::http::{self, Limits, guest_memory};
use crate::workload::wasm::kinds::{GuestKind, Wasi};
use crate::workload::wasm::limits::{Limits as GuestLimits, usable};
use crate::workload::wasm::run::{self, Code, Guest};

/// An application whose slightfile is read, without its code.
pub struct Application {
    pub(super) serves: bool,
    /// Of the resources that it has.
    pub(super) kinds: BTreeSet<&'static str>,
    pub(super) app: App,
}

/// An application whose code is loaded.
pub struct Loaded {
    app: App,
    engine: Engine,
    module: Module,
    /// Of a server; `None` for a program.
    limits: Option<Limits>,
}

impl Application {
    /// Sees that the module can be entered as the slightfile wants it, and imports nothing that it does not grant.
    pub fn accept(&self, codes: &[Code]) -> Result<(), SlightError> {
        for code in codes {
            let GuestKind::Slight(part) = &code.kind else {
                continue;
            };
            self.fits(part)?;
        }
        Ok(())
    }

    fn fits(&self, part: &Part) -> Result<(), SlightError> {
        if let Some(interface) = part.interfaces.iter().find(|it| !self.kinds.contains(it.kind())) {
            return Err(SlightError::NotGranted {
                interface: *interface,
            });
        }
        match (self.serves, part) {
            (true, Part { serves: false, .. }) => Err(SlightError::ServesNothing),
            (false, Part { starts: false, .. }) => Err(SlightError::StartsNowhere),
            _ => Ok(()),
        }
    }

    /// Maps the code of the module.
    pub fn load(self, codes: Vec<Code>, guest: &Guest) -> wasmtime::Result<Loaded> {
        let mut codes = codes.into_iter();
        let (Some(code), None) = (codes.next(), codes.next()) else {
            wasmtime::bail!("an application of SpiderLightning has one module");
        };
        let Code { file, kind, build } = code;
        let GuestKind::Slight(part) = kind else {
            wasmtime::bail!("{kind} is no module of an application");
        };
        let (engine, limits) = if self.serves {
            let limits = run::service_limits(guest, Wasi::V02, part.size)?;
            let engine = engine::serving_engine(build, Wasi::V02, limits, part.size, &guest.options)?;
            (engine, Some(limits))
        } else {
            (engine::runtime_engine(build, &guest.options)?, None)
        };
        Ok(Loaded {
            module: run::load_module(&engine, file, guest)?,
            app: self.app,
            engine,
            limits,
        })
    }
}

impl Loaded {
    /// Runs the program to its end, or serves until a signal asks to stop.
    pub fn run(self, guest: Guest) -> wasmtime::Result<()> {
        match self.limits {
            Some(limits) => self.serve(guest, limits),
            None => self.start(&guest),
        }
    }

    fn start(self, guest: &Guest) -> wasmtime::Result<()> {
        let runtime = http::start_runtime(1)?;
        let outcome = runtime.block_on(async {
            let limits = GuestLimits::new(guest.memory_limit, &guest.options);
            let mut surroundings = run::surroundings(guest, &limits)?;
            let linker = link::link(&self.engine, &self.module)?;
            memory::give_back_stack();
            // Last before any code of the guest's can run; all code is mapped by now.
            run::confine(guest_filter::INTERNET)?;
            escape::attempt_if_asked();
            let (wasi, app) = (surroundings.wasi.build_p1(), Arc::new(self.app));
            let host = Host::new(wasi, limits.another(), app, Server::Forbidden);
            let mut store = Store::new(&self.engine, host);
            limits.apply(&mut store, Host::limits)?;
            let outcome = async {
                let instance = linker.instantiate_async(&mut store, &self.module).await?;
                let start = instance.get_typed_func::<(), ()>(&mut store, START)?;
                start.call_async(&mut store, ()).await
            };
            let outcome = outcome.await;
            core_dump::leave(&mut store, outcome, surroundings.core_dump.as_ref(), &limits)
        });
        // The process ends right after; a name lookup that still hangs in a thread must not hold it up.
        runtime.shutdown_background();
        outcome
    }

    fn serve(self, guest: Guest, limits: Limits) -> wasmtime::Result<()> {
        if guest.options.core_dump.is_some() {
            wasmtime::bail!(
                "annotation {CORE_DUMP}: an HTTP service goes on after a trap and leaves no core dump; remove it"
            );
        }
        let memory = guest.memory_limit.map(usable);
        let (threads, access_log) = (run::threads(&guest), guest.options.access_log);
        let linker = link::link(&self.engine, &self.module)?;
        let instances = Instances {
            linked: linker.instantiate_pre(&self.module)?,
            engine: self.engine,
            app: Arc::new(self.app),
            limits: GuestLimits::with_share(memory, guest_memory, &guest.options),
            guest,
        };
        memory::give_back_stack();
        run::confine(guest_filter::INTERNET)?;
        escape::attempt_if_asked();
        // Threads inherit how the process is confined, so there are none before.
        let runtime = http::start_runtime(threads)?;
        let outcome = runtime.block_on(async {
            let (listener, router) = match instances.init().await? {
                Server::Started(listener, router) => (listener, router),
                Server::Stopped => return Ok(()),
                Server::NotStarted | Server::Forbidden => {
                    wasmtime::bail!("{INIT} has returned without a call to server::serve")
                }
            };
            let routes = router.routes().into_iter().cloned().collect();
            let site = Site::new(instances, routes, limits.instances, memory);
            http::Server::listening(listener, site, limits, access_log)?
                .serve()
                .await
        });
        // The process ends right after; a name lookup that still hangs in a thread must not hold it up.
        runtime.shutdown_background();
        outcome
    }
}
