//! The manifest of an application, `/spin.toml`, in both of its versions and as one model. Pure: what it names is
//! looked for elsewhere, and variables are only filled in when there are values.
//!
//! ```text
//! text ── raw (serde) ── convert: small checks ── Manifest ── retain
//! ```
//!
//! What the builder of the application is told (`build`, `targets`, `tool`, `profile`, descriptions) is checked for
//! its form at most. What cannot be done is refused by name: sources that are to be downloaded, dependencies on
//! other components, models.

mod component;
mod convert;
mod error;
mod http;
mod name;
mod raw;
mod template;

use std::collections::{BTreeMap, BTreeSet};

pub use error::ManifestError;
pub use http::{Executor, HttpTrigger, Reply, Route, Target, WELL_KNOWN};
pub use template::Template;

use super::super::application::MAX_COMPONENTS;

/// Most bytes of a manifest.
pub const MAX_SIZE: u64 = 1 << 20;

/// Most triggers; each is looked at when a request comes.
const MAX_TRIGGERS: usize = 1024;

/// An application.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    pub name: String,
    /// Empty where it has none.
    pub version: String,
    pub variables: BTreeMap<String, Variable>,
    /// By id. Only those of triggers are run.
    pub components: BTreeMap<String, Component>,
    pub http: Vec<HttpTrigger>,
    pub redis: Vec<RedisTrigger>,
    /// Components that run once.
    pub commands: Vec<String>,
}

/// A variable of the application: has a default, or must be given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variable {
    pub default: Option<String>,
    /// Not to be shown.
    pub secret: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Component {
    /// Where it is in the manifest: `component.ID`.
    pub key: String,
    /// A path from the root of the image.
    pub source: String,
    pub environment: BTreeMap<String, String>,
    pub variables: BTreeMap<String, Template>,
    pub files: Vec<Files>,
    pub exclude_files: Vec<String>,
    pub allowed_outbound_hosts: Vec<Template>,
    /// The same in older words; hosts without a scheme.
    pub allowed_http_hosts: Vec<String>,
    /// Whether every database may be connected to, as version 1 has it where nothing else is said.
    pub any_database: bool,
    pub key_value_stores: BTreeSet<String>,
    pub sqlite_databases: BTreeSet<String>,
}

/// Files that a component sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Files {
    /// A path or a pattern of paths, below the root of the image and seen at the same place.
    Pattern(String),
    /// A file or directory, and where it is seen.
    Placed { source: String, destination: String },
}

impl Files {
    /// The path or pattern of what is shown.
    pub fn source(&self) -> &str {
        match self {
            Self::Pattern(source) | Self::Placed { source, .. } => source,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedisTrigger {
    /// Where it is in the manifest.
    pub key: String,
    pub component: String,
    pub channel: Template,
    pub address: Option<Template>,
}

impl Manifest {
    /// Reads a manifest, and checks all that can be without a look at anything else.
    pub fn parse(text: &str) -> Result<Self, ManifestError> {
        let manifest = convert::parse(text)?;
        manifest.check()?;
        Ok(manifest)
    }

    fn check(&self) -> Result<(), ManifestError> {
        let triggers = self.http.len() + self.redis.len() + self.commands.len();
        if triggers == 0 {
            return Err(ManifestError::at(
                "trigger",
                "there is none, so nothing would ever run",
            ));
        }
        check_triggers(triggers)?;
        if self.commands.len() > 1 {
            let reason = format!("there are {}, and one program is run", self.commands.len());
            return Err(ManifestError::at("trigger.command", reason));
        }
        let used = self.used().len();
        if used > MAX_COMPONENTS {
            let reason = format!("{used} are named by triggers, and at most {MAX_COMPONENTS} are run");
            return Err(ManifestError::at("component", reason));
        }
        self.check_cases()?;
        http::check_routes(&self.http)
    }

    /// Components have hosts for names within the application, and those have no case.
    fn check_cases(&self) -> Result<(), ManifestError> {
        let mut seen: BTreeMap<String, &str> = BTreeMap::new();
        for id in self.components.keys() {
            if let Some(other) = seen.insert(id.to_ascii_lowercase(), id) {
                let reason = format!("differs from component `{other}` in case only; rename one of them");
                return Err(ManifestError::at(format!("component.{id}"), reason));
            }
        }
        Ok(())
    }

    /// The components that triggers name.
    pub fn used(&self) -> BTreeSet<&str> {
        let http = self.http.iter().filter_map(|trigger| trigger.component());
        let redis = self.redis.iter().map(|trigger| trigger.component.as_str());
        let commands = self.commands.iter().map(String::as_str);
        http.chain(redis).chain(commands).collect()
    }

    /// Leaves only these components, and their triggers.
    pub fn retain(&mut self, ids: &BTreeSet<&str>) -> Result<(), ManifestError> {
        if let Some(unknown) = ids.iter().find(|id| !self.components.contains_key(**id)) {
            let reason = format!("there is no component `{unknown}`, which is to be retained");
            return Err(ManifestError::at("component", reason));
        }
        self.components.retain(|id, _| ids.contains(id.as_str()));
        self.http
            .retain(|trigger| trigger.component().is_some_and(|id| ids.contains(id)));
        self.redis
            .retain(|trigger| ids.contains(trigger.component.as_str()));
        self.commands.retain(|id| ids.contains(id.as_str()));
        self.check()
    }
}

/// Sees that there are no more triggers than are run.
fn check_triggers(triggers: usize) -> Result<(), ManifestError> {
    if triggers <= MAX_TRIGGERS {
        return Ok(());
    }
    let reason = format!("there are {triggers}, and at most {MAX_TRIGGERS} are run");
    Err(ManifestError::at("trigger", reason))
}

#[cfg(test)]
mod tests;
