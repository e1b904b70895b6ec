//! What a guest uses is what its container uses: in `events`, in `ps`, and under `update`.

use super::*;
use crate::cgroups::assert_file;
use crate::events::{number, stats};

pub fn tests() -> Vec<Test> {
    vec![
        test!(memory_of_the_guest_is_in_the_figures),
        test!(time_of_the_guest_is_in_the_figures),
        test!(limits_of_a_guest_change),
        test!(quota_slows_a_guest),
    ]
}

fn memory_of_the_guest_is_in_the_figures(case: &Case) {
    let (sleeper, sleeping) = start_endless(case, "sleep", "sleeping");
    let (holder, holding) = start_endless(case, "hold", "holding");
    let small = number(&stats(&sleeper)["memory"]["usage"]["usage"]);
    let large = number(&stats(&holder)["memory"]["usage"]["usage"]);
    // hold has touched 48 MiB of linear memory.
    assert!(small < 40 << 20, "{small}");
    assert!((48 << 20..90 << 20).contains(&large), "{large}");
    for (container, run) in [(sleeper, sleeping), (holder, holding)] {
        container.kill("KILL").ok();
        run.wait();
    }
}

fn time_of_the_guest_is_in_the_figures(case: &Case) {
    let (container, run) = start_endless(case, "spin", "spinning");
    let time = || number(&stats(&container)["cpu"]["usage"]["total"]);
    let first = time();
    // Half a second of computing, however long that takes.
    eventually("the guest's time grows", || {
        (time() > first + 500_000_000).then_some(())
    });
    let processes = case.call(&["ps", "--format", "json", &container.id]).ok().json();
    let processes = processes.as_array().expect("a list");
    assert!(processes.contains(&json!(container.pid())), "{processes:?}");
    // Threads count, too.
    assert!(number(&stats(&container)["pids"]["current"]) >= processes.len() as u64);
    let table = case.call(&["ps", &container.id]).ok();
    assert!(table.stdout.contains(&container.pid().to_string()), "{table}");
    container.kill("KILL").ok();
    run.wait();
}

fn limits_of_a_guest_change(case: &Case) {
    let (container, run) = start_endless(case, "sleep", "sleeping");
    case.call(&["update", "--pids-limit", "40", &container.id]).ok();
    assert_file(&container, "pids", "pids.max", "40");
    assert_eq!(stats(&container)["pids"]["limit"], 40);
    case.call(&["update", "--memory", "256M", &container.id]).ok();
    assert_eq!(stats(&container)["memory"]["usage"]["limit"], 256 << 20);
    container.kill("KILL").ok();
    run.wait();
}

fn quota_slows_a_guest(case: &Case) {
    let (container, run) = start_endless(case, "spin", "spinning");
    case.call(&[
        "update",
        "--cpu-quota",
        "5000",
        "--cpu-period",
        "100000",
        &container.id,
    ])
    .ok();
    eventually("the guest is throttled", || {
        let throttling = stats(&container)["cpu"]["throttling"].clone();
        (throttling["throttledPeriods"].as_u64()? > 2).then_some(())
    });
    container.kill("KILL").ok();
    run.wait();
}
