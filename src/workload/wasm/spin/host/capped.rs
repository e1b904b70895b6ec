//! Connections whose other end cannot make a client hold more than a call may, nor all clients more than all calls may:
//! clients read an answer to its end before they give anything of it away.
//!
//! A connection has one call at a time, whose answer is all that comes meanwhile; or, with Redis, many: their answers come one
//! after another, each as long as any may be, and those that are there already are held until their calls end.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::bounds::{Bounds, Hold};
use super::redis::Replies;

/// Bytes of an answer besides its values: greetings, names of columns, lengths.
const BESIDES: usize = 64 << 10;

/// What may still be read for the calls at work on a connection.
#[derive(Debug, Clone)]
pub struct Allowance {
    state: Arc<Mutex<State>>,
    most: usize,
}

#[derive(Debug)]
struct State {
    /// Of the answer that is being read.
    read: usize,
    /// Of those that are there, whose calls have not taken them yet.
    whole: VecDeque<usize>,
    hold: Hold,
    calls: usize,
}

/// A call at work.
#[derive(Debug)]
pub struct Call<'a> {
    allowance: &'a Allowance,
    /// There may be others, so that what is being read now may be for one of them.
    of_many: bool,
}

impl Allowance {
    /// For a connection; the bytes of its greeting count too.
    pub fn new(bounds: &Bounds) -> Self {
        Self {
            state: Arc::new(Mutex::new(State {
                read: 0,
                whole: VecDeque::new(),
                hold: bounds.hold(),
                calls: 0,
            })),
            most: bounds.call_bytes.saturating_add(BESIDES),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A call begins on a connection that has no other, whose answer may be as long as any.
    pub fn call(&self) -> Call<'_> {
        let mut state = self.state();
        state.read = 0;
        state.calls += 1;
        Call {
            allowance: self,
            of_many: false,
        }
    }

    /// A call begins beside others; where the answers end is told.
    pub fn call_of_many(&self) -> Call<'_> {
        self.state().calls += 1;
        Call {
            allowance: self,
            of_many: true,
        }
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
        let all = state.all();
        state.hold.grow(all).map_err(io::Error::other)
    }

    /// An answer has ended; it is held as long as there is a call that it may be for.
    fn answered(&self) {
        let mut state = self.state();
        let read = std::mem::take(&mut state.read);
        state.whole.push_back(read);
        state.keep();
    }
}

impl State {
    fn all(&self) -> usize {
        let whole = self.whole.iter().copied();
        whole.fold(self.read, usize::saturating_add)
    }

    /// Has no more answers than calls: those whose call is gone are gone, too.
    fn keep(&mut self) {
        while self.whole.len() > self.calls {
            self.whole.pop_front();
        }
        let all = self.all();
        self.hold.keep(all);
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        let mut state = self.allowance.state();
        state.calls -= 1;
        if !self.of_many {
            state.read = 0;
        }
        state.whole.pop_front();
        state.keep();
    }
}

/// A stream that fails where its allowance ends.
#[derive(Debug)]
pub struct Capped<S> {
    stream: S,
    allowance: Allowance,
    replies: Option<Replies>,
}

impl<S> Capped<S> {
    pub fn new(stream: S, allowance: Allowance) -> Self {
        Self {
            stream,
            allowance,
            replies: None,
        }
    }

    /// To a Redis server.
    pub fn redis(stream: S, allowance: Allowance) -> Self {
        Self {
            replies: Some(Replies::default()),
            ..Self::new(stream, allowance)
        }
    }

    fn take(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        let Some(replies) = &mut self.replies else {
            return self.allowance.take(bytes.len());
        };
        while !bytes.is_empty() {
            let part = replies.read(bytes).map_err(io::Error::other)?;
            let values = part.values.saturating_mul(size_of::<redis::Value>());
            self.allowance.take(part.bytes.saturating_add(values))?;
            if part.ends {
                self.allowance.answered();
            }
            bytes = bytes.get(part.bytes..).unwrap_or_default();
        }
        Ok(())
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
        let new = buffer.filled().get(before..).unwrap_or_default();
        Poll::Ready(self.take(new))
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

    /// An answer of so many bytes as it is held.
    fn answer(bytes: usize) -> Vec<u8> {
        let text = bytes - "$1000000\r\n\r\n".len() - size_of::<redis::Value>();
        format!("${text:07}\r\n{}\r\n", "x".repeat(text)).into_bytes()
    }

    #[tokio::test]
    async fn calls_at_once_have_what_each_may_and_no_more() {
        let bounds = Bounds::new(Some(1 << 20), None);
        let most = bounds.call_bytes;
        let (mut server, client) = tokio::io::duplex(8 * most);
        let allowance = Allowance::new(&bounds);
        let mut stream = Capped::redis(client, allowance.clone());
        let mut read = async |bytes: &[u8]| {
            use tokio::io::AsyncWriteExt as _;
            server.write_all(bytes).await.expect("room");
            stream.read_exact(&mut vec![0; bytes.len()]).await.map(|_| ())
        };
        // A greeting, which nobody is to take.
        read(b"+OK\r\n").await.expect("within");
        bounds.held(4 * most).expect("nothing is held");
        let (one, other) = (allowance.call_of_many(), allowance.call_of_many());
        read(&answer(most)).await.expect("that of the first");
        read(&answer(most)).await.expect("that of the second");
        bounds.held(2 * most + 1).expect_err("both are held");
        drop(one);
        bounds.held(3 * most).expect("what the first had");
        let third = allowance.call_of_many();
        let flood = answer(3 * most);
        let (begin, rest) = flood.split_at(most / 2);
        read(begin).await.expect("within");
        // Calls that begin and end meanwhile make an answer no shorter.
        drop((other, third));
        let _late = allowance.call_of_many();
        bounds
            .held(4 * most - most / 4)
            .expect_err("what was read of it is held");
        let error = read(rest)
            .await
            .expect_err("an answer that is too long")
            .to_string();
        assert!(error.contains("1114112 bytes"), "{error}");
    }

    #[tokio::test]
    async fn values_count_as_what_they_are_here() {
        let bounds = Bounds::new(Some(1 << 20), None);
        let numbers = (bounds.call_bytes + BESIDES) / (size_of::<redis::Value>() + 4);
        for (count, fits) in [(numbers - 1, true), (numbers + 1, false)] {
            let answer = format!("*{count}\r\n{}", ":1\r\n".repeat(count));
            let mut stream = Capped::redis(answer.as_bytes(), Allowance::new(&bounds));
            let read = stream.read_exact(&mut vec![0; answer.len()]).await;
            assert_eq!(read.is_ok(), fits, "{count}: {read:?}");
        }
    }
}
