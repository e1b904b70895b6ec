//! What a component is told about a request besides the request itself: fields `spin-…`, and the same in the
//! environment of a program (executor `wagi`).

use std::net::SocketAddr;

use hyper::header::{CONNECTION, HOST, HeaderMap, HeaderName, HeaderValue};
use hyper::http::uri::{Authority, PathAndQuery, Scheme};
use hyper::{Request, Uri};

use super::router::{Matched, Text};

/// Nobody but us may say what they say.
const PREFIXES: [&str; 1] = ["spin-path-match-"];

/// Fields of the connection, which is the server's: it sets those itself that an answer needs. What else a program or a
/// manifest says there would have a client take a part of this answer for the next one.
const OF_THE_CONNECTION: [&str; 8] = [
    "connection",
    "content-length",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

static PATH_INFO: HeaderName = HeaderName::from_static("spin-path-info");
static FULL_URL: HeaderName = HeaderName::from_static("spin-full-url");
static CLIENT_ADDR: HeaderName = HeaderName::from_static("spin-client-addr");

/// Leaves out of an answer's fields what is the server's to say.
pub fn leave_connection_to_server(headers: &mut HeaderMap) {
    for name in OF_THE_CONNECTION {
        headers.remove(name);
    }
}

/// The request with a host in the place of one that means something within the application only: a component that
/// passes the name on would call another one by it. Its target becomes absolute.
pub fn at_localhost<B>(request: Request<B>) -> Request<B> {
    let (mut head, body) = request.into_parts();
    let mut target = std::mem::take(&mut head.uri).into_parts();
    target.scheme.get_or_insert(Scheme::HTTP);
    target.authority = Some(Authority::from_static("localhost"));
    target
        .path_and_query
        .get_or_insert(PathAndQuery::from_static("/"));
    // All three are there, which is all that it takes.
    head.uri = Uri::from_parts(target).unwrap_or_default();
    head.headers.remove(HOST);
    Request::from_parts(head, body)
}

/// The facts, by the name of their field.
pub fn facts(uri: &Uri, matched: &Matched, client: SocketAddr) -> Vec<(String, String)> {
    let own =
        of_request(uri, matched.rest.clone(), client).map(|(name, value)| (name.as_str().to_owned(), value));
    let route = of_route(&matched.text).map(|(name, value)| (name.to_owned(), value));
    let facts = own.into_iter().chain(route);
    facts.chain(of_parameters(&matched.named)).collect()
}

fn of_request(uri: &Uri, rest: String, client: SocketAddr) -> [(&'static HeaderName, String); 3] {
    let host = uri
        .authority()
        .map_or("localhost", |authority| authority.as_str());
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let scheme = uri.scheme_str().unwrap_or("http");
    [
        (&PATH_INFO, rest),
        (&FULL_URL, [scheme, "://", host, path].concat()),
        (&CLIENT_ADDR, client.to_string()),
    ]
}

/// Those that are the same for all requests of a route.
pub fn of_route(text: &Text) -> [(&'static str, String); 4] {
    [
        ("spin-matched-route", text.based.clone()),
        ("spin-base-path", "/".to_owned()),
        ("spin-raw-component-route", text.raw.clone()),
        ("spin-component-route", text.raw_or_prefix().to_owned()),
    ]
}

fn of_parameters(named: &[(String, String)]) -> impl Iterator<Item = (String, String)> {
    named
        .iter()
        .map(|(name, value)| (format!("spin-path-match-{name}").to_lowercase(), value.clone()))
}

/// `None` where a name or a value is none: a parameter of a route may have a name that no field can have, and a path
/// bytes that no field takes.
pub fn field(name: &str, value: String) -> Option<(HeaderName, HeaderValue)> {
    let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
    Some((name, HeaderValue::try_from(value).ok()?))
}

/// Puts the facts into the fields of a request, in the place of any that it came with.
pub fn set<B>(request: &mut Request<B>, matched: Matched, client: SocketAddr) {
    let Matched {
        text, rest, named, ..
    } = matched;
    let own = of_request(request.uri(), rest, client);
    let headers = request.headers_mut();
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
    headers.reserve(own.len() + text.fields.len() + named.len());
    let own = own.into_iter().filter_map(|(name, value)| {
        let value = HeaderValue::try_from(value).ok()?;
        Some((name.clone(), value))
    });
    let named = of_parameters(&named).filter_map(|(name, value)| field(&name, value));
    for (name, value) in text.fields.iter().cloned().chain(own).chain(named) {
        headers.insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_connection_is_the_server_s() {
        let mut headers = HeaderMap::new();
        for name in [
            "Content-Length",
            "Transfer-Encoding",
            "Connection",
            "Keep-Alive",
            "Upgrade",
            "Trailer",
            "x-own",
        ] {
            let name = HeaderName::try_from(name).expect("a name");
            headers.append(name.clone(), HeaderValue::from_static("1"));
            headers.append(name, HeaderValue::from_static("2"));
        }
        leave_connection_to_server(&mut headers);
        assert_eq!(
            headers.keys().map(HeaderName::as_str).collect::<Vec<_>>(),
            ["x-own"]
        );
    }

    #[test]
    fn a_host_of_the_application_is_not_passed_on() {
        for (uri, expected) in [
            ("http://a.spin.internal:81/x?y", "http://localhost/x?y"),
            ("https://self.alt", "https://localhost/"),
            ("/x", "http://localhost/x"),
        ] {
            let request = Request::get(uri).header(HOST, "a.spin.internal").body(());
            let request = at_localhost(request.expect("a request"));
            assert_eq!(request.uri().to_string(), expected);
            assert!(!request.headers().contains_key(HOST));
        }
    }

    #[test]
    fn a_request_carries_what_the_route_says() {
        let matched = Matched {
            trigger: 0,
            text: Text::new("/user/:Name/...", "/base/user/:Name/...").into(),
            rest: "/x".to_owned(),
            named: vec![("Name".to_owned(), "ann".to_owned())],
        };
        let uri = Uri::from_static("http://one.test:81/base/user/ann/x?a=b");
        let client = SocketAddr::from(([10, 0, 0, 7], 4242));
        let mut request = Request::get(&uri).body(()).expect("a request");
        let headers = request.headers_mut();
        for name in ["spin-client-addr", "spin-path-match-other", "connection", "kept"] {
            headers.insert(name, HeaderValue::from_static("forged"));
        }
        set(&mut request, matched.clone(), client);
        let headers = request.headers();
        for (name, value) in facts(&uri, &matched, client) {
            assert_eq!(
                headers.get(&name).map(HeaderValue::as_bytes),
                Some(value.as_bytes()),
                "{name}"
            );
        }
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
