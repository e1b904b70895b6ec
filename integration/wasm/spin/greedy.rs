//! Components of the current SDK that do much at once, or go on for ever: they take from others no more than they may.

use std::time::Duration;

use super::sdk::{at_once, current};
use super::*;
use crate::harness::http::begin;

pub fn tests() -> Vec<Test> {
    vec![
        test!(spin_an_instance_of_the_current_sdk_that_computes_keeps_nobody_waiting),
        test!(spin_an_instance_of_the_current_sdk_does_not_compute_for_nobody_for_ever),
        test!(spin_rows_that_the_current_sdk_does_not_take_are_held_within_bounds),
    ]
}

fn spin_an_instance_of_the_current_sdk_that_computes_keeps_nobody_waiting(case: &Case) {
    let served = current(case, |_| {});
    let computing: Vec<_> = within(served.pid, || {
        let asked = (0..8).map(|_| begin(served.address, "/sdk/compute/100").expect("asked"));
        asked.collect()
    });
    // They have begun, which shows in nothing but time.
    std::thread::sleep(Duration::from_millis(500));
    let said = at_once(&served, "/sdk/variable/word", 20);
    assert!(
        said.iter().all(|said| *said == (200, "said\n".to_owned())),
        "{said:?}"
    );
    assert_eq!(served.says("/.well-known/spin/health").0, 200);
    assert_eq!(served.says("/sdk/trap").0, 500);
    // The first asks it to end what it has begun, which these never do.
    served.container.kill("TERM").ok();
    eventually("nobody is let in any more", || {
        within(served.pid, || begin(served.address, "/")).err()
    });
    served.container.kill("TERM").ok();
    let output = served.run.wait().code_is(143);
    assert!(output.stderr.contains("component `sdk` trapped: "), "{output}");
    drop(computing);
}

/// It would keep its place, which here would keep the application from its end.
fn spin_an_instance_of_the_current_sdk_does_not_compute_for_nobody_for_ever(case: &Case) {
    let served = current(case, |_| {});
    let computing = within(served.pid, || {
        // The first waits, and so the same instance has the other too.
        let asked = (0..2).map(|_| begin(served.address, "/sdk/compute/300").expect("asked"));
        asked.collect::<Vec<_>>()
    });
    std::thread::sleep(Duration::from_millis(700));
    drop(computing);
    let output = served.stop();
    let told = "component `sdk` failed: it went on computing after its client had left";
    assert!(output.stderr.contains(told), "{output}");
}

/// What a component is given but does not take counts as what others have.
fn spin_rows_that_the_current_sdk_does_not_take_are_held_within_bounds(case: &Case) {
    let served = current(case, |config| {
        config["linux"]["resources"]["memory"] = json!({ "limit": 96 << 20, "swap": 96 << 20 });
    });
    // A quarter of the limit.
    for _ in 0..3 {
        let (status, text) = served.told("/sdk/hoard", "SELECT zeroblob(1000000)");
        let (number, why) = text.split_once(' ').expect("a number and why");
        assert!(
            status == 200 && (20..26).contains(&number.parse().expect("a number")),
            "{text}"
        );
        assert!(why.contains("all calls at once"), "{text}");
    }
    served.stop();
}
