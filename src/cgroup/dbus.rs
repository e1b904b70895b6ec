//! As much of D-Bus as talking to systemd takes: one connection, calls that need not wait for each other's
//! answers, and the signal that tells of a finished job. rustbus does the wire format. Its own connection is not
//! used: it claims our uid, which a bus outside of our user namespace knows by another number, lets its socket be
//! inherited, and spins when the bus hangs up at the wrong moment.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustbus::message_builder::MarshalledMessage;
use rustbus::wire::errors::{MarshalError, UnmarshalError};
use rustbus::wire::marshal::MarshalContext;
use rustbus::wire::marshal::traits::SignatureBuffer;
use rustbus::wire::unmarshal;
use rustbus::{Marshal, MessageBuilder, MessageType, Signature, signature};

use crate::plan::cgroup::NumberKind;

const DAEMON: &str = "org.freedesktop.DBus";
const SYSTEM_BUS: &str = "/run/dbus/system_bus_socket";
/// systemd's own socket, for root on hosts without a bus.
const PRIVATE_BUS: &str = "/run/systemd/private";
/// The longest that systemd may take for one answer or one job.
const LIMIT: Duration = Duration::from_secs(30);
/// No reply of systemd comes near; a longer one is no reply.
const LONGEST_MESSAGE: usize = 1 << 24;

/// Why the bus did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum BusError {
    #[error("cannot reach the bus at {address}")]
    Connect { address: String, source: io::Error },
    #[error(
        "no user bus: neither DBUS_SESSION_BUS_ADDRESS nor XDG_RUNTIME_DIR leads to one; rootless containers \
         under systemd need the package dbus-user-session and a login session"
    )]
    NoUserBus,
    #[error("the bus does not accept us: {answer:?}")]
    Refused { answer: String },
    #[error("the connection to the bus broke")]
    Io(#[from] io::Error),
    #[error("{name}: {message}")]
    Answer { name: String, message: String },
    #[error("the job ended as {result:?}")]
    Job { result: String },
    #[error("a message cannot be put together")]
    Marshal(#[from] MarshalError),
    #[error("the bus sends what cannot be read")]
    Unmarshal(#[from] UnmarshalError),
}

impl BusError {
    /// Whether systemd answered with this error of its own (`org.freedesktop.systemd1.` before it).
    pub(super) fn is(&self, error: &str) -> bool {
        matches!(self, Self::Answer { name, .. } if name.strip_prefix("org.freedesktop.systemd1.") == Some(error))
    }
}

/// A call that has been sent, or is to be: what its answer says is asked for with [`Bus::answer`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Serial(u32);

/// A connection to a bus, or to systemd itself.
#[derive(Debug)]
pub(super) struct Bus {
    stream: BufReader<UnixStream>,
    last: u32,
    /// Without a bus between: no names, no Hello.
    direct: bool,
    /// What the bus has yet to say to us, and to Hello.
    greeting: Option<Option<Serial>>,
    /// Calls that are not sent yet.
    unsent: Vec<u8>,
    /// Answers that nobody has asked for yet.
    answers: Vec<MarshalledMessage>,
    /// Jobs that ended: object path and result.
    removed: Vec<(String, String)>,
}

impl Bus {
    /// Reads nothing yet: whether the bus accepts us, the first answer tells.
    pub(super) fn connect(user: bool) -> Result<Self, BusError> {
        if user {
            return Self::open(&user_address()?, false);
        }
        match Self::open(&Address::Path(PathBuf::from(SYSTEM_BUS)), false) {
            Err(BusError::Connect { .. }) if Path::new(PRIVATE_BUS).exists() => {
                Self::open(&Address::Path(PathBuf::from(PRIVATE_BUS)), true)
            }
            result => result,
        }
    }

    fn open(address: &Address, direct: bool) -> Result<Self, BusError> {
        let stream = address.connect().map_err(|source| BusError::Connect {
            address: address.to_string(),
            source,
        })?;
        stream.set_read_timeout(Some(LIMIT))?;
        stream.set_write_timeout(Some(LIMIT))?;
        let mut bus = Self::over(stream, direct);
        // No uid is claimed, so that the bus takes that of the socket's credentials, which is right also from
        // inside a user namespace.
        bus.unsent.extend(b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n");
        let hello = if direct {
            None
        } else {
            Some(bus.ask_bus("Hello", None)?)
        };
        bus.greeting = Some(hello);
        Ok(bus)
    }

    fn over(stream: UnixStream, direct: bool) -> Self {
        Self {
            stream: BufReader::new(stream),
            last: 0,
            direct,
            greeting: None,
            unsent: Vec::new(),
            answers: Vec::new(),
            removed: Vec::new(),
        }
    }

    /// Waits until the bus has accepted us.
    pub(super) fn greet(&mut self) -> Result<(), BusError> {
        let Some(hello) = self.greeting.take() else {
            return Ok(());
        };
        self.flush()?;
        loop {
            let line = self.read_line()?;
            match line.split(' ').next() {
                Some("OK") => break,
                Some("DATA") => {}
                _ => return Err(BusError::Refused { answer: line }),
            }
        }
        hello.map_or(Ok(()), |hello| self.answer(hello).map(drop))
    }

    fn read_line(&mut self) -> Result<String, BusError> {
        let mut line = Vec::new();
        (&mut self.stream).take(1024).read_until(b'\n', &mut line)?;
        Ok(String::from_utf8_lossy(&line).trim_end().to_owned())
    }

    /// Has the bus pass on the signal of a unit's finished jobs.
    pub(super) fn watch_jobs(&mut self, unit: &str) -> Result<Option<Serial>, BusError> {
        if self.direct {
            return Ok(None);
        }
        let unit = unit.replace('\'', r"'\''");
        let rule = format!(
            "type='signal',sender='org.freedesktop.systemd1',path='/org/freedesktop/systemd1',\
             interface='org.freedesktop.systemd1.Manager',member='JobRemoved',arg2='{unit}'"
        );
        self.ask_bus("AddMatch", Some(&rule)).map(Some)
    }

    /// Of the bus itself, not of systemd.
    fn ask_bus(&mut self, member: &str, argument: Option<&str>) -> Result<Serial, BusError> {
        let mut message = MessageBuilder::new()
            .call(member)
            .on("/org/freedesktop/DBus")
            .with_interface(DAEMON)
            .at(DAEMON)
            .build();
        if let Some(argument) = argument {
            message.body.push_param(argument)?;
        }
        self.ask(message)
    }

    /// Puts a call with those that are to be sent: at the next [`Self::flush`], or when an answer is waited for.
    pub(super) fn ask(&mut self, mut message: MarshalledMessage) -> Result<Serial, BusError> {
        if self.direct {
            message.dynheader.destination = None;
        }
        self.last += 1;
        let mut header = Vec::new();
        rustbus::wire::marshal::marshal(&message, self.last, &mut header)?;
        self.unsent.extend(header);
        self.unsent.extend_from_slice(message.get_buf());
        Ok(Serial(self.last))
    }

    /// Sends what has been asked.
    pub(super) fn flush(&mut self) -> Result<(), BusError> {
        let unsent = std::mem::take(&mut self.unsent);
        Ok(self.stream.get_ref().write_all(&unsent)?)
    }

    /// Waits for the answer to a call.
    pub(super) fn answer(&mut self, Serial(serial): Serial) -> Result<MarshalledMessage, BusError> {
        self.greet()?;
        self.flush()?;
        let is_it = |answer: &MarshalledMessage| answer.dynheader.response_serial == Some(serial);
        let answer = loop {
            if let Some(at) = self.answers.iter().position(is_it) {
                break self.answers.swap_remove(at);
            }
            self.take_in()?;
        };
        if answer.typ == MessageType::Error {
            let message = answer.body.parser().get::<String>().unwrap_or_default();
            return Err(BusError::Answer {
                name: answer.dynheader.error_name.unwrap_or_default(),
                message,
            });
        }
        Ok(answer)
    }

    /// [`Self::ask`] and [`Self::answer`] in one.
    pub(super) fn call(&mut self, message: MarshalledMessage) -> Result<MarshalledMessage, BusError> {
        let asked = self.ask(message)?;
        self.answer(asked)
    }

    /// Waits for the end of a job, given by the object path that its start returned.
    pub(super) fn wait_job(&mut self, job: &str) -> Result<(), BusError> {
        loop {
            if let Some((_, result)) = self.removed.iter().find(|(path, _)| path == job) {
                return match result.as_str() {
                    "done" => Ok(()),
                    result => Err(BusError::Job {
                        result: result.to_owned(),
                    }),
                };
            }
            self.take_in()?;
        }
    }

    /// Receives a message, and keeps what somebody may wait for.
    fn take_in(&mut self) -> Result<(), BusError> {
        let message = self.receive()?;
        if message.dynheader.response_serial.is_some() {
            self.answers.push(message);
        } else if message.typ == MessageType::Signal
            && message.dynheader.member.as_deref() == Some("JobRemoved")
        {
            let (_, job, _, result) = message
                .body
                .parser()
                .get4::<u32, rustbus::wire::ObjectPath<String>, String, String>()?;
            self.removed.push((job.as_ref().to_owned(), result));
        }
        Ok(())
    }

    fn receive(&mut self) -> Result<MarshalledMessage, BusError> {
        // The fixed part, with the length of the header's fields at its end.
        const FIXED: usize = unmarshal::HEADER_LEN + 4;
        let mut bytes = vec![0; FIXED];
        self.stream.read_exact(&mut bytes)?;
        let (_, header) = unmarshal::unmarshal_header(&bytes, 0)?;
        let (_, fields) = rustbus::wire::util::parse_u32(&bytes[unmarshal::HEADER_LEN..], header.byteorder)?;
        let length = FIXED + (fields as usize).next_multiple_of(8) + header.body_len as usize;
        if length > LONGEST_MESSAGE {
            return Err(UnmarshalError::NotEnoughBytes.into());
        }
        bytes.resize(length, 0);
        self.stream.read_exact(&mut bytes[FIXED..])?;
        let at = unmarshal::HEADER_LEN;
        let (used, dynamic) = unmarshal::unmarshal_dynamic_header(&header, &bytes, at)?;
        let (_, message) = unmarshal::unmarshal_next_message(&header, dynamic, &bytes, at + used)?;
        Ok(message)
    }
}

/// Where a bus listens.
#[derive(Debug, PartialEq, Eq)]
enum Address {
    Path(PathBuf),
    Abstract(Vec<u8>),
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Path(path) => path.display().fmt(f),
            Self::Abstract(name) => write!(f, "@{}", String::from_utf8_lossy(name)),
        }
    }
}

impl Address {
    fn connect(&self) -> io::Result<UnixStream> {
        match self {
            Self::Path(path) => UnixStream::connect(path),
            Self::Abstract(name) => UnixStream::connect_addr(&SocketAddr::from_abstract_name(name)?),
        }
    }

    /// The first address that we can use in a list as of the D-Bus specification, "Server Addresses".
    fn parse(list: &str) -> Option<Self> {
        list.split(';').find_map(|address| {
            let keys = address.strip_prefix("unix:")?;
            keys.split(',').find_map(|pair| match pair.split_once('=')? {
                ("path", value) => {
                    use std::os::unix::ffi::OsStringExt;
                    Some(Self::Path(PathBuf::from(std::ffi::OsString::from_vec(unescape(
                        value,
                    )?))))
                }
                ("abstract", value) => Some(Self::Abstract(unescape(value)?)),
                _ => None,
            })
        })
    }
}

fn unescape(value: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digits = std::str::from_utf8(rest.get(..2)?).ok()?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        rest = &rest[2..];
    }
    Some(bytes)
}

fn user_address() -> Result<Address, BusError> {
    let given = std::env::var("DBUS_SESSION_BUS_ADDRESS").ok();
    if let Some(address) = given.as_deref().and_then(Address::parse) {
        return Ok(address);
    }
    let bus = std::env::var_os("XDG_RUNTIME_DIR").map(|dir| Path::new(&dir).join("bus"));
    bus.filter(|bus| bus.exists())
        .map(Address::Path)
        .ok_or(BusError::NoUserBus)
}

/// The value of a unit's property.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    Bool(bool),
    Number(u64),
    Text(String),
    Pids(Vec<u32>),
    Bits(Vec<u8>),
    Pairs(Vec<(String, String)>),
    Texts(Vec<String>),
    /// A number of another kind, and a list of such.
    Typed(NumberKind, i128),
    TypedList(NumberKind, Vec<i128>),
}

impl Signature for Value {
    fn signature() -> signature::Type {
        signature::Type::Container(signature::Container::Variant)
    }

    fn alignment() -> usize {
        1
    }

    fn sig_str(buffer: &mut SignatureBuffer) {
        buffer.push_static("v");
    }

    fn has_sig(sig: &str) -> bool {
        sig.starts_with('v')
    }
}

impl Marshal for Value {
    fn marshal(&self, context: &mut MarshalContext<'_, '_>) -> Result<(), MarshalError> {
        match self {
            Self::Bool(value) => value.marshal_as_variant(context),
            Self::Number(value) => value.marshal_as_variant(context),
            Self::Text(value) => value.marshal_as_variant(context),
            Self::Pids(value) => value.marshal_as_variant(context),
            Self::Bits(value) => value.marshal_as_variant(context),
            Self::Pairs(value) => value.marshal_as_variant(context),
            Self::Texts(value) => value.marshal_as_variant(context),
            Self::Typed(kind, value) => match kind {
                NumberKind::Byte => (*value as u8).marshal_as_variant(context),
                NumberKind::Int16 => (*value as i16).marshal_as_variant(context),
                NumberKind::Uint16 => (*value as u16).marshal_as_variant(context),
                NumberKind::Int32 => (*value as i32).marshal_as_variant(context),
                NumberKind::Uint32 => (*value as u32).marshal_as_variant(context),
                NumberKind::Int64 => (*value as i64).marshal_as_variant(context),
                NumberKind::Uint64 => (*value as u64).marshal_as_variant(context),
            },
            Self::TypedList(kind, values) => match kind {
                NumberKind::Byte => list(values, |value| value as u8).marshal_as_variant(context),
                NumberKind::Int16 => list(values, |value| value as i16).marshal_as_variant(context),
                NumberKind::Uint16 => list(values, |value| value as u16).marshal_as_variant(context),
                NumberKind::Int32 => list(values, |value| value as i32).marshal_as_variant(context),
                NumberKind::Uint32 => list(values, |value| value as u32).marshal_as_variant(context),
                NumberKind::Int64 => list(values, |value| value as i64).marshal_as_variant(context),
                NumberKind::Uint64 => list(values, |value| value as u64).marshal_as_variant(context),
            },
        }
    }
}

/// Numbers of one kind, which are within its range.
fn list<T>(values: &[i128], convert: impl Fn(i128) -> T) -> Vec<T> {
    values.iter().copied().map(convert).collect()
}

#[cfg(test)]
mod tests;
