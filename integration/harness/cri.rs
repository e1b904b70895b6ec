//! Kubernetes' side of containerd: pods and their containers, by `crictl`, with images made here. Pods are in the
//! network namespace of the test's own daemon, so that no network plugin is needed.

use std::cell::Cell;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use super::bundle;
use super::case::{MARK, text};
use super::command::{Output, eventually};
use super::containerd::Containerd;
use super::{Case, guest};

/// The image of busybox.
pub const NATIVE: &str = "localhost/native:test";

/// The image of what keeps a pod's namespaces.
const PAUSE: &str = "localhost/pause:test";

/// A containerd whose default runtime is the test's, and its pods.
pub struct Cri<'case> {
    pub containerd: Containerd<'case>,
    case: &'case Case,
    numbers: Cell<usize>,
}

impl<'case> Cri<'case> {
    /// Starts the daemon and gives it images of busybox.
    pub fn start(case: &'case Case) -> Self {
        let plugin = "plugins.\"io.containerd.grpc.v1.cri\"";
        let config = format!(
            "[{plugin}]\nsandbox_image = \"{PAUSE}\"\nrestrict_oom_score_adj = true\n\
             [{plugin}.containerd]\nsnapshotter = \"native\"\ndefault_runtime_name = \"tested\"\n\
             [{plugin}.containerd.runtimes.tested]\nruntime_type = \"io.containerd.runc.v2\"\n\
             [{plugin}.containerd.runtimes.tested.options]\nBinaryName = \"{}\"\n",
            text(&case.runtime.path)
        );
        let cri = Cri {
            containerd: Containerd::start_with(case, &config),
            case,
            numbers: Cell::new(0),
        };
        let root = case.dir.join("native-image");
        bundle::make_rootfs(&root);
        cri.import(NATIVE, &root, &json!({ "Env": ["PATH=/bin"], "Cmd": ["sh"] }));
        cri.import(
            PAUSE,
            &root,
            &json!({ "Env": ["PATH=/bin"], "Entrypoint": ["sleep", "infinity"] }),
        );
        cri
    }

    /// The image of the guest `name` alone.
    pub fn guest_image(&self, name: &str) -> String {
        let root = self.case.dir.join(format!("{name}-image"));
        fs::create_dir(&root).expect("a directory");
        fs::write(root.join(format!("{name}.wasm")), guest::binary(name)).expect("the guest");
        let image = format!("localhost/wasm-{name}:test");
        self.import(&image, &root, &json!({ "Entrypoint": [format!("/{name}.wasm")] }));
        image
    }

    /// Gives containerd an image of the directory `root` with the configuration `config`, in the form of `docker save`.
    fn import(&self, name: &str, root: &Path, config: &Value) {
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
        self.containerd
            .call(&["--namespace", "k8s.io", "images", "import", &archive])
            .ok();
        fs::remove_dir_all(&dir).expect("it is ours");
    }

    fn number(&self) -> usize {
        self.numbers.replace(self.numbers.get() + 1)
    }

    /// The command `crictl ARGUMENTS`.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let endpoint = format!("unix://{}", self.containerd.socket());
        let mut command = self.containerd.within("crictl");
        command
            .args(["--runtime-endpoint", &endpoint, "--image-endpoint", &endpoint])
            .args(["--timeout", "40s"])
            .args(arguments);
        command
    }

    /// Runs `crictl ARGUMENTS` to its end.
    #[track_caller]
    pub fn call(&self, arguments: &[&str]) -> Output {
        self.case.finish(self.command(arguments))
    }

    /// Writes `value` into a file for crictl; its path.
    fn file(&self, value: &Value) -> String {
        let name = format!("cri-{}.json", self.number());
        fs::write(self.case.dir.join(&name), value.to_string()).expect("a file");
        self.case.path(&name)
    }

    /// The command that runs a pod, and the file that describes it.
    pub fn run_pod_command(&self, name: &str) -> (Command, String) {
        let pod = json!({
            "metadata": { "name": name, "namespace": "default", "uid": format!("{}{name}", self.case.mark), "attempt": 0 },
            "log_directory": self.case.path("logs"),
            "linux": {
                "cgroup_parent": format!("/{}cri", self.case.mark),
                "security_context": { "namespace_options": { "network": 2 } },
            },
        });
        let file = self.file(&pod);
        (self.command(&["runp", &file]), file)
    }

    /// Runs a pod without containers.
    #[track_caller]
    pub fn run_pod(&self, name: &str) -> Pod<'_> {
        let (command, file) = self.run_pod_command(name);
        let id = self.case.finish(command).ok().stdout.trim().to_owned();
        Pod { cri: self, id, file }
    }
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
        for group in super::leaks::cgroups(&self.case.mark).iter().rev() {
            let _ = fs::remove_dir(group);
        }
    }
}

/// A pod that runs.
pub struct Pod<'a> {
    cri: &'a Cri<'a>,
    pub id: String,
    file: String,
}

impl Pod<'_> {
    /// Creates and starts a container; its id.
    #[track_caller]
    pub fn start(&self, name: &str, image: &str, command: &[&str]) -> String {
        let container = json!({
            "metadata": { "name": name },
            "image": { "image": image },
            "command": command,
            "envs": [{ "key": MARK, "value": self.cri.case.mark }],
            "log_path": format!("{}-{name}.log", self.id),
            "stdin": true,
            "linux": {},
        });
        let file = self.cri.file(&container);
        let output = self
            .cri
            .call(&["create", "--no-pull", &self.id, &file, &self.file])
            .ok();
        let id = output.stdout.trim().to_owned();
        self.cri.call(&["start", &id]).ok();
        id
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
