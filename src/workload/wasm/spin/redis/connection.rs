//! A connection that has subscribed to channels. It reads no further than one message, so that what comes faster than it
//! can be handled waits with the server, which a client that reads ahead would let grow in here.

use std::io;
use std::time::Duration;

use rustix::net::sockopt;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::reply::{self, Reply};
use crate::workload::wasm::spin::host::redis::Server;
use crate::workload::wasm::spin::host::{Stream, Trust};

/// How long a server may take to let us in.
const GREETING: Duration = Duration::from_secs(10);
/// Most bytes of an answer that is no message.
const ANSWER: usize = 64 << 10;
/// Bytes that are asked for at once.
const CHUNK: usize = 16 << 10;

/// Without a word for so long, a server is asked whether it is there, and so often again before it counts as lost.
const SILENCE: Duration = Duration::from_secs(60);
const PROBE: Duration = Duration::from_secs(15);
const PROBES: u32 = 4;

/// What was published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    pub channel: String,
    pub payload: Vec<u8>,
}

pub struct Connection {
    stream: Box<dyn Stream>,
    /// What has come, of which so many bytes are used already.
    read: Vec<u8>,
    used: usize,
}

impl Connection {
    pub async fn open(server: &Server, trust: &Trust, channels: Vec<&str>) -> Result<Self, String> {
        let stream = server.reach().await?;
        keep_alive(&stream).map_err(|error| error.to_string())?;
        let mut connection = Self {
            stream: server.secured(stream, trust).await?,
            read: Vec::new(),
            used: 0,
        };
        let greeting = connection.greet(server, channels);
        let greeted = tokio::time::timeout(GREETING, greeting).await;
        let failed = |reason: String| format!("{}: {reason}", server.name());
        greeted
            .map_err(|_| failed("the server does not answer".to_owned()))?
            .map_err(failed)?;
        Ok(connection)
    }

    async fn greet(&mut self, server: &Server, channels: Vec<&str>) -> Result<(), String> {
        if let Some(password) = server.password() {
            let mut command = vec!["AUTH"];
            command.extend(server.username());
            command.push(password);
            self.write(&command).await?;
            match self.reply(ANSWER).await? {
                Reply::Status(_) => {}
                other => return Err(refusal("AUTH", &other)),
            }
        }
        let count = channels.len();
        let mut command = vec!["SUBSCRIBE"];
        command.extend(channels);
        self.write(&command).await?;
        let mut subscribed = 0;
        while subscribed < count {
            match self.reply(ANSWER).await? {
                Reply::List(parts) if parts.first() == Some(&Reply::Bytes(b"subscribe".to_vec())) => {
                    subscribed += 1;
                }
                // What was published before all channels are there.
                Reply::List(_) => {}
                other => return Err(refusal("SUBSCRIBE", &other)),
            }
        }
        Ok(())
    }

    /// The next message, of at most so many bytes; larger ones are an error, as is the end of the connection.
    pub async fn next(&mut self, most: usize) -> Result<Message, String> {
        loop {
            if let Some(message) = message(self.reply(most).await?) {
                return Ok(message);
            }
        }
    }

    /// What is lost when this is dropped midway is nothing: what was read stays.
    async fn reply(&mut self, most: usize) -> Result<Reply, String> {
        loop {
            // A server that never stops sending must not keep the thread: nothing below waits where there is something
            // to read.
            tokio::task::coop::consume_budget().await;
            let unused = self.read.get(self.used..).unwrap_or_default();
            if let Some((reply, used)) = reply::parse(unused, most)? {
                self.used += used;
                return Ok(reply);
            }
            if self.used > 0 {
                self.read.drain(..self.used);
                self.used = 0;
                // A large message must not be paid for by all that come after.
                self.read.shrink_to(CHUNK);
            }
            self.read.reserve(CHUNK);
            match self.stream.read_buf(&mut self.read).await {
                Ok(0) => return Err("the server has closed it".to_owned()),
                Ok(_) => {}
                Err(error) => return Err(error.to_string()),
            }
        }
    }

    async fn write(&mut self, command: &[&str]) -> Result<(), String> {
        let bytes = reply::command(command);
        let written = self.stream.write_all(&bytes).await;
        written.map_err(|error| error.to_string())?;
        self.stream.flush().await.map_err(|error| error.to_string())
    }
}

/// A subscriber only listens, and would not notice a server that is gone without a word.
fn keep_alive(stream: &TcpStream) -> io::Result<()> {
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, SILENCE)?;
    sockopt::set_tcp_keepintvl(stream, PROBE)?;
    sockopt::set_tcp_keepcnt(stream, PROBES)?;
    Ok(())
}

fn refusal(command: &str, reply: &Reply) -> String {
    match reply {
        Reply::Error(text) => format!("the server refuses {command}: {text}"),
        _ => format!("the server answers {command} with what is no answer to it"),
    }
}

/// The message that an answer is, where it is one.
fn message(reply: Reply) -> Option<Message> {
    let Reply::List(parts) = reply else { return None };
    let [Reply::Bytes(kind), Reply::Bytes(channel), Reply::Bytes(payload)] =
        <[Reply; 3]>::try_from(parts).ok()?
    else {
        return None;
    };
    (kind == b"message").then(|| Message {
        channel: String::from_utf8_lossy(&channel).into_owned(),
        payload,
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::time::Instant;

    use super::*;

    #[test]
    fn messages_are_told_from_other_answers() {
        let bytes = |text: &str| Reply::Bytes(text.as_bytes().to_vec());
        let list = |parts: &[&str]| Reply::List(parts.iter().map(|part| bytes(part)).collect());
        let expected = Message {
            channel: "c".to_owned(),
            payload: b"p".to_vec(),
        };
        assert_eq!(message(list(&["message", "c", "p"])), Some(expected));
        for other in [
            list(&["pmessage", "c", "p"]),
            list(&["message", "c"]),
            Reply::List(vec![bytes("subscribe"), bytes("c"), Reply::Number(1)]),
            Reply::Nil,
        ] {
            assert_eq!(message(other), None);
        }
    }

    /// A server that never stops sending what is no message.
    #[tokio::test]
    async fn a_server_that_floods_leaves_the_thread_to_others() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("bound");
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a client");
            let (began, words) = (Instant::now(), b":1\r\n".repeat(16 << 10));
            // Until the client leaves, or has had its chance.
            while began.elapsed() < Duration::from_secs(10) && stream.write_all(&words).is_ok() {}
        });
        let mut connection = Connection {
            stream: Box::new(TcpStream::connect(address).await.expect("a server")),
            read: Vec::new(),
            used: 0,
        };
        let began = Instant::now();
        let next = tokio::time::timeout(Duration::from_millis(50), connection.next(1 << 20)).await;
        assert!(
            next.is_err() && began.elapsed() < Duration::from_secs(5),
            "{next:?}"
        );
        drop(connection);
        server.join().expect("no panic");
    }
}
