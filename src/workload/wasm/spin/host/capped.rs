//! Connections whose other end cannot make a client hold more than a call may: clients read an answer to its end
//! before they give anything of it away.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes of an answer besides its values: greetings, names of columns, lengths.
const BESIDES: usize = 64 << 10;

/// What may still be read until the next request.
#[derive(Debug, Clone)]
pub struct Allowance {
    left: Arc<AtomicUsize>,
    most: usize,
}

impl Allowance {
    /// `call_bytes` of values for a request.
    pub fn new(call_bytes: usize) -> Self {
        let most = call_bytes.saturating_add(BESIDES);
        Self {
            left: Arc::new(AtomicUsize::new(most)),
            most,
        }
    }

    /// A request begins.
    pub fn renew(&self) {
        self.left.store(self.most, Ordering::Relaxed);
    }

    fn take(&self, bytes: usize) -> io::Result<()> {
        let rest = |left: usize| left.checked_sub(bytes);
        let taken = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, rest);
        taken.map(|_| ()).map_err(|_| {
            io::Error::other(format!(
                "the answer has more than the {} bytes that are allowed",
                self.most
            ))
        })
    }
}

/// A stream that fails where its allowance ends.
#[derive(Debug)]
pub struct Capped<S> {
    stream: S,
    allowance: Allowance,
}

impl<S> Capped<S> {
    pub fn new(stream: S, allowance: Allowance) -> Self {
        Self { stream, allowance }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Capped<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        Poll::Ready(self.allowance.take(buffer.filled().len() - before))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Capped<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt as _;

    use super::*;

    #[tokio::test]
    async fn an_answer_ends_where_the_allowance_does() {
        let allowance = Allowance::new(0);
        let endless = tokio::io::repeat(7);
        let mut stream = Capped::new(endless, allowance.clone());
        let mut within = vec![0; BESIDES];
        stream.read_exact(&mut within).await.expect("within");
        let error = stream.read_exact(&mut [0]).await.expect_err("beyond");
        assert!(error.to_string().contains("65536 bytes"), "{error}");
        allowance.renew();
        stream.read_exact(&mut within).await.expect("the next answer");
    }
}
