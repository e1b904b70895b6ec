//! The client on a real server.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;
use crate::workload::wasm::spin::host::authority::Authority;
use crate::workload::wasm::spin::host::servers;
use crate::workload::wasm::spin::host::tests::{granted, stores, trusting};

async fn opened(address: &str, hosts: &[&str]) -> Result<Connection, Error> {
    let stores = stores("", std::path::Path::new("/nonexistent"));
    open(address, &granted(&[], hosts), &stores, &stores.bounds.share()).await
}

#[tokio::test]
async fn values_of_every_type_come_back() {
    let Some(server) = servers::mysql() else { return };
    let host = format!("mysql://127.0.0.1:{}", server.port);
    let address = format!("mysql://root@127.0.0.1:{}/mysql?ssl-mode=disabled", server.port);
    let connection = opened(&address, &[&host]).await.expect("a connection");
    let mysql = &connection.opened;
    let run = |statement: &str| mysql.execute(statement.to_owned(), Vec::new());
    run("CREATE DATABASE d").await.expect("made");
    run("USE d").await.expect("used");
    run(
        "CREATE TABLE t (b TINYINT, i8 TINYINT, i16 SMALLINT, i32 INT, i64 BIGINT, u8 TINYINT UNSIGNED, \
         u16 SMALLINT UNSIGNED, u32 INT UNSIGNED, u64 BIGINT UNSIGNED, f32 FLOAT, f64 DOUBLE, \
         s VARCHAR(20), x VARBINARY(20), l TEXT, y BLOB, n INT)",
    )
    .await
    .expect("made");
    let values = vec![
        Value::Int8(1),
        Value::Int8(i8::MIN),
        Value::Int16(i16::MIN),
        Value::Int32(i32::MIN),
        Value::Int64(i64::MIN),
        Value::Uint8(u8::MAX),
        Value::Uint16(u16::MAX),
        Value::Uint32(u32::MAX),
        Value::Uint64(u64::MAX),
        Value::Floating32(1.5),
        Value::Floating64(2.25),
        Value::Str("ä".to_owned()),
        Value::Binary(vec![0, 255]),
        Value::Str("long".to_owned()),
        Value::Binary(vec![1]),
        Value::Null,
    ];
    let mut given = values.clone();
    given[0] = Value::Boolean(true);
    let insert = format!("INSERT INTO t VALUES ({})", vec!["?"; values.len()].join(", "));
    mysql.execute(insert, given).await.expect("inserted");
    let set = mysql
        .query("SELECT * FROM t".to_owned(), Vec::new())
        .await
        .expect("rows");
    assert_eq!(set.rows, [values]);
    let kinds: Vec<Kind> = set.columns.iter().map(|(_, kind)| *kind).collect();
    let integers = [Kind::Int8, Kind::Int8, Kind::Int16, Kind::Int32, Kind::Int64];
    assert_eq!(kinds[..5], integers);
    assert_eq!(
        kinds[9..13],
        [Kind::Floating32, Kind::Floating64, Kind::Str, Kind::Binary]
    );
    assert_eq!(set.columns[11].0, "s");
    let none = mysql
        .query("SELECT * FROM t WHERE n = ?".to_owned(), vec![Value::Int32(1)])
        .await;
    assert_eq!(none.expect("no rows").rows.len(), 0);
    let other = mysql.query("SELECT NOW()".to_owned(), Vec::new()).await;
    assert!(
        matches!(&other, Err(Error::ValueConversionFailed(_))),
        "{other:?}"
    );
    let wrong = mysql.query("SELEC 1".to_owned(), Vec::new()).await;
    assert!(
        matches!(&wrong, Err(Error::QueryFailed(text)) if text.contains("syntax")),
        "{wrong:?}"
    );
    let file = mysql
        .execute(
            "LOAD DATA LOCAL INFILE '/etc/passwd' INTO TABLE t".to_owned(),
            Vec::new(),
        )
        .await;
    assert!(matches!(&file, Err(Error::QueryFailed(_))), "{file:?}");
    let denied = opened(&address.replace("root", "nobody"), &[&host])
        .await
        .map(|_| ());
    assert!(
        matches!(&denied, Err(Error::ConnectionFailed(text)) if text.contains("denied")),
        "{denied:?}"
    );
}

#[tokio::test]
async fn addresses_lead_only_where_they_may() {
    let all = &["*://*:*"][..];
    for (address, hosts, expected) in [
        (
            "mysql://u@127.0.0.1:1/d",
            &["mysql://127.0.0.1:2"][..],
            "address mysql://127.0.0.1:1 is not permitted",
        ),
        (
            "mysql://u@db/d",
            &["mysql://127.0.0.1"],
            "address mysql://db:3306 is not permitted",
        ),
        (
            "mysql://u@a/d?require_ssl=true&verify_ca=false",
            all,
            "verify_ca, verify_identity, built_in_roots: who a server is, is always looked at",
        ),
        (
            "mysql://u@a/d?socket=%2Frun%2Fmysqld.sock",
            all,
            "socket: unix sockets are not supported",
        ),
    ] {
        let outcome = opened(address, hosts).await.map(|_| ());
        assert_eq!(outcome, Err(failed(expected)), "{address}");
    }
    for wrong in ["", "mysql", "http://a/b", "mysql://u@a/d?nonsense=1"] {
        let outcome = opened(wrong, all).await.map(|_| ());
        assert!(
            matches!(&outcome, Err(Error::ConnectionFailed(_))),
            "{wrong}: {outcome:?}"
        );
    }
}

#[test]
fn the_client_does_not_see_what_it_does_not_know() {
    let of = |address| without_tls(address);
    assert_eq!(of("mysql://a/b"), ("mysql://a/b".to_owned(), false));
    assert_eq!(
        of("mysql://a/b?ssl-mode=DISABLED"),
        ("mysql://a/b".to_owned(), false)
    );
    assert_eq!(
        of("mysql://a/b?x=1&sslmode=disabled&y=2"),
        ("mysql://a/b?x=1&y=2".to_owned(), false)
    );
    assert_eq!(
        of("mysql://a/b?sslMode=preferred"),
        ("mysql://a/b".to_owned(), true)
    );
    assert_eq!(of("mysql://a/b?ssl-mode"), ("mysql://a/b".to_owned(), true));
}

#[test]
fn what_no_key_takes_is_not_told_in_the_clear() {
    let of = |length: usize, settings: &str| {
        let password = "x".repeat(length);
        parse(&format!("mysql://u:{password}@h/d{settings}")).map(|_| ())
    };
    assert_eq!(of(200, ""), Ok(()));
    assert_eq!(of(201, "?ssl-mode=required"), Ok(()));
    for settings in ["", "?ssl-mode=disabled"] {
        let error = of(201, settings).expect_err("too long");
        assert!(
            matches!(&error, Error::ConnectionFailed(text) if text.contains("200 bytes")),
            "{error:?}"
        );
    }
}

/// MariaDB's ways to show that one knows a password, beside those of MySQL.
#[tokio::test]
async fn every_way_to_be_let_in_is_known() {
    let Some(server) = servers::mysql() else { return };
    let host = format!("mysql://127.0.0.1:{}", server.port);
    let root = format!("mysql://root@127.0.0.1:{}/mysql", server.port);
    let root = opened(&root, &[&host]).await.expect("a connection");
    for (plugin, file) in [("ed25519", "auth_ed25519"), ("parsec", "auth_parsec")] {
        let run = |statement: String| root.opened.execute(statement, Vec::new());
        if let Err(error) = run(format!("INSTALL SONAME '{file}'")).await {
            eprintln!("skipped: {plugin}: {error:?}");
            continue;
        }
        run(format!(
            "CREATE USER {plugin} IDENTIFIED VIA {plugin} USING PASSWORD('secret')"
        ))
        .await
        .expect("made");
        let address = |password: &str| format!("mysql://{plugin}{password}@127.0.0.1:{}/", server.port);
        let connection = opened(&address(":secret"), &[&host]).await.expect(plugin);
        let asked = connection.opened.query("SELECT 7".to_owned(), Vec::new()).await;
        assert_eq!(asked.expect("an answer").rows, [[Value::Int32(7)]], "{plugin}");
        for wrong in [":wrong", ""] {
            let denied = opened(&address(wrong), &[&host]).await.map(|_| ());
            assert!(
                matches!(&denied, Err(Error::ConnectionFailed(text)) if text.contains("denied")),
                "{plugin}: {denied:?}"
            );
        }
    }
}

/// Of a server that has TLS and a nonce, as far as the client must see it.
fn greeting() -> Vec<u8> {
    let mut packet = vec![10];
    packet.extend_from_slice(b"8.0.36\0");
    packet.extend_from_slice(&[1, 0, 0, 0]);
    packet.extend_from_slice(b"noncenon\0");
    // The capabilities: of 4.1, with TLS, plugins and a long nonce; the character set and the status are between them.
    packet.extend_from_slice(&[0x01, 0x8a, 45, 2, 0, 0x08, 0, 21]);
    packet.extend_from_slice(&[0; 10]);
    packet.extend_from_slice(b"cenoncenonce\0mysql_native_password\0");
    let mut framed = vec![u8::try_from(packet.len()).expect("short"), 0, 0, 0];
    framed.extend_from_slice(&packet);
    framed
}

#[tokio::test]
async fn an_ipv6_address_is_named_as_in_certificates() {
    let Ok(listener) = TcpListener::bind("[::1]:0").await else {
        eprintln!("skipped: there is no IPv6 here");
        return;
    };
    let host = format!("mysql://{}", listener.local_addr().expect("bound"));
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a client");
        stream.write_all(&greeting()).await.expect("sent");
        let mut head = [0; 4];
        stream.read_exact(&mut head).await.expect("a request for TLS");
        let mut rest = vec![0; usize::from(head[0]) + 1];
        stream.read_exact(&mut rest).await.expect("TLS");
        rest.last().copied()
    });
    let failure = opened(&format!("{host}/d?ssl-mode=required"), &[&host])
        .await
        .map(|_| ());
    let failure = failure.expect_err("the server has left");
    let first = timeout(CONNECT_TIME, server).await;
    let first = first.unwrap_or_else(|_| panic!("nobody came: {failure:?}"));
    // The first byte of TLS, which the client does not begin without a name.
    assert_eq!(first.expect("no panic"), Some(22));
}

#[test]
fn packets_are_no_larger_than_a_call_may_hold() {
    let opts = parse("mysql://h/d?max_allowed_packet=1000000000").expect("an address");
    assert_eq!(opts.max_allowed_packet(), Some(1_000_000_000));
    let bounds = Bounds::new(Some(1), None);
    assert_eq!(limited(opts, &bounds).max_allowed_packet(), Some(1 << 20));
}

#[tokio::test]
async fn with_tls_a_server_is_who_it_is_to_be() {
    let Some(authority) = Authority::new() else { return };
    let Some(server) = servers::mysql_with(Some(&authority)) else {
        return;
    };
    for (host, trusted, settings, told) in [
        ("127.0.0.1", &["127.0.0.1"][..], "?ssl-mode=REQUIRED", None),
        ("127.0.0.1", &["127.0.0.1"], "?require_ssl=true", None),
        (
            "localhost",
            &["localhost"],
            "?ssl-mode=required",
            Some("not valid for name"),
        ),
        (
            "127.0.0.1",
            &["localhost"],
            "?ssl-mode=required",
            Some("UnknownIssuer"),
        ),
        ("127.0.0.1", &["127.0.0.1"], "", Some("Access denied")),
    ] {
        let stores = trusting(&authority.root, trusted);
        let address = format!("mysql://root@{host}:{}/mysql{settings}", server.port);
        let grants = granted(&[], &[&format!("mysql://{host}:{}", server.port)]);
        let opened = open(&address, &grants, &stores, &stores.bounds.share()).await;
        match (opened, told) {
            (Ok(connection), None) => {
                let asked = "SELECT VARIABLE_VALUE <> '' FROM information_schema.SESSION_STATUS \
                             WHERE VARIABLE_NAME = 'Ssl_cipher'";
                let found = connection
                    .opened
                    .query(asked.to_owned(), Vec::new())
                    .await
                    .expect("an answer");
                assert_eq!(found.rows, [[Value::Int32(1)]]);
            }
            (Err(Error::ConnectionFailed(text)), Some(told)) => assert!(text.contains(told), "{text}"),
            (opened, _) => panic!("{host}{settings}: {:?}", opened.map(|_| ())),
        }
    }
}
