//! What this host lacks for containers, what that costs and how to mend it. Nothing is guessed from
//! versions: checks run a container (`trial`), make the call in question in a child, or look where the kernel, systemd and
//! engines say it. Must change nothing that stays, but the cache of compiled code, which a Wasm container makes.

mod cgroups;
mod containers;
mod engines;
mod kernel;
mod rights;

use std::path::PathBuf;

use serde::Serialize;

use crate::host::Host;

/// How things stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// As it should be.
    Ok,
    /// Containers run, but something that they may ask for does not work.
    Limited,
    /// No container runs, or none of one kind.
    Missing,
}

impl State {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Limited => "limited",
            Self::Missing => "missing",
        }
    }
}

/// What one check found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Of what the check is, among its neighbours.
    pub area: &'static str,
    pub check: &'static str,
    pub state: State,
    /// What was seen.
    pub found: String,
    /// What does not work therefore; empty where all is well.
    pub cost: String,
    /// What would help; empty where all is well.
    pub mend: String,
}

/// What a check says: [`Finding`] without its name.
#[derive(Debug)]
struct Verdict {
    state: State,
    found: String,
    cost: String,
    mend: String,
}

impl Verdict {
    fn ok(found: impl Into<String>) -> Self {
        Self {
            state: State::Ok,
            found: found.into(),
            cost: String::new(),
            mend: String::new(),
        }
    }

    fn limited(found: impl Into<String>, cost: impl Into<String>, mend: impl Into<String>) -> Self {
        Self {
            state: State::Limited,
            found: found.into(),
            cost: cost.into(),
            mend: mend.into(),
        }
    }

    fn missing(found: impl Into<String>, cost: impl Into<String>, mend: impl Into<String>) -> Self {
        Self {
            state: State::Missing,
            ..Self::limited(found, cost, mend)
        }
    }
}

/// Where the checks are made.
pub struct Surroundings {
    pub host: Host,
    /// Our executable, by which containers are tried.
    pub program: PathBuf,
}

/// One check; `None` where it makes no sense here, such as an engine that is not installed.
struct Check {
    area: &'static str,
    name: &'static str,
    probe: fn(&Surroundings) -> Option<Verdict>,
}

const fn check(area: &'static str, name: &'static str, probe: fn(&Surroundings) -> Option<Verdict>) -> Check {
    Check { area, name, probe }
}

/// Makes every check that makes sense here, in an order that goes from what counts most to what counts least.
pub fn examine(surroundings: &Surroundings) -> Vec<Finding> {
    let lists = [
        containers::CHECKS,
        kernel::CHECKS,
        cgroups::CHECKS,
        rights::CHECKS,
        engines::CHECKS,
    ];
    let mut none_runs = false;
    let checks = lists.into_iter().flatten();
    checks
        .filter_map(|check| {
            // Where none runs at all, or none was tried, none tells what it is that one more wish would cost.
            if none_runs && check.area == containers::AREA {
                return None;
            }
            let verdict = (check.probe)(surroundings)?;
            none_runs |= (check.area, check.name) == (containers::AREA, containers::NATIVE)
                && verdict.state != State::Ok;
            Some(Finding {
                area: check.area,
                check: check.name,
                state: verdict.state,
                found: verdict.found,
                cost: verdict.cost,
                mend: verdict.mend,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_check_has_a_name_of_its_own() {
        let lists = [
            containers::CHECKS,
            kernel::CHECKS,
            cgroups::CHECKS,
            rights::CHECKS,
            engines::CHECKS,
        ];
        let mut names: Vec<_> = lists
            .into_iter()
            .flatten()
            .map(|check| (check.area, check.name))
            .collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
        assert!(count > 30, "{count}");
    }
}
