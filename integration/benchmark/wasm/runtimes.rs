//! A warm `run` of Wasm by every runtime that does it at all: youki and crun do where an engine was built in, and want to
//! be told by an annotation. Their compiled code is warm in so far as they keep any.

use serde_json::json;

use crate::figures::{Figures, Plot, Table};
use crate::measure::{Samples, time, turns};
use crate::{Bench, guest, large};

const MODULES: [(&str, usize); 2] = [("warm run of hello", 0), ("warm run of 1 MB", 1_000_000)];
/// Those that keep no compiled code take half a second each time.
const FEWER: usize = 5;

pub fn measure(bench: &mut Bench) -> Option<Table> {
    let bundles = MODULES.map(|(_, size)| {
        let bytes = if size == 0 {
            guest::binary("hello")
        } else {
            large::module(size)
        };
        let file = bench.place.add_guest(&format!("told-{size}"), &bytes);
        bench
            .place
            .bundle_with(&format!("told-{size}"), &[&file], |config| {
                config["annotations"] = json!({
                    "run.oci.handler": "wasm",
                    "module.wasm.image/variant": "compat",
                    "org.wrun.wasm.first-run": "optimized",
                });
            })
    });
    let (able, unable): (Vec<_>, Vec<_>) = bench
        .runtimes
        .clone()
        .into_iter()
        .partition(|runtime| bench.place.runs(runtime, &bundles[0]));
    for runtime in unable {
        bench
            .left_out
            .push(format!("Wasm by other runtimes: {} runs none", runtime.name));
    }
    if able.len() < 2 {
        return None;
    }
    let columns = able.iter().map(|runtime| runtime.name.clone()).collect();
    let mut table = Table::new("wasm-runtimes", "Wasm by other runtimes", "ms", columns);
    table.plot = Plot::Bars;
    for ((name, _), bundle) in MODULES.iter().zip(&bundles) {
        let bundle = bundle.to_str().expect("UTF-8");
        let run = |runtime| time(bench.place.command(runtime, &["run", "--bundle", bundle, "told"]));
        let mut samples = vec![Samples::default(); able.len()];
        // Leaves all caches warm.
        for runtime in &able {
            run(runtime);
        }
        for round in 0..(bench.options.rounds / FEWER).max(3) {
            for at in turns(round, able.len()) {
                samples[at].add(run(&able[at]));
            }
        }
        let figures: Vec<Option<Figures>> = samples.iter().map(Samples::figures).collect();
        table.add(name, figures);
    }
    Some(table)
}
