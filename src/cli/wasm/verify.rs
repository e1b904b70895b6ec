//! `wrun wasm verify`.

use super::super::{Invocation, log::Log, write_stdout};
use super::existing_cache;
use crate::workload::wasm::{Finding, Verified};

/// Compare all compiled code in the cache with its digests.
///
/// Code that differs from what was compiled, and what lies under the name of one of the cache's files but is a
/// link, belongs to another user or can be written by one, is removed: the next container that needs it has it
/// compiled anew. Other files in the cache's directory are named and left. The exit status is 1 where anything
/// was found.
#[derive(Debug, clap::Args)]
pub struct Verify {}

impl Verify {
    pub fn execute(&self, invocation: &Invocation, _log: &Log) -> anyhow::Result<u8> {
        let verified = match existing_cache(invocation)? {
            Some(cache) => cache.verify()?,
            None => Verified::default(),
        };
        write_stdout(account(&verified).as_bytes())?;
        Ok(u8::from(!verified.findings.is_empty()))
    }
}

fn account(verified: &Verified) -> String {
    let mut text: String = verified.findings.iter().map(line).collect();
    let (sound, bad) = (verified.sound, verified.findings.len());
    text.push_str(&format!("{sound} entries are sound, {bad} files are not\n"));
    text
}

fn line(finding: &Finding) -> String {
    let Finding {
        name,
        problem,
        removed,
    } = finding;
    let done = if *removed { "removed" } else { "left where it is" };
    // The name may be anybody's: nothing in it may reach a terminal as it is.
    format!("{}: {problem}; {done}\n", name.escape_debug())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_found_is_told_with_what_was_done() {
        let finding = |name: &str, removed| Finding {
            name: name.to_owned(),
            problem: "is a symbolic link",
            removed,
        };
        let verified = Verified {
            sound: 2,
            findings: vec![finding("a.code", true), finding("x\x1b", false)],
        };
        assert_eq!(
            account(&verified),
            "a.code: is a symbolic link; removed\nx\\u{1b}: is a symbolic link; left where it is\n\
             2 entries are sound, 2 files are not\n"
        );
    }
}
