//! The text of a manifest as it is written, in either version. Nothing but [`super::convert`] sees these.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// A text, or a table where a text does not say enough.
#[derive(Debug)]
pub enum TextOr<T> {
    Text(String),
    Table(T),
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for TextOr<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextOrTable(PhantomData))
    }
}

struct TextOrTable<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for TextOrTable<T> {
    type Value = TextOr<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string or a table")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(TextOr::Text(text.to_owned()))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(TextOr::Table)
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Variable {
    #[serde(default, rename = "description")]
    _description: Option<String>,
    #[serde(default)]
    pub required: bool,
    pub default: Option<String>,
    #[serde(default)]
    pub secret: bool,
}

/// A source that is no path.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Elsewhere {
    pub url: Option<String>,
    pub digest: Option<String>,
    pub registry: Option<String>,
    pub package: Option<String>,
    pub version: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Placement {
    pub source: String,
    pub destination: String,
}

/// How it was built, which is nothing to us.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Build {
    #[serde(rename = "command")]
    _command: Commands,
    #[serde(default, rename = "workdir")]
    _workdir: Option<String>,
    #[serde(default, rename = "watch")]
    _watch: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(
    untagged,
    expecting = "a command is a string, several are an array of strings"
)]
enum Commands {
    One(#[allow(dead_code, reason = "only its type is checked")] String),
    Several(#[allow(dead_code, reason = "only their type is checked")] Vec<String>),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Component {
    pub source: TextOr<Elsewhere>,
    #[serde(default, rename = "description")]
    _description: String,
    #[serde(default)]
    pub variables: BTreeMap<String, String>,
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
    #[serde(default)]
    pub files: Vec<TextOr<Placement>>,
    #[serde(default)]
    pub exclude_files: Vec<String>,
    #[serde(default)]
    pub allowed_http_hosts: Vec<String>,
    #[serde(default)]
    pub allowed_outbound_hosts: Vec<String>,
    #[serde(default)]
    pub key_value_stores: Vec<String>,
    #[serde(default)]
    pub sqlite_databases: Vec<String>,
    #[serde(default)]
    pub ai_models: Vec<String>,
    #[serde(default, rename = "targets")]
    _targets: Option<Vec<IgnoredAny>>,
    #[serde(default, rename = "build")]
    _build: Option<Build>,
    #[serde(default, rename = "tool")]
    _tool: BTreeMap<String, IgnoredAny>,
    #[serde(default, rename = "dependencies_inherit_configuration")]
    _inherit: Option<bool>,
    #[serde(default)]
    pub dependencies: BTreeMap<String, IgnoredAny>,
    /// Other ways to build it, which are chosen when it is built.
    #[serde(default, rename = "profile")]
    _profile: BTreeMap<String, IgnoredAny>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Private {
    pub private: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Executor {
    #[serde(rename = "type")]
    pub kind: String,
    pub entrypoint: Option<String>,
    pub argv: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StaticResponse {
    pub status_code: Option<u16>,
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    pub body: Option<String>,
}

/// Of version 2.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpTrigger {
    #[serde(default)]
    pub id: String,
    pub component: Option<TextOr<Component>>,
    pub static_response: Option<StaticResponse>,
    pub route: TextOr<Private>,
    pub executor: Option<Executor>,
    #[serde(default)]
    pub components: BTreeMap<String, IgnoredAny>,
    #[serde(default)]
    pub dependencies: BTreeMap<String, IgnoredAny>,
}

/// Of version 2.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RedisTrigger {
    #[serde(default)]
    pub id: String,
    pub component: TextOr<Component>,
    pub channel: String,
    pub address: Option<String>,
}

/// Of version 2.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CommandTrigger {
    #[serde(default)]
    pub id: String,
    pub component: TextOr<Component>,
}

/// By type. The default is none at all.
#[derive(Debug, Default)]
pub struct Triggers {
    pub http: Vec<HttpTrigger>,
    pub redis: Vec<RedisTrigger>,
    pub command: Vec<CommandTrigger>,
    /// The first of a type that there is not.
    pub unknown: Option<String>,
}

impl<'de> Deserialize<'de> for Triggers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ByType;
        impl<'de> Visitor<'de> for ByType {
            type Value = Triggers;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("tables by the type of trigger")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Triggers, A::Error> {
                let mut triggers = Triggers::default();
                while let Some(kind) = map.next_key::<String>()? {
                    match kind.as_str() {
                        "http" => triggers.http = map.next_value()?,
                        "redis" => triggers.redis = map.next_value()?,
                        "command" => triggers.command = map.next_value()?,
                        _ => {
                            map.next_value::<IgnoredAny>()?;
                            triggers.unknown.get_or_insert(kind);
                        }
                    }
                }
                Ok(triggers)
            }
        }
        deserializer.deserialize_map(ByType)
    }
}

/// What a type of trigger is given for all of its triggers.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpSettings {
    /// Only in version 1.
    #[serde(default, rename = "type")]
    _kind: Option<String>,
    pub base: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RedisSettings {
    /// Only in version 1.
    #[serde(default, rename = "type")]
    _kind: Option<String>,
    pub address: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
pub struct Settings {
    #[serde(default)]
    pub http: HttpSettings,
    #[serde(default)]
    pub redis: RedisSettings,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Details {
    pub name: String,
    #[serde(default)]
    pub version: String,
    #[serde(default, rename = "description")]
    _description: String,
    #[serde(default, rename = "authors")]
    _authors: Vec<String>,
    #[serde(default, rename = "targets")]
    _targets: Option<Vec<IgnoredAny>>,
    #[serde(default)]
    pub trigger: Settings,
    #[serde(default, rename = "tool")]
    _tool: BTreeMap<String, IgnoredAny>,
}

/// The whole of version 2.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct V2 {
    #[serde(rename = "spin_manifest_version")]
    _version: IgnoredAny,
    pub application: Details,
    #[serde(default)]
    pub variables: BTreeMap<String, Variable>,
    pub trigger: Triggers,
    #[serde(default)]
    pub component: BTreeMap<String, Component>,
}

/// The whole of version 1, for the one type of trigger that it has.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct V1<S, T> {
    #[serde(rename = "spin_manifest_version", alias = "spin_version")]
    _version: IgnoredAny,
    pub name: String,
    #[serde(default)]
    pub version: String,
    #[serde(default, rename = "description")]
    _description: String,
    #[serde(default, rename = "authors")]
    _authors: Vec<String>,
    pub trigger: S,
    #[serde(default)]
    pub variables: BTreeMap<String, Variable>,
    #[serde(default = "Vec::new")]
    pub component: Vec<ComponentV1<T>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ComponentV1<T> {
    pub id: String,
    pub source: TextOr<Elsewhere>,
    pub trigger: T,
    #[serde(default, rename = "description")]
    _description: String,
    #[serde(default)]
    pub config: BTreeMap<String, String>,
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
    #[serde(default)]
    pub files: Vec<TextOr<Placement>>,
    #[serde(default)]
    pub exclude_files: Vec<String>,
    #[serde(default)]
    pub allowed_http_hosts: Vec<String>,
    pub allowed_outbound_hosts: Option<Vec<String>>,
    #[serde(default)]
    pub key_value_stores: Vec<String>,
    #[serde(default)]
    pub sqlite_databases: Vec<String>,
    #[serde(default)]
    pub ai_models: Vec<String>,
    #[serde(default, rename = "build")]
    _build: Option<Build>,
}

/// Of version 1.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpTriggerV1 {
    pub route: TextOr<Private>,
    pub executor: Option<Executor>,
}

/// Of version 1.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RedisTriggerV1 {
    pub channel: String,
    pub address: Option<String>,
}

/// What decides how the rest is read.
#[derive(Debug, Deserialize)]
pub struct Beginning {
    #[serde(alias = "spin_version")]
    pub spin_manifest_version: Option<Version>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "the version is 2, or \"1\"")]
pub enum Version {
    Number(i64),
    Text(String),
}

/// The type of trigger of a manifest of version 1.
#[derive(Debug, Deserialize)]
pub struct Kind {
    pub trigger: KindOfTrigger,
}

#[derive(Debug, Deserialize)]
pub struct KindOfTrigger {
    #[serde(rename = "type")]
    pub kind: String,
}
