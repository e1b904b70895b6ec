//! How a guest ended: in words on standard error, for who wrote it, and as the exit code of its process.

use std::io::Write;
use std::sync::Arc;

use wasmtime::{ThrownException, Trap, WasmBacktrace, WasmCoreDump};
use wasmtime_wasi::I32Exit;

use super::core_dump::Note;
use super::limits::Shortage;
use crate::plan::FUEL;
use crate::workload::exit;

/// What is known about a guest's end besides the error.
#[derive(Debug, Default)]
pub struct Circumstances {
    /// Memory that it asked for in vain, which may be why it failed.
    pub shortage: Option<Shortage>,
    /// What it had.
    pub fuel: Option<u64>,
    /// Which it is, where there are others.
    pub component: Option<Arc<str>>,
}

/// The exit code; with the reason on standard error where it is not the guest's own.
pub fn pronounce(outcome: wasmtime::Result<()>, circumstances: &Circumstances) -> u8 {
    let Err(error) = outcome else { return 0 };
    let (text, code) = judge(&error, circumstances);
    // One write, so that lines of others do not come between; there is nobody to tell where it fails.
    let _ = std::io::stderr().write_all(text.as_bytes());
    code
}

/// Whether the guest itself did what it may not, and was ended for it.
pub fn is_trap(error: &wasmtime::Error) -> bool {
    error.downcast_ref::<Trap>().is_some() || error.downcast_ref::<ThrownException>().is_some()
}

fn judge(error: &wasmtime::Error, circumstances: &Circumstances) -> (String, u8) {
    let (mut text, code) = match error.downcast_ref::<I32Exit>() {
        Some(I32Exit(code)) => (String::new(), exit::guest(*code)),
        None if is_trap(error) => (account(error, circumstances), exit::TRAP),
        None => (account(error, circumstances), exit::FAILURE),
    };
    if let Some(note) = error.downcast_ref::<Note>() {
        text.push_str(&format!("wrun: {note}\n"));
    }
    if let Some(shortage) = circumstances.shortage.filter(|_| code != 0) {
        text.push_str(&format!("wrun: {shortage}\n"));
    }
    (text, code)
}

/// What happened to a guest, in a line, and where in it, in lines below.
pub fn account(error: &wasmtime::Error, circumstances: &Circumstances) -> String {
    let what = if is_trap(error) { "trapped" } else { "failed" };
    let who = match &circumstances.component {
        Some(id) => format!("component `{id}`"),
        None => "the guest".to_owned(),
    };
    let mut text = format!("wrun: {who} {what}: {}\n", cause(error, circumstances));
    if let Some(backtrace) = error.downcast_ref::<WasmBacktrace>() {
        text.push_str(&stack(&backtrace.to_string()));
    }
    text
}

/// The chain of causes as one line, without what is told apart.
fn cause(error: &wasmtime::Error, circumstances: &Circumstances) -> String {
    if let Some(Trap::OutOfFuel) = error.downcast_ref() {
        let amount = circumstances.fuel.map(|fuel| format!(" of {fuel}"));
        return format!(
            "it has used up its fuel{} (annotation {FUEL})",
            amount.unwrap_or_default()
        );
    }
    if error.downcast_ref::<ThrownException>().is_some() {
        return "an exception was thrown that nothing caught".to_owned();
    }
    let apart = [
        error.downcast_ref::<Note>().map(Note::to_string),
        error
            .downcast_ref::<WasmBacktrace>()
            .map(WasmBacktrace::to_string),
        error.downcast_ref::<WasmCoreDump>().map(WasmCoreDump::to_string),
    ];
    let mut causes: Vec<String> = error
        .chain()
        .map(ToString::to_string)
        .filter(|cause| !apart.iter().flatten().any(|other| other == cause))
        .collect();
    if is_trap(error) {
        // What it was, before the engine's details about it.
        causes.reverse();
    }
    let line = causes.join(": ").replace('\n', " ");
    // Said already.
    line.strip_prefix("wasm trap: ").unwrap_or(&line).to_owned()
}

/// The engine's backtrace, newest call first, with runs of one frame (a recursion) said once.
fn stack(backtrace: &str) -> String {
    let mut text = String::from("wasm backtrace:\n");
    let mut last: Option<&str> = None;
    let mut repeated = 0;
    for frame in frames(backtrace) {
        // Without its number.
        let what = frame
            .trim_start()
            .trim_start_matches(|c: char| c.is_ascii_digit());
        if last == Some(what) {
            repeated += 1;
            continue;
        }
        text.push_str(&repetition(repeated));
        repeated = 0;
        last = Some(what);
        // A module without a name section.
        text.push_str(&frame.trim_end().replacen("<unknown>!", "", 1));
        text.push('\n');
    }
    text.push_str(&repetition(repeated));
    text
}

fn repetition(times: usize) -> String {
    match times {
        0 => String::new(),
        times => format!("       the same {times} more times\n"),
    }
}

/// The frames of a backtrace: each begins on a line with its number, and may go on (source lines, inlining).
fn frames(backtrace: &str) -> Vec<&str> {
    let is_first = |line: &str| {
        line.trim_start()
            .split_once(':')
            .is_some_and(|(number, _)| number.parse::<u32>().is_ok())
    };
    let mut starts = Vec::new();
    let mut at = 0;
    for line in backtrace.split_inclusive('\n') {
        if is_first(line) {
            starts.push(at);
        }
        at += line.len();
    }
    starts.push(backtrace.len());
    starts
        .windows(2)
        .filter_map(|ends| backtrace.get(ends[0]..ends[1]))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exit_code_is_the_guest_s_own() {
        let (text, code) = judge(&I32Exit(7).into(), &Circumstances::default());
        assert_eq!((text.as_str(), code), ("", 7));
        assert_eq!(pronounce(Ok(()), &Circumstances::default()), 0);
    }

    #[test]
    fn a_trap_is_one_line() {
        let error = wasmtime::Error::from(Trap::MemoryOutOfBounds);
        let (text, code) = judge(&error, &Circumstances::default());
        assert_eq!(
            (text.as_str(), code),
            ("wrun: the guest trapped: out of bounds memory access\n", 134)
        );
    }

    #[test]
    fn of_several_components_the_one_is_named() {
        let circumstances = Circumstances {
            component: Some(Arc::from("api")),
            ..Circumstances::default()
        };
        let (text, _) = judge(&Trap::MemoryOutOfBounds.into(), &circumstances);
        assert_eq!(
            text,
            "wrun: component `api` trapped: out of bounds memory access\n"
        );
    }

    #[test]
    fn spent_fuel_names_its_annotation() {
        let circumstances = Circumstances {
            fuel: Some(1000),
            ..Circumstances::default()
        };
        let (text, code) = judge(&Trap::OutOfFuel.into(), &circumstances);
        assert!(
            text.contains("org.wrun.wasm.fuel") && text.contains("1000") && code == 134,
            "{text}"
        );
    }

    #[test]
    fn causes_are_told_in_order() {
        let error = wasmtime::format_err!("no such thing").context("cannot begin");
        let (text, code) = judge(&error, &Circumstances::default());
        assert_eq!(
            (text.as_str(), code),
            ("wrun: the guest failed: cannot begin: no such thing\n", 1)
        );
    }

    #[test]
    fn a_recursion_is_told_once() {
        let backtrace = "error while executing at wasm backtrace:\n    0:     0x85 - m!deep\n\
                         \x20                   at a.c:3:4\n    1:     0x85 - m!deep\n\
                         \x20                   at a.c:3:4\n    2:     0x99 - m!main\n";
        let text = stack(backtrace);
        assert_eq!(text.matches("deep").count(), 1, "{text}");
        assert_eq!(text.matches("a.c:3:4").count(), 1, "{text}");
        assert!(
            text.contains("the same 1 more times") && text.contains("2:     0x99 - m!main"),
            "{text}"
        );
    }
}
