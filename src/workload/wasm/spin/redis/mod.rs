//! The Redis trigger: a component is entered with each message of a channel.
//!
//! ```text
//! server ── connection ── message ─┬─ instance of one component ──┐ all of them are over
//!   │          │                   └─ instance of another ────────┘ before the next is read
//!   │          └ lost: made again, sooner at first than later
//!   └ keeps messages while they wait, and drops the connection where they are too many
//! ```
//!
//! As Spin has it, the messages of a server come one after another, each to all components of its channel, and a server
//! that cannot be reached when the application starts ends it. What is published while there is no connection is lost,
//! as it is for every subscriber.

mod connection;
mod reply;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{Either, select};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::task::JoinSet;
use wasmtime::component::{Component, ComponentExportIndex, Type};

use self::connection::{Connection, Message};
use super::host::redis::{HandlerErrorV1, HandlerErrorV3, Server};
use super::host::{Discord, Stores, Trust};
use super::seed::Ready;
use crate::workload::wasm::kinds::http::{Slots, report, stopped};
use crate::workload::wasm::kinds::shape::printable;

/// How long it takes until a lost connection is made again, the first time and at most.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

const FUNCTION: &str = "handle-message";

/// Which of its interfaces a handler of messages exports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Generation {
    V1,
    V3,
}

impl Generation {
    /// That of an export; within a major version they are compatible.
    pub fn of(export: &str) -> Option<Self> {
        match export {
            "fermyon:spin/inbound-redis" => Some(Self::V1),
            _ if export.starts_with("spin:redis/inbound-redis@3.") => Some(Self::V3),
            _ => None,
        }
    }

    pub const fn interface(self) -> &'static str {
        match self {
            Self::V1 => "fermyon:spin/inbound-redis",
            Self::V3 => "spin:redis/inbound-redis@3.0.0",
        }
    }
}

/// Finds the handler among a component's exports, and sees that it takes what it will be given.
pub fn find(component: &Component, generation: Generation) -> wasmtime::Result<ComponentExportIndex> {
    let interface = generation.interface();
    let of = |what: &str| wasmtime::format_err!("`{interface}` {what}");
    let instance = component.get_export_index(None, interface);
    let instance = instance.ok_or_else(|| of("is not exported"))?;
    let (item, function) = component
        .get_export(Some(&instance), FUNCTION)
        .ok_or_else(|| of("has no function `handle-message`"))?;
    let takes_bytes = match item {
        wasmtime::component::types::ComponentItem::ComponentFunc(function) => {
            let mut parameters = function.params();
            let first = parameters.next();
            parameters.next().is_none()
                && matches!(first, Some((_, Type::List(list))) if list.ty() == Type::U8)
        }
        _ => false,
    };
    if takes_bytes {
        Ok(function)
    } else {
        Err(of(
            "has a function `handle-message` that does not take a list of bytes",
        ))
    }
}

/// A trigger, with its variables filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    /// Where it is in the manifest.
    pub key: String,
    pub component: String,
    pub channel: String,
    pub address: String,
}

/// By whom the server of an address is to be known. It has one connection, of all who listen there.
pub fn trust(address: &str, subscriptions: &[Subscription], stores: &Stores) -> Result<Trust, Discord> {
    let there = subscriptions.iter().filter(|it| it.address == address);
    let components = there.map(|it| it.component.as_str());
    // What is no address is told of elsewhere.
    let server = Server::parse(address);
    let trust = server.map(|server| server.trust(|host| stores.trust_of_all(components, host)));
    trust.unwrap_or_else(|_| Ok(Trust::default()))
}

/// A component that is entered with messages.
struct Listener {
    component: Arc<Ready>,
    function: ComponentExportIndex,
    generation: Generation,
}

/// All channels of one server.
pub struct Subscriber {
    server: Server,
    /// Of all components that listen there.
    trust: Trust,
    /// By channel.
    listeners: BTreeMap<String, Vec<Arc<Listener>>>,
    slots: Arc<Slots>,
    /// Bytes of a message.
    most: usize,
}

impl Subscriber {
    /// One for each server. `slots` are the instances that all of them may have; `most` is what a message may have.
    pub fn all(
        subscriptions: &[Subscription],
        components: &BTreeMap<String, Arc<Ready>>,
        slots: &Arc<Slots>,
        most: usize,
    ) -> wasmtime::Result<Vec<Self>> {
        let addresses: BTreeSet<&str> = subscriptions.iter().map(|it| it.address.as_str()).collect();
        let subscriber = |address: &str| {
            let server = Server::parse(address).map_err(|reason| wasmtime::format_err!("{reason}"))?;
            let mut listeners: BTreeMap<String, Vec<Arc<Listener>>> = BTreeMap::new();
            let mut stores = None;
            for subscription in subscriptions.iter().filter(|it| it.address == address) {
                let component = components.get(&subscription.component);
                let component = component.ok_or_else(|| {
                    wasmtime::format_err!("component `{}` is not loaded", subscription.component)
                })?;
                stores.get_or_insert(&component.seed.stores);
                let generation = component.part.redis().unwrap_or(Generation::V1);
                let listener = Listener {
                    function: find(component.linked.component(), generation)?,
                    component: Arc::clone(component),
                    generation,
                };
                let channel = listeners.entry(subscription.channel.clone()).or_default();
                channel.push(Arc::new(listener));
            }
            let trust = stores.map(|stores| trust(address, subscriptions, stores));
            Ok(Self {
                server,
                trust: trust.transpose()?.unwrap_or_default(),
                listeners,
                slots: Arc::clone(slots),
                most,
            })
        };
        addresses.into_iter().map(subscriber).collect()
    }

    /// Goes on until it is asked to stop, and the message that is at work is done with.
    ///
    /// # Errors
    /// The server cannot be reached at first, or does not let us subscribe.
    pub async fn run(self, stopping: watch::Receiver<bool>) -> wasmtime::Result<()> {
        let mut stop = pin!(stopped(stopping));
        let Some(connection) = until(stop.as_mut(), self.subscribe()).await else {
            return Ok(());
        };
        let mut connection = connection.map_err(|reason| {
            wasmtime::format_err!(
                "{reason}; it is the server of [trigger.redis] in {}, or of [application.trigger.redis]",
                super::MANIFEST
            )
        })?;
        loop {
            let reason = match until(stop.as_mut(), connection.next(self.most)).await {
                None => return Ok(()),
                Some(Ok(message)) => {
                    self.deliver(message).await;
                    continue;
                }
                Some(Err(reason)) => reason,
            };
            drop(connection);
            let (server, reason) = (printable(&self.server.name()), printable(&reason));
            say(&format!("the connection to {server} is lost: {reason}"));
            let tell = |reason: &str| {
                say(&format!(
                    "the connection to {server} cannot be made again: {reason}"
                ))
            };
            connection = match until(stop.as_mut(), self.subscribe_again(tell)).await {
                None => return Ok(()),
                Some(connection) => connection,
            };
            say(&format!("the connection to {server} is there again"));
        }
    }

    async fn subscribe(&self) -> Result<Connection, String> {
        let channels = self.listeners.keys().map(String::as_str).collect();
        Connection::open(&self.server, &self.trust, channels).await
    }

    /// Tells why it cannot be made, whenever that is not what was told last.
    async fn subscribe_again(&self, tell: impl Fn(&str)) -> Connection {
        let (mut pause, mut told) = (FIRST_PAUSE, String::new());
        loop {
            tokio::time::sleep(pause).await;
            match self.subscribe().await {
                Ok(connection) => return connection,
                Err(reason) if reason == told => {}
                Err(reason) => {
                    tell(&printable(&reason));
                    told = reason;
                }
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Enters all components of the message's channel, at once, and waits for them.
    async fn deliver(&self, message: Message) {
        let mut work = JoinSet::new();
        let payload: Arc<[u8]> = message.payload.into();
        let listeners = self.listeners.get(&message.channel).into_iter().flatten();
        for listener in listeners {
            // It is never closed before.
            let Some(slot) = self.slots.take().await else {
                return;
            };
            let (listener, payload) = (Arc::clone(listener), Arc::clone(&payload));
            work.spawn(async move {
                let outcome = listener.enter(&payload).await;
                drop(slot);
                if let Err(error) = outcome {
                    report(&error, Some(Arc::from(listener.component.id())));
                }
            });
        }
        // No task fails but with its runtime: a panic ends the process.
        while work.join_next().await.is_some() {}
    }
}

impl Listener {
    /// A fresh instance, which is over when this returns.
    async fn enter(&self, payload: &[u8]) -> wasmtime::Result<()> {
        let mut store = self.component.store(|_| {})?;
        let instance = self.component.linked.instantiate_async(&mut store).await?;
        match self.generation {
            Generation::V1 => {
                let handler = instance
                    .get_typed_func::<(&[u8],), (Result<(), HandlerErrorV1>,)>(&mut store, &self.function)?;
                let (outcome,) = handler.call_async(&mut store, (payload,)).await?;
                // It has nothing to say of why.
                outcome.map_err(|_| wasmtime::format_err!("its handler of a message has returned an error"))
            }
            Generation::V3 => {
                let handler = instance.get_typed_func::<(Vec<u8>,), (Result<(), HandlerErrorV3>,)>(
                    &mut store,
                    &self.function,
                )?;
                let payload = payload.to_vec();
                let call = async move |accessor: &_| handler.call_concurrent(accessor, (payload,)).await;
                let (outcome,) = store.run_concurrent(call).await??;
                outcome.map_err(|error| {
                    wasmtime::format_err!("its handler of a message has returned an error: {error:?}")
                })
            }
        }
    }
}

/// What comes of the work, unless it is to stop before.
async fn until<T>(stop: Pin<&mut impl Future<Output = ()>>, work: impl Future<Output = T>) -> Option<T> {
    match select(stop, pin!(work)).await {
        Either::Left(_) => None,
        Either::Right((outcome, _)) => Some(outcome),
    }
}

/// A line on standard error.
fn say(text: &str) {
    let line = format!("wrun: {text}\n");
    // As one write, so that lines of others do not come between; there is nobody to tell where it fails.
    let _ = std::io::stderr().write_all(line.as_bytes());
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::sync::Mutex;

    use super::*;

    #[tokio::test]
    async fn why_a_server_is_not_come_back_to_is_told_once() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let answers = [
            "-WRONGPASS no",
            "-WRONGPASS no",
            "-LOADING yet",
            "-WRONGPASS no",
            "+OK",
        ];
        let server = std::thread::spawn(move || {
            for answer in answers {
                let (mut stream, _) = listener.accept().expect("a client");
                let asked = stream.read(&mut [0; 100]).expect("a request");
                assert_ne!(asked, 0);
                write!(stream, "{answer}\r\n").expect("sent");
            }
        });
        let subscriber = Subscriber {
            server: Server::parse(&format!("redis://:secret@127.0.0.1:{port}")).expect("an address"),
            trust: Trust::default(),
            listeners: BTreeMap::new(),
            slots: Arc::new(Slots::new(1)),
            most: 1,
        };
        let told = Mutex::new(Vec::new());
        let tell = |reason: &str| told.lock().expect("no panic").push(reason.to_owned());
        subscriber.subscribe_again(tell).await;
        server.join().expect("no panic");
        let refused = |error: &str| format!("redis://127.0.0.1:{port}: the server refuses AUTH: {error}");
        let expected = ["WRONGPASS no", "LOADING yet", "WRONGPASS no"].map(refused);
        assert_eq!(told.into_inner().expect("no panic"), expected);
    }
}
