//! What CRIU writes into its log, of which one line is the reason of a failure.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags};

/// Logs are seldom longer; of a longer one the end is looked at, where the errors are.
const TAIL: u64 = 4 << 20;
/// Lines of an error that are told; the first is the cause, the others what came of it.
const LINES: usize = 3;

/// The reason of a failure, and where more is to be read.
pub(super) fn reason(log: &Path, said: &str) -> String {
    // One that cannot be read has no reason in it.
    let text = tail(log).unwrap_or_default();
    let errors = errors(&String::from_utf8_lossy(&text));
    let reason = match (errors.as_str(), said) {
        ("", "") => "it gives no reason".to_owned(),
        ("", said) => said.to_owned(),
        (errors, "") => errors.to_owned(),
        (errors, said) => format!("{errors}; {said}"),
    };
    if text.is_empty() {
        return reason;
    }
    format!("{reason} (log: {})", log.display())
}

/// The end of a file that is one: CRIU made it, but others may reach its directory.
fn tail(log: &Path) -> io::Result<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let mut file = File::from(rustix::fs::open(log, flags, Mode::empty())?);
    let stat = rustix::fs::fstat(&file)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let size = u64::try_from(stat.st_size).unwrap_or(0);
    file.seek(SeekFrom::Start(size.saturating_sub(TAIL)))?;
    let mut text = Vec::new();
    file.take(TAIL).read_to_end(&mut text)?;
    Ok(text)
}

/// The first lines that tell of an error, without their times.
fn errors(log: &str) -> String {
    let lines: Vec<&str> = log
        .lines()
        .filter_map(|line| Some(&line[line.find("Error (").or_else(|| line.find("Error:"))?..]))
        // It goes on without: a host may have taken the right to raise limits away.
        .filter(|line| !line.contains("RLIMIT_NOFILE"))
        .map(str::trim_end)
        .take(LINES)
        .collect();
    lines.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_errors_are_the_reason() {
        let log = "(00.001) Running\n\
            (00.005) mnt: Found it\n\
            (00.010) Error (criu/files-reg.c:1831): Can't lookup mount=42 for fd=1 path=/x\n\
            pie: 7: Error (criu/pie/parasite.c:9): other\n\
            (00.011) Unlock network\n\
            (00.012) Error (criu/cr-dump.c:2128): Dumping FAILED.\n\
            (00.013) Error (criu/x.c:1): more\n";
        let reason = errors(log);
        assert!(
            reason.starts_with("Error (criu/files-reg.c:1831): Can't lookup"),
            "{reason}"
        );
        assert!(reason.ends_with("Dumping FAILED."), "{reason}");
        assert_eq!(errors("all is well\n"), "");
        assert_eq!(
            super::reason(Path::new("/nowhere/log"), "Operation not permitted"),
            "Operation not permitted"
        );
    }
}
