//! Whom a request is for, told to the guest in the request's target.

use hyper::Request;
use hyper::header::HOST;
use hyper::http::uri::{PathAndQuery, Scheme, Uri};

/// The request with the authority of its Host field in its target, where HTTP/1.1 leaves it out; `None` where there
/// is none, or more than one: of two, somebody before us may have gone by the other (RFC 9112, section 3.2).
///
/// The engine hides the field from guests of WASI 0.2 and 0.3 alike. Those of 0.2 it gives the authority of either
/// place, and fails without one, which must not look like the guest's failure; those of 0.3 that of the target alone.
pub fn absolute<B>(request: Request<B>) -> Option<Request<B>> {
    if request.headers().get_all(HOST).iter().nth(1).is_some() {
        return None;
    }
    if request.uri().authority().is_some() {
        return Some(request);
    }
    let (mut head, body) = request.into_parts();
    // A name or address and a port; an authority may name a user as well.
    let host = head.headers.get(HOST)?.to_str().ok()?;
    if host.contains('@') {
        return None;
    }
    let mut target = head.uri.into_parts();
    target.authority = Some(host.parse().ok()?);
    target.scheme = Some(Scheme::HTTP);
    target
        .path_and_query
        .get_or_insert(PathAndQuery::from_static("/"));
    head.uri = Uri::from_parts(target).ok()?;
    Some(Request::from_parts(head, body))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(uri: &str, host: Option<&str>) -> Option<String> {
        let mut request = Request::get(uri);
        if let Some(host) = host {
            request = request.header(HOST, host);
        }
        absolute(request.body(()).unwrap()).map(|request| request.uri().to_string())
    }

    #[test]
    fn the_host_becomes_the_authority() {
        assert_eq!(
            target("/a?b=c", Some("one.test:81")).unwrap(),
            "http://one.test:81/a?b=c"
        );
        assert_eq!(target("*", Some("[::1]")).unwrap(), "http://[::1]*");
    }

    #[test]
    fn an_absolute_target_stays_as_it_is() {
        let uri = "http://one.test/a";
        assert_eq!(target(uri, Some("other.test")).unwrap(), uri);
        assert_eq!(target(uri, None).unwrap(), uri);
    }

    #[test]
    fn without_a_valid_host_there_is_none() {
        assert_eq!(target("/", None), None);
        assert_eq!(target("/", Some("no host")), None);
        assert_eq!(target("/", Some("")), None);
        assert_eq!(target("/", Some("user@one.test")), None);
    }

    #[test]
    fn of_two_hosts_none_is_right() {
        for uri in ["/", "http://one.test/"] {
            let request = Request::get(uri)
                .header(HOST, "one.test")
                .header(HOST, "two.test");
            assert!(absolute(request.body(()).unwrap()).is_none(), "{uri}");
        }
    }
}
