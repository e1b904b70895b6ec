//! A client of HTTP/1.1, as small as the tests need it: one request for each connection.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};

use super::command::eventually;
use super::network::connect;

/// What a server answered.
#[derive(Debug)]
pub struct Response {
    pub status: u16,
    /// The header fields, names in lower case.
    pub fields: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Response {
    /// The value of a header field.
    pub fn field(&self, name: &str) -> Option<&str> {
        let found = self.fields.iter().find(|(own, _)| own == name);
        found.map(|(_, value)| value.as_str())
    }

    /// The body as text; bytes that are not UTF-8 are replaced.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// `GET path`.
pub fn get(address: SocketAddr, path: &str) -> io::Result<Response> {
    request(address, "GET", path, &[], &[])
}

/// `POST path` with a body.
pub fn post(address: SocketAddr, path: &str, body: &[u8]) -> io::Result<Response> {
    request(address, "POST", path, &[], body)
}

/// `GET path`, tried until the server is there.
#[track_caller]
pub fn get_eventually(address: SocketAddr, path: &str) -> Response {
    eventually(&format!("{address} answers"), || get(address, path).ok())
}

/// A request with more header `fields`, each a line such as `name: value`.
pub fn request(
    address: SocketAddr,
    method: &str,
    path: &str,
    fields: &[&str],
    body: &[u8],
) -> io::Result<Response> {
    let stream = connect(address)?;
    let mut head = format!("{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n");
    if !body.is_empty() {
        head += &format!("content-length: {}\r\n", body.len());
    }
    for field in fields {
        head += &format!("{field}\r\n");
    }
    head += "\r\n";
    std::thread::scope(|scope| {
        // While the answer is read: a server may send it before it has the whole request. That it then closes
        // the connection under the writer is no failure; the answer tells.
        scope.spawn(|| {
            (&stream)
                .write_all(head.as_bytes())
                .and_then(|()| (&stream).write_all(body))
        });
        finish(stream.try_clone()?)
    })
}

/// A response that has ended with its connection; `None` where a part is missing.
fn parse(bytes: &[u8]) -> Option<Response> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&bytes[..end]).ok()?;
    let body = &bytes[end + 4..];
    let mut lines = head.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let fields = lines
        .map(|line| line.split_once(':'))
        .map(|pair| pair.map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned())))
        .collect::<Option<Vec<_>>>()?;
    let mut response = Response {
        status,
        fields,
        body: body.to_vec(),
    };
    if response.field("transfer-encoding") == Some("chunked") {
        response.body = unchunk(body)?;
    } else if let Some(length) = response.field("content-length") {
        let length: usize = length.parse().ok()?;
        (body.len() == length).then_some(())?;
    }
    Some(response)
}

/// The pieces of a chunked body; `None` without the last one.
fn unchunk(mut bytes: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = bytes.windows(2).position(|window| window == b"\r\n")?;
        let line = std::str::from_utf8(&bytes[..end]).ok()?;
        let length = usize::from_str_radix(line.split(';').next()?, 16).ok()?;
        bytes = &bytes[end + 2..];
        if length == 0 {
            return Some(body);
        }
        body.extend(bytes.get(..length)?);
        bytes = bytes.get(length + 2..)?;
    }
}

/// A connection on which `GET path` has been sent, whose answer is still to be read.
pub fn begin(address: SocketAddr, path: &str) -> io::Result<TcpStream> {
    let stream = connect(address)?;
    let head = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    (&stream).write_all(head.as_bytes())?;
    Ok(stream)
}

/// The same with a body, by POST.
pub fn begin_post(address: SocketAddr, path: &str, body: &str) -> io::Result<TcpStream> {
    let stream = connect(address)?;
    let length = body.len();
    let head = format!("POST {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n");
    let request = format!("{head}content-length: {length}\r\n\r\n{body}");
    (&stream).write_all(request.as_bytes())?;
    Ok(stream)
}

/// The answer on a connection that has been sent a request.
pub fn finish(stream: TcpStream) -> io::Result<Response> {
    finish_after(&[], stream)
}

/// The same, where `start` of the answer has been read already.
pub fn finish_after(start: &[u8], mut stream: TcpStream) -> io::Result<Response> {
    let mut received = start.to_vec();
    stream.read_to_end(&mut received)?;
    parse(&received).ok_or_else(|| {
        let text = String::from_utf8_lossy(&received[..received.len().min(500)]).into_owned();
        io::Error::other(format!("no whole response: {text:?}"))
    })
}
