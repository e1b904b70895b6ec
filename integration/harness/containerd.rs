//! A containerd of one test's own: own data, own socket, own network and mount namespace. Containers are made with
//! containerd's `ctr`, by way of the shim that containerd has for runc and its likes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::process::Signal;

use super::bundle;
use super::case::{Case, MARK, base, text};
use super::command::{Output, Running, eventually, read};
use super::engines::systemd_makes_cgroups;
use super::holder::{self, Holder};
use super::leaks::{slice, stop_slice};

/// What precedes the daemon in its namespaces. Shims have their sockets in a fixed place under /run/containerd, and
/// pods their network namespaces under /run/netns.
const PREPARE: &str = "busybox ip link set lo up && mkdir -p /run/containerd /run/netns && \
     mount -t tmpfs none /run/containerd && mount -t tmpfs none /run/netns";

static NEXT: AtomicUsize = AtomicUsize::new(1);

/// The namespaces, a daemon in them, and the test whose containers it has.
pub struct Containerd<'case> {
    pub case: &'case Case,
    /// Keeps the namespaces while the daemon is restarted.
    holder: Holder,
    daemon: Option<Child>,
    pub dir: PathBuf,
}

impl<'case> Containerd<'case> {
    /// Starts a daemon without Kubernetes' side and waits until it answers.
    pub fn start(case: &'case Case) -> Self {
        Self::start_with(case, |_| {
            "version = 2\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n".to_owned()
        })
    }

    /// Starts a daemon with a configuration of which `config` makes the part from its version on, told a directory for
    /// its files, and waits until it answers.
    pub fn start_with(case: &'case Case, config: impl FnOnce(&Path) -> String) -> Self {
        // Not below the test's directory: what has that in its command line counts as left by the test.
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let dir = base().join(format!("containerd-{number}"));
        fs::create_dir(&dir).expect("a directory for the daemon");
        let path = |name: &str| text(&dir.join(name));
        let config = format!(
            "root = \"{}\"\nstate = \"{}\"\n{}\n[grpc]\naddress = \"{}\"\n",
            path("root"),
            path("state"),
            config(&dir),
            path("socket")
        );
        fs::write(dir.join("config.toml"), config).expect("the daemon's configuration");
        let mut containerd = Containerd {
            case,
            holder: Holder::start(PREPARE, &dir),
            daemon: None,
            dir,
        };
        containerd.start_daemon();
        containerd
    }

    /// Starts the daemon, again if need be, and waits until it answers.
    pub fn start_daemon(&mut self) {
        let mut command = self.within("containerd");
        command
            .arg("--config")
            .arg(self.dir.join("config.toml"))
            .env("WRUN_CACHE_DIR", self.case.dir.join("cache"));
        let log = self.dir.join("log");
        self.daemon = Some(holder::daemon(command, &log));
        let what = format!("containerd answers: {}", read(&log));
        eventually(&what, || self.call(&["version"]).status.success().then_some(()));
    }

    /// Ends the daemon; its shims and containers stay.
    pub fn stop_daemon(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            holder::end(&mut daemon, Signal::TERM);
        }
    }

    /// A program in the daemon's namespaces.
    pub fn within(&self, program: &str) -> Command {
        self.holder.within(program)
    }

    /// A process in the daemon's namespaces.
    pub fn pid(&self) -> i32 {
        self.holder.pid()
    }

    /// Where the daemon answers.
    pub fn socket(&self) -> String {
        text(&self.dir.join("socket"))
    }

    /// The command `ctr ARGUMENTS`.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.within("ctr");
        command
            .arg("--address")
            .arg(self.dir.join("socket"))
            .args(arguments);
        command
    }

    /// Runs `ctr ARGUMENTS` to its end.
    #[track_caller]
    pub fn call(&self, arguments: &[&str]) -> Output {
        self.case.finish(self.command(arguments))
    }

    /// `ctr run FLAGS` of a container with the test's runtime and the root filesystem `root`.
    pub fn run_command(&self, flags: &[&str], root: &Path, id: &str, arguments: &[&str]) -> Command {
        let binary = text(&self.case.runtime.path);
        let mark = format!("{MARK}={}", self.case.mark);
        let own = [
            "run",
            "--runc-binary",
            &binary,
            "--env",
            "PATH=/bin",
            "--env",
            &mark,
        ];
        // What systemd makes needs a slice, whose name has the mark, and so the scope below it.
        let scope = format!("{}:ctr:{id}", slice(&self.case.mark));
        let systemd = ["--runc-systemd-cgroup", "--cgroup", &scope];
        let cgroups: &[&str] = if systemd_makes_cgroups() { &systemd } else { &[] };
        self.command(&[&own, cgroups, flags, &["--rootfs", &text(root), id], arguments].concat())
    }

    /// [`Containerd::run_command`] to the container's end.
    #[track_caller]
    pub fn run(&self, flags: &[&str], root: &Path, arguments: &[&str]) -> Output {
        let flags = [&["--rm"], flags].concat();
        self.case
            .finish(self.run_command(&flags, root, &self.case.id(), arguments))
    }

    /// [`Containerd::run_command`] in the background of the test.
    pub fn run_beside(&self, flags: &[&str], root: &Path, id: &str, arguments: &[&str]) -> Running {
        let flags = [&["--rm"], flags].concat();
        self.case.start(self.run_command(&flags, root, id, arguments))
    }

    /// `ctr run --detach`; the container's id.
    #[track_caller]
    pub fn start_container(&self, flags: &[&str], root: &Path, arguments: &[&str]) -> String {
        let id = self.case.id();
        let flags = [&["--detach"], flags].concat();
        self.case
            .finish(self.run_command(&flags, root, &id, arguments))
            .ok();
        id
    }

    /// The status of a task, as `ctr task ls` tells it.
    #[track_caller]
    pub fn status(&self, id: &str) -> String {
        let output = self.call(&["task", "ls"]).ok();
        let line = output
            .lines()
            .into_iter()
            .find(|line| line.split_whitespace().next() == Some(id));
        let last = line.and_then(|line| line.split_whitespace().last());
        last.unwrap_or_else(|| panic!("no task {id}: {output}"))
            .to_owned()
    }

    /// Waits until a task has `status`.
    #[track_caller]
    pub fn wait_for(&self, id: &str, status: &str) {
        eventually(&format!("{id} becomes {status}"), || {
            (self.status(id) == status).then_some(())
        });
    }

    /// Kills a task and deletes it and its container; the task's exit code.
    #[track_caller]
    pub fn remove(&self, id: &str) -> i32 {
        self.call(&["task", "kill", "--signal", "KILL", id]);
        self.wait_for(id, "STOPPED");
        let output = self.call(&["task", "delete", id]).ok();
        self.call(&["container", "delete", id]).ok();
        let Some((_, code)) = output.stderr.split_once("exit with non-zero exit code ") else {
            return 0;
        };
        let code = code.trim_end_matches(|letter: char| !letter.is_ascii_digit());
        code.parse().unwrap_or_else(|_| panic!("no exit code: {output}"))
    }

    /// The ids of all containers.
    pub fn containers(&self) -> Vec<String> {
        let output = self.call(&["container", "ls", "--quiet"]).ok();
        output.lines().into_iter().map(str::to_owned).collect()
    }

    /// What the shims and their runtime keep of containers: the state directories that are not empty.
    pub fn states(&self) -> Vec<String> {
        let state = self.dir.join("state/io.containerd.runtime.v2.task/default");
        let mut list = self.within("sh");
        list.args(["-c", "ls /run/containerd/runc/default \"$1\" 2>/dev/null", "sh"])
            .arg(&state);
        let output = self.case.finish(list);
        let ids = output
            .lines()
            .into_iter()
            .filter(|line| line.contains(&self.case.mark));
        ids.filter(|line| !line.ends_with(':'))
            .map(str::to_owned)
            .collect()
    }

    /// A root filesystem for any number of containers.
    pub fn rootfs(&self) -> PathBuf {
        let root = self.dir.join("rootfs");
        if !root.exists() {
            bundle::make_rootfs(&root);
        }
        root
    }
}

impl Drop for Containerd<'_> {
    /// What a failed test has left goes with it; what cannot be removed shows in the search for what is left.
    fn drop(&mut self) {
        let list = self.command(&["container", "ls", "--quiet"]).output();
        let ids = list.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
        for id in ids.unwrap_or_default().split_whitespace() {
            let _ = self.command(&["task", "delete", "--force", id]).output();
            let _ = self.command(&["container", "delete", id]).output();
        }
        self.stop_daemon();
        let _ = fs::remove_dir_all(&self.dir);
        stop_slice(&self.case.mark);
    }
}
