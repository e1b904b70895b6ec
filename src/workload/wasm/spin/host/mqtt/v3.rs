//! `spin:mqtt/mqtt@3.0.0`, whose functions are asynchronous.

use wasmtime::component::{Accessor, Resource};

use super::{Connection, Error, Surety};
use crate::workload::wasm::spin::host::bindings::spin::mqtt::mqtt as api;
use crate::workload::wasm::spin::host::given::{given, opening};
use crate::workload::wasm::spin::host::{Spin, SpinCtxView};

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

impl api::Host for SpinCtxView<'_> {}

impl api::HostConnection for SpinCtxView<'_> {
    async fn drop(&mut self, connection: Resource<Connection>) -> wasmtime::Result<()> {
        self.table.delete(connection)?;
        Ok(())
    }
}

impl<T: Send> api::HostConnectionWithStore<T> for Spin {
    async fn open(
        accessor: &Accessor<T, Self>,
        address: String,
        username: String,
        password: String,
        keep_alive: u64,
    ) -> Result<Resource<Connection>, api::Error> {
        let bytes = address.len() + username.len() + password.len();
        let credentials = (username, password);
        let open = |view: &mut SpinCtxView<'_>| view.opening_mqtt(&address, credentials, keep_alive);
        let connection = opening(accessor, bytes, Error::Other, open).await?;
        Ok(accessor.with(|mut access| access.get().hold_mqtt(connection))?)
    }

    async fn publish(
        accessor: &Accessor<T, Self>,
        connection: Resource<Connection>,
        topic: String,
        payload: Vec<u8>,
        qos: api::Qos,
    ) -> Result<(), api::Error> {
        let bytes = topic.len() + payload.len();
        let opened = given(accessor, bytes, Error::Other, |view| view.mqtt(&connection))?;
        Ok(opened.publish(topic, payload, qos.into()).await?)
    }
}
