//! Readiness told to a service manager: `--sdnotify` of each kind, to a socket of the test's own and to systemd.

use std::os::unix::net::UnixDatagram;

use super::*;
use crate::harness::command::{LIMIT, patience};

pub fn tests() -> Vec<Test> {
    vec![
        test!(socket_for_readiness),
        test!(word_of_conmon),
        test!(no_word),
        test!(word_of_health).needs(Need::PodmanNotifiesHealth),
        test!(service_of_type_notify)
            .needs(Need::Systemd)
            .needs(Need::CgroupV2),
    ]
}

/// A service manager's socket.
struct Manager {
    socket: UnixDatagram,
    path: String,
}

impl Manager {
    fn new(case: &Case) -> Self {
        let path = case.path("notify");
        let socket = UnixDatagram::bind(&path).expect("a socket");
        let limit = Some(LIMIT * patience());
        socket.set_read_timeout(limit).expect("a time limit");
        Manager { socket, path }
    }

    /// `podman run --detach --sdnotify KIND` of a script, told of the socket.
    fn run(&self, podman: &Podman, flags: &[&str], script: &str) -> Command {
        let flags = alone(&[&["--detach"], flags].concat());
        let mut command = podman.run_command(&flags, NATIVE, &["sh", "-c", script]);
        command.env("NOTIFY_SOCKET", &self.path);
        command
    }

    /// Reads until `word` is among what has come.
    #[track_caller]
    fn expect(&self, word: &str) {
        let mut all = String::new();
        let mut bytes = [0; 4096];
        while !all.contains(word) {
            let length = self.socket.recv(&mut bytes);
            let length = length.unwrap_or_else(|error| panic!("no {word} but {all:?}: {error}"));
            all.push_str(&String::from_utf8_lossy(&bytes[..length]));
        }
    }

    fn has_nothing(&self) -> bool {
        self.socket.set_nonblocking(true).expect("our own socket");
        self.socket.recv(&mut [0; 1]).is_err()
    }
}

/// Says that it is ready as the container's own program would, by the socket that it has.
fn say_ready(podman: &Podman, id: &str) {
    let pid = podman.inspect(id, "{{.State.Pid}}");
    let environment = fs::read_to_string(format!("/proc/{pid}/environ")).expect("its environment");
    let mut variables = environment.split('\0');
    let place = variables.find_map(|variable| variable.strip_prefix("NOTIFY_SOCKET="));
    let place = format!("/proc/{pid}/root{}", place.expect("it has a socket"));
    let speaker = UnixDatagram::unbound().expect("a socket");
    speaker
        .send_to(b"READY=1", place)
        .expect("the container's socket");
}

/// With `container` the program has a socket for its own word, and Podman tells the pid to wait for.
fn socket_for_readiness(case: &Case) {
    let podman = Podman::new(case);
    let manager = Manager::new(case);
    let script = "test -S $NOTIFY_SOCKET && sleep 100";
    let run = manager.run(&podman, &["--sdnotify", "container"], script);
    let id = case.finish(run).ok().stdout.trim().to_owned();
    manager.expect("MAINPID=");
    say_ready(&podman, &id);
    manager.expect("READY=1");
    podman.remove(&id);
}

fn word_of_conmon(case: &Case) {
    let podman = Podman::new(case);
    let manager = Manager::new(case);
    let run = manager.run(
        &podman,
        &["--sdnotify", "conmon"],
        "echo up ${NOTIFY_SOCKET-alone}; sleep 100",
    );
    let id = case.finish(run).ok().stdout.trim().to_owned();
    manager.expect("MAINPID=");
    podman.wait_for_log(&id, "up alone");
    podman.remove(&id);
}

fn no_word(case: &Case) {
    let podman = Podman::new(case);
    let manager = Manager::new(case);
    let run = manager.run(
        &podman,
        &["--sdnotify", "ignore"],
        "echo up ${NOTIFY_SOCKET-alone}; sleep 100",
    );
    let id = case.finish(run).ok().stdout.trim().to_owned();
    podman.wait_for_log(&id, "up alone");
    podman.remove(&id);
    assert!(manager.has_nothing());
}

/// `run` returns when a health check, which is a process added by the runtime, has succeeded.
fn word_of_health(case: &Case) {
    let podman = Podman::new(case);
    let manager = Manager::new(case);
    let flags = [
        "--name",
        "healthy",
        "--sdnotify",
        "healthy",
        "--health-interval",
        "disable",
    ];
    let flags = [&flags[..], &["--health-cmd", "test -e /tmp/well"]].concat();
    let run = case.start(manager.run(&podman, &flags, "sleep 100"));
    eventually("it runs", || {
        let output = podman.call(&["exec", "healthy", "touch", "/tmp/well"]);
        output.status.success().then_some(())
    });
    podman.call(&["healthcheck", "run", "healthy"]).ok();
    run.wait().ok();
    manager.expect("READY=1");
    podman.remove("healthy");
}

/// As Quadlet and `podman generate systemd` make one: the cgroup is the unit's own, split, and the unit is active when
/// conmon, or the program itself, says so.
fn service_of_type_notify(case: &Case) {
    let podman = Podman::new(case);
    for kind in ["conmon", "container"] {
        let unit = format!("{}{kind}", case.mark);
        let flags = ["--detach", "--cgroups=split", "--name", kind, "--sdnotify", kind];
        let script = "echo up; sleep 100";
        let run = podman.run_command(&alone(&flags), NATIVE, &["sh", "-c", script]);
        let mut systemd = Command::new("systemd-run");
        systemd
            .args(["--collect", "--service-type=notify", "--unit", &unit])
            .args(
                [
                    "NotifyAccess=all",
                    "Delegate=yes",
                    "KillMode=mixed",
                    "TimeoutStartSec=infinity",
                ]
                .map(|property| format!("--property={property}")),
            );
        let variables = run
            .get_envs()
            .filter_map(|(name, value)| Some((name.to_str()?, value?.to_str()?)));
        systemd.args(variables.map(|(name, value)| format!("--setenv={name}={value}")));
        systemd
            .arg(run.get_program())
            .args(run.get_args())
            .stdin(Stdio::null());
        let start = case.start(systemd);
        podman.wait_for_log(kind, "up");
        if kind == "container" {
            assert_eq!(property(&unit, "ActiveState"), "activating");
            say_ready(&podman, kind);
        }
        start.wait().ok();
        assert_eq!(property(&unit, "ActiveState"), "active");
        assert_eq!(
            property(&unit, "MainPID"),
            podman.inspect(kind, "{{.State.ConmonPid}}")
        );
        let pid = podman.inspect(kind, "{{.State.Pid}}");
        let group = fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("its cgroup");
        assert!(
            group.contains(&format!("/{unit}.service/libpod-payload-")),
            "{group}"
        );
        podman.remove(kind);
        eventually("the unit is gone", || {
            (property(&unit, "LoadState") == "not-found").then_some(())
        });
    }
}

fn property(unit: &str, name: &str) -> String {
    let output = Command::new("systemctl")
        .args(["show", "--value", "--property", name, &format!("{unit}.service")])
        .output()
        .expect("systemctl starts");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}
