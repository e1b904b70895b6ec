//! `fermyon:spin/redis@2.0.0`.

use wasmtime::component::Resource;

use super::{Answer, Connection, Error, Opened, Parameter, open};
use crate::workload::wasm::spin::host::SpinCtxView;
use crate::workload::wasm::spin::host::bindings::fermyon::spin2_0_0::redis as api;

impl From<Error> for api::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::InvalidAddress => Self::InvalidAddress,
            Error::TooManyConnections => Self::TooManyConnections,
            Error::TypeError => Self::TypeError,
            Error::Other(text) => Self::Other(text),
        }
    }
}

impl From<api::RedisParameter> for Parameter {
    fn from(parameter: api::RedisParameter) -> Self {
        match parameter {
            api::RedisParameter::Int64(number) => Self::Int64(number),
            api::RedisParameter::Binary(bytes) => Self::Binary(bytes),
        }
    }
}

impl From<Answer> for api::RedisResult {
    fn from(answer: Answer) -> Self {
        match answer {
            Answer::Nil => Self::Nil,
            Answer::Status(text) => Self::Status(text),
            Answer::Int64(number) => Self::Int64(number),
            Answer::Binary(bytes) => Self::Binary(bytes),
        }
    }
}

impl SpinCtxView<'_> {
    pub(super) fn redis(&self, connection: &Resource<Connection>) -> Result<Opened, Error> {
        let connection = self
            .table
            .get(connection)
            .map_err(|error| Error::Other(error.to_string()))?;
        Ok(connection.opened.clone())
    }

    /// Opens a connection; what comes of it is for [`Self::hold_redis`].
    pub(super) fn opening_redis(
        &self,
        address: &str,
    ) -> impl Future<Output = Result<Connection, Error>> + Send + use<> {
        open(address, &self.ctx.grants, &self.ctx.stores, &self.ctx.share)
    }

    pub(super) fn hold_redis(&mut self, connection: Connection) -> Result<Resource<Connection>, Error> {
        self.table.push(connection).map_err(|_| Error::TooManyConnections)
    }
}

impl api::Host for SpinCtxView<'_> {}

impl api::HostConnection for SpinCtxView<'_> {
    async fn open(&mut self, address: String) -> Result<Resource<Connection>, api::Error> {
        let connection = self.opening_redis(&address).await?;
        Ok(self.hold_redis(connection)?)
    }

    async fn publish(
        &mut self,
        connection: Resource<Connection>,
        channel: String,
        payload: Vec<u8>,
    ) -> Result<(), api::Error> {
        Ok(self.redis(&connection)?.publish(channel, payload).await?)
    }

    async fn get(
        &mut self,
        connection: Resource<Connection>,
        key: String,
    ) -> Result<Option<Vec<u8>>, api::Error> {
        Ok(self.redis(&connection)?.get(key).await?)
    }

    async fn set(
        &mut self,
        connection: Resource<Connection>,
        key: String,
        value: Vec<u8>,
    ) -> Result<(), api::Error> {
        Ok(self.redis(&connection)?.set(key, value).await?)
    }

    async fn incr(&mut self, connection: Resource<Connection>, key: String) -> Result<i64, api::Error> {
        Ok(self.redis(&connection)?.incr(key).await?)
    }

    async fn del(&mut self, connection: Resource<Connection>, keys: Vec<String>) -> Result<u32, api::Error> {
        Ok(self.redis(&connection)?.del(keys).await?)
    }

    async fn sadd(
        &mut self,
        connection: Resource<Connection>,
        key: String,
        values: Vec<String>,
    ) -> Result<u32, api::Error> {
        Ok(self.redis(&connection)?.sadd(key, values).await?)
    }

    async fn smembers(
        &mut self,
        connection: Resource<Connection>,
        key: String,
    ) -> Result<Vec<String>, api::Error> {
        Ok(self.redis(&connection)?.smembers(key).await?)
    }

    async fn srem(
        &mut self,
        connection: Resource<Connection>,
        key: String,
        values: Vec<String>,
    ) -> Result<u32, api::Error> {
        Ok(self.redis(&connection)?.srem(key, values).await?)
    }

    async fn execute(
        &mut self,
        connection: Resource<Connection>,
        command: String,
        arguments: Vec<api::RedisParameter>,
    ) -> Result<Vec<api::RedisResult>, api::Error> {
        let arguments = arguments.into_iter().map(Into::into).collect();
        let answers = self.redis(&connection)?.execute(command, arguments).await?;
        Ok(answers.into_iter().map(Into::into).collect())
    }

    async fn drop(&mut self, connection: Resource<Connection>) -> wasmtime::Result<()> {
        self.table.delete(connection)?;
        Ok(())
    }
}
