//! What a Spin application's components import from their host, WASI aside.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use wasmtime::component::{Linker, ResourceTable};

use super::allowed_hosts::AllowedHosts;
use super::runtime_config::RuntimeConfig;

/// What one component may use.
#[derive(Debug, Clone, Default)]
pub struct Grants {
    /// Its name in the manifest.
    pub component: String,
    /// Its own, with all templates resolved.
    pub variables: BTreeMap<String, String>,
    /// Labels.
    pub key_value_stores: BTreeSet<String>,
    pub sqlite_databases: BTreeSet<String>,
    pub allowed_hosts: AllowedHosts,
}

/// The stores and databases of an application, and what its components share besides.
pub struct Stores;

/// What is wrong with what a component was granted, or with the runtime configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoresError {}

impl Stores {
    /// Opens nothing yet.
    pub fn new(_: &RuntimeConfig, _: &Path, _: Option<u64>) -> Result<Self, StoresError> {
        Ok(Self)
    }

    /// Sees that there is a store and a database behind each label that a component was granted.
    pub fn check(&self, _: &Grants) -> Result<(), StoresError> {
        Ok(())
    }
}

/// What stands behind one instance's imports.
pub struct SpinCtx;

impl SpinCtx {
    pub fn new(_: Arc<Grants>, _: Arc<Stores>) -> Self {
        Self
    }
}

pub struct SpinCtxView<'a> {
    pub ctx: &'a mut SpinCtx,
    pub table: &'a mut ResourceTable,
}

pub trait SpinView: Send {
    fn spin(&mut self) -> SpinCtxView<'_>;
}

/// An interface that is provided.
#[derive(Clone, Copy)]
pub struct Interface<T: 'static> {
    pub name: &'static str,
    pub add: fn(&mut Linker<T>) -> wasmtime::Result<()>,
}

/// The interface that a component imports by this name.
pub fn find<T: SpinView + 'static>(_: &str) -> Option<Interface<T>> {
    None
}

/// Why an interface of Spin's is not provided.
pub fn unsupported(_: &str) -> Option<&'static str> {
    None
}
