//! `wrun create`.

use std::path::PathBuf;

use super::{Invocation, log::Log, passed};
use crate::container::{self, CreateOptions};

/// Create a container.
///
/// Everything of the container is made from the bundle: namespaces, cgroup, root file system, limits. Its
/// program waits until `wrun start`. If anything fails, nothing stays behind.
#[derive(Debug, clap::Args)]
pub struct Create {
    #[command(flatten)]
    creation: Creation,

    /// Accepted and without effect, since callers of crun pass it.
    #[arg(long, hide = true)]
    no_subreaper: bool,
}

impl Create {
    pub fn execute(&self, invocation: &Invocation, log: &Log) -> anyhow::Result<u8> {
        let warn = |message: &str| log.warn(message);
        container::create(&invocation.context(&warn)?, &self.creation.options())?;
        Ok(0)
    }
}

// What `create` and `run` share. Not a doc comment, which would become the text of both commands.
#[derive(Debug, clap::Args)]
pub(super) struct Creation {
    /// Name of the new container: up to 255 letters, digits, and the signs _ + - and the dot. No other
    /// container with the same --root has it.
    #[arg(value_name = "CONTAINER-ID")]
    container_id: String,

    /// Bundle of the container: the directory of config.json. Relative paths in config.json start from it.
    #[arg(long, short, value_name = "DIR", default_value = ".")]
    bundle: PathBuf,

    /// File to read in place of the bundle's config.json; a relative path starts from the current directory.
    #[arg(long, short = 'f', value_name = "FILE")]
    config: Option<PathBuf>,

    /// Unix socket to which the master side of the container's terminal is sent.
    ///
    /// It is needed where config.json asks for a terminal, except in a foreground run. What is sent is one
    /// descriptor (SCM_RIGHTS).
    #[arg(long, value_name = "SOCKET")]
    console_socket: Option<PathBuf>,

    /// File into which the process id of the container's first process is written.
    #[arg(long, value_name = "FILE")]
    pid_file: Option<PathBuf>,

    /// Unix socket to which a pidfd of the container's first process is sent.
    #[arg(long, value_name = "SOCKET")]
    pidfd_socket: Option<PathBuf>,

    /// Enter the root file system with chroot in place of pivot_root.
    ///
    /// Needed only where the root file system is on a ramdisk, which cannot be pivoted from; less secure.
    #[arg(long)]
    no_pivot: bool,

    /// Leave the container in the caller's session keyring.
    ///
    /// By default it gets a new one, so that it cannot read the caller's keys.
    #[arg(long)]
    no_new_keyring: bool,

    /// Number of further descriptors that the container inherits.
    ///
    /// They follow standard input, output and error and the LISTEN_FDS descriptors of socket activation,
    /// which are inherited too; all others are closed.
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = passed::count())]
    preserve_fds: u32,
}

impl Creation {
    pub(super) fn options(&self) -> CreateOptions {
        CreateOptions {
            id: self.container_id.clone(),
            bundle: self.bundle.clone(),
            config: self.config.clone(),
            console_socket: self.console_socket.clone(),
            pid_file: self.pid_file.clone(),
            pidfd_socket: self.pidfd_socket.clone(),
            no_pivot: self.no_pivot,
            no_new_keyring: self.no_new_keyring,
            preserve_fds: self.preserve_fds,
            listen_fds: passed::sockets(),
        }
    }
}
