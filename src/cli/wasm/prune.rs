//! `wrun wasm prune`.

use std::time::Duration;

use super::super::{Invocation, log::Log, write_stdout};
use super::existing_cache;
use crate::workload::wasm::{Bounds, Freed};

/// Remove compiled code from the cache.
///
/// A line for each removed entry has its key and its size in bytes; the last line has their sum. Containers that
/// run are not touched: they keep the code that they have mapped. What is removed is compiled anew when it is
/// needed. Several options remove what any of them says. Remains of processes that were killed, and quickly
/// compiled code where there is optimised code, are removed with any of them.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("what").required(true).multiple(true))]
pub struct Prune {
    /// Remove what was not used for so long: a number with s, m, h, d or w for seconds to weeks.
    #[arg(long, value_name = "DURATION", value_parser = duration, group = "what")]
    older_than: Option<Duration>,

    /// Remove the least recently used code until at most so many bytes are left.
    #[arg(long, value_name = "BYTES", group = "what")]
    size: Option<u64>,

    /// Remove all compiled code.
    #[arg(long, group = "what")]
    all: bool,
}

impl Prune {
    pub fn execute(&self, invocation: &Invocation, _log: &Log) -> anyhow::Result<u8> {
        let bounds = Bounds {
            size: self.size,
            age: self.older_than,
            all: self.all,
        };
        let freed = match existing_cache(invocation)? {
            Some(cache) => cache.prune(&bounds)?,
            None => Vec::new(),
        };
        write_stdout(account(&freed).as_bytes())?;
        Ok(0)
    }
}

fn account(freed: &[Freed]) -> String {
    let mut text: String = freed
        .iter()
        .map(|entry| format!("{} {}\n", entry.key, entry.size))
        .collect();
    let total: u64 = freed.iter().map(|entry| entry.size).sum();
    text.push_str(&format!("removed {} entries, {total} bytes\n", freed.len()));
    text
}

fn duration(text: &str) -> Result<Duration, String> {
    let seconds = text
        .char_indices()
        .last()
        .and_then(|(at, unit)| {
            let unit = match unit {
                's' => 1,
                'm' => 60,
                'h' => 3600,
                'd' => 24 * 3600,
                'w' => 7 * 24 * 3600,
                _ => return None,
            };
            text[..at].parse::<u64>().ok()?.checked_mul(unit)
        })
        .ok_or_else(|| "a whole number with s, m, h, d or w is expected, such as 30d".to_owned())?;
    Ok(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit() {
        assert_eq!(duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("2w"), Ok(Duration::from_secs(2 * 7 * 24 * 3600)));
        assert_eq!(duration("0d"), Ok(Duration::ZERO));
        for bad in ["", "d", "30", "-1d", "1.5h", "3x", "1é", "99999999999999999999w"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_was_freed_is_summed_up() {
        let freed = |key: &str, size| Freed {
            key: key.to_owned(),
            size,
        };
        let text = account(&[freed("aa", 3), freed("bb", 4)]);
        assert_eq!(text, "aa 3\nbb 4\nremoved 2 entries, 7 bytes\n");
        assert_eq!(account(&[]), "removed 0 entries, 0 bytes\n");
    }
}
