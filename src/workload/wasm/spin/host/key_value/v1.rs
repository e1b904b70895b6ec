//! `fermyon:spin/key-value` of the first generation, whose stores are numbers.

use wasmtime::component::Resource;

use super::{Error, Opened, Store, open};
use crate::workload::wasm::spin::host::SpinCtxView;
use crate::workload::wasm::spin::host::bindings::fermyon::spin::key_value as api;

impl From<Error> for api::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::TableFull => Self::StoreTableFull,
            Error::NoSuchStore => Self::NoSuchStore,
            Error::AccessDenied => Self::AccessDenied,
            Error::Other(text) => Self::Io(text),
        }
    }
}

impl SpinCtxView<'_> {
    /// The number is a guest's: it may name anything or nothing.
    fn numbered_store(&self, store: u32) -> Result<Opened, api::Error> {
        let store = self.table.get(&Resource::<Store>::new_borrow(store));
        store
            .map(|store| store.opened.clone())
            .map_err(|_| api::Error::InvalidStore)
    }
}

impl api::Host for SpinCtxView<'_> {
    async fn open(&mut self, name: String) -> Result<u32, api::Error> {
        let store = open(&name, &self.ctx.grants, &self.ctx.stores, &self.ctx.share)?;
        let store = self.table.push(store).map_err(|_| api::Error::StoreTableFull)?;
        Ok(store.rep())
    }

    async fn get(&mut self, store: u32, key: String) -> Result<Vec<u8>, api::Error> {
        self.numbered_store(store)?
            .get(key)
            .await?
            .ok_or(api::Error::NoSuchKey)
    }

    async fn set(&mut self, store: u32, key: String, value: Vec<u8>) -> Result<(), api::Error> {
        Ok(self.numbered_store(store)?.set(key, value).await?)
    }

    async fn delete(&mut self, store: u32, key: String) -> Result<(), api::Error> {
        Ok(self.numbered_store(store)?.delete(key).await?)
    }

    async fn exists(&mut self, store: u32, key: String) -> Result<bool, api::Error> {
        Ok(self.numbered_store(store)?.exists(key).await?)
    }

    async fn get_keys(&mut self, store: u32) -> Result<Vec<String>, api::Error> {
        Ok(self.numbered_store(store)?.keys().await?)
    }

    async fn close(&mut self, store: u32) {
        // What there is not needs no closing.
        let _ = self.table.delete(Resource::<Store>::new_own(store));
    }
}
