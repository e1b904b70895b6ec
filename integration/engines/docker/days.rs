//! A container's life under Docker: health checks, restart policies, streams that are attached later, many at once.

use std::io::Write;
use std::sync::PoisonError;

use super::*;

pub fn tests() -> Vec<Test> {
    vec![
        test!(health_check),
        test!(restarted_whatever_it_ends_with),
        test!(attach),
        test!(logs_over_a_restart),
        test!(twenty_at_once),
        test!(prune),
    ]
}

pub fn wasm_tests() -> Vec<Test> {
    vec![
        test!(health_check_by_a_guest),
        test!(restarted_after_failures),
        test!(attach_to_a_guest),
        test!(guests_and_native_ones_at_once),
    ]
}

fn becomes(docker: &Docker, id: &str, health: &str) {
    eventually(&format!("it is {health}"), || {
        (docker.inspect(id, "{{.State.Health.Status}}") == health).then_some(())
    });
}

/// The container, whose health is whether /watch/well exists, is well, is not, and is again. Docker keeps five
/// answers: `good` is in one while it is well and `bad` while it is not, each after the exit code.
fn health_follows(case: &Case, docker: &Docker, id: &str, good: &str, bad: &str) {
    let well = case.dir.join("watch/well");
    let answered = |answer: &str| {
        let format = "{{range .State.Health.Log}}{{.ExitCode}} {{.Output}}{{end}}";
        eventually(&format!("a check answers {answer:?}"), || {
            docker.inspect(id, format).contains(answer).then_some(())
        });
    };
    becomes(docker, id, "healthy");
    answered(good);
    fs::remove_file(&well).expect("our own file");
    becomes(docker, id, "unhealthy");
    answered(bad);
    assert!(docker.inspect(id, "{{.State.Health.FailingStreak}}") != "0");
    fs::write(&well, "well\n").expect("a file");
    becomes(docker, id, "healthy");
    assert_eq!(docker.inspect(id, "{{.State.Status}}"), "running");
    // Checks that run when it ends do not hold it up.
    docker.call(&["stop", "--time", "50", id]).ok();
}

/// A directory of the host with the file that tells that a container is well.
fn watch(case: &Case) -> String {
    fs::create_dir(case.dir.join("watch")).expect("a directory");
    fs::write(case.dir.join("watch/well"), "well\n").expect("a file");
    format!("{}:/watch", case.path("watch"))
}

fn health_check(case: &Case) {
    let docker = Docker::in_place_of_runc(case);
    let volume = watch(case);
    let flags = [
        "--init",
        "-v",
        &volume,
        "--health-cmd",
        "cat /watch/well",
        "--health-interval",
        "200ms",
        "--health-retries",
        "1",
    ];
    let id = docker.start(&flags, NATIVE, &["sleep", "100"]);
    health_follows(case, &docker, &id, "0 well", "1 cat: can't open");
}

fn health_check_by_a_guest(case: &Case) {
    let docker = Docker::in_place_of_runc(case);
    let id = docker.start(&["-v", &watch(case)], "wasm-watched:test", &[]);
    // 44: WASI's number for what does not exist.
    health_follows(case, &docker, &id, "0 ", "44 ");
}

fn restarted_whatever_it_ends_with(case: &Case) {
    let docker = Docker::in_place_of_runc(case);
    let script = "echo started; read x </tmp/pipe; exit $x";
    // A named pipe, so that each run ends when the test says so.
    let dir = case.dir.join("ends");
    fs::create_dir(&dir).expect("a directory");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        dir.join("pipe"),
        rustix::fs::FileType::Fifo,
        0o600.into(),
        0,
    )
    .expect("a pipe");
    let volume = format!("{}:/tmp", case.path("ends"));
    let flags = ["--restart", "always", "-v", &volume];
    let id = docker.start(&flags, NATIVE, &["sh", "-c", script]);
    for (count, code) in [(1, "0\n"), (2, "3\n")] {
        // Opening it to write would wait for a reader for ever.
        let flags = rustix::fs::OFlags::WRONLY | rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::CLOEXEC;
        let mut pipe = eventually("the container reads", || {
            match rustix::fs::open(dir.join("pipe"), flags, rustix::fs::Mode::empty()) {
                Ok(pipe) => Some(fs::File::from(pipe)),
                Err(rustix::io::Errno::NXIO) => None,
                Err(error) => panic!("{}: {error}", dir.join("pipe").display()),
            }
        });
        pipe.write_all(code.as_bytes()).expect("the container reads");
        drop(pipe);
        eventually("it has been restarted", || {
            let state = docker.inspect(&id, "{{.RestartCount}} {{.State.Status}}");
            (state == format!("{count} running")).then_some(())
        });
    }
    assert_eq!(docker.call(&["logs", &id]).stdout.matches("started").count(), 3);
    // Who stops it means it.
    docker.call(&["stop", "--time", "0", &id]).ok();
    assert_eq!(
        docker.inspect(&id, "{{.RestartCount}} {{.State.Status}}"),
        "2 exited"
    );
}

fn restarted_after_failures(case: &Case) {
    let docker = Docker::in_place_of_runc(case);
    let id = docker.start(&["--restart", "on-failure:2"], "wasm-exit:test", &["3"]);
    eventually("it was restarted twice", || {
        let state = "{{.RestartCount}} {{.State.Status}} {{.State.ExitCode}}";
        (docker.inspect(&id, state) == "2 exited 3").then_some(())
    });
}

/// A container that copies its input, started with nobody at it.
fn attached(case: &Case, image: &str, command: &[&str], code: i32) {
    let docker = Docker::in_place_of_runc(case);
    let create = docker.create_command(&["--interactive"], image, command);
    let id = case.finish(create).ok().stdout.trim().to_owned();
    docker.call(&["start", &id]).ok();
    let input = case.dir.join("input");
    fs::write(&input, "typed later\n").expect("the input");
    let mut attach = docker.command(&["attach", &id]);
    attach.stdin(fs::File::open(&input).expect("the input"));
    let output = case.finish(attach).code_is(code);
    assert_eq!(output.stdout, "typed later\n");
    docker.wait_for_log(&id, "typed later");
}

fn attach(case: &Case) {
    attached(case, NATIVE, &["sh", "-c", "cat; exit 5"], 5);
}

fn attach_to_a_guest(case: &Case) {
    attached(case, "wasm-cat:test", &[], 0);
}

fn logs_over_a_restart(case: &Case) {
    let docker = Docker::in_place_of_runc(case);
    let script = "echo started; until test -e /tmp/go; do sleep 0.05; done; echo went; exec sleep 100";
    let id = docker.start(&[], NATIVE, &["sh", "-c", script]);
    docker.wait_for_log(&id, "started");
    docker.call(&["restart", "--time", "0", &id]).ok();
    let follow = case.start(docker.command(&["logs", "--follow", &id]));
    eventually("both starts are told", || {
        (follow.stdout().matches("started").count() == 2).then_some(())
    });
    docker.call(&["exec", &id, "touch", "/tmp/go"]).ok();
    eventually("what comes is told", || {
        follow.stdout().contains("went").then_some(())
    });
    docker.call(&["kill", &id]).ok();
    assert_eq!(follow.wait().ok().stdout, "started\nstarted\nwent\n");
}

/// Starts containers all at once, sees them all run, ends them all, and sees that nothing of them is there.
fn at_once(case: &Case, images: &[(&str, &[&str])]) {
    let docker = Docker::in_place_of_runc(case);
    let starting: Vec<_> = (0..20)
        .map(|number| {
            let (image, command) = images[number % images.len()];
            case.start(docker.run_command(&["--detach", "--rm"], image, command))
        })
        .collect();
    let ids: Vec<String> = starting
        .into_iter()
        .map(|run| run.wait().ok().stdout.trim().to_owned())
        .collect();
    let filter = format!("label=case={}", case.mark);
    let running = docker.call(&["ps", "--quiet", "--filter", &filter]).ok();
    assert_eq!(running.lines().len(), 20, "{running}");
    let names: Vec<&str> = ids.iter().map(String::as_str).collect();
    docker.call(&[&["kill"], &names[..]].concat()).ok();
    eventually("all are gone", || {
        let left = docker.call(&["ps", "--all", "--quiet", "--filter", &filter]).ok();
        left.stdout.is_empty().then_some(())
    });
    for id in ids {
        let left = crate::harness::leaks::cgroups(&id);
        // Docker forgets a container also where the runtime could not delete it.
        assert!(left.is_empty(), "{left:?}\n{}", docker.said_of(&id));
    }
}

fn twenty_at_once(case: &Case) {
    at_once(case, &[(NATIVE, &["sleep", "1000"])]);
}

fn guests_and_native_ones_at_once(case: &Case) {
    at_once(case, &[(NATIVE, &["sleep", "1000"]), ("wasm-sleep:test", &[])]);
}

fn prune(case: &Case) {
    let docker = Docker::in_place_of_runc(case);
    let running = docker.start(&[], NATIVE, &["sleep", "100"]);
    let ended = docker.start(&[], NATIVE, &["true"]);
    docker.call(&["wait", &ended]).ok();
    let _emptied = super::build::CACHE
        .write()
        .unwrap_or_else(PoisonError::into_inner);
    // Other tests' containers are not ours to remove.
    let filter = format!("label=case={}", case.mark);
    docker
        .call(&["system", "prune", "--force", "--filter", &filter])
        .ok();
    assert_eq!(docker.inspect(&running, "{{.State.Status}}"), "running");
    let gone = docker.call(&["inspect", &ended]);
    assert!(gone.stderr.to_lowercase().contains("no such object"), "{gone}");
}
