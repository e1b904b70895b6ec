//! The program behind `integration/fuzz`: tries what libFuzzer makes of the seeds. What must hold is written in the
//! library, beside the loaders (`workload::wasm::fuzz`).
//!
//! `WRUN_FUZZ_TARGET` is the name of the target, `WRUN_FUZZ_SEEDS` a directory for its seeds, and `WRUN_FUZZ_PLACE` an
//! empty one for the files that an input consists of; a file system in memory is the faster one.

#![no_main]

use std::fs;
use std::path::PathBuf;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use wrun::workload::wasm::fuzz::{Place, Target};

static TARGET: LazyLock<Target> = LazyLock::new(|| {
    let name = variable("WRUN_FUZZ_TARGET");
    Target::named(&name).unwrap_or_else(|| {
        let names = Target::ALL.map(Target::name).join(", ");
        panic!("WRUN_FUZZ_TARGET={name}: there is no such target; there are {names}")
    })
});

static PLACE: LazyLock<Place> = LazyLock::new(|| {
    let directory = PathBuf::from(variable("WRUN_FUZZ_PLACE"));
    Place::new(&directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()))
});

fuzz_target!(
    init: write_seeds(),
    |input: &[u8]| TARGET.examine(input, &PLACE)
);

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Before libFuzzer looks for them.
fn write_seeds() {
    let directory = PathBuf::from(variable("WRUN_FUZZ_SEEDS"));
    for (number, seed) in TARGET.seeds().iter().enumerate() {
        let copy = directory.join(number.to_string());
        fs::copy(seed, &copy).unwrap_or_else(|error| panic!("{}: {error}", copy.display()));
    }
}
