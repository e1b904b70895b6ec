//! Daemons that know one runtime alone, under every name, and what happens to a daemon: it ends by a signal, and comes
//! back to the containers that it left.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::ErrorKind;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;

use rustix::process::{Signal, kill_process};

use super::super::case::{Case, base, text};
use super::super::command::{LIMIT, pid, read, wait_for_exit};
use super::super::runtime::Runtime;
use super::{Daemon, Docker, known, spawn};

/// A network and a mount namespace, kept by their files.
pub(super) struct Namespaces {
    network: File,
    mounts: File,
}

/// One daemon for each runtime, started by the first test that needs it.
static IN_PLACE: Mutex<BTreeMap<String, Daemon>> = Mutex::new(BTreeMap::new());

impl Daemon {
    /// Starts a daemon in `dir` to which `runtime` is all there is: its default, what it finds as `runc` in its PATH,
    /// and what its BuildKit executes.
    pub fn in_place_of_runc(dir: &Path, runtime: &Runtime, flags: &[&str]) -> Self {
        let programs = dir.join("bin");
        std::fs::create_dir_all(&programs).expect("a directory for the daemon");
        std::os::unix::fs::symlink(&runtime.path, programs.join("runc")).expect("a link");
        let path = std::env::var("PATH").unwrap_or_default();
        let mut all = known(std::slice::from_ref(runtime));
        all.extend(["--default-runtime".to_owned(), runtime.name.clone()]);
        all.extend(flags.iter().map(|flag| (*flag).to_owned()));
        let environment = vec![
            ("PATH", format!("{}:{path}", text(&programs))),
            ("DOCKER_BUILDKIT_RUNC_COMMAND", text(&runtime.path)),
        ];
        Self::launch(dir, all, environment)
    }

    /// [`Daemon::in_place_of_runc`] with images of busybox and of `guests`.
    pub fn with_images(dir: &Path, runtime: &Runtime, flags: &[&str], guests: &[&str]) -> Self {
        let daemon = Self::in_place_of_runc(dir, runtime, flags);
        daemon.import_native();
        guests.iter().for_each(|name| daemon.import_guest(name));
        daemon
    }

    /// Ends the daemon, and with it the containerd that it has started, by `signal`. Its namespaces stay.
    pub fn end(&mut self, signal: Signal) {
        let daemon = self.child.id().cast_signed();
        let open = |name: &str| File::open(format!("/proc/{daemon}/ns/{name}")).expect("a namespace");
        self.namespaces.get_or_insert_with(|| Namespaces {
            network: open("net"),
            mounts: open("mnt"),
        });
        let file = self.dir.join("run/containerd/containerd.pid");
        let containerd = read(&file).trim().parse().expect("containerd's number");
        kill_process(pid(daemon), signal).expect("the daemon can be signalled");
        assert!(wait_for_exit(daemon, LIMIT), "dockerd is still there");
        self.child.wait().expect("our own child can be waited for");
        assert!(wait_for_exit(containerd, LIMIT), "its containerd is still there");
        // A zombie, which the machine's init collects when it likes, would be taken for one that runs.
        match std::fs::remove_file(&file) {
            Err(error) if error.kind() != ErrorKind::NotFound => panic!("{}: {error}", file.display()),
            _ => {}
        }
    }

    /// Starts it again as it was, where it was.
    pub fn come_back(&mut self) {
        use std::os::fd::AsRawFd;
        let left = self.namespaces.as_ref().expect("it has ended");
        let own = std::process::id();
        let mut enter = Command::new("nsenter");
        enter.args([
            &format!("--net=/proc/{own}/fd/{}", left.network.as_raw_fd()),
            &format!("--mount=/proc/{own}/fd/{}", left.mounts.as_raw_fd()),
        ]);
        self.child = spawn(enter, &self.dir, &self.arguments, &self.environment);
        self.wait_until_up();
    }
}

impl<'case> Docker<'case> {
    /// On a daemon of the suite's to which the test's runtime is all there is.
    pub fn in_place_of_runc(case: &'case Case) -> Self {
        let mut daemons = IN_PLACE
            .lock()
            .expect("the first test that needed the daemon could not start it");
        let name = &case.runtime.name;
        let daemon = daemons.entry(name.clone()).or_insert_with(|| {
            let dir = base().join(format!("{name}-docker"));
            let guests = ["hello", "exit", "cat", "file", "sleep", "command-02"];
            let daemon = Daemon::with_images(&dir, &case.runtime, &[], &guests);
            daemon.import_guests("wasm-watched:test", &["sleep", "file"], &[WATCH]);
            daemon.import_guests("wasm-service:test", &["http-02", "command-02"], &[]);
            daemon
        });
        Docker::on(case, daemon)
    }
}

/// The health check of `wasm-watched:test`: a guest that reads a file.
const WATCH: &str =
    "HEALTHCHECK --interval=200ms --timeout=30s --retries=1 CMD [\"/file.wasm\", \"/watch/well\"]";

/// Ends the daemons that run.
pub(super) fn stop() {
    let mut daemons = IN_PLACE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    drop(std::mem::take(&mut *daemons));
}
