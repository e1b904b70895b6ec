//! `ps`: which processes a container has.

use super::stored::{permitted, store};
use super::{Context, Error};
use crate::cgroup::Cgroup;
use crate::state::Verb;

/// The pids of all processes in the container's cgroup, as the host numbers them.
pub fn ps(context: &Context<'_>, id: &str) -> Result<Vec<u32>, Error> {
    let entry = store(context).open(id)?;
    let (record, _) = permitted(&entry, Verb::Ps)?;
    if record.placement.paths.is_empty() {
        return Err(Error::NoCgroup { id: id.to_owned() });
    }
    let pids = Cgroup::open(&record.placement).processes()?;
    Ok(pids.into_iter().map(i32::cast_unsigned).collect())
}
