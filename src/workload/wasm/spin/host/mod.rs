//! What a Spin application's components import from their host, WASI aside: variables, stores, databases and the
//! clients of servers.
//!
//! ```text
//! manifest ──> Grants ─┐                     ┌ an interface, in each of its generations: turns what a guest
//! runtime-config.toml  ├─> SpinCtx ── guest ─┤ says into a call of the one implementation behind them all
//!     └──> Stores ─────┘                     └ which first asks the grants
//! ```
//!
//! [`Stores`] is made once for an application, [`Grants`] once for a component, [`SpinCtx`] for each instance.
//! A component reaches nothing that its grants do not name. Files are only those of the stores and databases
//! that the runtime configuration places in the container's own file system.

mod apart;
mod bindings;
mod bounds;
mod capped;
mod given;
mod http;
mod key_value;
mod link;
mod mqtt;
mod mysql;
mod network;
mod postgres;
mod rdbms;
pub mod redis;
mod sqlite;
mod stream;
mod tls;
mod variables;
mod workers;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use wasmtime::component::{HasData, ResourceTable};

use self::bounds::Bounds;
use self::key_value::Backend;
use self::sqlite::Place;
use self::workers::Workers;
use super::allowed_hosts::AllowedHosts;
use super::pace::Busy;
use super::runtime_config::{KeyValueStore, RuntimeConfig, SqliteDatabase};
use super::{MANIFEST, RUNTIME_CONFIG};

pub use self::bindings::fermyon::spin::http_types;
pub use self::bounds::{Hold, Share, TooMany};
pub use self::http::{Fetch, FetchError, Fetching};
pub use self::link::{Interface, find, interfaces, unsupported};
pub use self::network::Unreachable;
pub use self::tls::{Discord, Stream, Trust, Trusts};

/// The label of the store and the database that there always are.
const DEFAULT: &str = "default";
/// Statements that run at once, of all components together.
const STATEMENTS: usize = 8;
/// Where they are, in the application's directory.
pub const STATE: &str = ".spin";
pub const STORE_FILE: &str = "sqlite_key_value.db";
pub const DATABASE_FILE: &str = "sqlite_db.db";

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
pub struct Stores {
    key_value: BTreeMap<String, Backend>,
    databases: BTreeMap<String, Place>,
    workers: Arc<Workers>,
    bounds: Bounds,
    trusts: Trusts,
}

impl std::fmt::Debug for Stores {
    /// Their labels: addresses may have passwords in them.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stores")
            .field("key_value", &self.key_value.keys())
            .field("databases", &self.databases)
            .finish_non_exhaustive()
    }
}

/// What is wrong with what a component was granted, or with the runtime configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoresError {
    #[error(
        "{MANIFEST}: component {component}: {key}: there is no `{label}`; {RUNTIME_CONFIG} must have [{table}.{label}]"
    )]
    NoSuch {
        component: String,
        key: &'static str,
        table: &'static str,
        label: String,
    },
    #[error("{RUNTIME_CONFIG}: key_value_store.{label}.url: {reason}")]
    RedisUrl { label: String, reason: String },
}

impl Stores {
    /// Opens nothing yet. `directory` is the application's, which relative paths begin at; `memory` is in bytes,
    /// what the container may use.
    pub fn new(
        config: &RuntimeConfig,
        trusts: Trusts,
        directory: &Path,
        memory: Option<u64>,
    ) -> Result<Self, StoresError> {
        let state = directory.join(config.state());
        let bounds = Bounds::new(memory, config.max_connections);
        let workers = Arc::new(Workers::new(STATEMENTS));
        let place =
            |path: Option<&Path>| path.map_or(Place::Memory, |path| Place::File(directory.join(path)));
        let store_of = |path: Option<&Path>| Backend::sqlite(place(path), &bounds);
        let mut key_value = BTreeMap::new();
        for (label, store) in &config.key_value_stores {
            let backend = match store {
                KeyValueStore::Sqlite { path } => store_of(path.as_deref()),
                KeyValueStore::Redis { url } => {
                    let wrong = |reason| StoresError::RedisUrl {
                        label: label.clone(),
                        reason,
                    };
                    let server = redis::Server::parse(url).map_err(|reason| wrong(reason.to_owned()))?;
                    let trust = server.trust(|host| trusts.of_store(label, host));
                    let trust = trust.map_err(|discord| wrong(discord.to_string()))?;
                    Backend::redis(server, trust, &bounds)
                }
            };
            key_value.insert(label.clone(), backend);
        }
        let default_store = || store_of(Some(&state.join(STORE_FILE)));
        key_value.entry(DEFAULT.to_owned()).or_insert_with(default_store);
        let places = config.sqlite_databases.iter();
        let mut databases: BTreeMap<_, _> = places
            .map(|(label, SqliteDatabase { path })| (label.clone(), place(path.as_deref())))
            .collect();
        let default_database = || Place::File(state.join(DATABASE_FILE));
        databases
            .entry(DEFAULT.to_owned())
            .or_insert_with(default_database);
        Ok(Self {
            key_value,
            databases,
            workers,
            bounds,
            trusts,
        })
    }

    /// Whom a component trusts to be this host.
    pub fn trust(&self, component: &str, host: &str) -> Trust {
        self.trusts.of(component, host)
    }

    /// Whom these components trust to be this host, whose connection they share.
    pub fn trust_of_all<'a>(
        &self,
        components: impl IntoIterator<Item = &'a str>,
        host: &str,
    ) -> Result<Trust, Discord> {
        self.trusts.of_all(components, host)
    }

    /// Whom a component trusts to be this host, where it is not the usual.
    pub fn own_trust(&self, component: &str, host: &str) -> Option<Trust> {
        self.trusts.named(component, host).cloned()
    }

    /// Bytes that the host may hold for one call.
    pub fn call_bytes(&self) -> usize {
        self.bounds.call_bytes
    }

    /// Sees that there is a store and a database behind each label that a component was granted.
    pub fn check(&self, grants: &Grants) -> Result<(), StoresError> {
        let none = |key, table, label: &String| StoresError::NoSuch {
            component: grants.component.clone(),
            key,
            table,
            label: label.clone(),
        };
        let missing = |label: &&String| !self.key_value.contains_key(*label);
        if let Some(label) = grants.key_value_stores.iter().find(missing) {
            return Err(none("key_value_stores", "key_value_store", label));
        }
        let missing = |label: &&String| !self.databases.contains_key(*label);
        if let Some(label) = grants.sqlite_databases.iter().find(missing) {
            return Err(none("sqlite_databases", "sqlite_database", label));
        }
        Ok(())
    }
}

/// What is behind the imports of one instance.
pub struct SpinCtx {
    grants: Arc<Grants>,
    stores: Arc<Stores>,
    share: Share,
    http: Option<Arc<dyn Fetch>>,
    _busy: Option<Busy>,
}

impl SpinCtx {
    pub fn new(grants: Arc<Grants>, stores: Arc<Stores>) -> Self {
        let share = stores.bounds.share();
        Self {
            grants,
            stores,
            share,
            http: None,
            _busy: None,
        }
    }

    /// Is of an instance that several calls share.
    #[must_use]
    pub fn of_many_calls(mut self) -> Self {
        self.share = self.stores.bounds.share_of_many_calls();
        self
    }

    /// Has requests of the first generation's `http` sent in this way, which sees for itself where to.
    #[must_use]
    pub fn with_http(mut self, fetch: Arc<dyn Fetch>) -> Self {
        self.http = Some(fetch);
        self
    }

    /// Counts it among the instances of this pace, for as long as it is there.
    #[must_use]
    pub fn at(mut self, busy: Busy) -> Self {
        self._busy = Some(busy);
        self
    }

    /// What the instance has of the connections.
    pub fn share(&self) -> Share {
        self.share.clone()
    }

    /// What the instance's component may use.
    pub fn grants(&self) -> &Arc<Grants> {
        &self.grants
    }
}

/// The context, and the table of what the instance holds.
pub struct SpinCtxView<'a> {
    pub ctx: &'a mut SpinCtx,
    pub table: &'a mut ResourceTable,
}

/// Has a context.
pub trait SpinView: Send {
    fn spin(&mut self) -> SpinCtxView<'_>;
}

/// Names the context to the bindings.
pub struct Spin;

impl HasData for Spin {
    type Data<'a> = SpinCtxView<'a>;
}

#[cfg(test)]
pub mod authority;
#[cfg(test)]
pub mod servers;
#[cfg(test)]
mod tests;
