//! How long a client may be silent in the middle of something: it holds an instance meanwhile.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;

/// Between two pieces of a request's body, and between two pieces of an answer that the client takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// A timer that runs only while something is waited for.
#[derive(Default)]
pub struct Patience(Option<Pin<Box<Sleep>>>);

impl Patience {
    /// Whether it was waited for too long; wakes the task when that will be so.
    pub fn is_over(&mut self, context: &mut Context<'_>) -> bool {
        let timer = self
            .0
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(PATIENCE)));
        timer.as_mut().poll(context).is_ready()
    }

    /// The client has moved.
    pub fn renew(&mut self) {
        self.0 = None;
    }
}

/// A connection whose client must take what it is sent. What it sends itself is timed where it is waited for.
pub struct PatientStream {
    stream: TcpStream,
    patience: Patience,
}

impl PatientStream {
    pub fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            patience: Patience::default(),
        }
    }

    fn timed<T>(&mut self, written: Poll<io::Result<T>>, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        match written {
            Poll::Ready(result) => {
                self.patience.renew();
                Poll::Ready(result)
            }
            Poll::Pending if self.patience.is_over(context) => {
                Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
            }
            Poll::Pending => Poll::Pending,
        }
    }
}

impl AsyncRead for PatientStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for PatientStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.timed(written, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.timed(written, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
