//! What was measured, as plain data: tables of rows and columns, each cell with its median and spread. Parts fill
//! them; goals, text, plots and JSON are made from them.

use serde::{Deserialize, Serialize};

/// What is known of one thing that was measured several times.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    pub minimum: f64,
    /// First quartile.
    pub low: f64,
    pub median: f64,
    /// Third quartile.
    pub high: f64,
    pub maximum: f64,
    pub count: usize,
    /// Median of the processor time, where that was measured.
    pub cpu: Option<f64>,
}

impl Figures {
    /// Of the values; `None` of no values.
    pub fn of(values: &[f64]) -> Option<Self> {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let at = |quarter: usize| {
            sorted
                .get((sorted.len().saturating_sub(1) * quarter + 2) / 4)
                .copied()
        };
        Some(Figures {
            minimum: at(0)?,
            low: at(1)?,
            median: at(2)?,
            high: at(3)?,
            maximum: at(4)?,
            count: sorted.len(),
            cpu: None,
        })
    }

    /// The distance of the quartiles as a share of the median.
    pub fn spread(&self) -> f64 {
        if self.median > 0.0 {
            (self.high - self.low) / self.median
        } else {
            0.0
        }
    }
}

/// One thing done in several ways.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    pub name: String,
    /// One for each column; `None` where there is nothing to measure.
    pub cells: Vec<Option<Figures>>,
}

/// How a table is drawn, if at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Plot {
    None,
    /// A group of bars for each row, a bar for each column.
    Bars,
    /// A line for each column; the rows' names are numbers, the places on the other axis.
    Lines,
}

/// Rows with the same columns and unit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Table {
    /// Under which goals and files know it.
    pub id: String,
    pub title: String,
    pub unit: String,
    /// What is to be known for reading it.
    pub note: String,
    pub columns: Vec<String>,
    pub rows: Vec<Row>,
    pub plot: Plot,
}

impl Table {
    pub fn new(id: &str, title: &str, unit: &str, columns: Vec<String>) -> Self {
        Table {
            id: id.to_owned(),
            title: title.to_owned(),
            unit: unit.to_owned(),
            note: String::new(),
            columns,
            rows: Vec::new(),
            plot: Plot::None,
        }
    }

    /// Adds a row; what is missing at its end is empty.
    pub fn add(&mut self, name: &str, mut cells: Vec<Option<Figures>>) {
        cells.resize(self.columns.len(), None);
        self.rows.push(Row {
            name: name.to_owned(),
            cells,
        });
    }

    pub fn cell(&self, row: &str, column: &str) -> Option<&Figures> {
        let at = self.columns.iter().position(|own| own == column)?;
        let row = self.rows.iter().find(|own| own.name == row)?;
        row.cells.get(at)?.as_ref()
    }
}

/// The text of a number with three digits that count.
pub fn digits(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 || value.fract() == 0.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quartiles_are_values_that_were_measured() {
        let figures = Figures::of(&[5.0, 1.0, 3.0, 2.0, 4.0]).unwrap();
        let all = [
            figures.minimum,
            figures.low,
            figures.median,
            figures.high,
            figures.maximum,
        ];
        assert_eq!(all, [1.0, 2.0, 3.0, 4.0, 5.0]);
        assert!((figures.spread() - 2.0 / 3.0).abs() < 1e-9);
    }

    #[test]
    fn one_value_is_all_quartiles_and_none_is_nothing() {
        let figures = Figures::of(&[7.0]).unwrap();
        assert_eq!((figures.low, figures.median, figures.high), (7.0, 7.0, 7.0));
        assert_eq!(Figures::of(&[]), None);
    }

    #[test]
    fn a_cell_is_found_by_its_names() {
        let mut table = Table::new("t", "T", "ms", vec!["a".into(), "b".into()]);
        table.add("row", vec![Figures::of(&[1.0])]);
        assert_eq!(table.cell("row", "a").unwrap().median, 1.0);
        assert_eq!(table.cell("row", "b"), None);
        assert_eq!(table.cell("row", "c"), None);
        assert_eq!(table.cell("other", "a"), None);
    }

    #[test]
    fn three_digits_count() {
        let texts = [1234.5, 123.4, 12.34, 1.234, 0.1234, 5.0].map(digits);
        assert_eq!(texts, ["1234", "123", "12.3", "1.23", "0.12", "5"]);
    }
}
