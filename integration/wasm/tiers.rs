//! A large module starts at once on quickly compiled code; optimised code is made meanwhile, within the
//! container's limits, and serves the next start. What is killed at whatever moment leaves a correct cache.

use rustix::process::Signal;

use super::*;
use crate::harness::command::{pid, wait_for_exit};
use crate::harness::leaks;

pub fn tests() -> Vec<Test> {
    vec![
        test!(first_output_does_not_wait_for_the_optimiser),
        test!(second_start_runs_optimised_code),
        test!(annotation_makes_the_first_start_wait),
        test!(refusals_are_those_of_the_optimising_compiler),
        test!(first_starts_at_once_compile_once),
        test!(optimised_code_comes_though_the_container_is_gone),
        test!(optimiser_is_held_by_the_containers_limits),
        test!(optimiser_takes_nothing_from_a_small_container),
        test!(held_compiler_keeps_nobody_from_starting),
        test!(killed_compiler_is_followed_by_another),
        test!(compiler_killed_twice_fails_its_start_and_no_other),
        test!(killed_optimiser_is_started_again_by_the_next_start),
        test!(killed_supervisor_takes_the_optimiser_with_it),
        test!(create_returns_while_the_optimiser_works),
        test!(full_disk_does_not_matter),
        test!(full_disk_leaves_the_code_that_is_there),
    ]
}

/// The tiers of the code in the cache, as wrun tells them.
pub(super) fn tiers(case: &Case) -> Vec<String> {
    let rows = case.call(&["wasm", "list", "--format", "json"]).ok().json();
    let rows = rows.as_array().expect("a list").clone();
    rows.iter()
        .map(|row| row["tier"].as_str().expect("a sound entry").to_owned())
        .collect()
}

/// The tier of the code that a running guest has mapped.
fn tier_of(container: &Container<'_>) -> String {
    let maps = fs::read_to_string(container.proc("maps")).expect("its maps");
    let rows = container
        .case
        .call(&["wasm", "list", "--format", "json"])
        .ok()
        .json();
    let row = rows.as_array().expect("a list").iter().find(|row| {
        let key = row["key"].as_str().expect("a key");
        maps.lines().any(|line| line.ends_with(&format!("/{key}.code")))
    });
    row.unwrap_or_else(|| panic!("none of {rows} in\n{maps}"))["tier"]
        .as_str()
        .expect("a sound entry")
        .to_owned()
}

fn large_guest<'case>(
    case: &'case Case,
    name: &str,
    args: &[&str],
    edit: impl FnOnce(&mut Value),
) -> Container<'case> {
    let container = guest_with(case, name, args, edit);
    container.write(&format!("{name}.wasm"), guest::large(name), 0o644);
    container
}

/// The test's process of this name, if there is one.
fn process(case: &Case, name: &str) -> Option<i32> {
    let is =
        |pid: &i32| fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm.trim() == name);
    leaks::processes(case).into_iter().find(is)
}

/// Waits for the compiler in the background, which has stopped itself in the container's cgroup.
fn held_optimiser(case: &Case) -> i32 {
    eventually("the optimiser is held", || {
        process(case, "wrun-compiler").filter(|pid| {
            fs::read_to_string(format!("/proc/{pid}/status")).is_ok_and(|status| status.contains("State:\tT"))
        })
    })
}

fn send(id: i32, signal: Signal) {
    rustix::process::kill_process(pid(id), signal).expect("it is ours");
}

/// Runs a large guest detached, with the compiler in the background held.
fn start_held<'case>(case: &'case Case, edit: impl FnOnce(&mut Value)) -> (Container<'case>, i32) {
    let container = large_guest(case, "sleep", &[], edit);
    let mut command = container.command("run", &["--detach"]);
    command.env("WRUN_HOLD", "background:entered");
    case.finish(command).ok();
    let optimiser = held_optimiser(case);
    (container, optimiser)
}

#[track_caller]
fn wait_for_optimised(case: &Case) {
    eventually("optimised code takes the other's place", || {
        (tiers(case) == ["optimized"]).then_some(())
    });
    case.cache_is_quiet();
}

fn first_output_does_not_wait_for_the_optimiser(case: &Case) {
    let container = large_guest(case, "hello", &[], |_| {});
    let mut command = container.command("run", &[]);
    command.env("WRUN_HOLD", "background:entered");
    // Its end ends the optimiser, which has not begun by then.
    assert!(case.finish(command).ok().stdout.contains("Hello from Wasm"));
    wait_for_optimised(case);
}

fn second_start_runs_optimised_code(case: &Case) {
    let (container, optimiser) = start_held(case, |_| {});
    assert_eq!(tiers(case), ["baseline"]);
    assert_eq!(tier_of(&container), "baseline");
    send(optimiser, Signal::CONT);
    wait_for_optimised(case);
    let next = large_guest(case, "sleep", &[], |_| {});
    next.run_detached();
    assert_eq!(tier_of(&next), "optimized");
    assert_eq!(process(case, "wrun-optimizer"), None);
}

fn annotation_makes_the_first_start_wait(case: &Case) {
    let container = large_guest(case, "sleep", &[], |config| {
        config["annotations"]["org.wrun.wasm.first-run"] = json!("optimized");
    });
    container.run_detached();
    assert_eq!(tier_of(&container), "optimized");
    assert_eq!(tiers(case), ["optimized"]);
}

fn refusals_are_those_of_the_optimising_compiler(case: &Case) {
    for name in ["imports", "nothing", "command-imports"] {
        let errors = ["quick", "optimized"].map(|how| {
            let container = large_guest(case, name, &[], |config| {
                config["annotations"]["org.wrun.wasm.first-run"] = json!(how);
            });
            let error = container.run().error();
            error.split(" msg=").last().expect("a message").to_owned()
        });
        assert_eq!(errors[0], errors[1]);
    }
    assert!(tiers(case).is_empty());
}

fn first_starts_at_once_compile_once(case: &Case) {
    let containers: Vec<_> = (0..6).map(|_| large_guest(case, "hello", &[], |_| {})).collect();
    let running: Vec<_> = containers
        .iter()
        .map(|container| case.start(container.command("run", &[])))
        .collect();
    for run in running {
        assert!(run.wait().ok().stdout.contains("Hello from Wasm"));
    }
    wait_for_optimised(case);
}

fn optimised_code_comes_though_the_container_is_gone(case: &Case) {
    let (container, optimiser) = start_held(case, |_| {});
    // It is one of the container's processes, and ends with it.
    let listed = case.call(&["ps", "--format", "json", &container.id]).ok().json();
    assert!(
        listed.as_array().expect("a list").contains(&json!(optimiser)),
        "{listed}"
    );
    container.delete_with(&["--force"]).ok();
    assert!(wait_for_exit(optimiser, std::time::Duration::ZERO));
    wait_for_optimised(case);
    case.nothing_left();
}

fn optimiser_is_held_by_the_containers_limits(case: &Case) {
    let (container, optimiser) = start_held(case, |_| {});
    let cgroups = |pid: i32| fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("its cgroups");
    assert_eq!(cgroups(optimiser), cgroups(container.pid()));
    let told = |name: &str| fs::read_to_string(format!("/proc/{optimiser}/{name}")).expect("it waits");
    assert_eq!(told("oom_score_adj").trim(), "1000");
    let stat = told("stat");
    // proc_pid_stat(5): the 19th field; the name, in brackets, is the 2nd.
    let nice = stat
        .rsplit_once(") ")
        .and_then(|(_, rest)| rest.split(' ').nth(16));
    assert_eq!(nice, Some("19"), "{stat}");
    // A container that is paused pauses it.
    case.call(&["pause", &container.id]).ok();
    send(optimiser, Signal::CONT);
    assert_eq!(tiers(case), ["baseline"]);
    case.call(&["resume", &container.id]).ok();
    wait_for_optimised(case);
    assert_eq!(container.status(), "running");
}

fn optimiser_takes_nothing_from_a_small_container(case: &Case) {
    let few = large_guest(case, "sleep", &[], |config| {
        config["linux"]["resources"]["pids"] = json!({ "limit": 6 });
    });
    few.run_detached();
    let little = large_guest(case, "sleep", &[], |config| {
        config["linux"]["resources"]["memory"] = json!({ "limit": 100 << 20 });
    });
    little.run_detached();
    assert_eq!(tier_of(&few), "baseline");
    assert_eq!(tier_of(&little), "baseline");
    assert_eq!(process(case, "wrun-optimizer"), None);
    assert_eq!(tiers(case), ["baseline"]);
}

/// A container that gets no processor time holds the lock of what it compiles.
fn held_compiler_keeps_nobody_from_starting(case: &Case) {
    let mut command = large_guest(case, "hello", &[], |_| {}).command("run", &[]);
    command.env("WRUN_HOLD", "compiler:entered");
    let run = case.start(command);
    let compiler = held_optimiser(case);
    let other = large_guest(case, "hello", &[], |_| {}).run().ok();
    assert!(other.stdout.contains("Hello from Wasm"));
    send(compiler, Signal::KILL);
    send(next_held(case, compiler), Signal::KILL);
    run.wait().error();
    wait_for_optimised(case);
}

/// The compiler that is held after another was.
fn next_held(case: &Case, before: i32) -> i32 {
    eventually("another compiler takes its place", || {
        Some(held_optimiser(case)).filter(|pid| *pid != before)
    })
}

fn killed_compiler_is_followed_by_another(case: &Case) {
    let container = large_guest(case, "sleep", &[], |_| {});
    let mut command = container.command("run", &[]);
    command.env("WRUN_HOLD", "compiler:entered");
    let run = case.start(command);
    let first = held_optimiser(case);
    send(first, Signal::KILL);
    let second = next_held(case, first);
    send(second, Signal::CONT);
    // The guest runs; the compiler behind it is held as the others were, in the container's cgroup.
    send(next_held(case, second), Signal::CONT);
    wait_for_optimised(case);
    assert_eq!(container.status(), "running");
    container.kill("KILL").ok();
    run.wait().code_is(137);
}

fn compiler_killed_twice_fails_its_start_and_no_other(case: &Case) {
    let first = large_guest(case, "hello", &[], |_| {});
    let mut command = first.command("run", &[]);
    command.env("WRUN_HOLD", "compiler:entered");
    let run = case.start(command);
    let compiler = held_optimiser(case);
    // Another start of the same code waits for this one, until it hears that nothing came of it.
    let second = large_guest(case, "hello", &[], |_| {});
    let waiting = case.start(second.command("run", &[]));
    eventually("the second start waits for the first", || {
        let descriptors = fs::read_dir(format!("/proc/{}/fd", waiting.pid())).ok()?;
        let mut targets = descriptors.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
        targets
            .any(|path| path.extension().is_some_and(|own| own == "lock"))
            .then_some(())
    });
    send(compiler, Signal::KILL);
    send(next_held(case, compiler), Signal::KILL);
    let error = run.wait().error();
    assert!(error.contains("memory limit"), "{error}");
    assert!(waiting.wait().ok().stdout.contains("Hello from Wasm"));
    wait_for_optimised(case);
    case.nothing_left();
}

fn killed_optimiser_is_started_again_by_the_next_start(case: &Case) {
    let (container, optimiser) = start_held(case, |_| {});
    send(optimiser, Signal::KILL);
    case.cache_is_quiet();
    // As the OOM killer would have done it: what the limits forbid is not done elsewhere.
    assert_eq!(tiers(case), ["baseline"]);
    assert_eq!(container.status(), "running");
    large_guest(case, "sleep", &[], |_| {}).run_detached();
    wait_for_optimised(case);
}

fn killed_supervisor_takes_the_optimiser_with_it(case: &Case) {
    let (_container, optimiser) = start_held(case, |_| {});
    let supervisor = process(case, "wrun-optimizer").expect("the optimiser has a parent");
    send(supervisor, Signal::KILL);
    assert!(wait_for_exit(optimiser, std::time::Duration::from_secs(20)));
    assert_eq!(tiers(case), ["baseline"]);
    // The lock that it left is free, and goes when the cache is looked after.
    large_guest(case, "sleep", &[], |_| {}).run_detached();
    wait_for_optimised(case);
}

fn create_returns_while_the_optimiser_works(case: &Case) {
    let container = large_guest(case, "sleep", &[], |_| {});
    let mut command = container.command("create", &[]);
    command.env("WRUN_HOLD", "background:entered");
    case.finish(command).ok();
    let optimiser = held_optimiser(case);
    let supervisor = process(case, "wrun-optimizer").expect("the optimiser has a parent");
    // Neither streams, whose end engines wait for, nor the container's lock, nor a file of its rootfs.
    let known = [
        "/dev/null",
        "memfd:wrun-code",
        "pipe:",
        "pidfd",
        "/cache",
        "/sys/fs/cgroup",
    ];
    for id in [optimiser, supervisor] {
        for fd in fs::read_dir(format!("/proc/{id}/fd"))
            .expect("it lives")
            .flatten()
        {
            let target = fs::read_link(fd.path()).unwrap_or_default();
            let target = target.to_string_lossy();
            assert!(
                known.iter().any(|known| target.contains(known)),
                "{id} has {target}"
            );
        }
    }
    assert_eq!(container.status(), "created");
    send(optimiser, Signal::CONT);
    wait_for_optimised(case);
    container.start();
    container.delete_with(&["--force"]).ok();
}

fn full_disk_does_not_matter(case: &Case) {
    let cache = case.dir.join("cache");
    fs::create_dir(&cache).expect("a directory");
    mount_tmpfs(&cache, "size=8k,mode=700");
    let output = large_guest(case, "hello", &[], |_| {}).run();
    let left = fs::read_dir(&cache).expect("it").count();
    let optimiser = process(case, "wrun-optimizer");
    unmount(&cache);
    let output = output.ok();
    assert!(output.stdout.contains("Hello from Wasm"), "{output}");
    assert!(output.stderr.contains("compiled code is not kept"), "{output}");
    assert_eq!((left, optimiser), (0, None));
}

fn full_disk_leaves_the_code_that_is_there(case: &Case) {
    let cache = case.dir.join("cache");
    let size = || cache::entries(&cache).values().map(|about| about.0).sum::<u64>();
    let (container, optimiser) = start_held(case, |_| {});
    let quick = size();
    send(optimiser, Signal::CONT);
    wait_for_optimised(case);
    let optimised = size();
    container.delete_with(&["--force"]).ok();
    // Room for the first code, but not for the second beside it.
    mount_tmpfs(&cache, &format!("size={},mode=700", quick + optimised / 2 + 8192));
    let container = large_guest(case, "sleep", &[], |_| {});
    let run = case.finish(container.command("run", &["--detach"]));
    case.cache_is_quiet();
    let found = tiers(case);
    let files = fs::read_dir(&cache).expect("it").count();
    container.delete_with(&["--force"]).ok();
    unmount(&cache);
    run.ok();
    assert_eq!(found, ["baseline"]);
    assert_eq!(files, 2, "an entry and its stamp");
}

fn mount_tmpfs(place: &Path, data: &str) {
    let mut command = std::process::Command::new("mount");
    command.args(["-t", "tmpfs", "-o", data, "none"]).arg(place);
    assert!(command.status().expect("mount runs").success());
}

fn unmount(place: &Path) {
    rustix::mount::unmount(place, rustix::mount::UnmountFlags::DETACH).expect("it is mounted");
}
