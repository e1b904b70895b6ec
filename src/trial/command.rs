//! Other programs, with a time limit. Their output goes to files: a container that is left holds a pipe open.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

/// A daemon that has not answered after this time does not.
const LIMIT: Duration = Duration::from_secs(60);

/// What a program did.
#[derive(Debug)]
pub struct Output {
    pub success: bool,
    pub stdout: String,
    stderr: String,
    end: String,
}

impl Output {
    /// Why it failed: the last line that it said, or how it ended.
    pub fn reason(&self) -> String {
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

/// Runs a command to its end, or for a minute, with nothing to read. `directory` is for files that hold its output.
///
/// # Errors
/// Those of starting it and of waiting for it.
pub fn run(command: &mut Command, directory: &Path) -> io::Result<Output> {
    run_with(command.stdin(Stdio::null()), directory)
}

/// [`run`], with the standard input that the caller has given it.
pub(super) fn run_with(command: &mut Command, directory: &Path) -> io::Result<Output> {
    let (stdout, stderr) = (directory.join("stdout"), directory.join("stderr"));
    command
        .stdout(File::create(&stdout)?)
        .stderr(File::create(&stderr)?);
    let mut child = command.spawn()?;
    let ended = ended_in_time(child.id());
    if !matches!(ended, Ok(true)) {
        child.kill()?;
    }
    let status = child.wait()?;
    let end = if ended? {
        status.to_string()
    } else {
        format!("no end after {} seconds", LIMIT.as_secs())
    };
    let text = |path: &Path| std::fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    Ok(Output {
        success: status.success(),
        stdout: text(&stdout)?,
        stderr: text(&stderr)?,
        end,
    })
}

fn ended_in_time(child: u32) -> io::Result<bool> {
    let pid = Pid::from_raw(child.cast_signed()).ok_or(io::ErrorKind::InvalidInput)?;
    let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
    let deadline = Instant::now() + LIMIT;
    loop {
        let left = Timespec::try_from(deadline.saturating_duration_since(Instant::now()));
        let left = left.map_err(|_| io::ErrorKind::InvalidInput)?;
        match poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&left)) {
            Ok(count) => return Ok(count > 0),
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
