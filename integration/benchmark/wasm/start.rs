//! A Wasm `run`, warm and cold, against a native one.

use crate::measure::{Samples, time};
use crate::{Place, Runtime, table};

/// Measures and prints, for the runtimes that run Wasm: ours.
pub fn measure(place: &Place, runtimes: &[Runtime], rounds: usize) {
    let Some(ours) = runtimes.iter().find(|runtime| runtime.name == "wrun") else {
        println!("\nno runtime here runs Wasm");
        return;
    };
    // Both print a line: busybox through execve, the guest through our engine.
    let native = place.bundle("native", &["/bin/echo", "Hello"]);
    let wasm = place.bundle("wasm", &["/hello.wasm"]);
    let run = |bundle: &std::path::Path| {
        time(place.command(
            ours,
            &["run", "--bundle", bundle.to_str().expect("UTF-8"), "guest"],
        ))
    };
    let mut samples = [Samples::default(), Samples::default(), Samples::default()];
    run(&wasm);
    for round in 0..rounds {
        samples[0].add(run(&native));
        samples[1].add(run(&wasm));
        // Few cold ones suffice, and each costs as much as many warm ones.
        if round % 5 == 0 {
            let cache = place.cache();
            std::fs::rename(&cache, place.file("cache-before")).expect("a warm cache");
            samples[2].add(run(&wasm));
            std::fs::remove_dir_all(place.file("cache-before")).expect("it is ours");
        }
    }
    let columns = ["native", "Wasm, warm", "Wasm, cold"].map(str::to_owned);
    table::print("Wasm", &columns, &[("run", samples.into_iter().collect())]);
}
