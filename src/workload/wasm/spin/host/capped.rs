//! Connections whose other end cannot make a client hold more than a call may, nor all clients more than all calls may:
//! clients read an answer to its end before they give anything of it away.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::bounds::{Bounds, Hold};

/// Bytes of an answer besides its values: greetings, names of columns, lengths.
const BESIDES: usize = 64 << 10;

/// What may still be read for the calls at work.
#[derive(Debug, Clone)]
pub struct Allowance {
    state: Arc<Mutex<State>>,
    most: usize,
}

#[derive(Debug)]
struct State {
    read: usize,
    hold: Hold,
    calls: usize,
}

/// A call at work.
#[derive(Debug)]
pub struct Call<'a>(&'a Allowance);

impl Allowance {
    /// For a connection; the bytes of its greeting count too.
    pub fn new(bounds: &Bounds) -> Self {
        Self {
            state: Arc::new(Mutex::new(State {
                read: 0,
                hold: bounds.hold(),
                calls: 0,
            })),
            most: bounds.call_bytes.saturating_add(BESIDES),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A call begins, whose answer may be as long as any.
    pub fn call(&self) -> Call<'_> {
        let mut state = self.state();
        state.calls += 1;
        state.read = 0;
        Call(self)
    }

    fn take(&self, bytes: usize) -> io::Result<()> {
        let mut state = self.state();
        let read = state.read.saturating_add(bytes);
        if read > self.most {
            return Err(io::Error::other(format!(
                "the answer has more than the {} bytes that are allowed",
                self.most
            )));
        }
        state.read = read;
        state.hold.grow(read).map_err(io::Error::other)
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.calls -= 1;
        if state.calls == 0 {
            state.hold.clear();
        }
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
        let bounds = Bounds::new(Some(1 << 20), None);
        let allowance = Allowance::new(&bounds);
        let mut stream = Capped::new(tokio::io::repeat(7), allowance.clone());
        let mut within = vec![0; bounds.call_bytes + BESIDES];
        stream.read_exact(&mut within).await.expect("within");
        let error = stream.read_exact(&mut [0]).await.expect_err("beyond");
        assert!(error.to_string().contains("1114112 bytes"), "{error}");
        let call = allowance.call();
        stream.read_exact(&mut within).await.expect("the next answer");
        // Others have what is left of what all may have, and after the call what it had.
        let read = async |length: usize| {
            let mut stream = Capped::new(tokio::io::repeat(7), Allowance::new(&bounds));
            stream.read_exact(&mut vec![0; length]).await.map(|_| stream)
        };
        let one = read(within.len()).await.expect("within what all may have");
        let two = read(within.len()).await.expect("within what all may have");
        let error = read(within.len()).await.expect_err("beyond that").to_string();
        assert!(error.contains("all calls"), "{error}");
        drop(call);
        read(within.len()).await.expect("what the call had");
        drop((one, two));
    }
}
