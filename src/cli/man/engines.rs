//! The page on engines. What it shows of their configurations is in files beside it, which are held to what `wrun install`
//! writes, and with which the tests on real engines start them.

use std::path::Path;

use super::roff;
use crate::install::Engine;
use crate::install::edit::{self, Part};

/// The words; a line `@FILE@` stands for that file.
const WORDS: &str = include_str!("../engines/manual.roff");

/// A file's name and its text; and where `wrun install` writes such a file, for which engine, and the version of
/// containerd's.
type Example = (&'static str, &'static str, Option<(Engine, i64)>);

const EXAMPLES: [Example; 7] = [
    (
        "daemon.json",
        include_str!("../engines/daemon.json"),
        Some((Engine::Docker, 0)),
    ),
    (
        "containerd-2.toml",
        include_str!("../engines/containerd-2.toml"),
        Some((Engine::Containerd, 2)),
    ),
    (
        "containerd-3.toml",
        include_str!("../engines/containerd-3.toml"),
        Some((Engine::Containerd, 3)),
    ),
    (
        "crio.conf",
        include_str!("../engines/crio.conf"),
        Some((Engine::Crio, 0)),
    ),
    (
        "containers.conf",
        include_str!("../engines/containers.conf"),
        Some((Engine::Podman, 0)),
    ),
    (
        "runtimeclass.yaml",
        include_str!("../engines/runtimeclass.yaml"),
        None,
    ),
    ("pod.yaml", include_str!("../engines/pod.yaml"), None),
];

/// The page.
pub fn page() -> String {
    let mut page = String::new();
    for line in WORDS.lines() {
        match line.strip_prefix('@').and_then(|line| line.strip_suffix('@')) {
            None => page.push_str(line),
            Some(name) => {
                let example = EXAMPLES.iter().find(|(own, ..)| *own == name);
                let (_, text, _) = example.unwrap_or_else(|| panic!("no example {name}"));
                page.push_str(&as_it_is(text));
            }
        }
        page.push('\n');
    }
    page
}

/// Text whose lines are kept.
fn as_it_is(text: &str) -> String {
    let lines = text.trim_end().lines().map(|line| {
        let line = roff(line).replace('"', "\\(dq");
        // roff takes these for a request.
        let escape = if line.starts_with(['.', '\'']) { "\\&" } else { "" };
        format!("{escape}{line}\n")
    });
    let lines: String = lines.collect();
    format!(".PP\n.RS 4\n.nf\n{lines}.fi\n.RE")
}

/// `BLESS=1` writes them; the pages are made of what the next build includes.
#[test]
fn examples_are_what_install_writes() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/cli/engines");
    for (name, included, made) in EXAMPLES {
        let Some((engine, file_version)) = made else {
            continue;
        };
        let part = Part {
            program: "/usr/local/bin/wrun".to_owned(),
            default: false,
            systemd_cgroup: true,
            annotations: false,
            file_version,
        };
        let text = edit::insert(engine, None, &part).unwrap();
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(directory.join(name), &text).unwrap();
            continue;
        }
        assert_eq!(included, text, "{name}");
    }
    // CRI-O from 1.30 on, which the page has in words.
    let part = Part {
        program: "/usr/local/bin/wrun".to_owned(),
        default: false,
        systemd_cgroup: true,
        annotations: true,
        file_version: 0,
    };
    let text = edit::insert(Engine::Crio, None, &part).unwrap();
    let more: Vec<&str> = text
        .lines()
        .filter(|line| line.starts_with("allowed_annotations"))
        .collect();
    let [line] = &more[..] else {
        panic!("no annotations in {text}");
    };
    assert!(
        page().contains(&roff(line).replace('"', "\\(dq")),
        "{line} is not in the page"
    );
}

/// README shows some of the same.
#[test]
fn readme_shows_the_same() {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let readme = std::fs::read_to_string(readme).unwrap();
    for (name, text, _) in EXAMPLES {
        if name.ends_with(".yaml") {
            assert!(readme.contains(text), "README.md does not show {name}");
        }
    }
}

#[test]
fn every_example_is_shown() {
    for (name, ..) in EXAMPLES {
        assert!(
            WORDS.contains(&format!("\n@{name}@\n")),
            "{name} is not in the page"
        );
    }
    for line in WORDS.lines() {
        assert!(line.len() <= 130, "{line}");
    }
}
