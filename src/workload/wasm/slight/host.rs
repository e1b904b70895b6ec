//! The state behind an instance, and what all instances of an application share.

use std::net::TcpListener;
use std::sync::Arc;

use wasmtime::ResourceLimiter;
use wasmtime_wasi::p1::WasiP1Ctx;

use super::http::Router;
use super::slightfile::{Capability, Name};
use super::{keyvalue, messaging};
use crate::workload::wasm::legacy_abi::Handles;
use crate::workload::wasm::limits::Limits;

/// Things of one kind, by the names that the slightfile gives them.
pub struct Named<T>(Vec<(Name, bool, T)>);

impl<T> Default for Named<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Named<T> {
    pub fn add(&mut self, capability: &Capability, thing: T) {
        let Capability { name, otherwise, .. } = capability;
        self.0.push((name.clone(), *otherwise, thing));
    }

    /// What is of this name, or of any.
    pub fn find(&self, name: &str) -> Option<&T> {
        let this = |(own, ..): &&(Name, bool, T)| matches!(own, Name::This(own) if own == name);
        let any = |(own, otherwise, _): &&(Name, bool, T)| *otherwise || *own == Name::Any;
        let found = self.0.iter().find(this).or_else(|| self.0.iter().find(any));
        found.map(|(.., thing)| thing)
    }
}

/// What the instances of an application share.
#[derive(Default)]
pub struct App {
    pub key_value: Named<keyvalue::Stores>,
    pub messaging: Named<Arc<messaging::Broker>>,
    pub configs: Named<()>,
    /// The container's.
    pub environment: Vec<(String, String)>,
}

/// The state behind an instance.
pub struct Host {
    wasi: WasiP1Ctx,
    limits: Limits,
    pub app: Arc<App>,
    pub handles: Handles<Handle>,
    pub server: Server,
}

/// A resource that an instance holds.
#[derive(Clone)]
pub enum Handle {
    Router(Arc<Router>),
    Server,
    KeyValue(Arc<keyvalue::Store>),
    Publisher(Arc<messaging::Broker>),
    Subscriber(Arc<messaging::Broker>),
    Configs,
}

/// What an instance has made of its right to start a server.
pub enum Server {
    /// It has none: it answers a request.
    Forbidden,
    NotStarted,
    Started(TcpListener, Arc<Router>),
    Stopped,
}

impl Host {
    pub fn new(wasi: WasiP1Ctx, limits: Limits, app: Arc<App>, server: Server) -> Self {
        Self {
            wasi,
            limits,
            app,
            handles: Handles::default(),
            server,
        }
    }

    pub fn wasi(&mut self) -> &mut WasiP1Ctx {
        &mut self.wasi
    }

    /// For `Limits::apply`.
    pub fn limits(&mut self) -> &mut dyn ResourceLimiter {
        &mut self.limits
    }

    pub fn router(&self, handle: u32) -> wasmtime::Result<Arc<Router>> {
        match self.handles.get(handle)? {
            Handle::Router(router) => Ok(Arc::clone(router)),
            _ => Err(other(handle, "router")),
        }
    }

    pub fn key_value(&self, handle: u32) -> wasmtime::Result<Arc<keyvalue::Store>> {
        match self.handles.get(handle)? {
            Handle::KeyValue(store) => Ok(Arc::clone(store)),
            _ => Err(other(handle, "store of keys")),
        }
    }

    pub fn publisher(&self, handle: u32) -> wasmtime::Result<Arc<messaging::Broker>> {
        match self.handles.get(handle)? {
            Handle::Publisher(broker) => Ok(Arc::clone(broker)),
            _ => Err(other(handle, "publisher")),
        }
    }

    pub fn subscriber(&self, handle: u32) -> wasmtime::Result<Arc<messaging::Broker>> {
        match self.handles.get(handle)? {
            Handle::Subscriber(broker) => Ok(Arc::clone(broker)),
            _ => Err(other(handle, "subscriber")),
        }
    }
}

/// Of a number that is another thing's.
pub fn other(handle: u32, wanted: &str) -> wasmtime::Error {
    wasmtime::format_err!("the guest's resource {handle} is no {wanted}")
}

#[cfg(test)]
mod tests {
    use super::super::slightfile::Resource;
    use super::*;

    #[test]
    fn a_name_finds_its_own_or_who_takes_any() {
        let capability = |name: Name, otherwise| Capability {
            key: String::new(),
            resource: Resource::HttpClient,
            name,
            otherwise,
        };
        let this = |name: &str| Name::This(name.to_owned());
        let mut named = Named::default();
        named.add(&capability(this("a"), false), 1);
        named.add(&capability(this("b"), false), 2);
        assert_eq!(
            (named.find("a"), named.find("b"), named.find("c")),
            (Some(&1), Some(&2), None)
        );
        named.add(&capability(this("d"), true), 3);
        assert_eq!((named.find("a"), named.find("c")), (Some(&1), Some(&3)));
        let mut any = Named::default();
        any.add(&capability(Name::Any, false), 4);
        assert_eq!((any.find("x"), any.find("*")), (Some(&4), Some(&4)));
    }
}
