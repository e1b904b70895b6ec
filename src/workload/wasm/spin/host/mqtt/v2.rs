//! `fermyon:spin/mqtt@2.0.0`.

use wasmtime::component::Resource;

use super::{Connection, Error, Opened, Surety, open};
use crate::workload::wasm::spin::host::SpinCtxView;
use crate::workload::wasm::spin::host::bindings::fermyon::spin2_0_0::mqtt as api;

impl From<Error> for api::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::InvalidAddress => Self::InvalidAddress,
            Error::TooManyConnections => Self::TooManyConnections,
            Error::ConnectionFailed(text) => Self::ConnectionFailed(text),
            Error::Other(text) => Self::Other(text),
        }
    }
}

impl From<api::Qos> for Surety {
    fn from(quality: api::Qos) -> Self {
        match quality {
            api::Qos::AtMostOnce => Self::AtMostOnce,
            api::Qos::AtLeastOnce => Self::AtLeastOnce,
            api::Qos::ExactlyOnce => Self::ExactlyOnce,
        }
    }
}

impl SpinCtxView<'_> {
    pub(super) fn mqtt(&self, connection: &Resource<Connection>) -> Result<Opened, Error> {
        let connection = self
            .table
            .get(connection)
            .map_err(|error| Error::Other(error.to_string()))?;
        Ok(connection.opened.clone())
    }

    /// Opens a connection; what comes of it is for [`Self::hold_mqtt`].
    pub(super) fn opening_mqtt(
        &self,
        address: &str,
        credentials: (String, String),
        keep_alive: u64,
    ) -> impl Future<Output = Result<Connection, Error>> + Send + use<> {
        let context = (&self.ctx.grants, &*self.ctx.stores, &self.ctx.share);
        open(address, credentials, keep_alive, context)
    }

    pub(super) fn hold_mqtt(&mut self, connection: Connection) -> Result<Resource<Connection>, Error> {
        self.table.push(connection).map_err(|_| Error::TooManyConnections)
    }
}

impl api::Host for SpinCtxView<'_> {}

impl api::HostConnection for SpinCtxView<'_> {
    async fn open(
        &mut self,
        address: String,
        username: String,
        password: String,
        keep_alive: u64,
    ) -> Result<Resource<Connection>, api::Error> {
        let connection = self
            .opening_mqtt(&address, (username, password), keep_alive)
            .await?;
        Ok(self.hold_mqtt(connection)?)
    }

    async fn publish(
        &mut self,
        connection: Resource<Connection>,
        topic: String,
        payload: Vec<u8>,
        qos: api::Qos,
    ) -> Result<(), api::Error> {
        Ok(self
            .mqtt(&connection)?
            .publish(topic, payload, qos.into())
            .await?)
    }

    async fn drop(&mut self, connection: Resource<Connection>) -> wasmtime::Result<()> {
        self.table.delete(connection)?;
        Ok(())
    }
}
