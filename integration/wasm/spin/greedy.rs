//! Components of the current SDK that do much at once, or go on for ever: they take from others no more than they may.

use super::sdk::{at_once, current};
use super::*;
use crate::harness::http::{begin, begin_post};

pub fn tests() -> Vec<Test> {
    vec![
        test!(spin_an_instance_of_the_current_sdk_that_computes_keeps_nobody_waiting),
        test!(spin_an_instance_of_the_current_sdk_does_not_compute_for_nobody_for_ever),
        test!(spin_values_that_the_current_sdk_gives_at_once_are_held_within_bounds),
        test!(spin_an_instance_of_the_current_sdk_has_as_many_connections_as_it_waits_for),
        test!(spin_a_store_is_not_kept_by_an_instance_that_computes),
        test!(spin_calls_of_a_store_that_wait_and_those_that_do_not_end_both),
        test!(spin_rows_that_the_current_sdk_does_not_take_are_held_within_bounds),
    ]
}

fn spin_an_instance_of_the_current_sdk_that_computes_keeps_nobody_waiting(case: &Case) {
    let served = current(case, |_| {});
    let before = served.processor_time();
    let computing: Vec<_> = within(served.pid, || {
        let asked = (0..8).map(|_| begin(served.address, "/sdk/compute/100").expect("asked"));
        asked.collect()
    });
    served.wait_for_computing(before);
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
    let before = served.processor_time();
    let computing = within(served.pid, || {
        // The first waits, and so the same instance has the other too.
        let asked = (0..2).map(|_| begin(served.address, "/sdk/compute/300").expect("asked"));
        asked.collect::<Vec<_>>()
    });
    served.wait_for_computing(before);
    drop(computing);
    let output = served.stop();
    let told = "component `sdk` failed: it went on computing after its client had left";
    assert!(output.stderr.contains(told), "{output}");
}

/// The host has a copy of each until it is set.
fn spin_values_that_the_current_sdk_gives_at_once_are_held_within_bounds(case: &Case) {
    let served = current(case, |config| {
        config["linux"]["resources"]["memory"] = json!({ "limit": 96 << 20, "swap": 96 << 20 });
    });
    for _ in 0..3 {
        let (status, text) = served.told("/sdk/sets", "40");
        let (number, why) = text.split_once(' ').expect("a number and why");
        assert!(
            status == 200 && (20..26).contains(&number.parse().expect("a number")),
            "{text}"
        );
        assert!(why.contains("all calls at once"), "{text}");
    }
    assert_eq!(served.told("/sdk/sets", "10"), (200, "10 \n".to_owned()));
    served.stop();
}

/// Of 32 at once: one for which there is none is made when another is over.
fn spin_an_instance_of_the_current_sdk_has_as_many_connections_as_it_waits_for(case: &Case) {
    let served = current(case, |_| {});
    let urls = "http://127.0.0.1:80/robots.txt\n".repeat(100);
    assert_eq!(served.told("/sdk/many", &urls), (200, "100\n".to_owned()));
    served.stop();
}

/// It has more to set than it could before it computes, which then waits for it as long as that takes.
fn spin_a_store_is_not_kept_by_an_instance_that_computes(case: &Case) {
    let served = current(case, |_| {});
    assert_eq!(served.told("/sdk/set", "key=value").0, 200);
    let before = served.processor_time();
    let (computing, setting) = within(served.pid, || {
        let computing = begin(served.address, "/sdk/compute/300").expect("asked");
        // The first waits, and so the same instance has this one too.
        let setting = begin_post(served.address, "/sdk/sets", "100").expect("asked");
        (computing, setting)
    });
    served.wait_for_computing(before);
    for _ in 0..3 {
        assert_eq!(served.told("/sdk/get", "key"), (200, "value".to_owned()));
    }
    drop((computing, setting));
    served.container.kill("KILL").ok();
    served.run.wait().code_is(137);
}

/// The functions of the older interface keep their instance from all else until they are done.
fn spin_calls_of_a_store_that_wait_and_those_that_do_not_end_both(case: &Case) {
    let served = current(case, |_| {});
    let address = served.address;
    let wrong: Vec<String> = within(served.pid, || {
        std::thread::scope(|scope| {
            let asking: Vec<_> = (0..40)
                .map(|number| {
                    let (path, body) = [("/sdk/sets", "5"), ("/sdk/increment", "n")][number % 2];
                    scope.spawn(move || request(address, "POST", path, &[], body.as_bytes()))
                })
                .collect();
            let answers = asking.into_iter().map(|client| client.join().expect("no panic"));
            let wrong = answers.filter(|answer| !answer.as_ref().is_ok_and(|answer| answer.status == 200));
            wrong.map(|answer| format!("{answer:?}")).collect()
        })
    });
    assert!(wrong.is_empty(), "{wrong:?}");
    assert_eq!(served.told("/sdk/get", "n"), (200, "20".to_owned()));
    served.stop();
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
