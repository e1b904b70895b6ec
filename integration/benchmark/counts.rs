//! What each command spends, in numbers that hardly depend on how busy the machine is: system calls, page faults, processes
//! and threads, and how much of the program is in its memory at its end.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::figures::{Figures, Table};
use crate::measure::{attempt, finish};
use crate::{Bench, Runtime, installed};

/// Calls that make a process or a thread.
const MAKERS: [&str; 4] = ["clone", "clone3", "fork", "vfork"];
/// How long anything here may take.
const PATIENCE: Duration = Duration::from_secs(30);

const ROWS: [&str; 7] = ["create", "start", "state", "kill", "exec", "delete", "run"];

/// What was counted of one command.
#[derive(Debug, Clone, Copy, Default)]
struct Count {
    calls: f64,
    made: f64,
    faults: f64,
    mapped_kb: f64,
}

/// Nothing without strace.
pub fn measure(bench: &mut Bench) -> Vec<Table> {
    if installed::find_program("strace").is_none() {
        bench.left_out.push("counts: strace is not installed".to_owned());
        return Vec::new();
    }
    let bundle = bench.place.bundle("counts", &["/bin/true"]);
    let waiting = bench.place.bundle("counts-waiting", &["/bin/sleep", "100000"]);
    let mut failures = Vec::new();
    let counted: Vec<[Option<Count>; 7]> = bench
        .runtimes
        .iter()
        .map(|runtime| {
            let subject = Subject {
                bench,
                runtime,
                bundle: bundle.to_str().expect("UTF-8"),
                waiting: waiting.to_str().expect("UTF-8"),
            };
            subject.all(&mut failures)
        })
        .collect();
    bench.left_out.extend(failures);
    /// The name in files, what is counted, its unit, and the figure.
    type Kind = (&'static str, &'static str, &'static str, fn(&Count) -> f64);
    let kinds: [Kind; 4] = [
        ("calls", "System calls", "calls of all processes", |count| {
            count.calls
        }),
        (
            "made",
            "Processes and threads made",
            "processes and threads",
            |count| count.made,
        ),
        (
            "faults",
            "Page faults",
            "minor faults of the command and whom it waited for",
            |count| count.faults,
        ),
        (
            "mapped",
            "Program in memory",
            "kB of files mapped in the command's process at its end",
            |count| count.mapped_kb,
        ),
    ];
    let columns: Vec<String> = bench
        .runtimes
        .iter()
        .map(|runtime| runtime.name.clone())
        .collect();
    let table = |(id, title, unit, value): (&str, &str, &str, fn(&Count) -> f64)| {
        let mut table = Table::new(id, title, unit, columns.clone());
        for (at, name) in ROWS.iter().enumerate() {
            table.add(
                name,
                counted
                    .iter()
                    .map(|counts| counts[at].and_then(|count| Figures::of(&[value(&count)])))
                    .collect(),
            );
        }
        table
    };
    kinds.map(table).into()
}

/// What brings a container to where a command is counted.
type Before = fn(&Subject<'_>) -> Result<(), String>;

struct Subject<'a> {
    bench: &'a Bench,
    runtime: &'a Runtime,
    bundle: &'a str,
    /// Its program waits.
    waiting: &'a str,
}

impl Subject<'_> {
    /// In the order of [`ROWS`]. A peer may fail; why goes to `failures`.
    fn all(&self, failures: &mut Vec<String>) -> [Option<Count>; 7] {
        let create = ["create", "--bundle", self.waiting, "counted"];
        let delete = ["delete", "--force", "counted"];
        let none: Before = |_| Ok(());
        let made: Before = |own| own.quietly(&["create", "--bundle", own.waiting, "counted"]);
        let running: Before = |own| own.quietly(&["run", "--detach", "--bundle", own.waiting, "counted"]);
        let ended: Before = |own| {
            own.quietly(&["create", "--bundle", own.bundle, "counted"])?;
            own.quietly(&["start", "counted"])?;
            own.until_stopped()
        };
        let run = ["run", "--bundle", self.bundle, "counted"];
        let commands: [(Before, &[&str], &[&str]); 7] = [
            (none, &create, &delete),
            (made, &["start", "counted"], &delete),
            (running, &["state", "counted"], &delete),
            (running, &["kill", "counted", "CONT"], &delete),
            (running, &["exec", "counted", "/bin/true"], &delete),
            (ended, &["delete", "counted"], &[]),
            (none, &run, &[]),
        ];
        commands.map(
            |(before, arguments, after)| match self.count(before, arguments, after) {
                Ok(count) => Some(count),
                Err(error) => {
                    assert!(!self.runtime.is_ours(), "{error}");
                    failures.push(format!("counts of {}: {error}", self.runtime.name));
                    // What is left, which may be nothing.
                    let _ = self.quietly(&delete);
                    None
                }
            },
        )
    }

    fn quietly(&self, arguments: &[&str]) -> Result<(), String> {
        attempt(self.bench.place.command(self.runtime, arguments)).map(drop)
    }

    fn until_stopped(&self) -> Result<(), String> {
        until("the container is stopped", || {
            let mut command = self.bench.place.command(self.runtime, &["state", "counted"]);
            let output = command.stdout(Stdio::piped()).output().ok()?;
            String::from_utf8_lossy(&output.stdout)
                .contains("\"stopped\"")
                .then_some(())
        })
    }

    /// Each figure is of a command of its own, since one way to count would count in another.
    fn count(&self, before: Before, arguments: &[&str], after: &[&str]) -> Result<Count, String> {
        let after = || {
            if after.is_empty() {
                Ok(())
            } else {
                self.quietly(after)
            }
        };
        before(self)?;
        let (calls, made) = self.calls(arguments, &after)?;
        before(self)?;
        let (_, faults) = self.bench.usage(self.runtime, arguments)?;
        after()?;
        before(self)?;
        let mapped_kb = self.mapped(arguments, &after)?;
        Ok(Count {
            calls,
            made,
            faults: faults as f64,
            mapped_kb,
        })
    }

    /// System calls of the command and all it makes, and how many of them made somebody. strace ends with the last of
    /// these, so what `after` removes has to be removed before.
    fn calls(
        &self,
        arguments: &[&str],
        after: &dyn Fn() -> Result<(), String>,
    ) -> Result<(f64, f64), String> {
        let account = self.bench.place.file("account");
        let account = account.to_str().expect("UTF-8");
        let tracer = ["strace", "-f", "-c", "-o", account];
        let mut child = self.spawn(&tracer, arguments);
        let mut seen = None;
        until("the traced command is over", || {
            seen = seen.take().or_else(|| self.command_of(&child));
            let over = seen.as_deref().is_some_and(is_over);
            (over || child.try_wait().ok()?.is_some()).then_some(())
        })?;
        after()?;
        self.finish(child, arguments)?;
        let calls = account_of(&std::fs::read_to_string(account).expect("strace's account"));
        let made = MAKERS.iter().filter_map(|name| calls.get(*name)).sum::<u64>();
        Ok((calls.values().sum::<u64>() as f64, made as f64))
    }

    /// kB of mapped files that are in the memory of the command's process when it is about to exit: strace holds it there.
    fn mapped(&self, arguments: &[&str], after: &dyn Fn() -> Result<(), String>) -> Result<f64, String> {
        let delay = [
            "strace",
            "-f",
            "-o",
            "/dev/null",
            "-e",
            "trace=exit_group",
            "-e",
            "inject=exit_group:delay_enter=700000",
        ];
        let child = self.spawn(&delay, arguments);
        let number = nix::libc::SYS_exit_group.to_string();
        let kb = until("the command is about to exit", || {
            let pid = self.command_of(&child)?;
            let threads = std::fs::read_dir(format!("/proc/{pid}/task")).ok()?;
            let mut calls = threads
                .flatten()
                .filter_map(|thread| std::fs::read_to_string(thread.path().join("syscall")).ok());
            let exits = calls.any(|call| call.split(' ').next() == Some(&number));
            exits.then(|| mapped_files(&pid))
        });
        let done = after();
        self.finish(child, arguments)?;
        done?;
        Ok(kb? as f64)
    }
}

impl Subject<'_> {
    /// The process of the command that strace has started; strace makes others for itself.
    fn command_of(&self, strace: &Child) -> Option<String> {
        let id = strace.id();
        let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")).ok()?;
        let program = self.runtime.path.to_str().expect("UTF-8");
        let mut pids = children.split_whitespace();
        let own = pids.find(|pid| {
            let line = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            line.split('\0').next() == Some(program)
        });
        own.map(str::to_owned)
    }

    fn spawn(&self, tracer: &[&str], arguments: &[&str]) -> Child {
        let mut command = self.bench.place.command_under(tracer, self.runtime, arguments);
        command.stderr(File::create(self.bench.place.file("said")).expect("a file of ours"));
        command
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"))
    }

    /// Waits for strace, which ends as its command did.
    fn finish(&self, mut strace: Child, arguments: &[&str]) -> Result<(), String> {
        let status = finish(&mut strace, PATIENCE);
        if status.is_some_and(|status| status.success()) {
            return Ok(());
        }
        let said = std::fs::read_to_string(self.bench.place.file("said")).unwrap_or_default();
        let name = &self.runtime.name;
        Err(format!(
            "{name} {arguments:?} under strace ended with {status:?}: {said}"
        ))
    }
}

fn until<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> Result<T, String> {
    let start = Instant::now();
    loop {
        if let Some(value) = condition() {
            return Ok(value);
        }
        if start.elapsed() > PATIENCE {
            return Err(format!("waited in vain: {what}"));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Whether the process has ended, waited for or not.
fn is_over(pid: &str) -> bool {
    let stat = std::fs::read_to_string(Path::new("/proc").join(pid).join("stat"));
    stat.map_or(true, |text| text.contains(") Z "))
}

/// Calls by name, of the table that `strace -c` writes.
fn account_of(text: &str) -> BTreeMap<String, u64> {
    let lines = text.lines().filter_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        // Share, seconds, each, calls, perhaps errors, name.
        let name = words.last().filter(|name| **name != "total")?;
        Some(((*name).to_owned(), words.get(3)?.parse().ok()?))
    });
    lines.collect()
}

/// kB of mappings of files, of /proc/PID/smaps (proc_pid_smaps(5)).
fn mapped_files(pid: &str) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps")).unwrap_or_default();
    resident_of_files(&text)
}

fn resident_of_files(smaps: &str) -> u64 {
    let mut of_file = false;
    let mut sum = 0;
    for line in smaps.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            // Addresses, permissions, offset, device, inode, and perhaps a path.
            [addresses, _, _, _, inode, ..] if addresses.contains('-') => of_file = inode != "0",
            ["Rss:", kb, _] if of_file => sum += kb.parse::<u64>().unwrap_or(0),
            _ => {}
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_is_read_with_and_without_errors() {
        let text = "% time     seconds  usecs/call     calls    errors syscall\n\
                    ------ ----------- ----------- --------- --------- ----------------\n\
                     60,00    0.000060           3        20         2 openat\n\
                     40.00    0.000040           2        10           clone3\n\
                    ------ ----------- ----------- --------- --------- ----------------\n\
                    100.00    0.000100           3        30         2 total\n";
        let calls = account_of(text);
        assert_eq!(
            calls.into_iter().collect::<Vec<_>>(),
            [("clone3".into(), 10), ("openat".into(), 20)]
        );
    }

    #[test]
    fn only_mappings_of_files_count() {
        let text = "00400000-00500000 r-xp 00000000 fe:00 77 /usr/bin/x\nSize: 1024 kB\nRss: 120 kB\n\
                    00600000-00700000 rw-p 00000000 00:00 0 [heap]\nRss: 50 kB\n\
                    00800000-00900000 r--p 00001000 fe:00 77 /usr/bin/x\nRss: 8 kB\n";
        assert_eq!(resident_of_files(text), 128);
    }
}
