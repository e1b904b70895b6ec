//! Stores, wherever their values are.

use std::path::Path;

use super::*;
use crate::workload::wasm::spin::host::tests::{granted, stores};
use crate::workload::wasm::spin::host::{Trusts, servers};

fn opened(label: &str, stores: &Stores) -> Opened {
    let grants = granted(&[label], &[]);
    open(label, &grants, stores, &stores.bounds.share())
        .expect("a store")
        .opened
}

fn key(number: u32) -> String {
    format!("key-{number}")
}

/// What every store can do.
async fn use_it(store: &Opened) {
    assert_eq!(store.get(key(1)).await, Ok(None));
    assert_eq!(store.exists(key(1)).await, Ok(false));
    store.set(key(1), b"one".to_vec()).await.expect("set");
    store.set(key(1), b"two".to_vec()).await.expect("set again");
    store.set(key(2), Vec::new()).await.expect("set to nothing");
    assert_eq!(store.get(key(1)).await, Ok(Some(b"two".to_vec())));
    assert_eq!(store.get(key(2)).await, Ok(Some(Vec::new())));
    assert_eq!(store.exists(key(2)).await, Ok(true));
    let mut keys = store.keys().await.expect("keys");
    keys.sort();
    assert_eq!(keys, [key(1), key(2)]);
    store.delete(key(2)).await.expect("deleted");
    store.delete(key(2)).await.expect("there is nothing to delete");
    assert_eq!(store.exists(key(2)).await, Ok(false));

    store
        .set_many(vec![(key(3), b"3".to_vec()), (key(4), b"4".to_vec())])
        .await
        .expect("set");
    let values = store
        .get_many(vec![key(4), key(9), key(3)])
        .await
        .expect("values");
    let expected = [
        (key(4), Some(b"4".to_vec())),
        (key(9), None),
        (key(3), Some(b"3".to_vec())),
    ];
    assert_eq!(values, expected);
    assert_eq!(store.increment(key(3), 4).await, Ok(7));
    assert_eq!(store.increment(key(5), -2).await, Ok(-2));
    assert_eq!(store.get(key(5)).await, Ok(Some(b"-2".to_vec())));
    store.increment(key(1), 1).await.expect_err("no number");
    store
        .delete_many(vec![key(3), key(4), key(5)])
        .await
        .expect("deleted");
    assert_eq!(store.keys().await, Ok(vec![key(1)]));

    assert_eq!(
        store.swap(key(1), seen(Some(b"one")), b"x".to_vec()).await,
        Ok(false)
    );
    assert_eq!(
        store.swap(key(1), seen(Some(b"two")), b"x".to_vec()).await,
        Ok(true)
    );
    assert_eq!(
        store.swap(key(6), seen(Some(b"")), b"x".to_vec()).await,
        Ok(false)
    );
    assert_eq!(store.swap(key(6), None, b"y".to_vec()).await, Ok(true));
    assert_eq!(store.get(key(1)).await, Ok(Some(b"x".to_vec())));
    assert_eq!(store.get(key(6)).await, Ok(Some(b"y".to_vec())));
    for (values, deleted) in [(Vec::new(), Vec::new())] {
        store.set_many(values).await.expect("nothing to do");
        store.delete_many(deleted).await.expect("nothing to do");
    }
    assert_eq!(store.get_many(Vec::new()).await, Ok(Vec::new()));
}

#[tokio::test]
async fn a_store_in_a_file_outlives_those_who_use_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let first = stores("", directory.path());
    use_it(&opened("default", &first)).await;
    drop(first);
    assert!(directory.path().join(".spin/sqlite_key_value.db").is_file());
    let second = stores("", directory.path());
    assert_eq!(
        opened("default", &second).get(key(1)).await,
        Ok(Some(b"x".to_vec()))
    );
}

/// As Spin has made it.
#[tokio::test]
async fn a_store_of_spin_s_goes_on_being_used() {
    let directory = tempfile::tempdir().expect("a directory");
    std::fs::create_dir(directory.path().join(".spin")).expect("made");
    let path = directory.path().join(".spin/sqlite_key_value.db");
    let theirs = rusqlite::Connection::open(&path).expect("a database");
    theirs
        .execute_batch(
            "CREATE TABLE spin_key_value (store TEXT NOT NULL, key TEXT NOT NULL, value BLOB NOT NULL, \
             PRIMARY KEY (store, key)); INSERT INTO spin_key_value VALUES ('default', 'k', x'0102')",
        )
        .expect("made");
    let stores = stores("", directory.path());
    let store = opened("default", &stores);
    assert_eq!(store.get("k".to_owned()).await, Ok(Some(vec![1, 2])));
    store.set("l".to_owned(), vec![3]).await.expect("set");
    let value: Vec<u8> = theirs
        .query_row(
            "SELECT value FROM spin_key_value WHERE store = 'default' AND key = 'l'",
            [],
            |row| row.get(0),
        )
        .expect("a value");
    assert_eq!(value, [3]);
}

#[tokio::test]
async fn stores_in_one_file_are_two() {
    let directory = tempfile::tempdir().expect("a directory");
    let config = "[key_value_store.a]\ntype = \"spin\"\npath = \"one.db\"\n\
                  [key_value_store.b]\ntype = \"spin\"\npath = \"one.db\"\n\
                  [key_value_store.memory]\ntype = \"spin\"";
    let stores = stores(config, directory.path());
    let (a, b) = (opened("a", &stores), opened("b", &stores));
    a.set(key(1), vec![1]).await.expect("set");
    assert_eq!(b.get(key(1)).await, Ok(None));
    b.set(key(1), vec![2]).await.expect("set");
    assert_eq!(a.get(key(1)).await, Ok(Some(vec![1])));
    use_it(&opened("memory", &stores)).await;
    assert_eq!(
        opened("memory", &stores).get(key(1)).await,
        Ok(Some(b"x".to_vec())),
        "the same for all"
    );
    assert!(!directory.path().join(".spin").exists());
}

#[tokio::test]
async fn a_component_has_no_store_that_it_was_not_granted() {
    let directory = tempfile::tempdir().expect("a directory");
    let stores = stores("", directory.path());
    let share = stores.bounds.share();
    let none = open("default", &granted(&["other"], &[]), &stores, &share).map(|_| ());
    assert_eq!(none, Err(Error::AccessDenied));
    let none = open("other", &granted(&["other"], &[]), &stores, &share).map(|_| ());
    assert_eq!(none, Err(Error::NoSuchStore));
}

#[tokio::test]
async fn keys_and_values_have_their_limits() {
    let config = crate::workload::wasm::spin::runtime_config::RuntimeConfig::default();
    let directory = tempfile::tempdir().expect("a directory");
    // As little as there is: 1 MiB for a call.
    let stores = Stores::new(&config, Trusts::default(), directory.path(), Some(1)).expect("stores");
    let store = opened("default", &stores);
    store
        .set("k".repeat(LONGEST_KEY), vec![0; 1000])
        .await
        .expect("within");
    store
        .set("k".repeat(LONGEST_KEY + 1), Vec::new())
        .await
        .expect_err("a key that is too long");
    store
        .set(key(1), vec![0; 1 << 20])
        .await
        .expect_err("a value that is too large");
    for number in 0..3 {
        store.set(key(number), vec![0; 500_000]).await.expect("within");
    }
    let many = (0..3).map(key).collect();
    let error = store
        .get_many(many)
        .await
        .expect_err("together they are too large");
    assert!(
        matches!(&error, Error::Other(text) if text.contains("1048576")),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_file_that_is_no_database_is_named() {
    let directory = tempfile::tempdir().expect("a directory");
    std::fs::create_dir(directory.path().join(".spin")).expect("made");
    let path = directory.path().join(".spin/sqlite_key_value.db");
    std::fs::write(&path, vec![b'x'; 8192]).expect("written");
    let stores = stores("", directory.path());
    let error = opened("default", &stores)
        .get(key(1))
        .await
        .expect_err("no database");
    assert_eq!(
        error,
        Error::Other(format!("{}: file is not a database", path.display()))
    );
    // Neither is one that is a link elsewhere.
    std::fs::remove_file(&path).expect("removed");
    std::os::unix::fs::symlink("/etc/passwd", &path).expect("a link");
    let error = opened("default", &stores).get(key(1)).await.expect_err("a link");
    assert!(
        matches!(&error, Error::Other(text) if text.contains("unable to open")),
        "{error:?}"
    );
}

#[tokio::test]
async fn many_instances_at_once_add_up() {
    let directory = tempfile::tempdir().expect("a directory");
    let stores = stores("", directory.path());
    let tasks: Vec<_> = (0..20)
        .map(|_| {
            let store = opened("default", &stores);
            tokio::spawn(async move {
                for _ in 0..5 {
                    store.increment(key(1), 1).await.expect("counted");
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("no panic");
    }
    assert_eq!(
        opened("default", &stores).get(key(1)).await,
        Ok(Some(b"100".to_vec()))
    );
}

#[tokio::test]
async fn a_store_on_redis() {
    let Some(server) = servers::redis() else { return };
    let config = format!(
        "[key_value_store.default]\ntype = \"redis\"\nurl = \"redis://:secret@127.0.0.1:{}/1\"",
        server.port
    );
    let stores = stores(&config, Path::new("/nonexistent"));
    use_it(&opened("default", &stores)).await;
    let wrong = config.replace("secret", "wrong");
    let stores = crate::workload::wasm::spin::host::tests::stores(&wrong, Path::new("/nonexistent"));
    let error = opened("default", &stores)
        .get(key(1))
        .await
        .expect_err("not let in");
    assert!(
        matches!(&error, Error::Other(text) if text.contains("assword")),
        "{error:?}"
    );
}

/// A server that was away does not have to be told of.
#[tokio::test]
async fn a_connection_that_broke_is_made_anew() {
    let Some(server) = servers::redis() else { return };
    let address = format!("redis://:secret@127.0.0.1:{}", server.port);
    let config = format!("[key_value_store.default]\ntype = \"redis\"\nurl = \"{address}\"");
    let stores = stores(&config, Path::new("/nonexistent"));
    let store = opened("default", &stores);
    store.set(key(1), vec![1]).await.expect("set");
    let other = crate::workload::wasm::spin::host::redis::Server::parse(&address).expect("an address");
    let allowance = crate::workload::wasm::spin::host::capped::Allowance::new(&stores.bounds);
    let (mut connection, _driver) = other
        .connect(&Trust::default(), allowance)
        .await
        .expect("a connection");
    let kill = ::redis::cmd("CLIENT")
        .arg("KILL")
        .arg("TYPE")
        .arg("normal")
        .to_owned();
    let _: u32 = kill.query_async(&mut connection).await.expect("killed");
    store.get(key(1)).await.expect_err("the connection is gone");
    assert_eq!(store.get(key(1)).await, Ok(Some(vec![1])));
}
