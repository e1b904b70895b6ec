//! `spin:key-value/key-value@3.0.0`, whose functions are asynchronous.

use wasmtime::component::{Accessor, FutureReader, Resource, StreamReader};

use super::{Error, Opened, Store};
use crate::workload::wasm::spin::host::bindings::spin::key_value::key_value as api;
use crate::workload::wasm::spin::host::given::{Given, given, texts};
use crate::workload::wasm::spin::host::{Spin, SpinCtxView, stream};

impl From<Error> for api::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::TableFull => Self::StoreTableFull,
            Error::NoSuchStore => Self::NoSuchStore,
            Error::AccessDenied => Self::AccessDenied,
            Error::Other(text) => Self::Other(text),
        }
    }
}

fn opened<T>(
    accessor: &Accessor<T, Spin>,
    store: &Resource<Store>,
    bytes: usize,
) -> Result<Given<Opened>, Error> {
    given(accessor, bytes, Error::Other, |view| view.store(store))
}

impl api::Host for SpinCtxView<'_> {}

impl api::HostStore for SpinCtxView<'_> {
    async fn drop(&mut self, store: Resource<Store>) -> wasmtime::Result<()> {
        self.table.delete(store)?;
        Ok(())
    }
}

impl<T: Send> api::HostStoreWithStore<T> for Spin {
    async fn open(accessor: &Accessor<T, Self>, label: String) -> Result<Resource<Store>, api::Error> {
        Ok(accessor.with(|mut access| access.get().open_store(&label))?)
    }

    async fn get(
        accessor: &Accessor<T, Self>,
        store: Resource<Store>,
        key: String,
    ) -> Result<Option<Vec<u8>>, api::Error> {
        Ok(opened(accessor, &store, key.len())?.get(key).await?)
    }

    async fn set(
        accessor: &Accessor<T, Self>,
        store: Resource<Store>,
        key: String,
        value: Vec<u8>,
    ) -> Result<(), api::Error> {
        let bytes = key.len() + value.len();
        Ok(opened(accessor, &store, bytes)?.set(key, value).await?)
    }

    async fn delete(
        accessor: &Accessor<T, Self>,
        store: Resource<Store>,
        key: String,
    ) -> Result<(), api::Error> {
        Ok(opened(accessor, &store, key.len())?.delete(key).await?)
    }

    async fn exists(
        accessor: &Accessor<T, Self>,
        store: Resource<Store>,
        key: String,
    ) -> Result<bool, api::Error> {
        Ok(opened(accessor, &store, key.len())?.exists(key).await?)
    }

    async fn get_keys(
        accessor: &Accessor<T, Self>,
        store: Resource<Store>,
    ) -> wasmtime::Result<(StreamReader<String>, FutureReader<Result<(), api::Error>>)> {
        let keys = match opened(accessor, &store, 0) {
            Ok(opened) => opened.keys().await,
            Err(error) => Err(error),
        };
        let bytes = keys.as_ref().map_or(0, |keys| texts(keys));
        accessor.with(|mut access| {
            let (hold, keys) = match access.get().ctx.share.held(bytes) {
                Ok(hold) => (hold, keys),
                Err(text) => (access.get().ctx.share.hold(), Err(Error::Other(text))),
            };
            stream::of(&mut access, hold, keys.map_err(api::Error::from))
        })
    }
}
