//! Commands with a time limit, whose output goes to files: a container's init keeps what `create` was given
//! open, so a pipe would never end.

use std::fs::File;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde_json::Value;

/// How long a command may take on a busy machine before it counts as hung; times [`patience`].
pub const LIMIT: Duration = Duration::from_secs(40);

/// By how much this machine is slower than those the limits are made for: `WRUN_TEST_PATIENCE`, by default 1.
pub fn patience() -> u32 {
    static PATIENCE: OnceLock<u32> = OnceLock::new();
    *PATIENCE.get_or_init(|| {
        std::env::var("WRUN_TEST_PATIENCE").map_or(1, |factor| {
            factor.parse().expect("WRUN_TEST_PATIENCE is a whole number")
        })
    })
}

/// What a command did.
#[derive(Debug, Clone)]
pub struct Output {
    /// The command line, for messages.
    pub what: String,
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

impl Output {
    /// The exit code; 128 + n when signal n ended the command.
    pub fn code(&self) -> i32 {
        self.status
            .code()
            .or(self.status.signal().map(|signal| 128 + signal))
            .unwrap_or(-1)
    }

    /// The same output, which must be that of a command that succeeded.
    #[track_caller]
    pub fn ok(self) -> Self {
        assert!(self.status.success(), "{self}");
        self
    }

    /// The same output, which must be that of a command that ended with `code`.
    #[track_caller]
    pub fn code_is(self, code: i32) -> Self {
        assert_eq!(self.code(), code, "{self}");
        self
    }

    /// The one error of a command that failed, without the decoration of the log.
    #[track_caller]
    pub fn error(&self) -> String {
        assert!(
            !self.status.success(),
            "succeeded, but should have failed: {self}"
        );
        let lines: Vec<&str> = self
            .stderr
            .lines()
            .filter(|line| !line.trim().is_empty())
            .collect();
        let errors: Vec<&str> = lines
            .iter()
            .copied()
            .filter(|line| line.contains("level=error"))
            .collect();
        let errors = if errors.is_empty() { lines } else { errors };
        assert_eq!(errors.len(), 1, "one error was expected: {self}");
        errors[0].to_owned()
    }

    /// Standard output as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error} in the output of {self}"))
    }

    /// Standard output's lines.
    pub fn lines(&self) -> Vec<&str> {
        self.stdout.lines().collect()
    }
}

impl std::fmt::Display for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "`{}` ended with {} (code {})\n--- stdout\n{}--- stderr\n{}---",
            self.what,
            self.status,
            self.code(),
            self.stdout,
            self.stderr
        )
    }
}

/// A command that is running.
pub struct Running {
    pub child: Child,
    what: String,
    stdout: PathBuf,
    stderr: PathBuf,
}

impl Running {
    /// Starts `command` with its output in files `NAME.out` and `NAME.err` of `dir`. What the caller has set
    /// for standard input stays; `Stdio::null` is for the caller to set.
    pub fn start(mut command: Command, dir: &Path, name: &str) -> Self {
        let create = |end: &str| {
            let path = dir.join(format!("{name}.{end}"));
            let file = File::create(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            (path, file)
        };
        let ((stdout, out), (stderr, err)) = (create("out"), create("err"));
        command.stdout(out).stderr(err);
        Self::spawn(command, stdout, stderr)
    }

    /// Starts `command` on a terminal: all three of its descriptors are `terminal`, so nothing is captured.
    pub fn start_on(mut command: Command, terminal: &std::os::fd::OwnedFd) -> Self {
        let copy = || Stdio::from(terminal.try_clone().expect("a descriptor can be duplicated"));
        command.stdin(copy()).stdout(copy()).stderr(copy());
        Self::spawn(command, PathBuf::from("/dev/null"), PathBuf::from("/dev/null"))
    }

    /// Starts `command` with standard streams that are the caller's to set, so that nothing is captured.
    pub fn start_silent(command: Command) -> Self {
        Self::spawn(command, PathBuf::from("/dev/null"), PathBuf::from("/dev/null"))
    }

    fn spawn(mut command: Command, stdout: PathBuf, stderr: PathBuf) -> Self {
        let what = describe(&command);
        let child = command
            .spawn()
            .unwrap_or_else(|error| panic!("`{what}` does not start: {error}"));
        Running {
            child,
            what,
            stdout,
            stderr,
        }
    }

    /// The process id.
    pub fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: rustix::process::Signal) {
        rustix::process::kill_process(pid(self.pid()), signal).expect("our own child can be signalled");
    }

    /// What it has written so far.
    pub fn stdout(&self) -> String {
        read(&self.stdout)
    }

    /// Waits for the end, at most [`LIMIT`] times [`patience`].
    #[track_caller]
    pub fn wait(mut self) -> Output {
        let finished = wait_for_exit(self.pid(), LIMIT);
        if !finished {
            let _ = self.child.kill(); // Already gone is as good.
        }
        let status = self.child.wait().expect("our own child can be waited for");
        let output = Output {
            what: self.what,
            status,
            stdout: read(&self.stdout),
            stderr: read(&self.stderr),
        };
        assert!(finished, "took longer than {LIMIT:?}: {output}");
        output
    }
}

/// Waits until process `id` has ended or `limit` times [`patience`] has passed; whether it has ended.
pub fn wait_for_exit(id: i32, limit: Duration) -> bool {
    let Ok(pidfd) = pidfd_open(pid(id), PidfdFlags::empty()) else {
        return true;
    };
    let deadline = Instant::now() + limit * patience();
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec::try_from(left).expect("a minute fits a timespec");
        match poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&timeout)) {
            Ok(0) => return false,
            Ok(_) => return true,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => panic!("poll: {error}"),
        }
    }
}

/// Polls `condition` until it gives a value; panics with `what` after [`LIMIT`] times [`patience`].
#[track_caller]
pub fn eventually<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + LIMIT * patience();
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < deadline, "waited {LIMIT:?} in vain: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A process id that came from the kernel.
pub fn pid(id: i32) -> Pid {
    Pid::from_raw(id).expect("a process id is never 0")
}

/// A command as one line.
fn describe(command: &Command) -> String {
    std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| word.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ")
}

/// A file's text; bytes that are not UTF-8 are replaced.
pub fn read(path: &Path) -> String {
    std::fs::read(path).map_or_else(
        |_| String::new(),
        |bytes| String::from_utf8_lossy(&bytes).into_owned(),
    )
}
