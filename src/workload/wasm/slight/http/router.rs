//! Routes, as slight's router has them: in `/person/:name` a part of the path has a name, and `*` is any rest. A slash
//! at the end of either counts for nothing. The first route counts that has the method and matches the path.

use std::sync::Arc;

use crate::workload::wasm::kinds::shape::printable;

/// Most routes of a router; each is looked at when a request comes.
pub const MAX_ROUTES: usize = 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    Get,
    Put,
    Post,
    Delete,
}

impl Method {
    pub const ALL: [Self; 4] = [Self::Get, Self::Put, Self::Post, Self::Delete];

    /// The function that adds a route of it.
    pub const fn function(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Put => "put",
            Self::Post => "post",
            Self::Delete => "delete",
        }
    }

    fn is(self, method: &hyper::Method) -> bool {
        match self {
            Self::Get => method == hyper::Method::GET,
            Self::Put => method == hyper::Method::PUT,
            Self::Post => method == hyper::Method::POST,
            Self::Delete => method == hyper::Method::DELETE,
        }
    }
}

/// Routes; those that are added make another router, as the interface has it.
#[derive(Debug, Default)]
pub struct Router {
    before: Option<Arc<Router>>,
    last: Option<Route>,
    count: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    method: Method,
    pieces: Vec<Piece>,
    /// The name of the function that answers.
    pub handler: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    /// Up to the next slash, at least a character.
    Part(String),
    /// Whatever it is.
    Rest,
}

/// What the names in a route stand for, in their order.
pub type Parameters = Vec<(String, String)>;

impl Router {
    /// A router that has one more route.
    pub fn with(before: &Arc<Self>, method: Method, route: &str, handler: String) -> Result<Self, String> {
        let count = before.count + 1;
        if count > MAX_ROUTES {
            return Err(format!("a router has at most {MAX_ROUTES} routes"));
        }
        let route = Route {
            method,
            pieces: pieces(route)?,
            handler,
        };
        Ok(Self {
            before: Some(Arc::clone(before)),
            last: Some(route),
            count,
        })
    }

    /// In the order in which they were added.
    pub fn routes(&self) -> Vec<&Route> {
        let mut routes = Vec::with_capacity(self.count);
        let mut router = Some(self);
        while let Some(Self { before, last, .. }) = router {
            routes.extend(last);
            router = before.as_deref();
        }
        routes.reverse();
        routes
    }
}

fn pieces(route: &str) -> Result<Vec<Piece>, String> {
    let wrong = |reason: &str| Err(format!("route `{}` {reason}", printable(route)));
    if !route.starts_with('/') && !route.is_empty() {
        return wrong("does not begin with a slash");
    }
    let (mut pieces, mut text, mut rests) = (Vec::new(), String::new(), 0);
    let whole = format!("{}/", route.strip_suffix('/').unwrap_or(route));
    let mut left = whole.as_str();
    while let Some(character) = left.chars().next() {
        let special = match character {
            '*' => {
                rests += 1;
                Some((Piece::Rest, 1))
            }
            ':' => {
                let end = left.find('/').unwrap_or(left.len());
                let name = left.get(1..end).filter(|name| !name.is_empty());
                name.map(|name| (Piece::Part(name.to_owned()), end))
            }
            _ => None,
        };
        let length = match special {
            Some((piece, length)) => {
                if !text.is_empty() {
                    pieces.push(Piece::Text(std::mem::take(&mut text)));
                }
                pieces.push(piece);
                length
            }
            None => {
                text.push(character);
                character.len_utf8()
            }
        };
        left = left.get(length..).unwrap_or_default();
    }
    if !text.is_empty() {
        pieces.push(Piece::Text(text));
    }
    if rests > 1 {
        return wrong("has more than one `*`");
    }
    Ok(pieces)
}

impl Route {
    /// What its names stand for where a request is for it; `path` is as [`decoded`] gives it.
    pub fn matches(&self, method: &hyper::Method, path: &str) -> Option<Parameters> {
        if !self.method.is(method) {
            return None;
        }
        let mut parameters = Vec::new();
        find(&self.pieces, path, &mut parameters).then_some(parameters)
    }
}

fn find(pieces: &[Piece], path: &str, parameters: &mut Parameters) -> bool {
    let Some((first, rest)) = pieces.split_first() else {
        return path.is_empty();
    };
    match first {
        Piece::Text(text) => path
            .strip_prefix(text.as_str())
            .is_some_and(|path| find(rest, path, parameters)),
        Piece::Part(name) => {
            let end = path.find('/').unwrap_or(path.len());
            let (value, path) = path.split_at(end);
            if value.is_empty() {
                return false;
            }
            parameters.push((name.clone(), value.to_owned()));
            find(rest, path, parameters)
        }
        Piece::Rest => {
            // As much as leaves enough for what follows; it is the only one.
            let ends = path.char_indices().map(|(at, _)| at).chain([path.len()]);
            let ends: Vec<usize> = ends.collect();
            let before = parameters.len();
            ends.into_iter().rev().any(|end| {
                let (value, path) = path.split_at(end);
                parameters.truncate(before);
                parameters.push(("*".to_owned(), value.to_owned()));
                find(rest, path, parameters)
            })
        }
    }
}

/// A path with what is escaped in it, and a slash at its end; `None` where that is no text.
pub fn decoded(path: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(path.len() + 1);
    let mut left = path.as_bytes();
    while let Some((first, rest)) = left.split_first() {
        let escaped = match (first, rest) {
            (b'%', [high, low, ..]) => digit(*high).zip(digit(*low)),
            _ => None,
        };
        match escaped {
            Some((high, low)) => {
                bytes.push(high << 4 | low);
                left = rest.get(2..).unwrap_or_default();
            }
            None => {
                bytes.push(*first);
                left = rest;
            }
        }
    }
    if bytes.last() != Some(&b'/') {
        bytes.push(b'/');
    }
    String::from_utf8(bytes).ok()
}

fn digit(character: u8) -> Option<u8> {
    let digit = char::from(character).to_digit(16)?;
    u8::try_from(digit).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matched(route: &str, path: &str) -> Option<Vec<(String, String)>> {
        let router = Router::with(&Arc::default(), Method::Get, route, "h".to_owned()).expect("a route");
        let path = decoded(path).expect("text");
        router.routes()[0].matches(&hyper::Method::GET, &path)
    }

    fn parameters(pairs: &[(&str, &str)]) -> Option<Vec<(String, String)>> {
        let pair = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Some(pairs.iter().map(pair).collect())
    }

    #[test]
    fn paths_are_matched_as_a_whole() {
        for (route, path) in [
            ("/hello", "/hello"),
            ("/hello/", "/hello"),
            ("/hello", "/hello/"),
            ("/", "/"),
        ] {
            assert_eq!(matched(route, path), parameters(&[]), "{route} {path}");
        }
        for (route, path) in [
            ("/hello", "/hello/x"),
            ("/hello", "/hell"),
            ("/", "/x"),
            ("/hello", "/"),
        ] {
            assert_eq!(matched(route, path), None, "{route} {path}");
        }
    }

    #[test]
    fn names_stand_for_parts_of_a_path() {
        assert_eq!(
            matched("/person/:name", "/person/ann"),
            parameters(&[("name", "ann")])
        );
        assert_eq!(
            matched("/person/:name", "/person/a%20b/"),
            parameters(&[("name", "a b")])
        );
        assert_eq!(
            matched("/:a/x-:b", "/1/x-2"),
            parameters(&[("a", "1"), ("b", "2")])
        );
        assert_eq!(matched("/person/:name", "/person/"), None);
        assert_eq!(matched("/person/:name", "/person/a/b"), None);
    }

    #[test]
    fn an_asterisk_stands_for_any_rest() {
        assert_eq!(matched("/files/*", "/files/a/b"), parameters(&[("*", "a/b")]));
        assert_eq!(matched("/*/end", "/a/end/b/end"), parameters(&[("*", "a/end/b")]));
        assert_eq!(
            matched("/*/:last", "/a/b"),
            parameters(&[("*", "a"), ("last", "b")])
        );
        assert_eq!(matched("/files/*/x", "/files/a"), None);
    }

    #[test]
    fn methods_and_order_count() {
        let first = Router::with(&Arc::default(), Method::Get, "/a", "one".to_owned()).expect("a route");
        let second = Router::with(&Arc::new(first), Method::Put, "/a", "two".to_owned()).expect("a route");
        let handlers: Vec<&str> = second
            .routes()
            .iter()
            .map(|route| route.handler.as_str())
            .collect();
        assert_eq!(handlers, ["one", "two"]);
        let find = |method: &hyper::Method| {
            let routes = second.routes();
            let found = routes.iter().find(|route| route.matches(method, "/a/").is_some());
            found.map(|route| route.handler.clone())
        };
        assert_eq!(find(&hyper::Method::PUT).as_deref(), Some("two"));
        assert_eq!(find(&hyper::Method::POST), None);
        assert_eq!(find(&hyper::Method::HEAD), None);
    }

    #[test]
    fn what_is_no_route_is_refused() {
        let add =
            |before: &Arc<Router>, route: &str| Router::with(before, Method::Get, route, "h".to_owned());
        for wrong in ["hello", "*", "/*/*"] {
            assert!(add(&Arc::default(), wrong).expect_err(wrong).contains(wrong));
        }
        let mut router = Arc::default();
        for _ in 0..MAX_ROUTES {
            router = Arc::new(add(&router, "/").expect("a route"));
        }
        assert!(add(&router, "/").expect_err("too many").contains("1024"));
    }

    #[test]
    fn only_text_is_decoded() {
        assert_eq!(decoded("/a%2Fb%").as_deref(), Some("/a/b%/"));
        assert_eq!(decoded("/%ff"), None);
    }
}
