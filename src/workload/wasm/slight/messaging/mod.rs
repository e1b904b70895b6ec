//! The capability `messaging`: messages to topics, and subscriptions that are asked for the next message.
//!
//! A subscription is known by its token to all instances of the application, since each request has one of its own.

mod filesystem;
mod mosquitto;
mod nats;
mod subscriptions;

use std::sync::Arc;

use wasmtime::{Caller, Linker};

use super::directory::Directory;
use super::host::{Handle, Host};
use crate::workload::wasm::kinds::shape::printable;
use crate::workload::wasm::legacy_abi::{Call, Failure, Value};

/// What passes messages on.
#[expect(
    clippy::large_enum_variant,
    reason = "an application has a few, each behind a pointer"
)]
pub enum Broker {
    Filesystem(filesystem::Topics),
    Nats(nats::Server),
    Mosquitto(mosquitto::Server),
}

/// Why an operation failed; the cases are those of the interface.
#[derive(Debug, PartialEq, Eq)]
pub enum Error {
    TooLarge(String),
    NotFound(String),
    Unavailable(String),
    Delivery(String),
    ConnectionLost(String),
    Unexpected(String),
}

type Result<T> = std::result::Result<T, Error>;

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let (case, text) = match error {
            Error::TooLarge(text) => (0, text),
            Error::NotFound(text) => (1, text),
            Error::Unavailable(text) => (3, text),
            Error::Delivery(text) => (4, text),
            Error::ConnectionLost(text) => (5, text),
            Error::Unexpected(text) => (7, text),
        };
        Self { case, text }
    }
}

impl Broker {
    pub fn filesystem(directory: Directory) -> Self {
        Self::Filesystem(filesystem::Topics::new(directory))
    }

    /// # Errors
    /// Why it is no address of a server that can be reached.
    pub fn nats(address: &str) -> std::result::Result<Self, String> {
        nats::Server::parse(address).map(Self::Nats)
    }

    pub fn mosquitto(host: String, port: u16) -> Self {
        Self::Mosquitto(mosquitto::Server::new(host, port))
    }

    async fn publish(&self, topic: &str, message: Vec<u8>) -> Result<()> {
        match self {
            Self::Filesystem(topics) => topics.publish(topic, &message),
            Self::Nats(server) => server.publish(topic, message).await,
            Self::Mosquitto(server) => server.publish(topic, message).await,
        }
    }

    /// The token of a new subscription.
    async fn subscribe(&self, topic: &str) -> Result<String> {
        match self {
            Self::Filesystem(topics) => topics.subscribe(topic),
            Self::Nats(server) => server.subscribe(topic).await,
            Self::Mosquitto(server) => server.subscribe(topic).await,
        }
    }

    async fn receive(&self, token: &str) -> Result<Vec<u8>> {
        match self {
            Self::Filesystem(topics) => topics.receive(token),
            Self::Nats(server) => server.receive(token).await,
            Self::Mosquitto(server) => server.receive(token).await,
        }
    }
}

fn open(
    host: &mut Host,
    name: &str,
    handle: fn(Arc<Broker>) -> Handle,
) -> wasmtime::Result<std::result::Result<Value, Failure>> {
    let app = Arc::clone(&host.app);
    match app.messaging.find(name) {
        Some(broker) => Ok(Ok(Value::Number(
            host.handles.insert(handle(Arc::clone(broker)))?,
        ))),
        None => {
            let text = format!("the slightfile has no messaging `{}`", printable(name));
            Ok(Err(Error::Unexpected(text).into()))
        }
    }
}

pub fn link(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    /// What a guest is given for a broker.
    type Kind = fn(Arc<Broker>) -> Handle;
    let kinds: [(&str, Kind); 2] = [
        ("pub::open", Handle::Publisher),
        ("sub::open", Handle::Subscriber),
    ];
    for (name, handle) in kinds {
        linker.func_wrap_async(
            "messaging",
            name,
            move |caller: Caller<'_, Host>, (name, length, result): (u32, u32, u32)| {
                Box::new(async move {
                    let mut call = Call::new(caller)?;
                    let name = call.text(name, length)?;
                    let outcome = open(call.host(), &name, handle)?;
                    call.answer(result, outcome).await
                })
            },
        )?;
    }
    linker.func_wrap_async(
        "messaging",
        "pub::publish",
        |caller: Caller<'_, Host>,
         (handle, message, size, topic, length, result): (u32, u32, u32, u32, u32, u32)| {
            Box::new(async move {
                let mut call = Call::new(caller)?;
                let broker = call.host().publisher(handle)?;
                let (message, topic) = (call.bytes(message, size)?, call.text(topic, length)?);
                let outcome = broker.publish(&topic, message).await;
                let outcome = outcome.map(|()| Value::Nothing).map_err(Failure::from);
                call.answer(result, outcome).await
            })
        },
    )?;
    linker.func_wrap_async(
        "messaging",
        "sub::subscribe",
        |caller: Caller<'_, Host>, (handle, topic, length, result): (u32, u32, u32, u32)| {
            Box::new(async move {
                let mut call = Call::new(caller)?;
                let broker = call.host().subscriber(handle)?;
                let topic = call.text(topic, length)?;
                let outcome = broker.subscribe(&topic).await;
                let outcome = outcome.map(|token| Value::Bytes(token.into_bytes()));
                call.answer(result, outcome.map_err(Failure::from)).await
            })
        },
    )?;
    linker.func_wrap_async(
        "messaging",
        "sub::receive",
        |caller: Caller<'_, Host>, (handle, token, length, result): (u32, u32, u32, u32)| {
            Box::new(async move {
                let mut call = Call::new(caller)?;
                let broker = call.host().subscriber(handle)?;
                let token = call.text(token, length)?;
                let outcome = broker.receive(&token).await.map(Value::Bytes);
                call.answer(result, outcome.map_err(Failure::from)).await
            })
        },
    )?;
    Ok(())
}
