//! Messages by Mosquitto, or any other broker of MQTT 3.1.1.

use std::time::Duration;

use rumqttc::{AsyncClient, Event, EventLoop, MqttOptions, Packet, QoS, SubscribeReasonCode};
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::task::AbortHandle;

use super::subscriptions::{Subscriptions, token};
use super::{Error, Result};
use crate::workload::wasm::legacy_abi::MAX_BYTES;

/// How long a broker may take to let us in, and to take a message.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long is waited before a subscription's connection is made anew.
const PAUSE: Duration = Duration::from_secs(1);
/// How often the broker hears of a subscription's connection.
const KEEP_ALIVE: Duration = Duration::from_secs(60);
/// Messages that wait for a guest, for each subscription; then the broker waits.
const WAITING: usize = 64;
/// Requests of ours that may wait in a client.
const REQUESTS: usize = 4;

/// A broker, with one connection for the messages of all instances, and one for each subscription.
pub struct Server {
    host: String,
    port: u16,
    publisher: Mutex<Option<(AsyncClient, EventLoop)>>,
    subscriptions: Subscriptions<Subscription>,
}

struct Subscription {
    messages: Mutex<mpsc::Receiver<Vec<u8>>>,
    /// The task that has its connection.
    driver: AbortHandle,
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Server {
    pub fn new(host: String, port: u16) -> Self {
        Self {
            host,
            port,
            publisher: Mutex::new(None),
            subscriptions: Subscriptions::default(),
        }
    }

    fn connection(&self, keep_alive: Duration) -> (AsyncClient, EventLoop) {
        let mut options = MqttOptions::new(format!("wrun-{}", token()), &self.host, self.port);
        options.set_keep_alive(keep_alive);
        options.set_max_packet_size(MAX_BYTES as usize, MAX_BYTES as usize);
        let (client, mut events) = AsyncClient::new(options, REQUESTS);
        events.network_options.set_connection_timeout(PATIENCE.as_secs());
        (client, events)
    }

    /// Sends a message, and waits until the broker has it: a program may end right after.
    pub async fn publish(&self, topic: &str, message: Vec<u8>) -> Result<()> {
        /// More than the head of a packet takes.
        const HEAD: usize = 16;
        if message.len() + topic.len() + HEAD > MAX_BYTES as usize {
            return Err(Error::TooLarge(format!(
                "a message has at most {MAX_BYTES} bytes"
            )));
        }
        if topic.is_empty() || topic.contains(['+', '#', '\0']) {
            return Err(Error::NotFound(format!("{topic:?} is no name of a topic")));
        }
        let mut publisher = self.publisher.lock().await;
        let fresh = publisher.is_none();
        // Nobody looks after it between two messages, so the broker is not to expect that.
        let connection = publisher.get_or_insert_with(|| self.connection(Duration::ZERO));
        let mut outcome = deliver(connection, topic, message.clone()).await;
        if outcome.is_err() && !fresh {
            // The broker may have closed it meanwhile.
            *connection = self.connection(Duration::ZERO);
            outcome = deliver(connection, topic, message).await;
        }
        if outcome.is_err() {
            *publisher = None;
        }
        outcome
    }

    pub async fn subscribe(&self, topic: &str) -> Result<String> {
        let (client, events) = self.connection(KEEP_ALIVE);
        let (sender, receiver) = mpsc::channel(WAITING);
        let (ready, is_ready) = oneshot::channel();
        let task = tokio::spawn(drive(client, events, topic.to_owned(), sender, ready));
        let subscription = Subscription {
            messages: Mutex::new(receiver),
            driver: task.abort_handle(),
        };
        match tokio::time::timeout(PATIENCE, is_ready).await {
            Ok(Ok(outcome)) => outcome?,
            _ => return Err(Error::Unavailable("the broker does not answer".to_owned())),
        }
        self.subscriptions.add(subscription)
    }

    /// Waits for a message, as in slight.
    pub async fn receive(&self, token: &str) -> Result<Vec<u8>> {
        let subscription = self.subscriptions.find(token)?;
        let message = subscription.messages.lock().await.recv().await;
        message.ok_or_else(|| Error::ConnectionLost("the subscription has ended".to_owned()))
    }
}

async fn deliver(
    (client, events): &mut (AsyncClient, EventLoop),
    topic: &str,
    message: Vec<u8>,
) -> Result<()> {
    let work = async {
        let published = client.publish(topic, QoS::AtLeastOnce, false, message).await;
        published.map_err(|error| Error::Delivery(error.to_string()))?;
        loop {
            match events.poll().await {
                Ok(Event::Incoming(Packet::PubAck(_))) => return Ok(()),
                Ok(_) => {}
                Err(error) => return Err(Error::Unavailable(error.to_string())),
            }
        }
    };
    match tokio::time::timeout(PATIENCE, work).await {
        Ok(outcome) => outcome,
        Err(_) => Err(Error::Unavailable("the broker does not answer".to_owned())),
    }
}

/// Keeps a subscription's connection, and passes its messages on.
async fn drive(
    client: AsyncClient,
    mut events: EventLoop,
    topic: String,
    messages: mpsc::Sender<Vec<u8>>,
    ready: oneshot::Sender<Result<()>>,
) {
    let mut ready = Some(ready);
    // Says whether this was the first word to who has asked.
    let mut tell = |outcome: Result<()>| match ready.take() {
        Some(ready) => {
            // It may have given up.
            let _ = ready.send(outcome);
            true
        }
        None => false,
    };
    loop {
        match events.poll().await {
            // A broker forgets a client that is gone, so it is told anew.
            Ok(Event::Incoming(Packet::ConnAck(_))) => {
                if let Err(error) = client.try_subscribe(&topic, QoS::AtLeastOnce) {
                    tell(Err(Error::NotFound(error.to_string())));
                    return;
                }
            }
            Ok(Event::Incoming(Packet::SubAck(answer))) => {
                if answer.return_codes.contains(&SubscribeReasonCode::Failure) {
                    let text = format!("the broker refuses a subscription to {topic:?}");
                    tell(Err(Error::NotFound(text)));
                    return;
                }
                tell(Ok(()));
            }
            Ok(Event::Incoming(Packet::Publish(message))) => {
                if messages.send(message.payload.to_vec()).await.is_err() {
                    return;
                }
            }
            Ok(_) => {}
            Err(error) => {
                // The first time there is somebody to tell; later it is tried again.
                if tell(Err(Error::Unavailable(error.to_string()))) {
                    return;
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}
