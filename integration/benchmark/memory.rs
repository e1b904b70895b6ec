//! What a container costs in memory beside its own program: private dirty pages of its first process.

use crate::measure::time;
use crate::{Place, Runtime};

/// Private dirty kB of a process, of /proc/PID/smaps_rollup.
fn private_dirty(pid: &str) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    text.lines()
        .find_map(|line| line.strip_prefix("Private_Dirty:"))?
        .trim()
        .trim_end_matches(" kB")
        .parse()
        .ok()
}

/// Creates (and starts, if told to) a container, looks, and deletes it.
fn look(place: &Place, runtime: &Runtime, bundle: &str, start: bool) -> Option<u64> {
    let file = place.file("pid");
    let pid_file = file.to_str().expect("UTF-8");
    time(place.command(
        runtime,
        &["create", "--bundle", bundle, "--pid-file", pid_file, "look"],
    ));
    if start {
        time(place.command(runtime, &["start", "look"]));
        // Until the guest has got to its waiting.
        std::thread::sleep(std::time::Duration::from_millis(300));
    }
    let dirty = private_dirty(&std::fs::read_to_string(&file).expect("the pid file"));
    time(place.command(runtime, &["delete", "--force", "look"]));
    dirty
}

/// Measures and prints.
pub fn measure(place: &Place, runtimes: &[Runtime]) {
    // Pages of an executable that was built just now count as dirty until they are written.
    nix::unistd::sync();
    println!(
        "\n## Private dirty memory of the first process, kB\n\n| | waiting for start | Wasm guest waiting |\n|---|---|---|"
    );
    let native = place.bundle("memory-native", &["/bin/sleep", "100"]);
    let wasm = place.bundle("memory-wasm", &["/sleep.wasm"]);
    for runtime in runtimes {
        let text = |value: Option<u64>| value.map_or_else(|| "?".to_owned(), |kb| kb.to_string());
        let created = text(look(place, runtime, native.to_str().expect("UTF-8"), false));
        let guest = if runtime.name == "wrun" {
            text(look(place, runtime, wasm.to_str().expect("UTF-8"), true))
        } else {
            "–".to_owned()
        };
        println!("| {} | {created} | {guest} |", runtime.name);
    }
}
