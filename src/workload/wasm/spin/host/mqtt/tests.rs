//! The client on a real broker.

use super::*;
use crate::workload::wasm::spin::host::servers;
use crate::workload::wasm::spin::host::tests::{granted, stores};

async fn opened(address: &str, hosts: &[&str]) -> Result<Connection, Error> {
    let stores = stores("", std::path::Path::new("/nonexistent"));
    let grants = granted(&[], hosts);
    open(
        address,
        Default::default(),
        30,
        (&grants, &stores, &stores.bounds.share()),
    )
    .await
}

#[tokio::test]
async fn messages_arrive_with_every_surety() {
    let Some(server) = servers::mqtt() else { return };
    let port = server.port;
    let mut options = MqttOptions::new("subscriber", "127.0.0.1", port);
    options.set_keep_alive(Duration::from_secs(30));
    let (subscriber, mut events) = AsyncClient::new(options, WAITING);
    subscriber
        .subscribe("topic/#", QoS::ExactlyOnce)
        .await
        .expect("asked");
    while !matches!(
        events.poll().await.expect("an event"),
        Event::Incoming(Packet::SubAck(_))
    ) {}
    let arrived = tokio::spawn(async move {
        let mut arrived = Vec::new();
        while arrived.len() < 4 {
            if let Event::Incoming(Packet::Publish(message)) = events.poll().await.expect("an event") {
                arrived.push((message.topic, message.payload.to_vec()));
            }
        }
        arrived
    });
    let address = format!("mqtt://127.0.0.1:{port}?client_id=wrun");
    let connection = opened(&address, &[&format!("mqtt://127.0.0.1:{port}")])
        .await
        .expect("a connection");
    let sureties = [
        Surety::AtLeastOnce,
        Surety::ExactlyOnce,
        Surety::AtMostOnce,
        Surety::AtLeastOnce,
    ];
    for (number, surety) in sureties.into_iter().enumerate() {
        let sent = connection
            .opened
            .publish(format!("topic/{number}"), vec![number as u8], surety)
            .await;
        sent.unwrap_or_else(|error| panic!("{surety:?}: {error:?}"));
    }
    let arrived = tokio::time::timeout(Duration::from_secs(60), arrived)
        .await
        .expect("in time");
    let mut arrived = arrived.expect("no panic");
    arrived.sort();
    let expected: Vec<_> = (0..4)
        .map(|number: u8| (format!("topic/{number}"), vec![number]))
        .collect();
    assert_eq!(arrived, expected);
}

#[tokio::test]
async fn addresses_lead_only_where_they_may() {
    let denied = opened("mqtt://127.0.0.1:1?client_id=a", &["mqtt://127.0.0.1:2"])
        .await
        .map(|_| ());
    let text = "address mqtt://127.0.0.1:1 is not permitted".to_owned();
    assert_eq!(denied, Err(Error::ConnectionFailed(text)));
    let connection = opened("mqtt://127.0.0.1:1?client_id=a", &["mqtt://127.0.0.1:1"]).await;
    let connection = connection.expect("it is made when a message is sent");
    let error = connection
        .opened
        .publish("t".to_owned(), Vec::new(), Surety::AtMostOnce)
        .await;
    assert!(
        matches!(&error, Err(Error::ConnectionFailed(text)) if text.contains("refused")),
        "{error:?}"
    );
}

#[test]
fn addresses_are_read() {
    let broker = |host: &str, port, client: &str| {
        Ok(Broker {
            host: host.to_owned(),
            port,
            client: client.to_owned(),
        })
    };
    assert_eq!(
        parse("mqtt://broker:1884?client_id=me"),
        broker("broker", 1884, "me")
    );
    assert_eq!(parse("mqtt://broker"), broker("broker", 1883, ""));
    assert_eq!(
        parse("mqtt://[::1]:1?x=y&client_id=a-1"),
        broker("[::1]", 1, "a-1")
    );
    for wrong in [
        "",
        "broker",
        "broker:1883",
        "http://broker",
        "mqtt://",
        "mqtt://b?client_id=a%20b",
    ] {
        assert_eq!(parse(wrong), Err(Error::InvalidAddress), "{wrong}");
    }
    assert!(matches!(parse("mqtts://broker"), Err(Error::Other(text)) if text.contains("TLS")));
}
