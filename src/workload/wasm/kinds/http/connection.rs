//! One connection: HTTP/1.1 or HTTP/2, as its first bytes say, until the client leaves, has asked for nothing
//! for too long, or the server stops and what was asked for is answered.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use hyper::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::Instant;

use super::instances::stopped;
use super::patience::PatientStream;
use super::service::{Service, Site};

/// How long the head of a request may take, and how long HTTP/1.1 connections are kept for another.
const HEAD: Duration = Duration::from_secs(30);
/// How long a client may take for a piece of an answer, which is 64 KiB at most. An HTTP/2 client that opens no
/// window for a stream is not silent: it may still answer each ping.
const TAKING: Duration = Duration::from_secs(120);
/// How long a connection is kept on which nothing is asked for.
const IDLE: Duration = Duration::from_secs(75);
/// How long a client that was told to leave may take once all is answered.
const LEAVING: Duration = Duration::from_secs(1);
/// How often an HTTP/2 client is asked whether it is still there, and how long it may take to say so.
const PING: Duration = Duration::from_secs(20);

/// Most bytes of a request's head, and of what waits to be written.
const BUFFER: usize = 64 << 10;
/// What an HTTP/2 client may send ahead on a stream and on the connection, in bytes.
const STREAM_WINDOW: u32 = 64 << 10;
const CONNECTION_WINDOW: u32 = 128 << 10;
/// Most requests at once on an HTTP/2 connection; RFC 9113 advises no fewer than 100.
const STREAMS: u32 = 100;
const HTTP2_HEAD: u32 = 32 << 10;

/// How connections are served.
pub type Builder = auto::Builder<TokioExecutor>;

pub fn builder() -> Builder {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(BUFFER);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PING)
        .keep_alive_timeout(PING)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(STREAMS)
        .max_send_buf_size(BUFFER)
        .max_header_list_size(HTTP2_HEAD);
    builder
}

/// Serves a client to the end of its connection.
///
/// What fails here is the client's doing (it left, or does not speak HTTP), and no line of ours is worth it:
/// anybody could fill the log.
pub async fn serve<S: Site>(
    stream: TcpStream,
    client: SocketAddr,
    builder: Arc<Builder>,
    service: Arc<Service<S>>,
    stopping: watch::Receiver<bool>,
) {
    let activity = Arc::new(Activity::new());
    let answer = service_fn(|request: Request<Incoming>| {
        let busy = Busy::new(&activity);
        Arc::clone(&service).answer(client, busy, request)
    });
    let mut connection = pin!(builder.serve_connection(TokioIo::new(PatientStream::new(stream)), answer));
    let mut stop = pin!(stopped(stopping));
    let mut timer = pin!(tokio::time::sleep(IDLE));
    let mut leaving = false;
    std::future::poll_fn(|context| {
        loop {
            if connection.as_mut().poll(context).is_ready() {
                return Poll::Ready(());
            }
            let told = !leaving && stop.as_mut().poll(context).is_ready();
            if !told {
                if timer.as_mut().poll(context).is_pending() {
                    return Poll::Pending;
                }
                if activity.is_stuck(TAKING) {
                    return Poll::Ready(());
                }
                let patience = if leaving { LEAVING } else { IDLE };
                if let Some(end) = activity.end_of(patience) {
                    timer.as_mut().reset(end);
                    continue;
                }
                if leaving {
                    return Poll::Ready(());
                }
            }
            leaving = true;
            connection.as_mut().graceful_shutdown();
            timer.as_mut().reset(Instant::now() + LEAVING);
        }
    })
    .await;
}

/// What goes on on a connection.
pub struct Activity {
    start: Instant,
    /// Requests whose answers are not sent yet.
    requests: AtomicUsize,
    /// Milliseconds after `start` at which the last was.
    last: AtomicU64,
    /// How many pieces of answers are still here, by when they were handed out: in milliseconds after `start`.
    pieces: Mutex<BTreeMap<u64, usize>>,
}

impl Activity {
    fn new() -> Self {
        Self {
            start: Instant::now(),
            requests: AtomicUsize::new(0),
            last: AtomicU64::new(0),
            pieces: Mutex::new(BTreeMap::new()),
        }
    }

    /// Milliseconds after `start`.
    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Whether a piece of an answer was not taken for so long.
    fn is_stuck(&self, patience: Duration) -> bool {
        let pieces = self.pieces.lock().unwrap_or_else(PoisonError::into_inner);
        let oldest = pieces.first_key_value().map(|(oldest, _)| *oldest);
        oldest.is_some_and(|oldest| self.start + Duration::from_millis(oldest) + patience <= Instant::now())
    }

    /// Until when to wait at least where nothing may go on for `patience`; `None` when that is over.
    fn end_of(&self, patience: Duration) -> Option<Instant> {
        let now = Instant::now();
        if self.requests.load(Ordering::Acquire) > 0 {
            return Some(now + patience);
        }
        let last = Duration::from_millis(self.last.load(Ordering::Acquire));
        Some(self.start + last + patience).filter(|end| *end > now)
    }
}

/// A request on the connection, as long as this lives.
pub struct Busy(Arc<Activity>);

impl Busy {
    fn new(activity: &Arc<Activity>) -> Self {
        activity.requests.fetch_add(1, Ordering::AcqRel);
        Self(Arc::clone(activity))
    }

    /// A piece of the answer goes to the client; gives what [`Self::taken`] is to be told.
    pub fn hand_out(&self) -> u64 {
        let now = self.0.now();
        let mut pieces = self.0.pieces.lock().unwrap_or_else(PoisonError::into_inner);
        *pieces.entry(now).or_default() += 1;
        now
    }

    /// A piece is gone that was handed out at that time.
    pub fn taken(&self, handed_out: u64) {
        let mut pieces = self.0.pieces.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = pieces.get_mut(&handed_out) {
            *count -= 1;
            if *count == 0 {
                pieces.remove(&handed_out);
            }
        }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.last.fetch_max(self.0.now(), Ordering::AcqRel);
        self.0.requests.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_idle_when_nothing_was_asked_for_in_time() {
        let activity = Arc::new(Activity::new());
        assert!(activity.end_of(Duration::from_secs(60)).is_some());
        assert!(activity.end_of(Duration::ZERO).is_none());
        let busy = Busy::new(&activity);
        assert!(activity.end_of(Duration::ZERO).is_some());
        drop(busy);
        assert!(activity.end_of(Duration::ZERO).is_none());
    }

    #[test]
    fn a_connection_is_stuck_when_a_piece_was_not_taken_in_time() {
        let activity = Arc::new(Activity::new());
        let busy = Busy::new(&activity);
        assert!(!activity.is_stuck(Duration::ZERO));
        let pieces = [busy.hand_out(), busy.hand_out()];
        assert!(activity.is_stuck(Duration::ZERO));
        assert!(!activity.is_stuck(Duration::from_secs(60)));
        for piece in pieces {
            assert!(activity.is_stuck(Duration::ZERO));
            busy.taken(piece);
        }
        assert!(!activity.is_stuck(Duration::ZERO));
    }
}
