//! Messages by a NATS server. slight knows but one, connect.ngs.global, by credentials; here the slightfile says which,
//! as its authors meant to have it.

use std::time::Duration;

use async_nats::{Client, ConnectOptions, ServerAddr, Subscriber};
use futures_util::StreamExt as _;
use tokio::sync::Mutex;

use super::subscriptions::Subscriptions;
use super::{Error, Result};

/// How long a server may take to let us in, and to take a message.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a guest waits for a message, as in slight.
const WAIT: Duration = Duration::from_millis(500);
/// Messages that wait for a guest, for each subscription; what comes then is lost.
const WAITING: usize = 1024;

/// A server, with one connection that all instances share.
pub struct Server {
    address: ServerAddr,
    client: Mutex<Option<Client>>,
    subscriptions: Subscriptions<Mutex<Subscriber>>,
}

impl Server {
    /// Reads `nats://USER:PASSWORD@HOST:PORT`.
    ///
    /// # Errors
    /// Why it is no address of a server that can be reached; it may hold a password, and is not repeated.
    pub fn parse(address: &str) -> std::result::Result<Self, String> {
        let wrong = || "must be nats://HOST:PORT".to_owned();
        match address.split_once("://") {
            Some(("nats", _)) => {}
            Some(("tls", _)) => return Err("TLS is not supported; use nats://".to_owned()),
            _ => return Err(wrong()),
        }
        Ok(Self {
            address: address.parse().map_err(|_| wrong())?,
            client: Mutex::new(None),
            subscriptions: Subscriptions::default(),
        })
    }

    async fn client(&self) -> Result<Client> {
        let mut client = self.client.lock().await;
        if let Some(client) = &*client {
            return Ok(client.clone());
        }
        let options = ConnectOptions::new()
            .connection_timeout(PATIENCE)
            .subscription_capacity(WAITING);
        let made = patiently(options.connect(self.address.clone())).await?;
        Ok(client.insert(made).clone())
    }

    pub async fn publish(&self, topic: &str, message: Vec<u8>) -> Result<()> {
        let client = self.client().await?;
        let most = client.server_info().max_payload;
        if message.len() > most {
            return Err(Error::TooLarge(format!(
                "the server takes messages of at most {most} bytes"
            )));
        }
        let published = client.publish(topic.to_owned(), message.into()).await;
        published.map_err(|error| Error::Delivery(error.to_string()))?;
        patiently(client.flush()).await
    }

    pub async fn subscribe(&self, topic: &str) -> Result<String> {
        let client = self.client().await?;
        let subscribed = client.subscribe(topic.to_owned()).await;
        let subscriber = subscribed.map_err(|error| Error::NotFound(error.to_string()))?;
        // Only what others send once the server knows of it is received.
        patiently(client.flush()).await?;
        self.subscriptions.add(Mutex::new(subscriber))
    }

    pub async fn receive(&self, token: &str) -> Result<Vec<u8>> {
        let subscription = self.subscriptions.find(token)?;
        let mut subscriber = subscription.lock().await;
        match tokio::time::timeout(WAIT, subscriber.next()).await {
            Ok(Some(message)) => Ok(message.payload.to_vec()),
            Ok(None) => Err(Error::ConnectionLost("the subscription has ended".to_owned())),
            Err(_) => Err(Error::Unexpected(format!(
                "no message has come within {} ms",
                WAIT.as_millis()
            ))),
        }
    }
}

async fn patiently<T, E: std::fmt::Display>(
    work: impl Future<Output = std::result::Result<T, E>>,
) -> Result<T> {
    match tokio::time::timeout(PATIENCE, work).await {
        Ok(outcome) => outcome.map_err(|error| Error::Unavailable(error.to_string())),
        Err(_) => Err(Error::Unavailable("the server does not answer".to_owned())),
    }
}
