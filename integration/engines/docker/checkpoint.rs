//! `docker checkpoint` and `docker start --checkpoint`, of a daemon with experimental features.

use super::*;

pub fn tests() -> Vec<Test> {
    vec![test!(checkpoints).needs(Need::Criu)]
}

/// On the host's network: one of its own, Docker 28 restores with no runtime.
const FLAGS: [&str; 2] = ["--network", "host"];

const COUNT: &str = "i=0; while :; do i=$((i+1)); echo count $i; sleep 0.1; done";

/// The number that it has counted to, by its log.
fn count(docker: &Docker, id: &str) -> u64 {
    let log = docker.call(&["logs", "--tail", "1", id]).ok().stdout;
    let last = log.trim().strip_prefix("count ");
    last.and_then(|number| number.parse().ok())
        .unwrap_or_else(|| panic!("no count: {log:?}"))
}

fn goes_on(docker: &Docker, id: &str, from: u64) {
    eventually("it counts on", || {
        let now = count(docker, id);
        // Between two starts its log is as before.
        assert!(now >= from, "it began anew: {now} after {from}");
        (now > from + 1).then_some(())
    });
}

fn checkpoints(case: &Case) {
    let dir = case.dir.join("docker");
    let daemon = Daemon::with_images(&dir, &case.runtime, &["--experimental"], &[]);
    let docker = Docker::on(case, &daemon);
    let id = docker.start(&FLAGS, NATIVE, &["sh", "-c", COUNT]);
    docker.wait_for_log(&id, "count 2\n");
    docker
        .call(&["checkpoint", "create", "--leave-running", &id, "early"])
        .ok();
    let early = count(&docker, &id);
    assert_eq!(docker.inspect(&id, "{{.State.Status}}"), "running");
    goes_on(&docker, &id, early);
    docker.call(&["checkpoint", "create", &id, "late"]).ok();
    eventually("it has ended", || {
        (docker.inspect(&id, "{{.State.Status}}") == "exited").then_some(())
    });
    let late = count(&docker, &id);
    let listed = docker.call(&["checkpoint", "ls", &id]).ok();
    for name in ["early", "late"] {
        assert!(listed.lines().contains(&name), "{listed}");
    }
    // Docker gives the images to containerd, and fails as long as that one still keeps those of the dump.
    eventually("it is started again", || {
        let output = docker.call(&["start", "--checkpoint", "late", &id]);
        (!output.stderr.contains("already exists")).then(|| output.ok())
    });
    goes_on(&docker, &id, late);
    docker.call(&["exec", &id, "true"]).ok();
    docker.call(&["checkpoint", "rm", &id, "early"]).ok();
    let listed = docker.call(&["checkpoint", "ls", &id]).ok();
    assert!(!listed.stdout.contains("early"), "{listed}");
    docker.call(&["kill", &id]).ok();
    assert_eq!(docker.call(&["wait", &id]).ok().stdout, "137\n");
    let missing = docker.call(&["start", "--checkpoint", "early", &id]);
    assert!(
        !missing.status.success() && missing.stderr.contains("early"),
        "{missing}"
    );
}
