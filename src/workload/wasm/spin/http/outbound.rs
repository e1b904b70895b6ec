//! Requests that components send: to where the manifest allows it, to other components of the application by their
//! names within it, and to the application itself.

use std::future::ready;
use std::io::Write as _;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::http::uri::Scheme;
use hyper::{Request, Response, Uri};
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody};

use super::super::MANIFEST;
use super::super::allowed_hosts::{INTERNAL, usual_port};
use super::super::host::{Fetch, FetchError, Fetching, Grants, Hold, Share, Stores, TooMany, Trust};
use super::{App, Link, empty, trusted};
use crate::workload::wasm::kinds::shape::printable;
use crate::workload::wasm::kinds::wasi::{Drained, Outbound, Sent, send};

/// The host by which a component calls its own application where a URL must have one.
const OWN: &str = "self.alt";

/// How long a server may take for the whole answer to a request of the first generation, and for a part of it.
const WHOLE_TIME: Duration = Duration::from_secs(300);
const CONNECT_TIME: Duration = Duration::from_secs(10);
const ANSWER_TIME: Duration = Duration::from_secs(60);

/// Knows where the requests of one component may go.
pub struct HttpOut {
    grants: Arc<Grants>,
    stores: Arc<Stores>,
    link: Link,
}

/// Sends the requests of one instance: their connections are of its share.
pub struct Requests {
    out: Arc<HttpOut>,
    share: Share,
}

/// Where a request goes.
#[derive(Debug, PartialEq, Eq)]
enum Way {
    /// To the component of this id.
    Inside(String),
    /// To the application, by its routes.
    Own,
    Outside,
}

impl HttpOut {
    pub fn new(grants: &Arc<Grants>, stores: &Arc<Stores>, link: Link) -> Self {
        Self {
            grants: Arc::clone(grants),
            stores: Arc::clone(stores),
            link,
        }
    }

    pub fn of_instance(self: &Arc<Self>, share: Share) -> Arc<Requests> {
        Arc::new(Requests {
            out: Arc::clone(self),
            share,
        })
    }

    /// Where a request goes; `None` where it may not.
    fn way(&self, uri: &Uri) -> Option<Way> {
        let allowed = &self.grants.allowed_hosts;
        let host = uri.host().unwrap_or_default().to_ascii_lowercase();
        if host.is_empty() || host == OWN {
            return allowed.allows_self().then_some(Way::Own);
        }
        let inside = host
            .strip_suffix(INTERNAL)
            .and_then(|rest| rest.strip_suffix('.'));
        if let Some(id) = inside {
            let plain = uri.scheme() == Some(&Scheme::HTTP);
            return (plain && allowed.allows_component(id)).then(|| Way::Inside(id.to_owned()));
        }
        let scheme = uri.scheme_str()?;
        let port = uri.port_u16().or_else(|| usual_port(scheme))?;
        allowed.allows(scheme, &host, port).then_some(Way::Outside)
    }

    /// The roots that the server of a request is to be seen by, where they are not the usual.
    fn trust(&self, uri: &Uri) -> Option<Trust> {
        let secure = uri.scheme() == Some(&Scheme::HTTPS);
        let host = uri.host().filter(|_| secure)?;
        self.stores.own_trust(&self.grants.component, host)
    }

    fn report(&self, uri: &Uri) {
        let place = printable(&place(uri));
        let component = &self.grants.component;
        let line = format!(
            "wrun: component `{component}` may not send a request to {place}; to allow it, add it to \
             allowed_outbound_hosts of component.{component} in {MANIFEST}\n"
        );
        // There is nobody to tell where it fails.
        let _ = std::io::stderr().write_all(line.as_bytes());
    }

    fn app(&self) -> Option<Arc<App>> {
        self.link.get().and_then(Weak::upgrade)
    }
}

/// What the manifest would have to allow. Not all of the authority: a user's password may be in it.
fn place(uri: &Uri) -> String {
    let scheme = uri.scheme_str().unwrap_or("http");
    match (uri.host(), uri.port_u16()) {
        (Some(host), Some(port)) => format!("{scheme}://{host}:{port}"),
        (Some(host), None) => format!("{scheme}://{host}"),
        (None, _) => "http://self".to_owned(),
    }
}

/// For the first generation's `http`.
impl Fetch for Requests {
    fn fetch(&self, request: Request<Full<Bytes>>, most: usize) -> Fetching {
        let uri = request.uri();
        if uri.host().is_some() && !matches!(uri.scheme_str(), Some("http" | "https")) {
            return Box::pin(ready(Err(FetchError::InvalidUrl)));
        }
        let options = RequestOptions {
            connect_timeout: Some(CONNECT_TIME),
            first_byte_timeout: Some(ANSWER_TIME),
            between_bytes_timeout: Some(ANSWER_TIME),
        };
        let request = request.map(|body| body.map_err(|never| match never {}).boxed_unsync());
        let sending = Pin::from(self.send(request, Some(options)));
        let hold = self.share.hold();
        Box::pin(async move {
            let (response, connection) = sending.await.map_err(|error| match error {
                Error::HttpRequestDenied => FetchError::NotAllowed,
                _ => FetchError::Failed,
            })?;
            // How it ended is told by the body.
            let connection = tokio::spawn(Pin::from(connection));
            let (head, body) = response.into_parts();
            let body = tokio::time::timeout(WHOLE_TIME, collect(Limited::new(body, most), hold)).await;
            connection.abort();
            let body = body.ok().flatten().ok_or(FetchError::Failed)?;
            Ok(Response::from_parts(head, body))
        })
    }
}

/// All of an answer's body, as far as all calls at once may have it.
async fn collect(mut body: Limited<WasiBody>, mut hold: Hold) -> Option<Bytes> {
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.ok()?.into_data() else {
            continue;
        };
        hold.grow(bytes.len() + data.len()).ok()?;
        bytes.extend_from_slice(&data);
    }
    Some(Bytes::from(bytes))
}

impl Outbound for Requests {
    fn send(
        &self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
    ) -> Box<dyn Future<Output = Sent> + Send> {
        let Some(way) = self.out.way(request.uri()) else {
            self.out.report(request.uri());
            return Box::new(ready(Err(Error::HttpRequestDenied)));
        };
        if way == Way::Outside {
            let permit = self.share.connection();
            let trust = self.out.trust(request.uri());
            return Box::new(async move {
                let permit = permit.await.map_err(|TooMany| Error::ConnectionLimitReached)?;
                let (response, connection) = match trust {
                    Some(trust) => trusted::send(request, options, trust).await?,
                    None => send(request, options).await?,
                };
                let connection = async move {
                    let outcome = Pin::from(connection).await;
                    drop(permit);
                    outcome
                };
                Ok((
                    response,
                    Box::new(connection) as Box<dyn Future<Output = Drained> + Send>,
                ))
            });
        }
        let app = self.out.app();
        Box::new(async move {
            let app = app.ok_or(Error::DestinationUnavailable)?;
            let answer = match way {
                Way::Inside(id) => app.call_component(&id, request).await,
                Way::Own | Way::Outside => app.call_own(request).await,
            };
            let nothing_to_drive = Box::new(ready(Ok(())));
            Ok((
                answer.unwrap_or_else(empty),
                nothing_to_drive as Box<dyn Future<Output = Drained> + Send>,
            ))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::super::allowed_hosts::AllowedHosts;
    use super::super::super::host::{SpinCtx, Trusts};
    use super::super::super::runtime_config::RuntimeConfig;
    use super::*;

    fn out(allowed: &str) -> Arc<HttpOut> {
        let grants = Grants {
            allowed_hosts: AllowedHosts::parse(&[allowed]).expect("an entry"),
            ..Grants::default()
        };
        let (config, trusts) = (RuntimeConfig::default(), Trusts::default());
        let stores = Stores::new(&config, trusts, Path::new("/none"), None).expect("stores");
        Arc::new(HttpOut::new(
            &Arc::new(grants),
            &Arc::new(stores),
            Link::default(),
        ))
    }

    fn request(uri: &str) -> Request<WasiBody> {
        let body = Full::new(Bytes::new()).map_err(|never| match never {});
        Request::get(uri).body(body.boxed_unsync()).expect("a request")
    }

    #[test]
    fn a_request_goes_where_it_may() {
        let way = |allowed: &str, uri: &str| out(allowed).way(&uri.parse().expect("a URI"));
        for uri in ["/relative", "http://self.alt/x", "https://Self.Alt"] {
            assert_eq!(way("http://self", uri), Some(Way::Own), "{uri}");
            assert_eq!(way("http://one.test", uri), None, "{uri}");
        }
        let inside = Some(Way::Inside("api".to_owned()));
        assert_eq!(
            way("http://API.spin.internal", "http://Api.spin.internal/x"),
            inside
        );
        assert_eq!(way("http://self", "http://api.spin.internal/x"), None);
        assert_eq!(way("http://one.test", "http://one.test/x"), Some(Way::Outside));
        assert_eq!(way("http://self", "http://one.test/x"), None);
    }

    #[test]
    fn what_is_told_of_a_request_has_no_password() {
        for (uri, told) in [
            ("https://user:secret@one.test:8443/x?y", "https://one.test:8443"),
            ("http://one.test/x", "http://one.test"),
            ("http://[::1]:80/", "http://[::1]:80"),
            ("/relative", "http://self"),
        ] {
            assert_eq!(place(&uri.parse().expect("a URI")), told);
        }
    }

    /// What the runtime configuration says of connections holds for requests of the guests' own as well.
    #[tokio::test]
    async fn connections_of_requests_are_counted() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port");
        let address = listener.local_addr().expect("bound").to_string();
        let config = RuntimeConfig {
            max_connections: Some(1),
            ..RuntimeConfig::default()
        };
        let stores =
            Arc::new(Stores::new(&config, Trusts::default(), Path::new("/none"), None).expect("stores"));
        let out = out("*://*:*");
        let spin = SpinCtx::new(Arc::clone(&out.grants), Arc::clone(&stores));
        let requests = out.of_instance(spin.share());
        let first = tokio::spawn(Pin::from(
            requests.send(request(&format!("http://{address}/")), None),
        ));
        let _connection = listener.accept().await.expect("the first");
        let second = tokio::spawn(Pin::from(
            requests.send(request(&format!("http://{address}/")), None),
        ));
        let waiting = tokio::time::timeout(Duration::from_millis(200), listener.accept()).await;
        waiting.expect_err("there is room for one");
        first.abort();
        listener
            .accept()
            .await
            .expect("the second, in the place of the first");
        second.abort();
    }

    #[tokio::test]
    async fn the_first_generation_is_told_where_it_may_not() {
        let stores = Stores::new(
            &RuntimeConfig::default(),
            Trusts::default(),
            Path::new("/none"),
            None,
        )
        .expect("stores");
        let out = out("http://one.test");
        let spin = SpinCtx::new(Arc::clone(&out.grants), Arc::new(stores));
        let requests = out.of_instance(spin.share());
        for (uri, expected) in [
            ("/relative", FetchError::NotAllowed),
            ("http://other.test/", FetchError::NotAllowed),
            ("http://a.spin.internal/", FetchError::NotAllowed),
            ("ftp://one.test/", FetchError::InvalidUrl),
        ] {
            let request = Request::get(uri)
                .body(Full::new(Bytes::new()))
                .expect("a request");
            assert_eq!(
                requests.fetch(request, 9).await.expect_err(uri),
                expected,
                "{uri}"
            );
        }
    }
}
