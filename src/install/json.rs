//! Edits of JSON text that leave everything else as it was: order, blanks, numbers, keys that we do not know. Must
//! not know what the keys mean.
//!
//! The text is first read by serde_json, which tells line and column of what is wrong; what follows may then rely on
//! its being JSON.

use std::ops::Range;

use serde_json::Value;

/// One member of an object, by its place in the text.
struct Member {
    key: String,
    /// From the quote that opens the key to the end of the value.
    whole: Range<usize>,
    value: Range<usize>,
}

/// An object, by the places of its braces.
struct Object {
    open: usize,
    close: usize,
    members: Vec<Member>,
}

impl Object {
    /// The member that counts, which is the last of several with one name.
    fn member(&self, key: &str) -> Option<(usize, &Member)> {
        let mut members = self.members.iter().enumerate();
        members.rfind(|(_, member)| member.key == key)
    }
}

/// The value of the text, which is an object.
///
/// # Errors
/// What is no JSON object, with line and column where there is one.
pub(super) fn parse(text: &str) -> Result<Value, String> {
    match serde_json::from_str(text) {
        Ok(value @ Value::Object(_)) => Ok(value),
        Ok(_) => Err("line 1: not a JSON object".to_owned()),
        Err(error) => Err(format!("line {}: {error}", error.line())),
    }
}

/// Sets what is at `path`, keys from the outermost on, to the JSON `value`, and makes the objects on the way.
///
/// # Errors
/// Where something on the way is there and no object, which is told by its path.
pub(super) fn set(text: &str, path: &[&str], value: &Value) -> Result<String, String> {
    let mut object = object(text, start_of_value(text, 0));
    for (depth, key) in path.iter().enumerate() {
        let last = depth + 1 == path.len();
        match object.member(key) {
            Some((_, member)) if last => return Ok(replace(text, member.value.clone(), &value.to_string())),
            Some((_, member)) if text[member.value.clone()].starts_with('{') => {
                object = self::object(text, member.value.start);
            }
            // As with Go's maps, nothing is what null says.
            Some((_, member)) if &text[member.value.clone()] == "null" => {
                return set(&replace(text, member.value.clone(), "{}"), path, value);
            }
            Some(_) => return Err(format!("{} is not an object", path[..=depth].join("."))),
            None => return Ok(insert(text, &object, depth, &path[depth..], value)),
        }
    }
    Ok(text.to_owned())
}

/// Takes what is at `path` away, and the objects on the way that become empty by it, but for the outermost. Of members
/// with one name all are looked into: Go's maps take something from each.
pub(super) fn remove(text: &str, path: &[&str]) -> String {
    let mut text = text.to_owned();
    while let Some(doomed) = doomed(&text, start_of_value(&text, 0), path) {
        text = replace(&text, doomed, "");
    }
    text
}

/// The place of what is at `path` below the object at `open`, or of the outermost member that has nothing else.
fn doomed(text: &str, open: usize, path: &[&str]) -> Option<Range<usize>> {
    let (key, rest) = path.split_first()?;
    let object = object(text, open);
    let members = object.members.iter().enumerate().rev();
    members
        .filter(|(_, member)| member.key == *key)
        .find_map(|(index, member)| {
            let whole = with_comma(&object, index);
            if rest.is_empty() {
                return Some(whole);
            }
            if !text[member.value.clone()].starts_with('{') {
                return None;
            }
            let below = doomed(text, member.value.start, rest)?;
            Some(if only(text, member.value.start, rest) {
                whole
            } else {
                below
            })
        })
}

/// Whether nothing but what is at `path` is in the object at `open`.
fn only(text: &str, open: usize, path: &[&str]) -> bool {
    let object = object(text, open);
    match (&object.members[..], path) {
        ([member], [key]) => member.key == *key,
        ([member], [key, rest @ ..]) => member.key == *key && only(text, member.value.start, rest),
        _ => false,
    }
}

/// A member's place with the comma that would be one too many without it.
fn with_comma(object: &Object, index: usize) -> Range<usize> {
    let members = &object.members;
    match index.checked_sub(1) {
        Some(before) => members[before].whole.end..members[index].whole.end,
        None if members.len() > 1 => members[0].whole.start..members[1].whole.start,
        None => object.open + 1..object.close,
    }
}

fn replace(text: &str, range: Range<usize>, with: &str) -> String {
    [&text[..range.start], with, &text[range.end..]].concat()
}

/// A new member at the end of `object`, which is `depth` objects deep: `keys` and in the innermost of them `value`. It
/// is written as the members before it are, in lines of their own or in one line.
fn insert(text: &str, object: &Object, depth: usize, keys: &[&str], value: &Value) -> String {
    let newline = if text.contains("\r\n") { "\r\n" } else { "\n" };
    let unit = unit(text);
    let before = object
        .members
        .first()
        .map(|first| &text[object.open + 1..first.whole.start]);
    let lines = before.is_none_or(|blanks| blanks.contains('\n'));
    let indent = |depth: usize| {
        if lines {
            format!("{newline}{}", unit.repeat(depth))
        } else {
            String::new()
        }
    };
    let mut member = String::new();
    for (more, key) in keys.iter().enumerate() {
        let key = Value::from(*key);
        member.push_str(&format!("{key}: "));
        if more + 1 < keys.len() {
            member.push_str(&format!("{{{}", indent(depth + 2 + more)));
        }
    }
    member.push_str(&value.to_string());
    for more in (0..keys.len() - 1).rev() {
        member.push_str(&format!("{}}}", indent(depth + 1 + more)));
    }
    match (object.members.last(), before) {
        (Some(last), Some(blanks)) => {
            let blanks = if blanks.is_empty() { " " } else { blanks };
            replace(
                text,
                last.whole.end..last.whole.end,
                &format!(",{blanks}{member}"),
            )
        }
        _ => {
            let inside = format!("{}{member}{}", indent(depth + 1), indent(depth));
            replace(text, object.open + 1..object.close, &inside)
        }
    }
}

/// What each level is indented by: the blanks before the first member of all, or two.
fn unit(text: &str) -> &str {
    let whole = object(text, start_of_value(text, 0));
    let first = whole.members.first();
    first
        .and_then(|first| text[whole.open + 1..first.whole.start].rsplit_once('\n'))
        .map_or("  ", |(_, blanks)| blanks)
}

/// The object whose brace is at `open`.
fn object(text: &str, open: usize) -> Object {
    let mut members = Vec::new();
    let mut at = start_of_value(text, open + 1);
    while text.as_bytes().get(at) == Some(&b'"') {
        let key_end = end_of_value(text, at);
        let colon = start_of_value(text, key_end);
        let value = start_of_value(text, colon + 1);
        let end = end_of_value(text, value);
        members.push(Member {
            // It is a JSON string, or the text had not been read at all.
            key: serde_json::from_str(&text[at..key_end]).unwrap_or_default(),
            whole: at..end,
            value: value..end,
        });
        at = start_of_value(text, end);
        if text.as_bytes().get(at) == Some(&b',') {
            at = start_of_value(text, at + 1);
        }
    }
    Object {
        open,
        close: at,
        members,
    }
}

/// The first place from `at` on that is not blank.
fn start_of_value(text: &str, at: usize) -> usize {
    let blank = |byte: &u8| b" \t\r\n".contains(byte);
    at + text.as_bytes()[at..]
        .iter()
        .take_while(|byte| blank(byte))
        .count()
}

/// Where the value that begins at `start` has ended.
fn end_of_value(text: &str, start: usize) -> usize {
    let bytes = text.as_bytes();
    let (mut depth, mut quoted, mut at) = (0_usize, false, start);
    while at < bytes.len() {
        match bytes[at] {
            b'\\' if quoted => at += 1,
            b'"' => quoted = !quoted,
            _ if quoted => {}
            b'{' | b'[' => depth += 1,
            // The end of what holds a number or a word.
            b'}' | b']' | b',' | b' ' | b'\t' | b'\r' | b'\n' if depth == 0 => return at,
            b'}' | b']' => depth -= 1,
            _ => {}
        }
        at += 1;
        if depth == 0 && !quoted && matches!(bytes[at - 1], b'"' | b'}' | b']') {
            return at;
        }
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn assert_set(before: &str, path: &[&str], after: &str) {
        let text = set(before, path, &Value::from("x")).unwrap();
        assert_eq!(text, after);
        parse(&text).unwrap();
        let pointer = format!("/{}", path.join("/"));
        assert_eq!(parse(&text).unwrap().pointer(&pointer), Some(&Value::from("x")));
    }

    #[test]
    fn members_are_written_as_those_before_them() {
        assert_set("{}", &["a", "b"], "{\n  \"a\": {\n    \"b\": \"x\"\n  }\n}");
        assert_set("{ \n}\n", &["a"], "{\n  \"a\": \"x\"\n}\n");
        assert_set("{\"z\":1}", &["a", "b"], "{\"z\":1, \"a\": {\"b\": \"x\"}}");
        assert_set(
            "{\n\t\"z\": [1, {\"a\": \"}\\\"\"}]\n}",
            &["a", "b"],
            "{\n\t\"z\": [1, {\"a\": \"}\\\"\"}],\n\t\"a\": {\n\t\t\"b\": \"x\"\n\t}\n}",
        );
        assert_set(
            "{\n    \"a\": {\n        \"q\": {}\n    }\n}",
            &["a", "b"],
            "{\n    \"a\": {\n        \"q\": {},\n        \"b\": \"x\"\n    }\n}",
        );
        assert_set("{\"a\": {}}", &["a", "b"], "{\"a\": {\n    \"b\": \"x\"\n  }}");
        assert_set(
            "{\r\n  \"z\": 1\r\n}",
            &["a"],
            "{\r\n  \"z\": 1,\r\n  \"a\": \"x\"\r\n}",
        );
    }

    #[test]
    fn what_is_there_is_replaced_in_its_place() {
        assert_set(
            "{\"a\" :{ \"b\":  12e3 , \"c\":1}}",
            &["a", "b"],
            "{\"a\" :{ \"b\":  \"x\" , \"c\":1}}",
        );
        // As in Go, the last of two members with one name counts; names may be escaped.
        assert_set(
            "{\"a\": 1, \"\\u0061\": 2}",
            &["a"],
            "{\"a\": 1, \"\\u0061\": \"x\"}",
        );
    }

    #[test]
    fn null_is_nothing() {
        assert_set("{\"a\": null}", &["a"], "{\"a\": \"x\"}");
        assert_set("{\"a\": null}", &["a", "b"], "{\"a\": {\n    \"b\": \"x\"\n  }}");
    }

    #[test]
    fn what_is_no_object_is_not_gone_through() {
        let error = set("{\"a\": {\"b\": [1]}}", &["a", "b", "c"], &Value::Null).unwrap_err();
        assert_eq!(error, "a.b is not an object");
    }

    #[test]
    fn removing_undoes_setting() {
        for before in [
            "{\"z\":1}",
            "{\n  \"z\": {},\n  \"y\": []\n}\n",
            "{\"a\": {\"q\": 1}, \"z\": 2}",
        ] {
            let text = set(before, &["a", "b", "c"], &Value::from(1)).unwrap();
            assert_eq!(remove(&text, &["a", "b", "c"]), before);
            assert_eq!(remove(before, &["a", "b", "c"]), before);
        }
        assert_eq!(remove("{\"a\": 1, \"b\": 2}", &["a"]), "{\"b\": 2}");
        assert_eq!(remove("{ \"a\": {\"b\": 1} }", &["a", "b"]), "{}");
        assert_eq!(remove("{\"a\": 1}", &["a", "b"]), "{\"a\": 1}");
        assert_eq!(
            remove(
                "{\"a\": {\"b\": 1, \"b\": 2}, \"z\": 1, \"a\": {\"b\": 3, \"c\": 4}}",
                &["a", "b"]
            ),
            "{\"z\": 1, \"a\": {\"c\": 4}}"
        );
    }

    #[test]
    fn errors_tell_the_line() {
        assert!(parse("{\n  \"a\": 1,\n}").unwrap_err().starts_with("line 3: "));
        assert!(parse("[]").is_err() && parse("").is_err() && parse("{} x").is_err());
    }
}
