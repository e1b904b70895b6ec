//! The client on a real server.

use super::*;
use crate::workload::wasm::spin::host::authority::Authority;
use crate::workload::wasm::spin::host::servers;
use crate::workload::wasm::spin::host::tests::{granted, stores, trusting};

async fn opened(address: &str, hosts: &[&str]) -> Outcome<Connection> {
    let stores = stores("", std::path::Path::new("/nonexistent"));
    open(address, &granted(&[], hosts), &stores, &stores.bounds.share()).await
}

#[tokio::test]
async fn every_command_has_its_answer() {
    let Some(server) = servers::redis() else { return };
    let address = format!("redis://:secret@127.0.0.1:{}", server.port);
    let connection = opened(&address, &[&format!("redis://127.0.0.1:{}", server.port)]).await;
    let connection = connection.expect("a connection");
    let redis = &connection.opened;
    let text = |text: &str| text.to_owned();
    assert_eq!(redis.get(text("k")).await, Ok(None));
    redis.set(text("k"), vec![0, 255]).await.expect("set");
    assert_eq!(redis.get(text("k")).await, Ok(Some(vec![0, 255])));
    assert_eq!(redis.incr(text("n")).await, Ok(1));
    assert_eq!(redis.incr(text("n")).await, Ok(2));
    assert!(matches!(redis.incr(text("k")).await, Err(Error::Other(text)) if text.contains("integer")));
    assert_eq!(redis.del(vec![text("k"), text("none")]).await, Ok(1));
    assert_eq!(redis.sadd(text("s"), vec![text("a"), text("b")]).await, Ok(2));
    assert_eq!(redis.sadd(text("s"), vec![text("b"), text("c")]).await, Ok(1));
    assert_eq!(redis.srem(text("s"), vec![text("c")]).await, Ok(1));
    let mut members = redis.smembers(text("s")).await.expect("members");
    members.sort();
    assert_eq!(members, ["a", "b"]);
    assert_eq!(
        redis.sadd(text("n"), vec![text("a")]).await,
        Err(Error::TypeError)
    );
    redis
        .publish(text("channel"), b"x".to_vec())
        .await
        .expect("published");
    let run = |command: &str, arguments: &[&str]| {
        let arguments = arguments
            .iter()
            .map(|argument| Parameter::Binary(argument.as_bytes().to_vec()));
        redis.execute(command.to_owned(), arguments.collect())
    };
    assert_eq!(
        run("SET", &["k", "v"]).await,
        Ok(vec![Answer::Status(text("OK"))])
    );
    assert_eq!(run("PING", &[]).await, Ok(vec![Answer::Status(text("PONG"))]));
    assert_eq!(run("GET", &["none"]).await, Ok(vec![Answer::Nil]));
    let many = run("MGET", &["k", "none", "n"]).await;
    assert_eq!(
        many,
        Ok(vec![
            Answer::Binary(b"v".to_vec()),
            Answer::Nil,
            Answer::Binary(b"2".to_vec())
        ])
    );
    let by = redis
        .execute(
            text("INCRBY"),
            vec![Parameter::Binary(b"n".to_vec()), Parameter::Int64(40)],
        )
        .await;
    assert_eq!(by, Ok(vec![Answer::Int64(42)]));
    assert!(
        matches!(run("NONSENSE", &[]).await, Err(Error::Other(text)) if text.contains("unknown command"))
    );
    for command in ["subscribe", "MONITOR"] {
        assert!(
            matches!(run(command, &["c"]).await, Err(Error::Other(text)) if text.contains("not possible"))
        );
    }
    assert_eq!(run("PING", &[]).await, Ok(vec![Answer::Status(text("PONG"))]));
}

#[tokio::test]
async fn addresses_lead_only_where_they_may() {
    let all = &["*://*:*"][..];
    for (address, hosts, expected) in [
        (
            "redis://127.0.0.1:1",
            &["redis://127.0.0.1:2"][..],
            Error::InvalidAddress,
        ),
        (
            "redis://localhost:1",
            &["redis://127.0.0.1:1"],
            Error::InvalidAddress,
        ),
        (
            "redis://127.0.0.1:1",
            &["http://127.0.0.1:1"],
            Error::InvalidAddress,
        ),
        ("redis+unix:///run/redis.sock", all, Error::InvalidAddress),
        ("unix:///run/redis.sock", all, Error::InvalidAddress),
        ("127.0.0.1:6379", all, Error::InvalidAddress),
        ("", all, Error::InvalidAddress),
        (
            "rediss://a#insecure",
            all,
            Error::Other("must not end with #insecure: who a server is, is always looked at".to_owned()),
        ),
        // What is allowed in the clear is not what is allowed with TLS.
        (
            "rediss://127.0.0.1:1",
            &["redis://127.0.0.1:1"],
            Error::InvalidAddress,
        ),
    ] {
        let outcome = opened(address, hosts).await.map(|_| ());
        assert_eq!(outcome, Err(expected), "{address}");
    }
    let refused = opened("redis://127.0.0.1:1", all)
        .await
        .map(|_| ())
        .expect_err("nobody listens");
    assert!(
        matches!(&refused, Error::Other(text) if text.contains("cannot connect")),
        "{refused:?}"
    );
}

#[tokio::test]
async fn with_tls_a_server_is_who_it_is_to_be() {
    let Some(authority) = Authority::new() else { return };
    let Some(server) = servers::redis_with(Some(&authority)) else {
        return;
    };
    // Who the server is, by whom, and what is told.
    for (host, trusted, told) in [
        ("127.0.0.1", &["127.0.0.1"][..], None),
        ("localhost", &["localhost"], Some("not valid for name")),
        ("127.0.0.1", &["localhost"], Some("UnknownIssuer")),
    ] {
        let stores = trusting(&authority.root, trusted);
        let address = format!("rediss://:secret@{host}:{}", server.port);
        let grants = granted(&[], &[&format!("rediss://{host}:{}", server.port)]);
        let opened = open(&address, &grants, &stores, &stores.bounds.share()).await;
        match (opened, told) {
            (Ok(connection), None) => {
                let value = vec![7; 100_000];
                connection
                    .opened
                    .set("k".to_owned(), value.clone())
                    .await
                    .expect("set");
                assert_eq!(connection.opened.get("k".to_owned()).await, Ok(Some(value)));
            }
            (Err(Error::Other(text)), Some(told)) => assert!(
                text.starts_with(&format!("rediss://{host}:{}: TLS: ", server.port)) && text.contains(told),
                "{text}"
            ),
            (opened, _) => panic!("{host}: {:?}", opened.map(|_| ())),
        }
    }
}
