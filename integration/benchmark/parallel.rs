//! Many containers at once: from the first command to the last container running, for growing numbers.

use std::process::Child;
use std::time::{Duration, Instant};

use crate::figures::{Figures, Plot, Table};
use crate::measure::{attempt, finish, turns};
use crate::noise::settle;
use crate::{Bench, Runtime};

/// How many at once, and how many times that is measured: what a goal is about several times.
const NUMBERS: [(usize, usize); 4] = [(100, 3), (200, 1), (300, 1), (500, 3)];
/// Memory that a command of the hungriest runtime may take, kB: those that do not fit are left out.
const EACH_KB: u64 = 24_000;
/// How long all of them may take.
const LIMIT: Duration = Duration::from_secs(120);
/// Commands at once when all are deleted.
const AT_ONCE: usize = 8;

pub fn measure(bench: &mut Bench) -> Table {
    let bundle = bench.place.bundle("parallel", &["/bin/sleep", "100000"]);
    let bundle = bundle.to_str().expect("UTF-8");
    let runtimes = bench.runtimes.clone();
    let columns = runtimes.iter().map(|runtime| runtime.name.clone()).collect();
    let mut table = Table::new("parallel", "Containers at once, to all running", "ms", columns);
    table.plot = Plot::Lines;
    for (nth, (number, times)) in NUMBERS.into_iter().enumerate() {
        let fits = available_kb() > number as u64 * EACH_KB;
        let mut values = vec![Vec::new(); runtimes.len()];
        for at in (nth..nth + times).flat_map(|round| turns(round, runtimes.len())) {
            settle();
            let runtime = &runtimes[at];
            if fits || runtime.is_ours() || runtime.name.starts_with("crun ") {
                match all_running(bench, runtime, bundle, number) {
                    Ok(milliseconds) => values[at].push(milliseconds),
                    Err(error) => bench.left_out.push(error),
                }
            }
        }
        if !fits {
            bench.left_out.push(format!(
                "{number} at once: too little memory for all but wrun and crun"
            ));
        }
        table.add(
            &number.to_string(),
            values.iter().map(|values| Figures::of(values)).collect(),
        );
    }
    table
}

/// Milliseconds until so many run; why a peer did not get there.
fn all_running(bench: &Bench, runtime: &Runtime, bundle: &str, number: usize) -> Result<f64, String> {
    let ids: Vec<String> = (0..number).map(|at| format!("parallel-{at}")).collect();
    let start = Instant::now();
    let children: Vec<Child> = ids
        .iter()
        .map(|id| {
            let mut command = bench
                .place
                .command(runtime, &["run", "--detach", "--bundle", bundle, id]);
            command
                .spawn()
                .unwrap_or_else(|error| panic!("{command:?}: {error}"))
        })
        .collect();
    let mut failed = 0;
    for mut child in children {
        let status = finish(&mut child, LIMIT.saturating_sub(start.elapsed()));
        failed += usize::from(!status.is_some_and(|status| status.success()));
    }
    let taken = start.elapsed().as_secs_f64() * 1e3;
    delete(bench, runtime, &ids);
    if failed > 0 {
        let error = format!("{number} at once: {failed} failed by {}", runtime.name);
        assert!(!runtime.is_ours(), "{error}");
        return Err(error);
    }
    Ok(taken)
}

fn delete(bench: &Bench, runtime: &Runtime, ids: &[String]) {
    std::thread::scope(|scope| {
        for part in ids.chunks(ids.len().div_ceil(AT_ONCE)) {
            scope.spawn(move || {
                for id in part {
                    // One that failed may not be there.
                    let deleted = attempt(bench.place.command(runtime, &["delete", "--force", id]));
                    assert!(deleted.is_ok() || !runtime.is_ours(), "{deleted:?}");
                }
            });
        }
    });
}

/// Of /proc/meminfo, where it says.
fn available_kb() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").expect("/proc/meminfo");
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let number = line.and_then(|rest| rest.trim().trim_end_matches(" kB").parse().ok());
    number.expect("Linux tells that since 3.14")
}
