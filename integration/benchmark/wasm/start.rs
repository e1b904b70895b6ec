//! From the start of `run` to its end, for guests that print a line: warm (compiled code is in the cache), first
//! (it is not), and optimized (it is not, and the start waits for the optimising compiler).

use std::path::Path;
use std::process::Command;

use crate::docker::wait_for_compilers;
use crate::figures::{Plot, Table};
use crate::lifecycle::quiet;
use crate::measure::{Samples, time, turns};
use crate::{Bench, Place, Runtime, large};

/// Name in the table, bytes of the module (0: the guest `hello`), and how many cold rounds are worth their time.
const MODULES: [(&str, usize, usize); 4] = [
    ("hello", 0, 10),
    ("1 MB", 1_000_000, 5),
    ("17 MB", 17_000_000, 1),
    ("30 MB", 30_000_000, 0),
];

/// The columns.
const NATIVE: usize = 0;
const WARM: usize = 1;
const FIRST: usize = 2;
const OPTIMIZED: usize = 3;
const CACHED: usize = 4;
const COLD: usize = 5;

/// `wasmtime` is the command of that name; its columns are no containers, only the engine.
pub fn measure(bench: &Bench, ours: &Runtime, wasmtime: Option<&Path>) -> Table {
    let place = &bench.place;
    let native = place.bundle("native", &["/bin/echo", "Hello"]);
    let mut columns = vec!["native", "warm", "first", "optimized"];
    if wasmtime.is_some() {
        columns.extend(["wasmtime, cached", "wasmtime, cold"]);
    }
    let columns: Vec<String> = columns.into_iter().map(str::to_owned).collect();
    let mut table = Table::new("wasm", "Wasm: a whole run", "ms", columns);
    table.plot = Plot::None;
    table.note =
        "Warm runs take turns. Cold ones do not: ours are before them, wasmtime's after them.".to_owned();
    for (name, size, cold) in MODULES {
        let guest = if size == 0 {
            "/hello.wasm".to_owned()
        } else {
            place.add_guest(&format!("large-{size}"), &large::module(size))
        };
        let bundles = Bundles {
            native: native.clone(),
            quick: place.bundle(&format!("first-{size}"), &[&guest]),
            optimized: place.bundle_with(&format!("optimized-{size}"), &[&guest], |config| {
                config["annotations"] = serde_json::json!({ "org.wrun.wasm.first-run": "optimized" });
            }),
        };
        let mut samples: Vec<Samples> = table.columns.iter().map(|_| Samples::default()).collect();
        cold_starts(place, ours, &bundles, cold, &mut samples);
        // A busy processor makes every start slower, and the compiler behind the last cold one may be at work yet.
        wait_for_compilers();
        // Leaves the cache warm.
        time(run(place, ours, &bundles.optimized));
        let mut warm = vec![NATIVE, WARM];
        warm.extend(wasmtime.map(|_| CACHED));
        for round in 0..bench.options.rounds {
            for column in turns(round, warm.len()).map(|at| warm[at]) {
                let command = match (column, wasmtime) {
                    (CACHED, Some(program)) => of_wasmtime(place, program, &guest, true),
                    (NATIVE, _) => run(place, ours, &bundles.native),
                    _ => run(place, ours, &bundles.optimized),
                };
                samples[column].add(time(command));
            }
        }
        for _ in 0..cold {
            if let Some(program) = wasmtime {
                samples[COLD].add(time(of_wasmtime(place, program, &guest, false)));
            }
        }
        table.add(name, samples.iter().map(Samples::figures).collect());
    }
    table
}

struct Bundles {
    native: std::path::PathBuf,
    quick: std::path::PathBuf,
    optimized: std::path::PathBuf,
}

fn run(place: &Place, ours: &Runtime, bundle: &Path) -> Command {
    place.command(
        ours,
        &["run", "--bundle", bundle.to_str().expect("UTF-8"), "guest"],
    )
}

fn cold_starts(place: &Place, ours: &Runtime, bundles: &Bundles, rounds: usize, samples: &mut [Samples]) {
    for _ in 0..rounds {
        for (column, bundle) in [(FIRST, &bundles.quick), (OPTIMIZED, &bundles.optimized)] {
            place.clear_cache();
            samples[column].add(time(run(place, ours, bundle)));
        }
    }
    place.clear_cache();
}

fn of_wasmtime(place: &Place, program: &Path, guest: &str, cached: bool) -> Command {
    let mut command = Command::new(program);
    // Its cache is configured by a file; a short one suffices.
    if cached {
        let file = place.file("wasmtime.toml");
        let directory = place.file("wasmtime-cache");
        std::fs::write(&file, format!("[cache]\ndirectory = {directory:?}\n")).expect("its configuration");
        command.arg("-C").arg(format!("cache-config={}", file.display()));
    } else {
        command.args(["-C", "cache=n"]);
    }
    command.arg(place.rootfs().join(&guest[1..]));
    quiet(command)
}
