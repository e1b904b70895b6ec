//! `wrun delete`.

use super::{Invocation, log::Log};
use crate::container;

/// Delete a stopped container.
///
/// Its cgroup, its state and what else wrun made for it are removed, and the poststop hooks run. The bundle
/// stays. A container that was created and not started is deleted as well; one that runs is refused without
/// --force.
#[derive(Debug, clap::Args)]
pub struct Delete {
    /// Name of the container, or with --regex what is found in the names of those that are meant.
    #[arg(value_name = "CONTAINER-ID")]
    container_id: String,

    /// End all processes of the container with SIGKILL first.
    ///
    /// With this option it is no error if there is no such container.
    #[arg(long, short)]
    force: bool,

    /// Take the name for an extended regular expression (regex(7)) and delete every container in whose name it is
    /// found. What fails with one of them is an error in the log; the others have their turn all the same.
    #[arg(long, short)]
    regex: bool,
}

impl Delete {
    pub fn execute(&self, invocation: &Invocation, log: &Log) -> anyhow::Result<u8> {
        let warn = |message: &str| log.warn(message);
        let context = invocation.context(&warn)?;
        let delete = |id: &str| container::delete(&context, id, self.force);
        if self.regex {
            container::each_matching(&context, &self.container_id, delete, |error| {
                log.report(&error.into())
            })?;
        } else {
            delete(&self.container_id)?;
        }
        Ok(0)
    }
}
