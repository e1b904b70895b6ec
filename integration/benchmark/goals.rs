//! The goals: what of the tables must be how much of what else. A goal is looked up in the tables by names, so that a
//! run with only some of the parts tells of those alone.

use serde::{Deserialize, Serialize};

use crate::figures::{Table, digits};

/// Whose column of a table.
#[derive(Debug, Clone, Copy)]
enum Who {
    /// wrun's.
    Ours,
    /// The newest of the runtimes of this name.
    Newest(&'static str),
    /// The one of exactly this name.
    Named(&'static str),
}

/// What a figure is compared with.
#[derive(Debug, Clone, Copy)]
enum Against {
    /// A cell in the same table or another.
    Cell(&'static str, &'static str, Who),
    /// The same for each unit: `Each(row, who)` where the rows are numbers.
    Each(&'static str, Who),
    /// So much.
    Number(f64),
}

struct Goal {
    what: &'static str,
    table: &'static str,
    row: &'static str,
    who: Who,
    against: Against,
    /// Greatest factor of it.
    at_most: f64,
}

const CYCLE: &str = "create + start + delete";
const CRUN: Who = Who::Newest("crun");

const fn goal(
    what: &'static str,
    (table, row, who): (&'static str, &'static str, Who),
    at_most: f64,
    against: Against,
) -> Goal {
    Goal {
        what,
        table,
        row,
        who,
        against,
        at_most,
    }
}

/// The cell of the same row in crun's column.
const fn of_crun(what: &'static str, table: &'static str, row: &'static str, at_most: f64) -> Goal {
    goal(
        what,
        (table, row, Who::Ours),
        at_most,
        Against::Cell(table, row, CRUN),
    )
}

const GOALS: [Goal; 23] = [
    of_crun(
        "create + start + delete of /bin/true, of crun's",
        "lifecycle",
        CYCLE,
        0.5,
    ),
    of_crun("run, of crun's", "lifecycle", "run", 0.6),
    goal(
        "run, of the floor",
        ("lifecycle", "run", Who::Ours),
        2.0,
        Against::Cell("lifecycle", "run", Who::Named("floor")),
    ),
    of_crun("exec of /bin/true, of crun's", "lifecycle", "exec", 0.6),
    goal(
        "state, of a static hello world",
        ("lifecycle", "state", Who::Ours),
        1.5,
        Against::Cell("lifecycle", "state", Who::Named("static hello")),
    ),
    goal(
        "kill, of a static hello world",
        ("lifecycle", "kill", Who::Ours),
        1.5,
        Against::Cell("lifecycle", "kill", Who::Named("static hello")),
    ),
    of_crun(
        "with a user namespace: create + start + delete, of crun's",
        "userns",
        CYCLE,
        0.6,
    ),
    of_crun("with a user namespace: run, of crun's", "userns", "run", 0.6),
    of_crun("with a user namespace: exec, of crun's", "userns", "exec", 0.6),
    of_crun(
        "with systemd's driver: create + start + delete, of crun's",
        "systemd",
        CYCLE,
        0.6,
    ),
    of_crun("with systemd's driver: run, of crun's", "systemd", "run", 0.6),
    of_crun("with systemd's driver: exec, of crun's", "systemd", "exec", 0.6),
    of_crun(
        "100 containers at once, to all running, of crun's",
        "parallel",
        "100",
        0.5,
    ),
    goal(
        "each of 500 containers at once, of each of 100 (linear)",
        ("parallel", "500", Who::Ours),
        1.1,
        Against::Each("100", Who::Ours),
    ),
    of_crun(
        "private dirty memory of a waiting native init, of crun's",
        "memory",
        "waiting init, private dirty",
        1.0,
    ),
    of_crun("peak memory of create, of crun's", "memory", "create, peak", 1.0),
    goal(
        "warm Wasm run of 1 MB, of own native run",
        ("wasm", "1 MB", Who::Named("warm")),
        1.2,
        Against::Cell("wasm", "1 MB", Who::Named("native")),
    ),
    goal(
        "warm Wasm run of 1 MB, of youki's with Wasmtime",
        ("wasm-runtimes", "warm run of 1 MB", Who::Ours),
        0.2,
        Against::Cell("wasm-runtimes", "warm run of 1 MB", Who::Newest("youki")),
    ),
    goal(
        "warm Wasm container through Docker, of a native one with runc",
        ("docker", "docker run", Who::Named("Wasm, wrun")),
        1.0,
        Against::Cell("docker", "docker run", Who::Named("native, runc")),
    ),
    goal(
        "warm Wasm run without Docker, of a native run by runc without Docker",
        ("docker", "run without Docker", Who::Named("Wasm, wrun")),
        1.0,
        Against::Cell("docker", "run without Docker", Who::Named("native, runc")),
    ),
    goal(
        "warm Wasm run without Docker, of docker run with runc (100 ×, without and with Docker)",
        ("docker", "run without Docker", Who::Named("Wasm, wrun")),
        0.01,
        Against::Cell("docker", "docker run", Who::Named("native, runc")),
    ),
    goal(
        "PSS of each of the idle Wasm containers, kB (median)",
        ("idle", "PSS", Who::Named("a waiting command")),
        1.0,
        Against::Number(400.0),
    ),
    // A page more or less is what reading the figures itself can cost.
    goal(
        "growth of each of the idle Wasm containers, kB (mean)",
        ("idle", "growth", Who::Named("a waiting command")),
        1.0,
        Against::Number(1.0),
    ),
];

/// How a goal was met.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    pub what: String,
    pub measured: f64,
    pub compared_with: f64,
    pub ratio: f64,
    pub at_most: f64,
    pub met: bool,
}

/// What became of each goal that the tables tell of. With it, those of which they do not.
pub fn outcomes(tables: &[Table]) -> (Vec<Outcome>, Vec<&'static str>) {
    let mut outcomes = Vec::new();
    let mut open = Vec::new();
    for goal in &GOALS {
        match goal.outcome(tables) {
            Some(outcome) => outcomes.push(outcome),
            None => open.push(goal.what),
        }
    }
    (outcomes, open)
}

impl Goal {
    fn outcome(&self, tables: &[Table]) -> Option<Outcome> {
        let mut measured = median(tables, self.table, self.row, self.who)?;
        let compared_with = match self.against {
            Against::Cell(table, row, who) => median(tables, table, row, who)?,
            Against::Each(row, who) => {
                measured /= self.row.parse::<f64>().ok()?;
                median(tables, self.table, row, who)? / row.parse::<f64>().ok()?
            }
            Against::Number(number) => number,
        };
        let ratio = measured / compared_with;
        Some(Outcome {
            what: self.what.to_owned(),
            measured,
            compared_with,
            ratio,
            at_most: self.at_most,
            met: ratio <= self.at_most,
        })
    }
}

fn median(tables: &[Table], table: &str, row: &str, who: Who) -> Option<f64> {
    let table = tables.iter().find(|own| own.id == table)?;
    let column = match who {
        Who::Ours => newest(&table.columns, "wrun")?,
        Who::Newest(name) => newest(&table.columns, name)?,
        Who::Named(name) => name,
    };
    Some(table.cell(row, column)?.median)
}

/// Of the columns `NAME VERSION`, the one with the highest version.
fn newest<'a>(columns: &'a [String], name: &str) -> Option<&'a str> {
    let numbers = |column: &str| -> Vec<u64> {
        let version = column.split(' ').nth(1).unwrap_or_default();
        version
            .split(['.', '-', '+'])
            .map_while(|word| word.parse().ok())
            .collect()
    };
    let own = columns
        .iter()
        .filter(|column| column.split(' ').next() == Some(name));
    own.max_by_key(|column| numbers(column)).map(String::as_str)
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ratio = if self.ratio < 0.1 {
            format!("{:.4}", self.ratio)
        } else {
            format!("{:.2}", self.ratio)
        };
        write!(
            f,
            "| {} | {} | {} | ×{ratio} | ≤ {} | {} |",
            self.what,
            digits(self.measured),
            digits(self.compared_with),
            self.at_most,
            if self.met { "met" } else { "**not met**" }
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::Figures;

    fn table(id: &str, columns: &[&str], rows: &[(&str, &[f64])]) -> Table {
        let mut table = Table::new(
            id,
            "",
            "ms",
            columns.iter().map(|name| (*name).to_owned()).collect(),
        );
        for (name, values) in rows {
            table.add(name, values.iter().map(|value| Figures::of(&[*value])).collect());
        }
        table
    }

    #[test]
    fn the_newest_crun_counts() {
        let columns = ["wrun 0.1.0", "crun 1.8.1", "crun 1.28", "runc 1.1.5"];
        let table = table("lifecycle", &columns, &[("exec", &[3.0, 100.0, 4.0, 50.0])]);
        let (outcomes, open) = outcomes(&[table]);
        let [exec] = &outcomes[..] else {
            panic!("{outcomes:?}")
        };
        assert_eq!((exec.ratio, exec.met), (0.75, false));
        assert_eq!(open.len(), GOALS.len() - 1);
    }

    #[test]
    fn what_is_exactly_at_the_goal_meets_it() {
        let table = table(
            "memory",
            &["wrun 0.1.0", "crun 1.28"],
            &[("create, peak", &[300.0, 300.0])],
        );
        let (outcomes, _) = outcomes(&[table]);
        assert!(outcomes[0].met);
    }

    #[test]
    fn linear_means_that_each_costs_the_same() {
        let rows: [(&str, &[f64]); 2] = [("100", &[200.0]), ("500", &[1050.0])];
        let (outcomes, _) = outcomes(&[table("parallel", &["wrun 0.1.0"], &rows)]);
        let [linear] = &outcomes[..] else {
            panic!("{outcomes:?}")
        };
        assert!((linear.ratio - 1.05).abs() < 1e-9 && linear.met);
    }

    #[test]
    fn a_number_is_a_goal_too() {
        let table = table(
            "idle",
            &["a waiting command"],
            &[("PSS", &[401.0]), ("growth", &[0.5])],
        );
        let (outcomes, _) = outcomes(&[table]);
        assert_eq!(
            outcomes.iter().map(|own| own.met).collect::<Vec<_>>(),
            [false, true]
        );
    }
}
