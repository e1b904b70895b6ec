//! The pages in `man/`: made from the definitions of the command line, so that they cannot drift from them.
//! `BLESS=1 cargo test man` writes them; `cargo test` fails where they are stale. The page on WebAssembly
//! programs is written by hand, and its words are held to the code.

mod engines;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use clap_mangen::Man;

use crate::spec::{annotations, guest_options, runtime_options, systemd_properties};
use crate::workload::{exit, wasm::proposals};

/// Programs for administrators.
const SECTION: &str = "8";

/// What the overview says beside the options, in man(7) form.
const OVERVIEW_SECTIONS: &str = include_str!("overview.roff");

/// What programs of WebAssembly get, in two halves; what comes between is made from the engine's table.
const GUESTS: [&str; 2] = [
    include_str!("wasm/manual.roff"),
    include_str!("wasm/manual-end.roff"),
];

/// What annotations ask of the runtime.
const ANNOTATIONS: &str = include_str!("annotations.roff");

/// One page: its file's name and its text.
fn pages() -> Vec<(String, String)> {
    let mut program = super::whole();
    program.build();
    let overview = page(&program, &(commands(&program, "wrun") + OVERVIEW_SECTIONS));
    let mut pages = vec![(format!("wrun.{SECTION}"), overview)];
    add_pages_below(&program, "wrun", &mut pages);
    pages.push(("wrun-annotations.7".to_owned(), ANNOTATIONS.to_owned()));
    pages.push(("wrun-engines.7".to_owned(), engines::page()));
    pages.push(("wrun-wasm.7".to_owned(), guests()));
    pages
}

/// A page for each command of `parent`, whose own page is called `name`; and so on below.
fn add_pages_below(parent: &clap::Command, name: &str, pages: &mut Vec<(String, String)>) {
    for command in own_commands(parent) {
        let below = format!("{name}-{}", command.get_name());
        let mut rest = String::new();
        if own_commands(command).next().is_some() {
            rest.push_str(&commands(command, &below));
        }
        writeln!(rest, ".SH \"SEE ALSO\"\n\\fB{}\\fR({SECTION})", roff(name)).unwrap();
        pages.push((format!("{below}.{SECTION}"), page(command, &rest)));
        add_pages_below(command, &below, pages);
    }
}

/// The commands that are ours; clap adds one that prints help.
fn own_commands(parent: &clap::Command) -> impl Iterator<Item = &clap::Command> {
    parent
        .get_subcommands()
        .filter(|command| command.get_name() != "help")
}

fn guests() -> String {
    let [start, end] = GUESTS;
    format!("{start}{}{end}", proposals())
}

/// The proposals of WebAssembly, which are on and which are off.
fn proposals() -> String {
    let list = |on: bool| -> String {
        let proposals = proposals::ALL.iter().filter(|proposal| proposal.on == on);
        proposals
            .map(|it| format!(".TP\n{}\n{}.\n", roff(it.name), roff(&capital(it.why))))
            .collect()
    };
    format!(
        ".SH PROPOSALS\nThese proposals of WebAssembly are on:\n{}.PP\nThese are off; a program that needs one \
         is refused with its name:\n{}",
        list(true),
        list(false)
    )
}

fn capital(text: &str) -> String {
    let mut characters = text.chars();
    let first = characters.next().map(|first| first.to_ascii_uppercase());
    first.into_iter().chain(characters).collect()
}

fn page(command: &clap::Command, rest: &str) -> String {
    let man = Man::new(command.clone())
        .section(SECTION)
        // A date would make every page stale by itself.
        .date("")
        .source("wrun")
        .manual("Container runtime");
    let mut page = Vec::new();
    man.render_title(&mut page).unwrap();
    man.render_name_section(&mut page).unwrap();
    page.extend(synopsis(command).bytes());
    man.render_description_section(&mut page).unwrap();
    man.render_options_section(&mut page).unwrap();
    page.extend(rest.bytes());
    String::from_utf8(page).unwrap()
}

/// The usage as `--help` has it; clap_mangen's own would list every option.
fn synopsis(command: &clap::Command) -> String {
    let usage = command.clone().render_usage().to_string();
    let mut section = String::from(".SH SYNOPSIS\n");
    for line in usage
        .trim_start_matches("Usage:")
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
    {
        writeln!(section, "{}\n.br", roff(line)).unwrap();
    }
    section
}

/// What the commands of `parent` do; its own page is called `name`.
fn commands(parent: &clap::Command, name: &str) -> String {
    let mut section = String::from(".SH COMMANDS\n");
    for command in own_commands(parent) {
        let about = command.get_about().unwrap().to_string();
        let page = roff(&format!("{name}-{}", command.get_name()));
        writeln!(section, ".TP\n\\fB{page}\\fR({SECTION})\n{}", roff(&about)).unwrap();
    }
    section
}

/// Text with what roff would take for its own escaped.
fn roff(text: &str) -> String {
    text.replace('\\', "\\e")
        .replace('-', "\\-")
        .replace("...", "\\&...")
}

#[test]
fn man_pages_are_fresh() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("man");
    let bless = std::env::var_os("BLESS").is_some();
    let pages = pages();
    for (name, text) in &pages {
        let path = directory.join(name);
        if bless {
            std::fs::create_dir_all(&directory).unwrap();
            std::fs::write(&path, text).unwrap();
        }
        let found = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            found == *text,
            "{} is stale: run BLESS=1 cargo test man",
            path.display()
        );
    }
    for entry in std::fs::read_dir(&directory).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(
            pages.iter().any(|(page, _)| *page == name),
            "man/{name} belongs to no command"
        );
    }
}

#[test]
fn the_page_on_annotations_names_all_that_the_code_knows() {
    let page = ANNOTATIONS.replace("\\-", "-");
    let refused = runtime_options::REFUSED.map(|(key, _)| key);
    let keys = runtime_options::ALL
        .iter()
        .chain(&annotations::ALL)
        .chain(&annotations::CONTAINER_TYPES)
        .chain(&refused)
        .chain(&[systemd_properties::PREFIX]);
    for key in keys {
        assert!(
            page.contains(&format!("\\fB{key}\\fR")),
            "{key} is not in the page"
        );
    }
    for line in page.lines() {
        assert!(line.len() <= 130, "{line}");
    }
}

/// Whatever of the code's words someone who runs programs needs is in the page.
#[test]
fn the_page_on_programs_names_what_the_code_knows() {
    let page = guests().replace("\\-", "-");
    let keys = annotations::ALL.iter().chain(&guest_options::ALL);
    for key in keys {
        assert!(
            page.contains(&format!("\\fB{key}\\fR")),
            "{key} is not in the page"
        );
    }
    for value in annotations::WASM_HANDLERS {
        assert!(page.contains(value), "{value} is not in the page");
    }
    for (meaning, code) in [
        ("a failure", exit::FAILURE),
        ("a trap", exit::TRAP),
        ("too long", exit::TIMEOUT),
    ] {
        assert!(
            page.contains(&format!("\\fB{code}\\fR")),
            "{meaning} ({code}) is not in the page"
        );
    }
    let variables = variables(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/workload"));
    assert!(variables.contains("WRUN_CACHE_DIR"), "{variables:?}");
    for variable in variables {
        assert!(
            page.contains(&format!("\\fB{variable}\\fR")),
            "{variable} is not in the page"
        );
    }
    for proposal in &proposals::ALL {
        assert!(
            page.contains(proposal.name),
            "{} is not in the page",
            proposal.name
        );
    }
}

/// The variables of the environment that sources below `directory` name; those of tests are nobody's business.
fn variables(directory: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.append(&mut variables(&path));
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        for word in text
            .split('"')
            .filter(|word| word.starts_with("WRUN_") || word.starts_with("WASMTIME_"))
        {
            let name = word.chars().all(|c| c.is_ascii_uppercase() || c == '_');
            if name && !word.starts_with("WRUN_TEST_") {
                found.insert(word.to_owned());
            }
        }
    }
    found
}
