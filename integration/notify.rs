//! sd_notify(3): the container's word that it is ready, passed on to a service manager. The sockets of socket
//! activation, which come the same way.

use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::Command;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use serde_json::json;

use crate::harness::bundle::map_ids;
use crate::harness::command::{Running, eventually, patience};
use crate::harness::{Case, Container, Test, test};

pub fn tests() -> Vec<Test> {
    vec![
        test!(detached_run_waits_for_the_word),
        test!(start_waits_for_the_word),
        test!(foreground_run_names_itself),
        test!(end_without_a_word_is_an_end).wrun_only("runc 1.1 waits for ever"),
        test!(only_the_word_goes_on).wrun_only("runc waits for a message that begins with it"),
        test!(with_a_user_namespace_and_another_user)
            .wrun_only("runc 1.1 cannot mount from its state directory in a user namespace"),
        test!(nothing_of_it_without_a_manager),
        test!(abstract_address).wrun_only("busybox and runc's tests know paths only"),
        test!(manager_that_is_not_there_is_no_obstacle),
        test!(descriptors_of_socket_activation_come_first),
        test!(names_of_sockets_are_passed).wrun_only("runc does not pass them"),
    ]
}

/// A service manager: its socket, and what it is told.
struct Manager {
    socket: UnixDatagram,
    address: String,
}

impl Manager {
    fn new(case: &Case) -> Self {
        let path = case.dir.join("manager.sock");
        Manager {
            socket: UnixDatagram::bind(&path).expect("a socket in the test's directory"),
            address: case.path("manager.sock"),
        }
    }

    /// Whether a message is there within a time that is long enough where one is on its way.
    fn is_told(&self, seconds: i64) -> bool {
        let timeout = Timespec {
            tv_sec: seconds * i64::from(patience()),
            tv_nsec: 0,
        };
        poll(&mut [PollFd::new(&self.socket, PollFlags::IN)], Some(&timeout)).expect("poll") == 1
    }

    /// The next message, and the descriptor that came with it.
    #[track_caller]
    fn receive(&self) -> (String, Option<OwnedFd>) {
        assert!(self.is_told(20), "the manager is told nothing");
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut data = [0; 4096];
        let mut buffers = [IoSliceMut::new(&mut data)];
        let received = recvmsg(
            self.socket.as_fd(),
            &mut buffers,
            &mut control,
            RecvFlags::CMSG_CLOEXEC,
        );
        let length = received.expect("a message").bytes;
        let descriptor = control.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
            _ => None,
        });
        (String::from_utf8_lossy(&data[..length]).into_owned(), descriptor)
    }

    /// READY and the pid, each in a message of its own.
    #[track_caller]
    fn expect(&self, pid: i32) {
        assert_eq!(self.receive().0, "READY=1\n");
        assert_eq!(self.receive().0, format!("MAINPID={pid}\n"));
    }

    /// What follows where the sender is about to end; reading it lets it go. runc has it from 1.2 on.
    #[track_caller]
    fn expect_barrier(&self, case: &Case) {
        if !case.runtime.ours {
            return;
        }
        let (text, descriptor) = self.receive();
        assert_eq!(text, "BARRIER=1");
        descriptor.expect("a pipe that is closed when we have read it");
    }
}

fn told(mut command: Command, manager: &Manager) -> Command {
    command.env("NOTIFY_SOCKET", &manager.address);
    command
}

/// The container's socket, as its own processes have it before them.
fn socket(container: &Container) -> PathBuf {
    container.proc("root/run/notify/notify.sock")
}

/// Says something as the container would, once it runs and its socket is there.
fn say(container: &Container, text: &str) {
    eventually("the container has its socket", || {
        let state = container.case.call(&["state", &container.id]);
        let running = state.status.success() && state.json()["status"] == "running";
        (running && socket(container).exists()).then_some(())
    });
    let speaker = UnixDatagram::unbound().expect("a socket");
    speaker
        .send_to(text.as_bytes(), socket(container))
        .expect("the runtime listens");
}

fn still_runs(command: &mut Running) -> bool {
    command.child.try_wait().expect("our own child").is_none()
}

fn detached_run_waits_for_the_word(case: &Case) {
    let manager = Manager::new(case);
    let container = case.container(&["sh", "-c", "echo $NOTIFY_SOCKET >/tmp/variable; sleep 100"]);
    let mut run = case.start(told(container.command("run", &["--detach"]), &manager));
    assert_eq!(
        container.wait_for_file("tmp/variable"),
        "/run/notify/notify.sock\n"
    );
    assert!(still_runs(&mut run));
    say(&container, "READY=1");
    manager.expect(container.pid());
    manager.expect_barrier(case);
    run.wait().ok();
    let line = container.sh("grep ' /run/notify ' /proc/self/mountinfo");
    for option in ["ro", "nosuid", "nodev", "noexec"] {
        let options = line.split(' ').nth(5).expect("options");
        assert!(options.split(',').any(|own| own == option), "{option}: {line}");
    }
    container.delete_with(&["--force"]).ok();
    case.nothing_left();
}

fn start_waits_for_the_word(case: &Case) {
    let manager = Manager::new(case);
    let container = case.container(&["sleep", "100"]);
    case.finish(told(container.command("create", &[]), &manager)).ok();
    let start = case.start(told(case.command(&["start", &container.id]), &manager));
    say(&container, "READY=1");
    manager.expect(container.pid());
    manager.expect_barrier(case);
    start.wait().ok();
}

/// The service is the runtime then, which ends with the container.
fn foreground_run_names_itself(case: &Case) {
    let manager = Manager::new(case);
    let container = case.container(&["sh", "-c", "trap 'exit 7' TERM; while true; do sleep 0.1; done"]);
    let run = case.start(told(container.command("run", &[]), &manager));
    say(&container, "READY=1");
    manager.expect(run.pid());
    container.kill("TERM").ok();
    run.wait().code_is(7);
}

fn end_without_a_word_is_an_end(case: &Case) {
    let manager = Manager::new(case);
    let container = case.container(&["true"]);
    case.finish(told(container.command("run", &["--detach"]), &manager))
        .ok();
    assert!(!manager.is_told(0));
    container.delete();
}

fn only_the_word_goes_on(case: &Case) {
    let manager = Manager::new(case);
    let container = case.container(&["sleep", "100"]);
    let run = case.start(told(container.command("run", &["--detach"]), &manager));
    say(&container, "STATUS=on the way\nMAINPID=1");
    say(&container, "STOPPING=1");
    say(&container, "STATUS=up\nREADY=1\nMAINPID=1\n");
    manager.expect(container.pid());
    manager.expect_barrier(case);
    run.wait().ok();
}

fn with_a_user_namespace_and_another_user(case: &Case) {
    let manager = Manager::new(case);
    let container = case.container_with(&["sleep", "100"], |config| {
        map_ids(config, 100_000);
        config["process"]["user"] = json!({ "uid": 1000, "gid": 1000 });
    });
    std::os::unix::fs::chown(container.bundle.join("rootfs"), Some(100_000), Some(100_000)).expect("ours");
    let run = case.start(told(container.command("run", &["--detach"]), &manager));
    say(&container, "");
    // It may write to it, and to nothing beside it.
    assert_eq!(
        container.sh("test -w /run/notify/notify.sock && echo may; test -w /run/notify || echo may not"),
        "may\nmay not"
    );
    say(&container, "READY=1");
    manager.expect(container.pid());
    manager.expect_barrier(case);
    run.wait().ok();
}

fn nothing_of_it_without_a_manager(case: &Case) {
    let container = case.script("env | grep NOTIFY; grep notify /proc/self/mountinfo; true");
    assert_eq!(container.run().ok().stdout, "");
    // Created without one, started with one: nobody could speak.
    let manager = Manager::new(case);
    let container = case.container(&["sleep", "100"]);
    container.create();
    let start = case.finish(told(case.command(&["start", &container.id]), &manager));
    if case.runtime.ours {
        start.ok();
    }
}

fn abstract_address(case: &Case) {
    use std::os::linux::net::SocketAddrExt;
    let name = format!("{}manager", case.mark);
    let address = std::os::unix::net::SocketAddr::from_abstract_name(&name).expect("an address");
    let manager = Manager {
        socket: UnixDatagram::bind_addr(&address).expect("bound"),
        address: format!("@{name}"),
    };
    let container = case.container(&["sleep", "100"]);
    let run = case.start(told(container.command("run", &["--detach"]), &manager));
    say(&container, "READY=1");
    manager.expect(container.pid());
    manager.expect_barrier(case);
    run.wait().ok();
}

fn manager_that_is_not_there_is_no_obstacle(case: &Case) {
    let container = case.container(&["sleep", "100"]);
    let mut command = container.command("run", &["--detach"]);
    command.env("NOTIFY_SOCKET", case.path("nobody.sock"));
    let output = case.finish(command).ok();
    assert_eq!(container.status(), "running");
    if case.runtime.ours {
        assert!(
            output.stderr.contains("level=warning") && output.stderr.contains("nobody.sock"),
            "{output}"
        );
    }
}

/// Runs `command` as a service manager does that passes `names.len()` sockets, and leaves one more descriptor open.
fn activated(case: &Case, command: &Command, names: &[&str]) -> Command {
    let mut files = String::new();
    for (place, name) in names.iter().chain(&["preserved"]).enumerate() {
        let path = case.dir.join(name);
        std::fs::write(&path, format!("{name}\n")).expect("a file");
        files.push_str(&format!(" {}<{}", place + 3, path.display()));
    }
    let variables = format!(
        "LISTEN_PID=$$ LISTEN_FDS={} LISTEN_FDNAMES={}",
        names.len(),
        names.join(":")
    );
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("export {variables}; exec \"$@\"{files}"), "sh"]);
    shell
        .arg(command.get_program())
        .args(command.get_args())
        .stdin(std::process::Stdio::null());
    for (name, value) in command.get_envs() {
        shell.env(name, value.expect("none is removed"));
    }
    shell
}

fn descriptors_of_socket_activation_come_first(case: &Case) {
    let script = "cat <&3; cat <&4; cat <&5; echo $LISTEN_FDS $LISTEN_PID; ls /proc/self/fd";
    let container = case.script(script);
    let run = container.command("run", &["--preserve-fds", "1"]);
    let output = case.finish(activated(case, &run, &["http", "admin"])).ok();
    // 6 is the directory that ls reads.
    let expected = [
        "http",
        "admin",
        "preserved",
        "2 1",
        "0",
        "1",
        "2",
        "3",
        "4",
        "5",
        "6",
    ];
    assert_eq!(output.lines(), expected, "{output}");
    let sleeper = case.container(&["sleep", "100"]);
    sleeper.run_detached();
    if case.runtime.ours {
        // runc says 1 to a process that is another.
        let script = "cat <&3; cat <&4; cat <&5; [ $LISTEN_PID = $$ ] && echo mine";
        let exec = case.command(&["exec", "--preserve-fds", "1", &sleeper.id, "sh", "-c", script]);
        let output = case.finish(activated(case, &exec, &["http", "admin"])).ok();
        assert_eq!(output.lines(), ["http", "admin", "preserved", "mine"], "{output}");
    }
}

fn names_of_sockets_are_passed(case: &Case) {
    let container = case.script("echo $LISTEN_FDNAMES");
    let run = container.command("run", &["--preserve-fds", "1"]);
    let output = case.finish(activated(case, &run, &["http", "admin"])).ok();
    assert_eq!(output.stdout, "http:admin\n");
}
