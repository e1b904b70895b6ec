//! `wrun list`.

use std::fmt::Write as _;

use super::{Invocation, log::Log, write_stdout};
use crate::container;
use crate::state::{OciState, owner_name};

/// List the containers of the state directory.
#[derive(Debug, clap::Args)]
pub struct List {
    /// Format of the output: a table, or a JSON list.
    #[arg(long, short, value_name = "FORMAT", value_enum, default_value = "table")]
    format: Format,

    /// Print names of containers only.
    #[arg(long, short)]
    quiet: bool,
}

/// How a list is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Format {
    Table,
    Json,
}

impl List {
    pub fn execute(&self, invocation: &Invocation, log: &Log) -> anyhow::Result<u8> {
        let warn = |message: &str| log.warn(message);
        let context = invocation.context(&warn)?;
        // The state directory is there from the first container on.
        let listed = match context.root.try_exists() {
            Ok(false) => Vec::new(),
            _ => container::list(&context)?,
        };
        let states: Vec<_> = listed.iter().map(|it| it.oci(owner_name(it.uid))).collect();
        let text = match self.format {
            _ if self.quiet => states.iter().flat_map(|state| [state.id, "\n"]).collect(),
            Format::Table => table(&states),
            Format::Json => serde_json::to_string(&states)? + "\n",
        };
        write_stdout(text.as_bytes())?;
        Ok(0)
    }
}

fn table(states: &[OciState<'_>]) -> String {
    let mut rows = vec![["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"].map(str::to_owned)];
    rows.extend(states.iter().map(|state| {
        [
            state.id.to_owned(),
            state.pid.to_string(),
            state.status.to_string(),
            state.bundle.clone(),
            state.created.to_owned(),
            state.owner.clone(),
        ]
    }));
    columns(&rows)
}

/// Columns as wide as their widest cell and three blanks, 12 at least, the last one open, as runc's.
pub(super) fn columns<const N: usize>(rows: &[[String; N]]) -> String {
    let widths: [usize; N] = std::array::from_fn(|column| {
        rows.iter()
            .map(|row| row[column].chars().count() + 3)
            .max()
            .unwrap_or(0)
            .max(12)
    });
    let mut text = String::new();
    for row in rows {
        for (cell, width) in row.iter().zip(widths).take(N - 1) {
            // Writing into a String cannot fail.
            let _ = write!(text, "{cell:width$}");
        }
        text.push_str(&row[N - 1]);
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_those_of_runc() {
        let row = |cells: [&str; 3]| cells.map(str::to_owned);
        assert_eq!(
            columns(&[row(["ID", "PID", "OWNER"])]),
            "ID          PID         OWNER\n"
        );
        assert_eq!(
            columns(&[row(["ID", "PID", "OWNER"]), row(["a-longer-name", "1", "root"])]),
            "ID              PID         OWNER\na-longer-name   1           root\n"
        );
    }
}
