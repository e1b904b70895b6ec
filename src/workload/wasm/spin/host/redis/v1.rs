//! `fermyon:spin/redis` of the first generation, with an address in each call.

use super::{Answer, Opened, Parameter, open};
use crate::workload::wasm::spin::host::SpinCtxView;
use crate::workload::wasm::spin::host::bindings::fermyon::spin::{redis as api, redis_types as types};

/// There is but one error.
impl From<super::Error> for types::Error {
    fn from(_: super::Error) -> Self {
        Self::Error
    }
}

impl From<types::RedisParameter> for Parameter {
    fn from(parameter: types::RedisParameter) -> Self {
        match parameter {
            types::RedisParameter::Int64(number) => Self::Int64(number),
            types::RedisParameter::Binary(bytes) => Self::Binary(bytes),
        }
    }
}

impl From<Answer> for types::RedisResult {
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
    /// Does one thing on a connection of its own.
    async fn once<T, F: Future<Output = Result<T, super::Error>>>(
        &mut self,
        address: &str,
        work: impl FnOnce(Opened) -> F,
    ) -> Result<T, types::Error> {
        let connection = open(address, &self.ctx.grants, &self.ctx.stores, &self.ctx.share).await?;
        Ok(work(connection.opened.clone()).await?)
    }
}

impl types::Host for SpinCtxView<'_> {}

impl api::Host for SpinCtxView<'_> {
    async fn publish(
        &mut self,
        address: String,
        channel: String,
        payload: Vec<u8>,
    ) -> Result<(), types::Error> {
        self.once(
            &address,
            |redis| async move { redis.publish(channel, payload).await },
        )
        .await
    }

    /// Nothing is told as what is empty: this generation knows no better.
    async fn get(&mut self, address: String, key: String) -> Result<Vec<u8>, types::Error> {
        let value = self
            .once(&address, |redis| async move { redis.get(key).await })
            .await?;
        Ok(value.unwrap_or_default())
    }

    async fn set(&mut self, address: String, key: String, value: Vec<u8>) -> Result<(), types::Error> {
        self.once(&address, |redis| async move { redis.set(key, value).await })
            .await
    }

    async fn incr(&mut self, address: String, key: String) -> Result<i64, types::Error> {
        self.once(&address, |redis| async move { redis.incr(key).await })
            .await
    }

    async fn del(&mut self, address: String, keys: Vec<String>) -> Result<i64, types::Error> {
        self.once(&address, |redis| async move { redis.del(keys).await })
            .await
            .map(i64::from)
    }

    async fn sadd(&mut self, address: String, key: String, values: Vec<String>) -> Result<i64, types::Error> {
        self.once(&address, |redis| async move { redis.sadd(key, values).await })
            .await
            .map(i64::from)
    }

    async fn smembers(&mut self, address: String, key: String) -> Result<Vec<String>, types::Error> {
        self.once(&address, |redis| async move { redis.smembers(key).await })
            .await
    }

    async fn srem(&mut self, address: String, key: String, values: Vec<String>) -> Result<i64, types::Error> {
        self.once(&address, |redis| async move { redis.srem(key, values).await })
            .await
            .map(i64::from)
    }

    async fn execute(
        &mut self,
        address: String,
        command: String,
        arguments: Vec<types::RedisParameter>,
    ) -> Result<Vec<types::RedisResult>, types::Error> {
        let arguments = arguments.into_iter().map(Into::into).collect();
        let answers = self.once(&address, |redis| async move {
            redis.execute(command, arguments).await
        });
        Ok(answers.await?.into_iter().map(Into::into).collect())
    }
}
