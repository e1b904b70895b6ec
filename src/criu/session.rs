//! One process of CRIU, and what is said to it.

use std::ffi::CString;
use std::fs::File;
use std::io::{self, IoSliceMut, PipeReader, PipeWriter, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;
use protobuf::Message as _;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, Shutdown, SocketFlags, SocketType,
};

use super::{CriuError, Program, rpc};
use crate::sys;

/// More than any message of CRIU has; one that fills it is not whole.
const MAX_MESSAGE: usize = 64 * 1024;

/// What the standard streams of CRIU are, and so those that a restored process inherits by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stdio {
    Null,
    Ours,
}

/// Something that CRIU tells of while it works; it goes on when that was dealt with.
#[derive(Debug)]
pub struct Notice {
    pub script: String,
    /// The first process of the tree, where there is one yet; in our pid namespace.
    pub pid: i32,
    pub descriptor: Option<OwnedFd>,
}

/// A child that is to become CRIU, and waits.
#[derive(Debug)]
pub struct Waiting {
    session: Session,
    gate: PipeWriter,
    report: PipeReader,
}

/// CRIU, waiting for a request. Killed where it is dropped before its end.
#[derive(Debug)]
pub struct Session {
    pid: Pid,
    socket: OwnedFd,
    ended: bool,
}

fn start_failed<E: Into<io::Error>>(action: &'static str) -> impl FnOnce(E) -> CriuError {
    move |source| CriuError::Start {
        action,
        source: source.into(),
    }
}

impl Session {
    /// Makes the child. `enter` is what it does before it executes CRIU; for that it has the descriptors `keep`,
    /// which CRIU gets too, under the same numbers.
    ///
    /// # Errors
    /// No process, pipe or socket.
    pub fn start(
        program: &Program,
        keep: &[RawFd],
        stdio: Stdio,
        enter: &dyn Fn() -> Result<(), String>,
    ) -> Result<Waiting, CriuError> {
        let (ours, theirs) = rustix::net::socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )
        .map_err(start_failed("make a socket pair"))?;
        let (wait, gate) = io::pipe().map_err(start_failed("make a pipe"))?;
        let (report, mut complaint) = io::pipe().map_err(start_failed("make a pipe"))?;
        let pid = sys::fork::run_in_child(|| {
            let birth = Birth {
                program,
                keep,
                stdio,
                socket: theirs.as_raw_fd(),
                wait: &wait,
                complaint: complaint.as_raw_fd(),
            };
            // The parent is told, or is gone.
            let _ = complaint.write_all(birth.live(enter).as_bytes());
            126
        })
        .map_err(start_failed("make a process"))?;
        Ok(Waiting {
            session: Self {
                pid,
                socket: ours,
                ended: false,
            },
            gate,
            report,
        })
    }

    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Sends a request and serves CRIU until it answers. Where `watch` fails, CRIU is told to give up, and the
    /// error is that of `watch`.
    ///
    /// # Errors
    /// A conversation that broke off. Whether the answer tells of success is for the caller to see.
    pub fn exchange<E: From<CriuError>>(
        &self,
        request: &rpc::Criu_req,
        watch: &mut dyn FnMut(Notice) -> Result<(), E>,
    ) -> Result<rpc::Criu_resp, E> {
        self.send(request)?;
        let mut failure = None;
        loop {
            let (answer, descriptor) = match (self.receive(), failure.take()) {
                (Err(_), Some(failure)) => return Err(failure),
                (Ok(received), before) => {
                    failure = before;
                    received
                }
                (Err(error), None) => return Err(error.into()),
            };
            if answer.type_() != rpc::Criu_req_type::NOTIFY || !answer.success() {
                return failure.map_or(Ok(answer), Err);
            }
            let notice = Notice {
                script: answer.notify.script().to_owned(),
                pid: answer.notify.pid(),
                descriptor,
            };
            let mut reply = rpc::Criu_req::new();
            reply.set_type(rpc::Criu_req_type::NOTIFY);
            reply.set_notify_success(false);
            if failure.is_none() {
                match watch(notice) {
                    Ok(()) => reply.set_notify_success(true),
                    Err(error) => failure = Some(error),
                }
            }
            if let Err(error) = self.send(&reply) {
                return Err(failure.unwrap_or_else(|| error.into()));
            }
        }
    }

    /// Says that nothing more will be asked, and waits for CRIU's end; true where it says that all went well.
    pub fn end(mut self) -> bool {
        // It may have closed its end already.
        let _ = rustix::net::shutdown(&self.socket, Shutdown::Write);
        self.ended = true;
        matches!(self.wait(), Some(WaitStatus::Exited(_, 0)))
    }

    fn wait(&self) -> Option<WaitStatus> {
        loop {
            match waitpid(self.pid, None) {
                Err(nix::errno::Errno::EINTR) => {}
                result => return result.ok(),
            }
        }
    }

    fn send(&self, message: &rpc::Criu_req) -> Result<(), CriuError> {
        let bytes = message.write_to_bytes()?;
        rustix::io::retry_on_intr(|| {
            rustix::net::send(&self.socket, &bytes, rustix::net::SendFlags::NOSIGNAL)
        })
        .map(|_| ())
        .map_err(|error| CriuError::Conversation(error.into()))
    }

    fn receive(&self) -> Result<(rpc::Criu_resp, Option<OwnedFd>), CriuError> {
        let mut bytes = vec![0; MAX_MESSAGE];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let received = rustix::io::retry_on_intr(|| {
            let mut iov = [IoSliceMut::new(&mut bytes)];
            rustix::net::recvmsg(&self.socket, &mut iov, &mut control, RecvFlags::CMSG_CLOEXEC)
        })
        .map_err(|error| CriuError::Conversation(error.into()))?;
        if received.bytes == 0 || received.bytes == MAX_MESSAGE {
            return Err(CriuError::Conversation(io::ErrorKind::UnexpectedEof.into()));
        }
        let descriptor = control.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
            _ => None,
        });
        Ok((
            rpc::Criu_resp::parse_from_bytes(&bytes[..received.bytes])?,
            descriptor,
        ))
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        // It is our child and not reaped, so the number is its own; it may have ended by itself.
        let _ = nix::sys::signal::kill(self.pid, nix::sys::signal::Signal::SIGKILL);
        self.wait();
    }
}

impl Waiting {
    pub fn pid(&self) -> Pid {
        self.session.pid
    }

    /// Lets the child go on, and returns when it is CRIU.
    ///
    /// # Errors
    /// What the child could not do.
    pub fn go(self) -> Result<Session, CriuError> {
        let Self {
            session,
            mut gate,
            mut report,
        } = self;
        // Where the child is gone, the report tells.
        let _ = gate.write_all(b"!");
        drop(gate);
        let mut complaint = String::new();
        report
            .read_to_string(&mut complaint)
            .map_err(start_failed("hear of its start"))?;
        if complaint.is_empty() {
            return Ok(session);
        }
        Err(CriuError::Said(complaint))
    }
}

/// The child's side.
struct Birth<'a> {
    program: &'a Program,
    keep: &'a [RawFd],
    stdio: Stdio,
    socket: RawFd,
    wait: &'a PipeReader,
    complaint: RawFd,
}

impl Birth<'_> {
    /// Becomes CRIU; returns only what went wrong.
    fn live(&self, enter: &dyn Fn() -> Result<(), String>) -> String {
        match self.become_criu(enter) {
            Ok(never) => match never {},
            Err(error) => error,
        }
    }

    fn become_criu(
        &self,
        enter: &dyn Fn() -> Result<(), String>,
    ) -> Result<std::convert::Infallible, String> {
        let failed = |action: &'static str| move |error: io::Error| format!("cannot {action}: {error}");
        let mut keep = vec![self.socket, self.wait.as_raw_fd(), self.complaint];
        keep.extend(self.keep);
        // Also the container's lock, which must not live on in CRIU.
        sys::exec::close_all_but(&keep).map_err(failed("close descriptors"))?;
        let mut go = [0];
        match (&mut &*self.wait).read(&mut go) {
            Ok(1) => {}
            // Nobody waits for us any more.
            _ => return Err(String::new()),
        }
        enter()?;
        sys::exec::default_signals().map_err(failed("reset signals"))?;
        if self.stdio == Stdio::Null {
            null_streams().map_err(failed("open /dev/null"))?;
        }
        for number in self.keep.iter().chain([&self.socket]) {
            sys::fd::keep_open(*number).map_err(failed("pass descriptors on"))?;
        }
        let string = |bytes: Vec<u8>| CString::new(bytes).map_err(|error| error.to_string());
        let path = string(self.program.path.as_os_str().as_bytes().to_vec())?;
        let arguments = [
            string(b"criu".to_vec())?,
            string(b"swrk".to_vec())?,
            string(self.socket.to_string().into_bytes())?,
        ];
        let environment = std::env::vars_os()
            .map(|(mut name, value)| {
                name.push("=");
                name.push(value);
                string(name.into_vec())
            })
            .collect::<Result<Vec<_>, _>>()?;
        nix::unistd::execve(&path, &arguments, &environment)
            .map_err(|error| format!("cannot execute {}: {error}", self.program.path.display()))
    }
}

fn null_streams() -> io::Result<()> {
    let null = File::options().read(true).write(true).open("/dev/null")?;
    nix::unistd::dup2_stdin(&null)?;
    nix::unistd::dup2_stdout(&null)?;
    Ok(nix::unistd::dup2_stderr(&null)?)
}
