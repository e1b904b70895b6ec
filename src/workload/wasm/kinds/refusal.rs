//! Why a guest is not run, in the words that whoever wrote it needs: what is wrong, and what would help.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::shape::{Export, Item, Shape, Signature, plain, printable};

/// Most names that an error lists: the rest is counted.
const MAX_LISTED: usize = 40;

/// Why a guest cannot be run: said by the compiler's process, before the container starts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "kebab-case")]
pub enum Refusal {
    #[error("not a valid Wasm binary: {reason}")]
    Invalid { reason: String },
    #[error("not valid Wasm text: {reason}")]
    Text { reason: String },
    /// Valid only with proposals that our engine has switched off.
    #[error("uses what wrun has switched off: {}", list.join("; "))]
    Proposals { list: Vec<String> },
    #[error("imports that nothing here provides: {missing}")]
    Imports { missing: MissingImports },
    #[error("cannot be linked: {reason}")]
    Link { reason: String },
    #[error("exports nothing to run ({wanted}); it exports {exports}")]
    NothingToRun { wanted: String, exports: Listing },
    #[error("has no function `{name}` to call; it exports {exports}")]
    NoSuchExport { name: String, exports: Listing },
    #[error(
        "its function `{name}` takes parameters, which nothing here gives it: `{signature}`; \
         only a function without parameters can be called by its name"
    )]
    Parameters { name: String, signature: String },
    /// Of a feature that this build was made without.
    #[error("this wrun was built without the feature `{world}`, which runs it")]
    World { world: String },
    #[error("the engine failed: {reason}")]
    Engine { reason: String },
}

/// Most characters of what the engine says about a binary, and of a function's type: both repeat names of the
/// guest's.
const MAX_REASON: usize = 1000;
const MAX_SIGNATURE: usize = 400;

/// Most lines of what is said about a text: it repeats a line of that.
const MAX_LINES: usize = 12;

impl Refusal {
    /// Of a binary that is not valid, for the reason that its reader gives.
    pub fn invalid(reason: impl fmt::Display) -> Self {
        let reason = reason.to_string().replace('\n', ", ");
        Self::Invalid {
            reason: plain(&reason, MAX_REASON),
        }
    }

    /// Of text that is not valid, for the reason that its reader gives.
    pub fn text(reason: impl fmt::Display) -> Self {
        let reason = reason.to_string();
        let lines = reason.lines().take(MAX_LINES);
        let lines: Vec<String> = lines.map(|line| plain(line, MAX_REASON)).collect();
        Self::Text {
            reason: lines.join("\n"),
        }
    }

    /// Of a function that cannot be called by its name.
    pub fn parameters(name: &str, signature: &Signature) -> Self {
        Self::Parameters {
            name: printable(name),
            signature: typed(name, signature),
        }
    }
}

/// A function with its type.
fn typed(name: &str, signature: &Signature) -> String {
    plain(&signature.with_name(&printable(name)), MAX_SIGNATURE)
}

/// Names with their types, sorted, and how many more there are.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listing {
    pub shown: Vec<String>,
    pub more: usize,
}

impl Listing {
    /// All that a guest exports; functions first, since they are what could be called.
    pub fn exports(shape: &Shape) -> Self {
        let mut functions: Vec<String> = shape.functions().map(|(name, it)| function(&name, it)).collect();
        functions.sort();
        let mut others: Vec<String> = shape.exports.iter().filter_map(other).collect();
        others.sort();
        functions.append(&mut others);
        let more = functions.len().saturating_sub(MAX_LISTED);
        functions.truncate(MAX_LISTED);
        Self {
            shown: functions,
            more,
        }
    }
}

fn function(name: &str, signature: &Signature) -> String {
    format!("`{}`", typed(name, signature))
}

/// What is no function and has none.
fn other(export: &Export) -> Option<String> {
    let name = printable(&export.name);
    match &export.item {
        Item::Function(_) => None,
        Item::Instance(exports) if exports.iter().any(|it| matches!(it.item, Item::Function(_))) => None,
        Item::Instance(_) => Some(format!("`{name}` (an interface without functions)")),
        Item::Other(what) => Some(format!("`{name}` ({what})")),
    }
}

impl fmt::Display for Listing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.shown.is_empty() {
            return f.write_str("nothing at all");
        }
        f.write_str(&self.shown.join(", "))?;
        more(f, self.more)
    }
}

fn more(f: &mut fmt::Formatter<'_>, count: usize) -> fmt::Result {
    match count {
        0 => Ok(()),
        count => write!(f, " and {count} more"),
    }
}

/// One import that nothing provides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missing {
    /// `module.name` of a core module, the interface of a component.
    pub name: String,
    /// What it belongs to, where that is known.
    pub note: Option<String>,
}

/// Those of a guest, in its order, and how many more there are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MissingImports {
    pub shown: Vec<Missing>,
    pub more: usize,
}

impl FromIterator<Missing> for MissingImports {
    fn from_iter<I: IntoIterator<Item = Missing>>(missing: I) -> Self {
        let mut missing = missing.into_iter();
        let shown = missing.by_ref().take(MAX_LISTED).collect();
        Self {
            shown,
            more: missing.count(),
        }
    }
}

/// Those of one origin together, so that it is said once.
impl fmt::Display for MissingImports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut groups: Vec<(Option<&str>, Vec<String>)> = Vec::new();
        for Missing { name, note } in &self.shown {
            let (note, name) = (note.as_deref(), format!("`{name}`"));
            match groups.iter_mut().find(|(known, _)| *known == note) {
                Some((_, names)) => names.push(name),
                None => groups.push((note, vec![name])),
            }
        }
        let groups: Vec<String> = groups
            .into_iter()
            .map(|(note, names)| match note {
                Some(note) => format!("{} ({note})", names.join(", ")),
                None => names.join(", "),
            })
            .collect();
        f.write_str(&groups.join("; "))?;
        more(f, self.more)
    }
}

#[cfg(test)]
mod tests {
    use super::super::read::read;
    use super::*;

    fn listing(text: &str) -> String {
        let shape = read(&wat::parse_str(text).expect("text")).expect("a shape");
        Listing::exports(&shape).to_string()
    }

    #[test]
    fn exports_are_listed_with_their_types() {
        assert_eq!(listing("(module)"), "nothing at all");
        let module = r#"(module (memory (export "a-memory") 1) (func (export "z"))
            (func (export "add") (param i32 i32) (result i32) (i32.const 0)))"#;
        assert_eq!(
            listing(module),
            "`add(i32, i32) -> i32`, `z()`, `a-memory` (memory of 1 and more pages)"
        );
        let component = r#"(component
            (core module $m (func (export "f") (param i32) (result i32) (local.get 0)))
            (core instance $i (instantiate $m))
            (func $f (param "x" u32) (result u32) (canon lift (core func $i "f")))
            (instance $ops (export "twice" (func $f)))
            (export "x:y/ops@1.0.0" (instance $ops)) (export "alone" (func $f)))"#;
        assert_eq!(
            listing(component),
            "`alone(x: u32) -> u32`, `x:y/ops@1.0.0#twice(x: u32) -> u32`"
        );
    }

    #[test]
    fn text_cannot_steer_a_terminal() {
        let error = wat::parse_str("(module\n(func \x1b[31m))").expect_err("no text");
        let refusal = Refusal::text(error).to_string();
        assert!(
            !refusal.contains('\x1b') && refusal.contains("\n    2 | (func \\u{1b}[31m))"),
            "{refusal}"
        );
        let long = Refusal::text("x\n".repeat(10_000) + &"y".repeat(10_000)).to_string();
        assert!(long.len() < 100, "{long}");
    }

    #[test]
    fn long_lists_are_cut() {
        let functions: String = (0..100).map(|n| format!("(func (export \"f{n}\"))")).collect();
        let text = listing(&format!("(module {functions})"));
        assert!(text.ends_with(" and 60 more"), "{text}");
        let missing: MissingImports = (0..1000)
            .map(|n| Missing {
                name: format!("env.{n}"),
                note: None,
            })
            .collect();
        assert!(
            missing.to_string().ends_with("`env.39` and 960 more"),
            "{missing}"
        );
    }

    #[test]
    fn an_origin_is_said_once() {
        let missing = |name: &str, note: Option<&str>| Missing {
            name: name.to_owned(),
            note: note.map(str::to_owned),
        };
        let all: MissingImports = [
            missing("a.f", Some("A")),
            missing("b.f", None),
            missing("a.g", Some("A")),
        ]
        .into_iter()
        .collect();
        assert_eq!(all.to_string(), "`a.f`, `a.g` (A); `b.f`");
    }
}
