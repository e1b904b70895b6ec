//! MQTT: what the interfaces of its client have in common, whatever generation they are of.

mod v2;
mod v3;

use std::sync::Arc;
use std::time::Duration;

use hyper::Uri;
use rumqttc::{
    AsyncClient, Event, EventLoop, MqttOptions, Outgoing, Packet, QoS, TlsConfiguration, Transport,
};
use tokio::sync::Mutex;

use super::bounds::{ANSWER_TIME, Bounds, CONNECT_TIME, Permit, Share};
use super::network::{Unreachable, bare};
use super::{Grants, Stores};

/// Requests that may wait in a client: there is one at a time.
const WAITING: usize = 4;
const PORT: u16 = 1883;
const SECURE_PORT: u16 = 8883;
/// Bytes of a message that the broker may send us, which is none but answers.
const LONGEST_ANSWER: usize = 64 << 10;

/// Why an operation failed, as all generations can say it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    InvalidAddress,
    TooManyConnections,
    ConnectionFailed(String),
    Other(String),
}

/// How surely a message is to arrive.
#[expect(clippy::enum_variant_names, reason = "the names of MQTT and of the interface")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Surety {
    AtMostOnce,
    AtLeastOnce,
    ExactlyOnce,
}

/// A connection that an instance has opened. It is made when a message is sent.
pub struct Connection {
    opened: Opened,
    _permit: Permit,
}

/// What of a connection outlives a call into its instance's table.
#[derive(Clone)]
pub struct Opened {
    options: Arc<MqttOptions>,
    /// What the last message went by, where it has arrived.
    client: Arc<Mutex<Option<Client>>>,
    bounds: Bounds,
}

/// A client and what drives it; without a connection at first.
struct Client {
    requests: AsyncClient,
    events: EventLoop,
}

/// Where a broker is, and who we are to it.
#[derive(Debug, PartialEq, Eq)]
struct Broker {
    /// Of the address, where it is one of TLS.
    secure: Option<&'static str>,
    host: String,
    port: u16,
    /// Empty where the broker is to choose.
    client: String,
}

/// Reads `mqtt://HOST:PORT?client_id=ID`; `mqtts` is the same with TLS.
fn parse(address: &str) -> Result<Broker, Error> {
    let uri: Uri = address.parse().map_err(|_| Error::InvalidAddress)?;
    let secure = match uri.scheme_str() {
        Some("mqtt" | "tcp") => None,
        Some("mqtts") => Some("mqtts"),
        Some("ssl") => Some("ssl"),
        _ => return Err(Error::InvalidAddress),
    };
    let query = uri.query().unwrap_or_default().split('&');
    let client = query
        .filter_map(|parameter| parameter.strip_prefix("client_id="))
        .next_back();
    let client = client.unwrap_or_default();
    if !client
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || "-_.~".contains(c))
    {
        return Err(Error::InvalidAddress);
    }
    let usual_port = if secure.is_some() { SECURE_PORT } else { PORT };
    Ok(Broker {
        secure,
        host: uri
            .host()
            .filter(|host| !host.is_empty())
            .ok_or(Error::InvalidAddress)?
            .to_owned(),
        port: uri.port_u16().unwrap_or(usual_port),
        client: client.to_owned(),
    })
}

/// Opens a connection for an instance.
fn open(
    address: &str,
    (user, password): (String, String),
    keep_alive: u64,
    (grants, stores, share): (&Arc<Grants>, &Stores, &Share),
) -> impl Future<Output = Result<Connection, Error>> + Send + use<> {
    let broker = parse(address);
    let trust = broker
        .as_ref()
        .map(|broker| stores.trust(&grants.component, &broker.host));
    let trust = trust.unwrap_or_default();
    let (permit, grants) = (share.connection(), Arc::clone(grants));
    let bounds = stores.bounds.clone();
    async move {
        let Broker {
            secure,
            host,
            port,
            client,
        } = broker?;
        grants
            .check_host(secure.unwrap_or("mqtt"), &host, port)
            .map_err(|error| match error {
                Unreachable::NotAllowed(_) => Error::ConnectionFailed(error.to_string()),
                Unreachable::Failed(text) => Error::Other(text),
            })?;
        let permit = permit.await.map_err(|_| Error::TooManyConnections)?;
        // The client looks for a certificate of this, with brackets and all.
        let named = if secure.is_some() { bare(&host) } else { &host };
        let mut options = MqttOptions::new(client, named, port);
        if secure.is_some() {
            let tls = TlsConfiguration::Rustls(trust.config());
            options.set_transport(Transport::tls_with_config(tls));
        }
        if !user.is_empty() || !password.is_empty() {
            options.set_credentials(user, password);
        }
        // Of the two octets that it has; none at all, or a second at least.
        options.set_keep_alive(Duration::from_secs(keep_alive.min(u64::from(u16::MAX))));
        options.set_max_packet_size(LONGEST_ANSWER, bounds.call_bytes);
        Ok(Connection {
            opened: Opened {
                options: Arc::new(options),
                client: Arc::default(),
                bounds,
            },
            _permit: permit,
        })
    }
}

impl Client {
    fn new(options: &MqttOptions) -> Self {
        let (requests, mut events) = AsyncClient::new(options.clone(), WAITING);
        let network = &mut events.network_options;
        network.set_connection_timeout(CONNECT_TIME.as_secs());
        Self { requests, events }
    }

    /// Returns when the broker has it as surely as was asked.
    async fn publish(&mut self, topic: String, payload: Vec<u8>, quality: QoS) -> Result<(), Error> {
        let sending = self.requests.publish(topic, quality, false, payload);
        sending.await.map_err(|error| Error::Other(error.to_string()))?;
        loop {
            let event = self.events.poll().await;
            match (
                quality,
                event.map_err(|error| Error::ConnectionFailed(error.to_string()))?,
            ) {
                (QoS::AtMostOnce, Event::Outgoing(Outgoing::Publish(_)))
                | (QoS::AtLeastOnce, Event::Incoming(Packet::PubAck(_)))
                | (QoS::ExactlyOnce, Event::Incoming(Packet::PubComp(_))) => return Ok(()),
                _ => {}
            }
        }
    }
}

impl Opened {
    /// Returns when the broker has it as surely as was asked.
    pub async fn publish(&self, topic: String, payload: Vec<u8>, surety: Surety) -> Result<(), Error> {
        self.bounds
            .check(topic.len() + payload.len())
            .map_err(|_| Error::Other("the message is too large".to_owned()))?;
        let quality = match surety {
            Surety::AtMostOnce => QoS::AtMostOnce,
            Surety::AtLeastOnce => QoS::AtLeastOnce,
            Surety::ExactlyOnce => QoS::ExactlyOnce,
        };
        let mut last = self.client.lock().await;
        // Put back where the message has arrived. Where it has not, or nobody waits for that any more, it is gone with its
        // client, which would send it beside the next one and take the answer to it for the next one's.
        let mut client = last.take().unwrap_or_else(|| Client::new(&self.options));
        let sent = tokio::time::timeout(ANSWER_TIME, client.publish(topic, payload, quality)).await;
        sent.unwrap_or_else(|_| Err(Error::ConnectionFailed("the broker does not answer".to_owned())))?;
        *last = Some(client);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
