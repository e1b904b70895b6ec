//! `wasi:keyvalue@0.2.0-draft2`: `store`, `batch` and `atomics`.

use wasmtime::component::Resource;

use super::{Cas, Error, Store, seen};
use crate::workload::wasm::spin::host::SpinCtxView;
use crate::workload::wasm::spin::host::bindings::wasi::keyvalue::{atomics, batch, store as api};

impl From<Error> for api::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::NoSuchStore => Self::NoSuchStore,
            Error::AccessDenied => Self::AccessDenied,
            Error::TableFull => Self::Other("too many are open".to_owned()),
            Error::Other(text) => Self::Other(text),
        }
    }
}

impl api::Host for SpinCtxView<'_> {
    async fn open(&mut self, identifier: String) -> Result<Resource<Store>, api::Error> {
        Ok(self.open_store(&identifier)?)
    }
}

impl api::HostBucket for SpinCtxView<'_> {
    async fn get(&mut self, bucket: Resource<Store>, key: String) -> Result<Option<Vec<u8>>, api::Error> {
        Ok(self.store(&bucket)?.get(key).await?)
    }

    async fn set(&mut self, bucket: Resource<Store>, key: String, value: Vec<u8>) -> Result<(), api::Error> {
        Ok(self.store(&bucket)?.set(key, value).await?)
    }

    async fn delete(&mut self, bucket: Resource<Store>, key: String) -> Result<(), api::Error> {
        Ok(self.store(&bucket)?.delete(key).await?)
    }

    async fn exists(&mut self, bucket: Resource<Store>, key: String) -> Result<bool, api::Error> {
        Ok(self.store(&bucket)?.exists(key).await?)
    }

    /// All at once, so that no cursor is ever given out, and none is known.
    async fn list_keys(
        &mut self,
        bucket: Resource<Store>,
        cursor: Option<String>,
    ) -> Result<api::KeyResponse, api::Error> {
        if cursor.is_some() {
            return Err(api::Error::Other("there is no such cursor".to_owned()));
        }
        let keys = self.store(&bucket)?.keys().await?;
        Ok(api::KeyResponse { keys, cursor: None })
    }

    async fn drop(&mut self, bucket: Resource<Store>) -> wasmtime::Result<()> {
        self.table.delete(bucket)?;
        Ok(())
    }
}

impl batch::Host for SpinCtxView<'_> {
    async fn get_many(
        &mut self,
        bucket: Resource<Store>,
        keys: Vec<String>,
    ) -> Result<Vec<(String, Option<Vec<u8>>)>, api::Error> {
        Ok(self.store(&bucket)?.get_many(keys).await?)
    }

    async fn set_many(
        &mut self,
        bucket: Resource<Store>,
        values: Vec<(String, Vec<u8>)>,
    ) -> Result<(), api::Error> {
        Ok(self.store(&bucket)?.set_many(values).await?)
    }

    async fn delete_many(&mut self, bucket: Resource<Store>, keys: Vec<String>) -> Result<(), api::Error> {
        Ok(self.store(&bucket)?.delete_many(keys).await?)
    }
}

impl atomics::HostCas for SpinCtxView<'_> {
    async fn new(&mut self, bucket: Resource<Store>, key: String) -> Result<Resource<Cas>, api::Error> {
        let opened = self.store(&bucket)?;
        let seen = seen(opened.get(key.clone()).await?.as_deref());
        let cas = Cas {
            _permit: self.ctx.share.handle().map_err(Error::from)?,
            opened,
            key,
            seen,
        };
        Ok(self.table.push(cas).map_err(|_| Error::TableFull)?)
    }

    async fn current(&mut self, cas: Resource<Cas>) -> Result<Option<Vec<u8>>, api::Error> {
        let other = |error: wasmtime::component::ResourceTableError| api::Error::Other(error.to_string());
        let (opened, key) = {
            let cas = self.table.get(&cas).map_err(other)?;
            (cas.opened.clone(), cas.key.clone())
        };
        let value = opened.get(key).await?;
        self.table.get_mut(&cas).map_err(other)?.seen = seen(value.as_deref());
        Ok(value)
    }

    async fn drop(&mut self, cas: Resource<Cas>) -> wasmtime::Result<()> {
        self.table.delete(cas)?;
        Ok(())
    }
}

impl atomics::Host for SpinCtxView<'_> {
    async fn increment(
        &mut self,
        bucket: Resource<Store>,
        key: String,
        delta: i64,
    ) -> Result<i64, api::Error> {
        Ok(self.store(&bucket)?.increment(key, delta).await?)
    }

    /// Where somebody was faster, a new one that has seen what is there now.
    async fn swap(&mut self, cas: Resource<Cas>, value: Vec<u8>) -> Result<(), atomics::CasError> {
        let failed = |error: Error| atomics::CasError::StoreError(error.into());
        let mut cas = self
            .table
            .delete(cas)
            .map_err(|error| failed(Error::Other(error.to_string())))?;
        let (opened, key) = (cas.opened.clone(), cas.key.clone());
        if opened.swap(key.clone(), cas.seen, value).await.map_err(failed)? {
            return Ok(());
        }
        cas.seen = seen(opened.get(key).await.map_err(failed)?.as_deref());
        let cas = self.table.push(cas).map_err(|_| failed(Error::TableFull))?;
        Err(atomics::CasError::CasFailed(cas))
    }
}
