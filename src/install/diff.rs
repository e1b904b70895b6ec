//! What an edit changes, as the unified form that diff(1) and patch(1) know. Configuration files are short, so the
//! longest common subsequence is found by the plain table; of others, all between the first and the last change is
//! taken for changed.

use std::fmt::Write as _;

/// Unchanged lines around a change.
const CONTEXT: usize = 3;

/// Entries of the table, of eight bytes each.
const TABLE: usize = 4 << 20;

/// A line of either text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line<'a> {
    Kept(&'a str),
    Removed(&'a str),
    Added(&'a str),
}

impl<'a> Line<'a> {
    const fn parts(self) -> (char, &'a str, usize, usize) {
        match self {
            Self::Kept(text) => (' ', text, 1, 1),
            Self::Removed(text) => ('-', text, 1, 0),
            Self::Added(text) => ('+', text, 0, 1),
        }
    }
}

/// The difference between two texts, which are called `from` and `to`; empty where there is none.
pub(super) fn unified(old: &str, new: &str, from: &str, to: &str) -> String {
    let lines = lines(old, new);
    let mut text = String::new();
    let (mut old_line, mut new_line, mut at) = (1, 1, 0);
    for (start, end) in hunks(&lines) {
        for line in &lines[at..start] {
            let (_, _, removed, added) = line.parts();
            old_line += removed;
            new_line += added;
        }
        let (mut body, mut removed, mut added) = (String::new(), 0, 0);
        for line in &lines[start..end] {
            let (mark, line, one, other) = line.parts();
            removed += one;
            added += other;
            let end = if line.ends_with('\n') {
                ""
            } else {
                "\n\\ No newline at end of file\n"
            };
            let _ = write!(body, "{mark}{line}{end}"); // Writing into a String cannot fail.
        }
        if text.is_empty() {
            let _ = write!(text, "--- {from}\n+++ {to}\n");
        }
        let range =
            |line: usize, count: usize| format!("{},{count}", if count == 0 { line - 1 } else { line });
        let _ = write!(
            text,
            "@@ -{} +{} @@\n{body}",
            range(old_line, removed),
            range(new_line, added)
        );
        old_line += removed;
        new_line += added;
        at = end;
    }
    text
}

/// Where the changes are, with their surroundings; such as touch are one.
fn hunks(lines: &[Line<'_>]) -> Vec<(usize, usize)> {
    let mut hunks: Vec<(usize, usize)> = Vec::new();
    for (at, _) in lines
        .iter()
        .enumerate()
        .filter(|(_, line)| !matches!(line, Line::Kept(_)))
    {
        let (start, end) = (at.saturating_sub(CONTEXT), (at + CONTEXT + 1).min(lines.len()));
        match hunks.last_mut() {
            Some(last) if last.1 >= start => last.1 = end,
            _ => hunks.push((start, end)),
        }
    }
    hunks
}

/// Both texts as one list of lines.
fn lines<'a>(old: &'a str, new: &'a str) -> Vec<Line<'a>> {
    let (old, new): (Vec<_>, Vec<_>) = (
        old.split_inclusive('\n').collect(),
        new.split_inclusive('\n').collect(),
    );
    let same = old.iter().zip(&new).take_while(|(old, new)| old == new).count();
    let rest = (&old[same..], &new[same..]);
    let same_end = rest
        .0
        .iter()
        .rev()
        .zip(rest.1.iter().rev())
        .take_while(|(old, new)| old == new)
        .count();
    let middle = (
        &rest.0[..rest.0.len() - same_end],
        &rest.1[..rest.1.len() - same_end],
    );
    let kept = |lines: &[&'a str]| lines.iter().map(|line| Line::Kept(line)).collect::<Vec<_>>();
    [
        kept(&old[..same]),
        changed(middle.0, middle.1),
        kept(&old[old.len() - same_end..]),
    ]
    .concat()
}

fn changed<'a>(old: &[&'a str], new: &[&'a str]) -> Vec<Line<'a>> {
    if (old.len() + 1).saturating_mul(new.len() + 1) > TABLE {
        let removed = old.iter().map(|line| Line::Removed(line));
        return removed.chain(new.iter().map(|line| Line::Added(line))).collect();
    }
    // common[i][j]: how many lines old[i..] and new[j..] have in common.
    let mut common = vec![vec![0_usize; new.len() + 1]; old.len() + 1];
    for i in (0..old.len()).rev() {
        for j in (0..new.len()).rev() {
            common[i][j] = if old[i] == new[j] {
                common[i + 1][j + 1] + 1
            } else {
                common[i + 1][j].max(common[i][j + 1])
            };
        }
    }
    let (mut i, mut j, mut lines) = (0, 0, Vec::new());
    while i < old.len() || j < new.len() {
        if i < old.len() && j < new.len() && old[i] == new[j] {
            lines.push(Line::Kept(old[i]));
            (i, j) = (i + 1, j + 1);
        } else if i < old.len() && (j == new.len() || common[i + 1][j] >= common[i][j + 1]) {
            lines.push(Line::Removed(old[i]));
            i += 1;
        } else {
            lines.push(Line::Added(new[j]));
            j += 1;
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_texts_have_no_difference() {
        assert_eq!(unified("a\n", "a\n", "x", "y"), "");
        assert_eq!(unified("", "", "x", "y"), "");
    }

    #[test]
    fn a_new_file_is_all_added() {
        assert_eq!(
            unified("", "a\nb\n", "/dev/null", "f"),
            "--- /dev/null\n+++ f\n@@ -0,0 +1,2 @@\n+a\n+b\n"
        );
        assert_eq!(
            unified("a", "", "f", "/dev/null"),
            "--- f\n+++ /dev/null\n@@ -1,1 +0,0 @@\n-a\n\\ No newline at end of file\n"
        );
    }

    #[test]
    fn a_long_text_takes_no_room_of_its_square() {
        let old: String = (0..20_000).map(|n| format!("{n}\n")).collect();
        let new = format!("first\n{}last\n", old.replace("\n5\n", "\nfive\n"));
        let text = unified(&old, &new, "f", "f");
        assert!(
            text.starts_with("--- f\n+++ f\n@@ -1,20000 +1,20002 @@\n-0\n"),
            "{}",
            &text[..60]
        );
        assert_eq!(text.lines().count(), 3 + 20_000 + 20_002);
    }

    #[test]
    fn changes_have_three_lines_around_them_and_meet() {
        let old: String = (1..=20).map(|n| format!("{n}\n")).collect();
        let new = old
            .replace("\n5\n", "\nfive\n")
            .replace("\n9\n", "\n9\nmore\n")
            .replace("20\n", "20");
        let expected = "--- f\n+++ f\n@@ -2,11 +2,12 @@\n 2\n 3\n 4\n-5\n+five\n 6\n 7\n 8\n 9\n+more\n 10\n 11\n 12\n\
                        @@ -17,4 +18,4 @@\n 17\n 18\n 19\n-20\n+20\n\\ No newline at end of file\n";
        assert_eq!(unified(&old, &new, "f", "f"), expected);
    }
}
