//! Requests that components send: to where the manifest allows it, and to other components of the application by their
//! names within it.

use std::io::Write as _;
use std::sync::Arc;

use hyper::http::uri::Scheme;
use hyper::{Request, Uri};
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody};

use super::super::MANIFEST;
use super::super::allowed_hosts::{INTERNAL, usual_port};
use super::super::host::Grants;
use super::{Link, empty};
use crate::workload::wasm::kinds::shape::printable;
use crate::workload::wasm::kinds::wasi::{Outbound, Sent, send};

/// Sends the requests of one component.
pub struct HttpOut {
    grants: Arc<Grants>,
    link: Link,
}

/// Where a request goes.
enum Way {
    /// To the component of this id.
    Inside(String),
    Outside,
}

impl HttpOut {
    pub fn new(grants: &Arc<Grants>, link: Link) -> Self {
        Self {
            grants: Arc::clone(grants),
            link,
        }
    }

    /// Where a request goes; `None` where it may not.
    fn way(&self, uri: &Uri) -> Option<Way> {
        let host = uri.host()?.to_ascii_lowercase();
        let inside = host
            .strip_suffix(INTERNAL)
            .and_then(|rest| rest.strip_suffix('.'));
        if let Some(id) = inside {
            let plain = uri.scheme() == Some(&Scheme::HTTP);
            let allowed = plain && self.grants.allowed_hosts.allows_component(id);
            return allowed.then(|| Way::Inside(id.to_owned()));
        }
        let scheme = uri.scheme_str()?;
        let port = uri.port_u16().or_else(|| usual_port(scheme))?;
        let allowed = self.grants.allowed_hosts.allows(scheme, &host, port);
        allowed.then_some(Way::Outside)
    }

    fn report(&self, uri: &Uri) {
        let scheme = uri.scheme_str().unwrap_or("http");
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        let place = printable(&format!("{scheme}://{authority}"));
        let component = &self.grants.component;
        let line = format!(
            "wrun: component `{component}` may not send a request to {place}; to allow it, add it to \
             allowed_outbound_hosts of component.{component} in {MANIFEST}\n"
        );
        // There is nobody to tell where it fails.
        let _ = std::io::stderr().write_all(line.as_bytes());
    }
}

impl Outbound for HttpOut {
    fn send(
        &self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
    ) -> Box<dyn Future<Output = Sent> + Send> {
        match self.way(request.uri()) {
            Some(Way::Outside) => Box::new(send(request, options)),
            Some(Way::Inside(id)) => {
                let app = self.link.get().and_then(std::sync::Weak::upgrade);
                Box::new(async move {
                    let app = app.ok_or(Error::DestinationUnavailable)?;
                    let response = app.call(&id, request).await.unwrap_or_else(empty);
                    let nothing_to_drive = Box::new(std::future::ready(Ok(())));
                    Ok((response, nothing_to_drive as Box<dyn Future<Output = _> + Send>))
                })
            }
            None => {
                self.report(request.uri());
                Box::new(std::future::ready(Err(Error::HttpRequestDenied)))
            }
        }
    }
}
