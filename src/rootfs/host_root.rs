//! The root's place on the host, for a container without a mount namespace: what a failed creation leaves mounted there
//! is taken away from outside, by who still has the rights. Touches nothing but that one mount.

use std::os::fd::AsFd;
use std::path::PathBuf;

use rustix::mount::{OpenTreeFlags, UnmountFlags};

use super::{RootfsError, live, open_tree};
use crate::plan::mounts::Rootfs;

/// What is mounted at the root's path on the host before a container without a mount namespace is made.
pub struct HostRoot {
    path: PathBuf,
    before: u64,
}

impl HostRoot {
    /// `None` where nothing will be mounted on the host.
    pub fn look(plan: &Rootfs) -> Result<Option<Self>, RootfsError> {
        if !plan.on_host {
            return Ok(None);
        }
        let before = open_tree(&plan.path, OpenTreeFlags::empty())
            .and_then(|place| live::mount_id(place.as_fd()))
            .map_err(|source| RootfsError::Root {
                path: plan.path.clone(),
                action: "look at what is mounted there",
                source,
            })?;
        Ok(Some(Self {
            path: plan.path.clone(),
            before: before.0,
        }))
    }

    /// Takes away what a container that was not made has left there, if anything.
    pub fn restore(&self) {
        let now =
            open_tree(&self.path, OpenTreeFlags::empty()).and_then(|place| live::mount_id(place.as_fd()));
        if now.is_ok_and(|(id, is_root)| is_root && id != self.before) {
            // What is wrong is told already.
            let _ = rustix::mount::unmount(&self.path, UnmountFlags::DETACH);
        }
    }
}
