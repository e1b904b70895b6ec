//! `fermyon:spin/key-value@2.0.0`.

use wasmtime::component::Resource;

use super::{Error, Opened, Store, open};
use crate::workload::wasm::spin::host::SpinCtxView;
use crate::workload::wasm::spin::host::bindings::fermyon::spin2_0_0::key_value as api;

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

impl SpinCtxView<'_> {
    pub(super) fn store(&self, store: &Resource<Store>) -> Result<Opened, Error> {
        let store = self
            .table
            .get(store)
            .map_err(|error| Error::Other(error.to_string()))?;
        Ok(store.opened.clone())
    }

    pub(super) fn open_store(&mut self, label: &str) -> Result<Resource<Store>, Error> {
        let store = open(label, &self.ctx.grants, &self.ctx.stores, &self.ctx.share)?;
        self.table.push(store).map_err(|_| Error::TableFull)
    }
}

impl api::Host for SpinCtxView<'_> {}

impl api::HostStore for SpinCtxView<'_> {
    async fn open(&mut self, label: String) -> Result<Resource<Store>, api::Error> {
        Ok(self.open_store(&label)?)
    }

    async fn get(&mut self, store: Resource<Store>, key: String) -> Result<Option<Vec<u8>>, api::Error> {
        Ok(self.store(&store)?.get(key).await?)
    }

    async fn set(&mut self, store: Resource<Store>, key: String, value: Vec<u8>) -> Result<(), api::Error> {
        Ok(self.store(&store)?.set(key, value).await?)
    }

    async fn delete(&mut self, store: Resource<Store>, key: String) -> Result<(), api::Error> {
        Ok(self.store(&store)?.delete(key).await?)
    }

    async fn exists(&mut self, store: Resource<Store>, key: String) -> Result<bool, api::Error> {
        Ok(self.store(&store)?.exists(key).await?)
    }

    async fn get_keys(&mut self, store: Resource<Store>) -> Result<Vec<String>, api::Error> {
        Ok(self.store(&store)?.keys().await?)
    }

    async fn drop(&mut self, store: Resource<Store>) -> wasmtime::Result<()> {
        self.table.delete(store)?;
        Ok(())
    }
}
