//! From the text of either version to the one model. What is wrong is told at the key where it is written.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use toml_edit::de::Deserializer;

use super::component::{Parts, named, template, variables_of};
use super::error::ManifestError;
use super::http::{self, HttpTrigger, Route, Target};
use super::raw::{self, TextOr};
use super::{Component, Manifest, RedisTrigger, Variable, check_triggers, name};

type Result<T> = std::result::Result<T, ManifestError>;

/// The types of triggers that are run, for errors.
const TRIGGERS: &str = "`http`, `redis` and `command`";

pub fn parse(text: &str) -> Result<Manifest> {
    let beginning: raw::Beginning = read(text)?;
    match beginning.spin_manifest_version {
        Some(raw::Version::Number(2)) => version_2(read(text)?),
        Some(raw::Version::Text(text_of)) if text_of == "1" => version_1(text),
        Some(raw::Version::Number(1)) => version_1(text),
        Some(raw::Version::Number(other)) => Err(ManifestError::at(
            "spin_manifest_version",
            format!("is {other}; manifests of the versions 2 and \"1\" can be read"),
        )),
        Some(raw::Version::Text(other)) => Err(ManifestError::at(
            "spin_manifest_version",
            format!("is {other:?}; manifests of the versions 2 and \"1\" can be read"),
        )),
        None => Err(ManifestError::at(
            "spin_manifest_version",
            "is missing, so this is no manifest of a Spin application",
        )),
    }
}

/// Reads the text as this type; what has another type, or no place in it, is told with its key.
fn read<T: DeserializeOwned>(text: &str) -> Result<T> {
    let syntax = |error: toml_edit::de::Error| {
        let before = error.span().and_then(|span| text.get(..span.start));
        ManifestError::Syntax {
            line: before.map_or(1, |before| before.matches('\n').count() + 1),
            reason: error.message().replace('\n', ", "),
        }
    };
    let deserializer = Deserializer::parse(text).map_err(syntax)?;
    serde_path_to_error::deserialize(deserializer).map_err(|error| {
        let key = error.path().to_string();
        let reason = error.inner().message().replace('\n', ", ");
        let key = match key.as_str() {
            "." => "the manifest".to_owned(),
            _ => with_id(text, key),
        };
        ManifestError::Value { key, reason }
    })
}

/// Adds the id of the component to a key of version 1, which has components in an array.
fn with_id(text: &str, key: String) -> String {
    #[derive(serde::Deserialize)]
    struct Ids {
        component: Vec<Id>,
    }
    #[derive(serde::Deserialize)]
    struct Id {
        id: String,
    }
    let index = key.strip_prefix("component[").and_then(|rest| {
        let (index, _) = rest.split_once(']')?;
        index.parse::<usize>().ok()
    });
    let id = index.and_then(|index| {
        let ids: Ids = toml_edit::de::from_str(text).ok()?;
        ids.component.into_iter().nth(index)
    });
    match id {
        Some(Id { id }) => format!("{key} (component `{id}`)"),
        None => key,
    }
}

fn version_2(raw: raw::V2) -> Result<Manifest> {
    let raw::V2 {
        application,
        variables,
        trigger,
        component,
        ..
    } = raw;
    let variables = variables_of(variables)?;
    let mut components = BTreeMap::new();
    for (id, raw) in component {
        let key = format!("component.{id}");
        named(name::component(&id), &key)?;
        components.insert(id, component_2(raw, &key, &variables)?);
    }
    if let Some(unknown) = trigger.unknown {
        return Err(unknown_trigger(&unknown, format!("trigger.{unknown}")));
    }
    // Before names are found for components that have none, which takes longer with each.
    check_triggers(trigger.http.len() + trigger.redis.len() + trigger.command.len())?;
    let base = application.trigger.http.base.as_deref().unwrap_or("/");
    let mut inline = Inline {
        components: &mut components,
        variables: &variables,
    };
    let mut http_triggers = Vec::new();
    for (at, trigger) in trigger.http.into_iter().enumerate() {
        http_triggers.push(http_2(
            trigger,
            &format!("trigger.http[{at}]"),
            base,
            &mut inline,
        )?);
    }
    let mut redis = Vec::new();
    let address = application.trigger.redis.address.as_deref();
    for (at, trigger) in trigger.redis.into_iter().enumerate() {
        let key = format!("trigger.redis[{at}]");
        let id = inline.id_of(trigger.component, &trigger.id, &key)?;
        let address = trigger.address.as_deref().or(address);
        redis.push(redis_trigger(id, &trigger.channel, address, &key, &variables)?);
    }
    let mut commands = Vec::new();
    for (at, trigger) in trigger.command.into_iter().enumerate() {
        let key = format!("trigger.command[{at}]");
        commands.push(inline.id_of(trigger.component, &trigger.id, &key)?);
    }
    Ok(Manifest {
        name: application.name,
        version: application.version,
        variables,
        components,
        http: http_triggers,
        redis,
        commands,
    })
}

fn unknown_trigger(kind: &str, key: String) -> ManifestError {
    ManifestError::at(
        key,
        format!("there is no trigger of type `{kind}`; there are {TRIGGERS}"),
    )
}

/// Where the components go that are written within a trigger.
struct Inline<'a> {
    components: &'a mut BTreeMap<String, Component>,
    variables: &'a BTreeMap<String, Variable>,
}

impl Inline<'_> {
    /// The id of a trigger's component, which must be there, or is made.
    fn id_of(&mut self, component: TextOr<raw::Component>, trigger: &str, key: &str) -> Result<String> {
        let key = format!("{key}.component");
        match component {
            TextOr::Text(id) if self.components.contains_key(&id) => Ok(id),
            TextOr::Text(id) => Err(ManifestError::at(key, format!("there is no component `{id}`"))),
            TextOr::Table(raw) => {
                let id = self.free_id(trigger);
                let component = component_2(raw, &key, self.variables)?;
                self.components.insert(id.clone(), component);
                Ok(id)
            }
        }
    }

    fn free_id(&self, trigger: &str) -> String {
        let natural = format!("{trigger}-component");
        if name::component(&natural).is_ok() && !self.components.contains_key(&natural) {
            return natural;
        }
        let mut counted = (1..).map(|number| format!("inline-component{number}"));
        counted
            .find(|id| !self.components.contains_key(id))
            .unwrap_or(natural)
    }
}

fn http_2(raw: raw::HttpTrigger, key: &str, base: &str, inline: &mut Inline<'_>) -> Result<HttpTrigger> {
    for (name, table) in [
        ("components", &raw.components),
        ("dependencies", &raw.dependencies),
    ] {
        if !table.is_empty() {
            let reason = "a trigger of type `http` has one component here, and no others before it";
            return Err(ManifestError::at(format!("{key}.{name}"), reason));
        }
    }
    let target = match (raw.component, raw.static_response) {
        (Some(component), None) => Target::Component {
            id: inline.id_of(component, &raw.id, key)?,
            executor: http::executor(raw.executor, key)?,
        },
        (None, Some(reply)) => {
            if raw.executor.is_some() {
                let reason = "is for a component, but this trigger has a static_response";
                return Err(ManifestError::at(format!("{key}.executor"), reason));
            }
            Target::Reply(http::reply(reply, key)?)
        }
        (None, None) => {
            return Err(ManifestError::at(
                key,
                "has neither a component nor a static_response",
            ));
        }
        (Some(_), Some(_)) => {
            return Err(ManifestError::at(
                key,
                "has a component and a static_response; one can answer",
            ));
        }
    };
    Ok(HttpTrigger {
        key: key.to_owned(),
        route: route(raw.route, base, key)?,
        target,
    })
}

fn route(raw: TextOr<raw::Private>, base: &str, key: &str) -> Result<Route> {
    match raw {
        TextOr::Text(route) => Ok(Route::public(&route, base)),
        TextOr::Table(raw::Private { private: true }) => Ok(Route::Private),
        TextOr::Table(_) => Err(ManifestError::at(
            format!("{key}.route.private"),
            "is false; a route is a pattern, or { private = true }",
        )),
    }
}

fn redis_trigger(
    component: String,
    channel: &str,
    address: Option<&str>,
    key: &str,
    variables: &BTreeMap<String, Variable>,
) -> Result<RedisTrigger> {
    let within = |name: &str| format!("{key}.{name}");
    let address = address.map(|address| template(address, &within("address"), variables));
    Ok(RedisTrigger {
        key: key.to_owned(),
        component,
        channel: template(channel, &within("channel"), variables)?,
        address: address.transpose()?,
    })
}

fn component_2(raw: raw::Component, key: &str, variables: &BTreeMap<String, Variable>) -> Result<Component> {
    if let Some(dependency) = raw.dependencies.keys().next() {
        let reason = format!(
            "`{dependency}` is to be put together with it, which is not done here; \
             ship the component as `spin build` and `wac` put it together"
        );
        return Err(ManifestError::at(format!("{key}.dependencies"), reason));
    }
    let parts = Parts {
        source: raw.source,
        variables: raw.variables,
        variables_key: "variables",
        environment: raw.environment,
        files: raw.files,
        exclude_files: raw.exclude_files,
        allowed_http_hosts: raw.allowed_http_hosts,
        allowed_outbound_hosts: raw.allowed_outbound_hosts,
        any_database: false,
        key_value_stores: raw.key_value_stores,
        sqlite_databases: raw.sqlite_databases,
        ai_models: raw.ai_models,
    };
    parts.component(key, variables)
}

fn version_1(text: &str) -> Result<Manifest> {
    let raw::Kind { trigger } = read(text)?;
    match trigger.kind.as_str() {
        "http" => {
            let raw: raw::V1<raw::HttpSettings, raw::HttpTriggerV1> = read(text)?;
            let base = raw.trigger.base.clone().unwrap_or_else(|| "/".to_owned());
            let (mut manifest, triggers) = common_1(raw)?;
            for (id, key, trigger) in triggers {
                manifest.http.push(HttpTrigger {
                    route: route(trigger.route, &base, &key)?,
                    target: Target::Component {
                        id,
                        executor: http::executor(trigger.executor, &key)?,
                    },
                    key,
                });
            }
            Ok(manifest)
        }
        "redis" => {
            let raw: raw::V1<raw::RedisSettings, raw::RedisTriggerV1> = read(text)?;
            let shared = raw.trigger.address.clone();
            let (mut manifest, triggers) = common_1(raw)?;
            for (id, key, trigger) in triggers {
                let address = trigger.address.or_else(|| shared.clone());
                let redis = redis_trigger(
                    id,
                    &trigger.channel,
                    address.as_deref(),
                    &key,
                    &manifest.variables,
                )?;
                manifest.redis.push(redis);
            }
            Ok(manifest)
        }
        other => Err(unknown_trigger(other, "trigger.type".to_owned())),
    }
}

/// A trigger of version 1, with its component and its key.
type Trigger1<T> = (String, String, T);

/// A manifest of version 1 without its triggers; and those.
fn common_1<S, T>(raw: raw::V1<S, T>) -> Result<(Manifest, Vec<Trigger1<T>>)> {
    let variables = variables_of(raw.variables)?;
    let (mut components, mut triggers) = (BTreeMap::new(), Vec::new());
    for raw in raw.component {
        // Names that version 2 does not have are made into such.
        let id = match name::component(&raw.id) {
            Ok(()) => raw.id,
            Err(_) => raw.id.replace('_', "-").to_lowercase(),
        };
        let key = format!("component.{id}");
        named(name::component(&id), &key)?;
        let parts = Parts {
            source: raw.source,
            variables: raw.config,
            variables_key: "config",
            environment: raw.environment,
            files: raw.files,
            exclude_files: raw.exclude_files,
            allowed_http_hosts: raw.allowed_http_hosts,
            any_database: raw.allowed_outbound_hosts.is_none(),
            allowed_outbound_hosts: raw.allowed_outbound_hosts.unwrap_or_default(),
            key_value_stores: raw.key_value_stores,
            sqlite_databases: raw.sqlite_databases,
            ai_models: raw.ai_models,
        };
        let component = parts.component(&key, &variables)?;
        if components.insert(id.clone(), component).is_some() {
            return Err(ManifestError::at(key, "there are two components of this name"));
        }
        triggers.push((id, format!("{key}.trigger"), raw.trigger));
    }
    let manifest = Manifest {
        name: raw.name,
        version: raw.version,
        variables,
        components,
        http: Vec::new(),
        redis: Vec::new(),
        commands: Vec::new(),
    };
    Ok((manifest, triggers))
}
