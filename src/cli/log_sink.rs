//! Where log lines end up: standard error, a file, the journal or the system log. Must not decide what is said.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::Path;

use anyhow::{Context as _, bail};

use super::log::Level;

/// Where systemd-journald listens (systemd.io/JOURNAL_NATIVE_PROTOCOL).
const JOURNAL: &str = "/run/systemd/journal/socket";
/// Where the system log listens (syslog(3)).
const SYSLOG: &str = "/dev/log";

#[derive(Debug)]
pub(super) enum Sink {
    Stderr,
    File(File),
    /// Entries are marked with the name.
    Journal {
        socket: UnixDatagram,
        name: String,
    },
    Syslog {
        socket: UnixDatagram,
        name: String,
    },
}

impl Sink {
    /// Opens what `--log` names, in crun's form: `journald:NAME`, `syslog:NAME`, `file:PATH` or a path alone.
    pub(super) fn open(destination: Option<&Path>) -> anyhow::Result<Self> {
        let Some(destination) = destination else {
            return Ok(Self::Stderr);
        };
        let bytes = destination.as_os_str().as_bytes();
        if let Some(name) = bytes.strip_prefix(b"journald:") {
            let (name, socket) = (identifier(name)?, connect(JOURNAL)?);
            return Ok(Self::Journal { socket, name });
        }
        if let Some(name) = bytes.strip_prefix(b"syslog:") {
            let (name, socket) = (identifier(name)?, connect(SYSLOG)?);
            return Ok(Self::Syslog { socket, name });
        }
        let path = bytes.strip_prefix(b"file:").unwrap_or(bytes);
        // An empty name is what an engine passes that has no log to name.
        if path.is_empty() {
            return Ok(Self::Stderr);
        }
        let path = Path::new(std::ffi::OsStr::from_bytes(path));
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o644)
            .open(path)
            .with_context(|| format!("cannot open the log file {}", path.display()))?;
        Ok(Self::File(file))
    }

    /// Whether nobody who looks at the command's standard error sees the lines.
    pub(super) const fn is_elsewhere(&self) -> bool {
        !matches!(self, Self::Stderr)
    }

    /// Writes one line, which ends in a line feed, or the message alone where the log has lines of its own.
    pub(super) fn write(&self, level: Level, line: &str, message: &str) -> io::Result<()> {
        // One write for a line, so that the lines of two processes do not mix.
        match self {
            Self::Stderr => io::stderr().lock().write_all(line.as_bytes()),
            Self::File(file) => (&mut &*file).write_all(line.as_bytes()),
            Self::Journal { socket, name } => socket.send(&journal_entry(name, level, message)).map(|_| ()),
            Self::Syslog { socket, name } => {
                // Facility "user", as for all programs that are not part of the system.
                let priority = 1 << 3 | severity(level);
                let text = message.replace('\n', " ");
                socket
                    .send(format!("<{priority}>{name}: {text}").as_bytes())
                    .map(|_| ())
            }
        }
    }
}

fn connect(path: &str) -> anyhow::Result<UnixDatagram> {
    let connect = || {
        let socket = UnixDatagram::unbound()?;
        socket.connect(path)?;
        // A log that is stuck must not stop a container.
        socket.set_nonblocking(true)?;
        io::Result::Ok(socket)
    };
    connect().with_context(|| format!("--log: cannot reach the log at {path}"))
}

fn identifier(name: &[u8]) -> anyhow::Result<String> {
    let name = std::str::from_utf8(name).context("--log: the name is not UTF-8")?;
    if name.is_empty() || name.chars().any(char::is_control) {
        bail!("--log: {name:?} is no name to mark log lines with");
    }
    Ok(name.to_owned())
}

/// As of syslog(3).
const fn severity(level: Level) -> u8 {
    match level {
        Level::Debug => 7,
        Level::Warning => 4,
        Level::Error => 3,
    }
}

/// The message with its length before it, since it may have line feeds.
fn journal_entry(name: &str, level: Level, message: &str) -> Vec<u8> {
    let mut entry = format!(
        "PRIORITY={}\nSYSLOG_IDENTIFIER={name}\nMESSAGE\n",
        severity(level)
    )
    .into_bytes();
    entry.extend((message.len() as u64).to_le_bytes());
    entry.extend(message.as_bytes());
    entry.push(b'\n');
    entry
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn destinations_have_crun_s_form() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a:b");
        for destination in [
            path.to_str().unwrap().to_owned(),
            format!("file:{}", path.display()),
        ] {
            let sink = Sink::open(Some(Path::new(&destination))).unwrap();
            sink.write(Level::Error, "line\n", "").unwrap();
        }
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "line\nline\n");
        for empty in ["", "file:"] {
            let sink = Sink::open(Some(Path::new(empty))).unwrap();
            assert!(!sink.is_elsewhere());
        }
        assert!(identifier(b"").is_err() && identifier(b"a\nb").is_err() && identifier(b"\xff").is_err());
    }

    #[test]
    fn entries_are_marked() {
        let entry = journal_entry("web", Level::Warning, "a\nb");
        assert_eq!(
            entry,
            b"PRIORITY=4\nSYSLOG_IDENTIFIER=web\nMESSAGE\n\x03\0\0\0\0\0\0\0a\nb\n"
        );
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let server = UnixDatagram::bind(&path).unwrap();
        let socket = connect(path.to_str().unwrap()).unwrap();
        let sink = Sink::Syslog {
            socket,
            name: "web".into(),
        };
        sink.write(Level::Error, "", "one\ntwo").unwrap();
        let mut buffer = [0; 64];
        let length = server.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"<11>web: one two");
    }
}
