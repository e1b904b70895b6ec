//! The client on a real server.

use super::*;
use crate::workload::wasm::spin::host::authority::Authority;
use crate::workload::wasm::spin::host::servers;
use crate::workload::wasm::spin::host::tests::{granted, stores, trusting};

async fn opened(address: &str, hosts: &[&str]) -> Result<Connection, Error> {
    let stores = stores("", std::path::Path::new("/nonexistent"));
    open(
        address,
        None,
        &granted(&[], hosts),
        &stores,
        &stores.bounds.share(),
    )
    .await
}

#[tokio::test]
async fn values_of_every_type_come_back() {
    let Some(server) = servers::postgres() else { return };
    let host = format!("postgres://127.0.0.1:{}", server.port);
    let address = format!("postgres://wrun:secret@127.0.0.1:{}/postgres", server.port);
    let connection = opened(&address, &[&host]).await.expect("a connection");
    let postgres = &connection.opened;
    let columns = [
        "bool",
        "\"char\"",
        "int2",
        "int4",
        "int8",
        "float4",
        "float8",
        "text",
        "bytea",
        "date",
        "time",
        "timestamp",
        "uuid",
        "jsonb",
        "numeric",
        "int4range",
        "int8range",
        "numrange",
        "int4[]",
        "int8[]",
        "numeric[]",
        "text[]",
        "interval",
        "varchar(9)",
    ];
    let text = |text: &str| text.to_owned();
    let values = vec![
        Value::Boolean(true),
        Value::Int8(-5),
        Value::Int16(i16::MIN),
        Value::Int32(i32::MIN),
        Value::Int64(i64::MIN),
        Value::Floating32(1.5),
        Value::Floating64(-2.25e-10),
        Value::Str(text("ä'")),
        Value::Binary(vec![0, 255]),
        Value::Date((-3, 2, 28)),
        Value::Time((23, 59, 58, 123_456_000)),
        Value::Datetime((2024, 2, 29, 1, 2, 3, 4000)),
        Value::Uuid(text("01234567-89ab-cdef-0123-456789abcdef")),
        Value::Jsonb(b"{\"a\": [1, null]}".to_vec()),
        Value::Decimal(text("-12345678901234567890.0012")),
        Value::RangeInt32(Some((1, true)), Some((5, false))),
        Value::RangeInt64(None, Some((7, false))),
        Value::RangeDecimal(Some((text("0.5"), false)), Some((text("10"), true))),
        Value::ArrayInt32(vec![Some(1), None, Some(-3)]),
        Value::ArrayInt64(Vec::new()),
        Value::ArrayDecimal(vec![Some(text("1.50"))]),
        Value::ArrayStr(vec![Some(text("a\"b,{}\\")), Some(text("NULL")), None]),
        Value::Interval {
            micros: -1,
            days: 2,
            months: -3,
        },
        Value::Str(text("short")),
    ];
    let table: Vec<String> = columns
        .iter()
        .enumerate()
        .map(|(at, ty)| format!("c{at} {ty}"))
        .collect();
    let make = format!("CREATE TABLE t ({})", table.join(", "));
    postgres.execute(make, Vec::new()).await.expect("made");
    let places: Vec<String> = (1..=columns.len()).map(|at| format!("${at}")).collect();
    let insert = format!("INSERT INTO t VALUES ({})", places.join(", "));
    assert_eq!(postgres.execute(insert.clone(), values.clone()).await, Ok(1));
    let nulls = vec![Value::Null; columns.len()];
    assert_eq!(postgres.execute(insert, nulls.clone()).await, Ok(1));
    let found = postgres
        .query(text("SELECT * FROM t ORDER BY c0"), Vec::new())
        .await
        .expect("rows");
    assert_eq!(found.rows, [values, nulls]);
    assert_eq!(
        (found.columns[3].name.as_str(), found.columns[3].ty.name()),
        ("c3", "int4")
    );

    let query = |statement: &str, values: Vec<Value>| postgres.query(statement.to_owned(), values);
    let zoned = query("SELECT $1::timestamptz", vec![Value::Timestamp(951_782_400)])
        .await
        .expect("a row");
    assert_eq!(zoned.rows, [[Value::Datetime((2000, 2, 29, 0, 0, 0, 0))]]);
    let none = query("SELECT 1 WHERE false", Vec::new()).await.expect("no rows");
    assert_eq!((none.columns.len(), none.rows.len()), (1, 0));
    let other = query("SELECT point(1, 2)", Vec::new()).await.expect("a row");
    assert!(matches!(&other.rows[0][0], Value::Unsupported(bytes) if bytes.len() == 16));
    let old = rdbms::RowSet::from(other);
    assert_eq!(
        (old.columns[0].1, &old.rows[0][0]),
        (rdbms::Kind::Other, &rdbms::Value::Unsupported)
    );
    let infinite = query("SELECT 'infinity'::date", Vec::new()).await;
    assert!(
        matches!(&infinite, Err(Error::ValueConversionFailed(_))),
        "{infinite:?}"
    );
    let mixed = query("SELECT $1::int4", vec![Value::Str(text("1"))]).await;
    assert!(matches!(&mixed, Err(Error::QueryFailed(..))), "{mixed:?}");
    let wrong = query("SELECT * FROM nothing", Vec::new()).await;
    let Err(Error::QueryFailed(said, Some(server_error))) = wrong else {
        panic!("{wrong:?}")
    };
    assert!(said.contains("\"nothing\" does not exist"), "{said}");
    assert_eq!(
        (server_error.code.as_str(), server_error.severity.as_str()),
        ("42P01", "ERROR")
    );
    let denied = opened(&address.replace("secret", "wrong"), &[&host])
        .await
        .map(|_| ());
    assert!(
        matches!(&denied, Err(Error::ConnectionFailed(text)) if text.contains("password")),
        "{denied:?}"
    );
}

#[tokio::test]
async fn addresses_lead_only_where_they_may() {
    let all = &["*://*:*"][..];
    for (address, hosts, expected) in [
        (
            "postgres://u@127.0.0.1:1/d",
            &["postgres://127.0.0.1:2"][..],
            "address postgres://127.0.0.1:1 is not permitted",
        ),
        (
            "host=db user=u",
            &["postgres://127.0.0.1"],
            "address postgres://db:5432 is not permitted",
        ),
        (
            "host=127.0.0.1,other port=1 user=u",
            &["postgres://127.0.0.1:1"],
            "address postgres://other:1 is not permitted",
        ),
        (
            "host=127.0.0.1 hostaddr=10.0.0.1 user=u",
            all,
            "hostaddr is not supported; name the host",
        ),
        (
            "host=/run/postgresql user=u",
            all,
            "/run/postgresql: unix sockets are not supported",
        ),
        (
            "host=a target_session_attrs=read-write user=u",
            all,
            "target_session_attrs is not supported",
        ),
        ("user=u", all, "the address names no host"),
    ] {
        let outcome = opened(address, hosts).await.map(|_| ());
        assert_eq!(outcome, Err(failed(expected)), "{address}");
    }
    let outcome = opened("nonsense", all).await.map(|_| ());
    assert!(matches!(&outcome, Err(Error::ConnectionFailed(_))), "{outcome:?}");
}

#[test]
fn the_older_generations_have_no_unsigned_numbers() {
    let outcome = parameters(vec![rdbms::Value::Int32(1), rdbms::Value::Uint8(1)]);
    assert!(matches!(outcome, Err(Error::ValueConversionFailed(_))));
    let good = parameters(vec![rdbms::Value::Int32(1), rdbms::Value::Null]);
    assert_eq!(good, Ok(vec![Value::Int32(1), Value::Null]));
}

#[tokio::test]
async fn with_tls_a_server_is_who_it_is_to_be() {
    let Some(authority) = Authority::new() else { return };
    let Some(server) = servers::postgres_with(Some(&authority)) else {
        return;
    };
    let try_with = async |host: &str, trust: Option<Trust>, trusted: &[&str], settings: &str| {
        let stores = trusting(&authority.root, trusted);
        let address = format!(
            "host={host} port={} user=wrun password=secret dbname=postgres {settings}",
            server.port
        );
        let grants = granted(&[], &[&format!("postgres://{host}:{}", server.port)]);
        let connection = open(&address, trust, &grants, &stores, &stores.bounds.share()).await?;
        let asked = "SELECT ssl::text FROM pg_stat_ssl WHERE pid = pg_backend_pid()".to_owned();
        Ok(connection.opened.query(asked, Vec::new()).await?.rows)
    };
    let secure = Ok(vec![vec![Value::Str("true".to_owned())]]);
    let own = ["127.0.0.1"];
    for settings in ["sslmode=require", "", "sslmode=require channel_binding=require"] {
        assert_eq!(
            try_with("127.0.0.1", None, &own, settings).await,
            secure,
            "{settings}"
        );
    }
    let named = Trust::new(authority.root.as_bytes(), true).expect("a root");
    assert_eq!(
        try_with("127.0.0.1", Some(named), &[], "sslmode=require").await,
        secure
    );
    for (host, trusted, settings, told) in [
        ("localhost", &["localhost"][..], "", "not valid for name"),
        ("127.0.0.1", &["localhost"], "", "UnknownIssuer"),
        ("127.0.0.1", &own, "sslmode=disable", "no encryption"),
    ] {
        let failure = try_with(host, None, trusted, settings).await;
        assert!(
            matches!(&failure, Err(Error::ConnectionFailed(text)) if text.contains(told)),
            "{host}: {failure:?}"
        );
    }
}

#[tokio::test]
async fn a_server_without_tls_is_told_where_it_must_have_it() {
    let Some(server) = servers::postgres() else { return };
    let host = format!("postgres://127.0.0.1:{}", server.port);
    let address = format!(
        "postgres://wrun:secret@127.0.0.1:{}/postgres?sslmode=require",
        server.port
    );
    let failure = opened(&address, &[&host]).await.map(|_| ());
    let is_told = |failure: Result<(), Error>| {
        assert!(
            matches!(&failure, Err(Error::ConnectionFailed(text)) if text.contains("does not support TLS")),
            "{failure:?}"
        );
    };
    is_told(failure);
    // It must as well where it was said by whom it is to be known, unless the address does without.
    let Some(authority) = Authority::new() else { return };
    let root = || Trust::new(authority.root.as_bytes(), false).expect("a root");
    let address = address.replace("?sslmode=require", "");
    for (trust, hosts) in [(Some(root()), &[][..]), (None, &["127.0.0.1"])] {
        let (stores, grants) = (trusting(&authority.root, hosts), granted(&[], &[&host]));
        let share = stores.bounds.share();
        let failure = open(&address, trust.clone(), &grants, &stores, &share).await;
        is_told(failure.map(|_| ()));
        let plain = format!("{address}?sslmode=disable");
        let connection = open(&plain, trust, &grants, &stores, &share).await;
        connection.expect("it was asked for");
    }
}

#[tokio::test]
async fn rows_are_held_as_what_they_are_here() {
    let Some(server) = servers::postgres() else { return };
    let address = format!("postgres://wrun:secret@127.0.0.1:{}/postgres", server.port);
    let connection = opened(&address, &[&format!("postgres://127.0.0.1:{}", server.port)]).await;
    let connection = connection.expect("a connection");
    let mut opened = connection.opened.clone();
    opened.bounds = Bounds::new(Some(1 << 20), None);
    let nulls = |count: usize| {
        opened.query(
            format!("SELECT NULL::int4, NULL::text FROM generate_series(1, {count})"),
            Vec::new(),
        )
    };
    let most = opened.bounds.call_bytes;
    let others = opened.bounds.held(3 * most + most / 2).expect("what others have");
    let error = nulls(6000).await.expect_err("more than is left");
    assert!(
        matches!(&error, Error::QueryFailed(text, None) if text.contains("all calls")),
        "{error:?}"
    );
    drop(others);
    assert_eq!(nulls(6000).await.expect("rows").rows.len(), 6000);
    // And none of it once they are taken.
    opened.bounds.held(4 * most).expect("all of it");
}
