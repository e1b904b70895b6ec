//! `update`: other limits for a container that lives.

use super::stored::{permitted, store};
use super::{Context, Error, UpdateOptions, UpdateRequest};
use crate::cgroup::Cgroup;
use crate::plan::cgroup;
use crate::rdt;
use crate::spec::update::{Update, from_json};
use crate::state::{Entry, Record, Verb};

/// Changes limits, and keeps the configuration that has them. Where one of them cannot be set, none is: what
/// was there is put back.
pub fn update(context: &Context<'_>, options: &UpdateOptions) -> Result<(), Error> {
    let entry = store(context).open(&options.id)?;
    let _lock = entry.lock()?;
    let (record, _) = permitted(&entry, Verb::Update)?;
    let update = lay_over(&entry, options)?;
    update.warnings.iter().for_each(|warning| (context.warn)(warning));
    let mode = record.placement.mode;
    let mut settings = cgroup::settings(&update.resources, mode).map_err(crate::cgroup::CgroupError::from)?;
    if let Some(warning) = cgroup::fit(&mut settings, mode, &record.placement.location) {
        (context.warn)(warning);
    }
    let mut cgroup = Cgroup::open(&record.placement);
    if update.check_memory
        && let Some(memory) = update.resources.memory()
    {
        cgroup.check_memory(memory.limit(), memory.swap())?;
    }
    let old = cgroup.present(&settings)?;
    let changed = cgroup
        .update(&settings)
        .map_err(Error::from)
        .and_then(|()| change_class(context, &entry, &record, options, &update));
    if changed.is_err()
        && let Err(second) = cgroup.restore(&old)
    {
        // The first error is the one to report.
        let reason = crate::reason::chain(&second);
        (context.warn)(&format!("not all limits could be put back: {reason}"));
    }
    changed
}

/// The change, laid over the kept configuration.
fn lay_over(entry: &Entry, options: &UpdateOptions) -> Result<Update, Error> {
    let config = entry.read_config()?;
    let file = entry.path().join("config.json");
    Ok(match &options.request {
        UpdateRequest::Json { bytes, file: name } => {
            from_json(bytes, name, &options.schemata, &config, &file)?
        }
        UpdateRequest::Limits(limits) => limits.update(&options.schemata, &config, &file)?,
    })
}

/// What comes after the cgroup: the class in resctrl and the kept configuration.
fn change_class(
    context: &Context<'_>,
    entry: &Entry,
    record: &Record,
    options: &UpdateOptions,
    update: &Update,
) -> Result<(), Error> {
    let schemata = &options.schemata;
    let placement = record.rdt.as_ref();
    let old = rdt::update(placement, [&schemata.l3_cache, &schemata.memory_bandwidth])?;
    let kept = entry.replace_config(&update.config);
    if kept.is_err()
        && let Some(Err(second)) = placement.map(|placement| rdt::restore(placement, &old))
    {
        let reason = crate::reason::chain(&second);
        (context.warn)(&format!("the schemata could not be put back: {reason}"));
    }
    Ok(kept?)
}
