//! Podman and Buildah with storage, state and namespaces of one test's own, so that nothing of them remains on the
//! machine.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::bundle;
use super::case::{Case, MARK, text};
use super::command::{Output, eventually, patience};
use super::facts::Need;
use super::leaks;

/// The image of busybox.
pub const NATIVE: &str = "localhost/native:test";

/// The name by which Podman knows the runtime.
const NAME: &str = "tested";

/// What precedes the process that keeps the namespaces. Podman keeps network namespaces and locks under /run and
/// /dev/shm, also where it is told to keep its state elsewhere. Beside the hierarchies of cgroup v1 it makes plain
/// directories for controllers that this machine has not, which other engines then take for hierarchies; so it gets the
/// hierarchies on a tmpfs of its own.
const PREPARE: &str = "set -e; busybox ip link set lo up; mount -t tmpfs none /dev/shm; mkdir -p /run/netns; \
     mount -t tmpfs none /run/netns; \
     if ! test -e /sys/fs/cgroup/cgroup.controllers; then \
         mkdir \"$1.old\"; mount --move /sys/fs/cgroup \"$1.old\"; mount -t tmpfs none /sys/fs/cgroup; \
         for tree in \"$1.old\"/*; do \
             if mountpoint -q \"$tree\"; then \
                 mkdir \"/sys/fs/cgroup/${tree##*/}\"; mount --move \"$tree\" \"/sys/fs/cgroup/${tree##*/}\"; \
             fi; \
         done; \
         umount \"$1.old\"; \
     fi; \
     touch \"$1\"; exec sleep infinity";

/// One test's Podman.
pub struct Podman<'case> {
    pub case: &'case Case,
    holder: Child,
    dir: PathBuf,
}

impl<'case> Podman<'case> {
    /// Podman with an image of busybox.
    pub fn new(case: &'case Case) -> Self {
        let dir = case.dir.join("podman");
        fs::create_dir(&dir).expect("a directory for Podman");
        // Raising hard limits, as Podman does by default, is not possible on every machine.
        let config = format!(
            "[containers]\ndefault_ulimits = [\"nofile=1024:1024\", \"nproc=4096:4096\"]\n\
             [engine]\nlock_type = \"file\"\nruntime_supports_nocgroup = [\"{NAME}\"]\n\
             [engine.runtimes]\n{NAME} = [\"{}\"]\n",
            text(&case.runtime.path)
        );
        fs::write(dir.join("containers.conf"), config).expect("Podman's configuration");
        fs::write(
            dir.join("policy.json"),
            r#"{"default":[{"type":"insecureAcceptAnything"}]}"#,
        )
        .expect("Podman's policy");
        let ready = dir.join("ready");
        let holder = Command::new("unshare")
            .args(["-m", "-n", "--propagation", "private", "sh", "-c", PREPARE, "sh"])
            .arg(&ready)
            .stdin(Stdio::null())
            .spawn()
            .expect("unshare starts");
        let podman = Podman { case, holder, dir };
        eventually("the namespaces are there", || ready.exists().then_some(()));
        let root = podman.dir.join("image");
        bundle::make_rootfs(&root);
        podman.import(NATIVE, &root, &["ENV PATH=/bin", "CMD sh"]);
        podman
    }

    /// Makes an image of the directory `root`.
    #[track_caller]
    pub fn import(&self, name: &str, root: &Path, changes: &[&str]) {
        let archive = text(&self.dir.join("image.tar"));
        let tar = Command::new("tar")
            .args(["-cf", &archive, "-C", &text(root), "."])
            .status();
        assert!(tar.expect("tar starts").success());
        let changes: Vec<&str> = changes.iter().flat_map(|change| ["--change", change]).collect();
        self.call(&[&["import"], &changes[..], &[&archive, name]].concat())
            .ok();
    }

    /// A program of the containers family in the namespaces, with this test's storage and runtime.
    fn program(&self, name: &str) -> Command {
        let mut command = Command::new("nsenter");
        let holder = self.holder.id().to_string();
        command
            .args(["--mount", "--net", "--target", &holder, name])
            .stdin(Stdio::null())
            .env("CONTAINERS_CONF", self.dir.join("containers.conf"))
            .env("WRUN_CACHE_DIR", self.case.dir.join("cache"))
            .env_remove(MARK);
        command
            .arg("--root")
            .arg(self.dir.join("storage"))
            .arg("--runroot")
            .arg(self.dir.join("run"))
            .args(["--storage-driver", "vfs"]);
        command
    }

    /// The command `podman ARGUMENTS`.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.program("podman");
        let systemd = Need::Systemd.missing().is_none() && Need::CgroupV2.missing().is_none();
        let manager = if systemd { "systemd" } else { "cgroupfs" };
        command
            .arg("--tmpdir")
            .arg(self.dir.join("tmp"))
            .args(["--runtime", NAME])
            .args(["--cgroup-manager", manager, "--events-backend", "file"])
            .args(arguments);
        command
    }

    /// Runs `podman ARGUMENTS` to its end.
    #[track_caller]
    pub fn call(&self, arguments: &[&str]) -> Output {
        self.case.finish(self.command(arguments))
    }

    /// The command `podman run FLAGS IMAGE ARGUMENTS`, with the mark of the test on what it makes.
    pub fn run_command(&self, flags: &[&str], image: &str, arguments: &[&str]) -> Command {
        let mark = format!("{MARK}={}", self.case.mark);
        let own = ["run", "--env", &mark, "--cgroup-parent", &self.cgroup_parent()];
        self.command(&[&own, flags, &[image], arguments].concat())
    }

    /// The cgroup of the test's containers.
    pub fn cgroup_parent(&self) -> String {
        if Need::Systemd.missing().is_none() && Need::CgroupV2.missing().is_none() {
            // A dash in a slice's name would put it below another slice.
            return format!("{}.slice", self.case.mark.replace('-', "_"));
        }
        format!("/{}podman", self.case.mark)
    }

    /// [`Podman::run_command`] to the container's end, which removes it.
    #[track_caller]
    pub fn run(&self, flags: &[&str], image: &str, arguments: &[&str]) -> Output {
        let flags = [&["--rm"], flags].concat();
        self.case.finish(self.run_command(&flags, image, arguments))
    }

    /// `podman run --detach`; the container's id.
    #[track_caller]
    pub fn start(&self, flags: &[&str], image: &str, arguments: &[&str]) -> String {
        let flags = [&["--detach"], flags].concat();
        let output = self.case.finish(self.run_command(&flags, image, arguments)).ok();
        output.stdout.trim().to_owned()
    }

    /// A value out of `podman inspect`.
    #[track_caller]
    pub fn inspect(&self, id: &str, format: &str) -> String {
        let output = self.call(&["inspect", "--format", format, id]).ok();
        output.stdout.trim().to_owned()
    }

    /// Waits until the container's log has `text`.
    #[track_caller]
    pub fn wait_for_log(&self, id: &str, text: &str) {
        eventually(&format!("the log of {id} has {text:?}"), || {
            let output = self.call(&["logs", id]);
            (output.stdout.contains(text) || output.stderr.contains(text)).then_some(())
        });
    }

    /// Removes a container by force; nothing of it may be left.
    #[track_caller]
    pub fn remove(&self, id: &str) {
        self.call(&["rm", "--force", "--time", "0", id]).ok();
    }

    /// The command `buildah build` with the test's runtime, of the context directory `context`.
    pub fn build(&self, context: &Path, tag: &str) -> Command {
        let mut command = self.program("buildah");
        command
            .args(["build", "--isolation", "oci", "--network", "none", "--runtime"])
            .arg(&self.case.runtime.path)
            .args(["--signature-policy"])
            .arg(self.dir.join("policy.json"))
            .args(["--tag", tag])
            .arg(context);
        command
    }
}

impl Drop for Podman<'_> {
    fn drop(&mut self) {
        // What cannot be removed shows as a process or cgroup in the search for what is left.
        for arguments in [
            ["pod", "rm", "--all", "--force", "--time", "0"].as_slice(),
            &["rm", "--all", "--force", "--time", "0"],
        ] {
            let _ = self.command(arguments).output();
        }
        let _ = self.holder.kill();
        let _ = self.holder.wait();
        // Podman leaves the parent to whoever named it, and conmon's beside it, in which a conmon may still end.
        for _ in 0..100 * patience() {
            let groups = leaks::cgroups(&self.case.mark);
            if groups.is_empty() {
                break;
            }
            for group in groups.iter().rev() {
                let _ = fs::remove_dir(group);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}
