//! Requests that a component is given whole, for the answer to be whole as well: kept meanwhile, counted as the guests'
//! memory, and bounded.

use http_body_util::BodyExt as _;
use hyper::StatusCode;
use hyper::body::Bytes;
use tokio::task::{JoinError, JoinHandle};
use wasmtime::ResourceLimiter as _;
use wasmtime_wasi_http::WasiBody;

use crate::workload::wasm::limits::Limits;

/// Most bytes of a request's body, and of an answer's.
pub const MAX_BODY: usize = 16 << 20;
/// Most bytes of an answer besides its body.
pub const MAX_HEAD: usize = 1 << 20;

/// Takes bytes of the guests' memory, where they are left.
pub fn take(held: &mut Limits, bytes: usize) -> bool {
    matches!(held.memory_growing(0, bytes, None), Ok(true))
}

/// All of a request's body; the status is for its client, where it cannot be kept.
pub async fn collect(mut body: WasiBody, held: &mut Limits) -> Result<Vec<u8>, StatusCode> {
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| StatusCode::BAD_REQUEST)?;
        let Ok(data) = frame.into_data() else { continue };
        if bytes.len() + data.len() > MAX_BODY {
            return Err(StatusCode::PAYLOAD_TOO_LARGE);
        }
        if !take(held, data.len()) {
            return Err(StatusCode::SERVICE_UNAVAILABLE);
        }
        bytes.extend_from_slice(&data);
    }
    Ok(bytes)
}

/// The body of an answer, with its share of the guests' memory; `None` where nothing is left of that.
pub fn kept(bytes: Vec<u8>, mut held: Limits) -> Option<Bytes> {
    take(&mut held, bytes.len()).then(|| Bytes::from_owner(Kept { bytes, _held: held }))
}

struct Kept {
    bytes: Vec<u8>,
    _held: Limits,
}

impl AsRef<[u8]> for Kept {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// A component at work, as long as anybody waits for its answer: a client that leaves ends it.
pub struct Running<T>(JoinHandle<T>);

impl<T: Send + 'static> Running<T> {
    /// In a task of its own: the connection has others to serve meanwhile.
    pub fn start(work: impl Future<Output = T> + Send + 'static) -> Self {
        Self(tokio::spawn(work))
    }

    pub async fn outcome(mut self) -> Result<T, JoinError> {
        (&mut self.0).await
    }
}

impl<T> Drop for Running<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::GuestOptions;

    /// A client that leaves drops the future that waits.
    #[tokio::test]
    async fn work_ends_with_those_who_wait_for_it() {
        let (held, ended) = tokio::sync::oneshot::channel::<()>();
        let (started, starts) = tokio::sync::oneshot::channel();
        let running = Running::start(async move {
            let _held = held;
            let _ = started.send(());
            std::future::pending::<()>().await
        });
        starts.await.expect("it runs");
        let mut waiting = Box::pin(running.outcome());
        assert!(futures_util::poll!(&mut waiting).is_pending());
        drop(waiting);
        ended.await.expect_err("what it held is gone");
    }

    #[test]
    fn an_answer_has_its_share_until_it_is_sent() {
        let all = Limits::with_share(Some(1 << 20), |bytes| bytes, &GuestOptions::default());
        let answer = kept(vec![0; 600 << 10], all.another()).expect("there is room");
        assert!(kept(vec![0; 600 << 10], all.another()).is_none(), "not for two");
        drop(answer);
        assert!(kept(vec![0; 600 << 10], all.another()).is_some(), "for one again");
    }
}
