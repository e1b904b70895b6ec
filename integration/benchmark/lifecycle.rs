//! create, start and delete of /bin/true, `run` of it, and `state`, for every runtime.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::measure::{Sample, Samples, time};
use crate::{Place, Runtime, facts, table};

/// Waits for the end of the container's process, as its pid file names it.
fn wait_for(pid_file: &Path) {
    let pid = std::fs::read_to_string(pid_file).expect("the pid file");
    // A zombie's namespaces are gone already, so what counts is that it runs no more.
    let stat = format!("/proc/{pid}/stat");
    while std::fs::read_to_string(&stat).is_ok_and(|text| !text.contains(") Z ")) {
        std::thread::sleep(Duration::from_micros(200));
    }
}

/// One cycle: create, start, delete.
fn cycle(place: &Place, runtime: &Runtime, bundle: &str) -> [Sample; 3] {
    let file = place.file(&format!("pid-{}", runtime.name));
    let pid_file = file.to_str().expect("UTF-8");
    let create = time(place.command(
        runtime,
        &["create", "--bundle", bundle, "--pid-file", pid_file, "cycle"],
    ));
    let start = time(place.command(runtime, &["start", "cycle"]));
    wait_for(&file);
    let delete = time(place.command(runtime, &["delete", "cycle"]));
    [create, start, delete]
}

/// The static program that is the least a command can cost: busybox's `true`, C, statically linked.
fn baseline() -> Command {
    let mut command = Command::new(facts::find_program("busybox").expect("busybox is installed"));
    command
        .arg("true")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}

/// Measures and prints.
pub fn measure(place: &Place, runtimes: &[Runtime], rounds: usize) {
    let bundle = place.bundle("true", &["/bin/true"]);
    let bundle = bundle.to_str().expect("UTF-8");
    let sleeping = place.bundle("sleeping", &["/bin/sleep", "100000"]);
    for runtime in runtimes {
        let arguments = [
            "run",
            "--detach",
            "--bundle",
            sleeping.to_str().expect("UTF-8"),
            "sleeping",
        ];
        time(place.command(runtime, &arguments));
    }
    let names = [
        "create",
        "start",
        "delete",
        "create + start + delete",
        "run",
        "state",
    ];
    let empty = || runtimes.iter().map(|_| Samples::default()).collect::<Vec<_>>();
    let mut rows: Vec<(&str, Vec<Samples>)> = names.iter().map(|name| (*name, empty())).collect();
    let mut least = Samples::default();
    for round in 0..rounds {
        for turn in 0..runtimes.len() {
            // Another runtime goes first in each round.
            let at = (round + turn) % runtimes.len();
            let runtime = &runtimes[at];
            let [create, start, delete] = cycle(place, runtime, bundle);
            let run = time(place.command(runtime, &["run", "--bundle", bundle, "foreground"]));
            let state = time(place.command(runtime, &["state", "sleeping"]));
            let samples = [create, start, delete, create + start + delete, run, state];
            for (row, sample) in rows.iter_mut().zip(samples) {
                row.1[at].add(sample);
            }
        }
        least.add(time(baseline()));
    }
    for runtime in runtimes {
        time(place.command(runtime, &["delete", "--force", "sleeping"]));
    }
    let columns: Vec<String> = runtimes.iter().map(|runtime| runtime.name.clone()).collect();
    table::print("Lifecycle", &columns, &rows);
    println!(
        "\nstatic `busybox true`: {:.2}/{:.2}",
        least.minimum(),
        least.median()
    );
    for (runtime, state) in runtimes.iter().zip(&rows[5].1) {
        println!(
            "{} state: ×{:.2} of that",
            runtime.name,
            state.median() / least.median()
        );
    }
}
