//! What each of many idle containers of one module keeps in memory: the proportional set size of its process.

use std::time::Duration;

use crate::measure::time;
use crate::{Place, Runtime};

const CONTAINERS: usize = 100;

/// Measures and prints, for the small guest `sleep` and for a `wasi:http` service that waits for requests.
pub fn measure(place: &Place, ours: &Runtime) {
    println!("\n## Memory of {CONTAINERS} idle containers of one module, kB each\n");
    println!("| | PSS, median | PSS, greatest | private dirty, median |\n|---|---|---|---|");
    let http = place.rootfs().join("http.wasm");
    std::fs::write(&http, include_bytes!("../../guests/http-02.wasm")).expect("the guest");
    for (name, file) in [
        ("a waiting command", "/sleep.wasm"),
        ("a wasi:http service", "/http.wasm"),
    ] {
        let bundle = place.bundle(&format!("idle{}", file.replace('/', "-")), &[file]);
        let mut pss = Vec::new();
        let mut dirty = Vec::new();
        let pids: Vec<String> = (0..CONTAINERS)
            .map(|at| start(place, ours, &bundle, at))
            .collect();
        // Until the last has got to its waiting.
        std::thread::sleep(Duration::from_secs(1));
        for pid in &pids {
            pss.push(kilobytes(pid, "Pss:"));
            dirty.push(kilobytes(pid, "Private_Dirty:"));
        }
        for at in 0..CONTAINERS {
            time(place.command(ours, &["delete", "--force", &id(at)]));
        }
        pss.sort_unstable();
        dirty.sort_unstable();
        let middle = CONTAINERS / 2;
        println!(
            "| {name} | {} | {} | {} |",
            pss[middle],
            pss[CONTAINERS - 1],
            dirty[middle]
        );
    }
}

fn id(at: usize) -> String {
    format!("idle-{at}")
}

/// Starts a container and gives its process.
fn start(place: &Place, ours: &Runtime, bundle: &std::path::Path, at: usize) -> String {
    let file = place.file(&format!("idle-pid-{at}"));
    let pid_file = file.to_str().expect("UTF-8");
    let bundle = bundle.to_str().expect("UTF-8");
    let arguments = [
        "run",
        "--detach",
        "--bundle",
        bundle,
        "--pid-file",
        pid_file,
        &id(at),
    ];
    time(place.command(ours, &arguments));
    std::fs::read_to_string(&file).expect("the pid file")
}

/// A line of /proc/PID/smaps_rollup (proc_pid_smaps(5)).
fn kilobytes(pid: &str, field: &str) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).expect("the guest still runs");
    let line = text.lines().find_map(|line| line.strip_prefix(field));
    let number = line.map(|rest| rest.trim().trim_end_matches(" kB").parse());
    number.expect("the field is there").expect("a number")
}
