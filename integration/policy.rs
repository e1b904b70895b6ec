//! The written rules that can be checked by reading the sources: layers, where `unsafe` may be, what every file
//! opens with, reasons for exceptions, and that no fixture and no guest lies about unused.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The rooms in the order of src/lib.rs, a line for each level. A room uses only rooms of the levels above its
/// own; those of one level know nothing of each other.
const LEVELS: [&[&str]; 11] = [
    &["reason", "sys"],
    &["bundle", "host", "spec"],
    &["plan"],
    &["cgroup", "console", "hooks", "rdt", "rootfs", "security", "state"],
    &["criu", "workload"],
    &["process"],
    &["container"],
    &["install"],
    &["trial"],
    &["doctor"],
    &["cli"],
];

/// Rooms of one level that may use each other, since they are one border: a bundle is where a spec is read from.
const TOGETHER: [&str; 3] = ["bundle", "host", "spec"];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every file below `dir` whose name ends in `extension`, as paths from the package's root.
fn files(dir: &str, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![root().join(dir)];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(&dir)
            .unwrap_or_else(|error| panic!("{}: {error}", dir.display()))
            .flatten()
        {
            let path = entry.path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|own| own == extension) {
                found.push(path.strip_prefix(root()).expect("it is below").to_owned());
            }
        }
    }
    found.sort();
    assert!(!found.is_empty(), "no .{extension} file in {dir}");
    found
}

fn read(path: &Path) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The text without comments and without its unit tests, which may use what they like.
fn code(text: &str) -> String {
    let text = text
        .split("\n#[cfg(test)]\nmod tests {")
        .next()
        .unwrap_or_default();
    let lines = text
        .lines()
        .map(|line| line.split("//").next().unwrap_or_default());
    lines.collect::<Vec<_>>().join("\n")
}

/// The room that a file of src/ belongs to.
fn room(path: &Path) -> Option<String> {
    let second = path.iter().nth(1)?.to_str()?;
    let name = second.strip_suffix(".rs").unwrap_or(second);
    (!["lib", "main"].contains(&name)).then(|| name.to_owned())
}

fn level(room: &str) -> usize {
    let level = LEVELS.iter().position(|rooms| rooms.contains(&room));
    level.unwrap_or_else(|| panic!("src/{room} is not in the list of rooms in {}", file!()))
}

/// The rooms that follow `crate::`, also within braces.
fn used_rooms(code: &str) -> BTreeSet<String> {
    let word = |text: &str| -> String {
        text.chars()
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect()
    };
    let mut rooms = BTreeSet::new();
    for (at, _) in code.match_indices("crate::") {
        // `macro_crate::` and the like are other names.
        if code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '$') {
            continue;
        }
        let rest = &code[at + "crate::".len()..];
        match rest.strip_prefix('{') {
            None => {
                rooms.insert(word(rest));
            }
            Some(list) => {
                let list = list.split(';').next().unwrap_or_default();
                let mut depth = 0;
                let mut start = true;
                for (at, c) in list.char_indices() {
                    if depth == 0 && start && c.is_alphabetic() {
                        rooms.insert(word(&list[at..]));
                    }
                    start = c == ',' || (start && c.is_whitespace());
                    match c {
                        '{' => depth += 1,
                        '}' if depth == 0 => break,
                        '}' => depth -= 1,
                        _ => {}
                    }
                }
            }
        }
    }
    rooms
}

#[test]
fn rooms_use_only_rooms_above_them() {
    let mut wrong = Vec::new();
    for path in files("src", "rs") {
        let Some(own) = room(&path) else { continue };
        for used in used_rooms(&code(&read(&path))) {
            let known = LEVELS.iter().any(|rooms| rooms.contains(&used.as_str()));
            let together = TOGETHER.contains(&own.as_str()) && TOGETHER.contains(&used.as_str());
            if known && used != own && !together && level(&used) >= level(&own) {
                wrong.push(format!("{}: {own} uses {used}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn imports_are_found_in_every_form() {
    let rooms = used_rooms(
        "use crate::plan::{Plan, mounts}; crate::sys::fd(); use crate::{state, spec::{a, b}, host};",
    );
    assert_eq!(
        rooms.into_iter().collect::<Vec<_>>(),
        ["host", "plan", "spec", "state", "sys"]
    );
    assert!(used_rooms("pub(crate) use other::thing; $crate::x!()").is_empty());
}

#[test]
fn the_plan_of_the_house_names_every_room() {
    let text = read(Path::new("src/lib.rs"));
    for room in LEVELS.concat() {
        assert!(
            text.contains(&format!("pub mod {room};")),
            "src/lib.rs has no {room}"
        );
    }
}

#[test]
fn unsafe_is_in_sys_alone() {
    let paths = files("src", "rs").into_iter().chain(files("integration", "rs"));
    for path in
        paths.filter(|path| room(path).is_none_or(|room| room != "sys") && !path.ends_with("policy.rs"))
    {
        let code = code(&read(&path)).replace("unsafe_code", "");
        let found = code
            .split(|c: char| !c.is_alphanumeric() && c != '_')
            .any(|word| word == "unsafe");
        assert!(!found, "{} has unsafe code", path.display());
    }
    assert!(read(Path::new("src/lib.rs")).contains("#![deny(unsafe_code)]"));
}

#[test]
fn every_unsafe_block_says_why_it_is_sound() {
    for path in files("src/sys", "rs") {
        let text = read(&path);
        let lines: Vec<_> = text.lines().collect();
        for (number, line) in lines.iter().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            let opens = code.contains("unsafe {") || code.contains("unsafe impl");
            let above = lines[number.saturating_sub(12)..number]
                .iter()
                .any(|line| line.contains("SAFETY:"));
            assert!(
                !opens || above,
                "{}:{}: no SAFETY comment",
                path.display(),
                number + 1
            );
        }
    }
}

#[test]
fn every_file_says_what_it_is_for() {
    for path in files("src", "rs").into_iter().chain(files("integration", "rs")) {
        assert!(
            read(&path).starts_with("//! "),
            "{} does not open with //!",
            path.display()
        );
    }
}

#[test]
fn every_exception_has_a_reason() {
    for path in files("src", "rs").into_iter().chain(files("integration", "rs")) {
        let text = read(&path);
        for start in ["#[allow(", "#![allow(", "#[expect(", "#![expect("] {
            // This file's own list is no exception.
            for (at, _) in text
                .match_indices(start)
                .filter(|(at, _)| !text[..*at].ends_with('"'))
            {
                let attribute = text[at..].split(")]").next().unwrap_or_default();
                assert!(
                    attribute.contains("reason"),
                    "{}: {attribute} has no reason",
                    path.display()
                );
            }
        }
    }
}

#[test]
fn no_file_is_a_drawer_for_everything() {
    for path in files("src", "rs").into_iter().chain(files("integration", "rs")) {
        for word in ["utils", "util", "common", "helpers", "helper", "misc"] {
            assert!(
                !path
                    .iter()
                    .any(|part| Path::new(part).file_stem() == Some(word.as_ref())),
                "{}",
                path.display()
            );
        }
    }
}

/// All sources in which a fixture or a guest could be named; a guest's own source is none.
fn sources() -> String {
    files("src", "rs")
        .into_iter()
        .chain(files("integration", "rs"))
        .filter(|path| !path.starts_with("integration/guests"))
        .map(|path| read(&path))
        .collect()
}

#[test]
fn every_fixture_is_used() {
    let sources = sources();
    for path in files("integration/fixtures", "json") {
        let name = path.file_name().expect("a name").to_str().expect("UTF-8");
        assert!(sources.contains(name), "{} is used by no test", path.display());
    }
}

#[test]
fn every_guest_is_used() {
    let sources = sources();
    for path in files("integration/guests", "wat") {
        let stem = path.file_stem().expect("a name").to_str().expect("UTF-8");
        let named = sources.contains(&format!("\"{stem}\"")) || sources.contains(&format!("{stem}.wat"));
        assert!(named, "{} is used by no test", path.display());
    }
    for name in built_guests() {
        assert!(
            sources.contains(&format!("\"{name}\"")),
            "{name} is used by no test"
        );
    }
}

/// The guests that `integration/guests/build` builds: the directories there.
fn built_guests() -> BTreeSet<String> {
    let entries = fs::read_dir(root().join("integration/guests")).expect("a directory");
    let dirs = entries.flatten().filter(|entry| entry.path().is_dir());
    dirs.map(|entry| entry.file_name().into_string().expect("UTF-8"))
        .collect()
}

#[test]
fn every_built_guest_has_its_source_and_its_file() {
    let stem = |path: PathBuf| {
        path.file_stem()
            .expect("a name")
            .to_str()
            .expect("UTF-8")
            .to_owned()
    };
    let built: BTreeSet<_> = files("integration/guests", "wasm")
        .into_iter()
        .map(stem)
        .collect();
    assert_eq!(built, built_guests());
    for name in built {
        let dir = root().join("integration/guests").join(&name);
        // The lock file makes two builds the same.
        let rust = dir.join("Cargo.toml").exists() && dir.join("Cargo.lock").exists();
        assert!(
            rust || dir.join("main.c").exists(),
            "{name} is neither Rust nor C"
        );
    }
}

#[test]
fn every_test_of_a_topic_is_in_its_list() {
    for path in files("integration", "rs") {
        let text = read(&path);
        for line in text
            .lines()
            .filter(|line| line.ends_with("(case: &Case) {") && line.starts_with("fn "))
        {
            let name = line["fn ".len()..].split('(').next().expect("a name");
            let uses = text.matches(name).count();
            assert!(uses > 1, "{}: {name} is never run", path.display());
        }
    }
}

#[test]
fn every_test_that_the_readme_names_exists() {
    let readme = read(Path::new("README.md"));
    let names: BTreeSet<&str> = readme
        .split('`')
        .filter(|word| word.starts_with("wasm::") || word.starts_with("docker::"))
        .collect();
    assert!(names.len() > 15, "the table of what runs names its tests");
    for name in names {
        let (topic, _) = name.split_once("::").expect("it was found by that");
        let (_, function) = name.rsplit_once("::").expect("it was found by that");
        let definition = format!("fn {function}(case: &Case)");
        let rooms = [
            format!("integration/{topic}"),
            format!("integration/engines/{topic}"),
        ];
        let found = rooms
            .iter()
            .filter(|room| Path::new(room).is_dir())
            .flat_map(|room| files(room, "rs"))
            .any(|path| read(&path).contains(&definition));
        assert!(found, "README.md names {name}, which is no test");
    }
}
