//! Requests by HTTPS to hosts for which the runtime configuration names roots of its own; the engine's way of sending
//! knows no others than Mozilla's. In all else it is as that one.

use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::future::{Either, select};
use http_body_util::BodyExt as _;
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use hyper::client::conn::http1;
use hyper::{Request, Uri};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep, timeout};
use wasmtime_wasi_http::io::TokioIo;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody};

use crate::workload::wasm::kinds::wasi::{Drained, Sent};
use crate::workload::wasm::spin::host::Trust;

/// What the engine takes where a guest says nothing.
const PATIENCE: Duration = Duration::from_secs(600);
const PORT: u16 = 443;

/// Sends a request to a host that is who it is by these roots.
pub async fn send(mut request: Request<WasiBody>, options: Option<RequestOptions>, trust: Trust) -> Sent {
    let time = |of: fn(RequestOptions) -> Option<Duration>| options.and_then(of).unwrap_or(PATIENCE);
    let connecting = connect(request.uri().clone(), &trust);
    let stream = timeout(time(|it| it.connect_timeout), connecting).await;
    let stream = stream.map_err(|_| Error::ConnectionTimeout)??;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // The host is known by now, and a server wants no more than the path.
    let path = request.uri().path_and_query().cloned();
    *request.uri_mut() = path
        .map_or_else(|| "/".parse(), |path| Ok(path.into()))
        .map_err(|_| Error::HttpRequestUriInvalid)?;
    let mut connection = Box::pin(connection);
    let sending = pin!(timeout(
        time(|it| it.first_byte_timeout),
        sender.send_request(request)
    ));
    let (response, ended) = match select(sending, &mut connection).await {
        Either::Left((response, _)) => (response, false),
        Either::Right((ended, sending)) => {
            ended?;
            (sending.await, true)
        }
    };
    let response = response.map_err(|_| Error::ConnectionReadTimeout)??;
    let between = time(|it| it.between_bytes_timeout);
    let response = response.map(|incoming| {
        let patience = Box::pin(sleep(between));
        Timed {
            incoming,
            between,
            patience,
        }
        .boxed_unsync()
    });
    let rest = async move {
        match ended {
            true => Ok(()),
            false => connection.await.map_err(Error::from),
        }
    };
    Ok((
        response,
        Box::new(rest) as Box<dyn Future<Output = Drained> + Send>,
    ))
}

async fn connect(
    uri: Uri,
    trust: &Trust,
) -> Result<impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + use<>, Error> {
    let host = uri.host().ok_or(Error::HttpRequestUriInvalid)?;
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let address = (bare.unwrap_or(host), uri.port_u16().unwrap_or(PORT));
    let stream = TcpStream::connect(address).await.map_err(Error::Connect)?;
    trust.secure(stream, host, None).await.map_err(Error::Tls)
}

/// A body that may not stop for longer than this.
struct Timed {
    incoming: Incoming,
    between: Duration,
    patience: Pin<Box<Sleep>>,
}

impl Body for Timed {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let body = &mut *self;
        if let Poll::Ready(frame) = Pin::new(&mut body.incoming).poll_frame(context) {
            body.patience.as_mut().reset(Instant::now() + body.between);
            return Poll::Ready(frame.map(|frame| frame.map_err(Error::from)));
        }
        ready!(body.patience.as_mut().poll(context));
        Poll::Ready(Some(Err(Error::ConnectionReadTimeout)))
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::Full;

    use super::*;
    use crate::workload::wasm::spin::host::authority::Authority;
    use crate::workload::wasm::spin::host::servers;

    fn request(host: &str, port: u16) -> Request<WasiBody> {
        let body = Full::new(Bytes::new()).map_err(|never| match never {});
        let request = Request::get(format!("https://{host}:{port}/page"));
        request.body(body.boxed_unsync()).expect("a request")
    }

    #[tokio::test]
    async fn a_server_is_who_it_is_to_be() {
        let Some(authority) = Authority::new() else { return };
        let Some(server) = servers::https(&authority) else {
            return;
        };
        let trust = || Trust::new(authority.root.as_bytes(), false).expect("a root");
        let sent = send(request("127.0.0.1", server.port), None, trust()).await;
        let (response, connection) = sent.expect("an answer");
        let connection = tokio::spawn(Pin::from(connection));
        let body = response.into_body().collect().await.expect("a body").to_bytes();
        let text = String::from_utf8_lossy(&body);
        assert!(text.contains("TLSv1.3"), "{text}");
        connection.await.expect("no panic").expect("it ended well");
        for (host, trust) in [("localhost", trust()), ("127.0.0.1", Trust::default())] {
            let sent = send(request(host, server.port), None, trust).await;
            assert!(matches!(sent.map(|_| ()), Err(Error::Tls(_))), "{host}");
        }
    }

    #[tokio::test]
    async fn a_server_that_says_nothing_is_not_waited_for() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let options = RequestOptions {
            connect_timeout: Some(Duration::from_millis(50)),
            ..RequestOptions::default()
        };
        let sent = send(request("127.0.0.1", port), Some(options), Trust::default()).await;
        assert!(matches!(sent.map(|_| ()), Err(Error::ConnectionTimeout)));
    }
}
