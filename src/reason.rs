//! How an error is told: on one line, with its causes, and the kernel's errors in the words that engines and
//! scripts know from runc. Decides nothing about what is an error, nor where it is written.

use std::io;

/// An error with its causes, each said once.
///
/// What the kernel said begins with a small letter and has no number: "permission denied", not "Permission
/// denied (os error 13)". Those are the words of Go, so of runc, and callers look for them. What others have written,
/// as a path in an image's manifest, neither begins another line nor steers a terminal.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = plain(error.to_string());
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = plain(error.to_string());
        if !text.ends_with(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    if text.chars().all(is_plain) {
        return text;
    }
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        if is_plain(character) {
            shown.push(character);
        } else {
            shown.extend(character.escape_unicode());
        }
    }
    shown
}

/// Whether a character only shows itself: no control character, none that changes the direction of writing,
/// none that is invisible.
pub fn is_plain(character: char) -> bool {
    !character.is_control()
        && !matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// How a signal is called in Go's words, which are those of strsignal(3) without the capital.
pub fn signal(number: i32) -> String {
    /// From SIGHUP, 1, on (signal(7)).
    const NAMES: [&str; 31] = [
        "hangup",
        "interrupt",
        "quit",
        "illegal instruction",
        "trace/breakpoint trap",
        "aborted",
        "bus error",
        "floating point exception",
        "killed",
        "user defined signal 1",
        "segmentation fault",
        "user defined signal 2",
        "broken pipe",
        "alarm clock",
        "terminated",
        "stack fault",
        "child exited",
        "continued",
        "stopped (signal)",
        "stopped",
        "stopped (tty input)",
        "stopped (tty output)",
        "urgent I/O condition",
        "CPU time limit exceeded",
        "file size limit exceeded",
        "virtual timer expired",
        "profiling timer expired",
        "window changed",
        "I/O possible",
        "power failure",
        "bad system call",
    ];
    match usize::try_from(number)
        .ok()
        .and_then(|number| NAMES.get(number.wrapping_sub(1)))
    {
        Some(name) => (*name).to_owned(),
        None => format!("signal {number}"),
    }
}

/// A text that ends with an error of the kernel in the standard library's words, with that in Go's.
fn plain(text: String) -> String {
    let number = text
        .strip_suffix(')')
        .and_then(|text| text.rsplit_once(" (os error "))
        .and_then(|(_, number)| number.parse().ok());
    let Some(number) = number else { return text };
    let standard = io::Error::from_raw_os_error(number).to_string();
    match (text.strip_suffix(&standard), standard.rsplit_once(" (os error ")) {
        (Some(before), Some((words, _))) => format!("{before}{}", uncapitalized(words)),
        _ => text,
    }
}

/// With a small first letter, unless the first word is an abbreviation.
fn uncapitalized(words: &str) -> String {
    let mut letters = words.chars();
    match letters.next() {
        Some(first) if letters.clone().next().is_some_and(char::is_lowercase) => {
            first.to_lowercase().chain(letters).collect()
        }
        _ => words.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    enum Failure {
        #[error("cannot open /x")]
        Open(#[source] io::Error),
        #[error("cannot open /x: {0}")]
        Quoted(#[source] io::Error),
        #[error(transparent)]
        Same(#[from] io::Error),
        #[error("{0}")]
        Text(&'static str),
        #[error("above")]
        Above(#[source] Box<Failure>),
    }

    #[test]
    fn the_kernels_errors_have_the_words_of_runc() {
        let error = io::Error::from_raw_os_error;
        for (failure, expected) in [
            (
                Failure::Open(error(2)),
                "cannot open /x: no such file or directory",
            ),
            (Failure::Quoted(error(13)), "cannot open /x: permission denied"),
            (Failure::Same(error(1)), "operation not permitted"),
            (Failure::Open(error(5)), "cannot open /x: input/output error"),
            (Failure::Open(error(763)), "cannot open /x: unknown error 763"),
            (Failure::Same(io::Error::other("Of Ours")), "Of Ours"),
            (Failure::Text("ends (os error 13)"), "ends (os error 13)"),
            (Failure::Text("ends (os error x)"), "ends (os error x)"),
            (
                Failure::Above(Box::new(Failure::Open(error(16)))),
                "above: cannot open /x: device or resource busy",
            ),
        ] {
            assert_eq!(chain(&failure), expected, "{failure:?}");
        }
        assert_eq!(uncapitalized("RFS specific error"), "RFS specific error");
        assert_eq!(uncapitalized(""), "");
    }

    #[test]
    fn signals_have_names() {
        for (number, name) in [
            (1, "hangup"),
            (9, "killed"),
            (15, "terminated"),
            (31, "bad system call"),
        ] {
            assert_eq!(signal(number), name);
        }
        for number in [0, -1, 32, 64] {
            assert_eq!(signal(number), format!("signal {number}"));
        }
    }

    #[test]
    fn an_error_is_one_line_that_steers_no_terminal() {
        let failure = Failure::Text("/a\r\nb\u{1b}[2J\u{202e}: is none");
        assert_eq!(chain(&failure), "/a\\u{d}\\u{a}b\\u{1b}[2J\\u{202e}: is none");
        assert_eq!(chain(&Failure::Text("\u{e4} is plain")), "\u{e4} is plain");
    }

    #[test]
    fn a_cause_that_was_told_is_not_told_again() {
        let failure = Failure::Quoted(io::Error::from_raw_os_error(13));
        assert_eq!(chain(&failure).matches("permission denied").count(), 1);
    }
}
