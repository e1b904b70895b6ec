//! `spin:redis/redis@3.0.0`, whose functions are asynchronous.

use wasmtime::component::{Accessor, Resource};

use super::{Answer, Connection, Error, Opened, Parameter};
use crate::workload::wasm::spin::host::bindings::spin::redis::redis as api;
use crate::workload::wasm::spin::host::given::{Given, given, opening, texts};
use crate::workload::wasm::spin::host::{Spin, SpinCtxView};

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

fn opened<T>(
    accessor: &Accessor<T, Spin>,
    connection: &Resource<Connection>,
    bytes: usize,
) -> Result<Given<Opened>, Error> {
    given(accessor, bytes, Error::Other, |view| view.redis(connection))
}

impl api::Host for SpinCtxView<'_> {}

impl api::HostConnection for SpinCtxView<'_> {
    async fn drop(&mut self, connection: Resource<Connection>) -> wasmtime::Result<()> {
        self.table.delete(connection)?;
        Ok(())
    }
}

impl<T: Send> api::HostConnectionWithStore<T> for Spin {
    async fn open(accessor: &Accessor<T, Self>, address: String) -> Result<Resource<Connection>, api::Error> {
        let open = |view: &mut SpinCtxView<'_>| view.opening_redis(&address);
        let connection = opening(accessor, address.len(), Error::Other, open).await?;
        Ok(accessor.with(|mut access| access.get().hold_redis(connection))?)
    }

    async fn publish(
        accessor: &Accessor<T, Self>,
        connection: Resource<Connection>,
        channel: String,
        payload: Vec<u8>,
    ) -> Result<(), api::Error> {
        let bytes = channel.len() + payload.len();
        let opened = opened(accessor, &connection, bytes)?;
        Ok(opened.publish(channel, payload).await?)
    }

    async fn get(
        accessor: &Accessor<T, Self>,
        connection: Resource<Connection>,
        key: String,
    ) -> Result<Option<Vec<u8>>, api::Error> {
        Ok(opened(accessor, &connection, key.len())?.get(key).await?)
    }

    async fn set(
        accessor: &Accessor<T, Self>,
        connection: Resource<Connection>,
        key: String,
        value: Vec<u8>,
    ) -> Result<(), api::Error> {
        let bytes = key.len() + value.len();
        Ok(opened(accessor, &connection, bytes)?.set(key, value).await?)
    }

    async fn incr(
        accessor: &Accessor<T, Self>,
        connection: Resource<Connection>,
        key: String,
    ) -> Result<i64, api::Error> {
        Ok(opened(accessor, &connection, key.len())?.incr(key).await?)
    }

    async fn del(
        accessor: &Accessor<T, Self>,
        connection: Resource<Connection>,
        keys: Vec<String>,
    ) -> Result<u32, api::Error> {
        Ok(opened(accessor, &connection, texts(&keys))?.del(keys).await?)
    }

    async fn sadd(
        accessor: &Accessor<T, Self>,
        connection: Resource<Connection>,
        key: String,
        values: Vec<String>,
    ) -> Result<u32, api::Error> {
        let bytes = key.len() + texts(&values);
        Ok(opened(accessor, &connection, bytes)?.sadd(key, values).await?)
    }

    async fn smembers(
        accessor: &Accessor<T, Self>,
        connection: Resource<Connection>,
        key: String,
    ) -> Result<Vec<String>, api::Error> {
        Ok(opened(accessor, &connection, key.len())?.smembers(key).await?)
    }

    async fn srem(
        accessor: &Accessor<T, Self>,
        connection: Resource<Connection>,
        key: String,
        values: Vec<String>,
    ) -> Result<u32, api::Error> {
        let bytes = key.len() + texts(&values);
        Ok(opened(accessor, &connection, bytes)?.srem(key, values).await?)
    }

    async fn execute(
        accessor: &Accessor<T, Self>,
        connection: Resource<Connection>,
        command: String,
        arguments: Vec<api::RedisParameter>,
    ) -> Result<Vec<api::RedisResult>, api::Error> {
        let arguments: Vec<Parameter> = arguments.into_iter().map(Into::into).collect();
        let bytes = command.len() + arguments.iter().map(Parameter::bytes).sum::<usize>();
        let opened = opened(accessor, &connection, bytes)?;
        let answers = opened.execute(command, arguments).await?;
        Ok(answers.into_iter().map(Into::into).collect())
    }
}
