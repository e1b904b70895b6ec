//! What is read, and what is wrong.

use super::*;

#[test]
fn stores_and_databases_are_read() {
    let config = RuntimeConfig::parse(
        r#"
        state_dir = "state"
        max_instance_memory = 1048576
        outbound_networking = { max_total_connections = 7 }
        [key_value_store.default]
        type = "spin"
        path = "kv.db"
        [key_value_store.cache]
        type = "redis"
        url = "redis://cache:6379"
        [key_value_store.memory]
        type = "spin"
        [sqlite_database.default]
        type = "spin"
        path = "/data/db.db"
        allow_attach_file = false
        "#,
    )
    .expect("good");
    assert_eq!(config.state_dir, Some("state".into()));
    assert_eq!(
        (config.max_instance_memory, config.max_connections),
        (Some(1 << 20), Some(7))
    );
    let path = |path: &str| KeyValueStore::Sqlite {
        path: Some(path.into()),
    };
    assert_eq!(config.key_value_stores["default"], path("kv.db"));
    assert_eq!(
        config.key_value_stores["memory"],
        KeyValueStore::Sqlite { path: None }
    );
    let url = "redis://cache:6379".to_owned();
    assert_eq!(config.key_value_stores["cache"], KeyValueStore::Redis { url });
    assert_eq!(
        config.sqlite_databases["default"].path,
        Some("/data/db.db".into())
    );
    assert_eq!(RuntimeConfig::parse("").expect("empty"), RuntimeConfig::default());
    assert_eq!(
        RuntimeConfig::parse("log_dir = \"\"").expect("none"),
        RuntimeConfig::default()
    );
}

#[test]
fn roots_are_those_of_the_file_where_nothing_else_is_said() {
    let of = |more: &str| {
        let text = format!("[[client_tls]]\ncomponent_ids = ['a']\nhosts = ['db.test']\n{more}");
        let config = RuntimeConfig::parse(&text).expect("good");
        (config.client_tls[0].roots.is_some(), config.client_tls[0].usual)
    };
    assert_eq!(of(""), (false, true));
    assert_eq!(of("ca_roots_file = 'a'"), (true, false));
    assert_eq!(
        of("ca_roots_file = 'a'\nca_use_webpki_roots = true"),
        (true, true)
    );
    assert_eq!(
        of("ca_roots_file = 'a'\nca_use_platform_roots = true"),
        (true, true)
    );
    assert_eq!(
        of("ca_use_platform_roots = false\nca_use_webpki_roots = true"),
        (false, true)
    );
}

#[test]
fn there_are_only_so_many_stores() {
    let of = |count| {
        let store = |at| format!("[key_value_store.a{at}]\ntype = \"spin\"\n");
        RuntimeConfig::parse(&(0..count).map(store).collect::<String>())
    };
    assert_eq!(of(MAX_LABELS).expect("good").key_value_stores.len(), 256);
    let error = of(MAX_LABELS + 1).expect_err("too many").to_string();
    assert_eq!(error, "key_value_store: there are 257, and at most 256 are kept");
}

#[test]
fn what_is_wrong_is_named() {
    for (text, expected) in [
        ("a = ", "is not TOML: line 1: "),
        ("x = 1", "x: there is no such key"),
        (
            "log_dir = \"logs\"",
            "log_dir: what components write goes to the container's output; remove it",
        ),
        (
            "[llm_compute]\ntype = \"spin\"",
            "llm_compute: there are no models here; remove it",
        ),
        ("state_dir = 1", "state_dir: must be a string, not integer"),
        (
            "max_instance_memory = -1",
            "max_instance_memory: must be a number that is not negative",
        ),
        (
            "max_instance_memory = 0",
            "max_instance_memory: must be a number of bytes that is not 0",
        ),
        (
            "key_value_store = 1",
            "key_value_store: must be a table, not integer",
        ),
        (
            "[key_value_store]\na = 1",
            "key_value_store.a: must be a table, not integer",
        ),
        ("[key_value_store.a]", "key_value_store.a: lacks `type`"),
        (
            "[key_value_store.a]\ntype = \"azure_cosmos\"",
            "key_value_store.a.type: stores of type `azure_cosmos` are not supported; only `spin` and `redis` are",
        ),
        (
            "[key_value_store.a]\ntype = \"redis\"",
            "key_value_store.a: lacks `url`",
        ),
        (
            "[key_value_store.a]\ntype = \"spin\"\nurl = \"x\"",
            "key_value_store.a.url: there is no such key",
        ),
        (
            "[key_value_store.a]\ntype = \"spin\"\npath = \"\"",
            "key_value_store.a.path: is empty",
        ),
        (
            "[sqlite_database.a]\ntype = \"libsql\"",
            "sqlite_database.a.type: databases of type `libsql` are not supported; only `spin` is",
        ),
        (
            "[sqlite_database.a]\ntype = \"spin\"\nallow_attach_file = true",
            "sqlite_database.a.allow_attach_file: a database cannot attach files here; remove it",
        ),
        ("client_tls = 1", "client_tls: must be tables, as [[client_tls]]"),
        (
            "[[client_tls]]\ncomponent_ids = []\nhosts = [\"a\"]",
            "client_tls[0].component_ids: must be a list of strings that is not empty",
        ),
        (
            "client_tls = [{ component_ids = [\"a\"], hosts = [\"a:1\"] }]",
            "client_tls[0].hosts: \"a:1\" is neither a name nor an address; it has no port here",
        ),
        (
            "[[client_tls]]\nclient_cert_file = \"a\"",
            "client_tls[0].client_cert_file: client certificates are not supported; remove it",
        ),
        (
            "[[client_tls]]\ncomponent_ids = [\"a\"]\nhosts = [\"a\"]\nca_use_webpki_roots = false",
            "client_tls[0]: leaves no roots, so no server would be believed",
        ),
        (
            "[[client_tls]]\ncomponent_ids = [\"a\"]\nhosts = [\"a\"]\nca_roots_file = \"a\"\n\
             ca_use_platform_roots = true\nca_use_webpki_roots = false",
            "client_tls[0].ca_use_platform_roots: there are none of a platform here but Mozilla's",
        ),
        (
            "[outbound_networking]\nblock_networks = [\"private\"]",
            "outbound_networking.block_networks: it is not supported; only max_total_connections is",
        ),
    ] {
        let error = RuntimeConfig::parse(text).expect_err(text).to_string();
        assert!(error.starts_with(expected), "{text}: {error}");
    }
}
