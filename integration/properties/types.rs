//! What the oci-spec crate calls a property: its sources are read, since a type cannot be asked for its fields. That
//! nothing was missed is proven by the crate itself, which must take a config.json with every property and find
//! nothing empty in it. Reading only: what is tested is not known here.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Map, Value, json};

/// A property of config.json that holds no other one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Property {
    /// From the top, with dots between: `process.user.uid`. Lists and maps are passed over.
    pub path: String,
    /// All that it can be, where that is a closed set.
    pub values: Vec<String>,
}

/// The types by name.
#[derive(Debug, Default)]
pub struct Types {
    structs: BTreeMap<String, Vec<Field>>,
    enums: BTreeMap<String, Vec<String>>,
    aliases: BTreeMap<String, String>,
}

#[derive(Debug)]
struct Field {
    /// As in config.json.
    name: String,
    /// The Rust type.
    kind: String,
}

impl Types {
    /// Reads the sources of the version that this package is built with.
    pub fn of_the_crate() -> Self {
        let mut types = Self::default();
        for entry in std::fs::read_dir(sources().join("runtime")).expect("the sources of oci-spec") {
            let path = entry.expect("a file of oci-spec").path();
            if path.extension().is_none_or(|kind| kind != "rs") {
                continue;
            }
            types.read(&std::fs::read_to_string(&path).expect("a source of oci-spec"));
        }
        types
    }

    /// Every property, in the order of the types.
    pub fn properties(&self) -> Vec<Property> {
        let mut all = Vec::new();
        self.collect("Spec", "", &mut all);
        all
    }

    fn collect(&self, name: &str, above: &str, all: &mut Vec<Property>) {
        for field in &self.structs[name] {
            let path = format!("{above}{}", field.name);
            let inner = self.innermost(&field.kind);
            if self.structs.contains_key(inner) {
                self.collect(inner, &format!("{path}."), all);
            } else {
                let values = self.enums.get(inner).cloned().unwrap_or_default();
                all.push(Property { path, values });
            }
        }
    }

    /// The type in all of the options, lists and maps.
    fn innermost<'a>(&'a self, kind: &'a str) -> &'a str {
        match wrapped(kind) {
            Some((_, inner)) => self.innermost(inner),
            None => match self.aliases.get(kind) {
                Some(kind) => self.innermost(kind),
                None => kind,
            },
        }
    }

    /// A config.json with every property; of each closed set the value number `choice`, counted around.
    pub fn document(&self, choice: usize) -> Value {
        self.value("Spec", choice)
    }

    fn value(&self, kind: &str, choice: usize) -> Value {
        if let Some((wrapper, inner)) = wrapped(kind) {
            let inner = self.value(inner, choice);
            return match wrapper {
                "Option" => inner,
                "HashMap" => json!({ "key": inner }),
                _ => json!([inner]),
            };
        }
        if let Some(kind) = self.aliases.get(kind) {
            return self.value(kind, choice);
        }
        if let Some(fields) = self.structs.get(kind) {
            let members = fields
                .iter()
                .map(|field| (field.name.clone(), self.value(&field.kind, choice)));
            return Value::Object(members.collect::<Map<_, _>>());
        }
        if let Some(values) = self.enums.get(kind) {
            return json!(values[choice % values.len()]);
        }
        match kind {
            // Also a list of CPUs.
            "String" | "PathBuf" => json!("1"),
            "bool" => json!(true),
            "Value" => json!({ "any": 1 }),
            _ if kind.starts_with(['u', 'i']) => json!(1),
            _ => panic!("the type {kind} of oci-spec is not understood"),
        }
    }

    /// Takes the types out of a source.
    fn read(&mut self, text: &str) {
        let mut scanner = Scanner { rest: text };
        let mut attributes = Vec::new();
        while let Some(token) = scanner.token() {
            match token {
                "#" if scanner.peek() == Some('[') => {
                    attributes.push(scanner.bracketed());
                    continue;
                }
                "pub" => continue,
                // Unit tests end a file.
                "mod" if attributes.contains(&"cfg(test)") => return,
                "struct" | "enum" => {
                    let name = scanner.token().unwrap_or_default().to_owned();
                    if scanner.peek() == Some('{') {
                        let body = scanner.bracketed();
                        if token == "struct" {
                            self.structs.insert(name, fields(body, &attributes));
                        } else {
                            self.enums.insert(name, variants(body, &attributes));
                        }
                    }
                }
                "type" => {
                    let name = scanner.token().unwrap_or_default().to_owned();
                    if scanner.token() == Some("=") {
                        self.aliases.insert(name, scanner.until(';'));
                    }
                }
                _ => {}
            }
            attributes.clear();
        }
    }
}

/// The directory `src` of oci-spec, wherever cargo has it: a registry's cache or a vendored copy.
fn sources() -> PathBuf {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let output = Command::new(cargo)
        .args(["metadata", "--offline", "--locked", "--format-version", "1"])
        .args(["--filter-platform", "x86_64-unknown-linux-gnu"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo starts");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cargo metadata: {text}");
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo writes JSON");
    let packages = metadata["packages"].as_array().expect("packages");
    let mut manifests = packages.iter().filter(|package| package["name"] == "oci-spec");
    let manifest = manifests.next().expect("oci-spec is a dependency")["manifest_path"].as_str();
    assert!(manifests.next().is_none(), "there is one version of oci-spec");
    let manifest = Path::new(manifest.expect("a path"));
    manifest.parent().expect("it is in a directory").join("src")
}

/// A wrapper and what is in it: `Vec<T>` holds T, `HashMap<String, T>` too.
fn wrapped(kind: &str) -> Option<(&str, &str)> {
    let (wrapper, inner) = kind.split_once('<')?;
    let inner = inner.strip_suffix('>')?;
    Some((wrapper, inner.strip_prefix("String,").unwrap_or(inner)))
}

/// The value of `key` in the attributes `serde(…)`.
fn serde_key(attributes: &[&str], key: &str) -> Option<String> {
    let inner = attributes
        .iter()
        .filter_map(|attribute| attribute.strip_prefix("serde("));
    let mut pairs = inner.flat_map(|text| text.trim_end_matches(')').split(','));
    pairs.find_map(|pair| {
        assert_ne!(pair.trim(), "flatten", "a flattened field is not understood");
        let value = pair.trim().strip_prefix(key)?.trim_start().strip_prefix('=')?;
        Some(value.trim().trim_matches('"').to_owned())
    })
}

fn fields(body: &str, of_the_struct: &[&str]) -> Vec<Field> {
    let rule = serde_key(of_the_struct, "rename_all");
    let mut scanner = Scanner { rest: body };
    let (mut fields, mut attributes) = (Vec::new(), Vec::new());
    while let Some(token) = scanner.token() {
        match token {
            "#" => attributes.push(scanner.bracketed()),
            "pub" | "," => {}
            name => {
                assert_eq!(scanner.token(), Some(":"), "{name} has a type");
                let kind = scanner.until(',');
                // Of `serde_json::Value` the last part is enough.
                let kind = kind.replace("serde_json::", "");
                let name = serde_key(&attributes, "rename").unwrap_or_else(|| match rule.as_deref() {
                    None => name.to_owned(),
                    Some("camelCase") => camel_case(name),
                    Some(rule) => panic!("{rule} for fields is not understood"),
                });
                fields.push(Field { name, kind });
                attributes.clear();
            }
        }
    }
    fields
}

fn variants(body: &str, of_the_enum: &[&str]) -> Vec<String> {
    let rule = serde_key(of_the_enum, "rename_all");
    let mut scanner = Scanner { rest: body };
    let (mut names, mut attributes) = (Vec::new(), Vec::new());
    while let Some(token) = scanner.token() {
        match token {
            "#" => attributes.push(scanner.bracketed()),
            "," => {}
            name => {
                let name = serde_key(&attributes, "rename").unwrap_or_else(|| match rule.as_deref() {
                    None => name.to_owned(),
                    Some("lowercase") => name.to_lowercase(),
                    Some("snake_case") => snake_case(name),
                    Some("SCREAMING_SNAKE_CASE") => snake_case(name).to_uppercase(),
                    Some(rule) => panic!("{rule} for variants is not understood"),
                });
                names.push(name);
                scanner.until(',');
                attributes.clear();
            }
        }
    }
    names
}

fn camel_case(name: &str) -> String {
    let mut parts = name.split('_');
    let mut camel = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (first, rest) = part.split_at(part.len().min(1));
        camel += &first.to_uppercase();
        camel += rest;
    }
    camel
}

/// As serde does it, with a line before each capital letter.
fn snake_case(name: &str) -> String {
    let mut snake = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.extend(letter.to_lowercase());
    }
    snake
}

/// Rust's text, as far as definitions of types need it.
struct Scanner<'a> {
    rest: &'a str,
}

impl<'a> Scanner<'a> {
    fn skip_blanks(&mut self) {
        loop {
            self.rest = self.rest.trim_start();
            if !self.rest.starts_with("//") {
                return;
            }
            self.rest = self.rest.split_once('\n').map_or("", |(_, rest)| rest);
        }
    }

    fn peek(&mut self) -> Option<char> {
        self.skip_blanks();
        self.rest.chars().next()
    }

    /// A word or a sign.
    fn token(&mut self) -> Option<&'a str> {
        let first = self.peek()?;
        let word = |letter: char| letter.is_alphanumeric() || letter == '_';
        let end = match word(first) {
            true => self.rest.find(|letter| !word(letter)).unwrap_or(self.rest.len()),
            false => first.len_utf8(),
        };
        let (token, rest) = self.rest.split_at(end);
        self.rest = rest;
        Some(token)
    }

    /// What is between the bracket that comes next and its partner.
    fn bracketed(&mut self) -> &'a str {
        self.skip_blanks();
        let end = self.end_of(|depth, _| depth == 0);
        let inner = &self.rest[1..end];
        self.rest = &self.rest[end + 1..];
        inner
    }

    /// What comes before `stop` or the end, without blanks.
    fn until(&mut self, stop: char) -> String {
        let end = self.end_of(|depth, letter| depth == 0 && letter == stop);
        let (text, rest) = self.rest.split_at(end);
        self.rest = rest;
        text.split_whitespace().collect()
    }

    /// Where `is_end` holds first, given the number of open brackets after each letter that is neither in a string
    /// nor in a comment.
    fn end_of(&self, is_end: impl Fn(usize, char) -> bool) -> usize {
        let (mut depth, mut string, mut comment, mut before) = (0_usize, false, false, ' ');
        for (at, letter) in self.rest.char_indices() {
            match letter {
                '\n' => comment = false,
                _ if comment => {}
                '"' if before != '\\' => string = !string,
                _ if string => {}
                '/' if before == '/' => comment = true,
                '(' | '[' | '{' | '<' => depth += 1,
                ')' | ']' | '}' => depth = depth.saturating_sub(1),
                '>' if before != '-' => depth = depth.saturating_sub(1),
                _ => {}
            }
            if !string && !comment && is_end(depth, letter) {
                return at;
            }
            before = letter;
        }
        self.rest.len()
    }
}
