//! Measures whole commands of every runtime that is installed, interleaved in one run, holds the medians against the
//! goals, and refuses to call a noisy run a result. Started by `integration/bench`, which builds wrun's release first and
//! tells where it is in `WRUN`, and where the floor program is in `FLOOR`.
//!
//! A part fills tables (figures.rs); goals.rs, report.rs and svg.rs make the rest of them.

#[allow(dead_code, reason = "the tests use more of it")]
#[path = "../harness/bundle.rs"]
mod bundle;
mod counts;
mod docker;
#[allow(dead_code, reason = "the tests use more of it")]
#[path = "../harness/facts.rs"]
mod facts;
mod figures;
mod floor;
mod goals;
#[allow(dead_code, reason = "the tests use more of it")]
#[path = "../harness/guest.rs"]
mod guest;
#[allow(dead_code, reason = "the tests use more of it")]
#[path = "../harness/installed.rs"]
mod installed;
#[path = "../harness/large.rs"]
mod large;
mod lifecycle;
mod machine;
mod measure;
mod memory;
mod noise;
mod options;
mod parallel;
mod place;
#[allow(dead_code, reason = "the tests use more of it")]
#[path = "../harness/program.rs"]
mod program;
mod report;
mod svg;
mod wasm;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;

use clap::Parser;
use serde::{Deserialize, Serialize};

use facts::{MOUNT_UNIFIED, Need};
use figures::Table;
use machine::Machine;
use noise::{Look, Watch};
use options::{Options, Part, Tree};
use place::{Place, Runtime};
use report::Report;

/// A run that was too noisy.
const NOISY: u8 = 3;

/// What every part works with.
pub struct Bench {
    options: Options,
    place: Place,
    /// wrun's first; all can run a container here.
    runtimes: Vec<Runtime>,
    floor: PathBuf,
    /// What was not measured, and why.
    left_out: Vec<String>,
}

/// What was measured in one tree of cgroups.
#[derive(Default, Serialize, Deserialize)]
struct Measured {
    tables: Vec<Table>,
    looks: Vec<Look>,
    left_out: Vec<String>,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let begin = Instant::now();
    if let Some(file) = options.inner.clone() {
        let measured = Bench::new(options, false).measure();
        let json = serde_json::to_vec(&measured).expect("plain data");
        std::fs::write(&file, json).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        return ExitCode::SUCCESS;
    }
    let (publish, json, out) = (options.publish, options.json, options.out());
    let rounds = options.rounds;
    let mut machine = Machine::look();
    // Counts hardly depend on it.
    if options.parts() != [Part::Counts] {
        noise::wait_for_quiet(machine.processors);
    }
    let (measured, unified) = everything(options);
    if unified {
        machine.cgroups = "a pure cgroup v2 tree without device rules".to_owned();
    }
    let seconds = begin.elapsed().as_secs();
    let report = Report::new(
        machine,
        rounds,
        seconds,
        measured.tables,
        measured.looks,
        measured.left_out,
    );
    let save = |directory: &Path| {
        let saved = report.save(directory);
        saved.unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
        eprintln!("written to {}", directory.display());
    };
    save(&out);
    if json {
        println!("{}", serde_json::to_string_pretty(&report).expect("plain data"));
    } else {
        println!("{}", report.text());
    }
    if !report.noisy.is_empty() {
        eprintln!("noisy: not a result ({} reasons)", report.noisy.len());
        return ExitCode::from(NOISY);
    }
    if publish {
        save(&Path::new(env!("CARGO_MANIFEST_DIR")).join("integration/plots"));
    }
    ExitCode::SUCCESS
}

/// Measures in the tree of cgroups where all runtimes can run, if there is one. Docker stays in the machine's own.
fn everything(options: Options) -> (Measured, bool) {
    let mut bench = Bench::new(options, true);
    let all = Runtime::all(&bench.options.peer, bench.options.only_peers).len();
    let elsewhere = match bench.options.tree {
        Tree::Host => false,
        Tree::Unified => true,
        Tree::Auto => bench.runtimes.len() < all && Need::UnifiedTree.missing().is_none(),
    };
    // A tree that is pure already needs no other.
    if !elsewhere || Path::new("/sys/fs/cgroup/cgroup.procs").exists() {
        return (bench.measure(), false);
    }
    let parts = bench.options.parts();
    let (here, there): (Vec<Part>, Vec<Part>) = parts.into_iter().partition(|part| *part == Part::Docker);
    let mut measured = Measured::default();
    if !there.is_empty() {
        measured = in_unified_tree(&bench.options, &there);
    }
    if !here.is_empty() {
        bench.options.part = here;
        // Those that refused this tree are measured in the other.
        bench.left_out.clear();
        let own = bench.measure();
        measured.tables.extend(own.tables);
        // The load average is ours by now.
        measured
            .looks
            .extend(own.looks.into_iter().map(|look| Look { load: None, ..look }));
        measured.left_out.extend(own.left_out);
    }
    (measured, true)
}

/// This program again, in a mount namespace with a pure cgroup v2 tree.
fn in_unified_tree(options: &Options, parts: &[Part]) -> Measured {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("measured.json");
    let mut again = Command::new("unshare");
    again.args(["-m", "sh", "-c", MOUNT_UNIFIED, "x"]);
    again.arg(std::env::current_exe().expect("our own path"));
    again.args(options.again(parts)).arg("--inner").arg(&file);
    let status = again.status().expect("unshare starts");
    assert!(
        status.success(),
        "the part in a cgroup v2 tree ended with {status}"
    );
    let text = std::fs::read(&file).expect("what it has measured");
    serde_json::from_slice(&text).expect("what it has measured")
}

impl Bench {
    fn new(options: Options, devices: bool) -> Self {
        let place = Place::new(devices);
        let probe = place.bundle("probe", &["/bin/true"]);
        let all = Runtime::all(&options.peer, options.only_peers);
        let (runtimes, refusing): (Vec<_>, Vec<_>) = all
            .into_iter()
            .partition(|runtime| place.works(runtime, &[], &probe));
        let left_out = refusing
            .iter()
            .map(|runtime| format!("{} cannot run a container here", runtime.name));
        let floor = std::env::var_os("FLOOR").map(PathBuf::from);
        Bench {
            left_out: left_out.collect(),
            floor: floor.expect("FLOOR names the floor program, as integration/bench does"),
            options,
            place,
            runtimes,
        }
    }

    /// What a part that has failed left of its containers.
    fn clean(&self) {
        for runtime in &self.runtimes {
            let [_, root] = self.place.root_of(runtime);
            for entry in std::fs::read_dir(root).into_iter().flatten().flatten() {
                let name = entry.file_name();
                let id = name.to_str().unwrap_or_default();
                // Not everything there need be a container.
                let _ = measure::attempt(self.place.command(runtime, &["delete", "--force", id]));
            }
        }
    }

    fn ours(&self) -> Option<&Runtime> {
        self.runtimes.first().filter(|runtime| runtime.is_ours())
    }

    fn measure(mut self) -> Measured {
        let floor = self.floor.clone();
        let mut watch = Watch::new(move || {
            let mut command = Command::new(&floor);
            command.arg("hello");
            command
        });
        watch.look("before");
        let mut tables = Vec::new();
        for part in self.options.parts() {
            eprintln!("measuring: {part:?}");
            tables.extend(self.part(part));
            // What was left to do in the background is not others' work.
            docker::wait_for_compilers();
            watch.look(&format!("after {part:?}"));
        }
        Measured {
            tables,
            looks: watch.looks,
            left_out: std::mem::take(&mut self.left_out),
        }
    }

    fn part(&mut self, part: Part) -> Vec<Table> {
        let wasmtime = wasm::wasmtime();
        let ours = self.ours().cloned();
        let one = |table: Option<Table>| table.into_iter().collect();
        match (part, ours) {
            (Part::Lifecycle, _) => one(lifecycle::measure(self, &lifecycle::PLAIN)),
            (Part::Userns, _) => one(lifecycle::measure(self, &lifecycle::USER_NAMESPACE)),
            (Part::Systemd, _) => match Need::Systemd.missing() {
                None => one(lifecycle::measure(self, &lifecycle::SYSTEMD)),
                Some(why) => {
                    self.left_out.push(format!("systemd: {why}"));
                    Vec::new()
                }
            },
            (Part::Parallel, _) => vec![parallel::measure(self)],
            (Part::Memory, _) => vec![memory::measure(self)],
            (Part::Counts, _) => counts::measure(self),
            (Part::Docker, _) => one(docker::measure(self)),
            (Part::Wasm, Some(ours)) => {
                let own = wasm::start::measure(self, &ours, wasmtime.as_deref());
                [Some(own), wasm::runtimes::measure(self)]
                    .into_iter()
                    .flatten()
                    .collect()
            }
            (Part::Idle, Some(ours)) => vec![wasm::idle::measure(self, &ours)],
            (Part::Http, Some(ours)) => wasm::http::measure(self, &ours, wasmtime.as_deref()),
            (Part::Wasm | Part::Idle | Part::Http, None) => {
                self.left_out
                    .push(format!("{part:?}: there is no wrun to measure"));
                Vec::new()
            }
        }
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.clean();
    }
}
