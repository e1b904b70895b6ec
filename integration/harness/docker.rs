//! A Docker daemon of our own: own data, own socket, own network and mount namespace, so that nothing of it
//! remains on the machine. One serves the whole suite; it is ended by its pid.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use super::bundle;
use super::case::{Case, MARK, base, text};
use super::command::{LIMIT, Output, eventually, patience, read, wait_for_exit};
use super::facts::Need;
use super::guest;
use super::leaks::cgroups;
use super::network::within;
use super::runtime::Runtime;

/// The image of busybox, without an entry point.
pub const NATIVE: &str = "native:test";

/// What precedes the daemon in its namespaces. The loopback device is for published ports; and the machine's
/// own containerd must be out of sight, or the daemon would use that one, which does not see its mounts.
const PREPARE: &str = "busybox ip link set lo up && { ! test -d /run/containerd || \
     mount -t tmpfs none /run/containerd; } && exec \"$@\"";

/// A running daemon.
pub struct Daemon {
    child: Child,
    dir: PathBuf,
}

/// The suite's own daemon, started by the first test that needs it.
static SHARED: Mutex<Option<Daemon>> = Mutex::new(None);

impl Daemon {
    /// Starts a daemon in `dir` that knows `runtimes`, with more `flags`, and waits until it answers.
    pub fn start(dir: &Path, runtimes: &[Runtime], flags: &[&str]) -> Self {
        fs::create_dir_all(dir).expect("a directory for the daemon");
        let path = |name: &str| text(&dir.join(name));
        let mut command = Command::new("unshare");
        command.args(["-m", "-n", "--propagation", "private", "sh", "-c"]);
        command.args([PREPARE, "sh", "dockerd"]);
        command.args([
            "--data-root",
            &path("data"),
            "--exec-root",
            &path("run"),
            "--pidfile",
            &path("pid"),
        ]);
        command.args(["--host", &format!("unix://{}", path("socket"))]);
        command.args(["--cgroup-parent", &cgroup_parent(dir)]);
        for runtime in runtimes.iter().filter(|runtime| runtime.name != "runc") {
            command.args([
                "--add-runtime",
                &format!("{}={}", runtime.name, text(&runtime.path)),
            ]);
        }
        command.args(flags).stdin(Stdio::null()).env_remove(MARK);
        command.env("WRUN_CACHE_DIR", dir.join("cache"));
        let log = fs::File::create(dir.join("log")).expect("the daemon's log");
        command.stdout(log.try_clone().expect("a descriptor")).stderr(log);
        let child = command.spawn().expect("unshare starts");
        let daemon = Daemon {
            child,
            dir: dir.to_owned(),
        };
        let up = || {
            daemon
                .client(&["version"])
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status()
        };
        let mut tries = 0;
        while !up().is_ok_and(|status| status.success()) {
            tries += 1;
            assert!(
                tries < 150 * patience(),
                "dockerd does not answer:\n{}",
                read(&dir.join("log"))
            );
            std::thread::sleep(Duration::from_millis(200));
        }
        daemon.import(NATIVE, "CMD [\"sh\"]", bundle::make_rootfs);
        for name in [
            "hello",
            "exit",
            "cat",
            "file",
            "spin",
            "sleep",
            "trap",
            "hog",
            "command",
            "hyper-echo",
            "http-02",
        ] {
            let entry = format!("ENTRYPOINT [\"/{name}.wasm\"]");
            daemon.import(&format!("wasm-{name}:test"), &entry, |root| {
                fs::write(root.join(format!("{name}.wasm")), guest::binary(name)).expect("the guest");
            });
        }
        daemon
    }

    /// Where it listens, as DOCKER_HOST has it.
    pub fn address(&self) -> String {
        format!("unix://{}", text(&self.dir.join("socket")))
    }

    /// Makes an image of what `fill` puts into a directory.
    fn import(&self, name: &str, change: &str, fill: impl FnOnce(&Path)) {
        let root = self.dir.join("image");
        fs::create_dir(&root).expect("a directory for the image");
        fill(&root);
        let archive = self.dir.join("image.tar");
        let tar = Command::new("tar")
            .arg("-C")
            .arg(&root)
            .arg("-cf")
            .arg(&archive)
            .arg(".")
            .status();
        assert!(tar.expect("tar starts").success());
        let import = self
            .client(&["import", "-c", change, &text(&archive), name])
            .stdout(Stdio::null())
            .status();
        assert!(import.expect("docker starts").success(), "docker import {name}");
        fs::remove_dir_all(&root).expect("it is ours");
        fs::remove_file(&archive).expect("it is ours");
    }

    /// The command `docker ARGUMENTS` for this daemon.
    fn client(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("docker");
        command.arg("--host").arg(self.address());
        command
            .args(arguments)
            .stdin(Stdio::null())
            .env("DOCKER_CONFIG", self.dir.join("client"));
        command
    }
}

impl Drop for Daemon {
    /// Ends the daemon and waits for that.
    fn drop(&mut self) {
        let daemon = read(&self.dir.join("pid"))
            .trim()
            .parse()
            .unwrap_or(self.child.id().cast_signed());
        let pid = super::command::pid(daemon);
        // It may have ended by itself; that shows in the tests that needed it.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        if !wait_for_exit(daemon, LIMIT) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
        let _ = self.child.wait();
        for group in cgroups(&cgroup_parent(&self.dir)).iter().rev() {
            let _ = fs::remove_dir(group); // What is in use shows in the search for what is left.
        }
        // Mounts of a daemon that was killed live in its mount namespace and are gone with it.
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// The cgroup of a daemon's containers, named after its directory: a slice of systemd where Docker asks
/// systemd for cgroups.
fn cgroup_parent(dir: &Path) -> String {
    if Need::Systemd.missing().is_none() && Need::CgroupV2.missing().is_none() {
        // A dash in a slice's name would put it below another slice.
        let name = text(dir).replace(['/', '.', '-'], "_");
        return format!("docker{name}.slice");
    }
    let name = text(dir).replace(['/', '.'], "-");
    format!("/docker{name}")
}

/// Ends the suite's daemon, if it runs.
pub fn stop() {
    drop(
        SHARED
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
            .take(),
    );
}

/// One test's use of a daemon: its containers run with the test's runtime, and are removed at the end.
pub struct Docker<'case> {
    pub case: &'case Case,
    host: String,
    config: PathBuf,
    network: String,
    runtime: Option<String>,
}

impl<'case> Docker<'case> {
    /// On the suite's daemon.
    pub fn new(case: &'case Case) -> Self {
        let mut shared = SHARED
            .lock()
            .expect("the first test that needed the daemon could not start it");
        let daemon =
            shared.get_or_insert_with(|| Daemon::start(&base().join("docker"), &Runtime::all(), &[]));
        let mut docker = Self::on(case, daemon);
        docker.runtime = Some(case.runtime.name.clone());
        docker
    }

    /// On `daemon`, with its default runtime.
    pub fn on(case: &'case Case, daemon: &Daemon) -> Self {
        Docker {
            case,
            host: daemon.address(),
            config: daemon.dir.join("client"),
            network: read(&daemon.dir.join("pid")).trim().to_owned(),
            runtime: None,
        }
    }

    /// The command `docker ARGUMENTS`.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("docker");
        command
            .args(["--host", &self.host])
            .args(arguments)
            .stdin(Stdio::null());
        command.env("DOCKER_CONFIG", &self.config);
        command
    }

    /// Runs `docker ARGUMENTS` to its end.
    #[track_caller]
    pub fn call(&self, arguments: &[&str]) -> Output {
        self.case.finish(self.command(arguments))
    }

    /// `docker run FLAGS IMAGE ARGUMENTS`, with the runtime and the mark of the test.
    pub fn run_command(&self, flags: &[&str], image: &str, arguments: &[&str]) -> Command {
        let label = format!("case={}", self.case.mark);
        let mut all = vec!["run", "--label", &label];
        if let Some(runtime) = &self.runtime {
            all.extend(["--runtime", runtime]);
        }
        self.command(&[&all, flags, &[image], arguments].concat())
    }

    /// [`Docker::run_command`] to its end, with `--rm`.
    #[track_caller]
    pub fn run(&self, flags: &[&str], image: &str, arguments: &[&str]) -> Output {
        self.case
            .finish(self.run_command(&[&["--rm"], flags].concat(), image, arguments))
    }

    /// `docker run --detach`; the container's id.
    #[track_caller]
    pub fn start(&self, flags: &[&str], image: &str, arguments: &[&str]) -> String {
        let output = self
            .case
            .finish(self.run_command(&[&["--detach"], flags].concat(), image, arguments))
            .ok();
        output.stdout.trim().to_owned()
    }

    /// A value out of `docker inspect`.
    #[track_caller]
    pub fn inspect(&self, id: &str, format: &str) -> String {
        self.call(&["inspect", "--format", format, id])
            .ok()
            .stdout
            .trim()
            .to_owned()
    }

    /// Waits until the container's log has `text`.
    #[track_caller]
    pub fn wait_for_log(&self, id: &str, text: &str) {
        eventually(&format!("the log of {id} has {text:?}"), || {
            let output = self.call(&["logs", id]);
            (output.stdout.contains(text) || output.stderr.contains(text)).then_some(())
        });
    }

    /// A command in the daemon's network namespace, where published ports are.
    pub fn beside(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command
            .args(["--net", "--target", &self.network, program])
            .args(arguments)
            .stdin(Stdio::null());
        command
    }
}

impl Docker<'_> {
    /// Where the container's TCP port is published, as those in [`Docker::within`] see it.
    #[track_caller]
    pub fn published(&self, id: &str, port: u16) -> SocketAddr {
        let output = self.call(&["port", id, &port.to_string()]).ok();
        let first = output.lines().first().map(|line| line.parse());
        first
            .and_then(Result::ok)
            .unwrap_or_else(|| panic!("no address: {output}"))
    }

    /// What `work` gives in the daemon's network namespace.
    pub fn within<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        within(self.network.parse().expect("the daemon's pid"), work)
    }
}

impl Drop for Docker<'_> {
    fn drop(&mut self) {
        let filter = format!("label=case={}", self.case.mark);
        let list = self
            .command(&["ps", "--all", "--quiet", "--filter", &filter])
            .output();
        let ids = list
            .map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
            .unwrap_or_default();
        for id in ids.split_whitespace() {
            // What cannot be removed shows as a process or cgroup in the search for what is left.
            let _ = self.command(&["rm", "--force", "--volumes", id]).output();
        }
    }
}
