//! `wrun restore`.

use std::path::PathBuf;

use super::{Invocation, checkpoint::Images, log::Log};
use crate::container::{self, RestoreOptions};
use crate::criu::Lsm;

/// Make a container from its bundle and a checkpoint.
///
/// Its processes go on where wrun checkpoint has written them. The bundle must be that of the container, with a
/// root file system as it was then; what is mounted from the host may be elsewhere. Limits are those of
/// config.json.
///
/// Whoever can write to the files of a checkpoint can run programs with the rights of the container's first
/// process, and CRIU reads the files as root: trust them as you trust root. Programs, memory, users, open files and
/// limits of processes (process.rlimits) are those of the checkpoint. Namespaces, ids of a user namespace,
/// noNewPrivileges, seccomp, the bounding set of capabilities and labels are, too, but where config.json asks for
/// more confinement than the first process has, the restore fails; which rules a seccomp filter has is not compared. Read-only mounts and paths are set anew.
///
/// The hooks prestart and createRuntime are run. If anything fails, nothing stays behind. Without
/// --detach wrun waits for the first process, as wrun run does. Needs CRIU 3.16 or later, and root.
#[derive(Debug, clap::Args)]
pub struct Restore {
    /// Name of the new container, which need not be that of the old one.
    #[arg(value_name = "CONTAINER-ID")]
    container_id: String,

    /// Bundle of the container: the directory of config.json.
    #[arg(long, short, value_name = "DIR", default_value = ".")]
    bundle: PathBuf,

    #[command(flatten)]
    images: Images,

    /// Unix socket to which the master side of the container's terminal is sent.
    #[arg(long, value_name = "SOCKET")]
    console_socket: Option<PathBuf>,

    /// File into which the process id of the container's first process is written.
    #[arg(long, value_name = "FILE")]
    pid_file: Option<PathBuf>,

    /// Return when the processes run, and leave the container running.
    #[arg(long, short)]
    detach: bool,

    /// Do not become the parent of processes that lose theirs in the container.
    #[arg(long)]
    no_subreaper: bool,

    /// Taken for the sake of engines: CRIU always pivots.
    #[arg(long)]
    no_pivot: bool,

    /// Profile of a Linux security module for the processes in place of the one they had, as TYPE:NAME.
    #[arg(long, value_name = "TYPE:NAME")]
    lsm_profile: Option<String>,

    /// SELinux context for mounts in place of the one they had.
    #[arg(long, value_name = "CONTEXT")]
    lsm_mount_context: Option<String>,
}

impl Restore {
    pub fn execute(&self, invocation: &Invocation, log: &Log) -> anyhow::Result<u8> {
        let warn = |message: &str| log.warn(message);
        let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        let options = RestoreOptions {
            id: self.container_id.clone(),
            images: self.images.options(),
            bundle: self.bundle.clone(),
            console_socket: self.console_socket.clone(),
            pid_file: self.pid_file.clone(),
            detach: self.detach,
            no_pivot: self.no_pivot,
            no_subreaper: self.no_subreaper,
            lsm: Lsm {
                profile: given(&self.lsm_profile),
                mount_context: given(&self.lsm_mount_context),
            },
        };
        Ok(container::restore(&invocation.context(&warn)?, &options)?)
    }
}
