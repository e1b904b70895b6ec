//! TLS to the servers of components. Who a server is, its certificate shows: by the roots that HTTPS has, Mozilla's, which
//! are compiled in, or by others that were named for it. There is no way around that.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, LazyLock};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::network::bare;
use crate::workload::wasm::spin::RUNTIME_CONFIG;
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

impl PartialEq for Trust {
    /// The same roots, in whichever entry they were named.
    fn eq(&self, other: &Self) -> bool {
        self.0.usual == other.0.usual && self.0.own == other.0.own
    }
}

impl Eq for Trust {}

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
pub struct Trusts {
    named: Vec<Named>,
    /// Who has a store, by its label: they share its connection.
    stores: BTreeMap<String, BTreeSet<String>>,
}

/// Components that share a connection do not trust the same.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "components {one} and {other} share a connection to {host}, and client_tls of {RUNTIME_CONFIG} names roots of it for \
     one of them that the other does not have"
)]
pub struct Discord {
    one: String,
    other: String,
    host: String,
}

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
        self.named.push(Named {
            components: components.iter().cloned().collect(),
            hosts: hosts.iter().map(|host| plain(host)).collect(),
            trust,
        });
    }

    /// What was said of a component and a host.
    pub fn named(&self, component: &str, host: &str) -> Option<&Trust> {
        let host = plain(host);
        let mut all = self.named.iter();
        let found = all.find(|it| it.components.contains(component) && it.hosts.contains(&host));
        found.map(|it| &it.trust)
    }

    /// What a component has for a host.
    pub fn of(&self, component: &str, host: &str) -> Trust {
        self.named(component, host).cloned().unwrap_or_default()
    }

    /// What these components have for a host, for what all of them share.
    ///
    /// # Errors
    /// They have not the same: what was named for one must not be believed for another.
    pub fn of_all<'a>(
        &self,
        components: impl IntoIterator<Item = &'a str>,
        host: &str,
    ) -> Result<Trust, Discord> {
        let mut components = components.into_iter();
        let Some(first) = components.next() else {
            return Ok(Trust::default());
        };
        let trust = self.of(first, host);
        match components.find(|other| self.of(other, host) != trust) {
            None => Ok(trust),
            Some(other) => Err(Discord {
                one: first.to_owned(),
                other: other.to_owned(),
                host: host.to_owned(),
            }),
        }
    }

    /// A component has a store of this label.
    pub fn has_store(&mut self, component: &str, label: &str) {
        let store = self.stores.entry(label.to_owned()).or_default();
        store.insert(component.to_owned());
    }

    /// What those who have a store have for its host.
    ///
    /// # Errors
    /// As those of [`Self::of_all`].
    pub fn of_store(&self, label: &str, host: &str) -> Result<Trust, Discord> {
        let components = self.stores.get(label).into_iter().flatten();
        self.of_all(components.map(String::as_str), host)
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
        assert!(!trusts.of("a", "db.TEST").has_usual());
        assert!(trusts.of("b", "db.test").has_usual() && trusts.of("a", "test").has_usual());
    }

    #[test]
    fn what_is_shared_is_trusted_by_all_who_share_it() {
        let other = || {
            Trust(Arc::new(Roots {
                config: Trust::default().config(),
                usual: false,
                own: Vec::new(),
            }))
        };
        let of = |text: &str| [text.to_owned()];
        let mut trusts = Trusts::default();
        trusts.add(&of("a"), &of("db.test"), other());
        trusts.add(&of("b"), &of("db.test"), other());
        trusts.has_store("a", "one");
        for component in ["a", "b"] {
            trusts.has_store(component, "two");
            trusts.has_store(component, "three");
        }
        trusts.has_store("c", "three");
        for label in ["one", "two"] {
            assert_eq!(trusts.of_store(label, "DB.test"), Ok(other()), "{label}");
        }
        assert_eq!(trusts.of_store("none", "db.test"), Ok(Trust::default()));
        assert_eq!(trusts.of_store("three", "other.test"), Ok(Trust::default()));
        let error = trusts.of_store("three", "db.test").expect_err("c has it not");
        assert!(
            error
                .to_string()
                .starts_with("components a and c share a connection to db.test"),
            "{error}"
        );
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
