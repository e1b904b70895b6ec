//! One request: waiting for its turn, handing it to an instance, and the answer where that fails.

use std::convert::Infallible;
use std::io::Write as _;
use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use hyper::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper::{Request, Response, StatusCode};
use tokio::sync::{Semaphore, oneshot};
use wasmtime::Trap;
use wasmtime_wasi_http::{Error, WasiBody};

use super::admission::{Admission, Permits, Taking};
use super::connection::Busy;
use super::limits::Limits;
use super::log::Entry;
use super::patience::Patience;
use super::target::absolute;
use crate::workload::wasm::verdict::{self, Circumstances};

/// What a server serves.
pub trait Site: Send + Sync + 'static {
    /// What a request leads to.
    type Way: Send;

    /// Where a request leads; breaks with an answer that takes nothing of what there is, and so waits for nothing.
    fn way(&self, request: &Request<Incoming>) -> ControlFlow<Response<WasiBody>, Self::Way>;

    /// Answers a request, whose target is absolute. `permits` are to be held until nothing of it is left. Without an
    /// answer the client is told the status.
    fn answer(
        &self,
        way: Self::Way,
        client: SocketAddr,
        request: Request<WasiBody>,
        permits: Permits,
    ) -> impl Future<Output = Result<Response<WasiBody>, StatusCode>> + Send;

    /// Waits until no instance is left; no request comes any more.
    fn ended(&self) -> impl Future<Output = ()> + Send;
}

/// Answers requests.
pub struct Service<S> {
    site: Arc<S>,
    /// Permits for requests that are known of at all: those at work and as many more as there may be
    /// connections. An HTTP/1.1 connection has one at a time; only HTTP/2 clients can ask for too many.
    known: Arc<Semaphore>,
    /// Permits for requests that are at work, until their instance is done with them and their answer is sent.
    at_work: Arc<Semaphore>,
    access_log: bool,
}

impl<S: Site> Service<S> {
    pub fn new(site: Arc<S>, limits: &Limits, access_log: bool) -> Self {
        let (requests, connections) = (limits.requests as usize, limits.connections as usize);
        Self {
            site,
            known: Arc::new(Semaphore::new(requests + connections)),
            at_work: Arc::new(Semaphore::new(requests)),
            access_log,
        }
    }

    /// Never fails: what goes wrong becomes an answer too.
    pub async fn answer(
        self: Arc<Self>,
        client: SocketAddr,
        busy: Busy,
        request: Request<Incoming>,
    ) -> Result<Response<Answer>, Infallible> {
        let entry = self.access_log.then(|| Entry::new(client.ip(), &request));
        let (response, permits) = match self.site.way(&request) {
            ControlFlow::Break(response) => (Ok(response), None),
            ControlFlow::Continue(way) => match self.admit(request).await {
                Ok((request, permits)) => {
                    let request = request.map(|body| PatientBody::new(body).boxed_unsync());
                    let answer = self.site.answer(way, client, request, Arc::clone(&permits));
                    (answer.await, Some(permits))
                }
                Err(status) => (Err(status), None),
            },
        };
        let response = response.unwrap_or_else(failure);
        let status = response.status();
        Ok(response.map(|body| Answer {
            body,
            sent: 0,
            log: entry.map(|entry| (entry, status)),
            held: Arc::new(Held {
                busy,
                _taking: permits.map(Taking::new),
            }),
        }))
    }

    /// Waits for the request's turn; where too many wait already it is sent away.
    async fn admit(&self, request: Request<Incoming>) -> Result<(Request<Incoming>, Permits), StatusCode> {
        let request = absolute(request).ok_or(StatusCode::BAD_REQUEST)?;
        let known = Arc::clone(&self.known).try_acquire_owned();
        let known = known.map_err(|_| StatusCode::SERVICE_UNAVAILABLE)?;
        let at_work = Arc::clone(&self.at_work).acquire_owned().await;
        let at_work = at_work.map_err(|_| StatusCode::SERVICE_UNAVAILABLE)?;
        Ok((request, Admission::new([known, at_work])))
    }
}

/// Why there is no answer, besides what a guest says itself.
#[derive(Debug, thiserror::Error)]
pub enum NoAnswer {
    #[error("there is no instance: {0}")]
    NotMade(wasmtime::Error),
    #[error("the instance has ended")]
    Ended,
}

/// Tells on standard error what went wrong, once, and gives what to tell the client.
pub fn status_of(
    error: wasmtime::Error,
    ended: oneshot::Receiver<bool>,
    component: Option<Arc<str>>,
) -> StatusCode {
    match error.downcast_ref::<NoAnswer>() {
        Some(NoAnswer::NotMade(error)) => {
            report(error, component);
            return match error.downcast_ref::<Trap>() {
                Some(_) => StatusCode::INTERNAL_SERVER_ERROR,
                None => StatusCode::SERVICE_UNAVAILABLE,
            };
        }
        // Told where the instance ended, with its backtrace.
        Some(NoAnswer::Ended) => {}
        // A guest that traps before it answers looks here like one that just does not answer.
        None => {
            tokio::spawn(async move {
                if !ended.await.unwrap_or(false) {
                    report(&error, component);
                }
            });
        }
    }
    StatusCode::INTERNAL_SERVER_ERROR
}

/// Writes what became of an instance to standard error, as one write, so that lines of others do not come
/// between.
pub fn report(error: &wasmtime::Error, component: Option<Arc<str>>) {
    let circumstances = Circumstances {
        component,
        ..Circumstances::default()
    };
    let text = verdict::account(error, &circumstances);
    // There is nobody to tell where it fails.
    let _ = std::io::stderr().write_all(text.as_bytes());
}

fn failure(status: StatusCode) -> Response<WasiBody> {
    let text = format!("{status}\n");
    let body = Full::new(Bytes::from(text)).map_err(|never| match never {});
    let mut response = Response::new(body.boxed_unsync());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    if status == StatusCode::SERVICE_UNAVAILABLE {
        headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}

/// What an answer holds until nothing of it is left in this process.
struct Held {
    busy: Busy,
    _taking: Option<Taking>,
}

/// A piece of an answer that was handed to the connection. It lives until it is written to the socket: what an
/// HTTP/2 client does not take of its streams is kept for each of them, also when the answer itself is over.
struct Piece {
    bytes: Bytes,
    handed_out: u64,
    held: Arc<Held>,
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        self.held.busy.taken(self.handed_out);
    }
}

/// The body of an answer; counts what is sent of it, and is logged when it is over.
pub struct Answer {
    body: WasiBody,
    sent: u64,
    log: Option<(Entry, StatusCode)>,
    held: Arc<Held>,
}

impl Answer {
    fn hand_out(&mut self, bytes: Bytes) -> Bytes {
        self.sent += bytes.len() as u64;
        Bytes::from_owner(Piece {
            bytes,
            handed_out: self.held.busy.hand_out(),
            held: Arc::clone(&self.held),
        })
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let frame = std::task::ready!(Pin::new(&mut self.body).poll_frame(context));
        Poll::Ready(frame.map(|frame| frame.map(|frame| frame.map_data(|bytes| self.hand_out(bytes)))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if let Some((entry, status)) = self.log.take() {
            entry.write(status, self.sent);
        }
    }
}

/// The body of a request, which fails where its client falls silent in the middle of it.
struct PatientBody {
    body: Incoming,
    patience: Patience,
}

impl PatientBody {
    fn new(body: Incoming) -> Self {
        Self {
            body,
            patience: Patience::default(),
        }
    }
}

impl Body for PatientBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        match Pin::new(&mut self.body).poll_frame(context) {
            Poll::Ready(frame) => {
                self.patience.renew();
                Poll::Ready(frame.map(|frame| frame.map_err(Error::from)))
            }
            Poll::Pending if self.patience.is_over(context) => {
                Poll::Ready(Some(Err(Error::ConnectionReadTimeout)))
            }
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
