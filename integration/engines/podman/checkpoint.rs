//! `podman container checkpoint` and `restore`, on machines where CRIU works.

use super::*;

pub fn tests() -> Vec<Test> {
    let tests = vec![
        test!(checkpoint_and_restore),
        test!(checkpoint_of_what_goes_on),
        test!(checkpoint_in_a_file),
    ];
    tests.into_iter().map(|test| test.needs(Need::Criu)).collect()
}

const COUNT: &str = "echo up; i=0; while :; do i=$((i+1)); echo $i >/n.new; mv /n.new /n; sleep 0.1; done";

/// How far the container has counted.
fn count(podman: &Podman, id: &str) -> u64 {
    let text = podman.call(&["exec", id, "cat", "/n"]).ok().stdout;
    text.trim().parse().expect("a number")
}

/// It counts on from where it was.
fn goes_on(podman: &Podman, id: &str, from: u64) {
    eventually("the container counts on", || {
        let now = count(podman, id);
        assert!(now >= from, "it began anew: {now} after {from}");
        (now > from).then_some(())
    });
}

fn counter(podman: &Podman) -> String {
    let id = start_up(podman, NO_NETWORK, COUNT);
    eventually("it has begun", || {
        let output = podman.call(&["exec", &id, "test", "-e", "/n"]);
        output.status.success().then_some(())
    });
    id
}

fn checkpoint_and_restore(case: &Case) {
    let podman = Podman::new(case);
    let id = counter(&podman);
    let from = count(&podman, &id);
    podman.call(&["container", "checkpoint", &id]).ok();
    assert_eq!(
        podman.inspect(&id, "{{.State.Checkpointed}} {{.State.Running}}"),
        "true false"
    );
    podman.call(&["container", "restore", &id]).ok();
    goes_on(&podman, &id, from);
    podman.remove(&id);
}

fn checkpoint_of_what_goes_on(case: &Case) {
    let podman = Podman::new(case);
    let id = counter(&podman);
    let pid = podman.inspect(&id, "{{.State.Pid}}");
    podman
        .call(&["container", "checkpoint", "--leave-running", "--keep", &id])
        .ok();
    let from = count(&podman, &id);
    assert_eq!(podman.inspect(&id, "{{.State.Pid}}"), pid);
    goes_on(&podman, &id, from);
    podman.remove(&id);
}

/// Under another name beside the first, which ends.
fn checkpoint_in_a_file(case: &Case) {
    let podman = Podman::new(case);
    let id = counter(&podman);
    let from = count(&podman, &id);
    let file = case.path("checkpoint.tar.gz");
    podman
        .call(&["container", "checkpoint", "--export", &file, &id])
        .ok();
    podman.remove(&id);
    podman
        .call(&["container", "restore", "--import", &file, "--name", "moved"])
        .ok();
    goes_on(&podman, "moved", from);
    podman.remove("moved");
}
