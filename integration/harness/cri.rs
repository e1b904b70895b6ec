//! Kubernetes' side of an engine: pods and their containers, by `crictl`, with images made here. The engine knows the
//! runtime by the text that `wrun install` writes and wrun-engines(7) shows. Where a test says nothing else, a pod is
//! in the network namespace of the test's own daemon, so that no network plugin is needed.

use std::cell::Cell;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use super::bundle;
use super::case::{MARK, text};
use super::command::{LIMIT, Output, eventually, patience};
use super::containerd::Containerd;
use super::crio::Crio;
use super::engines::systemd_makes_cgroups;
use super::installed::{containerd_version, network_plugins};
use super::{Case, guest, leaks};

/// The image of busybox.
pub const NATIVE: &str = "localhost/native:test";

/// The image of what keeps a pod's namespaces.
pub const PAUSE: &str = "localhost/pause:test";

/// The name by which the engine knows the runtime, and its place, in the texts that the manual shows.
pub const HANDLER: &str = "wrun";
pub const PROGRAM: &str = "/usr/local/bin/wrun";

/// The manual's texts for containerd 1 and 2.
const CONTAINERD: [&str; 2] = [
    include_str!("../../src/cli/engines/containerd-2.toml"),
    include_str!("../../src/cli/engines/containerd-3.toml"),
];

/// Values of CRI's `NamespaceMode`.
pub const POD: i32 = 0;
pub const CONTAINER: i32 = 1;
pub const NODE: i32 = 2;
pub const TARGET: i32 = 3;

/// Which engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Containerd,
    Crio,
}

/// A daemon of the test's own.
enum Engine<'case> {
    Containerd(Containerd<'case>),
    Crio(Crio<'case>),
}

/// An engine that knows the test's runtime, and its pods.
pub struct Cri<'case> {
    pub case: &'case Case,
    engine: Engine<'case>,
    numbers: Cell<usize>,
}

impl<'case> Cri<'case> {
    /// Starts the daemon and gives it images of busybox.
    pub fn start(case: &'case Case, kind: Kind) -> Self {
        let engine = match kind {
            Kind::Containerd => {
                Engine::Containerd(Containerd::start_with(case, |dir| containerd_config(case, dir)))
            }
            Kind::Crio => Engine::Crio(Crio::start(case)),
        };
        let cri = Cri {
            case,
            engine,
            numbers: Cell::new(0),
        };
        let root = case.dir.join("native-image");
        bundle::make_rootfs(&root);
        cri.import(NATIVE, &root, &json!({ "Env": ["PATH=/bin"], "Cmd": ["sh"] }));
        let pause = json!({ "Env": ["PATH=/bin"], "Entrypoint": ["sleep", "infinity"] });
        cri.import(PAUSE, &root, &pause);
        cri
    }

    pub fn kind(&self) -> Kind {
        match self.engine {
            Engine::Containerd(_) => Kind::Containerd,
            Engine::Crio(_) => Kind::Crio,
        }
    }

    /// A program in the daemon's namespaces.
    pub fn within(&self, program: &str) -> Command {
        match &self.engine {
            Engine::Containerd(containerd) => containerd.within(program),
            Engine::Crio(crio) => crio.within(program),
        }
    }

    /// A process in the daemon's namespaces.
    pub fn pid(&self) -> i32 {
        match &self.engine {
            Engine::Containerd(containerd) => containerd.pid(),
            Engine::Crio(crio) => crio.pid(),
        }
    }

    /// Ends the daemon, whose containers stay, runs `meanwhile`, and starts it again.
    pub fn restart(&mut self, meanwhile: impl FnOnce()) {
        match &mut self.engine {
            Engine::Containerd(containerd) => {
                containerd.stop_daemon();
                meanwhile();
                containerd.start_daemon();
            }
            Engine::Crio(crio) => {
                crio.stop_daemon();
                meanwhile();
                crio.start_daemon();
            }
        }
    }

    /// The image of the guest `name` alone.
    pub fn guest_image(&self, name: &str) -> String {
        let image = format!("localhost/wasm-{name}:test");
        self.guest_image_as(name, &image);
        image
    }

    /// [`Cri::guest_image`] under the name `image`.
    pub fn guest_image_as(&self, name: &str, image: &str) {
        let root = self.case.dir.join(format!("{name}-image"));
        fs::create_dir(&root).expect("a directory");
        fs::write(root.join(format!("{name}.wasm")), guest::binary(name)).expect("the guest");
        self.import(image, &root, &json!({ "Entrypoint": [format!("/{name}.wasm")] }));
    }

    /// Gives the engine an image of the directory `root` with the configuration `config`, in the form of `docker save`.
    pub fn import(&self, name: &str, root: &Path, config: &Value) {
        let dir = self.case.dir.join(format!("archive-{}", self.number()));
        fs::create_dir(&dir).expect("a directory for the archive");
        let layer = dir.join("layer.tar");
        tar(&layer, root);
        let sum = Command::new("sha256sum")
            .arg(&layer)
            .output()
            .expect("sha256sum starts");
        let sum = String::from_utf8_lossy(&sum.stdout).into_owned();
        let digest = sum.split_whitespace().next().expect("a digest");
        let image = json!({
            "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" },
            "os": "linux",
            "config": config,
            "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{digest}")] },
        });
        let manifest = json!([{ "Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"] }]);
        for (file, value) in [("config.json", image), ("manifest.json", manifest)] {
            fs::write(dir.join(file), value.to_string()).expect("a file of the archive");
        }
        let archive = self.case.path("image.tar");
        tar(Path::new(&archive), &dir);
        match &self.engine {
            Engine::Containerd(containerd) => {
                let import = ["--namespace", "k8s.io", "images", "import", &archive];
                containerd.call(&import).ok();
            }
            Engine::Crio(crio) => crio.import(&archive),
        }
        fs::remove_dir_all(&dir).expect("it is ours");
    }

    fn number(&self) -> usize {
        self.numbers.replace(self.numbers.get() + 1)
    }

    /// The command `crictl ARGUMENTS`.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let socket = match &self.engine {
            Engine::Containerd(containerd) => containerd.socket(),
            Engine::Crio(crio) => crio.socket(),
        };
        let endpoint = format!("unix://{socket}");
        let limit = format!("{}s", (LIMIT * patience()).as_secs());
        let mut command = self.within("crictl");
        command
            .args(["--runtime-endpoint", &endpoint, "--image-endpoint", &endpoint])
            .args(["--timeout", &limit])
            .args(arguments);
        command
    }

    /// Runs `crictl ARGUMENTS` to its end.
    #[track_caller]
    pub fn call(&self, arguments: &[&str]) -> Output {
        self.case.finish(self.command(arguments))
    }

    /// What the shell command `script` prints in a container.
    #[track_caller]
    pub fn shell(&self, id: &str, script: &str) -> String {
        let output = self.call(&["exec", "--sync", id, "sh", "-c", script]).ok();
        output.stdout.trim_end().to_owned()
    }

    /// What the engine tells of a container.
    #[track_caller]
    pub fn inspect(&self, id: &str) -> Value {
        self.call(&["inspect", id]).ok().json()
    }

    /// Waits until a container has ended; its status.
    #[track_caller]
    pub fn wait(&self, id: &str) -> Value {
        eventually(&format!("{id} ends"), || {
            let status = self.inspect(id)["status"].clone();
            (status["state"] == "CONTAINER_EXITED").then_some(status)
        })
    }

    /// Writes `value` into a file for crictl; its path.
    fn file(&self, value: &Value) -> String {
        let name = format!("cri-{}.json", self.number());
        fs::write(self.case.dir.join(&name), value.to_string()).expect("a file");
        self.case.path(&name)
    }

    /// The command that runs a pod, after `edit` of what describes it, and the file that does.
    pub fn run_pod_command(&self, name: &str, edit: impl FnOnce(&mut Value)) -> (Command, String) {
        let parent = if systemd_makes_cgroups() {
            leaks::slice(&self.case.mark)
        } else {
            format!("/{}cri", self.case.mark)
        };
        let mut pod = json!({
            "metadata": { "name": name, "namespace": "default", "uid": format!("{}{name}", self.case.mark), "attempt": 0 },
            "log_directory": self.case.path("logs"),
            "linux": {
                "cgroup_parent": parent,
                "security_context": { "namespace_options": { "network": NODE, "pid": CONTAINER } },
            },
        });
        edit(&mut pod);
        let file = self.file(&pod);
        (self.command(&["runp", "--runtime", HANDLER, &file]), file)
    }

    /// Runs a pod without containers.
    #[track_caller]
    pub fn run_pod(&self, name: &str) -> Pod<'_> {
        self.run_pod_with(name, |_| {})
    }

    /// [`Cri::run_pod`] after `edit` of what describes it.
    #[track_caller]
    pub fn run_pod_with(&self, name: &str, edit: impl FnOnce(&mut Value)) -> Pod<'_> {
        let (command, file) = self.run_pod_command(name, edit);
        let id = self.case.finish(command).ok().stdout.trim().to_owned();
        Pod { cri: self, id, file }
    }
}

/// What containerd reads: the manual's text for its version, and what has nothing to do with the runtime.
fn containerd_config(case: &Case, dir: &Path) -> String {
    let new = containerd_version().is_some_and(|version| version >= (2, 0));
    let text_of = CONTAINERD[usize::from(new)];
    let mut config = text_of.replace(PROGRAM, &text(&case.runtime.path));
    let systemd = systemd_makes_cgroups();
    config = config.replace("SystemdCgroup = true", &format!("SystemdCgroup = {systemd}"));
    write_network(dir);
    let plugins = network_plugins().map(text).unwrap_or_default();
    let network = format!(
        "bin_dir = \"{plugins}\"\nconf_dir = \"{}\"\n",
        text(&dir.join("net.d"))
    );
    if new {
        let (images, runtime) = ("io.containerd.cri.v1.images", "io.containerd.cri.v1.runtime");
        return format!(
            "{config}\n[plugins.\"{images}\"]\nsnapshotter = \"native\"\n\
             [plugins.\"{images}\".pinned_images]\nsandbox = \"{PAUSE}\"\n\
             [plugins.\"{runtime}\"]\nrestrict_oom_score_adj = true\n[plugins.\"{runtime}\".cni]\n{network}"
        );
    }
    let plugin = "plugins.\"io.containerd.grpc.v1.cri\"";
    format!(
        "{config}\n[{plugin}]\nsandbox_image = \"{PAUSE}\"\nrestrict_oom_score_adj = true\n\
         [{plugin}.containerd]\nsnapshotter = \"native\"\n[{plugin}.cni]\n{network}"
    )
}

/// Describes, in `DIR/net.d`, a network for pods: each has an address and a cable to the daemon's network namespace.
pub fn write_network(dir: &Path) {
    let network = json!({
        "cniVersion": "0.4.0",
        "name": "pods",
        "plugins": [{
            "type": "ptp",
            "ipMasq": false,
            "ipam": { "type": "host-local", "subnet": "10.99.0.0/16", "dataDir": text(&dir.join("addresses")) },
        }],
    });
    fs::create_dir(dir.join("net.d")).expect("a directory for networks");
    fs::write(dir.join("net.d/10-pods.conflist"), network.to_string()).expect("a network");
}

impl Drop for Cri<'_> {
    /// What cannot be removed shows as a process or cgroup in the search for what is left.
    fn drop(&mut self) {
        let list = self.command(&["pods", "--quiet"]).output();
        let ids = list.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
        for id in ids.unwrap_or_default().split_whitespace() {
            let _ = self.command(&["rmp", "--force", id]).output();
        }
        // The kubelet's to make and to remove.
        for group in leaks::cgroups(&self.case.mark).iter().rev() {
            let _ = fs::remove_dir(group);
        }
    }
}

/// A pod that runs.
pub struct Pod<'a> {
    pub cri: &'a Cri<'a>,
    pub id: String,
    file: String,
}

impl Pod<'_> {
    /// Creates and starts a container; its id.
    #[track_caller]
    pub fn start(&self, name: &str, image: &str, command: &[&str]) -> String {
        self.start_with(name, image, command, |_| {})
    }

    /// [`Pod::start`] after `edit` of what describes the container.
    #[track_caller]
    pub fn start_with(
        &self,
        name: &str,
        image: &str,
        command: &[&str],
        edit: impl FnOnce(&mut Value),
    ) -> String {
        match self.try_start(name, image, command, edit) {
            Ok(id) => id,
            Err(output) => panic!("{output}"),
        }
    }

    /// [`Pod::start_with`], or what the command that failed has said.
    pub fn try_start(
        &self,
        name: &str,
        image: &str,
        command: &[&str],
        edit: impl FnOnce(&mut Value),
    ) -> Result<String, Output> {
        let mut container = json!({
            "metadata": { "name": name },
            "image": { "image": image },
            "command": command,
            "envs": [{ "key": MARK, "value": self.cri.case.mark }],
            "log_path": format!("{}-{name}.log", self.id),
            "stdin": true,
            "linux": { "security_context": { "namespace_options": { "pid": CONTAINER } } },
        });
        edit(&mut container);
        let file = self.cri.file(&container);
        let create = ["create", "--no-pull", &self.id, &file, &self.file];
        let output = self.cri.call(&create);
        if !output.status.success() {
            return Err(output);
        }
        let id = output.stdout.trim().to_owned();
        let output = self.cri.call(&["start", &id]);
        if output.status.success() {
            Ok(id)
        } else {
            Err(output)
        }
    }

    /// The file with a container's log.
    pub fn log(&self, name: &str) -> String {
        let log = self
            .cri
            .case
            .dir
            .join("logs")
            .join(format!("{}-{name}.log", self.id));
        super::command::read(&log)
    }

    /// Waits until the container's log has `text`.
    #[track_caller]
    pub fn wait_for_log(&self, id: &str, text: &str) {
        eventually(&format!("the log of {id} has {text:?}"), || {
            let output = self.cri.call(&["logs", id]);
            output.stdout.contains(text).then_some(())
        });
    }

    /// Stops and removes the pod with all that is in it.
    #[track_caller]
    pub fn remove(self) {
        self.cri.call(&["stopp", &self.id]).ok();
        self.cri.call(&["rmp", &self.id]).ok();
    }
}

/// Packs the directory `root`.
fn tar(archive: &Path, root: &Path) {
    let status = Command::new("tar")
        .arg("-cf")
        .arg(archive)
        .arg("-C")
        .arg(root)
        .arg(".")
        .status();
    assert!(status.expect("tar starts").success());
}
