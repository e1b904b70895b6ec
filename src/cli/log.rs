//! What wrun says to its caller besides its output: lines in the log file (`--log`) or on standard error, in
//! the two formats that engines read from runc. Must not decide what is said, only how it is written.
//!
//! Docker, containerd and CRI-O read the last line of the JSON form, and standard error where there is none.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;

use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::log_sink::Sink;

/// How a line is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// `time="2026-11-25T18:20:08Z" level=error msg="container does not exist"`.
    #[default]
    Text,
    /// `{"level":"error","msg":"container does not exist","time":"2026-11-25T18:20:08Z"}`.
    Json,
}

/// How grave a line is, from the least on; also from which level on lines are written (`--log-level`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    Debug,
    #[default]
    Warning,
    Error,
}

impl Level {
    const fn name(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// Where the lines of one command go.
#[derive(Debug)]
pub struct Log {
    sink: Sink,
    format: Format,
    /// Lines below it are not written.
    level: Level,
}

impl Log {
    /// A log on standard error, in text.
    pub const fn stderr() -> Self {
        Self {
            sink: Sink::Stderr,
            format: Format::Text,
            level: Level::Warning,
        }
    }

    /// Opens the log that `--log` names; a file is made with mode 0644 where it does not exist, and appended to.
    pub fn open(destination: Option<&Path>, format: Format, level: Level) -> anyhow::Result<Self> {
        let sink = Sink::open(destination)?;
        Ok(Self { sink, format, level })
    }

    /// A line for who looks into wrun itself.
    pub fn debug(&self, message: impl FnOnce() -> String) {
        if self.level <= Level::Debug {
            self.write(Level::Debug, &message());
        }
    }

    /// Something that the user should know, though the command goes on.
    pub fn warn(&self, message: &str) {
        self.write(Level::Warning, message);
    }

    /// The error that ended the command, with its causes, once; also on standard error, in plain text, where
    /// the log is a file.
    pub fn report(&self, error: &anyhow::Error) {
        self.fail(&crate::reason::chain(error.as_ref()));
    }

    /// As [`Self::report`], for an error that is text already.
    pub fn fail(&self, message: &str) {
        self.write(Level::Error, message);
        if self.sink.is_elsewhere() {
            // There is nowhere left to tell that standard error is closed.
            let _ = writeln!(std::io::stderr().lock(), "{message}");
        }
    }

    fn write(&self, level: Level, message: &str) {
        if level < self.level {
            return;
        }
        let line = line(self.format, level, message, OffsetDateTime::now_utc());
        // A log that cannot be written (a full disk) must not stop a container.
        let _ = self.sink.write(level, &line, message);
    }
}

/// One line, with its line feed.
fn line(format: Format, level: Level, message: &str, now: OffsetDateTime) -> String {
    // Whole seconds, as engines know them from runc. Writing a date as text fails only for years past 9999.
    let time = now
        .replace_nanosecond(0)
        .unwrap_or(now)
        .format(&Rfc3339)
        .unwrap_or_default();
    let mut line = match format {
        Format::Json => {
            #[derive(Serialize)]
            struct Line<'a> {
                level: Level,
                msg: &'a str,
                time: &'a str,
            }
            serde_json::to_string(&Line {
                level,
                msg: message,
                time: &time,
            })
            .unwrap_or_default()
        }
        Format::Text => {
            let mut line = format!("time={} level={} msg=", quoted(&time), level.name());
            // Writing into a String cannot fail.
            let _ = write!(line, "{}", quoted(message));
            line
        }
    };
    line.push('\n');
    line
}

/// A value of the text form: bare where it is one plain word, quoted and escaped otherwise.
fn quoted(value: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._/@^+".contains(c);
    if !value.is_empty() && value.chars().all(plain) {
        return value.to_owned();
    }
    serde_json::Value::from(value).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at() -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp_nanos(1_795_630_808_123_456_789).unwrap()
    }

    #[test]
    fn lines_are_those_that_engines_read_from_runc() {
        assert_eq!(
            line(Format::Text, Level::Error, "container does not exist", at()),
            "time=\"2026-11-25T18:20:08Z\" level=error msg=\"container does not exist\"\n"
        );
        assert_eq!(
            line(Format::Json, Level::Error, "container does not exist", at()),
            "{\"level\":\"error\",\"msg\":\"container does not exist\",\"time\":\"2026-11-25T18:20:08Z\"}\n"
        );
        assert!(line(Format::Text, Level::Warning, "x y", at()).contains(" level=warning "));
        assert!(line(Format::Json, Level::Debug, "x", at()).contains("\"level\":\"debug\""));
    }

    #[test]
    fn a_message_is_one_line_whatever_it_holds() {
        let evil = "a \"quoted\" \\ back\nslash\t\u{1} ü";
        for format in [Format::Text, Format::Json] {
            let line = line(format, Level::Error, evil, at());
            assert_eq!(line.matches('\n').count(), 1, "{line}");
            assert!(
                line.contains(r#"a \"quoted\" \\ back\nslash\t\u0001 ü"#),
                "{line}"
            );
        }
        assert!(line(Format::Text, Level::Error, "word", at()).ends_with(" msg=word\n"));
        assert!(line(Format::Text, Level::Error, "", at()).ends_with(" msg=\"\"\n"));
    }

    #[test]
    fn a_log_file_is_appended_to() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log.json");
        for _ in 0..2 {
            let log = Log::open(Some(&path), Format::Json, Level::Warning).unwrap();
            log.warn("first");
            log.debug(|| unreachable!("debug lines are made on that level only"));
        }
        let log = Log::open(Some(&path), Format::Json, Level::Error).unwrap();
        log.warn("not written");
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().count(), 2, "{text}");
        let nowhere = directory.path().join("none/log");
        assert!(Log::open(Some(&nowhere), Format::Text, Level::Warning).is_err());
    }
}
