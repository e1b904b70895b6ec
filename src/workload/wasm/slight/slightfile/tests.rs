//! Golden tests: every slightfile in `spec-fixtures/slight/good` against its whole model, every one in
//! `spec-fixtures/slight/bad` against its error. `BLESS=1` rewrites what is expected; read the difference then.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::*;

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("spec-fixtures/slight")
        .join(name)
}

/// Compares what comes of each slightfile with the golden file beside it.
fn check(name: &str, golden: &str, produce: impl Fn(&str) -> std::result::Result<String, String>) {
    let folder = folder(name);
    let name_of = |entry: std::io::Result<std::fs::DirEntry>| {
        let name = entry.expect("an entry").file_name();
        name.into_string().expect("a name")
    };
    let entries = std::fs::read_dir(&folder).expect("the fixtures");
    let mut files: BTreeSet<String> = entries.map(name_of).collect();
    let names = files.iter().filter_map(|file| file.strip_suffix(".toml"));
    let names: Vec<String> = names.map(str::to_owned).collect();
    assert!(!names.is_empty(), "no fixture in {}", folder.display());
    let bless = std::env::var_os("BLESS").is_some();
    let mut failures = Vec::new();
    for name in names {
        let text = std::fs::read_to_string(folder.join(format!("{name}.toml"))).expect("a slightfile");
        let expected = format!("{name}.{golden}");
        files.remove(&format!("{name}.toml"));
        files.remove(&expected);
        let expected = folder.join(expected);
        match produce(&text) {
            Err(problem) => failures.push(format!("{name}: {problem}")),
            Ok(text) if bless => std::fs::write(&expected, text + "\n").expect("written"),
            Ok(text) => {
                let wanted = std::fs::read_to_string(&expected).unwrap_or_default();
                if wanted.trim_end() != text {
                    failures.push(format!("{name}: expected\n{wanted}\nfound\n{text}"));
                }
            }
        }
    }
    assert!(files.is_empty(), "files that belong to no fixture: {files:?}");
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}

#[test]
fn good_slightfiles_give_their_models() {
    check("good", "model.txt", |text| {
        let slightfile = Slightfile::parse(text).map_err(|error| format!("is refused: {error}"))?;
        Ok(format!("{slightfile:#?}"))
    });
}

#[test]
fn bad_slightfiles_give_their_errors() {
    check("bad", "error.txt", |text| match Slightfile::parse(text) {
        Ok(_) => Err("is accepted".to_owned()),
        Err(error) => Ok(error.to_string()),
    });
}

#[test]
fn there_are_only_so_many_capabilities() {
    let capability = |at| format!("[[capability]]\nresource = \"keyvalue.filesystem\"\nname = \"{at}\"\n");
    let of = |count| {
        let capabilities: String = (0..count).map(capability).collect();
        Slightfile::parse(&format!("specversion = \"0.2\"\n{capabilities}"))
    };
    assert_eq!(
        of(MAX_CAPABILITIES).expect("a slightfile").capabilities.len(),
        256
    );
    let error = of(MAX_CAPABILITIES + 1).expect_err("too many").to_string();
    assert!(error.contains("257"), "{error}");
}
