//! TLS to the servers of components. Who a server is, its certificate shows: by the roots that HTTPS has, Mozilla's, which
//! are compiled in, or by others that were named for it. There is no way around that.

use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, LazyLock};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::network::bare;
use crate::workload::wasm::spin::allowed_hosts::Host;

/// What goes to a server and comes from it.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// The roots by which servers are believed who they are.
#[derive(Debug, Clone)]
pub struct Trust(Arc<Roots>);

#[derive(Debug)]
struct Roots {
    config: Arc<ClientConfig>,
    /// Mozilla's.
    usual: bool,
    own: Vec<CertificateDer<'static>>,
}

static USUAL: LazyLock<Trust> = LazyLock::new(|| Trust::of(true, RootCertStore::empty(), Vec::new()));

impl Default for Trust {
    /// Mozilla's roots.
    fn default() -> Self {
        USUAL.clone()
    }
}

impl Trust {
    /// The roots of this text in PEM, and beside them the usual ones where that is said.
    ///
    /// # Errors
    /// What is wrong with the text.
    pub fn new(text: &[u8], usual: bool) -> Result<Self, String> {
        let (mut store, mut own) = (RootCertStore::empty(), Vec::new());
        for certificate in CertificateDer::pem_slice_iter(text) {
            let certificate = certificate.map_err(|error| format!("is not PEM: {error}"))?;
            let added = store.add(certificate.clone());
            added.map_err(|error| format!("has a certificate that is none: {error}"))?;
            own.push(certificate);
        }
        if own.is_empty() {
            return Err("has no certificate; it must be in PEM".to_owned());
        }
        Ok(Self::of(usual, store, own))
    }

    fn of(usual: bool, mut store: RootCertStore, own: Vec<CertificateDer<'static>>) -> Self {
        if usual {
            store.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        }
        let config = ClientConfig::builder().with_root_certificates(store);
        Self(Arc::new(Roots {
            config: Arc::new(config.with_no_client_auth()),
            usual,
            own,
        }))
    }

    /// For clients that make their own connections.
    pub fn config(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.0.config)
    }

    /// Whether Mozilla's roots are among them.
    pub fn has_usual(&self) -> bool {
        self.0.usual
    }

    /// The others.
    pub fn own(&self) -> &[CertificateDer<'static>] {
        &self.0.own
    }

    /// TLS on a connection to this host; `protocol` is what is to be spoken, where a server may want to know it.
    ///
    /// # Errors
    /// The server is not who it is to be, or does not speak TLS.
    pub async fn secure<S: Stream>(
        &self,
        stream: S,
        host: &str,
        protocol: Option<&[u8]>,
    ) -> io::Result<TlsStream<S>> {
        let name = ServerName::try_from(bare(host).to_owned()).map_err(io::Error::other)?;
        let mut config = self.config();
        if let Some(protocol) = protocol {
            Arc::make_mut(&mut config).alpn_protocols = vec![protocol.to_vec()];
        }
        TlsConnector::from(config).connect(name, stream).await
    }
}

/// Whom the components of an application trust, where it is not the usual.
#[derive(Debug, Clone, Default)]
pub struct Trusts(Vec<Named>);

/// What is trusted by these components to be one of these hosts.
#[derive(Debug, Clone)]
struct Named {
    components: BTreeSet<String>,
    /// As [`plain`] has them.
    hosts: BTreeSet<String>,
    trust: Trust,
}

impl Trusts {
    /// What was said first of a component and a host holds.
    pub fn add(&mut self, components: &[String], hosts: &[String], trust: Trust) {
        self.0.push(Named {
            components: components.iter().cloned().collect(),
            hosts: hosts.iter().map(|host| plain(host)).collect(),
            trust,
        });
    }

    /// What was said of a component and a host.
    pub fn named(&self, component: &str, host: &str) -> Option<&Trust> {
        let host = plain(host);
        let mut all = self.0.iter();
        let found = all.find(|it| it.components.contains(component) && it.hosts.contains(&host));
        found.map(|it| &it.trust)
    }

    /// What a component has for a host.
    pub fn of(&self, component: &str, host: &str) -> Trust {
        self.named(component, host).cloned().unwrap_or_default()
    }

    /// What any component has for a host: for what all of them share.
    pub fn of_any(&self, host: &str) -> Trust {
        let host = plain(host);
        let found = self.0.iter().find(|it| it.hosts.contains(&host));
        found.map(|it| it.trust.clone()).unwrap_or_default()
    }
}

/// The one way of many in which a host may be written: a name in lower case without the dot of its end, an address as the
/// machine writes it, without brackets, and IPv4 within IPv6 as IPv4.
fn plain(host: &str) -> String {
    match Host::parse(host) {
        Some(Host::Address(address)) => address.to_string(),
        Some(Host::Name(name)) => name.strip_suffix('.').map_or(name.clone(), str::to_owned),
        None => host.to_ascii_lowercase(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roots_are_read_or_what_is_wrong_is_told() {
        assert!(Trust::default().has_usual() && Trust::default().own().is_empty());
        let body = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        for (text, told) in [
            ("", "has no certificate"),
            ("AAAA", "has no certificate"),
            (body, "has a certificate that is none"),
            ("-----BEGIN CERTIFICATE-----\n?", "is not PEM"),
        ] {
            let error = Trust::new(text.as_bytes(), true).expect_err(text);
            assert!(error.starts_with(told), "{text}: {error}");
        }
    }

    #[test]
    fn hosts_have_no_case_and_the_first_holds() {
        let of = |text: &str| [text.to_owned()];
        let mut trusts = Trusts::default();
        let other = Trust(Arc::new(Roots {
            config: Trust::default().config(),
            usual: false,
            own: Vec::new(),
        }));
        trusts.add(&of("a"), &of("DB.test"), other);
        trusts.add(&of("a"), &of("db.test"), Trust::default());
        assert!(!trusts.of("a", "db.TEST").has_usual() && !trusts.of_any("Db.test").has_usual());
        assert!(trusts.of("b", "db.test").has_usual() && trusts.of("a", "test").has_usual());
    }

    #[test]
    fn a_host_is_the_same_however_it_is_written() {
        for (written, others) in [
            ("db.test", &["DB.test", "db.test.", "Db.Test."][..]),
            ("::1", &["[::1]", "[0:0::1]", "0:0:0:0:0:0:0:1"]),
            ("[2001:DB8::a]", &["2001:db8::A", "[2001:db8:0::a]"]),
            ("127.0.0.1", &["::ffff:127.0.0.1", "[::FFFF:7f00:1]"]),
        ] {
            for other in others {
                assert_eq!(plain(written), plain(other), "{written} {other}");
            }
        }
        assert_ne!(plain("db.test"), plain("db.test.b"));
    }
}
