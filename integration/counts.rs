//! What commands cost, in numbers that do not depend on how busy the machine is: system calls and page faults. Each has
//! an upper bound, a little above what it is; whoever makes a command do more has to raise it here and say why.
//!
//! The bounds are for the test build. The release build makes the same calls and has about a third of the faults.

use std::collections::BTreeSet;
use std::process::Command;

use crate::harness::command::read;
use crate::harness::{Case, Container, Need, Test, test};

pub fn tests() -> Vec<Test> {
    let counted = |test: Test| test.needs(Need::Strace).wrun_only("the bounds are wrun's own");
    let mut tests = vec![
        counted(test!(calls_of_create)),
        counted(test!(calls_of_commands_on_a_container)),
        counted(test!(calls_of_a_whole_run)),
        counted(test!(calls_of_a_warm_guest)),
        counted(test!(calls_of_a_whole_exec)),
        test!(page_faults_of_state).wrun_only("the bounds are wrun's own"),
        test!(page_faults_of_exec).wrun_only("the bounds are wrun's own"),
    ];
    // The release is stripped of names.
    if cfg!(debug_assertions) {
        tests.push(test!(names_of_the_linker_s_order).wrun_only("the order is wrun's own"));
    }
    // src/sys/entry.rs is for this processor.
    if cfg!(target_arch = "x86_64") {
        tests.push(counted(test!(the_clone_is_executed_before_all_else)));
    }
    tests
}

/// The number of system calls of the runtime with `args`; with `all`, of its children and theirs too.
#[track_caller]
fn calls(case: &Case, all: bool, args: &[&str]) -> usize {
    let account = case.path("account");
    let mut tracer = vec!["strace", "-c", "-o", &account];
    if all {
        tracer.push("-f");
    }
    case.finish(case.command_under(&tracer, args)).ok();
    let text = read(std::path::Path::new(&account));
    let total = text.lines().find(|line| line.ends_with(" total"));
    // Share, seconds, each, calls, perhaps errors.
    let calls = total.and_then(|line| line.split_whitespace().nth(3));
    calls
        .and_then(|calls| calls.parse().ok())
        .unwrap_or_else(|| panic!("no account: {text}"))
}

/// Asserts that `count` is at most `bound`, and at least two thirds of it, or the bound is one no more.
#[track_caller]
fn bounded(what: &str, count: usize, bound: usize) {
    assert!(count <= bound, "{what}: {count}, at most {bound} are expected");
    assert!(
        count * 3 >= bound * 2,
        "{what}: {count}, and {bound} is no bound of that"
    );
}

fn create_args<'a>(bundle: &'a str, container: &'a Container) -> [&'a str; 4] {
    ["create", "--bundle", bundle, &container.id]
}

fn calls_of_create(case: &Case) {
    let container = case.container(&["sleep", "100"]);
    let bundle = container.bundle();
    // The first start fills the cache of seccomp filters.
    container.create();
    container.delete_with(&["--force"]).ok();
    bounded(
        "create",
        calls(case, false, &create_args(&bundle, &container)),
        290,
    );
}

/// The C library's start is paid for once.
fn the_clone_is_executed_before_all_else(case: &Case) {
    let account = case.path("account");
    let trace = ["strace", "-o", &account];
    for args in [
        &["create", "none"][..],
        &["run", "none"],
        &["exec", "none", "true"],
    ] {
        case.finish(case.command_under(&trace, args)).error();
        let text = read(std::path::Path::new(&account));
        let names = text
            .lines()
            .filter_map(|line| line.split_once('(').map(|(name, _)| name));
        let first: Vec<&str> = names.take(4).collect();
        assert_eq!(
            first,
            ["execve", "open_tree", "mount_setattr", "execveat"],
            "{args:?}"
        );
        assert_eq!(text.matches("execveat(").count(), 1, "{args:?}: {text}");
    }
    case.finish(case.command_under(&trace, &["state", "none"]))
        .error();
    let text = read(std::path::Path::new(&account));
    assert!(!text.contains("execveat("), "state enters no container: {text}");
}

fn calls_of_commands_on_a_container(case: &Case) {
    let container = case.container(&["sleep", "100"]);
    container.create();
    let id = container.id.as_str();
    for (args, bound) in [
        (&["state", id][..], 60),
        (&["start", id], 80),
        (&["exec", id, "true"], 220),
        (&["pause", id], 75),
        (&["resume", id], 70),
        (&["kill", id, "KILL"], 70),
    ] {
        bounded(args[0], calls(case, false, args), bound);
    }
    container.wait_for("stopped");
    bounded("delete", calls(case, false, &["delete", id]), 90);
}

fn calls_of_a_whole_run(case: &Case) {
    let container = case.container(&["true"]);
    let bundle = container.bundle();
    container.run().ok();
    let count = calls(case, true, &["run", "--bundle", &bundle, &container.id]);
    bounded("run", count, 960);
}

fn calls_of_a_warm_guest(case: &Case) {
    let container = crate::wasm::guest_with(case, "hello", &[], |_| {});
    let bundle = container.bundle();
    container.run().ok();
    case.cache_is_quiet();
    let count = calls(case, true, &["run", "--bundle", &bundle, &container.id]);
    bounded("run of a warm guest", count, 1250);
}

/// Of all processes: the one that enters the namespaces, and the program's own until it runs.
fn calls_of_a_whole_exec(case: &Case) {
    let container = case.container(&["sleep", "100"]);
    container.create();
    container.start();
    bounded("exec", calls(case, true, &["exec", &container.id, "true"]), 440);
}

fn page_faults_of_state(case: &Case) {
    let container = case.container(&["sleep", "100"]);
    container.create();
    let faults = page_faults(case, &["state", &container.id]);
    // 50 more since Spin and SpiderLightning: the program is half as large again, and what is needed lies further apart.
    bounded("state", faults, 370);
}

/// Of the command and all whom it has waited for.
fn page_faults_of_exec(case: &Case) {
    let container = case.container(&["sleep", "100"]);
    container.create();
    container.start();
    let faults = page_faults(case, &["exec", &container.id, "true"]);
    bounded("exec", faults, 980);
}

/// Page faults of the runtime with `args`, by a program that tells what another used.
#[track_caller]
fn page_faults(case: &Case, args: &[&str]) -> usize {
    let command: Command = case.command_under(&["busybox", "time", "-v"], args);
    let output = case.finish(command).ok();
    let line = output.stderr.lines().find(|line| line.contains("Minor"));
    let number = line.and_then(|line| line.split_whitespace().last()?.parse().ok());
    number.unwrap_or_else(|| panic!("busybox tells no faults: {output}"))
}

/// src/order.ld is for the release, where a name that is no more does no harm and no good; those of Rust's functions are in
/// the test build too. `integration/order` makes it anew.
fn names_of_the_linker_s_order(_: &Case) {
    let names = include_str!("../src/order.ld").lines().filter_map(|line| {
        // Those of generic functions say for what, which is not the same here.
        let name = line.trim().strip_prefix("*(.text.")?.strip_suffix(')')?;
        (name.starts_with("_RNv") && name.contains("*_4wrun")).then_some(name)
    });
    let names: BTreeSet<&str> = names.collect();
    let symbols = Command::new("nm").arg(env!("CARGO_BIN_EXE_wrun")).output();
    // It comes with the linker.
    let symbols = String::from_utf8(symbols.expect("nm starts").stdout).expect("UTF-8");
    let functions = symbols.lines().filter_map(|line| {
        let at = line.find(" _RNv")? + 1;
        Some(&line[at..]).filter(|name| name.contains("_4wrun"))
    });
    let functions: Vec<&str> = functions.collect();
    let is_there = |name: &&&str| functions.iter().any(|function| matches(function, name));
    let gone: Vec<_> = names.iter().filter(|name| !is_there(name)).collect();
    assert!(
        gone.len() * 10 <= names.len(),
        "{} of {} are no more: {gone:#?}",
        gone.len(),
        names.len()
    );
    assert!(names.len() > 200, "{}", names.len());
}

/// Whether a name is as a pattern says, which has `*` for hashes of crates.
fn matches(name: &str, pattern: &str) -> bool {
    let mut rest = Some(name);
    for piece in pattern.split('*') {
        rest = rest.and_then(|rest| Some(rest.split_once(piece)?.1));
    }
    rest == Some("")
}
