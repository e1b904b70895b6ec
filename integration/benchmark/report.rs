//! The whole result: as text for people, as JSON for programs, as plots.

use std::fmt::Write;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::figures::{Figures, Table, digits};
use crate::goals::{self, Outcome};
use crate::machine::Machine;
use crate::noise::{self, Look};
use crate::svg;

#[derive(Debug, Serialize, Deserialize)]
pub struct Report {
    pub machine: Machine,
    pub rounds: usize,
    pub seconds: u64,
    pub tables: Vec<Table>,
    pub looks: Vec<Look>,
    /// Why this is no result; empty where it is one.
    pub noisy: Vec<String>,
    pub goals: Vec<Outcome>,
    /// What was left out, and why.
    pub left_out: Vec<String>,
}

impl Report {
    pub fn new(
        machine: Machine,
        rounds: usize,
        seconds: u64,
        tables: Vec<Table>,
        looks: Vec<Look>,
        left_out: Vec<String>,
    ) -> Self {
        let noisy = noise::reasons(&looks, machine.processors);
        let (goals, open) = goals::outcomes(&tables);
        let open = open.into_iter().map(|what| format!("goal not measured: {what}"));
        Report {
            machine,
            rounds,
            seconds,
            tables,
            looks,
            noisy,
            goals,
            left_out: left_out.into_iter().chain(open).collect(),
        }
    }

    /// As Markdown.
    pub fn text(&self) -> String {
        let mut text = String::new();
        self.write(&mut text).expect("a string takes all");
        text
    }

    fn write(&self, text: &mut String) -> std::fmt::Result {
        writeln!(text, "# Measured on: {}\n", self.machine.line())?;
        writeln!(
            text,
            "in {} s; {}",
            self.seconds,
            self.machine.programs.join(", ")
        )?;
        if !self.noisy.is_empty() {
            writeln!(text, "\n**noisy: not a result**\n")?;
            for reason in &self.noisy {
                writeln!(text, "- {reason}")?;
            }
        }
        for own in &self.tables {
            table(text, own)?;
        }
        if !self.goals.is_empty() {
            writeln!(text, "\n## Goals (ratios of medians{})\n", self.mark())?;
            writeln!(
                text,
                "| what | measured | compared with | ratio | goal | |\n|---|---|---|---|---|---|"
            )?;
            for outcome in &self.goals {
                writeln!(text, "{outcome}")?;
            }
        }
        if !self.left_out.is_empty() {
            writeln!(text, "\n## Left out\n")?;
            for line in &self.left_out {
                writeln!(text, "- {line}")?;
            }
        }
        Ok(())
    }

    fn mark(&self) -> &'static str {
        if self.noisy.is_empty() {
            ""
        } else {
            "; noisy: not a result"
        }
    }

    /// Writes text, JSON and plots into `directory`.
    pub fn save(&self, directory: &Path) -> io::Result<()> {
        std::fs::create_dir_all(directory)?;
        std::fs::write(directory.join("report.md"), self.text())?;
        let json = serde_json::to_vec_pretty(self)?;
        std::fs::write(directory.join("report.json"), json)?;
        let subtitle = format!("{}{}", self.machine.line(), self.mark());
        for table in &self.tables {
            if let Some(picture) = svg::plot(table, &subtitle) {
                std::fs::write(directory.join(format!("{}.svg", table.id)), picture)?;
            }
        }
        Ok(())
    }
}

fn table(text: &mut String, table: &Table) -> std::fmt::Result {
    writeln!(
        text,
        "\n## {}\n\n({}: median{}, quartiles, ratio of the medians to the first column){}{}\n",
        table.title,
        table.unit,
        counts(table),
        if table.note.is_empty() { "" } else { "  \n" },
        table.note
    )?;
    writeln!(text, "| | {} |", table.columns.join(" | "))?;
    writeln!(text, "|---|{}", "---|".repeat(table.columns.len()))?;
    for row in &table.rows {
        let base = row.cells.first().copied().flatten();
        let cells: Vec<String> = row
            .cells
            .iter()
            .map(|own| cell(own.as_ref(), base.as_ref()))
            .collect();
        writeln!(text, "| {} | {} |", row.name, cells.join(" | "))?;
    }
    Ok(())
}

/// Of how many values the medians of a table are.
fn counts(table: &Table) -> String {
    let cells = table.rows.iter().flat_map(|row| &row.cells).flatten();
    let counts = cells.map(|figures| figures.count);
    match (counts.clone().min(), counts.max()) {
        (Some(least), Some(most)) if least == most => format!(" of {least}"),
        (Some(least), Some(most)) => format!(" of {least} to {most}"),
        _ => String::new(),
    }
}

fn cell(figures: Option<&Figures>, base: Option<&Figures>) -> String {
    let Some(figures) = figures else {
        return "–".to_owned();
    };
    let mut text = digits(figures.median);
    if figures.low < figures.high {
        let (low, high) = (digits(figures.low), digits(figures.high));
        write!(text, " ({low}–{high})").expect("a string takes all");
    }
    if let Some(base) = base
        && base.median > 0.0
    {
        write!(text, " ×{:.2}", figures.median / base.median).expect("a string takes all");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(others: f64) -> Report {
        let mut table = Table::new(
            "lifecycle",
            "Lifecycle",
            "ms",
            vec!["wrun 0.1.0".into(), "crun 1.28".into()],
        );
        table.add(
            "run",
            vec![Figures::of(&[3.0, 4.0, 5.0, 6.0, 7.0]), Figures::of(&[10.0])],
        );
        table.add("other", vec![None, Figures::of(&[10.0])]);
        let machine = Machine {
            processor: "P".into(),
            processors: 2,
            memory_mb: 1,
            kernel: "6".into(),
            system: "S".into(),
            cgroups: "cgroup v2".into(),
            programs: vec![],
        };
        let look = Look {
            when: "before".into(),
            load: Some(0.0),
            others,
            stolen: 0.0,
            calibration: Figures::of(&[1.0]).unwrap(),
        };
        Report::new(machine, 3, 1, vec![table], vec![look], vec![])
    }

    #[test]
    fn a_row_shows_medians_quartiles_and_ratios() {
        let text = report(0.0).text();
        assert!(text.contains("| run | 5 (4–6) ×1.00 | 10 ×2.00 |"), "{text}");
        assert!(text.contains("| other | – | 10 |"), "{text}");
        assert!(text.contains("(ms: median of 1 to 5, quartiles"), "{text}");
        assert!(
            text.contains("| run, of crun's | 5 | 10 | ×0.50 | ≤ 0.6 | met |"),
            "{text}"
        );
        assert!(!text.contains("noisy"), "{text}");
    }

    #[test]
    fn a_noisy_run_says_so_wherever_it_is_read() {
        let report = report(1.0);
        let text = report.text();
        assert!(text.contains("**noisy: not a result**"), "{text}");
        assert!(
            text.contains("Goals (ratios of medians; noisy: not a result)"),
            "{text}"
        );
        let directory = tempfile::tempdir().unwrap();
        report.save(directory.path()).unwrap();
        let json = std::fs::read_to_string(directory.path().join("report.json")).unwrap();
        let read: Report = serde_json::from_str(&json).unwrap();
        assert_eq!(read.noisy.len(), 1);
    }
}
