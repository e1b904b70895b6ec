//! What statements can do, and what not.

use std::path::Path;

use super::*;
use crate::workload::wasm::spin::host::Trusts;
use crate::workload::wasm::spin::host::tests::{granted, stores};
use crate::workload::wasm::spin::runtime_config::RuntimeConfig;

async fn opened(stores: &Stores) -> Database {
    let grants = granted(&["default"], &[]);
    open("default", &grants, stores, &stores.bounds.share())
        .await
        .expect("a database")
}

async fn run(database: &Database, statement: &str) -> Result<Rows, Error> {
    database.opened.execute(statement.to_owned(), Vec::new()).await
}

/// What a statement fails with, which has to be told with the statement.
async fn error(database: &Database, statement: &str) -> String {
    match run(database, statement).await {
        Err(Error::Io(text)) => text,
        other => panic!("{statement}: {other:?}"),
    }
}

#[tokio::test]
async fn values_of_every_type_come_back() {
    let directory = tempfile::tempdir().expect("a directory");
    let stores = stores("", directory.path());
    let database = opened(&stores).await;
    run(&database, "CREATE TABLE t (a, b, c, d, e)")
        .await
        .expect("made");
    let values = vec![
        Value::Integer(i64::MIN),
        Value::Real(1.5),
        Value::Text("ä".to_owned()),
        Value::Blob(vec![0, 255]),
        Value::Null,
    ];
    let insert = "INSERT INTO t VALUES (?, ?, ?, ?, ?)".to_owned();
    let none = database
        .opened
        .execute(insert.clone(), values.clone())
        .await
        .expect("inserted");
    assert_eq!((none.columns.len(), none.rows.len()), (0, 0));
    let rows = run(&database, "SELECT * FROM t").await.expect("rows");
    assert_eq!(rows.columns, ["a", "b", "c", "d", "e"]);
    assert_eq!(rows.rows, [values]);
    assert_eq!(database.opened.last_insert_rowid().await, Ok(1));
    assert_eq!(database.opened.changes().await, Ok(1));
    let few = database.opened.execute(insert, vec![Value::Null]).await;
    assert!(matches!(few, Err(Error::Io(_))), "{few:?}");
    assert!(error(&database, "SELEC 1").await.contains("syntax error"));
    assert!(
        error(&database, "SELECT CAST(x'ff' AS TEXT)")
            .await
            .contains("UTF-8")
    );
}

#[tokio::test]
async fn a_connection_has_transactions_of_its_own() {
    let directory = tempfile::tempdir().expect("a directory");
    let stores = stores("", directory.path());
    let (one, other) = (opened(&stores).await, opened(&stores).await);
    run(&one, "CREATE TABLE t (a)").await.expect("made");
    run(&one, "BEGIN").await.expect("begun");
    run(&one, "INSERT INTO t VALUES (1)").await.expect("inserted");
    assert_eq!(run(&other, "SELECT * FROM t").await.expect("rows").rows.len(), 0);
    run(&one, "COMMIT").await.expect("committed");
    assert_eq!(run(&other, "SELECT * FROM t").await.expect("rows").rows.len(), 1);
    run(&one, "BEGIN").await.expect("begun");
    run(&one, "DELETE FROM t").await.expect("deleted");
    // What was not committed is undone.
    drop(one);
    assert_eq!(run(&other, "SELECT * FROM t").await.expect("rows").rows.len(), 1);
    assert!(directory.path().join(".spin/sqlite_db.db").is_file());
}

#[tokio::test]
async fn nothing_outside_of_the_database_is_reached() {
    let directory = tempfile::tempdir().expect("a directory");
    let elsewhere = directory.path().join("elsewhere.db");
    let stores = stores("", directory.path());
    let database = opened(&stores).await;
    let file = elsewhere.display();
    for statement in [
        format!("ATTACH '{file}' AS other"),
        format!("ATTACH '{file}' || '' AS other"),
        format!("ATTACH (SELECT '{file}') AS other"),
        format!("ATTACH 'file:{file}?mode=rwc' AS other"),
        "ATTACH 'file::memory:?cache=shared' AS other".to_owned(),
        format!("VACUUM INTO '{file}'"),
        format!("VACUUM INTO '{file}' || ''"),
        format!("SELECT load_extension('{file}')"),
        "PRAGMA temp_store_directory = '/tmp'".to_owned(),
        "PRAGMA temp_store = FILE".to_owned(),
        "pragma Hard_Heap_Limit = 0".to_owned(),
        "PRAGMA mmap_size = 1000000".to_owned(),
        "PRAGMA threads = 8".to_owned(),
        "PRAGMA busy_timeout = 1000000".to_owned(),
        "PRAGMA cache_size = -1000000".to_owned(),
        "PRAGMA main.cache_size = 1000000".to_owned(),
        "PRAGMA cache_spill = 0".to_owned(),
        "PRAGMA max_page_count = 1000000".to_owned(),
        "PRAGMA temp.max_page_count = 1000000".to_owned(),
        "PRAGMA page_size = 65536".to_owned(),
        // Those in memory take from what all have.
        "ATTACH ':memory:' AS other".to_owned(),
        "ATTACH '' AS other".to_owned(),
        "PRAGMA trusted_schema = 1".to_owned(),
        "PRAGMA writable_schema = 1".to_owned(),
        "SELECT * FROM pragma_hard_heap_limit(0)".to_owned(),
    ] {
        let text = error(&database, &statement).await;
        let refused = ["authoriz", "prohibited", "too many arguments"];
        assert!(
            refused.iter().any(|refused| text.contains(refused)),
            "{statement}: {text}"
        );
    }
    let bound = database
        .opened
        .execute(
            "ATTACH ? AS other".to_owned(),
            vec![Value::Text(file.to_string())],
        )
        .await;
    assert!(
        matches!(&bound, Err(Error::Io(text)) if text.contains("authoriz")),
        "{bound:?}"
    );
    assert!(!elsewhere.exists());
    let files: Vec<_> = std::fs::read_dir(directory.path())
        .expect("a directory")
        .flatten()
        .collect();
    assert_eq!(files.len(), 1, "{files:?}");
    // What is its own goes.
    for statement in [
        "CREATE TABLE t (a)",
        "CREATE TEMP TABLE u (a)",
        "VACUUM",
        "PRAGMA page_size",
        "PRAGMA foreign_keys = ON",
        "PRAGMA table_info(t)",
        "PRAGMA journal_mode = WAL",
        "CREATE VIRTUAL TABLE f USING fts5(x)",
    ] {
        run(&database, statement)
            .await
            .unwrap_or_else(|error| panic!("{statement}: {error:?}"));
    }
    let schema = error(&database, "DELETE FROM sqlite_master").await;
    assert!(schema.contains("may not be modified"), "{schema}");
}

#[tokio::test]
async fn a_component_has_no_database_that_it_was_not_granted() {
    let directory = tempfile::tempdir().expect("a directory");
    let stores = stores("", directory.path());
    let share = stores.bounds.share();
    let outcome = open("default", &granted(&["other"], &[]), &stores, &share)
        .await
        .map(|_| ());
    assert_eq!(outcome, Err(Error::AccessDenied));
    let outcome = open("other", &granted(&["other"], &[]), &stores, &share)
        .await
        .map(|_| ());
    assert_eq!(outcome, Err(Error::NoSuchDatabase));
    assert!(!directory.path().join(".spin").exists());
}

#[tokio::test]
async fn results_and_memory_have_their_limits() {
    let directory = tempfile::tempdir().expect("a directory");
    // As little as there is: 1 MiB for a call.
    let stores = Stores::new(
        &RuntimeConfig::default(),
        Trusts::default(),
        directory.path(),
        Some(1),
    )
    .expect("stores");
    let database = opened(&stores).await;
    let endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)";
    let text = error(&database, &format!("{endless} SELECT i FROM n")).await;
    assert!(text.contains("1048576"), "{text}");
    let text = error(&database, "SELECT zeroblob(2000000)").await;
    assert!(text.contains("too big"), "{text}");
    let text = error(&database, &format!("SELECT '{}'", "x".repeat(2_000_000))).await;
    assert!(text.contains("too long"), "{text}");
}

/// It does not go on behind the back of a guest that is gone.
#[tokio::test]
async fn a_statement_ends_with_those_who_wait_for_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let stores = stores("", directory.path());
    let database = opened(&stores).await;
    let opened = database.opened.clone();
    let endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n";
    let waiting = tokio::spawn(async move { opened.execute(endless.to_owned(), Vec::new()).await });
    // Others are not held up by it.
    let other = self::opened(&stores).await;
    run(&other, "SELECT 1").await.expect("a row");
    let began = Instant::now();
    waiting.abort();
    waiting.await.expect_err("given up");
    run(&database, "SELECT 1")
        .await
        .expect("the connection is free again");
    assert!(
        began.elapsed() < STATEMENT_TIME / 3,
        "it went on to the end of its time"
    );
}

/// Not even begun, where it was still waiting for a thread.
#[tokio::test]
async fn a_statement_that_waits_for_its_turn_is_given_up_too() {
    let directory = tempfile::tempdir().expect("a directory");
    let stores = stores("", directory.path());
    let database = opened(&stores).await;
    run(&database, "CREATE TABLE t (a)").await.expect("made");
    let watch = database.opened.watch.clone();
    let slot = Arc::clone(&database.opened.slot).lock_owned().await;
    let call = watch.begin();
    assert!(!watch.left());
    watch.leave(call);
    assert!(watch.left(), "whoever begins it sees that");
    drop(slot);
    run(&database, "INSERT INTO t VALUES (1)")
        .await
        .expect("the next is another");
}

/// Those who wait for a lock need no thread for it.
#[tokio::test]
async fn many_who_wait_for_a_lock_hold_up_nobody() {
    let directory = tempfile::tempdir().expect("a directory");
    let stores = stores("", directory.path());
    let holder = opened(&stores).await;
    run(&holder, "CREATE TABLE t (a)").await.expect("made");
    run(&holder, "BEGIN EXCLUSIVE").await.expect("begun");
    let mut waiting = Vec::new();
    for _ in 0..9 {
        let database = opened(&stores).await;
        waiting.push(tokio::spawn(async move {
            run(&database, "INSERT INTO t VALUES (1)").await
        }));
    }
    // The holder's own statements have their turn, and end the waiting.
    run(&holder, "INSERT INTO t VALUES (0)")
        .await
        .expect("not held up");
    run(&holder, "COMMIT").await.expect("not held up");
    for waiting in waiting {
        waiting.await.expect("no panic").expect("in the end");
    }
    let rows = run(&holder, "SELECT count(*) FROM t").await.expect("rows");
    assert_eq!(rows.rows, [[Value::Integer(10)]]);
}

/// Whoever cannot go on before another has, and the other not before them, is told at once.
#[tokio::test]
async fn two_who_wait_for_each_other_do_not_wait() {
    let directory = tempfile::tempdir().expect("a directory");
    let stores = stores("", directory.path());
    let (one, other) = (opened(&stores).await, opened(&stores).await);
    run(&one, "CREATE TABLE t (a)").await.expect("made");
    for database in [&one, &other] {
        run(database, "BEGIN").await.expect("begun");
        run(database, "SELECT * FROM t").await.expect("read");
    }
    run(&one, "INSERT INTO t VALUES (1)").await.expect("inserted");
    let began = Instant::now();
    let text = error(&other, "INSERT INTO t VALUES (2)").await;
    assert!(text.contains("locked"), "{text}");
    assert!(began.elapsed() < BUSY_TIME, "it waited");
    run(&other, "ROLLBACK").await.expect("undone");
    run(&one, "COMMIT").await.expect("committed");
}

/// Where it may take all that there is, others have none.
#[tokio::test]
async fn tables_in_memory_have_their_size() {
    let directory = tempfile::tempdir().expect("a directory");
    let stores = Stores::new(
        &RuntimeConfig::default(),
        Trusts::default(),
        directory.path(),
        Some(1),
    )
    .expect("stores");
    let database = opened(&stores).await;
    run(&database, "CREATE TEMP TABLE t (a)").await.expect("made");
    let fill = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 20) \
                INSERT INTO t SELECT zeroblob(100000) FROM n";
    assert_eq!(run(&database, fill).await, Err(Error::DatabaseFull));
    run(&opened(&stores).await, "CREATE TABLE u (a)")
        .await
        .expect("there is memory for others");
}

#[tokio::test]
async fn patterns_and_values_are_short_enough_to_be_ended() {
    let directory = tempfile::tempdir().expect("a directory");
    let stores = stores("", directory.path());
    let database = opened(&stores).await;
    let text = error(&database, "SELECT instr(zeroblob(64000000), x'01')").await;
    assert!(text.contains("too big"), "{text}");
    let pattern = format!("SELECT 'a' LIKE '{}'", "%a".repeat(1000));
    let text = error(&database, &pattern).await;
    assert!(text.contains("too complex"), "{text}");
}

#[tokio::test]
async fn a_statement_ends_when_its_time_is_over() {
    let mut connection = Place::Memory.open(&Bounds::new(None, None)).expect("a database");
    let watch = Watch::default();
    guard::confine(&mut connection, &Bounds::new(None, None), &watch).expect("confined");
    watch.set_deadline(Instant::now() + Duration::from_millis(50));
    let endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n";
    let outcome = execute(&connection, &Bounds::new(None, None), &watch, endless, &[]);
    assert_eq!(
        outcome.map_err(|failed| failed.error),
        Err(Error::Io("interrupted".to_owned()))
    );
    assert!(watch.passed());
}

#[test]
fn a_file_is_named_where_it_cannot_be_opened() {
    let place = Place::File(Path::new("/proc/nothing/here.db").to_owned());
    let error = place
        .open(&Bounds::new(None, None))
        .expect_err("no such directory");
    assert!(error.starts_with("/proc/nothing/here.db: "), "{error}");
}

/// Not one of the host that happens to be linked in its place.
#[test]
fn the_library_is_the_one_that_comes_along() {
    let expected = ffi::SQLITE_VERSION.to_str().expect("a text");
    assert_eq!(rusqlite::version(), expected);
}

/// What recurses is bounded so that a thread's stack is enough: where it is not, all calls end with the process.
#[tokio::test]
async fn no_statement_takes_more_of_the_stack_than_there_is() {
    let directory = tempfile::tempdir().expect("a directory");
    let stores = stores("", directory.path());
    let database = opened(&stores).await;
    run(&database, "CREATE VIEW v0 AS SELECT 1 AS a")
        .await
        .expect("made");
    for depth in 1..1200 {
        let view = format!(
            "CREATE VIEW v{depth} AS SELECT a + 1 AS a FROM v{} LIMIT 9",
            depth - 1
        );
        run(&database, &view).await.expect("made");
    }
    for depth in [100, 300, 600, 900, 990, 1100, 100_000] {
        let nested = |open: &str, most: &str, close: &str| {
            let depth = depth.min((1 << 19) / (open.len() + close.len()));
            format!("SELECT {}{most}{}", open.repeat(depth), close.repeat(depth))
        };
        for statement in [
            format!("SELECT * FROM v{}", depth.min(1199)),
            format!(
                "SELECT (SELECT max(a) FROM v{0}) FROM v{0} WHERE a IN (SELECT a FROM v{0})",
                depth.min(1199)
            ),
            nested("(", "1", ")"),
            nested("-", "1", ""),
            nested("NOT ", "1", ""),
            nested("(SELECT ", "1", ")"),
            nested("* FROM (SELECT ", "1", ")"),
            nested("* FROM (SELECT DISTINCT ", "1", " LIMIT 9)"),
            nested("EXISTS (SELECT ", "1", ")"),
            nested("1 IN (SELECT ", "1", ")"),
            nested("(WITH c AS (SELECT ", "1", ") SELECT * FROM c)"),
            nested("* FROM (VALUES ((SELECT ", "1", ")))"),
            nested("abs(", "1", ")"),
            nested("CASE WHEN 1 THEN ", "1", " END"),
            nested("1 UNION SELECT ", "1", ""),
            nested("1 + ", "1", ""),
            nested("json_array(", "1", ")"),
            nested("max(1, (SELECT sum(x) OVER () FROM (SELECT ", "1 AS x", ")))"),
        ] {
            // Whatever comes of it.
            let _ = run(&database, &statement).await;
        }
    }
}
