//! From the path of a request to the trigger that is for it, and what a component is told of that.

use std::sync::{Arc, LazyLock};

use hyper::header::{HeaderName, HeaderValue};
use routefinder::Router as Finder;

use super::super::manifest::{HttpTrigger, ManifestError, Route};
use super::headers;

/// The routes of an application.
pub struct Router(Finder<Routed>);

/// A route, and whose it is.
struct Routed {
    /// Place among the triggers.
    trigger: usize,
    text: Arc<Text>,
}

/// What is the same for all requests of a route.
#[derive(Debug, PartialEq, Eq)]
pub struct Text {
    /// The route as it is written in the manifest.
    pub raw: String,
    /// The same below the application's base.
    pub based: String,
    /// What requests are given of it, as fields.
    pub fields: Vec<(HeaderName, HeaderValue)>,
}

/// What a request's path says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Matched {
    pub trigger: usize,
    pub text: Arc<Text>,
    /// What stands for a trailing wildcard.
    pub rest: String,
    /// Names and values of parameters.
    pub named: Vec<(String, String)>,
}

impl Router {
    pub fn new(triggers: &[HttpTrigger]) -> Result<Self, ManifestError> {
        let mut finder = Finder::new();
        for (at, trigger) in triggers.iter().enumerate() {
            let Route::Public { raw, based } = &trigger.route else {
                continue;
            };
            let wrong = |error: String| ManifestError::at(format!("{}.route", trigger.key), error);
            let spec = trigger.route.spec().map_err(|error| wrong(error.to_string()))?;
            let routed = Routed {
                trigger: at,
                text: Arc::new(Text::new(raw, based)),
            };
            if let Some(spec) = spec {
                finder.add(spec, routed).map_err(|never| match never {})?;
            }
        }
        Ok(Self(finder))
    }

    pub fn find(&self, path: &str) -> Option<Matched> {
        let found = self.0.best_match(path)?;
        let (routed, captures) = (found.handler(), found.captures());
        let named = captures
            .iter()
            .map(|(name, value)| (name.to_owned(), value.to_owned()));
        Some(Matched {
            trigger: routed.trigger,
            text: Arc::clone(&routed.text),
            rest: captures
                .wildcard()
                .map(|rest| trailing(rest, path))
                .unwrap_or_default(),
            named: named.collect(),
        })
    }
}

/// What stands for the wildcard, with the slashes around it: the finder leaves them out, and components take them for
/// granted.
fn trailing(rest: &str, path: &str) -> String {
    match (rest.is_empty(), path.ends_with('/')) {
        (true, false) => String::new(),
        (true, true) => "/".to_owned(),
        (false, false) => format!("/{rest}"),
        (false, true) => format!("/{rest}/"),
    }
}

impl Matched {
    /// For a call from another component, which names a component and no route.
    pub fn internal(trigger: usize, path: &str) -> Self {
        static ANY: LazyLock<Arc<Text>> = LazyLock::new(|| Arc::new(Text::new("/...", "/...")));
        Self {
            trigger,
            text: Arc::clone(&ANY),
            rest: path.to_owned(),
            named: Vec::new(),
        }
    }
}

impl Text {
    pub fn new(raw: &str, based: &str) -> Self {
        let mut text = Self {
            raw: raw.to_owned(),
            based: based.to_owned(),
            fields: Vec::new(),
        };
        let facts = headers::of_route(&text).into_iter();
        text.fields = facts
            .filter_map(|(name, value)| headers::field(name, value))
            .collect();
        text
    }

    /// The route below the application's base, without its wildcard.
    pub fn based_or_prefix(&self) -> &str {
        self.based.strip_suffix("/...").unwrap_or(&self.based)
    }

    /// The written route without its wildcard.
    pub fn raw_or_prefix(&self) -> &str {
        self.raw.strip_suffix("/...").unwrap_or(&self.raw)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::wasm::spin::manifest::{Reply, Target};

    fn router(routes: &[&str], base: &str) -> Router {
        let trigger = |route: &&str| HttpTrigger {
            key: (*route).to_owned(),
            route: Route::public(route, base),
            target: Target::Reply(Reply {
                status: hyper::StatusCode::OK,
                headers: hyper::HeaderMap::new(),
                body: String::new(),
            }),
        };
        let triggers: Vec<HttpTrigger> = routes.iter().map(trigger).collect();
        Router::new(&triggers).expect("routes")
    }

    #[test]
    fn the_closest_route_wins() {
        let routes = ["/...", "/a", "/a/:id", "/a/b/...", "/"];
        let router = router(&routes, "/");
        let of = |path: &str| router.find(path).map(|found| routes[found.trigger]);
        assert_eq!(of("/"), Some("/"));
        assert_eq!(of("/a"), Some("/a"));
        assert_eq!(of("/a/"), Some("/a"));
        assert_eq!(of("/a/7"), Some("/a/:id"));
        assert_eq!(of("/a/b/c/d"), Some("/a/b/..."));
        assert_eq!(of("/x/y"), Some("/..."));
    }

    #[test]
    fn what_is_not_routed_is_not_found() {
        let router = router(&["/a", "/b/..."], "/");
        assert_eq!(router.find("/"), None);
        assert_eq!(router.find("/ab"), None);
        assert!(router.find("/b").is_some());
    }

    #[test]
    fn a_component_learns_what_was_asked_for() {
        let router = router(&["/user/:name/files/..."], "/base/");
        let found = router.find("/base/user/ann/files/one/two").expect("found");
        assert_eq!(found.text.raw, "/user/:name/files/...");
        assert_eq!(found.text.raw_or_prefix(), "/user/:name/files");
        assert_eq!(found.text.based, "/base/user/:name/files/...");
        assert_eq!(found.rest, "/one/two");
        assert_eq!(found.named, [("name".to_owned(), "ann".to_owned())]);
        for (path, rest) in [
            ("/base/user/ann/files", ""),
            ("/base/user/ann/files/", "/"),
            ("/base/user/ann/files/one/", "/one/"),
        ] {
            assert_eq!(router.find(path).expect("found").rest, rest, "{path}");
        }
        assert_eq!(router.find("/user/ann/files/one"), None);
    }
}
