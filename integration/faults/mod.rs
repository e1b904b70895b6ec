//! Ends at the wrong moment, and many at once: after any of them a forced delete leaves nothing, and the id can
//! be used again.

pub mod each_call;

use std::process::{Command, Stdio};

use serde_json::json;

use wrun::sys::fault::{POINTS, POINTS_OF_START};

use crate::harness::{Case, Container, Test, leaks, test};

pub fn tests() -> Vec<Test> {
    let mut tests = vec![
        test!(kill_at_each_step_of_create).wrun_only("only our test build has fault points"),
        test!(kill_at_each_step_of_create_on_v2)
            .wrun_only("only our test build has fault points")
            .unified(),
        test!(kill_of_create_at_any_time)
            .wrun_only("runc leaves its init and its cgroups where it is killed itself"),
        test!(kill_of_init_between_create_and_start),
        test!(kill_of_start_between_its_steps).wrun_only("only our test build has fault points"),
        test!(kill_of_a_run_in_the_foreground),
        test!(kill_of_an_exec),
        test!(creates_of_one_id_at_once).wrun_only("runc's creates of one id at once break each other"),
        test!(deletes_of_one_id_at_once),
        test!(starts_of_one_id_at_once).wrun_only("a second start of runc's can wait for ever"),
        test!(a_hundred_containers_at_once),
    ];
    tests.extend(each_call::tests());
    tests
}

/// A forced delete must succeed and leave nothing, and the id must be free.
#[track_caller]
fn recovers(container: &Container, after: &str) {
    let deleted = container.delete_with(&["--force"]);
    assert!(
        deleted.status.success(),
        "delete --force after {after}: {deleted}"
    );
    let left = leaks::find(container.case);
    assert!(left.is_empty(), "left behind after {after}: {left:#?}");
    let again = container.try_create(&[]);
    assert!(again.status.success(), "create after {after}: {again}");
    container.start();
    container.delete_with(&["--force"]).ok();
}

/// A container with a mount, a limit and a hook, so that there is something to leave behind at each step.
fn full(case: &Case) -> Container<'_> {
    case.container_with(&["sleep", "100"], |config| {
        crate::harness::bundle::add_mount(config, "/mnt", "tmpfs", "none", &[]);
        config["linux"]["resources"]["unified"] = json!({});
        config["hooks"]["createRuntime"] = json!([{ "path": "/bin/true" }]);
    })
}

fn kill_at_each_step_of_create(case: &Case) {
    let container = full(case);
    for point in POINTS {
        let mut command = container.command("create", &[]);
        command.env("WRUN_FAULT", point);
        let output = case.finish(command);
        // An init that dies when it only waits does so behind create's back.
        assert!(
            !output.status.success() || *point == "init:waiting",
            "nothing happened at {point}: {output}"
        );
        if point.starts_with("init:") && !output.status.success() {
            // The parent lives: it tells of the death, once, and clears up by itself.
            let error = output.error();
            assert!(!error.is_empty(), "{output}");
            case.nothing_left();
        }
        recovers(&container, point);
    }
}

fn kill_at_each_step_of_create_on_v2(case: &Case) {
    kill_at_each_step_of_create(case);
}

fn kill_of_create_at_any_time(case: &Case) {
    let container = full(case);
    for milliseconds in [0, 1, 2, 3, 4, 6, 8, 10, 14, 18, 25, 35] {
        let create = case.start(container.command("create", &[]));
        std::thread::sleep(std::time::Duration::from_millis(milliseconds));
        create.signal(rustix::process::Signal::KILL);
        create.wait();
        recovers(&container, &format!("{milliseconds} ms"));
    }
}

fn kill_of_init_between_create_and_start(case: &Case) {
    let container = full(case);
    container.create();
    let init = crate::harness::command::pid(container.pid());
    rustix::process::kill_process(init, rustix::process::Signal::KILL).expect("it waits");
    container.wait_for("stopped");
    case.names(
        &case.call(&["start", &container.id]).code_is(1),
        &[&container.id, "stopped"],
    );
    container.delete();
    case.nothing_left();
}

/// The gate is open and not yet taken away: the container runs, and is to be handled like any that does.
fn kill_of_start_between_its_steps(case: &Case) {
    for point in POINTS_OF_START {
        let container = case.script("echo up >/up; exec sleep 100");
        container.create();
        let mut command = case.command(&["start", &container.id]);
        command.env("WRUN_FAULT", point);
        case.finish(command).code_is(128 + 9);
        container.wait_for_file("up");
        assert_eq!(container.status(), "running", "after {point}");
        case.names(
            &case.call(&["start", &container.id]).code_is(1),
            &["already running"],
        );
        recovers(&container, point);
    }
}

fn kill_of_a_run_in_the_foreground(case: &Case) {
    let container = case.script("echo up >/up; exec sleep 100");
    let run = case.start(container.command("run", &[]));
    container.wait_for_file("up");
    run.signal(rustix::process::Signal::KILL);
    run.wait().code_is(128 + 9);
    // runc may be killed before it has noted the start.
    assert_ne!(
        container.status(),
        "stopped",
        "the container goes on without its run"
    );
    recovers(&container, "the end of run");
}

fn kill_of_an_exec(case: &Case) {
    let container = case.container(&["sleep", "100"]);
    container.run_detached();
    let exec = case.start(case.command(&["exec", &container.id, "sh", "-c", "echo up >/up; exec sleep 50"]));
    container.wait_for_file("up");
    exec.signal(rustix::process::Signal::KILL);
    exec.wait().code_is(128 + 9);
    assert_eq!(container.status(), "running");
    container.exec(&["true"]).ok();
}

fn creates_of_one_id_at_once(case: &Case) {
    let container = case.container(&["sleep", "100"]);
    let creates: Vec<_> = (0..6)
        .map(|_| case.start(container.command("create", &[])))
        .collect();
    let outputs: Vec<_> = creates
        .into_iter()
        .map(crate::harness::command::Running::wait)
        .collect();
    let won = outputs.iter().filter(|output| output.status.success()).count();
    assert_eq!(won, 1, "{outputs:#?}");
    for lost in outputs.iter().filter(|output| !output.status.success()) {
        case.names(lost, &[&container.id, "exist"]);
    }
    assert_eq!(container.status(), "created");
    container.start();
    container.delete_with(&["--force"]).ok();
    case.nothing_left();
}

fn deletes_of_one_id_at_once(case: &Case) {
    let container = case.container(&["sleep", "100"]);
    container.run_detached();
    let deletes: Vec<_> = (0..6)
        .map(|_| case.start(case.command(&["delete", "--force", &container.id])))
        .collect();
    let outputs: Vec<_> = deletes
        .into_iter()
        .map(crate::harness::command::Running::wait)
        .collect();
    // Each may find the container half gone, but a forced delete of what is not there succeeds.
    let succeeded = outputs.iter().filter(|output| output.status.success()).count();
    assert!(succeeded == outputs.len() || !case.runtime.ours, "{outputs:#?}");
    container.delete_with(&["--force"]).ok();
    case.nothing_left();
}

fn starts_of_one_id_at_once(case: &Case) {
    let container = case.container(&["sleep", "100"]);
    container.create();
    let starts: Vec<_> = (0..4)
        .map(|_| case.start(case.command(&["start", &container.id])))
        .collect();
    let outputs: Vec<_> = starts
        .into_iter()
        .map(crate::harness::command::Running::wait)
        .collect();
    let won = outputs.iter().filter(|output| output.status.success()).count();
    assert_eq!(won, 1, "{outputs:#?}");
    assert_eq!(container.status(), "running");
}

fn a_hundred_containers_at_once(case: &Case) {
    let first = case.script("echo $(hostname) >/tmp/$(hostname); exit 3");
    let ids: Vec<String> = (0..100).map(|_| case.id()).collect();
    let bundle = |id: &str| case.dir.join(format!("many-{id}"));
    for id in &ids {
        // One root filesystem serves all.
        std::fs::create_dir(bundle(id)).expect("a directory");
        let text = std::fs::read(first.bundle.join("config.json")).expect("config.json");
        let mut config: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
        config["root"]["path"] = json!(first.rootfs(""));
        config["hostname"] = json!(id);
        crate::harness::bundle::write_config(&bundle(id), &config);
    }
    let running: Vec<_> = ids
        .iter()
        .map(|id| case.start(case.command(&["run", "--bundle", bundle(id).to_str().expect("UTF-8"), id])))
        .collect();
    for run in running {
        run.wait().code_is(3);
    }
    for id in &ids {
        assert_eq!(first.read(&format!("tmp/{id}")).trim(), id);
    }
    case.nothing_left();
    assert_eq!(case.call(&["list", "--quiet"]).ok().stdout, "");
    let ps = Command::new("true").stdin(Stdio::null()).status();
    assert!(
        ps.is_ok_and(|status| status.success()),
        "the machine is still well"
    );
}
