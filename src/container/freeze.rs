//! `pause` and `resume`: freezing and thawing the container's cgroup.

use super::stored::{permitted, store};
use super::{Context, Error};
use crate::cgroup::Cgroup;
use crate::state::Verb;

/// Stops all processes of the container where they are.
pub fn pause(context: &Context<'_>, id: &str) -> Result<(), Error> {
    let entry = store(context).open(id)?;
    let _lock = entry.lock()?;
    let (record, _) = permitted(&entry, Verb::Pause)?;
    Ok(Cgroup::open(&record.placement).freeze()?)
}

/// Lets them go on.
pub fn resume(context: &Context<'_>, id: &str) -> Result<(), Error> {
    let entry = store(context).open(id)?;
    let _lock = entry.lock()?;
    let (record, _) = permitted(&entry, Verb::Resume)?;
    Ok(Cgroup::open(&record.placement).thaw()?)
}
