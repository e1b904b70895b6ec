//! What every instance of a component is made from.

use std::sync::Arc;

use wasmtime::component::InstancePre;
use wasmtime::{Engine, Store};
use wasmtime_wasi::WasiCtx;
use wasmtime_wasi::WasiCtxBuilder;
use wasmtime_wasi::sockets::SocketAddrUse;

use super::host::{Grants, SpinCtx, Stores};
use super::http::HttpOut;
use super::pace::Pace;
use super::part::Part;
use crate::workload::wasm::kinds::http::MakeHost;
use crate::workload::wasm::kinds::wasi::{Context, Host, MakeContext};
use crate::workload::wasm::limits::Limits;
use crate::workload::wasm::stdio;

/// Directories that are open.
pub type Directories = wasmtime_wasi::filesystem::WasiFilesystemCtx;

/// A component that is linked, and what its instances are made from.
pub struct Ready {
    pub engine: Engine,
    pub linked: InstancePre<Host>,
    pub part: Part,
    pub seed: Arc<Seed>,
}

impl Ready {
    pub fn id(&self) -> &str {
        &self.seed.grants.component
    }

    /// A store for one instance. `change` may add to the surroundings.
    pub fn store(&self, change: impl FnOnce(&mut WasiCtxBuilder)) -> wasmtime::Result<Store<Host>> {
        let mut wasi = self.seed.wasi(&[]);
        change(&mut wasi);
        let context = Context::Made(Box::new(self.seed.finish(&mut wasi)));
        let mut store = Store::new(&self.engine, self.seed.host_with(context));
        self.seed.limits.apply(&mut store, Host::limits)?;
        Ok(store)
    }
}

/// A component's surroundings.
pub struct Seed {
    pub environment: Vec<(String, String)>,
    pub directories: Directories,
    pub sockets: bool,
    pub grants: Arc<Grants>,
    pub stores: Arc<Stores>,
    pub limits: Limits,
    pub outbound: Arc<HttpOut>,
    pub pace: Arc<Pace>,
    /// Whether instances are called again while they answer.
    pub concurrent: bool,
}

impl Seed {
    /// Makes the state behind one more instance, which has no input and no arguments.
    pub fn maker(self: &Arc<Self>) -> MakeHost {
        let (seed, host) = (Arc::clone(self), Arc::clone(self));
        // Many a request is answered without a look at the environment or the clock.
        let context: MakeContext = Arc::new(move || seed.finish(&mut seed.wasi(&[])));
        Arc::new(move || host.host_with(Context::Later(Arc::clone(&context))))
    }

    pub fn host_with(&self, wasi: Context) -> Host {
        let spin = SpinCtx::new(Arc::clone(&self.grants), Arc::clone(&self.stores));
        let spin = match self.concurrent {
            true => spin.of_many_calls(),
            false => spin,
        };
        let requests = self.outbound.of_instance(spin.share());
        let fetch = Arc::clone(&requests);
        let spin = spin.with_http(fetch).at(self.pace.begin());
        Host::of_component(wasi, self.limits.another(), spin, requests)
    }

    /// The surroundings but for the directories, which [`Self::finish`] adds. What is in `env` is not the manifest's
    /// to say.
    pub fn wasi(&self, env: &[(String, String)]) -> WasiCtxBuilder {
        let mut wasi = WasiCtx::builder();
        wasi.allow_blocking_current_thread(true);
        wasi.envs(env);
        for (name, value) in &self.environment {
            if !env.iter().any(|(other, _)| other == name) {
                wasi.env(name, value);
            }
        }
        wasi.stdout(stdio::Output::Stdout).stderr(stdio::Output::Stderr);
        if self.sockets {
            let grants = Arc::clone(&self.grants);
            wasi.allow_tcp(true).allow_udp(true).allow_ip_name_lookup(true);
            wasi.socket_addr_check(move |address, purpose| {
                let listens = matches!(purpose, SocketAddrUse::TcpBind);
                // Whatever is spoken there.
                let host = address.ip().to_string();
                let allowed = !listens && grants.allowed_hosts.allows("*", &host, address.port());
                Box::pin(std::future::ready(allowed))
            });
        }
        wasi
    }

    pub fn finish(&self, wasi: &mut WasiCtxBuilder) -> WasiCtx {
        let mut wasi = wasi.build();
        *wasi.filesystem() = self.directories.clone();
        wasi
    }
}
