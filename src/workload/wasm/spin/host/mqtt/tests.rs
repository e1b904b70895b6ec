//! The client on a real broker.

use futures_util::FutureExt as _;

use super::*;
use crate::workload::wasm::spin::host::authority::Authority;
use crate::workload::wasm::spin::host::servers;
use crate::workload::wasm::spin::host::tests::{granted, stores, trusting};

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

/// Takes what is published until there are so many messages.
async fn subscribed(port: u16, count: usize) -> tokio::task::JoinHandle<Vec<(String, Vec<u8>)>> {
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
    tokio::spawn(async move {
        let mut arrived = Vec::new();
        while arrived.len() < count {
            if let Event::Incoming(Packet::Publish(message)) = events.poll().await.expect("an event") {
                arrived.push((message.topic, message.payload.to_vec()));
            }
        }
        drop(subscriber);
        arrived
    })
}

#[tokio::test]
async fn messages_arrive_with_every_surety() {
    let Some(server) = servers::mqtt() else { return };
    let port = server.port;
    let arrived = subscribed(port, 4).await;
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
async fn a_message_that_did_not_arrive_is_not_sent_with_a_later_one() {
    let port = servers::free_port();
    let address = format!("mqtt://127.0.0.1:{port}?client_id=wrun");
    let connection = opened(&address, &[&format!("mqtt://127.0.0.1:{port}")]).await;
    let connection = connection.expect("it is made when a message is sent");
    let publish = |number: u8| {
        let sending = connection
            .opened
            .publish(format!("topic/{number}"), vec![number], Surety::AtLeastOnce);
        tokio::time::timeout(Duration::from_secs(30), sending)
    };
    for number in 0..6 {
        let error = publish(number).await.expect("an answer at once");
        assert!(
            matches!(&error, Err(Error::ConnectionFailed(text)) if text.contains("refused")),
            "{error:?}"
        );
    }
    let Some(_server) = servers::mqtt_at(port, None) else {
        return;
    };
    let arrived = subscribed(port, 2).await;
    // Neither is one that its sender has left.
    assert!(publish(6).now_or_never().is_none(), "it has begun");
    for number in [7, 8] {
        publish(number).await.expect("in time").expect("sent");
    }
    let arrived = arrived.await.expect("no panic");
    let expected = [7, 8].map(|number: u8| (format!("topic/{number}"), vec![number]));
    assert_eq!(arrived, expected);
}

#[tokio::test]
async fn an_ipv6_address_is_named_as_in_certificates() {
    let Ok(listener) = std::net::TcpListener::bind("[::1]:0") else {
        eprintln!("skipped: there is no IPv6 here");
        return;
    };
    let address = format!("mqtts://{}", listener.local_addr().expect("bound"));
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a client");
        let mut first = [0];
        std::io::Read::read_exact(&mut stream, &mut first).expect("a greeting");
        first
    });
    let connection = opened(&address, &[&address]).await.expect("made later");
    let sent = connection
        .opened
        .publish("t".to_owned(), Vec::new(), Surety::AtMostOnce);
    sent.await.expect_err("the server has left");
    // The first byte of TLS, which the client does not begin without a name.
    assert_eq!(server.join().expect("no panic"), [22]);
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
        Ok::<_, Error>(Broker {
            secure: None,
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
    for (scheme, address) in [("mqtts", "mqtts://broker"), ("ssl", "ssl://broker")] {
        let secure = Broker {
            secure: Some(scheme),
            ..broker("broker", 8883, "").expect("a broker")
        };
        assert_eq!(parse(address), Ok(secure));
    }
}

#[tokio::test]
async fn with_tls_a_broker_is_who_it_is_to_be() {
    let Some(authority) = Authority::new() else { return };
    let Some(server) = servers::mqtt_with(Some(&authority)) else {
        return;
    };
    for (host, trusted, told) in [
        ("127.0.0.1", &["127.0.0.1"][..], None),
        ("localhost", &["localhost"], Some("not valid for name")),
        ("127.0.0.1", &["localhost"], Some("UnknownIssuer")),
    ] {
        let stores = trusting(&authority.root, trusted);
        let address = format!("mqtts://{host}:{}?client_id=c", server.port);
        let grants = granted(&[], &[&format!("mqtts://{host}:{}", server.port)]);
        let context = (&grants, &*stores, &stores.bounds.share());
        let connection = open(&address, Default::default(), 30, context).await;
        let opened = connection.expect("it is made when a message is sent").opened;
        let sent = opened
            .publish("t".to_owned(), vec![7; 1000], Surety::AtLeastOnce)
            .await;
        match (sent, told) {
            (Ok(()), None) => {}
            (Err(Error::ConnectionFailed(text)), Some(told)) => assert!(text.contains(told), "{text}"),
            (sent, _) => panic!("{host}: {sent:?}"),
        }
    }
    let denied = opened("mqtts://127.0.0.1:1", &["mqtt://127.0.0.1:1"])
        .await
        .map(|_| ());
    let text = "address mqtts://127.0.0.1:1 is not permitted".to_owned();
    assert_eq!(denied, Err(Error::ConnectionFailed(text)));
}
