//! Connections to servers that a component asks for by address: only where its manifest allows it, and with all
//! names looked up by the C library's own means (`sys/name_lookup.rs`).

use std::io::Write as _;
use std::net::SocketAddr;

use tokio::net::TcpStream;

use super::Grants;
use super::bounds::CONNECT_TIME;
use crate::workload::wasm::kinds::shape::printable;

/// Why there is no connection.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unreachable {
    #[error("address {0} is not permitted")]
    NotAllowed(String),
    #[error("{0}")]
    Failed(String),
}

impl Grants {
    /// Sees that the component may connect to this host; where it may not, says so on standard error.
    pub fn check_host(&self, scheme: &str, host: &str, port: u16) -> Result<(), Unreachable> {
        if self.allowed_hosts.allows(scheme, host, port) {
            return Ok(());
        }
        let address = format!("{scheme}://{}:{port}", printable(host));
        let text = format!(
            "wrun: component {}: {address} is not among its allowed_outbound_hosts\n",
            printable(&self.component)
        );
        // As one write, so that lines of others do not come between; there is nobody to tell where it fails.
        let _ = std::io::stderr().write_all(text.as_bytes());
        Err(Unreachable::NotAllowed(address))
    }

    /// A connection to a server that the component may connect to.
    pub async fn connect(&self, scheme: &str, host: &str, port: u16) -> Result<TcpStream, Unreachable> {
        self.check_host(scheme, host, port)?;
        connect(host, port).await.map_err(Unreachable::Failed)
    }
}

/// A connection to a server that the container's configuration names.
pub async fn connect(host: &str, port: u16) -> Result<TcpStream, String> {
    let attempt = async {
        let stream = match address(host, port) {
            Some(address) => TcpStream::connect(address).await,
            None => TcpStream::connect((host, port)).await,
        }?;
        stream.set_nodelay(true)?;
        Ok(stream)
    };
    let failed =
        |reason: &dyn std::fmt::Display| format!("cannot connect to {}:{port}: {reason}", printable(host));
    match tokio::time::timeout(CONNECT_TIME, attempt).await {
        Ok(result) => result.map_err(|error: std::io::Error| failed(&error)),
        Err(_) => Err(failed(&format_args!(
            "no answer within {} seconds",
            CONNECT_TIME.as_secs()
        ))),
    }
}

/// What needs no look-up.
fn address(host: &str, port: u16) -> Option<SocketAddr> {
    let ip = bare(host).parse().ok()?;
    Some(SocketAddr::new(ip, port))
}

/// A host without the brackets that an IPv6 address has in a URL, which it has in no certificate.
pub fn bare(host: &str) -> &str {
    let within = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    within.unwrap_or(host)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::wasm::spin::allowed_hosts::AllowedHosts;

    #[tokio::test]
    async fn only_what_is_allowed_is_reached() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("bound").port();
        // Taken, so that no other test listens there, and without a listener.
        let taken = tokio::net::TcpSocket::new_v4().expect("a socket");
        taken
            .bind("127.0.0.1:0".parse().expect("an address"))
            .expect("a port");
        let silent = taken.local_addr().expect("bound").port();
        let entries = [port, silent].map(|port| format!("redis://127.0.0.1:{port}"));
        let allowed_hosts = AllowedHosts::parse(&entries).expect("entries");
        let grants = Grants {
            component: "c".to_owned(),
            allowed_hosts,
            ..Grants::default()
        };
        grants.connect("redis", "127.0.0.1", port).await.expect("allowed");
        for (scheme, host) in [("mysql", "127.0.0.1"), ("redis", "localhost"), ("redis", "127.1")] {
            let error = grants.connect(scheme, host, port).await.expect_err(host);
            assert_eq!(
                error,
                Unreachable::NotAllowed(format!("{scheme}://{host}:{port}"))
            );
        }
        let error = grants
            .connect("redis", "127.0.0.1", silent)
            .await
            .expect_err("nobody listens");
        assert!(
            matches!(&error, Unreachable::Failed(text) if text.contains("refused")),
            "{error}"
        );
    }

    #[test]
    fn addresses_need_no_lookup() {
        assert_eq!(address("[::1]", 1), Some("[::1]:1".parse().expect("an address")));
        assert_eq!(address("::1", 1), Some("[::1]:1".parse().expect("an address")));
        assert_eq!(
            address("10.0.0.1", 1),
            Some("10.0.0.1:1".parse().expect("an address"))
        );
        assert_eq!(address("name", 1), None);
    }
}
