//! Plots of tables as SVG 1.1, by themselves: no font, script or style sheet of elsewhere. Pure text from plain data, so
//! that the same figures always give the same bytes.

use std::fmt::Write;

use crate::figures::{Figures, Plot, Table, digits};

/// Of the whole picture; its height follows from what is in it.
const WIDTH: f64 = 760.0;
/// Where the plot begins and ends.
const LEFT: f64 = 210.0;
const RIGHT: f64 = WIDTH - 70.0;
const BAR: f64 = 14.0;
const GAP: f64 = 12.0;
const HEAD: f64 = 64.0;
/// Height of the lines' field.
const FIELD: f64 = 300.0;
/// Of Okabe and Ito: told apart by the colour-blind too.
const COLOURS: [&str; 8] = [
    "#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9", "#999999", "#000000",
];
const FONT: &str = "font-family=\"sans-serif\" font-size=\"12\"";

/// The picture of a table that has one.
pub fn plot(table: &Table, subtitle: &str) -> Option<String> {
    match table.plot {
        Plot::None => None,
        Plot::Bars => bars(table, subtitle),
        Plot::Lines => lines(table, subtitle),
    }
}

fn colour(column: usize) -> &'static str {
    COLOURS[column % COLOURS.len()]
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

/// A coordinate: two places are enough, and always the same text.
fn at(value: f64) -> String {
    let text = format!("{value:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

struct Picture(String);

impl Picture {
    fn begin(height: f64, title: &str, subtitle: &str) -> Self {
        let (width, tall) = (at(WIDTH), at(height));
        let mut picture = Picture(format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{tall}\" \
             viewBox=\"0 0 {width} {tall}\" role=\"img\">\n<title>{}</title>\n\
             <rect width=\"{width}\" height=\"{tall}\" fill=\"#ffffff\"/>\n<g {FONT} fill=\"#222222\">\n",
            escaped(title)
        ));
        picture.text(
            12.0,
            20.0,
            "start",
            title,
            " font-weight=\"bold\" font-size=\"14\"",
        );
        picture.text(12.0, 38.0, "start", subtitle, " fill=\"#666666\"");
        picture
    }

    fn text(&mut self, x: f64, y: f64, anchor: &str, text: &str, more: &str) {
        let (x, y) = (at(x), at(y));
        let text = escaped(text);
        self.line(&format!(
            "<text x=\"{x}\" y=\"{y}\" text-anchor=\"{anchor}\"{more}>{text}</text>"
        ));
    }

    fn stroke(&mut self, from: (f64, f64), to: (f64, f64), colour: &str, width: f64) {
        let [x1, y1, x2, y2] = [from.0, from.1, to.0, to.1].map(at);
        let width = at(width);
        self.line(&format!(
            "<line x1=\"{x1}\" y1=\"{y1}\" x2=\"{x2}\" y2=\"{y2}\" stroke=\"{colour}\" stroke-width=\"{width}\"/>"
        ));
    }

    /// A column's colour and name.
    fn key(&mut self, x: f64, y: f64, column: usize, name: &str) {
        let (left, top, colour) = (at(x), at(y - 10.0), colour(column));
        self.line(&format!(
            "<rect x=\"{left}\" y=\"{top}\" width=\"12\" height=\"12\" fill=\"{colour}\"/>"
        ));
        self.text(x + 18.0, y, "start", name, "");
    }

    fn line(&mut self, text: &str) {
        writeln!(self.0, "{text}").expect("a string takes all");
    }

    fn end(mut self) -> String {
        self.line("</g>\n</svg>");
        self.0
    }
}

/// Ticks from zero to at least `greatest`: their distance is 1, 2 or 5 times a power of ten.
fn ticks(greatest: f64) -> Vec<f64> {
    let rough = greatest / 5.0;
    let power = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0]
        .map(|factor| factor * power)
        .into_iter()
        .find(|step| *step >= rough)
        .unwrap_or(10.0 * power);
    let count = (greatest / step).ceil() as usize;
    (0..=count).map(|at| at as f64 * step).collect()
}

fn cells(table: &Table) -> impl Iterator<Item = &Figures> {
    table.rows.iter().flat_map(|row| row.cells.iter().flatten())
}

/// Ticks for a table that has something above zero.
fn scale(table: &Table) -> Option<Vec<f64>> {
    let greatest = cells(table).map(|figures| figures.high).fold(0.0, f64::max);
    (greatest > 0.0).then(|| ticks(greatest))
}

/// The keys of all columns in rows of so many that they do not meet; the height they took.
fn keys(picture: &mut Picture, columns: &[String]) -> f64 {
    let each = 150.0;
    let in_row = ((WIDTH - 24.0) / each) as usize;
    for (column, name) in columns.iter().enumerate() {
        let (x, y) = ((column % in_row) as f64, (column / in_row) as f64);
        picture.key(12.0 + x * each, HEAD + y * 18.0, column, name);
    }
    columns.len().div_ceil(in_row) as f64 * 18.0
}

fn bars(table: &Table, subtitle: &str) -> Option<String> {
    let ticks = scale(table)?;
    let top = *ticks.last()?;
    let x = |value: f64| LEFT + (RIGHT - LEFT) * value / top;
    let in_rows = table.columns.len().div_ceil(((WIDTH - 24.0) / 150.0) as usize) as f64 * 18.0;
    let heights = table
        .rows
        .iter()
        .map(|row| row.cells.iter().flatten().count() as f64 * BAR + GAP);
    let begin = HEAD + in_rows + 8.0;
    let end = begin + heights.sum::<f64>();
    let mut picture = Picture::begin(end + 30.0, &table.title, subtitle);
    keys(&mut picture, &table.columns);
    for tick in &ticks {
        picture.stroke((x(*tick), begin), (x(*tick), end), "#dddddd", 1.0);
        picture.text(x(*tick), end + 16.0, "middle", &digits(*tick), "");
    }
    picture.text(WIDTH - 12.0, end + 16.0, "end", &table.unit, "");
    let mut y = begin;
    for row in &table.rows {
        let count = row.cells.iter().flatten().count() as f64;
        picture.text(LEFT - 8.0, y + count * BAR / 2.0 + 8.0, "end", &row.name, "");
        y += GAP / 2.0;
        for (column, figures) in row.cells.iter().enumerate() {
            let Some(figures) = figures else { continue };
            let (left, above, long, thick) =
                (at(LEFT), at(y + 1.0), at(x(figures.median) - LEFT), at(BAR - 2.0));
            picture.line(&format!(
                "<rect x=\"{left}\" y=\"{above}\" width=\"{long}\" height=\"{thick}\" fill=\"{}\"/>",
                colour(column)
            ));
            let middle = y + BAR / 2.0;
            picture.stroke(
                (x(figures.low), middle),
                (x(figures.high), middle),
                "#222222",
                1.0,
            );
            let text = digits(figures.median);
            let beside = x(figures.high.max(figures.median)) + 4.0;
            picture.text(beside, middle + 4.0, "start", &text, " font-size=\"10\"");
            y += BAR;
        }
        y += GAP / 2.0;
    }
    Some(picture.end())
}

fn lines(table: &Table, subtitle: &str) -> Option<String> {
    let ticks_up = scale(table)?;
    let top = *ticks_up.last()?;
    let places: Vec<f64> = table
        .rows
        .iter()
        .filter_map(|row| row.name.parse().ok())
        .collect();
    let furthest = places.iter().copied().fold(0.0, f64::max);
    if places.len() != table.rows.len() || furthest <= 0.0 {
        return None;
    }
    let left = 70.0;
    let in_rows = table.columns.len().div_ceil(((WIDTH - 24.0) / 150.0) as usize) as f64 * 18.0;
    let begin = HEAD + in_rows + 8.0;
    let end = begin + FIELD;
    let x = |value: f64| left + (RIGHT - left) * value / furthest;
    let y = |value: f64| end - FIELD * value / top;
    let mut picture = Picture::begin(end + 40.0, &table.title, subtitle);
    keys(&mut picture, &table.columns);
    for tick in &ticks_up {
        picture.stroke((left, y(*tick)), (RIGHT, y(*tick)), "#dddddd", 1.0);
        picture.text(left - 6.0, y(*tick) + 4.0, "end", &digits(*tick), "");
    }
    picture.text(left - 6.0, begin - 8.0, "end", &table.unit, "");
    for (place, row) in places.iter().zip(&table.rows) {
        picture.stroke((x(*place), end), (x(*place), end + 4.0), "#222222", 1.0);
        picture.text(x(*place), end + 18.0, "middle", &row.name, "");
    }
    picture.stroke((left, end), (RIGHT, end), "#222222", 1.0);
    for column in 0..table.columns.len() {
        let points: Vec<(f64, f64)> = places
            .iter()
            .zip(&table.rows)
            .filter_map(|(place, row)| Some((x(*place), y(row.cells[column].as_ref()?.median))))
            .collect();
        let text: Vec<String> = points
            .iter()
            .map(|(x, y)| format!("{},{}", at(*x), at(*y)))
            .collect();
        let (text, colour) = (text.join(" "), colour(column));
        picture.line(&format!(
            "<polyline points=\"{text}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>"
        ));
        for (x, y) in points {
            let (x, y) = (at(x), at(y));
            picture.line(&format!(
                "<circle cx=\"{x}\" cy=\"{y}\" r=\"3\" fill=\"{colour}\"/>"
            ));
        }
    }
    Some(picture.end())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(plot: Plot) -> Table {
        let mut table = Table::new(
            "x",
            "Runs & <more>",
            "ms",
            vec!["wrun 0.1.0".into(), "crun 1.28".into()],
        );
        table.plot = plot;
        table.add(
            "100",
            vec![Figures::of(&[9.0, 10.0, 11.0]), Figures::of(&[20.0, 22.0, 30.0])],
        );
        table.add("500", vec![Figures::of(&[48.5, 50.25, 52.0]), None]);
        table
    }

    /// `BLESS=1` writes the expected pictures anew.
    fn golden(name: &str, picture: &str) {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("integration/benchmark/golden")
            .join(name);
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(&path, picture).unwrap();
        }
        let expected =
            std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert!(
            picture == expected,
            "{} is not what is drawn now:\n{picture}",
            path.display()
        );
    }

    #[test]
    fn bars_are_as_before() {
        golden("bars.svg", &plot(&sample(Plot::Bars), "a machine").unwrap());
    }

    #[test]
    fn lines_are_as_before() {
        golden("lines.svg", &plot(&sample(Plot::Lines), "a machine").unwrap());
    }

    #[test]
    fn what_cannot_be_drawn_is_not() {
        assert_eq!(plot(&sample(Plot::None), ""), None);
        let mut words = sample(Plot::Lines);
        words.rows[0].name = "run".into();
        assert_eq!(plot(&words, ""), None);
        assert_eq!(plot(&Table::new("x", "X", "ms", vec![]), ""), None);
    }

    #[test]
    fn ticks_are_round_and_reach_the_end() {
        assert_eq!(ticks(52.0), [0.0, 20.0, 40.0, 60.0]);
        assert_eq!(ticks(100.0), [0.0, 20.0, 40.0, 60.0, 80.0, 100.0]);
        assert!(*ticks(0.37).last().unwrap() >= 0.37);
    }
}
