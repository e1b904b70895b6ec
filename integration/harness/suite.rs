//! From tests to trials: each test once for every runtime that can pass it, skipped with a reason where this
//! machine cannot run it; and the account at the end.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};

use super::case::{self, Case};
use super::facts::Need;
use super::runtime::Runtime;

/// One test, before it is given a runtime.
pub struct Test {
    name: &'static str,
    body: fn(&Case),
    needs: Vec<Need>,
    ours_only: Option<&'static str>,
    unified: bool,
    peer_from: Option<(u32, &'static str)>,
    peers_need: Option<Need>,
    covers: Vec<&'static str>,
}

impl Test {
    /// A test for every runtime.
    pub fn new(name: &'static str, body: fn(&Case)) -> Self {
        Test {
            name,
            body,
            needs: Vec::new(),
            ours_only: None,
            unified: false,
            peer_from: None,
            peers_need: None,
            covers: Vec::new(),
        }
    }

    /// Skipped where the machine lacks `need`.
    pub fn needs(mut self, need: Need) -> Self {
        self.needs.push(need);
        self
    }

    /// Only wrun can pass it, because of `reason`.
    pub fn wrun_only(mut self, reason: &'static str) -> Self {
        self.ours_only = Some(reason);
        self
    }

    /// Only a runc of version 1.`minor` or newer can pass it, since that brought `what`.
    pub fn runc_from(mut self, minor: u32, what: &'static str) -> Self {
        self.peer_from = Some((minor, what));
        self
    }

    /// Where the machine lacks `need`, wrun alone can pass it.
    pub fn peers_need(mut self, need: Need) -> Self {
        self.peers_need = Some(need);
        self
    }

    /// What it asserts of config.json, for the table in README.md: `process.user.uid`, several as `a.{b,c}`, values of
    /// a closed set as `linux.namespaces.type=pid`, all that begins so as `windows.*`.
    pub fn covers(mut self, properties: &[&'static str]) -> Self {
        self.covers.extend(properties);
        self
    }

    /// Run in a pure cgroup v2 tree.
    pub fn unified(self) -> Self {
        Test {
            unified: true,
            ..self.needs(Need::UnifiedTree)
        }
    }
}

/// A claim of a test to cover properties.
pub struct Covered {
    /// With its topic.
    pub test: String,
    /// As [`Test::covers`] takes them.
    pub pattern: &'static str,
    /// Whether a peer passes the test too.
    pub on_runc: bool,
}

/// All trials, and what is to be said about those that do not run.
pub struct Suite {
    runtimes: Vec<Runtime>,
    trials: Vec<Trial>,
    /// Reasons, and the trials skipped for each.
    skipped: BTreeMap<String, Vec<String>>,
    /// Reasons, and the tests that only wrun can pass.
    ours_only: BTreeMap<&'static str, Vec<String>>,
    covered: Vec<Covered>,
}

impl Suite {
    /// A suite for `runtimes`.
    pub fn new(runtimes: Vec<Runtime>) -> Self {
        Suite {
            runtimes,
            trials: Vec::new(),
            skipped: BTreeMap::new(),
            ours_only: BTreeMap::new(),
            covered: Vec::new(),
        }
    }

    /// Adds a trial that cannot run.
    pub fn skip(&mut self, name: &str, reason: String) {
        self.skipped.entry(reason).or_default().push(name.to_owned());
        self.trials
            .push(Trial::test(name, || Ok(())).with_ignored_flag(true));
    }

    /// Adds the tests of one topic.
    pub fn add(&mut self, topic: &str, tests: Vec<Test>) {
        let root = rustix::process::geteuid().is_root();
        for test in tests {
            let name = format!("{topic}::{}", test.name);
            if let Some(reason) = test.ours_only {
                self.ours_only.entry(reason).or_default().push(name.clone());
            }
            self.covered.extend(test.covers.iter().map(|pattern| Covered {
                test: name.clone(),
                pattern,
                on_runc: test.ours_only.is_none(),
            }));
            let missing = if root {
                test.needs.iter().find_map(|need| need.missing())
            } else {
                Some("the tests need root".to_owned())
            };
            for runtime in self.runtimes.clone() {
                if test.ours_only.is_some() && !runtime.ours {
                    continue;
                }
                let too_old = test
                    .peer_from
                    .filter(|(minor, _)| !runtime.ours && runtime.minor < *minor);
                let missing = match too_old {
                    Some((minor, what)) => Some(format!("runc has {what} from 1.{minor} on")),
                    None => missing.clone().or_else(|| {
                        let need = test.peers_need.filter(|_| !runtime.ours);
                        need.and_then(Need::missing)
                    }),
                };
                let runtime = if test.unified { runtime.unified() } else { runtime };
                let name = format!("{name}::{}", runtime.name);
                match missing {
                    Some(reason) => self.skip(&name, reason),
                    None => {
                        let body = test.body;
                        let shown = name.clone();
                        self.trials
                            .push(Trial::test(name, move || run(&shown, body, runtime)));
                    }
                }
            }
        }
    }

    /// Adds trials of what the tests say about themselves.
    pub fn add_checks(&mut self, checks: impl FnOnce(Vec<Covered>) -> Vec<Trial>) {
        let covered = std::mem::take(&mut self.covered);
        self.trials.extend(checks(covered));
    }

    /// Runs the trials that the command line asks for, and prints the account.
    pub fn run(self) -> ExitCode {
        let mut arguments = Arguments::from_args();
        // More at once would measure the machine, not the runtime.
        arguments.test_threads.get_or_insert(2);
        std::panic::set_hook(Box::new(|info| {
            // The message of a failed assertion, kept for the report instead of printed among other tests.
            PANIC.with(|slot| slot.replace(info.to_string()));
        }));
        let conclusion = libtest_mimic::run(&arguments, self.trials);
        if arguments.list {
            return ExitCode::SUCCESS;
        }
        super::docker::stop();
        let _ = std::fs::remove_dir(case::base()); // Kept where a mount under it could not be removed.
        for (reason, names) in &self.ours_only {
            println!(
                "only wrun can pass ({}): {reason}: {}",
                names.len(),
                names.join(", ")
            );
        }
        for (reason, names) in &self.skipped {
            println!("skipped ({}): {reason}: {}", names.len(), names.join(", "));
        }
        println!(
            "{} passed, {} failed, {} skipped",
            conclusion.num_passed, conclusion.num_failed, conclusion.num_ignored
        );
        conclusion.exit_code()
    }
}

thread_local! {
    static PANIC: std::cell::RefCell<String> = const { std::cell::RefCell::new(String::new()) };
}

/// The message of this thread's last panic.
pub fn take_panic() -> String {
    PANIC.take()
}

/// One trial. A peer gets a second try, which is told: its own races are not ours to mend, and a test that is wrong
/// fails twice. wrun gets none.
fn run(name: &str, body: fn(&Case), runtime: Runtime) -> Result<(), Failed> {
    let first = attempt(body, runtime.clone());
    match first {
        Err(failed) if !runtime.ours => {
            println!(
                "second try of {name}, since: {}",
                failed.message().unwrap_or_default()
            );
            attempt(body, runtime)
        }
        result => result,
    }
}

/// The test, then the search for what it left behind.
fn attempt(body: fn(&Case), runtime: Runtime) -> Result<(), Failed> {
    let case = Case::new(runtime);
    let passed = std::panic::catch_unwind(AssertUnwindSafe(|| body(&case)));
    let message = take_panic();
    let left = std::panic::catch_unwind(AssertUnwindSafe(|| case.clean()))
        .unwrap_or_else(|_| vec![format!("clean-up failed: {}", take_panic())]);
    match (passed, left.is_empty()) {
        (Ok(()), true) => Ok(()),
        (Ok(()), false) => Err(format!("left behind: {left:#?}").into()),
        (Err(_), true) => Err(message.into()),
        (Err(_), false) => Err(format!("{message}\nand left behind: {left:#?}").into()),
    }
}
