//! The optional `/runtime-config.toml` of a Spin application: where its stores and databases are kept. Pure: text
//! in, plain data out. What is not supported is refused by its name, since what it asks for would be missing.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use toml_edit::{DocumentMut, Item, TableLike};

use super::allowed_hosts::Host;
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
    pub client_tls: Vec<ClientTls>,
}

/// The roots by which some components believe some hosts who they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientTls {
    pub components: Vec<String>,
    pub hosts: Vec<String>,
    /// A file of certificates in PEM, relative to the application.
    pub roots: Option<PathBuf>,
    /// Whether Mozilla's are among them, which stand for those of a platform too.
    pub usual: bool,
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
const UNSUPPORTED: [(&str, &str); 13] = [
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
                "client_tls" => {
                    for (at, table) in tables(key, item)?.into_iter().enumerate() {
                        config
                            .client_tls
                            .push(client_tls(&format!("{key}[{at}]"), table)?);
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

/// `[[KEY]]`, or the same as a list of tables in braces.
fn tables<'a>(key: &str, item: &'a Item) -> Result<Vec<&'a dyn TableLike>, RuntimeConfigError> {
    let within = item.as_array().map(|list| {
        let tables = list.iter().map(|value| value.as_inline_table());
        tables
            .map(|table| table.map(|table| table as &dyn TableLike))
            .collect()
    });
    let several = item.as_array_of_tables();
    let several = several.map(|tables| tables.iter().map(|table| Some(table as &dyn TableLike)).collect());
    let found: Option<Vec<_>> = several
        .or(within)
        .and_then(|found: Vec<Option<_>>| found.into_iter().collect());
    let found = found.ok_or_else(|| wrong(key, "must be tables, as [[client_tls]]"))?;
    match found.len() {
        0..=MAX_LABELS => Ok(found),
        more => Err(wrong(
            key,
            format!("there are {more}, and at most {MAX_LABELS} are kept"),
        )),
    }
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

    /// A list of texts, of which there must be some.
    fn texts(&self, field: &str) -> Result<Vec<String>, RuntimeConfigError> {
        let key = format!("{}.{field}", self.key);
        let list = self.table.get(field).and_then(Item::as_array);
        let texts: Option<Vec<String>> = list.and_then(|list| {
            let texts = list.iter().map(|value| value.as_str().map(str::to_owned));
            texts.collect()
        });
        match texts {
            Some(texts) if !texts.is_empty() => Ok(texts),
            _ => Err(wrong(&key, "must be a list of strings that is not empty")),
        }
    }

    fn boolean(&self, field: &str) -> Result<Option<bool>, RuntimeConfigError> {
        let Some(item) = self.table.get(field) else {
            return Ok(None);
        };
        let wrong = || {
            let reason = format!("must be true or false, not {}", item.type_name());
            wrong(&format!("{}.{field}", self.key), reason)
        };
        item.as_bool().map(Some).ok_or_else(wrong)
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
            if fields.boolean("allow_attach_file")? == Some(true) {
                let reason = "a database cannot attach files here; remove it";
                return Err(wrong(&format!("{key}.allow_attach_file"), reason));
            }
            Ok(SqliteDatabase { path: fields.path()? })
        }
        other => Err(wrong(
            &format!("{key}.type"),
            format!("databases of type `{other}` are not supported; only `spin` is"),
        )),
    }
}

fn client_tls(key: &str, table: &dyn TableLike) -> Result<ClientTls, RuntimeConfigError> {
    let fields = Fields { key, table };
    for field in ["client_cert_file", "client_private_key_file"] {
        if table.contains_key(field) {
            let reason = "client certificates are not supported; remove it";
            return Err(wrong(&format!("{key}.{field}"), reason));
        }
    }
    let (platform, usual, roots) = ("ca_use_platform_roots", "ca_use_webpki_roots", "ca_roots_file");
    fields.only(&["component_ids", "hosts", platform, usual, roots])?;
    let hosts = fields.texts("hosts")?;
    if let Some(other) = hosts.iter().find(|host| Host::parse(host).is_none()) {
        let reason = format!("{other:?} is neither a name nor an address; it has no port here");
        return Err(wrong(&format!("{key}.hosts"), reason));
    }
    let roots = fields.optional(roots)?.map(PathBuf::from);
    // As with Spin, those of the file alone where nothing else is said.
    let usual = match (fields.boolean(platform)?, fields.boolean(usual)?) {
        (None, None) => roots.is_none(),
        (Some(true), Some(false)) => {
            let reason = "there are none of a platform here but Mozilla's, which ca_use_webpki_roots = false leaves \
                          out; name a file with ca_roots_file, or remove one of the two";
            return Err(wrong(&format!("{key}.{platform}"), reason));
        }
        (platform, usual) => platform == Some(true) || usual == Some(true),
    };
    if roots.is_none() && !usual {
        return Err(wrong(key, "leaves no roots, so no server would be believed"));
    }
    Ok(ClientTls {
        components: fields.texts("component_ids")?,
        hosts,
        roots,
        usual,
    })
}

#[cfg(test)]
mod tests;
