//! From tests to trials: each test once for every runtime that can pass it, skipped with a reason where this
//! machine cannot run it; and the account at the end.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::AssertUnwindSafe;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use libtest_mimic::{Arguments, Failed, Trial};

use super::case::{self, Case};
use super::comparison::{Comparison, Outcome};
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
    peer_before: Option<(u32, &'static str)>,
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
            peer_before: None,
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

    /// Only a runc before version 1.`minor` can pass it, since that changed `what`.
    pub fn runc_before(mut self, minor: u32, what: &'static str) -> Self {
        self.peer_before = Some((minor, what));
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
    comparison: Arc<Mutex<Comparison>>,
}

impl Suite {
    /// A suite for `runtimes`.
    pub fn new(runtimes: Vec<Runtime>) -> Self {
        let names = runtimes.iter().map(|runtime| runtime.name.clone());
        Suite {
            comparison: Arc::new(Mutex::new(Comparison::new(names.collect()))),
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
                let too_new = test.peer_before.filter(|(minor, _)| runtime.is_runc_from(*minor));
                let missing = match (too_old, too_new) {
                    (Some((minor, what)), _) => Some(format!("runc has {what} from 1.{minor} on")),
                    (None, Some((minor, what))) => Some(format!("runc has {what} before 1.{minor} only")),
                    (None, None) => missing.clone().or_else(|| {
                        let need = test.peers_need.filter(|_| !runtime.ours);
                        need.and_then(Need::missing)
                    }),
                };
                let (test_name, column) = (name.clone(), runtime.name.clone());
                let runtime = if test.unified { runtime.unified() } else { runtime };
                let name = format!("{name}::{}", runtime.name);
                match missing {
                    Some(reason) => {
                        note(
                            &self.comparison,
                            &test_name,
                            &column,
                            Outcome::Skipped(reason.clone()),
                        );
                        self.skip(&name, reason);
                    }
                    None => {
                        let body = test.body;
                        let shown = name.clone();
                        let comparison = Arc::clone(&self.comparison);
                        self.trials.push(Trial::test(name, move || {
                            let result = run(&shown, body, runtime);
                            let outcome = match result {
                                Ok(()) => Outcome::Passed,
                                Err(_) => Outcome::Failed,
                            };
                            note(&comparison, &test_name, &column, outcome);
                            result
                        }));
                    }
                }
            }
        }
    }

    /// Adds trials that need no runtime.
    pub fn add_trials(&mut self, trials: Vec<Trial>) {
        self.trials.extend(trials);
    }

    /// Adds trials of what the tests say about themselves.
    pub fn add_checks(&mut self, checks: impl FnOnce(Vec<Covered>) -> Vec<Trial>) {
        let covered = std::mem::take(&mut self.covered);
        self.trials.extend(checks(covered));
    }

    /// Runs the trials that the command line asks for, and prints the account. Of several filters, which the command
    /// line cannot hold, `WRUN_TEST_ONLY` is a list: words of which a trial's name must contain one.
    pub fn run(mut self) -> ExitCode {
        let mut arguments = Arguments::from_args();
        let only = std::env::var("WRUN_TEST_ONLY").unwrap_or_default();
        self.trials.retain(|trial| any_word_within(&only, trial.name()));
        let asked = self.trials.iter();
        let asked = asked.filter(|trial| !arguments.is_filtered_out(trial));
        let asked: BTreeSet<String> = asked.map(|trial| trial.name().to_owned()).collect();
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
        let of_asked = |name: &String| asked.iter().any(|one| one.starts_with(&format!("{name}::")));
        for (reason, names) in &mut self.ours_only {
            names.retain(of_asked);
            if names.is_empty() {
                continue;
            }
            println!(
                "only wrun can pass ({}): {reason}: {}",
                names.len(),
                names.join(", ")
            );
        }
        for (reason, names) in &mut self.skipped {
            names.retain(|name| asked.contains(name));
            if names.is_empty() {
                continue;
            }
            println!("skipped ({}): {reason}: {}", names.len(), names.join(", "));
        }
        print!("{}", lock(&self.comparison).report());
        println!(
            "{} passed, {} failed, {} skipped",
            conclusion.num_passed, conclusion.num_failed, conclusion.num_ignored
        );
        conclusion.exit_code()
    }
}

/// Whether `text` contains one of the words of `list`; an empty list asks for nothing.
fn any_word_within(list: &str, text: &str) -> bool {
    list.trim().is_empty() || list.split_whitespace().any(|word| text.contains(word))
}

/// A trial's panic is caught in it, and not in here.
fn lock(comparison: &Mutex<Comparison>) -> std::sync::MutexGuard<'_, Comparison> {
    comparison.lock().unwrap_or_else(PoisonError::into_inner)
}

fn note(comparison: &Mutex<Comparison>, test: &str, runtime: &str, outcome: Outcome) {
    lock(comparison).note(test, runtime, outcome);
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
