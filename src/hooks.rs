//! Runs the hooks of a container (runtime spec, config.md "POSIX-platform Hooks"): each in order, the state on
//! its stdin, argv and environment exactly as given, until one fails or overruns its time. Where config.json
//! gives no environment, it is as with runc that of whoever runs the hook: the runtime's own, the program's for
//! startContainer, none for createContainer.
//!
//! Used by the runtime in its own namespaces and by init inside the container's, there perhaps under the
//! container's seccomp filter. So it starts no thread and needs no /proc: one poll(2) loop over the output
//! pipes and a pidfd. It decides nothing about when hooks run or what their failure means.
//!
//! Hooks inherit every descriptor that is not close-on-exec: all that we open is, and whatever the caller of
//! `wrun` left open is marked so at the start of the program ([`crate::sys::fd::cloexec_from`]).

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, OFlags};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::plan::{Hook, HookOutput};
use crate::reason;

/// How much of each of a hook's outputs goes into an error; the rest is read and thrown away.
const OUTPUT_LIMIT: usize = 64 * 1024;

/// Why a hook list was broken off. `stage` is the list's name in config.json, `index` the hook's place in it.
#[derive(Debug, thiserror::Error)]
pub enum HookError {
    #[error("error running {stage} hook #{index}: cannot run {}", .path.display())]
    Spawn {
        stage: String,
        index: usize,
        path: PathBuf,
        #[source]
        source: io::Error,
    },

    /// `status` in the words of Go's os/exec, as runc prints it: `exit status 1`, `signal: killed`.
    #[error("error running {stage} hook #{index}: {status}, stdout: {stdout}, stderr: {stderr}")]
    Failed {
        stage: String,
        index: usize,
        status: String,
        stdout: String,
        stderr: String,
    },

    #[error("error running {stage} hook #{index}: hook ran past specified timeout of {seconds}.0s")]
    Timeout {
        stage: String,
        index: usize,
        seconds: u64,
    },

    #[error("cannot open {} for the output of hooks", .path.display())]
    Output {
        path: PathBuf,
        #[source]
        source: io::Error,
    },

    #[error("error running {stage} hook #{index}: cannot follow {}", .path.display())]
    Follow {
        stage: String,
        index: usize,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// Files of the host that get what hooks write, in place of their errors.
#[derive(Debug, Default)]
pub struct Outputs {
    stdout: Option<File>,
    stderr: Option<File>,
}

impl Outputs {
    /// Opens what the annotations name, to append to it. What is made belongs to the runtime's user alone.
    ///
    /// # Errors
    /// Those of open(2); anything but a regular file: what is written to a pipe or a device can make hooks wait, or does
    /// something on the host.
    pub fn open(wanted: &HookOutput) -> Result<Self, HookError> {
        let open = |path: &PathBuf| {
            OpenOptions::new()
                .create(true)
                .append(true)
                .mode(0o600)
                .custom_flags(libc::O_NOCTTY | libc::O_NONBLOCK)
                .open(path)
                .and_then(|file| {
                    if !file.metadata()?.is_file() {
                        return Err(io::Error::other("not a regular file"));
                    }
                    // Not for the hooks.
                    rustix::fs::fcntl_setfl(&file, OFlags::APPEND)?;
                    Ok(file)
                })
                .map_err(|source| HookError::Output {
                    path: path.clone(),
                    source,
                })
        };
        Ok(Self {
            stdout: wanted.stdout.as_ref().map(open).transpose()?,
            stderr: wanted.stderr.as_ref().map(open).transpose()?,
        })
    }

    /// The same files, for a process that closes the others of its descriptors.
    ///
    /// # Errors
    /// Those of fcntl(2).
    pub fn try_clone(&self) -> io::Result<Self> {
        let copy = |file: &Option<File>| file.as_ref().map(File::try_clone).transpose();
        Ok(Self {
            stdout: copy(&self.stdout)?,
            stderr: copy(&self.stderr)?,
        })
    }

    /// What a clone must keep open.
    pub fn descriptors(&self) -> impl Iterator<Item = RawFd> {
        [&self.stdout, &self.stderr]
            .into_iter()
            .filter_map(|file| file.as_ref().map(AsRawFd::as_raw_fd))
    }
}

/// How the hooks of one list are run.
#[derive(Debug, Clone, Copy)]
pub struct Setting<'a> {
    /// The list's name in config.json.
    pub stage: &'a str,
    /// The directory each starts in: the bundle for hooks in the runtime's namespaces, as with runc; `None` keeps
    /// the caller's.
    pub cwd: Option<&'a Path>,
    /// `None`: what they write is read and told in errors.
    pub outputs: Option<&'a Outputs>,
}

/// Runs `hooks` one after the other and stops at the first that fails.
///
/// `state_json` is what each reads from its stdin, the runtime spec's state.
///
/// # Errors
/// The failure of the first hook that could not be started, exited with another code than 0, was ended by a
/// signal or overran its timeout (then it was killed). When this returns, none of the hooks runs any more.
pub fn run(hooks: &[Hook], state_json: &[u8], setting: Setting<'_>) -> Result<(), HookError> {
    hooks
        .iter()
        .enumerate()
        .try_for_each(|(index, hook)| run_one(hook, state_json, index, setting))
}

/// The same, but every hook is run, whatever becomes of the others; answers the failures in order. For
/// `poststop`, whose failures are warnings (runtime spec, config.md).
pub fn run_all(hooks: &[Hook], state_json: &[u8], setting: Setting<'_>) -> Vec<HookError> {
    let failure = |(index, hook)| run_one(hook, state_json, index, setting).err();
    hooks.iter().enumerate().filter_map(failure).collect()
}

/// The hooks with an environment for those that are given none, or an empty one.
pub fn with_default_env(hooks: &[Hook], env: &[String]) -> Vec<Hook> {
    let given = |hook: &Hook| hook.env.as_ref().is_some_and(|env| !env.is_empty());
    let with_env = |hook: &Hook| Hook {
        env: Some(env.to_vec()),
        ..hook.clone()
    };
    hooks
        .iter()
        .map(|hook| if given(hook) { hook.clone() } else { with_env(hook) })
        .collect()
}

fn run_one(hook: &Hook, state_json: &[u8], index: usize, setting: Setting<'_>) -> Result<(), HookError> {
    let (stage, path) = (setting.stage.to_string(), hook.path.clone());
    let mut child = match command(hook, state_json, setting).and_then(|mut command| command.spawn()) {
        Ok(child) => child,
        Err(source) => {
            return Err(HookError::Spawn {
                stage,
                index,
                path,
                source,
            });
        }
    };
    let deadline = hook
        .timeout
        .and_then(|seconds| Instant::now().checked_add(Duration::from_secs(seconds)));
    let (end, output) = match follow(&mut child, deadline) {
        Ok(followed) => followed,
        Err(source) => {
            // The hook must not outlive us; that it has just ended by itself is the one way for this to fail.
            let _ = child.kill();
            let _ = child.wait();
            return Err(HookError::Follow {
                stage,
                index,
                path,
                source,
            });
        }
    };
    match end {
        End::Exited(status) if status.success() => Ok(()),
        End::Exited(status) => {
            let [stdout, stderr] = output.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
            Err(HookError::Failed {
                stage,
                index,
                status: describe(status),
                stdout,
                stderr,
            })
        }
        End::TimedOut => Err(HookError::Timeout {
            stage,
            index,
            seconds: hook.timeout.unwrap_or_default(),
        }),
    }
}

fn command(hook: &Hook, state: &[u8], setting: Setting<'_>) -> io::Result<Command> {
    let mut command = Command::new(&hook.path);
    if let [name, arguments @ ..] = hook.args.as_slice() {
        command.arg0(name).args(arguments);
    }
    if let Some(env) = &hook.env {
        command.env_clear();
        // An entry without `=` names no variable: no program could find it.
        command.envs(env.iter().filter_map(|variable| variable.split_once('=')));
    }
    if let Some(cwd) = setting.cwd {
        command.current_dir(cwd);
    }
    let output = |file: Option<&File>| match file {
        Some(file) => file.try_clone().map(Stdio::from),
        None => Ok(Stdio::piped()),
    };
    command
        .stdin(stdin(state)?)
        .stdout(output(
            setting.outputs.and_then(|outputs| outputs.stdout.as_ref()),
        )?)
        .stderr(output(
            setting.outputs.and_then(|outputs| outputs.stderr.as_ref()),
        )?);
    Ok(command)
}

/// A standard input that holds the whole state already, so that nobody has to feed it: a hook may read it, or
/// not, or exit before, and we neither wait for it nor meet a broken pipe (init has SIGPIPE at its default by
/// the time it runs hooks).
fn stdin(state: &[u8]) -> io::Result<Stdio> {
    let (reader, mut writer) = io::pipe()?;
    nonblocking(&writer)?;
    // A pipe takes 64 kB, and 4 kB where the user has too many of them (pipe(7)).
    match writer.write(state) {
        Ok(written) if written == state.len() => return Ok(reader.into()),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
        Err(error) => return Err(error),
    }
    let mut file = File::from(rustix::fs::memfd_create("state", MemfdFlags::CLOEXEC)?);
    file.write_all(state)?;
    file.rewind()?;
    Ok(file.into())
}

enum End {
    Exited(ExitStatus),
    TimedOut,
}

/// Drains the child's outputs until it exits or the deadline passes; reaps it in both cases.
///
/// Its exit ends the matter: a process that it leaves behind may hold its outputs open for ever.
fn follow(child: &mut Child, deadline: Option<Instant>) -> io::Result<(End, [Vec<u8>; 2])> {
    // A container's filter may forbid it to init. Then the child is asked for its exit now and then.
    let pidfd = pidfd_open(Pid::from_child(child), PidfdFlags::empty()).ok();
    let mut outputs = [
        Output::new(child.stdout.take())?,
        Output::new(child.stderr.take())?,
    ];
    loop {
        let exited = wait(pidfd.as_ref(), &outputs, deadline)?;
        let exited = if exited || pidfd.is_none() {
            child.try_wait()?
        } else {
            None
        };
        // After the question, so that all that the hook wrote before its exit is there.
        for output in &mut outputs {
            output.read()?;
        }
        let end = match exited {
            Some(status) => End::Exited(status),
            None if deadline.is_some_and(|deadline| deadline <= Instant::now()) => {
                child.kill()?;
                child.wait()?;
                End::TimedOut
            }
            None => continue,
        };
        return Ok((end, outputs.map(|output| output.bytes)));
    }
}

/// Waits for output, the child's exit or the deadline; answers whether the pidfd tells of an exit.
fn wait(pidfd: Option<&OwnedFd>, outputs: &[Output; 2], deadline: Option<Instant>) -> io::Result<bool> {
    /// How often to ask where there is no pidfd.
    const INTERVAL: Duration = Duration::from_millis(5);

    let mut fds = Vec::with_capacity(3);
    fds.extend(pidfd.map(|pidfd| PollFd::new(pidfd, PollFlags::IN)));
    fds.extend(
        outputs
            .iter()
            .filter_map(|output| Some(PollFd::new(output.pipe.as_ref()?, PollFlags::IN))),
    );
    loop {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let left = if pidfd.is_some() {
            left
        } else {
            Some(left.unwrap_or(INTERVAL).min(INTERVAL))
        };
        let left = left.map(|left| Timespec {
            tv_sec: left.as_secs() as i64,
            tv_nsec: left.subsec_nanos().into(),
        });
        match poll(&mut fds, left.as_ref()) {
            Ok(_) => return Ok(pidfd.is_some() && !fds[0].revents().is_empty()),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Our end of one of the hook's outputs, with what came out so far; closed at its end.
struct Output {
    pipe: Option<File>,
    bytes: Vec<u8>,
}

impl Output {
    fn new(pipe: Option<impl Into<OwnedFd> + AsFd>) -> io::Result<Self> {
        pipe.as_ref().map_or(Ok(()), nonblocking)?;
        Ok(Self {
            pipe: pipe.map(|pipe| File::from(pipe.into())),
            bytes: Vec::new(),
        })
    }

    /// Takes what is there now, one buffer at most, so that the loop sees to the other pipes and the time.
    fn read(&mut self) -> io::Result<()> {
        let Some(pipe) = &mut self.pipe else { return Ok(()) };
        // As much as a pipe holds: at the hook's exit one read finds all that is left.
        let mut buffer = [0; 64 * 1024];
        match pipe.read(&mut buffer) {
            Ok(0) => self.pipe = None,
            Ok(read) => {
                let room = OUTPUT_LIMIT - self.bytes.len();
                self.bytes.extend_from_slice(&buffer[..read.min(room)]);
            }
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
                ) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

/// The two ends of a pipe are separate open files: the hook's own end stays blocking.
fn nonblocking(pipe: &impl AsFd) -> io::Result<()> {
    Ok(rustix::io::ioctl_fionbio(pipe, true)?)
}

fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, signal) => {
            let dumped = if status.core_dumped() {
                " (core dumped)"
            } else {
                ""
            };
            format!("signal: {}{dumped}", reason::signal(signal.unwrap_or_default()))
        }
    }
}

#[cfg(test)]
mod tests;
