//! Triggers by HTTP: at which route which component, or which fixed reply, answers.

use std::collections::BTreeMap;

use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::http::StatusCode;
use routefinder::{RouteSpec, Segment};

use super::error::ManifestError;
use super::raw;

/// Paths of the application that the runtime answers itself.
pub const WELL_KNOWN: &str = "/.well-known/spin/";

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpTrigger {
    /// Where it is in the manifest.
    pub key: String,
    pub route: Route,
    pub target: Target,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    Public {
        /// As it is written.
        raw: String,
        /// Below the application's base, and without a `/` at its end.
        based: String,
    },
    /// Only other components reach it, by its name.
    Private,
}

/// Who answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    Component { id: String, executor: Executor },
    Reply(Reply),
}

/// How a component is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Executor {
    /// By the handler that it exports.
    Http,
    /// As a CGI program; with the template of its arguments.
    Wagi { argv: String },
}

/// The same answer for everybody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: String,
}

/// What is wrong with a route.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    #[error("the route `{route}` is none: {reason}")]
    Invalid { route: String, reason: String },
}

impl HttpTrigger {
    /// Who answers, for errors.
    fn answers(&self) -> String {
        match self.component() {
            Some(id) => format!("component `{id}`"),
            None => "a static_response".to_owned(),
        }
    }

    /// The component that answers, where one does.
    pub fn component(&self) -> Option<&str> {
        match &self.target {
            Target::Component { id, .. } => Some(id),
            Target::Reply(_) => None,
        }
    }
}

impl Route {
    pub fn public(raw: &str, base: &str) -> Self {
        let slash = if raw.starts_with('/') { "" } else { "/" };
        let base = base.strip_suffix('/').unwrap_or(base);
        let based = format!("{base}{slash}{raw}");
        Self::Public {
            raw: raw.to_owned(),
            based: based.strip_suffix('/').unwrap_or(&based).to_owned(),
        }
    }

    /// In the form of the router, which writes `*` for what Spin writes `...`; `None` where it is private.
    pub fn spec(&self) -> Result<Option<RouteSpec>, RouteError> {
        let Self::Public { based, .. } = self else {
            return Ok(None);
        };
        let invalid = |reason: String| RouteError::Invalid {
            route: based.clone(),
            reason,
        };
        let prefix = based.strip_suffix("/...");
        if prefix.unwrap_or(based).split('/').any(|part| part == "...") {
            return Err(invalid("a wildcard must come last".to_owned()));
        }
        let written = prefix.map(|prefix| format!("{prefix}/*"));
        let written = written.as_deref().unwrap_or(based);
        let spec: RouteSpec = written.parse().map_err(invalid)?;
        // The router panics at a request otherwise.
        let segments = spec.segments();
        let wild = segments
            .iter()
            .position(|segment| matches!(segment, Segment::Wildcard));
        if wild.is_some_and(|at| at + 1 != segments.len()) {
            return Err(invalid("a wildcard must come last".to_owned()));
        }
        let param_ends = segments.windows(2).all(|pair| match pair {
            [Segment::Param(_), next] => matches!(next, Segment::Slash | Segment::Dot),
            _ => true,
        });
        if !param_ends {
            return Err(invalid(
                "a parameter must end at a `/`, at a `.` or with the route".to_owned(),
            ));
        }
        Ok(Some(spec))
    }
}

/// Sees that every route is one, and that no two match the same paths.
pub fn check_routes(triggers: &[HttpTrigger]) -> Result<(), ManifestError> {
    let mut seen: BTreeMap<String, &HttpTrigger> = BTreeMap::new();
    let mut private: BTreeMap<&str, &str> = BTreeMap::new();
    for trigger in triggers {
        let key = format!("{}.route", trigger.key);
        let spec = trigger
            .route
            .spec()
            .map_err(|error| ManifestError::at(&key, error.to_string()))?;
        let Some(spec) = spec else {
            let Some(id) = trigger.component() else {
                let reason = "is private, but only a component can be reached in private";
                return Err(ManifestError::at(key, reason));
            };
            if let Some(other) = private.insert(id, &trigger.key) {
                let reason = format!("component `{id}` is private already, by {other}");
                return Err(ManifestError::at(key, reason));
            }
            continue;
        };
        if let Route::Public { based, .. } = &trigger.route
            && based.starts_with(WELL_KNOWN)
        {
            let reason = format!("`{based}` would never be reached: wrun answers below {WELL_KNOWN} itself");
            return Err(ManifestError::at(key, reason));
        }
        if let Some(other) = seen.insert(shape(&spec), trigger) {
            let (this, that) = (trigger.answers(), other.answers());
            let reason = format!(
                "`{spec}`, for {this}, is the route of {}, for {that}, already",
                other.key
            );
            return Err(ManifestError::at(key, reason));
        }
    }
    Ok(())
}

/// What a route matches: the names of its parameters do not count.
fn shape(spec: &RouteSpec) -> String {
    let part = |segment: &Segment| match segment {
        Segment::Slash => "/".to_owned(),
        Segment::Dot => ".".to_owned(),
        Segment::Exact(text) => text.to_string(),
        Segment::Param(_) => ":".to_owned(),
        Segment::Wildcard => "*".to_owned(),
    };
    spec.segments().iter().map(part).collect()
}

pub fn executor(raw: Option<raw::Executor>, key: &str) -> Result<Executor, ManifestError> {
    let Some(raw) = raw else {
        return Ok(Executor::Http);
    };
    match raw.kind.as_str() {
        "http" | "spin" => {
            let other = [("entrypoint", &raw.entrypoint), ("argv", &raw.argv)];
            match other.into_iter().find(|(_, value)| value.is_some()) {
                Some((name, _)) => Err(ManifestError::at(
                    format!("{key}.executor.{name}"),
                    "is only for the type `wagi`",
                )),
                None => Ok(Executor::Http),
            }
        }
        "wagi" => match raw.entrypoint.as_deref() {
            None | Some("_start") => Ok(Executor::Wagi {
                argv: raw.argv.unwrap_or_else(|| "${SCRIPT_NAME} ${ARGS}".to_owned()),
            }),
            Some(other) => Err(ManifestError::at(
                format!("{key}.executor.entrypoint"),
                format!("is {other:?}; a program is entered at `_start`"),
            )),
        },
        other => Err(ManifestError::at(
            format!("{key}.executor.type"),
            format!("is {other:?}; there are `http` (also written `spin`) and `wagi`"),
        )),
    }
}

pub fn reply(raw: raw::StaticResponse, key: &str) -> Result<Reply, ManifestError> {
    let within = |name: &str| format!("{key}.static_response.{name}");
    let code = raw.status_code.unwrap_or(200);
    let status = StatusCode::from_u16(code).ok();
    let status = status.filter(|status| !status.is_informational());
    let status = status.ok_or_else(|| {
        ManifestError::at(
            within("status_code"),
            format!("{code} is no status of an answer, which are from 200 to 999"),
        )
    })?;
    let mut headers = HeaderMap::new();
    for (name, value) in raw.headers {
        let wrong = |what: &str| ManifestError::at(within(&format!("headers.{name}")), what);
        let header = HeaderName::try_from(name.as_str()).map_err(|_| wrong("is no name of a header"))?;
        let value = HeaderValue::try_from(value).map_err(|_| wrong("is no value of a header"))?;
        let added = headers.try_append(header, value);
        added.map_err(|_| ManifestError::at(within("headers"), "are more than can be sent"))?;
    }
    Ok(Reply {
        status,
        headers,
        body: raw.body.unwrap_or_default(),
    })
}
