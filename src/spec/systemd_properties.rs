//! Annotations `org.systemd.property.NAME`: properties of the scope that systemd makes for a container, as runc and
//! crun read them. The value is a GVariant in text form, as far as scopes have use for it.

use std::collections::BTreeMap;

use serde::Serialize;

use super::annotations::AnnotationError;

/// What these keys begin with; the rest is the property's name.
pub const PREFIX: &str = "org.systemd.property.";

/// What makes the scope the container's: where it is and who is in it. An image that could change these would
/// leave the cgroup, and so the limits, that its engine has chosen; without controllers no limit would hold.
const OURS: [&str; 6] = [
    "Delegate",
    "DelegateControllers",
    "DelegateSubgroup",
    "DisableControllers",
    "PIDs",
    "Slice",
];

const MICROSECONDS: u64 = 1_000_000;

/// One property with its value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SystemdProperty {
    pub name: String,
    pub value: PropertyValue,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PropertyValue {
    Bool(bool),
    Text(String),
    /// Within the range of its kind.
    Number(Kind, i128),
    Texts(Vec<String>),
    Numbers(Kind, Vec<i128>),
}

/// The kind of a number, by GVariant's word for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Byte,
    Int16,
    Uint16,
    Int32,
    Uint32,
    Int64,
    Uint64,
}

/// The kinds with their words and their letters in a D-Bus signature.
const KINDS: [(Kind, &str, char); 7] = [
    (Kind::Byte, "byte", 'y'),
    (Kind::Int16, "int16", 'n'),
    (Kind::Uint16, "uint16", 'q'),
    (Kind::Int32, "int32", 'i'),
    (Kind::Uint32, "uint32", 'u'),
    (Kind::Int64, "int64", 'x'),
    (Kind::Uint64, "uint64", 't'),
];

impl Kind {
    fn holds(self, number: i128) -> bool {
        let range = match self {
            Self::Byte => 0..=u8::MAX.into(),
            Self::Int16 => i16::MIN.into()..=i16::MAX.into(),
            Self::Uint16 => 0..=u16::MAX.into(),
            Self::Int32 => i32::MIN.into()..=i32::MAX.into(),
            Self::Uint32 => 0..=u32::MAX.into(),
            Self::Int64 => i64::MIN.into()..=i64::MAX.into(),
            Self::Uint64 => 0..=u64::MAX.into(),
        };
        range.contains(&number)
    }
}

/// All properties that the annotations ask for, by name.
pub fn parse(annotations: &BTreeMap<String, String>) -> Result<Vec<SystemdProperty>, AnnotationError> {
    annotations
        .iter()
        .filter_map(|(key, value)| Some((key, key.strip_prefix(PREFIX)?, value)))
        .map(|(key, name, value)| {
            property(name, value).map_err(|problem| AnnotationError::Property {
                key: key.clone(),
                value: value.clone(),
                problem,
            })
        })
        .collect()
}

fn property(name: &str, value: &str) -> Result<SystemdProperty, &'static str> {
    if name.len() < 3 || !name.bytes().all(|byte| byte.is_ascii_alphabetic()) {
        return Err("a property's name has three letters or more, and letters only");
    }
    if OURS.contains(&name) {
        return Err("this property is set by wrun");
    }
    // systemd.service(5) and its like write seconds; on the bus there are microseconds only.
    let seconds = name
        .strip_suffix("Sec")
        .filter(|base| base.ends_with(|last: char| last.is_ascii_lowercase()));
    match seconds {
        Some(base) => Ok(SystemdProperty {
            name: format!("{base}USec"),
            value: PropertyValue::Number(Kind::Uint64, microseconds(value)?),
        }),
        None => Ok(SystemdProperty {
            name: name.to_owned(),
            value: Reader::new(value).whole()?,
        }),
    }
}

fn microseconds(value: &str) -> Result<i128, &'static str> {
    const WRONG: &str = "must be a number of seconds";
    if value.contains('.')
        && let Ok(seconds) = value.trim().parse::<f64>()
    {
        // 1e13 seconds are 300,000 years; more does not fit.
        let fits = (0.0..1e13).contains(&seconds);
        return if fits {
            Ok((seconds * MICROSECONDS as f64) as i128)
        } else {
            Err(WRONG)
        };
    }
    let PropertyValue::Number(_, seconds) = Reader::new(value).whole()? else {
        return Err(WRONG);
    };
    let result = seconds * i128::from(MICROSECONDS);
    if Kind::Uint64.holds(result) {
        Ok(result)
    } else {
        Err(WRONG)
    }
}

/// Reads the text form of a GVariant.
struct Reader<'t> {
    rest: &'t str,
}

/// What a value or the type before it asks for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Type {
    Any,
    Number(Kind),
    Text,
    Bool,
}

const UNREADABLE: &str = "is no value in GVariant's text form that wrun knows: true, 'text', 5, uint64 5, ['a', 'b'] \
                          and their like";

impl<'t> Reader<'t> {
    fn new(text: &'t str) -> Self {
        Self { rest: text.trim() }
    }

    fn whole(mut self) -> Result<PropertyValue, &'static str> {
        let value = self.value()?;
        if self.rest.trim().is_empty() {
            Ok(value)
        } else {
            Err(UNREADABLE)
        }
    }

    fn value(&mut self) -> Result<PropertyValue, &'static str> {
        if let Some(signature) = self.rest.strip_prefix('@') {
            let (array, signature) = match signature.strip_prefix('a') {
                Some(rest) => (true, rest),
                None => (false, signature),
            };
            let letter = signature.chars().next().ok_or(UNREADABLE)?;
            let element = of_letter(letter).ok_or(UNREADABLE)?;
            self.rest = signature[letter.len_utf8()..].trim_start();
            return if array {
                self.array(element)
            } else {
                self.one(element)
            };
        }
        if self.rest.starts_with('[') {
            return self.array(Type::Any);
        }
        self.one(Type::Any)
    }

    fn array(&mut self, element: Type) -> Result<PropertyValue, &'static str> {
        self.rest = self.rest.strip_prefix('[').ok_or(UNREADABLE)?.trim_start();
        let mut wanted = element;
        let mut values = Vec::new();
        while !self.rest.starts_with(']') {
            let value = self.one(wanted)?;
            // All are of the first one's type, which may be written before that one only.
            wanted = match &value {
                PropertyValue::Number(kind, _) => Type::Number(*kind),
                _ => Type::Text,
            };
            values.push(value);
            self.rest = self.rest.trim_start();
            match self.rest.strip_prefix(',') {
                Some(rest) => self.rest = rest.trim_start(),
                None if self.rest.starts_with(']') => {}
                None => return Err(UNREADABLE),
            }
        }
        self.rest = &self.rest[1..];
        collect(values, wanted)
    }

    fn one(&mut self, wanted: Type) -> Result<PropertyValue, &'static str> {
        if self.rest.starts_with(['\'', '"']) {
            return match wanted {
                Type::Any | Type::Text => self.text().map(PropertyValue::Text),
                _ => Err(UNREADABLE),
            };
        }
        let word = self.word();
        let value = match (word, wanted) {
            ("true", Type::Any | Type::Bool) => PropertyValue::Bool(true),
            ("false", Type::Any | Type::Bool) => PropertyValue::Bool(false),
            (word, Type::Any | Type::Number(_)) => {
                let named = KINDS.iter().find(|(_, name, _)| *name == word);
                let (kind, digits) = match (named, wanted) {
                    (Some((kind, ..)), Type::Number(wanted)) if *kind != wanted => return Err(UNREADABLE),
                    (Some((kind, ..)), _) => (*kind, self.word()),
                    (None, Type::Number(kind)) => (kind, word),
                    (None, _) => (Kind::Int32, word),
                };
                let number = number(digits).ok_or(UNREADABLE)?;
                if !kind.holds(number) {
                    return Err("is out of its type's range");
                }
                PropertyValue::Number(kind, number)
            }
            _ => return Err(UNREADABLE),
        };
        Ok(value)
    }

    /// The next word, and the blanks after it.
    fn word(&mut self) -> &'t str {
        let end = self
            .rest
            .find(|c: char| !c.is_ascii_alphanumeric() && c != '-' && c != '+')
            .unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest.trim_start();
        word
    }

    fn text(&mut self) -> Result<String, &'static str> {
        let mut characters = self.rest.char_indices();
        let quote = characters.next().map(|(_, quote)| quote);
        let mut text = String::new();
        while let Some((at, character)) = characters.next() {
            match character {
                character if Some(character) == quote => {
                    self.rest = &self.rest[at + character.len_utf8()..];
                    return Ok(text);
                }
                '\\' => text.push(match characters.next().map(|(_, escaped)| escaped) {
                    Some('n') => '\n',
                    Some('t') => '\t',
                    Some('r') => '\r',
                    Some(escaped) if !escaped.is_ascii_alphanumeric() => escaped,
                    _ => return Err("has an escape in its text that wrun does not know"),
                }),
                character => text.push(character),
            }
        }
        Err("has a text without an end")
    }
}

fn collect(values: Vec<PropertyValue>, element: Type) -> Result<PropertyValue, &'static str> {
    let mut texts = Vec::new();
    let mut numbers = Vec::new();
    for value in values {
        match value {
            PropertyValue::Text(text) => texts.push(text),
            PropertyValue::Number(_, number) => numbers.push(number),
            _ => return Err(UNREADABLE),
        }
    }
    match element {
        Type::Number(kind) => Ok(PropertyValue::Numbers(kind, numbers)),
        Type::Text => Ok(PropertyValue::Texts(texts)),
        // An empty list has no type.
        Type::Any | Type::Bool => Err(UNREADABLE),
    }
}

fn of_letter(letter: char) -> Option<Type> {
    match letter {
        's' => Some(Type::Text),
        'b' => Some(Type::Bool),
        letter => KINDS
            .iter()
            .find(|(_, _, own)| *own == letter)
            .map(|(kind, ..)| Type::Number(*kind)),
    }
}

/// Decimal, or as in C with 0x or 0 before it.
fn number(text: &str) -> Option<i128> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    if !digits.starts_with(|first: char| first.is_ascii_digit()) {
        return None;
    }
    let value = if let Some(hexadecimal) = digits.strip_prefix("0x") {
        i128::from_str_radix(hexadecimal, 16)
    } else if let Some(octal) = digits.strip_prefix('0').filter(|rest| !rest.is_empty()) {
        i128::from_str_radix(octal, 8)
    } else {
        digits.parse()
    };
    value.ok().map(|value| sign * value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(name: &str, value: &str) -> Result<SystemdProperty, AnnotationError> {
        let annotations = BTreeMap::from([
            (format!("{PREFIX}{name}"), value.to_owned()),
            ("some.other".to_owned(), "x".to_owned()),
        ]);
        parse(&annotations).map(|mut all| all.remove(0))
    }

    fn value(text: &str) -> Option<PropertyValue> {
        one("Some", text).ok().map(|property| property.value)
    }

    #[test]
    fn seconds_become_microseconds() {
        for text in [
            "234",
            "byte 234",
            "int16 234",
            "uint16 234",
            "int32 234",
            "uint32 234",
            "int64 234",
            "uint64 234",
            "234.0",
        ] {
            let property = one("TimeoutStopSec", text).unwrap();
            assert_eq!(property.name, "TimeoutStopUSec", "{text}");
            assert_eq!(
                property.value,
                PropertyValue::Number(Kind::Uint64, 234_000_000),
                "{text}"
            );
        }
        let property = one("TimeoutStopSec", "234.789").unwrap();
        assert_eq!(property.value, PropertyValue::Number(Kind::Uint64, 234_789_000));
        for (name, text) in [
            ("TimeoutStopUSec", "uint64 123456789"),
            ("FOOSec", "123"),
            ("Sec", "123"),
        ] {
            assert_eq!(one(name, text).unwrap().name, name);
        }
        for wrong in [
            "false",
            "'covfefe'",
            "-1",
            "-1.5",
            "uint64 18446744073709551615",
            "",
        ] {
            assert!(one("TimeoutStopSec", wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn values_have_types() {
        use PropertyValue::{Bool, Number, Numbers, Text, Texts};
        for (text, expected) in [
            ("true", Bool(true)),
            ("@b false", Bool(false)),
            ("5", Number(Kind::Int32, 5)),
            (" -0x10 ", Number(Kind::Int32, -16)),
            ("uint64 010", Number(Kind::Uint64, 8)),
            ("@t 7", Number(Kind::Uint64, 7)),
            ("'inactive-or-failed'", Text("inactive-or-failed".into())),
            (r#""a 'b' \"c\" \n""#, Text("a 'b' \"c\" \n".into())),
            ("['a', 'b']", Texts(vec!["a".into(), "b".into()])),
            ("@as []", Texts(vec![])),
            ("[1, 2,]", Numbers(Kind::Int32, vec![1, 2])),
            ("[byte 1, 2]", Numbers(Kind::Byte, vec![1, 2])),
            ("@ay [0x03]", Numbers(Kind::Byte, vec![3])),
        ] {
            assert_eq!(value(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_value_is_refused() {
        for wrong in [
            "",
            "invalid-value",
            "'open",
            "'a' 'b'",
            "[]",
            "[1, 'a']",
            "[1",
            "['a' 'b']",
            "[true]",
            "byte 256",
            "int32",
            "@z 1",
            "@",
            "@s 1",
            "1.5",
            "[byte 1, int32 2]",
            r"'\x'",
            "99999999999999999999999999999999999999999999",
        ] {
            assert_eq!(value(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn names_are_letters_and_not_ours() {
        for wrong in ["Xo", "Number1", "A name", ""].iter().chain(&OURS) {
            let error = one(wrong, "1").unwrap_err().to_string();
            assert!(error.contains(&format!("{PREFIX}{wrong}")), "{error}");
        }
    }
}
