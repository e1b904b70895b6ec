//! The optional `/runtime-config.toml` of a Spin application: where its stores and databases are kept. Pure: text
//! in, plain data out. What is not supported is refused by its name, since what it asks for would be missing.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use toml_edit::{DocumentMut, Item, TableLike};

use super::host::{DATABASE_FILE, STATE, STORE_FILE};

/// What the file asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RuntimeConfig {
    /// Where stores and databases are that have no path of their own; relative to the application.
    pub state_dir: Option<PathBuf>,
    pub key_value_stores: BTreeMap<String, KeyValueStore>,
    pub sqlite_databases: BTreeMap<String, SqliteDatabase>,
    /// Bytes of memory that one instance may have.
    pub max_instance_memory: Option<u64>,
    /// Connections of all components together.
    pub max_connections: Option<u32>,
}

/// What a label of `key_value_stores` stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyValueStore {
    /// In a file, or in memory where there is none.
    Sqlite {
        path: Option<PathBuf>,
    },
    Redis {
        url: String,
    },
}

/// What a label of `sqlite_databases` stands for: a file, or memory where there is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SqliteDatabase {
    pub path: Option<PathBuf>,
}

/// What is wrong with the file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RuntimeConfigError {
    #[error("is not TOML: {0}")]
    Syntax(String),
    #[error("{key}: {reason}")]
    Value { key: String, reason: String },
}

/// Most stores, and most databases: the files of each are looked for.
const MAX_LABELS: usize = 256;

/// Tables that Spin knows, and why they are refused.
const UNSUPPORTED: [(&str, &str); 14] = [
    ("llm_compute", "there are no models here; remove it"),
    (
        "variables_provider",
        "variables come from the container's environment alone; remove it",
    ),
    (
        "variable_provider",
        "variables come from the container's environment alone; remove it",
    ),
    (
        "config_provider",
        "variables come from the container's environment alone; remove it",
    ),
    ("client_tls", "client certificates are not supported; remove it"),
    ("outbound_http", "it is not supported; remove it"),
    (
        "outbound_redis",
        "limits of one kind of connection are not supported; outbound_networking has one of all",
    ),
    (
        "outbound_pg",
        "limits of one kind of connection are not supported; outbound_networking has one of all",
    ),
    (
        "outbound_mysql",
        "limits of one kind of connection are not supported; outbound_networking has one of all",
    ),
    (
        "outbound_mqtt",
        "limits of one kind of connection are not supported; outbound_networking has one of all",
    ),
    (
        "log_dir",
        "what components write goes to the container's output; remove it",
    ),
    ("telemetry", "it is not supported; remove it"),
    ("otel", "it is not supported; remove it"),
    ("tls", "it is not supported; remove it"),
];

impl RuntimeConfig {
    /// Where stores and databases are that have no path of their own; relative to the application.
    pub fn state(&self) -> &Path {
        self.state_dir.as_deref().unwrap_or(Path::new(STATE))
    }

    /// The files of all stores and databases; relative to the application.
    pub fn files(&self) -> Vec<PathBuf> {
        let stores = self.key_value_stores.values().filter_map(|store| match store {
            KeyValueStore::Sqlite { path } => path.clone(),
            KeyValueStore::Redis { .. } => None,
        });
        let databases = self.sqlite_databases.values().filter_map(|it| it.path.clone());
        let own = [STORE_FILE, DATABASE_FILE].map(|file| self.state().join(file));
        own.into_iter().chain(stores).chain(databases).collect()
    }

    /// Reads the file's text.
    pub fn parse(text: &str) -> Result<Self, RuntimeConfigError> {
        let document: DocumentMut = text.parse().map_err(|error: toml_edit::TomlError| {
            let line = error
                .span()
                .map_or(1, |span| 1 + text[..span.start].matches('\n').count());
            RuntimeConfigError::Syntax(format!("line {line}: {}", error.message()))
        })?;
        let mut config = Self::default();
        for (key, item) in document.iter() {
            match key {
                "state_dir" => config.state_dir = Some(PathBuf::from(text_of(key, item)?)),
                "max_instance_memory" => match number(key, item)? {
                    // No component could be instantiated.
                    0 => return Err(wrong(key, "must be a number of bytes that is not 0")),
                    bytes => config.max_instance_memory = Some(bytes),
                },
                "outbound_networking" => config.networking(item)?,
                "key_value_store" => {
                    for (label, table) in labelled(key, item)? {
                        let store = key_value_store(&format!("{key}.{label}"), table)?;
                        config.key_value_stores.insert(label, store);
                    }
                }
                "sqlite_database" => {
                    for (label, table) in labelled(key, item)? {
                        let database = sqlite_database(&format!("{key}.{label}"), table)?;
                        config.sqlite_databases.insert(label, database);
                    }
                }
                "log_dir" if item.as_str() == Some("") => {}
                _ => {
                    let known = UNSUPPORTED.iter().find(|(name, _)| *name == key);
                    return Err(wrong(
                        key,
                        known.map_or("there is no such key", |(_, reason)| reason),
                    ));
                }
            }
        }
        Ok(config)
    }

    fn networking(&mut self, item: &Item) -> Result<(), RuntimeConfigError> {
        let table = table("outbound_networking", item)?;
        for (key, item) in table.iter() {
            let key = format!("outbound_networking.{key}");
            match key.as_str() {
                "outbound_networking.max_total_connections" => {
                    let most = u32::try_from(number(&key, item)?).unwrap_or(u32::MAX);
                    self.max_connections = Some(most);
                }
                _ => return Err(wrong(&key, "it is not supported; only max_total_connections is")),
            }
        }
        Ok(())
    }
}

fn wrong(key: &str, reason: impl Into<String>) -> RuntimeConfigError {
    RuntimeConfigError::Value {
        key: key.to_owned(),
        reason: reason.into(),
    }
}

fn table<'a>(key: &str, item: &'a Item) -> Result<&'a dyn TableLike, RuntimeConfigError> {
    item.as_table_like()
        .ok_or_else(|| wrong(key, format!("must be a table, not {}", item.type_name())))
}

fn labelled<'a>(key: &str, item: &'a Item) -> Result<Vec<(String, &'a dyn TableLike)>, RuntimeConfigError> {
    let tables = table(key, item)?;
    if tables.len() > MAX_LABELS {
        let reason = format!("there are {}, and at most {MAX_LABELS} are kept", tables.len());
        return Err(wrong(key, reason));
    }
    tables
        .iter()
        .map(|(label, item)| Ok((label.to_owned(), table(&format!("{key}.{label}"), item)?)))
        .collect()
}

fn text_of(key: &str, item: &Item) -> Result<String, RuntimeConfigError> {
    let text = item.as_str().map(str::to_owned);
    text.ok_or_else(|| wrong(key, format!("must be a string, not {}", item.type_name())))
}

fn number(key: &str, item: &Item) -> Result<u64, RuntimeConfigError> {
    let number = item.as_integer().and_then(|number| u64::try_from(number).ok());
    number.ok_or_else(|| wrong(key, "must be a number that is not negative"))
}

/// The keys of one store or database, taken one by one so that none is left over.
struct Fields<'a> {
    key: &'a str,
    table: &'a dyn TableLike,
}

impl Fields<'_> {
    fn optional(&self, field: &str) -> Result<Option<String>, RuntimeConfigError> {
        let item = self.table.get(field);
        item.map(|item| text_of(&format!("{}.{field}", self.key), item))
            .transpose()
    }

    fn required(&self, field: &str) -> Result<String, RuntimeConfigError> {
        self.optional(field)?
            .ok_or_else(|| wrong(self.key, format!("lacks `{field}`")))
    }

    fn path(&self) -> Result<Option<PathBuf>, RuntimeConfigError> {
        match self.optional("path")? {
            Some(path) if path.is_empty() => Err(wrong(&format!("{}.path", self.key), "is empty")),
            path => Ok(path.map(PathBuf::from)),
        }
    }

    fn only(&self, fields: &[&str]) -> Result<(), RuntimeConfigError> {
        match self
            .table
            .iter()
            .find(|(field, _)| *field != "type" && !fields.contains(field))
        {
            None => Ok(()),
            Some((field, _)) => Err(wrong(&format!("{}.{field}", self.key), "there is no such key")),
        }
    }
}

fn key_value_store(key: &str, table: &dyn TableLike) -> Result<KeyValueStore, RuntimeConfigError> {
    let fields = Fields { key, table };
    match fields.required("type")?.as_str() {
        "spin" => {
            fields.only(&["path"])?;
            Ok(KeyValueStore::Sqlite { path: fields.path()? })
        }
        "redis" => {
            fields.only(&["url"])?;
            Ok(KeyValueStore::Redis {
                url: fields.required("url")?,
            })
        }
        other => Err(wrong(
            &format!("{key}.type"),
            format!("stores of type `{other}` are not supported; only `spin` and `redis` are"),
        )),
    }
}

fn sqlite_database(key: &str, table: &dyn TableLike) -> Result<SqliteDatabase, RuntimeConfigError> {
    let fields = Fields { key, table };
    match fields.required("type")?.as_str() {
        "spin" => {
            fields.only(&["path", "allow_attach_file"])?;
            match table.get("allow_attach_file").map(|item| (item, item.as_bool())) {
                None | Some((_, Some(false))) => {}
                Some((_, Some(true))) => {
                    let reason = "a database cannot attach files here; remove it";
                    return Err(wrong(&format!("{key}.allow_attach_file"), reason));
                }
                Some((item, None)) => {
                    let reason = format!("must be true or false, not {}", item.type_name());
                    return Err(wrong(&format!("{key}.allow_attach_file"), reason));
                }
            }
            Ok(SqliteDatabase { path: fields.path()? })
        }
        other => Err(wrong(
            &format!("{key}.type"),
            format!("databases of type `{other}` are not supported; only `spin` is"),
        )),
    }
}

#[cfg(test)]
mod tests {
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
            (
                "[outbound_networking]\nblock_networks = [\"private\"]",
                "outbound_networking.block_networks: it is not supported; only max_total_connections is",
            ),
        ] {
            let error = RuntimeConfig::parse(text).expect_err(text).to_string();
            assert!(error.starts_with(expected), "{text}: {error}");
        }
    }
}
