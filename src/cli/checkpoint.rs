//! `wrun checkpoint`.

use std::path::PathBuf;
use std::str::FromStr;

use clap::builder::{OsStringValueParser, TypedValueParser};

use super::{Invocation, log::Log};
use crate::container::{self, CheckpointOptions, ImageOptions};
use crate::criu::{CgroupsMode, EmptyNamespace, PageServer, Shared};

/// Write the processes of a container to files, from which wrun restore makes them anew.
///
/// This is the work of CRIU 3.16 or later, which must be installed. The container is deleted when it is written,
/// unless it is to go on; if anything fails, it goes on. The files hold the memory of the processes, with all
/// secrets in it. Not part of them: the root file system, what is mounted from the host, the network. A Wasm
/// guest, id-mapped mounts and a seccomp listener cannot be written. Needs root.
///
/// The annotation org.criu.config names a file with settings of CRIU. Other than with runc, it must be one of root's
/// below /etc/criu: such settings can run programs of the host. A file elsewhere can hold log-file alone.
#[derive(Debug, clap::Args)]
pub struct Checkpoint {
    /// Name of the container, which runs or is paused.
    #[arg(value_name = "CONTAINER-ID")]
    container_id: String,

    #[command(flatten)]
    images: Images,

    /// Directory of an earlier checkpoint or pre-dump, relative to --image-path: memory that has not changed
    /// since is not written again.
    #[arg(long, value_name = "DIR", value_parser = perhaps_empty())]
    parent_path: Option<PathBuf>,

    /// Leave the container running afterwards.
    #[arg(long)]
    leave_running: bool,

    /// Leave out TCP connections that are being made (SYN sent or received).
    #[arg(long)]
    tcp_skip_in_flight: bool,

    /// Link deleted files that are open back into their file system, where that is possible.
    #[arg(long)]
    link_remap: bool,

    /// Descriptor that gets a NUL byte when the server for --lazy-pages is ready.
    #[arg(long, value_name = "FD", allow_negative_numbers = true, value_parser = clap::value_parser!(i32).range(-1..))]
    status_fd: Option<i32>,

    /// Send the memory to the CRIU page server at this address; with --lazy-pages, serve it there.
    #[arg(long, value_name = "ADDRESS:PORT")]
    page_server: Option<Perhaps<PageServer>>,

    /// Write the memory alone, while the container goes on, to make a later checkpoint with --parent-path shorter.
    #[arg(long)]
    pre_dump: bool,
}

impl Checkpoint {
    pub fn execute(&self, invocation: &Invocation, log: &Log) -> anyhow::Result<u8> {
        let warn = |message: &str| log.warn(message);
        let options = CheckpointOptions {
            id: self.container_id.clone(),
            images: self.images.options(),
            parent_path: given(self.parent_path.as_ref()),
            leave_running: self.leave_running,
            pre_dump: self.pre_dump,
            tcp_skip_in_flight: self.tcp_skip_in_flight,
            link_remap: self.link_remap,
            page_server: self.page_server.clone().and_then(|server| server.0),
            // -1 is runc's word for none.
            status_fd: self.status_fd.filter(|number| *number >= 0),
        };
        container::checkpoint(&invocation.context(&warn)?, &options)?;
        Ok(0)
    }
}

const IMAGE_PATH: &str = "checkpoint";

/// A path that may be empty, which means, as with runc, that none is given: engines pass what they have.
fn perhaps_empty() -> impl TypedValueParser<Value = PathBuf> {
    OsStringValueParser::new().map(PathBuf::from)
}

fn given(path: Option<&PathBuf>) -> Option<PathBuf> {
    path.filter(|path| !path.as_os_str().is_empty()).cloned()
}

/// The same for another value.
#[derive(Debug, Clone)]
struct Perhaps<T>(Option<T>);

impl<T: FromStr> FromStr for Perhaps<T> {
    type Err = T::Err;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(if text.is_empty() {
            None
        } else {
            Some(text.parse()?)
        }))
    }
}

// What `checkpoint` and `restore` share. Not a doc comment, which would become the text of both commands.
#[derive(Debug, clap::Args)]
pub(super) struct Images {
    /// Directory of the checkpoint's files.
    #[arg(long, value_name = "DIR", default_value = IMAGE_PATH, value_parser = perhaps_empty())]
    image_path: PathBuf,

    /// Directory for CRIU's log, dump.log or restore.log, and its other working files; by default --image-path.
    #[arg(long, value_name = "DIR", value_parser = perhaps_empty())]
    work_path: Option<PathBuf>,

    /// Take open TCP connections along.
    #[arg(long)]
    tcp_established: bool,

    /// Allow Unix sockets that are connected to processes outside of the container.
    #[arg(long)]
    ext_unix_sk: bool,

    /// Allow processes that belong to a session, or to a terminal, from outside of the container.
    #[arg(long)]
    shell_job: bool,

    /// Take file locks along.
    #[arg(long)]
    file_locks: bool,

    /// Ways to treat cgroups: soft, full, strict or ignore. By default CRIU's own, which is soft.
    ///
    /// soft restores properties of cgroups that are made anew, full those of all, and strict wants all to be new.
    /// With ignore the processes are in the container's cgroup, as config.json says, and in none below it.
    #[arg(long, value_name = "MODE")]
    manage_cgroups_mode: Option<CgroupsMode>,

    /// Namespace that is restored without its content. Only network can be named, and it always is so: who made
    /// the container's network makes it again.
    #[arg(long, value_name = "NAMESPACE")]
    empty_ns: Vec<EmptyNamespace>,

    /// Delete memory from the files of --parent-path, or while it is read, that is not needed there any more.
    #[arg(long)]
    auto_dedup: bool,

    /// Leave memory to be sent when it is needed (userfaultfd).
    #[arg(long)]
    lazy_pages: bool,
}

impl Images {
    pub(super) fn options(&self) -> ImageOptions {
        ImageOptions {
            image_path: given(Some(&self.image_path)).unwrap_or_else(|| IMAGE_PATH.into()),
            work_path: given(self.work_path.as_ref()),
            shared: Shared {
                tcp_established: self.tcp_established,
                ext_unix_sk: self.ext_unix_sk,
                shell_job: self.shell_job,
                file_locks: self.file_locks,
                auto_dedup: self.auto_dedup,
                lazy_pages: self.lazy_pages,
                cgroups_mode: self.manage_cgroups_mode.unwrap_or_default(),
            },
        }
    }
}
