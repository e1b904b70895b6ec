//! The guest's standard streams: the container's descriptors 0, 1 and 2, read and written in place.
//!
//! The engine's own stdin starts a thread at the first read, which fails under a tight pids limit and keeps a
//! stack for as long as the guest waits. A container has one guest, so waiting on the descriptor does. The
//! descriptors' flags stay untouched, since their open files are shared with whoever started us.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use wasmtime_wasi::async_trait;
use wasmtime_wasi::cli::{IsTerminal, StdinStream, StdoutStream};
use wasmtime_wasi::p2::{InputStream, OutputStream, Pollable, StreamError, StreamResult};
use wasmtime_wasi_io::bytes::Bytes;

/// Most that one read or write takes from or gives to the guest at once.
const CHUNK: usize = 64 * 1024;

/// Descriptor 0.
#[derive(Clone)]
pub struct Stdin {
    /// `None` for files that epoll(7) refuses since they are always ready, and where there is no descriptor.
    waiter: Option<Arc<AsyncFd<std::io::Stdin>>>,
}

impl Stdin {
    /// To be called inside the runtime that waits.
    pub fn new() -> Self {
        let waiter = crate::sys::stdin::register();
        Self {
            waiter: waiter.ok().map(Arc::new),
        }
    }

    /// Whether a read would not block: there is data, the end, or an error to report.
    fn is_ready() -> bool {
        is_ready(std::io::stdin().as_fd(), PollFlags::POLLIN, PollTimeout::ZERO)
    }

    fn poll_ready(&self, context: &mut Context<'_>) -> Poll<()> {
        let Some(waiter) = &self.waiter else {
            return Poll::Ready(());
        };
        loop {
            if Self::is_ready() {
                return Poll::Ready(());
            }
            match waiter.poll_read_ready(context) {
                Poll::Pending => return Poll::Pending,
                // Another reader may have been faster since the runtime was told.
                Poll::Ready(Ok(mut guard)) if !Self::is_ready() => guard.clear_ready(),
                // An error of the runtime's is left to the read that follows.
                Poll::Ready(_) => return Poll::Ready(()),
            }
        }
    }
}

impl IsTerminal for Stdin {
    fn is_terminal(&self) -> bool {
        std::io::IsTerminal::is_terminal(&std::io::stdin())
    }
}

impl StdinStream for Stdin {
    fn async_stream(&self) -> Box<dyn AsyncRead + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn InputStream> {
        Box::new(self.clone())
    }
}

#[async_trait]
impl Pollable for Stdin {
    async fn ready(&mut self) {
        std::future::poll_fn(|context| self.poll_ready(context)).await;
    }
}

impl InputStream for Stdin {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        if size == 0 || !Self::is_ready() {
            return Ok(Bytes::new());
        }
        let mut buffer = vec![0; size.min(CHUNK)];
        match rustix::io::retry_on_intr(|| rustix::io::read(std::io::stdin(), &mut buffer)) {
            Ok(0) => Err(StreamError::Closed),
            Ok(length) => {
                buffer.truncate(length);
                Ok(buffer.into())
            }
            Err(rustix::io::Errno::AGAIN) => Ok(Bytes::new()),
            Err(error) => Err(StreamError::LastOperationFailed(io::Error::from(error).into())),
        }
    }
}

impl AsyncRead for Stdin {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.poll_ready(context).is_pending() {
            return Poll::Pending;
        }
        let wanted = buffer.remaining().min(CHUNK);
        let read = rustix::io::retry_on_intr(|| {
            rustix::io::read(std::io::stdin(), buffer.initialize_unfilled_to(wanted))
        });
        match read {
            Ok(length) => {
                buffer.advance(length);
                Poll::Ready(Ok(()))
            }
            Err(rustix::io::Errno::AGAIN) => {
                context.waker().wake_by_ref();
                Poll::Pending
            }
            Err(error) => Poll::Ready(Err(error.into())),
        }
    }
}

/// Descriptor 1 or 2. Writing blocks the guest, which has nothing else to run meanwhile.
#[derive(Clone, Copy)]
pub enum Output {
    Stdout,
    Stderr,
}

impl Output {
    /// Calls with the descriptor itself, past the buffer that the standard library puts before it.
    fn with_fd<R>(self, call: impl FnOnce(BorrowedFd<'_>) -> R) -> R {
        match self {
            Self::Stdout => call(std::io::stdout().as_fd()),
            Self::Stderr => call(std::io::stderr().as_fd()),
        }
    }

    fn write_some(self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match self.with_fd(|fd| rustix::io::write(fd, bytes)) {
                Ok(written) => return Ok(written),
                Err(rustix::io::Errno::INTR) => {}
                // Whoever shares the open file has made it non-blocking.
                Err(rustix::io::Errno::AGAIN) => {
                    self.with_fd(|fd| is_ready(fd, PollFlags::POLLOUT, PollTimeout::NONE));
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl IsTerminal for Output {
    fn is_terminal(&self) -> bool {
        self.with_fd(|fd| std::io::IsTerminal::is_terminal(&fd))
    }
}

impl StdoutStream for Output {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(*self)
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(*self)
    }
}

#[async_trait]
impl Pollable for Output {
    async fn ready(&mut self) {}
}

impl OutputStream for Output {
    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(CHUNK)
    }

    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        let mut rest: &[u8] = &bytes;
        while !rest.is_empty() {
            match self.write_some(rest) {
                Ok(written) => rest = &rest[written..],
                // The guest's library turns a closed stream into EPIPE.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Err(StreamError::Closed),
                Err(error) => return Err(StreamError::LastOperationFailed(error.into())),
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }
}

impl AsyncWrite for Output {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(self.write_some(bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Whether the descriptor can be read or written without blocking, as poll(2) says; errors count as ready, so
/// that the call itself reports them.
fn is_ready(fd: BorrowedFd<'_>, events: PollFlags, timeout: PollTimeout) -> bool {
    let mut fds = [PollFd::new(fd, events)];
    loop {
        match nix::poll::poll(&mut fds, timeout) {
            Ok(ready) => return ready > 0,
            Err(Errno::EINTR) => {}
            Err(_) => return true,
        }
    }
}
