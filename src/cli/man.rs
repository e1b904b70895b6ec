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
    let overview = page(&program, &(commands(&program) + OVERVIEW_SECTIONS));
    let mut pages = vec![(format!("wrun.{SECTION}"), overview)];
    for command in program
        .get_subcommands()
        .filter(|command| command.get_name() != "help")
    {
        let see_also = format!(".SH \"SEE ALSO\"\n\\fBwrun\\fR({SECTION})\n");
        pages.push((
            format!("wrun-{}.{SECTION}", command.get_name()),
            page(command, &see_also),
        ));
    }
    pages
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

fn commands(program: &clap::Command) -> String {
    let mut section = String::from(".SH COMMANDS\n");
    for command in program
        .get_subcommands()
        .filter(|command| command.get_name() != "help")
    {
        let about = command.get_about().unwrap().to_string();
        let name = command.get_name();
        writeln!(section, ".TP\n\\fBwrun\\-{name}\\fR({SECTION})\n{}", roff(&about)).unwrap();
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
