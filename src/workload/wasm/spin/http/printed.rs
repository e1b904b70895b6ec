//! What a program prints, kept until it has ended: it counts as the guests' memory as it grows, and is bounded.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use hyper::body::Bytes;
use tokio::io::AsyncWrite;
use wasmtime_wasi::async_trait;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamError, StreamResult};

use super::whole::{MAX_BODY, take};
use crate::workload::wasm::limits::Limits;

/// Memory is taken by so many bytes at once.
const STEP: usize = 256 << 10;
/// What a program may write at once.
const CHUNK: usize = 64 << 10;

/// Standard output of one program.
#[derive(Clone)]
pub struct Output(Arc<Mutex<Kept>>);

struct Kept {
    bytes: Vec<u8>,
    taken: usize,
    held: Limits,
    /// Why not all of it is there.
    lack: Option<&'static str>,
}

impl Output {
    /// `held` is what the memory is taken from, and goes back with when the last byte is gone.
    pub fn new(held: Limits) -> Self {
        Self(Arc::new(Mutex::new(Kept {
            bytes: Vec::new(),
            taken: 0,
            held,
            lack: None,
        })))
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was printed; it keeps its share of the memory.
    ///
    /// # Errors
    /// The program has printed more than is kept.
    pub fn into_bytes(self) -> Result<Bytes, &'static str> {
        let mut kept = self.kept();
        if let Some(lack) = kept.lack {
            return Err(lack);
        }
        let bytes = std::mem::take(&mut kept.bytes);
        drop(kept);
        Ok(Bytes::from_owner(Printed { bytes, _held: self }))
    }
}

impl Kept {
    fn add(&mut self, bytes: &[u8]) -> Result<(), &'static str> {
        let added = self.make_room(bytes.len());
        match added {
            Ok(()) => self.bytes.extend_from_slice(bytes),
            Err(lack) => self.lack = Some(lack),
        }
        added
    }

    fn make_room(&mut self, bytes: usize) -> Result<(), &'static str> {
        let wanted = self.bytes.len().saturating_add(bytes);
        if wanted > MAX_BODY {
            return Err("the program has printed more than the 16 MiB that an answer may have");
        }
        if let Some(lacking) = wanted.checked_sub(self.taken).filter(|lacking| *lacking > 0) {
            let more = lacking.next_multiple_of(STEP);
            if !take(&mut self.held, more) {
                return Err("there is no memory left for what the program prints (memory.limit)");
            }
            self.taken += more;
            self.bytes.reserve_exact(self.taken - self.bytes.len());
        }
        Ok(())
    }
}

/// What a program has printed, with its share of the guests' memory.
struct Printed {
    bytes: Vec<u8>,
    _held: Output,
}

impl AsRef<[u8]> for Printed {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl IsTerminal for Output {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Output {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
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
        let added = self.kept().add(&bytes);
        added.map_err(|lack| StreamError::LastOperationFailed(wasmtime::format_err!("{lack}")))
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }
}

impl AsyncWrite for Output {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let added = self.kept().add(bytes);
        Poll::Ready(added.map(|()| bytes.len()).map_err(io::Error::other))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::GuestOptions;

    /// Where guests may have so many bytes together.
    fn limits(bytes: u64) -> Limits {
        Limits::with_share(Some(bytes), |bytes| bytes, &GuestOptions::default())
    }

    fn print(output: &Output, chunks: usize) -> StreamResult<()> {
        let mut stream = output.p2_stream();
        (0..chunks).try_for_each(|_| stream.write(Bytes::from(vec![b'x'; CHUNK])))
    }

    #[test]
    fn an_answer_takes_as_much_memory_as_it_needs_and_gives_it_back() {
        let all = limits(4 << 20);
        let output = Output::new(all.another());
        print(&output, 32).expect("two of four MiB");
        let answer = output.into_bytes().expect("all of it");
        assert_eq!(answer.len(), 2 << 20);
        assert!(!take(&mut all.another(), 3 << 20), "the answer has its share");
        drop(answer);
        assert!(take(&mut all.another(), 3 << 20), "which came back");
    }

    #[test]
    fn an_answer_that_does_not_fit_is_none() {
        let output = Output::new(limits(1 << 20).another());
        print(&output, 32).expect_err("more than there is");
        assert!(output.into_bytes().expect_err("not all").contains("memory"));
        let output = Output::new(Limits::none());
        print(&output, 256).expect("16 MiB");
        print(&output, 1).expect_err("one more");
        assert!(output.into_bytes().expect_err("not all").contains("16 MiB"));
    }
}
