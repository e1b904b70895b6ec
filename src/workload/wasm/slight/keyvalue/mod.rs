//! The capability `keyvalue`, in its older form `kv`: values by their keys.

mod filesystem;
mod redis;

use std::sync::Arc;

use wasmtime::{Caller, Linker};

pub use self::redis::Server;

use super::directory::Directory;
use super::host::{Handle, Host};
use super::link::Interface;
use crate::workload::wasm::application::Open;
use crate::workload::wasm::kinds::shape::printable;
use crate::workload::wasm::legacy_abi::{Call, Failure, Value};

/// Where the stores of a capability are.
pub enum Stores {
    Filesystem(Open),
    Redis(Arc<Server>),
}

/// A store that is open.
pub enum Store {
    Filesystem(Directory),
    /// By its name, which begins the server's keys.
    Redis(Arc<Server>, String),
}

/// Why an operation failed; the cases are those of the interface.
#[derive(Debug, PartialEq, Eq)]
pub enum Error {
    KeyNotFound(String),
    InvalidKey(String),
    Connection(String),
    Io(String),
    Unexpected(String),
}

type Result<T> = std::result::Result<T, Error>;

impl Stores {
    fn open(&self, name: &str, env: &[(String, String)]) -> Result<Store> {
        match self {
            Self::Filesystem(open) => {
                let directory = Directory::named(name, env, *open).map_err(Error::Unexpected)?;
                Ok(Store::Filesystem(directory))
            }
            Self::Redis(server) => Ok(Store::Redis(Arc::clone(server), name.to_owned())),
        }
    }
}

impl Store {
    async fn get(&self, key: &str) -> Result<Vec<u8>> {
        match self {
            Self::Filesystem(directory) => filesystem::get(directory, key),
            Self::Redis(server, name) => server.get(name, key).await,
        }
    }

    async fn set(&self, key: &str, value: &[u8]) -> Result<()> {
        match self {
            Self::Filesystem(directory) => filesystem::set(directory, key, value),
            Self::Redis(server, name) => server.set(name, key, value).await,
        }
    }

    async fn keys(&self) -> Result<Vec<String>> {
        match self {
            Self::Filesystem(directory) => filesystem::keys(directory),
            Self::Redis(server, name) => server.keys(name).await,
        }
    }

    async fn delete(&self, key: &str) -> Result<()> {
        match self {
            Self::Filesystem(directory) => filesystem::delete(directory, key),
            Self::Redis(server, name) => server.delete(name, key).await,
        }
    }
}

/// The generation of an interface: the older one has but one error.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Generation {
    Kv,
    KeyValue,
}

impl Generation {
    fn failure(self, error: Error) -> Failure {
        let (case, text) = match error {
            Error::KeyNotFound(text) => (0, text),
            Error::InvalidKey(text) => (1, text),
            Error::Connection(text) => (3, text),
            Error::Io(text) => (6, text),
            Error::Unexpected(text) => (7, text),
        };
        match self {
            Self::Kv => Failure { case: 0, text },
            Self::KeyValue => Failure { case, text },
        }
    }
}

fn open(host: &mut Host, name: &str) -> wasmtime::Result<Result<Value>> {
    let app = Arc::clone(&host.app);
    let Some(stores) = app.key_value.find(name) else {
        let text = format!("the slightfile has no key-value store `{}`", printable(name));
        return Ok(Err(Error::Unexpected(text)));
    };
    match stores.open(name, &app.environment) {
        Ok(store) => Ok(Ok(Value::Number(
            host.handles.insert(Handle::KeyValue(Arc::new(store)))?,
        ))),
        Err(error) => Ok(Err(error)),
    }
}

/// Provides the interface, in the generation that the module has.
pub fn link(linker: &mut Linker<Host>, interface: Interface) -> wasmtime::Result<()> {
    let (module, generation) = match interface {
        Interface::Kv => ("kv", Generation::Kv),
        _ => ("keyvalue", Generation::KeyValue),
    };
    let failure = move |error: Error| generation.failure(error);
    let name = |function: &str| format!("{module}::{function}");
    linker.func_wrap_async(
        module,
        &name("open"),
        move |caller: Caller<'_, Host>, (name, length, result): (u32, u32, u32)| {
            Box::new(async move {
                let mut call = Call::new(caller)?;
                let name = call.text(name, length)?;
                let outcome = open(call.host(), &name)?;
                call.answer(result, outcome.map_err(failure)).await
            })
        },
    )?;
    linker.func_wrap_async(
        module,
        &name("get"),
        move |caller: Caller<'_, Host>, (handle, key, length, result): (u32, u32, u32, u32)| {
            Box::new(async move {
                let mut call = Call::new(caller)?;
                let (store, key) = (call.host().key_value(handle)?, call.text(key, length)?);
                let outcome = store.get(&key).await.map(Value::Bytes);
                call.answer(result, outcome.map_err(failure)).await
            })
        },
    )?;
    linker.func_wrap_async(
        module,
        &name("set"),
        move |caller: Caller<'_, Host>,
              (handle, key, length, value, size, result): (u32, u32, u32, u32, u32, u32)| {
            Box::new(async move {
                let mut call = Call::new(caller)?;
                let (store, key) = (call.host().key_value(handle)?, call.text(key, length)?);
                let value = call.bytes(value, size)?;
                let outcome = store.set(&key, &value).await.map(|()| Value::Nothing);
                call.answer(result, outcome.map_err(failure)).await
            })
        },
    )?;
    linker.func_wrap_async(
        module,
        &name("keys"),
        move |caller: Caller<'_, Host>, (handle, result): (u32, u32)| {
            Box::new(async move {
                let mut call = Call::new(caller)?;
                let store = call.host().key_value(handle)?;
                let outcome = store.keys().await.map(Value::Texts);
                call.answer(result, outcome.map_err(failure)).await
            })
        },
    )?;
    linker.func_wrap_async(
        module,
        &name("delete"),
        move |caller: Caller<'_, Host>, (handle, key, length, result): (u32, u32, u32, u32)| {
            Box::new(async move {
                let mut call = Call::new(caller)?;
                let (store, key) = (call.host().key_value(handle)?, call.text(key, length)?);
                let outcome = store.delete(&key).await.map(|()| Value::Nothing);
                call.answer(result, outcome.map_err(failure)).await
            })
        },
    )?;
    Ok(())
}
