//! `wrun doctor`.

use std::fmt::Write as _;

use anyhow::Context as _;

use super::list::{Format, columns};
use super::{Invocation, log::Log, write_stdout};
use crate::doctor::{Finding, State, Surroundings, examine};
use crate::host::Host;

/// Tell what this host lacks for containers, what that costs, and how to mend it.
///
/// Containers of a few bytes are run that ask for limits, namespaces and the like, and the kernel's calls are made; what
/// is said of cgroups, rights and engines is looked up where it is. It holds for the user who calls. Each
/// check ends as `ok`, as `limited` (containers run, but not with all that they may ask for) or as `missing` (no
/// container runs, or none of one kind). The exit code is 1 where something is missing.
#[derive(Debug, clap::Args)]
pub struct Doctor {
    /// Format of the output: a table with advice, or a JSON list.
    #[arg(long, short, value_name = "FORMAT", value_enum, default_value = "table")]
    format: Format,
}

impl Doctor {
    pub fn execute(&self, invocation: &Invocation, _log: &Log) -> anyhow::Result<u8> {
        let findings = examine(&Surroundings {
            host: Host::probe(invocation.global.rootless),
            program: std::env::current_exe().context("cannot find out where wrun is")?,
        });
        let text = match self.format {
            Format::Table => table(&findings),
            Format::Json => serde_json::to_string(&findings)? + "\n",
        };
        write_stdout(text.as_bytes())?;
        Ok(u8::from(
            findings.iter().any(|finding| finding.state == State::Missing),
        ))
    }
}

/// What was found, a line each, and below it what is not well with its advice.
fn table(findings: &[Finding]) -> String {
    let heading = ["AREA", "CHECK", "STATE", "FOUND"].map(str::to_owned);
    let rows: Vec<_> = findings
        .iter()
        .map(|it| [it.area, it.check, it.state.name(), &it.found].map(str::to_owned))
        .collect();
    let mut text = columns(&[&[heading], &rows[..]].concat());
    let ill = || findings.iter().filter(|finding| finding.state != State::Ok);
    for finding in ill() {
        // Writing into a String cannot fail.
        let _ = write!(
            text,
            "\n{}, {} ({}): {}\n  cost: {}\n  mend: {}\n",
            finding.area,
            finding.check,
            finding.state.name(),
            finding.found,
            finding.cost,
            finding.mend
        );
    }
    let count = |state| findings.iter().filter(|finding| finding.state == state).count();
    let [ok, limited, missing] = [State::Ok, State::Limited, State::Missing].map(count);
    let _ = write!(text, "\n{ok} ok, {limited} limited, {missing} missing\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advice_stands_below_the_table() {
        let finding = |state, cost: &str| Finding {
            area: "kernel",
            check: "x",
            state,
            found: "seen".to_owned(),
            cost: cost.to_owned(),
            mend: "more of it".to_owned(),
        };
        let text = table(&[finding(State::Ok, ""), finding(State::Missing, "all")]);
        assert!(
            text.contains("kernel      x           missing     seen\n"),
            "{text}"
        );
        assert!(text.ends_with(
            "\nkernel, x (missing): seen\n  cost: all\n  mend: more of it\n\n1 ok, 0 limited, 1 missing\n"
        ));
    }
}
