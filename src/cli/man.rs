//! The pages in `man/`: made from the definitions of the command line, so that they cannot drift from them.
//! `BLESS=1 cargo test man` writes them; `cargo test` fails where they are stale.

use std::fmt::Write as _;
use std::path::Path;

use clap_mangen::Man;

/// Programs for administrators.
const SECTION: &str = "8";

/// What the overview says beside the options, in man(7) form.
const OVERVIEW_SECTIONS: &str = include_str!("overview.roff");

/// One page: its file's name and its text.
fn pages() -> Vec<(String, String)> {
    let mut program = super::whole();
    program.build();
    let overview = page(&program, &(commands(&program, "wrun") + OVERVIEW_SECTIONS));
    let mut pages = vec![(format!("wrun.{SECTION}"), overview)];
    add_pages_below(&program, "wrun", &mut pages);
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
