//! Edits of TOML text that leave everything else as it was: comments, order, blanks. Must not know what the keys mean.

use toml_edit::{Array, DocumentMut, InlineTable, Item, Table, Value};

/// A value that an engine's configuration can be given.
#[derive(Debug, Clone)]
pub(super) enum Setting {
    Text(String),
    Flag(bool),
    Words(Vec<String>),
    /// A word that a list is to have, and the others where there is no list yet.
    Member(String, Vec<String>),
}

impl Setting {
    fn value(&self) -> Value {
        match self {
            Self::Text(text) => Value::from(text.as_str()),
            Self::Flag(flag) => Value::from(*flag),
            Self::Words(words) => Value::Array(words.iter().map(String::as_str).collect::<Array>()),
            Self::Member(word, others) => {
                let words = others.iter().chain([word]);
                Value::Array(words.map(String::as_str).collect::<Array>())
            }
        }
    }

    /// Whether the document has it already, however it is written there.
    fn is(&self, item: &Item) -> bool {
        match self {
            Self::Text(text) => item.as_str() == Some(text),
            Self::Flag(flag) => item.as_bool() == Some(*flag),
            Self::Words(words) => item.as_array().is_some_and(|array| {
                array.len() == words.len()
                    && array
                        .iter()
                        .zip(words)
                        .all(|(own, word)| own.as_str() == Some(word))
            }),
            Self::Member(word, _) => place_in(item, word).is_some(),
        }
    }
}

/// Which of a list's members is `word`.
fn place_in(item: &Item, word: &str) -> Option<usize> {
    let mut members = item.as_array()?.iter();
    members.position(|member| member.as_str() == Some(word))
}

/// Edits a text whose form the library would not keep: a byte order mark, lines that end in CR LF, a last line that
/// does not end.
///
/// # Errors
/// Those of `edit`; and where the rest of the text would not stay as it is, with the first line that would not.
pub(super) fn in_its_form(
    text: &str,
    edit: impl FnOnce(&str) -> Result<String, String>,
) -> Result<String, String> {
    const MARK: char = '\u{feff}';
    let bare = text.strip_prefix(MARK).unwrap_or(text);
    let crlf = bare.contains("\r\n");
    let mut plain = bare.replace("\r\n", "\n");
    if crlf && plain.replace('\n', "\r\n") != bare {
        return Err("some of its lines end in CR LF and some in LF: make them the same".to_owned());
    }
    if !plain.is_empty() && !plain.ends_with('\n') {
        plain.push('\n');
    }
    let same = parse(&plain)?.to_string();
    if same != plain {
        let line = 1 + plain
            .lines()
            .zip(same.lines())
            .take_while(|(a, b)| a == b)
            .count();
        return Err(format!(
            "line {line} is written in a way that an edit would change: add wrun by hand"
        ));
    }
    let edited = edit(&plain)?;
    if edited == plain {
        return Ok(text.to_owned());
    }
    let edited = if crlf {
        edited.replace('\n', "\r\n")
    } else {
        edited
    };
    let mark = if bare.len() < text.len() {
        &text[..MARK.len_utf8()]
    } else {
        ""
    };
    Ok(format!("{mark}{edited}"))
}

/// The document that the text is.
///
/// # Errors
/// What is no TOML, with its line.
pub(super) fn parse(text: &str) -> Result<DocumentMut, String> {
    text.parse::<DocumentMut>().map_err(|error| {
        let at = error.span().map_or(0, |span| span.start.min(text.len()));
        let line = 1 + text.as_bytes()[..at]
            .iter()
            .filter(|byte| **byte == b'\n')
            .count();
        format!("line {line}: {}", error.message().replace('\n', "; "))
    })
}

/// What is at `path`.
pub(super) fn get<'a>(document: &'a DocumentMut, path: &[&str]) -> Option<&'a Item> {
    path.iter()
        .try_fold(document.as_item(), |item, key| item.get(key))
}

/// Sets what is at `path`, and makes the tables on the way.
///
/// # Errors
/// Where something on the way is there and no table, which is told by its path.
pub(super) fn set(document: &mut DocumentMut, path: &[&str], setting: &Setting) -> Result<(), String> {
    let Some((key, tables)) = path.split_last() else {
        return Ok(());
    };
    let mut item = document.as_item_mut();
    for (depth, name) in tables.iter().enumerate() {
        let inline = item.is_inline_table();
        let table = item.as_table_like_mut();
        let table = table.ok_or_else(|| format!("{} is not a table", tables[..depth].join(".")))?;
        if table.get(name).is_none() {
            table.insert(
                name,
                if inline {
                    Item::Value(InlineTable::new().into())
                } else {
                    implicit()
                },
            );
        }
        item = table
            .get_mut(name)
            .ok_or_else(|| format!("{name} cannot be made"))?;
    }
    let table = item.as_table_like_mut();
    let table = table.ok_or_else(|| format!("{} is not a table", tables.join(".")))?;
    match table.get_mut(key) {
        Some(own) if setting.is(own) => {}
        Some(own) if matches!(setting, Setting::Member(..)) => match (own.as_array_mut(), setting) {
            (Some(array), Setting::Member(word, _)) => array.push(word.as_str()),
            _ => return Err(format!("{} is not a list", path.join("."))),
        },
        Some(own) => {
            // A comment behind the value stays there.
            let decor = own.as_value().map(|value| value.decor().clone());
            let mut value = setting.value();
            if let Some(decor) = decor {
                *value.decor_mut() = decor;
            }
            *own = Item::Value(value);
        }
        None => {
            table.insert(key, Item::Value(setting.value()));
        }
    }
    Ok(())
}

/// The text after `edit` of the document that was read from it. What is added at the end stays behind the comments
/// there, which may be settings that somebody will turn on.
///
/// # Errors
/// Those of `edit`.
pub(super) fn edit(
    text: &str,
    document: &mut DocumentMut,
    edit: impl FnOnce(&mut DocumentMut) -> Result<(), String>,
) -> Result<String, String> {
    let trailing = document.trailing().as_str().unwrap_or_default().to_owned();
    document.set_trailing("");
    let before = document.to_string();
    edit(document)?;
    let after = document.to_string();
    if after == before {
        return Ok(text.to_owned());
    }
    let trimmed = trailing.trim_end_matches(['\n', '\r']);
    Ok(match after.strip_prefix(&before) {
        Some(added) if !trimmed.is_empty() => {
            format!("{before}{trimmed}\n\n{}", added.trim_start_matches('\n'))
        }
        _ => after + &trailing,
    })
}

/// A table that gets a heading only when it has values of its own.
fn implicit() -> Item {
    let mut table = Table::new();
    table.set_implicit(true);
    Item::Table(table)
}

/// Takes what is at `path` away, and the tables on the way that are empty by it. Comments before a table that goes are
/// kept at the end, unless they begin as `but` does.
pub(super) fn remove(document: &mut DocumentMut, path: &[&str], but: &str) {
    let mut comments = String::new();
    remove_below(document.as_item_mut(), path, &mut comments);
    let lines = comments
        .split_inclusive('\n')
        .filter(|line| line.trim().is_empty() || !line.starts_with(but));
    let kept: String = lines.collect();
    if !kept.trim().is_empty() {
        let trailing = document.trailing().as_str().unwrap_or_default();
        document.set_trailing(format!("{kept}{trailing}"));
    }
}

/// Takes a word out of the list at `path`; and the whole list, where what is left of it is `all`.
pub(super) fn remove_member(
    document: &mut DocumentMut,
    path: &[&str],
    word: &str,
    all: Option<&[&str]>,
    but: &str,
) {
    // Not by Item::get_mut, which makes what is not there.
    let list = path.iter().try_fold(document.as_item_mut(), |item, key| {
        item.as_table_like_mut()?.get_mut(key)
    });
    let Some(list) = list else { return };
    let (Some(place), Some(array)) = (place_in(list, word), list.as_array_mut()) else {
        return;
    };
    array.remove(place);
    let left = array.iter().map(|member| member.as_str());
    if all.is_some_and(|all| left.eq(all.iter().map(|word| Some(*word)))) {
        remove(document, path, but);
    }
}

fn remove_below(item: &mut Item, path: &[&str], comments: &mut String) {
    let (Some((key, rest)), Some(table)) = (path.split_first(), item.as_table_like_mut()) else {
        return;
    };
    if let (false, Some(below)) = (rest.is_empty(), table.get_mut(key)) {
        remove_below(below, rest, comments);
        if !below.as_table_like().is_some_and(|below| below.is_empty()) {
            return;
        }
    }
    if let Some(removed) = table.remove(key) {
        collect_comments(&removed, comments);
    }
}

/// What is written before the headings of a table and of those below it.
fn collect_comments(item: &Item, comments: &mut String) {
    let Some(table) = item.as_table() else { return };
    let prefix = table
        .decor()
        .prefix()
        .and_then(|prefix| prefix.as_str())
        .unwrap_or_default();
    if prefix.contains('#') {
        comments.push_str(prefix);
    }
    table
        .iter()
        .for_each(|(_, below)| collect_comments(below, comments));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(value: &str) -> Setting {
        Setting::Text(value.to_owned())
    }

    #[track_caller]
    fn after(before: &str, path: &[&str]) -> String {
        let mut document = parse(before).unwrap();
        set(&mut document, path, &text("x")).unwrap();
        let text = document.to_string();
        assert_eq!(
            get(&parse(&text).unwrap(), path).and_then(Item::as_str),
            Some("x"),
            "{text}"
        );
        text
    }

    #[test]
    fn tables_are_made_in_every_form() {
        assert_eq!(after("", &["a", "b.c", "d"]), "[a.\"b.c\"]\nd = \"x\"\n");
        let own = "# first\n[z]\n  y = 1 # why\n";
        assert_eq!(after(own, &["a", "d"]), format!("{own}\n[a]\nd = \"x\"\n"));
        assert_eq!(
            after("a = { b = 1 }\n", &["a", "c", "d"]),
            "a = { b = 1 , c = { d = \"x\" } }\n"
        );
        after("a.b = 1\n", &["a", "c", "d"]);
        after("[a]\nb.c = 1\n[z]\n", &["a", "b", "d", "e"]);
        after("[[z]]\nb = 1\n", &["a", "b"]);
    }

    #[test]
    fn a_value_keeps_its_comment_and_its_place() {
        assert_eq!(
            after("[a]\nb  =  'y'  # why\nc = 1\n", &["a", "b"]),
            "[a]\nb  =  \"x\"  # why\nc = 1\n"
        );
        assert_eq!(after("a = 'x' # same\n", &["a"]), "a = 'x' # same\n");
    }

    #[test]
    fn comments_at_the_end_stay_before_what_is_added() {
        let text = "a = 1\n\n# [b]\n# c = 1\n";
        let mut document = parse(text).unwrap();
        let edited = edit(text, &mut document, |document| {
            set(document, &["d", "e"], &super::Setting::Flag(true))
        });
        assert_eq!(edited.unwrap(), format!("{text}\n[d]\ne = true\n"));
        let mut document = parse(text).unwrap();
        assert_eq!(edit(text, &mut document, |_| Ok(())).unwrap(), text);
    }

    #[test]
    fn removing_takes_empty_tables_along() {
        let before = "[a]\nb = 1\n\n[a.c.d]\ne = 1\n";
        let mut document = parse(before).unwrap();
        remove(&mut document, &["a", "c", "d"], "!");
        assert_eq!(document.to_string(), "[a]\nb = 1\n");
        remove(&mut document, &["a", "nothing", "b"], "!");
        assert_eq!(document.to_string(), "[a]\nb = 1\n");
    }

    #[test]
    fn removing_keeps_comments() {
        let mut document = parse("[a]\nb = 1\n\n# kept\n# ours\n[a.c]\nd = 1\n").unwrap();
        remove(&mut document, &["a", "c"], "# ours");
        assert_eq!(document.to_string(), "[a]\nb = 1\n\n# kept\n");
    }

    #[test]
    fn errors_tell_the_line_or_the_key() {
        assert!(parse("a = 1\nb = \n").unwrap_err().starts_with("line 2: "));
        assert!(parse("a = 1\na = 2\n").unwrap_err().starts_with("line 2: "));
        let mut document = parse("[a]\nb = 1\n").unwrap();
        assert_eq!(
            set(&mut document, &["a", "b", "c"], &text("x")).unwrap_err(),
            "a.b is not a table"
        );
    }
}
