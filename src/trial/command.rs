//! Other programs, with a time limit. Their output goes to files: a container that is left holds a pipe open.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::directory::Directory;
use super::signals::Held;

/// A daemon that has not answered after this time does not.
const LIMIT: Duration = Duration::from_secs(60);

/// What a program did.
#[derive(Debug)]
pub(super) struct Output {
    pub success: bool,
    pub stdout: String,
    stderr: String,
    end: String,
}

impl Output {
    /// Why it failed: the last line that it said, or how it ended.
    pub(super) fn reason(&self) -> String {
        let said = |text: &str| {
            text.lines()
                .rfind(|line| !line.trim().is_empty())
                .map(|line| line.trim().to_owned())
        };
        said(&self.stderr)
            .or_else(|| said(&self.stdout).map(|line| format!("{}, after: {line}", self.end)))
            .unwrap_or_else(|| self.end.clone())
    }
}

/// Runs a command to its end, for a minute, or until a signal would end us; with nothing to read. `directory` is for
/// files that hold its output.
///
/// # Errors
/// Those of starting it and of waiting for it; `Interrupted` for a signal.
pub(super) fn run(command: &mut Command, directory: &Directory) -> io::Result<Output> {
    run_with(command.stdin(Stdio::null()), directory)
}

/// [`run`], with the standard input that the caller has given it.
pub(super) fn run_with(command: &mut Command, directory: &Directory) -> io::Result<Output> {
    let child = redirect(command, directory)?;
    let child = directory.signals().spawn(child)?;
    wait(child, directory, Some(directory.signals()))
}

/// [`run`] of what cleans up, which signals do not keep us from.
pub(super) fn clean(command: &mut Command, directory: &Directory) {
    let child = redirect(command.stdin(Stdio::null()), directory).and_then(Command::spawn);
    // What went wrong before is what will be told.
    let _ = child.and_then(|child| wait(child, directory, None));
}

fn redirect<'a>(command: &'a mut Command, directory: &Directory) -> io::Result<&'a mut Command> {
    let file = |name: &str| File::create(directory.path().join(name));
    Ok(command.stdout(file("stdout")?).stderr(file("stderr")?))
}

fn wait(mut child: Child, directory: &Directory, signals: Option<&Held>) -> io::Result<Output> {
    let ended = ended_in_time(child.id(), signals);
    if !matches!(ended, Ok(true)) {
        child.kill()?;
    }
    let status = child.wait()?;
    let end = if ended? {
        status.to_string()
    } else {
        format!("no end after {} seconds", LIMIT.as_secs())
    };
    let text = |name: &str| {
        let bytes = std::fs::read(directory.path().join(name));
        bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    };
    Ok(Output {
        success: status.success(),
        stdout: text("stdout")?,
        stderr: text("stderr")?,
        end,
    })
}

fn ended_in_time(child: u32, signals: Option<&Held>) -> io::Result<bool> {
    let pid = Pid::from_raw(child.cast_signed()).ok_or(io::ErrorKind::InvalidInput)?;
    let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
    let deadline = Instant::now() + LIMIT;
    loop {
        let left = Timespec::try_from(deadline.saturating_duration_since(Instant::now()));
        let left = left.map_err(|_| io::ErrorKind::InvalidInput)?;
        let mut fds = vec![PollFd::new(&pidfd, PollFlags::IN)];
        fds.extend(signals.map(|signals| PollFd::new(signals, PollFlags::IN)));
        match poll(&mut fds, Some(&left)) {
            Ok(0) => return Ok(false),
            Ok(_) if fds[0].revents().is_empty() => return Err(io::ErrorKind::Interrupted.into()),
            Ok(_) => return Ok(true),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Where a program is: by PATH, and where programs for administrators are, which a user's PATH may lack.
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let more = [
        "/usr/local/sbin",
        "/usr/local/bin",
        "/usr/sbin",
        "/usr/bin",
        "/sbin",
        "/bin",
    ];
    std::env::split_paths(&path)
        .chain(more.map(PathBuf::from))
        .filter(|directory| directory.is_absolute())
        .map(|directory| directory.join(name))
        .find(|file| file.is_file())
}
