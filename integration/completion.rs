//! Completion of command lines: real shells, asked what the key would show.

use std::process::{Command, Stdio};

use crate::harness::installed::find_program;
use crate::harness::{Case, Need, Test, test};

pub fn tests() -> Vec<Test> {
    [
        test!(bash_completes),
        test!(zsh_completes).needs(Need::Zsh),
        test!(fish_completes).needs(Need::Fish),
        test!(unknown_shell_is_refused),
    ]
    .map(|test| test.wrun_only("runc has a script of its own for bash alone"))
    .into()
}

/// The tested program comes first in PATH, as `wrun`, and the script is in a file.
fn shell(case: &Case, shell: &str, arguments: &[&str]) -> Command {
    let bin = case.dir.join("bin");
    std::fs::create_dir_all(&bin).expect("a directory");
    let link = bin.join("wrun");
    if !link.exists() {
        std::os::unix::fs::symlink(&case.runtime.path, link).expect("a link");
    }
    let script = case.call(&["completion", shell]).ok().stdout;
    std::fs::write(case.dir.join("script"), script).expect("a file");
    let mut command = Command::new(find_program(shell).expect("it is installed"));
    let path = std::env::var("PATH").expect("there is one");
    command
        .args(arguments)
        .env("PATH", format!("{}:{path}", bin.display()))
        .env("HOME", &case.dir)
        .current_dir(&case.dir)
        .stdin(Stdio::null());
    command
}

/// What bash would offer for a command line, of which the words are given as bash separates them.
fn bash(case: &Case, words: &[&str]) -> Vec<String> {
    let ask = "source ./script\n\
        complete -p wrun >/dev/null || exit 1\n\
        compopt() { echo \"compopt $*\"; }\n\
        COMP_WORDS=(wrun \"$@\") COMP_CWORD=$#\n\
        _wrun\n\
        printf '%s\\n' \"${COMPREPLY[@]}\"";
    let mut command = shell(case, "bash", &["--norc", "-c", ask, "bash"]);
    command.args(words);
    let output = case.finish(command).ok();
    let lines = output.lines();
    lines
        .into_iter()
        .filter(|line| !line.is_empty())
        .map(str::to_owned)
        .collect()
}

fn bash_completes(case: &Case) {
    let root = case.root.to_str().expect("UTF-8");
    assert_eq!(bash(case, &["pau"]), ["pause"]);
    assert_eq!(bash(case, &["create", "--pid"]), ["--pid-file", "--pidfd-socket"]);
    assert_eq!(bash(case, &["list", "--format", "=", "js"]), ["json"]);
    assert_eq!(bash(case, &["list", "--format", ""]), ["table", "json"]);
    assert_eq!(bash(case, &["create", "--pid-file", "x"]), ["compopt -o default"]);
    assert_eq!(bash(case, &["create", "-b", ""]), ["compopt -o dirnames"]);
    assert_eq!(bash(case, &["--root", root, "state", ""]), [] as [&str; 0]);
    let (first, second) = (
        case.container(&["sleep", "100"]),
        case.container(&["sleep", "100"]),
    );
    first.create();
    second.create();
    let ids = [first.id.clone(), second.id.clone()];
    assert_eq!(bash(case, &["--root", root, "state", ""]), ids);
    assert_eq!(
        bash(case, &["--root", "=", root, "exec", "-t", &ids[1]]),
        ids[1..]
    );
    assert_eq!(
        bash(case, &["--root", "/no/such/place", "state", ""]),
        [] as [&str; 0]
    );
}

/// zsh's own functions are stood in for: what matters is what they are handed.
fn zsh_completes(case: &Case) {
    let container = case.container(&["sleep", "100"]);
    container.create();
    let ask = "compdef() { }\n\
        _files() { print -r -- files $* }\n\
        _describe() { print -rl -- ${(P)2} }\n\
        source ./script\n\
        words=(wrun $*) CURRENT=$#words\n\
        _wrun";
    let ask = |words: &[&str]| {
        let mut command = shell(case, "zsh", &["-f", "-c", ask, "zsh"]);
        command.args(words);
        case.finish(command).ok().stdout
    };
    assert!(ask(&["pau"]).starts_with("pause:Suspend "));
    assert_eq!(ask(&["list", "--format=js"]), "--format=json:\n");
    assert_eq!(ask(&["--log", "x"]), "files\n");
    assert_eq!(ask(&["create", "-b", "x"]), "files -/\n");
    let root = case.root.to_str().expect("UTF-8");
    assert_eq!(
        ask(&["--root", root, "kill", &container.id[..4]]),
        format!("{}:\n", container.id)
    );
}

fn fish_completes(case: &Case) {
    let container = case.container(&["sleep", "100"]);
    container.create();
    let ask = |line: &str| {
        let command = shell(
            case,
            "fish",
            &["--no-config", "-c", "source ./script; complete -C $argv[1]", line],
        );
        case.finish(command).ok().stdout
    };
    assert!(ask("wrun pau").starts_with("pause\tSuspend "));
    assert_eq!(ask("wrun list --format=js"), "--format=json\n");
    assert!(ask("wrun --log scri").contains("script"));
    let root = case.root.to_str().expect("UTF-8");
    assert_eq!(
        ask(&format!("wrun --root {root} start ")),
        format!("{}\n", container.id)
    );
}

fn unknown_shell_is_refused(case: &Case) {
    case.names(&case.call(&["completion", "csh"]).code_is(1), &["csh"]);
}
