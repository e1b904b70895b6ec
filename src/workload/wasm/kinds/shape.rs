//! A guest's shape: what it imports and exports, as plain data. All that decides how a guest is run, made by
//! [`super::read`] from its bytes, without compiling anything.

use std::fmt;

use crate::reason::is_plain;

/// Most characters of a name or a type that are shown: both are the guest's to choose.
const MAX_SHOWN: usize = 160;

/// The two layers of the binary format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layer {
    Module,
    Component,
}

/// What a guest imports and exports, in the order of its binary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shape {
    pub layer: Layer,
    pub imports: Vec<Import>,
    pub exports: Vec<Export>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Import {
    /// Of a core module's import, whose name has two parts; a component's has one.
    pub module: Option<String>,
    pub name: String,
    pub item: Item,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Export {
    pub name: String,
    pub item: Item,
}

/// What is imported or exported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    Function(Signature),
    /// An interface of a component. What is in an instance within it is not told.
    Instance(Vec<Export>),
    /// Of no use to us but to be named: "memory 1..2", "resource".
    Other(String),
}

/// The type of a function, its types as text.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Signature {
    pub asynchronous: bool,
    /// A component's parameters have names.
    pub params: Vec<(Option<String>, String)>,
    pub results: Vec<String>,
}

impl Shape {
    /// The item that is exported under exactly this name.
    pub fn export(&self, name: &str) -> Option<&Item> {
        let found = self.exports.iter().find(|export| export.name == name);
        found.map(|export| &export.item)
    }

    /// Whether a function of this name that takes no parameters is exported.
    pub fn calls(&self, name: &str) -> bool {
        matches!(self.export(name), Some(Item::Function(signature)) if signature.params.is_empty())
    }

    /// Each function that is exported, those of an interface as `interface#function`.
    pub fn functions(&self) -> impl Iterator<Item = (String, &Signature)> {
        self.exports.iter().flat_map(|export| match &export.item {
            Item::Function(signature) => vec![(export.name.clone(), signature)],
            Item::Instance(exports) => within(&export.name, exports),
            Item::Other(_) => Vec::new(),
        })
    }
}

fn within<'a>(instance: &str, exports: &'a [Export]) -> Vec<(String, &'a Signature)> {
    let functions = exports.iter().filter_map(|export| match &export.item {
        Item::Function(signature) => Some((format!("{instance}#{}", export.name), signature)),
        Item::Instance(_) | Item::Other(_) => None,
    });
    functions.collect()
}

impl fmt::Display for Import {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.module {
            Some(module) => write!(f, "{}.{}", printable(module), printable(&self.name)),
            None => f.write_str(&printable(&self.name)),
        }
    }
}

impl Signature {
    /// As a function of that name has it: `async name(a: u32) -> string`.
    pub fn with_name(&self, name: &str) -> String {
        let params: Vec<String> = self.params.iter().map(param).collect();
        let asynchronous = if self.asynchronous { "async " } else { "" };
        let results = match self.results.as_slice() {
            [] => String::new(),
            [one] => format!(" -> {one}"),
            several => format!(" -> ({})", several.join(", ")),
        };
        format!("{asynchronous}{name}({}){results}", params.join(", "))
    }
}

fn param((name, ty): &(Option<String>, String)) -> String {
    match name {
        Some(name) => format!("{}: {ty}", printable(name)),
        None => ty.clone(),
    }
}

/// A text of the guest's as it can be shown: without control characters, which could steer a terminal, and cut
/// where it is long.
pub fn printable(text: &str) -> String {
    plain(text, MAX_SHOWN)
}

/// The same, cut after about `most` characters.
pub fn plain(text: &str, most: usize) -> String {
    let mut shown = String::new();
    let mut count = 0;
    for character in text.chars() {
        if count >= most {
            shown.push('…');
            break;
        }
        if is_plain(character) {
            shown.push(character);
            count += 1;
        } else {
            let escaped = character.escape_unicode();
            count += escaped.len();
            shown.extend(escaped);
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_read_like_wit() {
        let signature = |params: &[(Option<&str>, &str)], results: &[&str], asynchronous| {
            let params = params
                .iter()
                .map(|(name, ty)| (name.map(str::to_owned), (*ty).to_owned()));
            Signature {
                asynchronous,
                params: params.collect(),
                results: results.iter().map(|ty| (*ty).to_owned()).collect(),
            }
            .with_name("f")
        };
        assert_eq!(signature(&[], &[], false), "f()");
        assert_eq!(
            signature(&[(None, "i32"), (None, "i64")], &["f32"], false),
            "f(i32, i64) -> f32"
        );
        assert_eq!(
            signature(&[(None, "i32")], &["i32", "i32"], false),
            "f(i32) -> (i32, i32)"
        );
        assert_eq!(
            signature(&[(Some("a"), "u32")], &["string"], true),
            "async f(a: u32) -> string"
        );
    }

    #[test]
    fn what_is_shown_of_a_name_is_bounded() {
        let shown = printable(&"\x1b".repeat(100_000));
        assert!(shown.chars().count() < MAX_SHOWN + 10, "{shown}");
        assert_eq!(plain("four", 4), "four");
        assert_eq!(plain("fives", 4), "five…");
    }

    #[test]
    fn names_cannot_steer_a_terminal() {
        assert_eq!(printable("plain-name_1"), "plain-name_1");
        assert_eq!(printable("\x1b[31mred\n"), "\\u{1b}[31mred\\u{a}");
        assert_eq!(printable("a\u{202e}b"), "a\\u{202e}b");
        let long = printable(&"x".repeat(5000));
        assert!(
            long.chars().count() == MAX_SHOWN + 1 && long.ends_with('…'),
            "{long}"
        );
    }
}
