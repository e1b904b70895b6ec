//! The slightfile, `/slightfile.toml`, in both of its versions and as one model. Pure: what it names is looked for
//! elsewhere, and variables are filled in later.
//!
//! | | 0.1 | 0.2 |
//! |---|---|---|
//! | a capability | `name` is its resource | `resource`, and a `name` by which the module opens it; `*` is any |
//! | its configs | all from the `secret_store` | `[capability.configs]`, a text or `${store.NAME}` |

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use toml_edit::de::Deserializer;

use crate::workload::wasm::kinds::shape::printable;

/// Most bytes of a slightfile.
pub const MAX_SIZE: u64 = 1 << 20;
/// Most capabilities.
const MAX_CAPABILITIES: usize = 256;

/// The first thing that is wrong; names the key, and the capability that it is of.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SlightfileError {
    #[error("line {line}: {reason}")]
    Syntax { line: usize, reason: String },
    #[error("{key}: {reason}")]
    Value { key: String, reason: String },
}

pub type Result<T> = std::result::Result<T, SlightfileError>;

impl SlightfileError {
    pub fn at(key: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Value {
            key: key.into(),
            reason: reason.into(),
        }
    }
}

/// What an application is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slightfile {
    pub capabilities: Vec<Capability>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capability {
    /// Where it is, for errors: its place, resource and name.
    pub key: String,
    pub resource: Resource,
    /// What the module opens it by.
    pub name: Name,
    /// Whether any name opens it that is no other's, as version 0.1 has it.
    pub otherwise: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Name {
    Any,
    This(String),
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::This(name) => f.write_str(name),
        }
    }
}

/// What stands behind a capability.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resource {
    Http,
    HttpClient,
    KeyValueFilesystem,
    KeyValueRedis { address: Config },
    MessagingFilesystem,
    MessagingNats { address: Config },
    MessagingMosquitto { host: Config, port: Config },
    ConfigsEnvironment,
}

impl Resource {
    /// Those of one kind are told apart by their names alone.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::HttpClient => "http-client",
            Self::KeyValueFilesystem | Self::KeyValueRedis { .. } => "keyvalue",
            Self::MessagingFilesystem | Self::MessagingNats { .. } | Self::MessagingMosquitto { .. } => {
                "messaging"
            }
            Self::ConfigsEnvironment => "configs",
        }
    }
}

/// A value of a capability's configs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Config {
    Text(String),
    /// Of the container's environment.
    Variable(String),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    specversion: String,
    secret_store: Option<String>,
    #[serde(default, rename = "secret_settings")]
    _secret_settings: Vec<RawSecret>,
    #[serde(default)]
    capability: Vec<RawCapability>,
}

/// A secret that slight has encrypted for its own store of them.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSecret {
    #[serde(rename = "name")]
    _name: String,
    #[serde(rename = "value")]
    _value: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawCapability {
    name: String,
    resource: Option<String>,
    #[serde(default)]
    configs: BTreeMap<String, String>,
}

impl Slightfile {
    /// Reads a slightfile, and checks all that can be without a look at anything else.
    pub fn parse(text: &str) -> Result<Self> {
        let raw: Raw = read(text)?;
        let count = raw.capability.len();
        if count > MAX_CAPABILITIES {
            let reason = format!("there are {count}, and at most {MAX_CAPABILITIES} are given");
            return Err(SlightfileError::at("capability", reason));
        }
        let old = match raw.specversion.as_str() {
            "0.1" => true,
            "0.2" => false,
            other => {
                let reason =
                    format!("is {other:?}; slightfiles of the versions \"0.1\" and \"0.2\" can be read");
                return Err(SlightfileError::at("specversion", reason));
            }
        };
        let store = raw.secret_store.as_deref();
        let mut capabilities = Vec::new();
        for (at, raw) in raw.capability.into_iter().enumerate() {
            let place = format!("capability[{at}]");
            let capability = if old {
                version_1(place, raw, store)?
            } else {
                version_2(place, raw)?
            };
            capabilities.push(capability);
        }
        check_names(&capabilities)?;
        if old {
            let mut kinds = BTreeSet::new();
            for capability in capabilities.iter_mut().rev() {
                // slight asks the last one.
                capability.otherwise = kinds.insert(capability.resource.kind());
            }
        }
        Ok(Self { capabilities })
    }

    /// Whether the module is to start a server.
    pub fn serves(&self) -> bool {
        self.capabilities.iter().any(|it| it.resource == Resource::Http)
    }
}

/// Reads the text as this type; what has another type, or no place in it, is told with its key.
fn read<T: DeserializeOwned>(text: &str) -> Result<T> {
    let syntax = |error: toml_edit::de::Error| {
        let before = error.span().and_then(|span| text.get(..span.start));
        SlightfileError::Syntax {
            line: before.map_or(1, |before| before.matches('\n').count() + 1),
            reason: error.message().replace('\n', ", "),
        }
    };
    let deserializer = Deserializer::parse(text).map_err(syntax)?;
    serde_path_to_error::deserialize(deserializer).map_err(|error| {
        let key = match error.path().to_string().as_str() {
            "." => "the slightfile".to_owned(),
            key => key.to_owned(),
        };
        let reason = error.inner().message().replace('\n', ", ");
        SlightfileError::at(key, reason)
    })
}

fn version_1(place: String, raw: RawCapability, store: Option<&str>) -> Result<Capability> {
    let key = format!("{place} ({})", printable(&raw.name));
    let other = [
        ("resource", raw.resource.is_some()),
        ("configs", !raw.configs.is_empty()),
    ];
    if let Some((name, _)) = other.iter().find(|(_, given)| *given) {
        let reason = "is of specversion \"0.2\", and this slightfile says \"0.1\"";
        return Err(SlightfileError::at(format!("{key}.{name}"), reason));
    }
    let config = |name: &str| match store {
        Some("configs.envvars") => Ok(Config::Variable(name.to_owned())),
        Some(other) => Err(SlightfileError::at("secret_store", no_store(other))),
        None => {
            let reason = format!(
                "it needs {name}; add secret_store = \"configs.envvars\" to have it from the environment"
            );
            Err(SlightfileError::at(&key, reason))
        }
    };
    let optional = |name: &str| config(name).map(Some);
    Ok(Capability {
        resource: resource(&key, &raw.name, &config, &optional)?,
        key,
        name: Name::This(raw.name),
        otherwise: false,
    })
}

fn version_2(place: String, raw: RawCapability) -> Result<Capability> {
    let Some(resource) = raw.resource else {
        let key = format!("{place} ({})", printable(&raw.name));
        let reason = "has no `resource`, which specversion \"0.2\" wants beside the name";
        return Err(SlightfileError::at(key, reason));
    };
    let key = format!("{place} ({} `{}`)", printable(&resource), printable(&raw.name));
    let optional = |name: &str| {
        let given = raw.configs.get(name);
        given
            .map(|value| value_of(value))
            .transpose()
            .map_err(|reason| SlightfileError::at(format!("{key}.configs.{name}"), reason))
    };
    let config = |name: &str| {
        let given = optional(name)?;
        given.ok_or_else(|| SlightfileError::at(format!("{key}.configs"), format!("has no {name}")))
    };
    Ok(Capability {
        resource: self::resource(&key, &resource, &config, &optional)?,
        key: key.clone(),
        name: match raw.name.as_str() {
            "*" => Name::Any,
            _ => Name::This(raw.name),
        },
        otherwise: false,
    })
}

/// A text, or `${store.NAME}`.
fn value_of(value: &str) -> std::result::Result<Config, String> {
    let Some(inner) = value.strip_prefix("${").and_then(|rest| rest.strip_suffix('}')) else {
        return Ok(Config::Text(value.to_owned()));
    };
    match inner.rsplit_once('.') {
        Some(("envvars", name)) if !name.is_empty() => Ok(Config::Variable(name.to_owned())),
        Some((store, name)) if !store.is_empty() && !name.is_empty() => {
            Err(no_store(&format!("configs.{store}")))
        }
        _ => Err(format!("{value:?} is neither a text nor `${{store.NAME}}`")),
    }
}

/// Of a store of configs that is not there.
fn no_store(store: &str) -> String {
    let known = match store {
        "configs.azapp" => " (Azure App Configuration)",
        "configs.usersecrets" => " (secrets that slight has encrypted on the machine they were made on)",
        _ => "",
    };
    format!(
        "`{}`{known} is not provided; use configs.envvars, the container's environment",
        printable(store)
    )
}

fn resource(
    key: &str,
    resource: &str,
    config: &dyn Fn(&str) -> Result<Config>,
    optional: &dyn Fn(&str) -> Result<Option<Config>>,
) -> Result<Resource> {
    let refuse = |reason: String| Err(SlightfileError::at(key, reason));
    Ok(match resource {
        "http" => Resource::Http,
        "http-client" => Resource::HttpClient,
        "keyvalue.filesystem" | "kv.filesystem" => Resource::KeyValueFilesystem,
        "keyvalue.redis" | "kv.redis" => Resource::KeyValueRedis {
            address: config("REDIS_ADDRESS")?,
        },
        "messaging.filesystem" | "mq.filesystem" => Resource::MessagingFilesystem,
        "messaging.nats" => Resource::MessagingNats {
            address: match optional("NATS_ADDRESS")? {
                Some(address) => address,
                None => {
                    return refuse(
                        "configs has no NATS_ADDRESS, such as nats://HOST:4222; slight's own connection to \
                         connect.ngs.global by NATS_CREDS is not provided"
                            .to_owned(),
                    );
                }
            },
        },
        "messaging.mosquitto" => Resource::MessagingMosquitto {
            host: config("MOSQUITTO_HOST")?,
            port: config("MOSQUITTO_PORT")?,
        },
        "configs.envvars" => Resource::ConfigsEnvironment,
        other => {
            let reason = match NOT_PROVIDED.iter().find(|(name, _)| *name == other) {
                Some((name, what)) => format!("`{name}` ({what}) is not provided"),
                None => format!("there is no resource `{}`", printable(other)),
            };
            return refuse(format!(
                "{reason}; there are http, http-client, keyvalue.filesystem, keyvalue.redis, messaging.filesystem, \
                 messaging.nats, messaging.mosquitto and configs.envvars"
            ));
        }
    })
}

/// Resources of slight's that nothing here provides.
const NOT_PROVIDED: [(&str, &str); 15] = [
    ("blobstore.aws_s3", "Amazon S3"),
    ("blobstore.azblob", "Azure Blob Storage"),
    ("keyvalue.awsdynamodb", "Amazon DynamoDB"),
    ("kv.awsdynamodb", "Amazon DynamoDB"),
    ("keyvalue.azblob", "Azure Blob Storage"),
    ("kv.azblob", "Azure Blob Storage"),
    ("keyvalue.dapr", "Dapr"),
    ("messaging.azsbus", "Azure Service Bus"),
    ("mq.azsbus", "Azure Service Bus"),
    ("messaging.confluent_apache_kafka", "Apache Kafka at Confluent"),
    ("configs.azapp", "Azure App Configuration"),
    (
        "configs.usersecrets",
        "secrets that slight has encrypted on the machine they were made on",
    ),
    ("distributed_locking.etcd", "locks in etcd"),
    ("lockd.etcd", "locks in etcd"),
    ("sql.postgres", "PostgreSQL"),
];

/// Capabilities of one kind must have different names; who takes any name must be alone.
fn check_names(capabilities: &[Capability]) -> Result<()> {
    for (at, capability) in capabilities.iter().enumerate() {
        let clash = capabilities.iter().take(at).find(|other| {
            let same_kind = other.resource.kind() == capability.resource.kind();
            let any = other.name == Name::Any || capability.name == Name::Any;
            same_kind && (any || other.name == capability.name)
        });
        if let Some(other) = clash {
            let reason = format!("the name is taken by {}", other.key);
            return Err(SlightfileError::at(format!("{}.name", capability.key), reason));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
