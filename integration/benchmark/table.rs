//! A table of what was measured: a row for each command, a column for each runtime, and ratios to the first.

use crate::measure::Samples;

/// Prints `minimum/median` in milliseconds, with the ratio of the median to the first column's.
pub fn print(title: &str, columns: &[String], rows: &[(&str, Vec<Samples>)]) {
    println!("\n## {title}\n\n(ms: minimum/median, CPU; ratio of the medians to the first column)\n");
    println!("| | {} |", columns.join(" | "));
    println!("|---|{}", "---|".repeat(columns.len()));
    for (name, samples) in rows {
        let base = samples.first().map_or(0.0, Samples::median);
        let cells: Vec<String> = samples
            .iter()
            .map(|own| {
                if own.is_empty() {
                    return "–".to_owned();
                }
                let ratio = if base > 0.0 { own.median() / base } else { 0.0 };
                let (minimum, median, cpu) = (own.minimum(), own.median(), own.median_cpu());
                format!("{minimum:.2}/{median:.2}, {cpu:.2} (×{ratio:.2})")
            })
            .collect();
        println!("| {name} | {} |", cells.join(" | "));
    }
}
