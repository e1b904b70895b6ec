//! Responses: whole ones, and such whose body is written as it comes.

use wasip2::http::types::{Fields, OutgoingBody, OutgoingResponse, ResponseOutparam};
use wasip2::io::streams::OutputStream;

/// The body of a response that is under way.
pub struct Body {
    stream: OutputStream,
    body: OutgoingBody,
}

impl Body {
    /// Writes `bytes` and waits until they have left; whether the client is still there.
    pub fn write(&self, bytes: &[u8]) -> bool {
        // The interface takes 4096 bytes at a time.
        bytes
            .chunks(4096)
            .all(|part| self.stream.blocking_write_and_flush(part).is_ok())
    }

    /// Ends the body; without it the response is broken off.
    pub fn finish(self) {
        drop(self.stream);
        // An error means that the client is gone.
        let _ = OutgoingBody::finish(self.body, None);
    }
}

/// Sends the head of a response.
pub fn start(out: ResponseOutparam, status: u16) -> Body {
    let fields = Fields::new();
    fields
        .append("content-type", b"text/plain")
        .expect("a valid field");
    let response = OutgoingResponse::new(fields);
    if response.set_status_code(status).is_err() {
        response.set_status_code(400).expect("a valid status");
    }
    let body = response.body().expect("the body is taken once");
    ResponseOutparam::set(out, Ok(response));
    let stream = body.write().expect("the body has one stream");
    Body { stream, body }
}

/// Sends a whole response.
pub fn answer(out: ResponseOutparam, status: u16, text: &str) {
    let body = start(out, status);
    if body.write(text.as_bytes()) {
        body.finish();
    }
}
