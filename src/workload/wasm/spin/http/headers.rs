//! What a component is told about a request besides the request itself: fields `spin-…`, and the same in the
//! environment of a program (executor `wagi`).

use std::net::SocketAddr;

use hyper::Uri;
use hyper::header::{CONNECTION, HeaderMap, HeaderName, HeaderValue};

use super::router::Matched;

/// Nobody but us may say what they say.
const PREFIXES: [&str; 1] = ["spin-path-match-"];

/// The facts, by the name that a field has without `spin-`.
pub fn facts(uri: &Uri, matched: &Matched, client: SocketAddr) -> Vec<(String, String)> {
    let host = uri
        .authority()
        .map_or("localhost", |authority| authority.as_str());
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let scheme = uri.scheme_str().unwrap_or("http");
    let mut facts = vec![
        ("path-info", matched.rest.clone()),
        ("full-url", format!("{scheme}://{host}{path}")),
        ("matched-route", matched.based.clone()),
        ("base-path", "/".to_owned()),
        ("raw-component-route", matched.raw.clone()),
        ("component-route", matched.raw_or_prefix().to_owned()),
        ("client-addr", client.to_string()),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect::<Vec<_>>();
    let named = matched.named.iter();
    facts.extend(named.map(|(name, value)| (format!("path-match-{name}").to_lowercase(), value.clone())));
    facts
}

/// Puts them into the fields of a request, in the place of any that it came with.
pub fn set(headers: &mut HeaderMap, facts: Vec<(String, String)>) {
    let others: Vec<HeaderName> = headers
        .keys()
        .filter(|name| PREFIXES.iter().any(|prefix| name.as_str().starts_with(prefix)))
        .cloned()
        .collect();
    for name in others {
        headers.remove(name);
    }
    // Of the connection, which is ours.
    headers.remove(CONNECTION);
    for (name, value) in facts {
        // A parameter of a route may have a name that no field can have, and a path bytes that no field takes.
        let name = HeaderName::try_from(format!("spin-{name}"));
        let value = HeaderValue::try_from(value);
        if let (Ok(name), Ok(value)) = (name, value) {
            headers.insert(name, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_carries_what_the_route_says() {
        let matched = Matched {
            trigger: 0,
            raw: "/user/:Name/...".to_owned(),
            based: "/base/user/:Name/...".to_owned(),
            rest: "/x".to_owned(),
            named: vec![("Name".to_owned(), "ann".to_owned())],
        };
        let uri = Uri::from_static("http://one.test:81/base/user/ann/x?a=b");
        let client = SocketAddr::from(([10, 0, 0, 7], 4242));
        let mut headers = HeaderMap::new();
        for name in ["spin-client-addr", "spin-path-match-other", "connection", "kept"] {
            headers.insert(name, HeaderValue::from_static("forged"));
        }
        set(&mut headers, facts(&uri, &matched, client));
        let get = |name: &str| headers.get(name).map(|value| value.to_str().expect("text"));
        for (name, value) in [
            ("spin-path-info", "/x"),
            ("spin-full-url", "http://one.test:81/base/user/ann/x?a=b"),
            ("spin-matched-route", "/base/user/:Name/..."),
            ("spin-base-path", "/"),
            ("spin-raw-component-route", "/user/:Name/..."),
            ("spin-component-route", "/user/:Name"),
            ("spin-client-addr", "10.0.0.7:4242"),
            ("spin-path-match-name", "ann"),
            ("kept", "forged"),
        ] {
            assert_eq!(get(name), Some(value), "{name}");
        }
        assert_eq!((get("spin-path-match-other"), get("connection")), (None, None));
    }
}
