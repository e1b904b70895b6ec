//! The locked application, Spin's own form of a manifest in which nothing is left to be looked for: from its JSON to the
//! text of a manifest, and a list of what goes where. Pure.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// What is wrong with a locked application.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {reason}")]
pub struct LockedError {
    key: String,
    reason: String,
}

type Result<T> = std::result::Result<T, LockedError>;

fn wrong<T>(key: impl Into<String>, reason: impl Into<String>) -> Result<T> {
    Err(LockedError {
        key: key.into(),
        reason: reason.into(),
    })
}

/// What of a host an application may ask for.
const REQUIREMENTS: [&str; 1] = ["local_service_chaining"];
const UNDERSTOOD: [&str; 2] = ["host_requirements", "component_host_requirements"];

/// In how many directories a file may be; each that is looked into takes a descriptor, also to remove it again.
const MAX_DEPTH: usize = 64;

/// What is to be written.
#[derive(Debug, PartialEq, Eq)]
pub struct Plan {
    pub name: String,
    /// The text of `spin.toml`.
    pub manifest: String,
    pub components: usize,
    /// Modules first.
    pub parts: Vec<Part>,
}

/// A file.
#[derive(Debug, PartialEq, Eq)]
pub struct Part {
    /// Within the root; its parts are names.
    pub path: String,
    /// For errors.
    pub what: String,
    pub content: Content,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Content {
    Inline(Vec<u8>),
    Digest(String),
}

#[derive(Debug, Deserialize)]
struct LockedApp {
    spin_lock_version: u64,
    #[serde(default)]
    must_understand: Vec<String>,
    #[serde(default)]
    metadata: Map<String, Value>,
    #[serde(default)]
    host_requirements: Map<String, Value>,
    #[serde(default)]
    variables: BTreeMap<String, LockedVariable>,
    triggers: Vec<LockedTrigger>,
    components: Vec<LockedComponent>,
}

#[derive(Debug, Deserialize)]
struct LockedVariable {
    default: Option<String>,
    #[serde(default)]
    secret: bool,
}

#[derive(Debug, Deserialize)]
struct LockedTrigger {
    id: String,
    trigger_type: String,
    trigger_config: Map<String, Value>,
    #[serde(default)]
    trigger_dependencies: Map<String, Value>,
}

#[derive(Debug, Deserialize)]
struct LockedComponent {
    id: String,
    #[serde(default)]
    metadata: Map<String, Value>,
    source: ContentRef,
    #[serde(default)]
    env: BTreeMap<String, String>,
    #[serde(default)]
    files: Vec<ContentPath>,
    #[serde(default)]
    config: BTreeMap<String, String>,
    #[serde(default)]
    dependencies: Map<String, Value>,
    #[serde(default)]
    trigger_dependencies: Map<String, Value>,
    #[serde(default)]
    host_requirements: Map<String, Value>,
}

#[derive(Debug, Deserialize)]
struct ContentPath {
    path: String,
    #[serde(flatten)]
    content: ContentRef,
}

#[derive(Debug, Deserialize)]
struct ContentRef {
    inline: Option<String>,
    digest: Option<String>,
}

#[derive(Debug, Serialize)]
struct Manifest {
    spin_manifest_version: u64,
    application: Application,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    variables: BTreeMap<String, Variable>,
    trigger: BTreeMap<String, Vec<Value>>,
    component: BTreeMap<String, Component>,
}

#[derive(Debug, Serialize)]
struct Application {
    name: String,
    version: String,
    #[serde(skip_serializing_if = "Map::is_empty")]
    trigger: Map<String, Value>,
}

#[derive(Debug, Serialize)]
struct Variable {
    #[serde(skip_serializing_if = "Option::is_none")]
    default: Option<String>,
    required: bool,
    secret: bool,
}

#[derive(Debug, Default, Serialize)]
struct Component {
    source: String,
    allowed_outbound_hosts: Vec<String>,
    allowed_http_hosts: Vec<String>,
    key_value_stores: Vec<String>,
    sqlite_databases: Vec<String>,
    ai_models: Vec<String>,
    files: Vec<Placed>,
    environment: BTreeMap<String, String>,
    variables: BTreeMap<String, String>,
}

#[derive(Debug, Serialize)]
struct Placed {
    source: String,
    destination: String,
}

/// Reads a locked application. The manifest that comes of it is still to be checked.
pub fn plan(text: &[u8]) -> Result<Plan> {
    let app: LockedApp =
        match serde_path_to_error::deserialize(&mut serde_json::Deserializer::from_slice(text)) {
            Ok(app) => app,
            Err(error) => return wrong(error.path().to_string(), error.inner().to_string()),
        };
    if app.spin_lock_version > 1 {
        let reason = format!("is {}; the versions 0 and 1 are known", app.spin_lock_version);
        return wrong("spin_lock_version", reason);
    }
    if let Some(unknown) = app
        .must_understand
        .iter()
        .find(|it| !UNDERSTOOD.contains(&it.as_str()))
    {
        return wrong("must_understand", format!("`{unknown}` is not known here"));
    }
    requirements("host_requirements", &app.host_requirements)?;
    let name = text_of(&app.metadata, "metadata", "name")?.unwrap_or_default();
    let version = text_of(&app.metadata, "metadata", "version")?.unwrap_or_default();
    let (mut modules, mut files, mut component) = (Vec::new(), Vec::new(), BTreeMap::new());
    for locked in app.components {
        let id = locked.id.clone();
        if component.contains_key(&id) {
            return wrong(format!("components: `{id}`"), "there are two of this id");
        }
        component.insert(id, component_of(locked, &mut modules, &mut files)?);
    }
    let mut trigger: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for locked in app.triggers {
        let key = format!("triggers: `{}`", locked.id);
        if let Some(role) = locked.trigger_dependencies.keys().next() {
            return wrong(
                key,
                format!("has components before its own, for `{role}`, which is not done here"),
            );
        }
        let config = Value::Object(locked.trigger_config);
        trigger
            .entry(locked.trigger_type)
            .or_default()
            .push(without_null(config));
    }
    let variable = |variable: LockedVariable| Variable {
        required: variable.default.is_none(),
        default: variable.default,
        secret: variable.secret,
    };
    let manifest = Manifest {
        spin_manifest_version: 2,
        application: Application {
            name: name.clone(),
            version,
            trigger: settings(&app.metadata)?,
        },
        variables: app
            .variables
            .into_iter()
            .map(|(name, it)| (name, variable(it)))
            .collect(),
        trigger,
        component,
    };
    let components = modules.len();
    modules.extend(files);
    match toml_edit::ser::to_string_pretty(&manifest) {
        Ok(manifest) => Ok(Plan {
            name,
            manifest,
            components,
            parts: modules,
        }),
        Err(error) => wrong("triggers", format!("cannot be written as a manifest: {error}")),
    }
}

fn component_of(
    locked: LockedComponent,
    modules: &mut Vec<Part>,
    files: &mut Vec<Part>,
) -> Result<Component> {
    let id = &locked.id;
    let key = format!("components: `{id}`");
    // It becomes a name of a file; what else a name may not be is told by the manifest's own check.
    if id.is_empty()
        || !id
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    {
        return wrong(key, "is no name of a component");
    }
    for (what, map) in [
        ("dependencies", &locked.dependencies),
        ("trigger_dependencies", &locked.trigger_dependencies),
    ] {
        if let Some(name) = map.keys().next() {
            let reason = format!(
                "`{name}` is to be put together with it, which is not done here; \
                 push the application as composed, which is what `spin registry push` does by itself"
            );
            return wrong(format!("{key}: {what}"), reason);
        }
    }
    requirements(&format!("{key}: host_requirements"), &locked.host_requirements)?;
    let source = format!("modules/{id}.wasm");
    modules.push(Part {
        content: content(&locked.source, &format!("{key}: source"))?,
        what: format!("component `{id}`"),
        path: source.clone(),
    });
    let mut seen = BTreeSet::new();
    for file in &locked.files {
        if file.path.split('/').count() > MAX_DEPTH + 1 {
            let reason = format!("has a file that is more than {MAX_DEPTH} directories deep");
            return wrong(format!("{key}: files"), reason);
        }
        let key = format!("{key}: files: {:?}", file.path);
        let is_name = |part: &str| !matches!(part, "" | "." | "..") && !part.contains('\0');
        if !file.path.split('/').all(is_name) {
            return wrong(key, "is no path below the component's root");
        }
        if !seen.insert(file.path.as_str()) {
            return wrong(key, "is there twice");
        }
        files.push(Part {
            content: content(&file.content, &key)?,
            what: format!("component `{id}`: file {:?}", file.path),
            path: format!("files/{id}/{}", file.path),
        });
    }
    let placed = Placed {
        source: format!("files/{id}"),
        destination: "/".to_owned(),
    };
    let list = |name| texts(&locked.metadata, &key, name);
    Ok(Component {
        source,
        allowed_outbound_hosts: list("allowed_outbound_hosts")?,
        allowed_http_hosts: list("allowed_http_hosts")?,
        key_value_stores: list("key_value_stores")?,
        sqlite_databases: list("databases")?,
        ai_models: list("ai_models")?,
        files: if seen.is_empty() { Vec::new() } else { vec![placed] },
        environment: locked.env.clone(),
        variables: locked.config.clone(),
    })
}

fn content(raw: &ContentRef, key: &str) -> Result<Content> {
    match raw {
        ContentRef {
            inline: Some(text), ..
        } => match STANDARD.decode(text) {
            Ok(bytes) => Ok(Content::Inline(bytes)),
            Err(error) => wrong(format!("{key}: inline"), format!("is no Base64: {error}")),
        },
        ContentRef {
            digest: Some(digest), ..
        } => Ok(Content::Digest(digest.clone())),
        _ => wrong(
            key,
            "has neither a digest nor its content inline, so it is in no layer",
        ),
    }
}

fn requirements(key: &str, required: &Map<String, Value>) -> Result<()> {
    let unmet = required
        .iter()
        .find(|(name, level)| level.as_str() != Some("optional") && !REQUIREMENTS.contains(&name.as_str()));
    match unmet {
        Some((name, _)) => wrong(key, format!("`{name}` is not provided here")),
        None => Ok(()),
    }
}

/// What types of triggers are given for all of theirs; older applications have but one type.
fn settings(metadata: &Map<String, Value>) -> Result<Map<String, Value>> {
    let tables = match (metadata.get("triggers"), metadata.get("trigger")) {
        (Some(Value::Object(tables)), _) => tables.clone(),
        (None, Some(Value::Object(table))) => {
            let Some(kind) = table.get("type").and_then(Value::as_str) else {
                return wrong("metadata.trigger.type", "is missing");
            };
            Map::from_iter([(kind.to_owned(), Value::Object(table.clone()))])
        }
        (None, None) => Map::new(),
        _ => return wrong("metadata.triggers", "is no object"),
    };
    let mut settings = Map::new();
    for (kind, table) in tables {
        let Value::Object(mut table) = without_null(table) else {
            return wrong(format!("metadata.triggers.{kind}"), "is no object");
        };
        table.remove("type");
        if !table.is_empty() {
            settings.insert(kind, Value::Object(table));
        }
    }
    Ok(settings)
}

/// TOML has nothing for null, which is the same as nothing.
fn without_null(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let kept = map.into_iter().filter(|(_, value)| !value.is_null());
            Value::Object(kept.map(|(name, value)| (name, without_null(value))).collect())
        }
        Value::Array(list) => {
            let kept = list.into_iter().filter(|value| !value.is_null());
            Value::Array(kept.map(without_null).collect())
        }
        other => other,
    }
}

fn text_of(map: &Map<String, Value>, key: &str, name: &str) -> Result<Option<String>> {
    match map.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => wrong(format!("{key}.{name}"), "is no text"),
    }
}

fn texts(map: &Map<String, Value>, key: &str, name: &str) -> Result<Vec<String>> {
    let Some(value) = map.get(name) else {
        return Ok(Vec::new());
    };
    let list: Option<Vec<String>> = value.as_array().and_then(|list| {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        list.iter().map(text).collect()
    });
    match list {
        Some(list) => Ok(list),
        None => wrong(format!("{key}: metadata.{name}"), "is no list of texts"),
    }
}
