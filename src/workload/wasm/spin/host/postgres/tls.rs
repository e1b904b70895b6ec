//! TLS as PostgreSQL has it: the client asks for it in the clear, and the password is bound to the server's certificate.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use sha2::{Digest as _, Sha256, Sha384, Sha512};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::tls::{ChannelBinding, TlsConnect, TlsStream};

use crate::workload::wasm::spin::host::tls::{Stream, Trust};

/// What is spoken within, as servers of today want it told (ALPN).
const PROTOCOL: &[u8] = b"postgresql";

/// How a connection is made a secure one, where the server and the address want that.
pub struct Tls {
    pub trust: Trust,
    pub host: String,
}

/// A secure connection.
pub struct Secure<S>(tokio_rustls::client::TlsStream<S>);

impl<S: Stream + 'static> TlsConnect<S> for Tls {
    type Stream = Secure<S>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Secure<S>>> + Send>>;

    fn connect(self, stream: S) -> Self::Future {
        Box::pin(async move {
            let secure = self.trust.secure(stream, &self.host, Some(PROTOCOL));
            Ok(Secure(secure.await?))
        })
    }
}

impl<S: Stream> TlsStream for Secure<S> {
    fn channel_binding(&self) -> ChannelBinding {
        let (_, session) = self.0.get_ref();
        let certificate = session.peer_certificates().and_then(<[_]>::first);
        certificate
            .and_then(|certificate| hash_of(certificate))
            .map_or_else(ChannelBinding::none, ChannelBinding::tls_server_end_point)
    }
}

impl<S: Stream> AsyncRead for Secure<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl<S: Stream> AsyncWrite for Secure<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

/// `tls-server-end-point` of RFC 5929: the certificate's hash by the function of its own signature. `None` where that has
/// none, as Ed25519.
fn hash_of(certificate: &[u8]) -> Option<Vec<u8>> {
    // As the identifiers are encoded (RFC 8017, RFC 5758). For SHA-1 the RFC has SHA-256 taken.
    const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01];
    const ECDSA: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04];
    let (fields, _) = element(certificate, SEQUENCE)?;
    let (_, rest) = element(fields, SEQUENCE)?;
    let (algorithm, _) = element(rest, SEQUENCE)?;
    let (identifier, _) = element(algorithm, IDENTIFIER)?;
    match (identifier.strip_prefix(RSA), identifier.strip_prefix(ECDSA)) {
        (Some([5 | 11]), _) | (_, Some([1] | [3, 2])) => Some(Sha256::digest(certificate).to_vec()),
        (Some([12]), _) | (_, Some([3, 3])) => Some(Sha384::digest(certificate).to_vec()),
        (Some([13]), _) | (_, Some([3, 4])) => Some(Sha512::digest(certificate).to_vec()),
        _ => None,
    }
}

const SEQUENCE: u8 = 0x30;
const IDENTIFIER: u8 = 0x06;

/// The content of the first element of DER, which must be of this kind, and what comes after it.
fn element(der: &[u8], kind: u8) -> Option<(&[u8], &[u8])> {
    let (head, rest) = der.split_first_chunk::<2>()?;
    let [tag, first] = *head;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x83 => {
            let (bytes, rest) = rest.split_at_checked(usize::from(first - 0x80))?;
            (
                bytes
                    .iter()
                    .fold(0, |length, byte| length << 8 | usize::from(*byte)),
                rest,
            )
        }
        _ => return None,
    };
    if tag != kind {
        return None;
    }
    rest.split_at_checked(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A certificate of nothing but the name of its signature's function.
    fn certificate(identifier: &[u8]) -> Vec<u8> {
        let within = |kind: u8, content: &[u8]| {
            let mut element = vec![kind, 0x81, u8::try_from(content.len()).expect("short")];
            element.extend_from_slice(content);
            element
        };
        let algorithm = within(SEQUENCE, &within(IDENTIFIER, identifier));
        within(SEQUENCE, &[within(SEQUENCE, &[]), algorithm].concat())
    }

    #[test]
    fn the_hash_is_the_signature_s_own() {
        let rsa = |last| vec![0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, last];
        let ecdsa = |last| vec![0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, last];
        let length = |identifier: &[u8]| hash_of(&certificate(identifier)).map(|hash| hash.len());
        for (last, bytes) in [(5, 32), (11, 32), (12, 48), (13, 64)] {
            assert_eq!(length(&rsa(last)), Some(bytes));
        }
        for (last, bytes) in [(2, 32), (3, 48), (4, 64)] {
            assert_eq!(length(&ecdsa(last)), Some(bytes));
        }
        assert_eq!(length(&[0x2b, 0x65, 0x70]), None, "Ed25519");
    }

    #[test]
    fn what_is_no_certificate_has_no_hash() {
        let whole = certificate(&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 11]);
        for length in 0..whole.len() {
            assert_eq!(hash_of(&whole[..length]), None, "{length}");
        }
        assert_eq!(hash_of(&[0x30, 0x84, 1, 0, 0, 0]), None);
        assert_eq!(hash_of(&[0x31, 0]), None);
    }
}
