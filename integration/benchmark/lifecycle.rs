//! create, start and delete of /bin/true, `run` of it, `exec`, `state` and `kill`, for every runtime: with Docker's
//! configuration as it is, with a user namespace, with systemd's driver. Beside them what the kernel itself takes: the
//! floor for `run`, and a static program that says hello for `state` and `kill`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::figures::{Plot, Table};
use crate::measure::{Sample, Samples, attempt, time, turns};
use crate::{Bench, Runtime, bundle, floor};

/// One way to configure the containers.
pub struct Setting {
    pub id: &'static str,
    title: &'static str,
    /// Of the runtime, before the command.
    flags: &'static [&'static str],
    /// Gets a name that no other bundle has.
    change: fn(&mut Value, &str),
}

pub const PLAIN: Setting = Setting {
    id: "lifecycle",
    title: "Lifecycle of /bin/true",
    flags: &[],
    change: |_, _| (),
};

pub const USER_NAMESPACE: Setting = Setting {
    id: "userns",
    title: "Lifecycle with a user namespace",
    flags: &[],
    change: |config, _| {
        bundle::map_ids(config, 100_000);
        // The range of the default has ids that are not mapped; Docker leaves it out too.
        let sysctls = config["linux"]["sysctl"]
            .as_object_mut()
            .expect("the fixture has some");
        sysctls.remove("net.ipv4.ping_group_range");
    },
};

pub const SYSTEMD: Setting = Setting {
    id: "systemd",
    title: "Lifecycle with systemd's driver",
    flags: &["--systemd-cgroup"],
    change: |config, name| {
        config["linux"]["cgroupsPath"] = json!(format!("system.slice:bench:{name}"));
        // Docker's weight of 0 is none; crun 1.28 asks systemd for it, which refuses.
        let resources = config["linux"]["resources"].as_object_mut();
        resources.expect("the fixture has some").remove("blockIO");
    },
};

const ROWS: [&str; 8] = [
    "create",
    "start",
    "delete",
    "create + start + delete",
    "run",
    "exec",
    "state",
    "kill",
];
const RUN: usize = 4;
const EXEC: usize = 5;
const STATE: usize = 6;
const KILL: usize = 7;
/// A peer that has failed so often at a thing is not asked for it again.
const FAILURES: usize = 2;

/// What a runtime has failed at: how often, and how it was the last time.
#[derive(Default)]
struct Failures {
    counts: [usize; 8],
    last: String,
}

impl Failures {
    /// The sample of a command for a row; `None` where it fails, which ours must not.
    fn attempt(&mut self, subject: &Subject<'_>, row: usize, command: Command) -> Option<Sample> {
        if self.counts[row] >= FAILURES {
            return None;
        }
        attempt(command)
            .inspect_err(|error| {
                assert!(!subject.runtime.is_ours(), "{error}");
                self.counts[row] += 1;
                self.last.clone_from(error);
            })
            .ok()
    }

    fn told(&self, setting: &Setting, subject: &Subject<'_>) -> Option<String> {
        let rows = ROWS.iter().zip(self.counts).filter(|(_, count)| *count > 0);
        let names: Vec<&str> = rows.map(|(name, _)| *name).collect();
        let (title, runtime) = (setting.title, &subject.runtime.name);
        let text = || format!("{title}: {runtime} failed at {}: {}", names.join(", "), self.last);
        (!names.is_empty()).then(text)
    }
}

/// A runtime with the bundles of its own.
struct Subject<'a> {
    runtime: &'a Runtime,
    cycle: PathBuf,
    sleeping: PathBuf,
}

/// `None` where no runtime can do that here.
pub fn measure(bench: &mut Bench, setting: &Setting) -> Option<Table> {
    let runtimes = bench.runtimes.clone();
    let make = |at: usize, kind: &str, args: &[&str]| {
        let name = format!("{}-{kind}-{at}", setting.id);
        bench
            .place
            .bundle_with(&name, args, |config| (setting.change)(config, &name))
    };
    let mut subjects = Vec::new();
    for (at, runtime) in runtimes.iter().enumerate() {
        let cycle = make(at, "true", &["/bin/true"]);
        let sleeping = make(at, "sleep", &["/bin/sleep", "100000"]);
        if bench.place.works(runtime, setting.flags, &cycle) {
            subjects.push(Subject {
                runtime,
                cycle,
                sleeping,
            });
        } else {
            bench.left_out.push(format!(
                "{}: {} cannot run that here",
                setting.title, runtime.name
            ));
        }
    }
    if subjects.is_empty() {
        return None;
    }
    let (table, failures) = bench.rounds(setting, &subjects);
    bench.left_out.extend(failures);
    Some(table)
}

impl Bench {
    fn rounds(&self, setting: &Setting, subjects: &[Subject<'_>]) -> (Table, Vec<String>) {
        let mut columns: Vec<String> = subjects
            .iter()
            .map(|subject| subject.runtime.name.clone())
            .collect();
        let with_least = setting.id == PLAIN.id;
        let floor = with_least.then(|| floor::Floor::new(self));
        if with_least {
            columns.extend(["floor", "static hello"].map(str::to_owned));
        }
        for subject in subjects {
            let bundle = subject.sleeping.to_str().expect("UTF-8");
            time(self.with(
                setting,
                subject,
                &["run", "--detach", "--bundle", bundle, "sleeping"],
            ));
        }
        let mut samples = vec![vec![Samples::default(); columns.len()]; ROWS.len()];
        let mut failures: Vec<Failures> = subjects.iter().map(|_| Failures::default()).collect();
        for round in 0..self.options.rounds {
            for at in turns(round, subjects.len()) {
                let taken = self.round(setting, &subjects[at], &mut failures[at]);
                for (row, sample) in samples.iter_mut().zip(taken) {
                    sample.into_iter().for_each(|sample| row[at].add(sample));
                }
            }
            if let Some(floor) = &floor {
                samples[RUN][subjects.len()].add(time(floor.launch(&["/bin/true"])));
                let hello = time(quiet(floor::hello(self)));
                samples[STATE][subjects.len() + 1].add(hello);
                samples[KILL][subjects.len() + 1].add(hello);
            }
        }
        for subject in subjects {
            time(self.with(setting, subject, &["delete", "--force", "sleeping"]));
        }
        let mut table = Table::new(setting.id, setting.title, "ms", columns);
        table.plot = Plot::Bars;
        for (name, samples) in ROWS.iter().zip(&samples) {
            table.add(name, samples.iter().map(Samples::figures).collect());
        }
        let failures = failures.iter().zip(subjects);
        let told = failures.filter_map(|(failures, subject)| failures.told(setting, subject));
        (table, told.collect())
    }

    fn with(&self, setting: &Setting, subject: &Subject<'_>, arguments: &[&str]) -> Command {
        self.place
            .command(subject.runtime, &[setting.flags, arguments].concat())
    }

    /// In the order of [`ROWS`].
    fn round(
        &self,
        setting: &Setting,
        subject: &Subject<'_>,
        failures: &mut Failures,
    ) -> [Option<Sample>; 8] {
        let bundle = subject.cycle.to_str().expect("UTF-8");
        // Not counted: it pays for what the runtime before it has left to do, and for a kernel that has moved no process
        // between cgroups for some time, which then takes 10 ms (the grace period of RCU).
        let warming = self.with(setting, subject, &["run", "--bundle", bundle, "foreground"]);
        if failures.attempt(subject, RUN, warming).is_none() {
            self.remove(setting, subject, "foreground");
        }
        let [create, start, delete] = self.cycle(setting, subject, failures);
        let mut own = |row: usize, arguments: &[&str]| {
            failures.attempt(subject, row, self.with(setting, subject, arguments))
        };
        let run = own(RUN, &["run", "--bundle", bundle, "foreground"]);
        let exec = own(EXEC, &["exec", "sleeping", "/bin/true"]);
        let state = own(STATE, &["state", "sleeping"]);
        // It does nothing to a process that runs.
        let kill = own(KILL, &["kill", "sleeping", "CONT"]);
        if run.is_none() {
            self.remove(setting, subject, "foreground");
        }
        let cycle = [create, start, delete]
            .into_iter()
            .reduce(|sum, one| Some(sum? + one?));
        [create, start, delete, cycle.flatten(), run, exec, state, kill]
    }

    fn cycle(
        &self,
        setting: &Setting,
        subject: &Subject<'_>,
        failures: &mut Failures,
    ) -> [Option<Sample>; 3] {
        let file = self.place.file("pid");
        let pid_file = file.to_str().expect("UTF-8");
        let bundle = subject.cycle.to_str().expect("UTF-8");
        let mut own = |row: usize, arguments: &[&str]| {
            failures.attempt(subject, row, self.with(setting, subject, arguments))
        };
        let create = own(
            0,
            &["create", "--bundle", bundle, "--pid-file", pid_file, "cycle"],
        );
        let start = create.and_then(|_| own(1, &["start", "cycle"]));
        let delete = start.and_then(|_| {
            wait_for(&file);
            own(2, &["delete", "cycle"])
        });
        if delete.is_none() {
            self.remove(setting, subject, "cycle");
        }
        [create, start, delete]
    }

    /// What a failure has left, which may be nothing.
    fn remove(&self, setting: &Setting, subject: &Subject<'_>, id: &str) {
        let _ = attempt(self.with(setting, subject, &["delete", "--force", id]));
    }
}

/// Waits for the end of the container's process, as its pid file names it.
fn wait_for(pid_file: &Path) {
    let pid = std::fs::read_to_string(pid_file).expect("the pid file");
    // A zombie's namespaces are gone already, so what counts is that it runs no more.
    let stat = format!("/proc/{}/stat", pid.trim());
    while std::fs::read_to_string(&stat).is_ok_and(|text| !text.contains(") Z ")) {
        std::thread::sleep(Duration::from_micros(200));
    }
}

/// Without input and output.
pub fn quiet(mut command: Command) -> Command {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}
