//! `wrun wasm list`.

use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::super::list::{Format, columns};
use super::super::{Invocation, log::Log, write_stdout};
use super::existing_cache;
use crate::workload::wasm::Entry;

/// List the compiled code in the cache, the last used first.
///
/// TIER is how the code was made: optimized; or, until that is there, baseline or quick, on which a large module
/// starts the first time. USED is exact to ten minutes. VERIFIED tells whether the entry was compared with its
/// digest since this machine was booted, as is done before its first use. ENGINE has the word
/// `other` where the code is for another version of the engine, other settings or another CPU: it is never used,
/// and is removed when room is needed.
#[derive(Debug, clap::Args)]
pub struct List {
    /// Format of the output: a table, or a JSON list.
    #[arg(long, short, value_name = "FORMAT", value_enum, default_value = "table")]
    format: Format,
}

/// One entry. The table shortens the key.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    key: String,
    size: u64,
    /// The next four are `null` where the entry is damaged.
    tier: Option<&'static str>,
    kind: Option<String>,
    fuel: Option<bool>,
    engine: Option<String>,
    usable: bool,
    last_use: String,
    verified: bool,
}

impl List {
    pub fn execute(&self, invocation: &Invocation, _log: &Log) -> anyhow::Result<u8> {
        let entries = match existing_cache(invocation)? {
            Some(cache) => cache.entries()?,
            None => Vec::new(),
        };
        let rows: Vec<Row> = entries.into_iter().map(Row::of).collect::<anyhow::Result<_>>()?;
        let text = match self.format {
            Format::Table => table(&rows),
            Format::Json => serde_json::to_string(&rows)? + "\n",
        };
        write_stdout(text.as_bytes())?;
        Ok(0)
    }
}

impl Row {
    fn of(entry: Entry) -> anyhow::Result<Self> {
        let usable = entry.fits();
        let about = entry.about.as_ref();
        let whole_second = OffsetDateTime::from(entry.last_use).replace_nanosecond(0)?;
        Ok(Self {
            size: entry.size,
            tier: about.map(|about| about.build.tier.name()),
            kind: about.map(|about| about.kind.to_string()),
            fuel: about.map(|about| about.build.fuel),
            engine: about.map(|about| about.engine.clone()),
            usable,
            last_use: whole_second.format(&Rfc3339)?,
            verified: entry.verified,
            key: entry.key,
        })
    }

    fn cells(&self) -> [String; 7] {
        let damaged = || "damaged".to_owned();
        let fuel = if self.fuel == Some(true) {
            ", counts fuel"
        } else {
            ""
        };
        [
            self.key.chars().take(12).collect(),
            self.size.to_string(),
            self.tier.map_or_else(damaged, str::to_owned),
            self.last_use.clone(),
            if self.verified { "yes" } else { "no" }.to_owned(),
            if self.usable { "this" } else { "other" }.to_owned(),
            self.kind
                .as_ref()
                .map_or_else(damaged, |kind| format!("{kind}{fuel}")),
        ]
    }
}

fn table(rows: &[Row]) -> String {
    let heading = ["KEY", "SIZE", "TIER", "USED", "VERIFIED", "ENGINE", "KIND"].map(str::to_owned);
    let cells: Vec<_> = std::iter::once(heading)
        .chain(rows.iter().map(Row::cells))
        .collect();
    columns(&cells)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_damaged_entry_is_shown_as_such() {
        let entry = Entry {
            key: "0123456789abcdef".to_owned(),
            size: 7,
            last_use: std::time::SystemTime::UNIX_EPOCH,
            verified: false,
            about: None,
        };
        let text = table(&[Row::of(entry).unwrap()]);
        let line = text.lines().nth(1).unwrap();
        let cells: Vec<_> = line.split_whitespace().collect();
        assert_eq!(
            cells,
            [
                "0123456789ab",
                "7",
                "damaged",
                "1970-01-01T00:00:00Z",
                "no",
                "other",
                "damaged"
            ]
        );
    }
}
