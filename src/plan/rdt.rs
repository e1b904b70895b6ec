//! `linux.intelRdt`: the class of service in resctrl that a container's processes run in.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{Options, PlanError};
use crate::spec::Spec;
use crate::spec::model::RESERVED_CLASSES;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Rdt {
    /// `closID`; without it the container gets a class of its own, named after it. `/` is the default class.
    pub class: Option<String>,
    /// Lines for the file `schemata` (`L3:0=f0;1=f`), in the order in which they are written.
    pub schemata: Vec<String>,
    /// Whether the container gets a monitoring group of its own.
    pub monitoring: bool,
}

/// Where a container's processes are, and what goes when it is deleted. Kept in the state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Placement {
    /// Directory of the class.
    pub class: PathBuf,
    /// Whether the class is the container's own and is removed with it.
    pub own_class: bool,
    /// Directory of the monitoring group; always the container's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub monitoring: Option<PathBuf>,
}

/// Plans the class.
pub(super) fn build(spec: &Spec, options: &Options) -> Result<Option<Rdt>, PlanError> {
    let Some(rdt) = &spec.config.linux.intel_rdt else {
        return Ok(None);
    };
    let class = Some(rdt.clos_id.clone()).filter(|class| !class.is_empty());
    if class.is_none() && RESERVED_CLASSES.contains(&options.id.as_str()) {
        return Err(PlanError::invalid(
            spec,
            "linux.intelRdt",
            "a class cannot be named after the container's id, which resctrl uses itself: set closID",
        ));
    }
    // Some write several resources into this one (L3CODE and L3DATA); each line is then a write of its own.
    let l3 = rdt.l3_cache_schema.lines().filter(|line| !line.is_empty());
    let bandwidth = Some(rdt.mem_bw_schema.as_str()).filter(|line| !line.is_empty());
    Ok(Some(Rdt {
        class,
        schemata: l3
            .chain(bandwidth)
            .chain(rdt.schemata.iter().map(String::as_str))
            .map(str::to_owned)
            .collect(),
        monitoring: rdt.enable_monitoring,
    }))
}
