//! Golden tests of what describes an application: every `NAME.toml` in a directory of `spec-fixtures` against the text
//! beside it. `BLESS=1` rewrites what is expected; read the difference then.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// A directory of `spec-fixtures`.
pub fn folder(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("spec-fixtures")
        .join(path)
}

/// Its files.
pub fn names(folder: &Path) -> BTreeSet<String> {
    let name_of = |entry: std::io::Result<fs::DirEntry>| {
        let name = entry.expect("an entry").file_name();
        name.into_string().expect("a name")
    };
    fs::read_dir(folder).expect("the fixtures").map(name_of).collect()
}

/// Compares what comes of each `NAME.toml` with `NAME.GOLDEN`. Nothing else may be there.
pub fn check(path: &str, golden: &str, produce: impl Fn(&str) -> Result<String, String>) {
    let folder = folder(path);
    let mut files = names(&folder);
    let fixtures = files.iter().filter_map(|file| file.strip_suffix(".toml"));
    let fixtures: Vec<String> = fixtures.map(str::to_owned).collect();
    assert!(!fixtures.is_empty(), "no fixture in {}", folder.display());
    let bless = std::env::var_os("BLESS").is_some();
    let mut failures = Vec::new();
    for name in fixtures {
        let text = fs::read_to_string(folder.join(format!("{name}.toml"))).expect("a fixture");
        let expected = format!("{name}.{golden}");
        files.remove(&format!("{name}.toml"));
        files.remove(&expected);
        let expected = folder.join(expected);
        match produce(&text) {
            Err(problem) => failures.push(format!("{name}: {problem}")),
            Ok(text) if bless => fs::write(&expected, text + "\n").expect("written"),
            Ok(text) => {
                let wanted = fs::read_to_string(&expected).unwrap_or_default();
                if wanted.trim_end() != text {
                    failures.push(format!("{name}: expected\n{wanted}\nfound\n{text}"));
                }
            }
        }
    }
    assert!(files.is_empty(), "files that belong to no fixture: {files:?}");
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}
