//! One process of CRIU, and what is said to it.

use std::ffi::CString;
use std::fs::File;
use std::io::{self, IoSliceMut, PipeReader, PipeWriter, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::time::{Duration, Instant};

use nix::sys::signalfd::SignalFd;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;
use protobuf::Message as _;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, Shutdown, SocketFlags, SocketType,
};

use super::{CriuError, Program, rpc};
use crate::sys;

/// More than any message of CRIU has; one that fills it is not whole.
const MAX_MESSAGE: usize = 64 * 1024;
/// How often one looks whether a process is still there.
const TICK: Duration = Duration::from_secs(1);
/// How long CRIU may take to end where what it works on has ended, or it has closed its end of the conversation.
const GRACE: Duration = Duration::from_secs(20);

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
    /// Since its own children, the restored processes, have the socket too, its end is not always seen there.
    pidfd: OwnedFd,
    socket: OwnedFd,
    ended: bool,
    interrupt: Option<SignalFd>,
    subject: Option<i32>,
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
        let pidfd = rustix::process::Pid::from_raw(pid.as_raw())
            .ok_or(rustix::io::Errno::SRCH)
            .and_then(|pid| rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()))
            .map_err(start_failed("open its process"))?;
        Ok(Waiting {
            session: Self {
                pid,
                pidfd,
                socket: ours,
                ended: false,
                interrupt: None,
                subject: None,
            },
            gate,
            report,
        })
    }

    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Has a signal that is read there end what CRIU does.
    pub fn heed(&mut self, signals: SignalFd) {
        self.interrupt = Some(signals);
    }

    /// Has CRIU end soon after the end of process `subject`, which it dumps: somebody wants the container gone, and CRIU
    /// may hang.
    pub fn follow(&mut self, subject: i32) {
        self.subject = Some(subject);
    }

    /// Sends a request and serves CRIU until it answers. Where `watch` fails, CRIU is told to give up, and the
    /// error is that of `watch`.
    ///
    /// # Errors
    /// A conversation that broke off. Whether the answer tells of success is for the caller to see.
    pub fn exchange<E: From<CriuError>>(
        &mut self,
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

    /// Waits until there is something to receive.
    fn await_message(&mut self) -> Result<(), CriuError> {
        let mut deadline: Option<Instant> = None;
        loop {
            let left = deadline.map(|end| end.saturating_duration_since(Instant::now()));
            // That a process is about to end no descriptor tells: the first one of a pid namespace waits for all
            // others, and these for CRIU, which traces them.
            let wait = left.or_else(|| self.subject.map(|_| TICK));
            let wait = wait.and_then(|wait| Timespec::try_from(wait).ok());
            let mut fds = vec![
                PollFd::new(&self.socket, PollFlags::IN),
                PollFd::new(&self.pidfd, PollFlags::IN),
            ];
            if let Some(signals) = &self.interrupt {
                fds.push(PollFd::new(signals, PollFlags::IN));
            }
            match poll(&mut fds, wait.as_ref()) {
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => return Err(CriuError::Conversation(error.into())),
                Ok(0) if left.is_some() => return Err(CriuError::Stuck(GRACE.as_secs())),
                Ok(0) => {
                    if self.subject.is_some_and(is_ending) {
                        deadline = Some(Instant::now() + GRACE);
                    }
                    continue;
                }
                Ok(_) => {}
            }
            let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
            // What it said last comes before its end.
            if ready[0] {
                return Ok(());
            }
            if ready[1] {
                return Err(self.end_of_it());
            }
            if self.interrupt.is_some() && ready[2] {
                return Err(CriuError::Interrupted);
            }
        }
    }

    /// How it ended, where it should not have.
    fn end_of_it(&mut self) -> CriuError {
        let patience = Timespec {
            tv_sec: GRACE.as_secs().cast_signed(),
            tv_nsec: 0,
        };
        let ended = poll(&mut [PollFd::new(&self.pidfd, PollFlags::IN)], Some(&patience));
        if !ended.is_ok_and(|count| count > 0) {
            return CriuError::Conversation(io::ErrorKind::UnexpectedEof.into());
        }
        self.ended = true;
        CriuError::Ended(match self.wait() {
            Some(WaitStatus::Exited(_, code)) => format!("it ended with code {code}"),
            Some(WaitStatus::Signaled(_, signal, _)) => format!("it was killed by {signal}"),
            _ => "it ended".to_owned(),
        })
    }

    fn wait(&self) -> Option<WaitStatus> {
        loop {
            match waitpid(self.pid, None) {
                Err(nix::errno::Errno::EINTR) => {}
                result => return result.ok(),
            }
        }
    }

    fn send(&mut self, message: &rpc::Criu_req) -> Result<(), CriuError> {
        let bytes = message.write_to_bytes()?;
        let sent = rustix::io::retry_on_intr(|| {
            rustix::net::send(&self.socket, &bytes, rustix::net::SendFlags::NOSIGNAL)
        });
        match sent {
            Ok(_) => Ok(()),
            // It has ended before we said anything.
            Err(rustix::io::Errno::PIPE | rustix::io::Errno::CONNRESET) => Err(self.end_of_it()),
            Err(error) => Err(CriuError::Conversation(error.into())),
        }
    }

    fn receive(&mut self) -> Result<(rpc::Criu_resp, Option<OwnedFd>), CriuError> {
        self.await_message()?;
        let mut bytes = vec![0; MAX_MESSAGE];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let received = rustix::io::retry_on_intr(|| {
            let mut iov = [IoSliceMut::new(&mut bytes)];
            rustix::net::recvmsg(&self.socket, &mut iov, &mut control, RecvFlags::CMSG_CLOEXEC)
        });
        let received = match received {
            Ok(received) => received,
            // It has ended without reading all that we said.
            Err(rustix::io::Errno::CONNRESET) => return Err(self.end_of_it()),
            Err(error) => return Err(CriuError::Conversation(error.into())),
        };
        if received.bytes == 0 {
            return Err(self.end_of_it());
        }
        if received.bytes == MAX_MESSAGE {
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

/// Whether a process has begun to end: PF_EXITING of the kernel's include/linux/sched.h, the ninth field of
/// proc_pid_stat(5).
fn is_ending(pid: i32) -> bool {
    const PF_EXITING: u64 = 4;
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else {
        return true;
    };
    // The name of the program may have blanks and parentheses in it.
    let flags = stat
        .rsplit_once(')')
        .and_then(|(_, rest)| rest.split_whitespace().nth(6)?.parse::<u64>().ok());
    flags.is_some_and(|flags| flags & PF_EXITING != 0)
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

#[cfg(test)]
mod tests;
