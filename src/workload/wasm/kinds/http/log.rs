//! The access log: one line per request in the Common Log Format, which every log reader knows.
//!
//! ```text
//! 10.0.0.7 - - [25/Nov/2026:21:17:06 +0000] "GET /path HTTP/1.1" 200 5120
//! ```

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::IpAddr;

use hyper::{Method, Request, StatusCode, Uri, Version};
use time::OffsetDateTime;

/// A request that is to be logged when its answer is over.
#[derive(Debug)]
pub struct Entry {
    client: IpAddr,
    method: Method,
    uri: Uri,
    version: Version,
    received: OffsetDateTime,
}

impl Entry {
    pub fn new<B>(client: IpAddr, request: &Request<B>) -> Self {
        Self {
            client,
            method: request.method().clone(),
            uri: request.uri().clone(),
            version: request.version(),
            received: OffsetDateTime::now_utc(),
        }
    }

    /// Writes the line to standard output; `bytes` are those of the body that were sent.
    pub fn write(&self, status: StatusCode, bytes: u64) {
        let line = self.line(status, bytes);
        // One write, so that lines of others do not come between; there is nobody to tell where it fails.
        let _ = std::io::stdout().lock().write_all(line.as_bytes());
    }

    fn line(&self, status: StatusCode, bytes: u64) -> String {
        let path = self.uri.path_and_query().map_or("/", |path| path.as_str());
        let mut line = format!(
            "{} - - [{}] \"{} ",
            self.client,
            timestamp(self.received),
            self.method
        );
        escape(&mut line, path);
        let bytes = if bytes == 0 {
            "-".to_owned()
        } else {
            bytes.to_string()
        };
        let _ = writeln!(line, " {:?}\" {} {bytes}", self.version, status.as_u16());
        line
    }
}

fn timestamp(time: OffsetDateTime) -> String {
    let (hour, minute, second) = time.to_hms();
    let month = time.month().to_string();
    let (day, year) = (time.day(), time.year());
    format!("{day:02}/{month:.3}/{year}:{hour:02}:{minute:02}:{second:02} +0000")
}

/// Keeps a client from ending the quoted part, or the line, and writing the rest itself.
fn escape(line: &mut String, text: &str) {
    for character in text.chars() {
        match character {
            '"' | '\\' => line.extend(['\\', character]),
            character if character.is_control() => line.extend(character.escape_default()),
            character => line.push(character),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_the_common_format() {
        let request = Request::get("/a?b=c").body(()).unwrap();
        let mut entry = Entry::new(IpAddr::from([10, 0, 0, 7]), &request);
        entry.received = OffsetDateTime::from_unix_timestamp(1_795_641_426).unwrap();
        assert_eq!(
            entry.line(StatusCode::OK, 5120),
            "10.0.0.7 - - [25/Nov/2026:21:17:06 +0000] \"GET /a?b=c HTTP/1.1\" 200 5120\n"
        );
        assert!(entry.line(StatusCode::NO_CONTENT, 0).ends_with("204 -\n"));
    }

    #[test]
    fn a_client_cannot_write_lines_of_its_own() {
        let mut line = String::new();
        escape(&mut line, "/\" 200 1\nevil\\\u{7f}");
        assert_eq!(line, "/\\\" 200 1\\nevil\\\\\\u{7f}");
    }
}
