//! A CRI-O of one test's own: own images, own socket, own network and mount namespace.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::process::Signal;

use super::case::{Case, base, text};
use super::command::{eventually, read};
use super::cri::{self, PAUSE};
use super::engines::systemd_makes_cgroups;
use super::holder::{self, Holder};
use super::installed::{find_program, network_plugins};
use super::leaks;

/// What `wrun install cri-o` writes, as wrun-engines(7) shows it.
const CONFIG: &str = include_str!("../../src/cli/engines/crio.conf");

/// What precedes the daemon in its namespaces. The sockets by which it attaches to containers need short paths.
const PREPARE: &str = "busybox ip link set lo up && for dir in crio runc netns; do \
     mkdir -p /run/$dir && mount -t tmpfs none /run/$dir || exit; done";

static NEXT: AtomicUsize = AtomicUsize::new(1);

/// The namespaces, and a daemon in them.
pub struct Crio<'case> {
    case: &'case Case,
    /// Keeps the namespaces while the daemon is restarted.
    holder: Holder,
    daemon: Option<Child>,
    dir: PathBuf,
}

impl<'case> Crio<'case> {
    /// Starts a daemon that knows the test's runtime, and waits until it answers.
    pub fn start(case: &'case Case) -> Self {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let dir = base().join(format!("crio-{number}"));
        fs::create_dir_all(dir.join("crio.conf.d")).expect("a directory for the daemon");
        let policy = r#"{"default":[{"type":"insecureAcceptAnything"}]}"#;
        fs::write(dir.join("policy.json"), policy).expect("a policy for images");
        cri::write_network(&dir);
        fs::write(dir.join("crio.conf"), config(&dir)).expect("the daemon's configuration");
        // conmon gets no environment but what is said here.
        let environment = format!(
            "monitor_env = [\"PATH={}\", \"WRUN_CACHE_DIR={}\"]\n",
            std::env::var("PATH").unwrap_or_default(),
            case.path("cache")
        );
        let part = CONFIG.replace(cri::PROGRAM, &text(&case.runtime.path)) + &environment;
        fs::write(dir.join("crio.conf.d/10-wrun.conf"), part).expect("the part that knows the runtime");
        let holder = Holder::start(PREPARE, &dir);
        let mut crio = Crio {
            case,
            holder,
            daemon: None,
            dir,
        };
        crio.start_daemon();
        crio
    }

    /// Starts the daemon, again if need be, and waits until it answers.
    pub fn start_daemon(&mut self) {
        let mut command = self.within("crio");
        command
            .arg("--config")
            .arg(self.dir.join("crio.conf"))
            .arg("--config-dir")
            .arg(self.dir.join("crio.conf.d"))
            .env("WRUN_CACHE_DIR", self.case.dir.join("cache"));
        let log = self.dir.join("log");
        self.daemon = Some(holder::daemon(command, &log));
        eventually("CRI-O answers", || {
            let mut ask = self.within("crictl");
            ask.args([
                "--runtime-endpoint",
                &format!("unix://{}", self.socket()),
                "version",
            ]);
            let running = ask.output().is_ok_and(|output| output.status.success());
            let ended = self
                .daemon
                .as_mut()
                .is_some_and(|it| matches!(it.try_wait(), Ok(Some(_))));
            assert!(!ended, "CRI-O has ended: {}", read(&log));
            running.then_some(())
        });
    }

    /// Ends the daemon; conmon and the containers stay.
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

    /// Puts an image, in the form of `docker save`, into the store that CRI-O shares with Podman.
    #[track_caller]
    pub fn import(&self, archive: &str) {
        let mut command = self.within("podman");
        command
            .arg("--root")
            .arg(self.dir.join("storage"))
            .arg("--runroot")
            .arg(self.dir.join("run"))
            .arg("--tmpdir")
            .arg(self.dir.join("podman"))
            .args(["--storage-driver", "vfs", "--events-backend", "file"])
            .args(["load", "--quiet", "--input", archive]);
        self.case.finish(command).ok();
    }
}

/// All that has nothing to do with the runtime.
fn config(dir: &Path) -> String {
    let path = |name: &str| text(&dir.join(name));
    let manager = if systemd_makes_cgroups() {
        "systemd"
    } else {
        "cgroupfs"
    };
    let pinns = find_program("pinns");
    format!(
        "[crio]\nroot = \"{}\"\nrunroot = \"{}\"\nstorage_driver = \"vfs\"\nstorage_option = []\nlog_dir = \"{}\"\n\
         version_file = \"{}\"\nversion_file_persist = \"\"\nclean_shutdown_file = \"{}\"\n\
         [crio.api]\nlisten = \"{}\"\n\
         [crio.runtime]\ncgroup_manager = \"{manager}\"\nconmon_cgroup = \"pod\"\npinns_path = \"{}\"\n\
         namespaces_dir = \"/run/crio\"\nhooks_dir = []\nlog_level = \"info\"\n\
         [crio.image]\npause_image = \"{PAUSE}\"\npause_command = \"\"\nsignature_policy = \"{}\"\n\
         [crio.network]\nnetwork_dir = \"{}\"\nplugin_dirs = [\"{}\"]\n",
        path("storage"),
        path("run"),
        path("logs"),
        path("version"),
        path("clean"),
        path("socket"),
        pinns.as_deref().map(text).unwrap_or_default(),
        path("policy.json"),
        path("net.d"),
        network_plugins().map(text).unwrap_or_default(),
    )
}

impl Drop for Crio<'_> {
    fn drop(&mut self) {
        self.stop_daemon();
        // Mounts of the store are in the namespaces alone.
        let _ = fs::remove_dir_all(&self.dir);
        leaks::stop_slice(&self.case.mark);
    }
}
