//! Podman and Buildah with storage, state and namespaces of one test's own, so that nothing of them remains on the
//! machine: root's, or those of a user who is not root.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::bundle;
use super::case::{Case, MARK, text};
use super::command::{Output, eventually, patience};
use super::facts::{Need, user_with_systemd};
use super::leaks;
use super::program;

/// The image of busybox.
pub const NATIVE: &str = "localhost/native:test";

/// The name by which Podman knows the runtime.
const NAME: &str = "tested";

/// The ids that root's `--userns auto` takes from, and those that a user has beside his own.
const SUBORDINATE: &str = "300000:65536";

/// Who runs Podman where no user has a systemd of his own: nobody.
const NOBODY: u32 = 65534;

/// What precedes the process that keeps the namespaces. Podman keeps network namespaces and locks under /run and
/// /dev/shm, also where it is told to keep its state elsewhere, and it looks for subordinate ids in /etc, since shadow 4.17
/// only of users that there are. Beside the
/// hierarchies of cgroup v1 it makes plain directories for controllers that this machine has not, which other engines
/// then take for hierarchies; so it gets the hierarchies on a tmpfs of its own. What a user mounts in turn is his own
/// only where the tree is shared.
const PREPARE: &str = "set -e; busybox ip link set lo up; mount -t tmpfs -o mode=1777 none /dev/shm; \
     mkdir -p /run/netns; mount -t tmpfs none /run/netns; \
     for name in subuid subgid; do mount --bind \"$1.ids\" /etc/$name; done; \
     if ! grep -q ^containers: /etc/passwd; then \
         { cat /etc/passwd; echo containers:x:299999:299999::/:/bin/false; } >\"$1.passwd\"; \
         mount --bind \"$1.passwd\" /etc/passwd; \
     fi; \
     if ! test -e /sys/fs/cgroup/cgroup.controllers; then \
         mkdir \"$1.old\"; mount --move /sys/fs/cgroup \"$1.old\"; mount -t tmpfs none /sys/fs/cgroup; \
         for tree in \"$1.old\"/*; do \
             if mountpoint -q \"$tree\"; then \
                 mkdir \"/sys/fs/cgroup/${tree##*/}\"; mount --move \"$tree\" \"/sys/fs/cgroup/${tree##*/}\"; \
             fi; \
         done; \
         umount \"$1.old\"; \
     fi; \
     mount --make-rshared /; touch \"$1\"; exec sleep infinity";

/// A user who runs Podman.
struct User {
    id: u32,
    /// A cgroup below that of the systemd of his own.
    cgroup: Option<PathBuf>,
}

/// One test's Podman.
pub struct Podman<'case> {
    pub case: &'case Case,
    holder: Child,
    dir: PathBuf,
    /// Not root.
    user: Option<User>,
    /// The runtime under test, where who runs Podman can reach it.
    pub runtime: PathBuf,
}

impl<'case> Podman<'case> {
    /// Root's Podman with an image of busybox.
    pub fn new(case: &'case Case) -> Self {
        Self::of(case, None)
    }

    /// A user's Podman with an image of busybox. The user has a systemd of his own where there is such a user.
    pub fn rootless(case: &'case Case) -> Self {
        let own = user_with_systemd();
        let cgroup = own.map(|id| {
            let slice = format!("/sys/fs/cgroup/user.slice/user-{id}.slice/user@{id}.service");
            let cgroup = Path::new(&slice).join(format!("{}podman", case.mark));
            fs::create_dir(&cgroup).expect("a cgroup for the user's commands");
            for file in ["", "cgroup.procs", "cgroup.subtree_control", "cgroup.threads"] {
                chown(cgroup.join(file), Some(id), Some(id)).expect("our own cgroup");
            }
            cgroup
        });
        let id = own.unwrap_or(NOBODY);
        Self::of(case, Some(User { id, cgroup }))
    }

    fn of(case: &'case Case, user: Option<User>) -> Self {
        let dir = case.dir.join("podman");
        fs::create_dir_all(dir.join("xdg")).expect("a directory for Podman");
        let mut runtime = case.runtime.path.clone();
        let mut ids = format!("containers:{SUBORDINATE}\n");
        if let Some(user) = &user {
            // The user may not reach where it was built.
            runtime = dir.join(&case.runtime.name);
            program::copy(&case.runtime.path, &runtime);
            for own in [&dir, &dir.join("xdg")] {
                chown(own, Some(user.id), Some(user.id)).expect("our own directory");
            }
            fs::set_permissions(dir.join("xdg"), PermissionsExt::from_mode(0o700))
                .expect("our own directory");
            if user.cgroup.is_some() {
                // Not to all runtimes that it calls does Podman hand on the bus by its own variable.
                symlink(format!("/run/user/{}/bus", user.id), dir.join("xdg/bus")).expect("a link");
            }
            ids = format!("{}:{SUBORDINATE}\n", user.id);
        }
        // Raising hard limits, as Podman does by default, is not possible on every machine; and a journal that is not
        // kept is not for users to read.
        let config = format!(
            "[containers]\ndefault_ulimits = [\"nofile=1024:1024\", \"nproc=4096:4096\"]\n\
             log_driver = \"k8s-file\"\n\
             [engine]\nlock_type = \"file\"\nruntime_supports_nocgroup = [\"{NAME}\"]\n\
             [engine.runtimes]\n{NAME} = [\"{}\"]\n",
            text(&runtime)
        );
        fs::write(dir.join("containers.conf"), config).expect("Podman's configuration");
        fs::write(
            dir.join("policy.json"),
            r#"{"default":[{"type":"insecureAcceptAnything"}]}"#,
        )
        .expect("Podman's policy");
        let ready = dir.join("ready");
        fs::write(dir.join("ready.ids"), ids).expect("subordinate ids");
        let holder = Command::new("unshare")
            .args(["-m", "-n", "--propagation", "private", "sh", "-c", PREPARE, "sh"])
            .arg(&ready)
            .stdin(Stdio::null())
            .spawn()
            .expect("unshare starts");
        let podman = Podman {
            case,
            holder,
            dir,
            user,
            runtime,
        };
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
        let mut command = self.beside(&[name]);
        command
            .arg("--root")
            .arg(self.dir.join("storage"))
            .arg("--runroot")
            .arg(self.dir.join("run"))
            .args(["--storage-driver", "vfs"]);
        command
    }

    /// A program in the namespaces and with the environment of Podman.
    pub fn beside(&self, words: &[&str]) -> Command {
        let holder = self.holder.id().to_string();
        let enter = ["nsenter", "--mount", "--net", "--target", &holder];
        let mut command;
        match &self.user {
            None => {
                command = Command::new(enter[0]);
                command.args(&enter[1..]);
            }
            Some(user) => {
                let id = user.id.to_string();
                let procs = user.cgroup.as_ref().map(|cgroup| cgroup.join("cgroup.procs"));
                command = Command::new("sh");
                command
                    .args(["-c", "test -z \"$0\" || echo 0 >\"$0\"; exec \"$@\""])
                    .arg(procs.unwrap_or_default())
                    .args(enter)
                    .args(["setpriv", "--reuid", &id, "--regid", &id, "--clear-groups"])
                    .env("HOME", &self.dir)
                    // By root's name runtimes know a namespace that root has made.
                    .env_remove("USER")
                    .env("XDG_RUNTIME_DIR", self.dir.join("xdg"))
                    .env(
                        "DBUS_SESSION_BUS_ADDRESS",
                        format!("unix:path=/run/user/{id}/bus"),
                    );
            }
        }
        command
            .args(words)
            .stdin(Stdio::null())
            .env("CONTAINERS_CONF", self.dir.join("containers.conf"))
            .env("WRUN_CACHE_DIR", self.case.dir.join("cache"))
            .env("TMPDIR", self.dir.join("xdg"))
            // What Podman 5 thinks of the machine's cgroups is no output of the container's.
            .env("PODMAN_IGNORE_CGROUPSV1_WARNING", "1")
            .env_remove(MARK);
        command
    }

    /// Whether Podman makes cgroups by systemd.
    fn has_systemd(&self) -> bool {
        match &self.user {
            None => Need::Systemd.missing().is_none() && Need::CgroupV2.missing().is_none(),
            Some(user) => user.cgroup.is_some(),
        }
    }

    /// The id of the user whose Podman it is.
    pub fn user_id(&self) -> u32 {
        self.user.as_ref().map_or(0, |user| user.id)
    }

    /// Gives a directory of the test's, and what is in it, to that user.
    pub fn give(&self, directory: &str) {
        let (directory, id) = (Path::new(directory), Some(self.user_id()));
        let entries = fs::read_dir(directory).expect("our own directory").flatten();
        for path in entries.map(|entry| entry.path()).chain([directory.to_owned()]) {
            chown(path, id, id).expect("our own file");
        }
    }

    /// The command `podman ARGUMENTS`.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let manager = if self.has_systemd() { "systemd" } else { "cgroupfs" };
        self.command_with(manager, arguments)
    }

    /// [`Podman::command`] where Podman makes cgroups by `manager`.
    fn command_with(&self, manager: &str, arguments: &[&str]) -> Command {
        let mut command = self.program("podman");
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
        let mut command = self.command(&["run"]);
        // Podman refuses a parent beside these, and a user without a systemd of his own may make no cgroup at all.
        let elsewhere = ["--cgroups=disabled", "--cgroups=split", "--pod"];
        let refused = elsewhere.iter().any(|flag| flags.contains(flag));
        if !refused && (self.user.is_none() || self.has_systemd()) {
            command.args(["--cgroup-parent", &self.cgroup_parent()]);
        }
        self.rest_of_run(&mut command, flags, image, arguments);
        command
    }

    /// [`Podman::run_command`] of root's Podman that makes cgroups itself, also beside a systemd.
    pub fn run_command_without_systemd(&self, flags: &[&str], image: &str, arguments: &[&str]) -> Command {
        let mut command = self.command_with("cgroupfs", &["run", "--cgroup-parent"]);
        command.arg(format!("/{}podman", self.case.mark));
        self.rest_of_run(&mut command, flags, image, arguments);
        command
    }

    fn rest_of_run(&self, command: &mut Command, flags: &[&str], image: &str, arguments: &[&str]) {
        command
            .args(["--env", &format!("{MARK}={}", self.case.mark)])
            .args(flags)
            .arg(image)
            .args(arguments);
    }

    /// The cgroup of the test's containers.
    pub fn cgroup_parent(&self) -> String {
        if self.has_systemd() {
            return leaks::slice(&self.case.mark);
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

    /// The command `buildah COMMAND` of those that run programs, with the test's runtime.
    pub fn buildah(&self, command: &str, isolation: &str) -> Command {
        let mut buildah = self.program("buildah");
        let network = if isolation == "chroot" { "host" } else { "none" };
        buildah
            .args([
                command,
                "--isolation",
                isolation,
                "--network",
                network,
                "--runtime",
            ])
            .arg(&self.runtime);
        buildah
    }

    /// The command `buildah build`, of the context directory `context`.
    pub fn build(&self, isolation: &str, flags: &[&str], context: &Path, tag: &str) -> Command {
        let mut command = self.buildah("build", isolation);
        command
            .args(["--signature-policy", &self.policy(), "--tag", tag])
            .args(flags)
            .arg(context);
        command
    }

    /// `buildah from` the image of busybox; the name of the working container.
    #[track_caller]
    pub fn working_container(&self) -> String {
        let mut command = self.program("buildah");
        command.args(["from", "--signature-policy", &self.policy(), NATIVE]);
        self.case.finish(command).ok().stdout.trim().to_owned()
    }

    fn policy(&self) -> String {
        text(&self.dir.join("policy.json"))
    }

    /// Ends the process that keeps a user's namespaces between his commands.
    fn end_pause(&self) {
        for file in ["tmp/pause.pid", "xdg/libpod/tmp/pause.pid"] {
            let pid = fs::read_to_string(self.dir.join(file)).unwrap_or_default();
            let Ok(pid) = pid.trim().parse() else { continue };
            let _ = rustix::process::kill_process(super::command::pid(pid), rustix::process::Signal::KILL);
        }
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
        self.end_pause();
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
        if self.has_systemd() {
            leaks::stop_slice_of(self.user.as_ref().map(|user| user.id), &self.case.mark);
        }
    }
}
