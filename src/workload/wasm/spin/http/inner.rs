//! Answers to requests that components send to each other: whoever asked waits until they have all of it, or want no
//! more.

use std::pin::Pin;
use std::task::{Context, Poll};

use http_body_util::BodyExt as _;
use hyper::body::{Body, Bytes, Frame, SizeHint};
use wasmtime_wasi_http::{Error, WasiBody};

use crate::workload::wasm::kinds::http::Taking;

/// The body of such an answer, which goes with `taking`.
pub fn taken(body: WasiBody, taking: Taking) -> WasiBody {
    Taken {
        body,
        _taking: taking,
    }
    .boxed_unsync()
}

struct Taken {
    body: WasiBody,
    _taking: Taking,
}

impl Body for Taken {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
