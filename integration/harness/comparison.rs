//! Runtimes side by side: how each ended each test, and where they differ. Pure: the suite tells it what happened and
//! prints what it says.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use libtest_mimic::Trial;

/// How one runtime ended one test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Passed,
    Failed,
    /// With the reason.
    Skipped(String),
}

impl Outcome {
    fn shown(&self) -> String {
        match self {
            Outcome::Passed => "passed".to_owned(),
            Outcome::Failed => "failed".to_owned(),
            Outcome::Skipped(reason) => format!("skipped: {}", reason.replace('|', "\\|")),
        }
    }
}

/// What a run of the suite shows about several runtimes.
#[derive(Debug, Default)]
pub struct Comparison {
    /// In the order of the columns.
    runtimes: Vec<String>,
    /// By test, then by runtime.
    outcomes: BTreeMap<String, BTreeMap<String, Outcome>>,
}

impl Comparison {
    /// One of the runtimes of these names.
    pub fn new(runtimes: Vec<String>) -> Self {
        Comparison {
            runtimes,
            outcomes: BTreeMap::new(),
        }
    }

    /// Notes how `runtime` ended `test`.
    pub fn note(&mut self, test: &str, runtime: &str, outcome: Outcome) {
        let row = self.outcomes.entry(test.to_owned()).or_default();
        row.insert(runtime.to_owned(), outcome);
    }

    /// How many tests are compared, and a table of those with different outcomes; nothing for one runtime alone. A
    /// test that no runtime ran says nothing, and one that was not for all of them is only counted.
    pub fn report(&self) -> String {
        if self.runtimes.len() < 2 {
            return String::new();
        }
        let ran = |row: &BTreeMap<String, Outcome>| {
            row.values()
                .any(|outcome| !matches!(outcome, Outcome::Skipped(_)))
        };
        let rows = self.outcomes.iter().filter(|(_, row)| ran(row));
        let (all, some): (Vec<_>, Vec<_>) = rows.partition(|(_, row)| row.len() == self.runtimes.len());
        if all.is_empty() && some.is_empty() {
            return String::new();
        }
        let mut report = format!("{} compared: {} tests", self.runtimes.join(", "), all.len());
        if !some.is_empty() {
            let _ = write!(report, ", and {} that not all of them run", some.len());
        }
        report.push('\n');
        let differs =
            |row: &BTreeMap<String, Outcome>| row.values().any(|own| Some(own) != row.values().next());
        let different: Vec<_> = all.iter().filter(|(_, row)| differs(row)).collect();
        if different.is_empty() {
            if !all.is_empty() {
                report.push_str("differences: none\n");
            }
            return report;
        }
        let _ = writeln!(report, "differences: {}", different.len());
        let _ = writeln!(report, "| test | {} |", self.runtimes.join(" | "));
        let _ = writeln!(report, "|---|{}", "---|".repeat(self.runtimes.len()));
        for (test, row) in different {
            let cells: Vec<_> = self.runtimes.iter().map(|name| row[name].shown()).collect();
            let _ = writeln!(report, "| {test} | {} |", cells.join(" | "));
        }
        report
    }
}

/// The trials of this file itself: they need neither root nor a runtime.
pub fn trials() -> Vec<Trial> {
    let checks: [(&str, fn()); 4] = [
        ("nothing_to_compare_is_not_told", nothing_to_compare_is_not_told),
        ("same_outcomes_are_no_difference", same_outcomes_are_no_difference),
        (
            "different_outcomes_are_in_the_table",
            different_outcomes_are_in_the_table,
        ),
        (
            "tests_not_of_all_are_only_counted",
            tests_not_of_all_are_only_counted,
        ),
    ];
    let trial = |(name, check): (&str, fn())| {
        Trial::test(format!("comparison::{name}"), move || {
            check();
            Ok(())
        })
    };
    checks.into_iter().map(trial).collect()
}

/// A comparison of `a` and `b`.
fn of(outcomes: &[(&str, &str, Outcome)]) -> String {
    let mut comparison = Comparison::new(vec!["a".to_owned(), "b".to_owned()]);
    for (test, runtime, outcome) in outcomes {
        comparison.note(test, runtime, outcome.clone());
    }
    comparison.report()
}

fn skipped() -> Outcome {
    Outcome::Skipped("a|b is missing".to_owned())
}

fn nothing_to_compare_is_not_told() {
    let mut comparison = Comparison::new(vec!["a".to_owned()]);
    comparison.note("test", "a", Outcome::Failed);
    assert_eq!(comparison.report(), "");
    assert_eq!(
        of(&[("missing", "a", skipped()), ("missing", "b", skipped())]),
        ""
    );
}

fn same_outcomes_are_no_difference() {
    let report = of(&[
        ("first", "a", Outcome::Passed),
        ("first", "b", Outcome::Passed),
        ("second", "a", Outcome::Failed),
        ("second", "b", Outcome::Failed),
        ("missing", "a", skipped()),
        ("missing", "b", skipped()),
    ]);
    assert_eq!(report, "a, b compared: 2 tests\ndifferences: none\n");
}

fn different_outcomes_are_in_the_table() {
    let report = of(&[
        ("same", "a", Outcome::Passed),
        ("same", "b", Outcome::Passed),
        ("worse", "b", Outcome::Failed),
        ("worse", "a", Outcome::Passed),
        ("lacks", "a", Outcome::Passed),
        ("lacks", "b", skipped()),
    ]);
    let expected = "a, b compared: 3 tests\n\
         differences: 2\n\
         | test | a | b |\n\
         |---|---|---|\n\
         | lacks | passed | skipped: a\\|b is missing |\n\
         | worse | passed | failed |\n";
    assert_eq!(report, expected);
}

/// Nor is there "none" where nothing was compared.
fn tests_not_of_all_are_only_counted() {
    let report = of(&[("own", "a", Outcome::Passed), ("filtered", "b", skipped())]);
    assert_eq!(report, "a, b compared: 0 tests, and 1 that not all of them run\n");
}
