//! Key-value stores: what their interfaces have in common, whatever generation they are of and wherever the
//! values are kept.

mod redis;
mod sqlite;
mod v1;
mod v2;
mod v3;
mod wasi;

use std::sync::Arc;

use self::redis::RedisStore;
use self::sqlite::SqliteStore;
use super::apart::apart;
use super::bounds::{Bounds, Permit, Share, TooMany};
use super::given::texts;
use super::redis::Server;
use super::sqlite::Place;
use super::{Grants, Stores, Trust};

/// Bytes of a key.
const LONGEST_KEY: usize = 64 << 10;

/// Why an operation failed, as all generations can say it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    TableFull,
    NoSuchStore,
    AccessDenied,
    Other(String),
}

impl From<TooMany> for Error {
    fn from(TooMany: TooMany) -> Self {
        Self::TableFull
    }
}

type Result<T> = std::result::Result<T, Error>;

/// Where the values of stores are.
#[derive(Clone)]
pub enum Backend {
    Sqlite(Arc<SqliteStore>),
    Redis(Arc<RedisStore>),
}

impl Backend {
    pub fn sqlite(place: Place, bounds: &Bounds) -> Self {
        Self::Sqlite(Arc::new(SqliteStore::new(place, bounds.clone())))
    }

    pub fn redis(server: Server, trust: Trust, bounds: &Bounds) -> Self {
        Self::Redis(Arc::new(RedisStore::new(server, trust, bounds.clone())))
    }
}

/// A store that an instance has opened.
pub struct Store {
    opened: Opened,
    _permit: Permit,
}

/// What of a store outlives a call into its instance's table.
#[derive(Clone)]
pub struct Opened {
    backend: Backend,
    label: Arc<str>,
    bounds: Bounds,
}

/// The hash of a value that somebody has seen, in whose place it stands, so that the host holds no values for
/// guests; `None` where there was none.
type Seen = Option<blake3::Hash>;

fn seen(value: Option<&[u8]>) -> Seen {
    value.map(blake3::hash)
}

/// A value that is to be replaced, and what it was when it was last looked at.
pub struct Cas {
    opened: Opened,
    key: String,
    seen: Seen,
    _permit: Permit,
}

/// Opens the store of a label for an instance.
fn open(label: &str, grants: &Grants, stores: &Stores, share: &Share) -> Result<Store> {
    if !grants.key_value_stores.contains(label) {
        return Err(Error::AccessDenied);
    }
    let backend = stores.key_value.get(label).ok_or(Error::NoSuchStore)?;
    Ok(Store {
        _permit: share.handle()?,
        opened: Opened {
            backend: backend.clone(),
            label: label.into(),
            bounds: stores.bounds.clone(),
        },
    })
}

impl Opened {
    /// Does it in a task of its own, since all instances take turns.
    async fn apart<T: Send + 'static>(
        &self,
        size: fn(&T) -> usize,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        apart(&self.bounds, (size, Error::Other), work).await
    }

    pub async fn get(&self, key: String) -> Result<Option<Vec<u8>>> {
        self.check(&[&key], 0)?;
        let opened = self.clone();
        self.apart(|value| value.as_ref().map_or(0, Vec::len), async move {
            match &opened.backend {
                Backend::Sqlite(store) => store.get(&opened.label, key).await,
                Backend::Redis(store) => store.get(key).await,
            }
        })
        .await
    }

    pub async fn set(&self, key: String, value: Vec<u8>) -> Result<()> {
        self.check(&[&key], value.len())?;
        let opened = self.clone();
        self.apart(|_| 0, async move {
            match &opened.backend {
                Backend::Sqlite(store) => store.set_many(&opened.label, vec![(key, value)]).await,
                Backend::Redis(store) => store.set_many(vec![(key, value)]).await,
            }
        })
        .await
    }

    pub async fn delete(&self, key: String) -> Result<()> {
        self.delete_many(vec![key]).await
    }

    pub async fn exists(&self, key: String) -> Result<bool> {
        self.check(&[&key], 0)?;
        let opened = self.clone();
        self.apart(|_| 0, async move {
            match &opened.backend {
                Backend::Sqlite(store) => store.exists(&opened.label, key).await,
                Backend::Redis(store) => store.exists(key).await,
            }
        })
        .await
    }

    pub async fn keys(&self) -> Result<Vec<String>> {
        let opened = self.clone();
        self.apart(|keys| texts(keys), async move {
            match &opened.backend {
                Backend::Sqlite(store) => store.keys(&opened.label).await,
                Backend::Redis(store) => store.keys().await,
            }
        })
        .await
    }

    /// The values of these keys in their order; `None` for those that there are none of.
    pub async fn get_many(&self, keys: Vec<String>) -> Result<Vec<(String, Option<Vec<u8>>)>> {
        self.check(&keys, 0)?;
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let opened = self.clone();
        self.apart(|values| many(values), async move {
            match &opened.backend {
                Backend::Sqlite(store) => store.get_many(&opened.label, keys).await,
                Backend::Redis(store) => store.get_many(keys).await,
            }
        })
        .await
    }

    /// All or none of them.
    pub async fn set_many(&self, values: Vec<(String, Vec<u8>)>) -> Result<()> {
        let keys: Vec<_> = values.iter().map(|(key, _)| key).collect();
        self.check(&keys, values.iter().map(|(_, value)| value.len()).sum())?;
        if values.is_empty() {
            return Ok(());
        }
        let opened = self.clone();
        self.apart(|_| 0, async move {
            match &opened.backend {
                Backend::Sqlite(store) => store.set_many(&opened.label, values).await,
                Backend::Redis(store) => store.set_many(values).await,
            }
        })
        .await
    }

    pub async fn delete_many(&self, keys: Vec<String>) -> Result<()> {
        self.check(&keys, 0)?;
        if keys.is_empty() {
            return Ok(());
        }
        let opened = self.clone();
        self.apart(|_| 0, async move {
            match &opened.backend {
                Backend::Sqlite(store) => store.delete_many(&opened.label, keys).await,
                Backend::Redis(store) => store.delete_many(keys).await,
            }
        })
        .await
    }

    /// Adds to the number that a value is, in decimal digits; a key without a value counts from 0.
    pub async fn increment(&self, key: String, delta: i64) -> Result<i64> {
        self.check(&[&key], 0)?;
        let opened = self.clone();
        self.apart(|_| 0, async move {
            match &opened.backend {
                Backend::Sqlite(store) => store.increment(&opened.label, key, delta).await,
                Backend::Redis(store) => store.increment(key, delta).await,
            }
        })
        .await
    }

    /// Sets a value if it still is what it was. `false` where it is not.
    async fn swap(&self, key: String, seen: Seen, value: Vec<u8>) -> Result<bool> {
        self.check(&[&key], value.len())?;
        let opened = self.clone();
        self.apart(|_| 0, async move {
            match &opened.backend {
                Backend::Sqlite(store) => store.swap(&opened.label, key, seen, value).await,
                Backend::Redis(store) => store.swap(key, seen, value).await,
            }
        })
        .await
    }

    fn check(&self, keys: &[impl AsRef<str>], bytes: usize) -> Result<()> {
        let lengths = keys.iter().map(|key| key.as_ref().len());
        if lengths.clone().any(|length| length > LONGEST_KEY) {
            return Err(Error::Other(format!("a key has more than {LONGEST_KEY} bytes")));
        }
        let bytes = bytes.saturating_add(lengths.sum());
        if bytes > self.bounds.call_bytes {
            let text = format!(
                "the values have more than the {} bytes that are allowed",
                self.bounds.call_bytes
            );
            return Err(Error::Other(text));
        }
        Ok(())
    }
}

fn many(values: &[(String, Option<Vec<u8>>)]) -> usize {
    values
        .iter()
        .map(|(key, value)| key.len() + value.as_ref().map_or(0, Vec::len))
        .sum()
}

/// The next value of a number that is stored as text.
fn incremented(value: Option<&[u8]>, delta: i64) -> Result<i64> {
    let number = match value {
        None => Some(0),
        Some(bytes) => std::str::from_utf8(bytes)
            .ok()
            .and_then(|text| text.parse::<i64>().ok()),
    };
    let number = number.ok_or_else(|| Error::Other("the value is not a whole number".to_owned()))?;
    let sum = number.checked_add(delta);
    sum.ok_or_else(|| Error::Other("the number would get too large".to_owned()))
}

#[cfg(test)]
mod tests;
