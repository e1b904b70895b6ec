//! The daemon ends and comes back: what becomes of the containers.

use rustix::process::Signal;

use super::*;

pub fn tests() -> Vec<Test> {
    vec![test!(live_restore), test!(end_of_the_daemon)]
}

/// A container of the image, and what shows that it is running.
struct Lasting {
    id: String,
    pid: String,
    /// What `docker exec` makes of it.
    exec: &'static [&'static str],
    says: &'static str,
}

impl Lasting {
    fn start(docker: &Docker, flags: &[&str], image: &str, command: &[&str]) -> Self {
        let id = docker.start(flags, image, command);
        let native = image == NATIVE;
        Lasting {
            pid: docker.inspect(&id, "{{.State.Pid}}"),
            id,
            exec: if native {
                &["echo", "executed"]
            } else {
                &["/sleep.wasm", "0"]
            },
            says: if native { "executed\n" } else { "sleeping\n" },
        }
    }

    fn is_alive(&self) -> bool {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid));
        status.is_ok_and(|text| !text.contains("State:\tZ"))
    }

    #[track_caller]
    fn runs_again(&mut self, docker: &Docker) {
        eventually(&format!("{} runs again", self.id), || {
            (state(docker, &self.id) == "running 0").then_some(())
        });
        self.pid = docker.inspect(&self.id, "{{.State.Pid}}");
        self.works(docker);
    }

    #[track_caller]
    fn works(&self, docker: &Docker) {
        assert!(self.is_alive());
        assert_eq!(
            docker.inspect(&self.id, "{{.State.Status}} {{.State.Pid}}"),
            format!("running {}", self.pid)
        );
        let output = docker.call(&[&["exec", &self.id], self.exec].concat()).ok();
        assert_eq!(output.stdout, self.says);
    }
}

const COUNT: &str = "trap 'exit 9' TERM; i=0; while :; do i=$((i+1)); echo count $i; sleep 0.1; done";

fn live_restore(case: &Case) {
    let dir = case.dir.join("docker");
    let flags = ["--live-restore"];
    let mut daemon = Daemon::with_images(&dir, &case.runtime, &flags, guests(case));
    let docker = Docker::on(case, &daemon);
    let mut lasting = vec![Lasting::start(&docker, &[], NATIVE, &["sh", "-c", COUNT])];
    if case.runtime.ours {
        lasting.push(Lasting::start(&docker, &[], "wasm-sleep:test", &[]));
    }
    let native = lasting[0].id.clone();
    docker.wait_for_log(&native, "count 1\n");
    for signal in [Signal::KILL, Signal::TERM] {
        daemon.end(signal);
        assert!(lasting.iter().all(Lasting::is_alive));
        daemon.come_back();
        lasting.iter().for_each(|one| one.works(&docker));
        // What it writes is still heard.
        let counted = |text: &str| text.matches("count ").count();
        let before = counted(&docker.call(&["logs", &native]).ok().stdout);
        eventually("it counts on", || {
            let now = counted(&docker.call(&["logs", &native]).ok().stdout);
            (now > before).then_some(())
        });
    }
    // One that ends while nobody is there.
    let script = "until test -e /tmp/end; do sleep 0.1; done; exit 6";
    let short = Lasting::start(&docker, &[], NATIVE, &["sh", "-c", script]);
    daemon.end(Signal::KILL);
    fs::write(format!("/proc/{}/root/tmp/end", short.pid), "").expect("a file in the container");
    eventually("it has ended", || (!short.is_alive()).then_some(()));
    daemon.come_back();
    // With which code, later versions of Docker no longer know.
    assert!(state(&docker, &short.id).starts_with("exited "));
    for one in &lasting {
        docker.call(&["stop", "--time", "50", &one.id]).ok();
        let code = if one.id == native { 9 } else { 143 };
        assert_eq!(state(&docker, &one.id), format!("exited {code}"));
        assert!(!one.is_alive());
    }
}

fn state(docker: &Docker, id: &str) -> String {
    docker.inspect(id, "{{.State.Status}} {{.State.ExitCode}}")
}

fn guests(case: &Case) -> &'static [&'static str] {
    if case.runtime.ours { &["sleep"] } else { &[] }
}

/// Without live-restore, by the restart policies.
fn end_of_the_daemon(case: &Case) {
    let dir = case.dir.join("docker");
    let mut daemon = Daemon::with_images(&dir, &case.runtime, &[], guests(case));
    let docker = Docker::on(case, &daemon);
    let start = |policy: &str, image, command| {
        Lasting::start(&docker, &["--init", "--restart", policy], image, command)
    };
    let mut plain = start("no", NATIVE, &["sh", "-c", COUNT]);
    let stopped = start("unless-stopped", NATIVE, &["sleep", "1000"]);
    docker.call(&["stop", "--time", "0", &stopped.id]).ok();
    let mut unless = start("unless-stopped", NATIVE, &["sleep", "1000"]);
    let mut always = vec![start("always", NATIVE, &["sleep", "1000"])];
    if case.runtime.ours {
        let flags = ["--restart", "always"];
        always.push(Lasting::start(&docker, &flags, "wasm-sleep:test", &[]));
    }
    docker.wait_for_log(&plain.id, "count 1\n");
    for signal in [Signal::TERM, Signal::KILL] {
        daemon.end(signal);
        let alive = || {
            always
                .iter()
                .chain([&plain, &unless])
                .filter(|one| one.is_alive())
                .count()
        };
        // A daemon that is killed ends nothing; it does that when it comes back.
        let all = always.len() + 2;
        assert_eq!(alive(), if signal == Signal::KILL { all } else { 0 });
        daemon.come_back();
        assert_eq!(alive(), 0);
        assert_eq!(state(&docker, &plain.id), "exited 9");
        always.iter_mut().for_each(|one| one.runs_again(&docker));
        if signal == Signal::TERM {
            // Docker's daemon forgets those after it was killed.
            unless.runs_again(&docker);
        }
        assert!(state(&docker, &stopped.id).starts_with("exited"));
        docker.call(&["start", &plain.id]).ok();
        plain.pid = docker.inspect(&plain.id, "{{.State.Pid}}");
    }
}
