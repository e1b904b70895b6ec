//! `wrun wasm inspect`: the report as a table for people, or as JSON.

use std::fmt::{self, Display, Write as _};
use std::fs::File;
use std::io::ErrorKind;

use anyhow::Context as _;

use super::super::{Invocation, log::Log, write_stdout};
use super::open;
use crate::reason::is_plain;
use crate::workload::detect;
use crate::workload::wasm::inspect::{CoreModule, ImportGroup, Kind, Report, Run, inspect};
use crate::workload::wasm::kinds::shape::{self, printable};

/// Tell what a file of WebAssembly is, what it imports and exports, and how wrun would run it.
///
/// Nothing is compiled and nothing is run. How wrun would run it is decided as for a container; where it would
/// be refused, the reason is that of the container; a component of a Spin application is told to be one. Whether the types of its imports are those that wrun gives
/// is only seen when it is compiled.
///
/// The command ends with 0 where the file could be read, whether a container could run it or not.
#[derive(Debug, clap::Args)]
pub struct Inspect {
    /// Module, component or text (.wat); FILE#FUNCTION asks about calling that function.
    #[arg(value_name = "FILE")]
    file: String,

    /// Format of the output: a table for people, or JSON, whose keys stay as they are.
    #[arg(long, short, value_name = "FORMAT", value_enum, default_value = "table")]
    format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    Table,
    Json,
}

impl Inspect {
    pub fn execute(&self, _invocation: &Invocation, _log: &Log) -> anyhow::Result<u8> {
        let (file, name, export) = self.open()?;
        let report = inspect(file, name, export)?;
        let text = match self.format {
            Format::Table => table(name, &report),
            Format::Json => escaped(&serde_json::to_string_pretty(&report)?) + "\n",
        };
        write_stdout(text.as_bytes())?;
        Ok(0)
    }

    /// As for a container: what follows `#` is a function, unless it is part of the file's own name.
    fn open(&self) -> anyhow::Result<(File, &str, Option<&str>)> {
        let whole = self.file.as_str();
        let split = detect::split_entry(whole).map(|(path, export)| (path, Some(export)));
        let candidates = std::iter::once((whole, None)).chain(split);
        for (path, export) in candidates {
            match open(path.as_ref()) {
                Ok(file) => return Ok((file, path, export)),
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error).with_context(|| format!("cannot open {path}")),
            }
        }
        open(whole.as_ref()).with_context(|| format!("cannot open {whole}"))?;
        anyhow::bail!("cannot open {whole}: it came and went")
    }
}

/// JSON with escapes also for those characters that need none in JSON but could steer a terminal: they stand in
/// strings alone.
fn escaped(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for character in json.chars() {
        if character == '\n' || is_plain(character) {
            text.push(character);
        } else {
            // Writing into a String cannot fail.
            let _: fmt::Result = write!(text, "\\u{:04x}", u32::from(character));
        }
    }
    text
}

/// The report for people. All names are the file's, and shown so that they cannot steer a terminal.
fn table(name: &str, report: &Report) -> String {
    let mut table = Table::default();
    table.row("File", printable(name));
    let text = if report.text && report.kind != Kind::Text {
        ", from text"
    } else {
        ""
    };
    table.row("Kind", format!("{}{text}", kind(report.kind)));
    table.row("Size", bytes(report.size));
    match &report.run {
        run if run.runs => table.rows("Runs as", run.text.lines().map(plain)),
        Run {
            text,
            part: Some(part),
            ..
        } => {
            table.row("Runs as", format!("{}, which /spin.toml must name", plain(part)));
            table.rows("By itself", format!("refused: {text}").lines().map(plain));
        }
        run => table.rows("Refused", run.text.lines().map(plain)),
    }
    if report.error.is_none() && matches!(report.kind, Kind::Module | Kind::Component) {
        imports(&mut table, &report.imports);
        exports(&mut table, report);
        modules(&mut table, report);
        about(&mut table, report);
    }
    table.text
}

fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Module => "core module",
        Kind::Component => "component",
        Kind::Text => "WebAssembly text",
        Kind::Precompiled => "precompiled WebAssembly",
        Kind::Native => "native executable (ELF)",
        Kind::Script => "script",
        Kind::Unknown => "unknown",
    }
}

fn imports(table: &mut Table, groups: &[ImportGroup]) {
    if groups.is_empty() {
        table.row("Imports", "none");
    }
    for (at, group) in groups.iter().enumerate() {
        // Once for a group, of which one file may have a hundred thousand items.
        let provider = of_one_provider(group);
        table.row(if at == 0 { "Imports" } else { "" }, heading(group, provider));
        for item in group.items.iter().filter(|item| !item.name.is_empty()) {
            let missing = match (&item.provided_by, &item.belongs_to) {
                _ if provider.is_some() => String::new(),
                (Some(provider), _) => format!(", of {provider}"),
                (None, Some(origin)) => format!(", MISSING: {origin}"),
                (None, None) => ", MISSING".to_owned(),
            };
            table.row("", format!("  {}: {}{missing}", printable(&item.name), item.ty));
        }
    }
}

/// A module's or an interface's name, and who gives all of it where that is one.
fn heading(group: &ImportGroup, provider: Option<&str>) -> String {
    let from = printable(&group.from);
    match (provider, group.items.first()) {
        (Some(provider), _) => format!("{from} (of {provider})"),
        (None, Some(item)) if item.name.is_empty() => match &item.belongs_to {
            Some(origin) => format!("{from} (MISSING: {origin})"),
            None => format!("{from} (MISSING)"),
        },
        _ => from,
    }
}

fn of_one_provider(group: &ImportGroup) -> Option<&str> {
    let provider = group.items.first()?.provided_by.as_deref()?;
    let all = group
        .items
        .iter()
        .all(|item| item.provided_by.as_deref() == Some(provider));
    all.then_some(provider)
}

fn exports(table: &mut Table, report: &Report) {
    let lines = report.exports.iter().map(|item| {
        // What is in an interface stands below it.
        let indent = if item.name.contains('#') { "  " } else { "" };
        format!("{indent}{}: {}", printable(&item.name), item.ty)
    });
    table.rows("Exports", lines);
    if let Some(world) = &report.world {
        table.rows("World", world.lines().map(plain));
    }
}

/// A line of a text that repeats words of the file's.
fn plain(line: &str) -> String {
    shape::plain(line, usize::MAX)
}

fn modules(table: &mut Table, report: &Report) {
    let modules = &report.modules;
    let whole = modules.len() == 1;
    for (at, module) in modules.iter().enumerate() {
        if !whole {
            table.row("Module", format!("{at}, {}", bytes(module.size)));
        }
        sizes(table, module);
    }
}

fn sizes(table: &mut Table, module: &CoreModule) {
    table.row(
        "Code",
        format!(
            "{}, {}",
            counted(module.functions, "function"),
            bytes(module.code)
        ),
    );
    table.row(
        "Data",
        format!(
            "{}, {}",
            counted(module.data_segments, "segment"),
            bytes(module.data)
        ),
    );
    let memories = module.memories.iter().map(|memory| {
        let most = memory.maximum.map_or_else(
            || "no maximum".to_owned(),
            |most| format!("at most {}", bytes(most)),
        );
        let imported = if memory.imported { ", imported" } else { "" };
        format!("{} ({}, {most}{imported})", memory.text, bytes(memory.initial))
    });
    table.rows("Memory", memories);
    table.rows(
        "Table",
        module.tables.iter().map(|table| format!("{table} elements")),
    );
    if let Some(start) = module.start {
        table.row("Start", format!("function {start} runs when it is instantiated"));
    }
}

fn about(table: &mut Table, report: &Report) {
    table.rows(
        "Custom",
        report
            .custom_sections
            .iter()
            .map(|it| format!("{}, {}", printable(&it.name), bytes(it.size))),
    );
    table.rows(
        "Made by",
        report.producers.iter().map(|producer| {
            let (name, version) = (printable(&producer.name), printable(&producer.version));
            format!("{name} {version} ({})", producer.field).replace("  (", " (")
        }),
    );
    table.row(
        "Names",
        if report.names {
            "yes"
        } else {
            "no: backtraces have numbers alone"
        },
    );
    table.row(
        "DWARF",
        if report.dwarf {
            "yes"
        } else {
            "no: backtraces have no lines"
        },
    );
    table.rows(
        "Proposals",
        report.proposals.iter().map(|proposal| {
            let off = if proposal.on { "" } else { " (SWITCHED OFF)" };
            format!("{}{off}", proposal.name)
        }),
    );
}

fn bytes(count: u64) -> String {
    counted(count, "byte")
}

fn counted(count: u64, what: &str) -> String {
    match count {
        1 => format!("1 {what}"),
        count => format!("{count} {what}s"),
    }
}

/// Rows of a key and a value, the values in one column.
#[derive(Default)]
struct Table {
    text: String,
}

impl Table {
    fn row(&mut self, key: &str, value: impl Display) {
        // Writing into a String cannot fail.
        let _: fmt::Result = writeln!(self.text, "{}", format!("{key:<11}{value}").trim_end());
    }

    /// A row for each value, the key before the first alone.
    fn rows(&mut self, key: &str, values: impl Iterator<Item = String>) {
        for (at, value) in values.enumerate() {
            self.row(if at == 0 { key } else { "" }, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_cannot_steer_a_terminal() {
        let text = "\u{9b}31m\u{202e}\x1bé";
        let json = escaped(&serde_json::to_string(text).unwrap());
        assert_eq!(json, "\"\\u009b31m\\u202e\\u001bé\"");
        assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
    }
}
