//! What a container costs in memory beside its own program: private dirty pages of its first process, and the most that
//! `create` had in memory.

use std::fs::File;
use std::time::{Duration, Instant};

use crate::figures::{Figures, Plot, Table};
use crate::measure::{LIMIT, attempt, finish, time};
use crate::{Bench, Runtime, guest};

/// How often each is looked at; they hardly differ.
const LOOKS: usize = 5;

/// kB of a line of /proc/PID/FILE (proc_pid_smaps(5), proc_pid_status(5)).
pub fn kilobytes(pid: &str, file: &str, field: &str) -> u64 {
    let path = format!("/proc/{}/{file}", pid.trim());
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let line = text.lines().find_map(|line| line.strip_prefix(field));
    let number = line.and_then(|rest| rest.trim().trim_end_matches(" kB").parse().ok());
    number.unwrap_or_else(|| panic!("{path} has no {field}"))
}

/// What `floor measure` has said: kB at the peak, page faults.
pub fn measured(text: &str) -> (u64, u64) {
    let line = text.lines().rev().find_map(|line| line.strip_prefix("measured "));
    let numbers = line.and_then(|line| {
        let (peak, faults) = line.split_once(' ')?;
        Some((peak.parse().ok()?, faults.parse().ok()?))
    });
    numbers.unwrap_or_else(|| panic!("the command said nothing of itself: {text}"))
}

impl Bench {
    /// Runs a command to its end; kB at its peak, and its page faults. Those who go on after it keep what it had open, so
    /// its output is a file.
    pub fn usage(&self, runtime: &Runtime, arguments: &[&str]) -> Result<(u64, u64), String> {
        let floor = self.floor.to_str().expect("UTF-8");
        let mut command = self.place.command_under(&[floor, "measure"], runtime, arguments);
        let said = self.place.file("said");
        command.stderr(File::create(&said).expect("a file of ours"));
        let mut child = command.spawn().map_err(|error| format!("{command:?}: {error}"))?;
        let status = finish(&mut child, LIMIT);
        let text = std::fs::read_to_string(&said).expect("a file of ours");
        if status.is_some_and(|status| status.success()) {
            Ok(measured(&text))
        } else {
            Err(format!("{command:?} ended with {status:?}: {text}"))
        }
    }
}

/// Of a created container: private dirty kB of the process that waits, and the peak of `create` and of that process.
fn waiting(bench: &Bench, runtime: &Runtime, bundle: &str) -> Result<(u64, u64), String> {
    let file = bench.place.file("pid");
    let pid_file = file.to_str().expect("UTF-8");
    let arguments = ["create", "--bundle", bundle, "--pid-file", pid_file, "look"];
    let (peak, _) = bench.usage(runtime, &arguments)?;
    let pid = std::fs::read_to_string(&file).expect("the pid file");
    let dirty = kilobytes(&pid, "smaps_rollup", "Private_Dirty:");
    let own_peak = kilobytes(&pid, "status", "VmHWM:");
    attempt(bench.place.command(runtime, &["delete", "--force", "look"]))?;
    Ok((dirty, peak.max(own_peak)))
}

pub fn measure(bench: &mut Bench) -> Table {
    // Pages of an executable that was built just now count as dirty until they are written.
    nix::unistd::sync();
    let columns: Vec<String> = bench
        .runtimes
        .iter()
        .map(|runtime| runtime.name.clone())
        .collect();
    let mut table = Table::new("memory", "Memory", "kB", columns);
    table.note = "The peak is that of the process with the greatest one, of the command and all it has made: pages of \
                  the executable that others have in memory too are in it."
        .to_owned();
    table.plot = Plot::Bars;
    let native = bench.place.bundle("memory-native", &["/bin/sleep", "100"]);
    let native = native.to_str().expect("UTF-8");
    let (mut dirty, mut peak) = (Vec::new(), Vec::new());
    for runtime in bench.runtimes.clone() {
        let looks: Result<Vec<_>, String> = (0..LOOKS).map(|_| waiting(bench, &runtime, native)).collect();
        let looks = looks.unwrap_or_else(|error| {
            assert!(!runtime.is_ours(), "{error}");
            bench.left_out.push(format!("memory: {error}"));
            Vec::new()
        });
        let figures = |value: fn(&(u64, u64)) -> u64| {
            Figures::of(&looks.iter().map(|look| value(look) as f64).collect::<Vec<_>>())
        };
        dirty.push(figures(|look| look.0));
        peak.push(figures(|look| look.1));
    }
    table.add("waiting init, private dirty", dirty);
    table.add("create, peak", peak);
    let guests = bench.runtimes.iter().map(|runtime| {
        let values: Vec<f64> = (0..LOOKS).map(|_| guest_waiting(bench, runtime) as f64).collect();
        Figures::of(&values)
    });
    // Only ours runs a guest without being told that it is one.
    let own: Vec<_> = guests.take(usize::from(bench.ours().is_some())).collect();
    table.add("Wasm guest that waits, private dirty", own);
    table
}

/// What the guest `sleep` says before it waits.
pub const SAID: &str = "sleeping\n";

/// Waits until a container's process has come as far as `ready` sees, and all its threads sleep.
pub fn wait_until_idle(pid: &str, ready: impl Fn() -> bool) {
    let start = Instant::now();
    while !(ready() && asleep(pid)) {
        assert!(
            start.elapsed() < LIMIT,
            "the guest of process {pid} does not get to its waiting"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Whether all threads of a process sleep (proc_pid_stat(5)).
fn asleep(pid: &str) -> bool {
    let path = format!("/proc/{}/task", pid.trim());
    let threads = std::fs::read_dir(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    threads.flatten().all(|thread| {
        std::fs::read_to_string(thread.path().join("stat")).is_ok_and(|text| text.contains(") S "))
    })
}

fn guest_waiting(bench: &Bench, runtime: &Runtime) -> u64 {
    let bundle = bench.place.file("memory-wasm");
    if !bundle.exists() {
        bench.place.add_guest("sleep", &guest::binary("sleep"));
        bench.place.bundle("memory-wasm", &["/sleep.wasm"]);
    }
    let file = bench.place.file("pid");
    let pid_file = file.to_str().expect("UTF-8");
    let bundle = bundle.to_str().expect("UTF-8");
    let said = bench.place.file("guest-said");
    let arguments = [
        "run",
        "--detach",
        "--bundle",
        bundle,
        "--pid-file",
        pid_file,
        "look",
    ];
    let mut command = bench.place.command(runtime, &arguments);
    command.stdout(File::create(&said).expect("a file of ours"));
    time(command);
    let pid = std::fs::read_to_string(&file).expect("the pid file");
    let has_said = || std::fs::read_to_string(&said).is_ok_and(|text| text == SAID);
    wait_until_idle(&pid, has_said);
    let dirty = kilobytes(&pid, "smaps_rollup", "Private_Dirty:");
    time(bench.place.command(runtime, &["delete", "--force", "look"]));
    dirty
}
