//! A Docker daemon of our own: own data, own socket, own network and mount namespace, so that nothing of it
//! remains on the machine. One serves the whole suite; it is ended by its pid.

pub mod compose;
pub mod host;
pub mod life;
mod remap;

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
use super::leaks::{cgroups, slice, stop_slice_of};
use super::network::within;
use super::runtime::Runtime;

/// The manifest of the image `spin:test`: a component that is open, one that only it may call, and a reply.
const SPIN: &str = r#"spin_manifest_version = 2
[application]
name = "shop"
[[trigger.http]]
route = "/:page"
component = "front"
[[trigger.http]]
route = { private = true }
component = "store"
[[trigger.http]]
route = "/robots.txt"
static_response = { body = "Disallow: /" }
[component.front]
source = "http-02.wasm"
environment = { MODE = "front" }
allowed_outbound_hosts = ["http://store.spin.internal"]
[component.store]
source = "http-02.wasm"
environment = { MODE = "store" }
"#;

/// The slightfile of the image `slight:test`.
const SLIGHT: &str = r#"specversion = "0.2"
[[capability]]
resource = "http"
name = "rest"
[[capability]]
resource = "http-client"
name = "any"
[[capability]]
resource = "configs.envvars"
name = "*"
[[capability]]
resource = "keyvalue.filesystem"
name = "files"
[[capability]]
resource = "messaging.filesystem"
name = "queue"
"#;

/// The image of busybox, without an entry point.
pub const NATIVE: &str = "native:test";

/// What precedes the daemon in its namespaces. The loopback device is for published ports; and the machine's
/// own containerd must be out of sight, or the daemon would use that one, which does not see its mounts.
/// `$SUBIDS` takes the place of the machine's list of subordinate ids.
const PREPARE: &str = "busybox ip link set lo up && { ! test -d /run/containerd || \
     mount -t tmpfs none /run/containerd; } && { test -z \"$SUBIDS\" || \
     { mount --bind \"$SUBIDS\" /etc/subuid && mount --bind \"$SUBIDS\" /etc/subgid; }; } && exec \"$@\"";

/// A running daemon.
pub struct Daemon {
    child: Child,
    dir: PathBuf,
    /// How `dockerd` is called, each time that it is started.
    arguments: Vec<String>,
    environment: Vec<(&'static str, String)>,
    /// Those it left when it ended, in which it comes back.
    namespaces: Option<life::Namespaces>,
}

/// The suite's own daemon, started by the first test that needs it.
static SHARED: Mutex<Option<Daemon>> = Mutex::new(None);

impl Daemon {
    /// Starts a daemon in `dir` that knows `runtimes`, with more `flags`, and waits until it answers.
    pub fn start(dir: &Path, runtimes: &[Runtime], flags: &[&str]) -> Self {
        let mut all = known(runtimes);
        all.extend(flags.iter().map(|flag| (*flag).to_owned()));
        let daemon = Self::launch(dir, all, Vec::new());
        daemon.import_native();
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
            daemon.import_guest(name);
        }
        daemon.import("slight:test", &["CMD [\"/\"]"], |root| {
            fs::write(root.join("slightfile.toml"), SLIGHT).expect("the slightfile");
            fs::write(root.join("app.wasm"), guest::binary("slight")).expect("the guest");
        });
        daemon.import("spin:test", &["CMD [\"/\"]"], |root| {
            fs::write(root.join("spin.toml"), SPIN).expect("the manifest");
            fs::write(root.join("http-02.wasm"), guest::binary("http-02")).expect("the guest");
        });
        daemon
    }

    /// Starts a daemon without images.
    fn launch(dir: &Path, flags: Vec<String>, environment: Vec<(&'static str, String)>) -> Self {
        fs::create_dir_all(dir).expect("a directory for the daemon");
        let path = |name: &str| text(&dir.join(name));
        let mut arguments = [
            "--data-root",
            &path("data"),
            "--exec-root",
            &path("run"),
            "--pidfile",
            &path("pid"),
            "--host",
            &format!("unix://{}", path("socket")),
            "--cgroup-parent",
            &cgroup_parent(dir),
        ]
        .map(str::to_owned)
        .to_vec();
        arguments.extend(flags);
        let mut enter = Command::new("unshare");
        enter.args(["-m", "-n", "--propagation", "private", "sh", "-c"]);
        enter.args([PREPARE, "sh"]);
        let daemon = Daemon {
            child: spawn(enter, dir, &arguments, &environment),
            dir: dir.to_owned(),
            arguments,
            environment,
            namespaces: None,
        };
        daemon.wait_until_up();
        daemon
    }

    /// Waits until it answers.
    fn wait_until_up(&self) {
        let up = || {
            self.client(&["version"])
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
                read(&self.dir.join("log"))
            );
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// Makes the image [`NATIVE`].
    fn import_native(&self) {
        self.import(NATIVE, &["CMD [\"sh\"]"], bundle::make_rootfs);
    }

    /// Makes the image `wasm-NAME:test` of one guest alone.
    fn import_guest(&self, name: &str) {
        self.import_guests(&format!("wasm-{name}:test"), &[name], &[]);
    }

    /// Makes an image of guests, the first of which is the entry point.
    fn import_guests(&self, image: &str, names: &[&str], changes: &[&str]) {
        let entry = format!("ENTRYPOINT [\"/{}.wasm\"]", names[0]);
        self.import(image, &[&[entry.as_str()], changes].concat(), |root| {
            for name in names {
                fs::write(root.join(format!("{name}.wasm")), guest::binary(name)).expect("the guest");
            }
        });
    }

    /// Where it listens, as DOCKER_HOST has it.
    pub fn address(&self) -> String {
        format!("unix://{}", text(&self.dir.join("socket")))
    }

    /// Makes an image of what `fill` puts into a directory.
    fn import(&self, name: &str, changes: &[&str], fill: impl FnOnce(&Path)) {
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
        let changes = changes.iter().flat_map(|change| ["-c", change]);
        let mut arguments = vec!["import"];
        arguments.extend(changes);
        let archive_path = text(&archive);
        arguments.extend([archive_path.as_str(), name]);
        let import = self.client(&arguments).stdout(Stdio::null()).status();
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
        // It may have ended by itself; that shows in the tests that needed it. Its number may be another's then.
        if !matches!(self.child.try_wait(), Ok(Some(_))) {
            let daemon = self.child.id().cast_signed();
            let pid = super::command::pid(daemon);
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
            if !wait_for_exit(daemon, LIMIT) {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
            let _ = self.child.wait();
        }
        // Mounts of a daemon that was killed live in its mount namespace and are gone with it.
        let _ = fs::remove_dir_all(&self.dir);
        if has_systemd() {
            stop_slice_of(None, &cgroup_name(&self.dir));
            return;
        }
        for group in cgroups(&cgroup_parent(&self.dir)).iter().rev() {
            let _ = fs::remove_dir(group); // What is in use shows in the search for what is left.
        }
    }
}

/// The flags that tell a daemon of `runtimes`. It has a runtime named runc already, which it looks for in PATH.
fn known(runtimes: &[Runtime]) -> Vec<String> {
    let own = runtimes.iter().filter(|runtime| runtime.name != "runc");
    own.flat_map(|runtime| {
        let value = format!("{}={}", runtime.name, text(&runtime.path));
        ["--add-runtime".to_owned(), value]
    })
    .collect()
}

/// Starts `dockerd ARGUMENTS` as what `enter` executes.
fn spawn(
    mut enter: Command,
    dir: &Path,
    arguments: &[String],
    environment: &[(&'static str, String)],
) -> Child {
    let log = fs::File::options()
        .create(true)
        .append(true)
        .open(dir.join("log"));
    let log = log.expect("the daemon's log");
    enter.arg("dockerd").args(arguments).stdin(Stdio::null());
    enter
        .env_remove(MARK)
        .env("WRUN_CACHE_DIR", dir.join("cache"))
        .envs(environment.iter().map(|(name, value)| (name, value)));
    enter.stdout(log.try_clone().expect("a descriptor")).stderr(log);
    enter.spawn().expect("unshare or nsenter starts")
}

/// The cgroup of a daemon's containers, named after its directory: a slice of systemd where Docker asks
/// systemd for cgroups.
fn cgroup_parent(dir: &Path) -> String {
    let name = cgroup_name(dir);
    if has_systemd() {
        slice(&name)
    } else {
        format!("/{name}")
    }
}

/// What it is named after the directory, as a test's mark names others.
fn cgroup_name(dir: &Path) -> String {
    format!("docker{}", text(dir).replace(['/', '.'], "-"))
}

/// Whether Docker asks systemd for cgroups.
fn has_systemd() -> bool {
    Need::Systemd.missing().is_none() && Need::CgroupV2.missing().is_none()
}

/// Ends the suite's daemons, if they run.
pub fn stop() {
    life::stop();
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
    log: PathBuf,
    network: String,
    runtime: Option<String>,
}

impl<'case> Docker<'case> {
    /// On the suite's daemon.
    pub fn new(case: &'case Case) -> Self {
        let mut shared = SHARED
            .lock()
            .expect("the first test that needed the daemon could not start it");
        let daemon = shared.get_or_insert_with(|| {
            let dir = base().join("docker");
            let mut flags = host::with_devices(&dir);
            flags.extend(host::with_time_namespaces(&dir, &Runtime::all()));
            let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
            Daemon::start(&dir, &Runtime::all(), &flags)
        });
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
            log: daemon.dir.join("log"),
            network: read(&daemon.dir.join("pid")).trim().to_owned(),
            runtime: None,
        }
    }

    /// The command `docker ARGUMENTS`.
    pub fn command(&self, arguments: &[&str]) -> Command {
        self.command_of(Path::new("docker"), arguments)
    }

    /// The same with a client of the caller's choice.
    pub fn command_of(&self, client: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(client);
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
        self.labelled("run", flags, image, arguments)
    }

    /// `docker create FLAGS IMAGE ARGUMENTS`, likewise.
    pub fn create_command(&self, flags: &[&str], image: &str, arguments: &[&str]) -> Command {
        self.labelled("create", flags, image, arguments)
    }

    fn labelled(&self, verb: &str, flags: &[&str], image: &str, arguments: &[&str]) -> Command {
        let label = format!("case={}", self.case.mark);
        let mut all = vec![verb, "--label", &label];
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

    /// What the daemon's own log says of a container.
    pub fn said_of(&self, id: &str) -> String {
        let log = read(&self.log);
        let lines: Vec<&str> = log.lines().filter(|line| line.contains(id)).collect();
        lines.join("\n")
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
