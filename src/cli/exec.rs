//! `wrun exec`.

use std::path::PathBuf;

use anyhow::bail;

use super::{Invocation, log::Log, passed};
use crate::container::{self, ExecOptions, ExecRequest};
use crate::plan::exec::{Flags, User};

/// Run a further program in a running container.
///
/// It gets what the container's first process got: namespaces, cgroup, user, limits, seccomp filter, labels,
/// and from config.json also environment and working directory, each changed by the options below. The exit
/// code is the program's, 128 and the signal's number where a signal ended it, or 255 where it could not be
/// started.
#[derive(Debug, clap::Args)]
#[command(override_usage = "wrun exec [OPTIONS] CONTAINER-ID COMMAND [ARG]...\n       \
                            wrun exec [OPTIONS] --process FILE CONTAINER-ID")]
pub struct Exec {
    /// Name of the container, then the program and its arguments, which may begin with a dash. The program
    /// comes from --process in its place.
    #[arg(required = true, value_names = ["CONTAINER-ID", "COMMAND"], num_args = 1.., trailing_var_arg = true)]
    words: Vec<String>,

    /// Unix socket to which the master side of the program's terminal is sent.
    #[arg(long, value_name = "SOCKET")]
    console_socket: Option<PathBuf>,

    /// Unix socket to which a pidfd of the program is sent.
    #[arg(long, value_name = "SOCKET")]
    pidfd_socket: Option<PathBuf>,

    /// Working directory of the program, as a path in the container.
    #[arg(long, value_name = "DIR")]
    cwd: Option<PathBuf>,

    /// Variable to add to the environment; may be given again.
    #[arg(long, short, value_name = "NAME=VALUE")]
    env: Vec<String>,

    /// Give the program a terminal.
    #[arg(long, short)]
    tty: bool,

    /// User id, and group id, of the program in the container; without a group id, that of config.json stays.
    #[arg(long, short, value_name = "UID[:GID]")]
    user: Option<User>,

    /// Group id to add to the program's groups; may be given again.
    #[arg(long, short = 'g', value_name = "GID")]
    additional_gids: Vec<u32>,

    /// File with the program in JSON, of the form of process in config.json.
    ///
    /// Then the other options that describe the program are refused, except --tty, which conmon passes with it:
    /// what the file says of the terminal counts.
    #[arg(
        long, short, value_name = "FILE",
        conflicts_with_all = [
            "cwd", "env", "user", "additional_gids", "process_label", "apparmor", "no_new_privs", "cap"
        ]
    )]
    process: Option<PathBuf>,

    /// Return when the program has started.
    #[arg(long, short)]
    detach: bool,

    /// File into which the program's process id is written.
    #[arg(long, value_name = "FILE")]
    pid_file: Option<PathBuf>,

    /// SELinux context of the program.
    #[arg(long, value_name = "LABEL")]
    process_label: Option<String>,

    /// AppArmor profile of the program.
    #[arg(long, value_name = "PROFILE")]
    apparmor: Option<String>,

    /// Whether the program is kept from gaining privileges (no_new_privs); alone it means true.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    no_new_privs: Option<bool>,

    /// Capability to add to the program's bounding, effective and permitted sets, and to the ambient set
    /// where the inheritable one is not empty; may be given again.
    #[arg(long, short, value_name = "CAP")]
    cap: Vec<String>,

    /// Number of further descriptors that the program inherits, after standard input, output and error and
    /// the LISTEN_FDS descriptors.
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = passed::count())]
    preserve_fds: u32,

    /// Existing cgroup below the container's in which the program runs; on cgroup v1 with its controllers in
    /// front, and given again for others.
    #[arg(long, value_name = "[CONTROLLER,...:]PATH")]
    cgroup: Vec<String>,

    /// Go on where the container is paused; the program then waits until `wrun resume`.
    #[arg(long)]
    ignore_paused: bool,
}

impl Exec {
    pub fn execute(&self, invocation: &Invocation, log: &Log) -> anyhow::Result<u8> {
        let warn = |message: &str| log.warn(message);
        let options = self.options()?;
        Ok(container::exec(&invocation.context(&warn)?, &options)?)
    }

    fn options(&self) -> anyhow::Result<ExecOptions> {
        let Some((id, args)) = self.words.split_first() else {
            bail!("no container is named")
        };
        let request = match &self.process {
            Some(_) if !args.is_empty() => {
                bail!(
                    "a command ({}) is given, and --process too: one of them must go",
                    args[0]
                )
            }
            Some(file) => ExecRequest::File(file.clone()),
            None if args.is_empty() => bail!("no command is given to run in container {id}"),
            None => ExecRequest::Flags(Flags {
                args: args.to_vec(),
                tty: self.tty,
                user: self.user,
                cwd: self.cwd.clone(),
                env: self.env.clone(),
                caps: self.cap.clone(),
                additional_gids: self.additional_gids.clone(),
                no_new_privs: self.no_new_privs,
                apparmor: self.apparmor.clone(),
                process_label: self.process_label.clone(),
            }),
        };
        Ok(ExecOptions {
            id: id.clone(),
            request,
            cgroup: self.cgroup.clone(),
            ignore_paused: self.ignore_paused,
            detach: self.detach,
            pid_file: self.pid_file.clone(),
            console_socket: self.console_socket.clone(),
            pidfd_socket: self.pidfd_socket.clone(),
            preserve_fds: self.preserve_fds,
            listen_fds: passed::sockets(),
        })
    }
}
