//! Measures whole commands of every runtime that is installed, interleaved in one run: a busy machine slows all
//! alike, so medians and ratios can be trusted where single times cannot. Started by `integration/bench`, which
//! builds wrun's release first and tells where it is in `WRUN`.

#[allow(dead_code, reason = "the tests use more of it")]
#[path = "../harness/bundle.rs"]
mod bundle;
#[allow(dead_code, reason = "the tests use more of it")]
#[path = "../harness/facts.rs"]
mod facts;
#[allow(dead_code, reason = "the tests use more of it")]
#[path = "../harness/guest.rs"]
mod guest;
#[path = "../harness/large.rs"]
mod large;
mod lifecycle;
mod measure;
mod memory;
mod table;
mod wasm;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use facts::MOUNT_UNIFIED;

/// A runtime that is measured.
pub struct Runtime {
    pub name: String,
    pub path: PathBuf,
}

/// Where everything of a measurement is, removed at its end.
pub struct Place {
    dir: tempfile::TempDir,
    /// Whether containers ask for a device filter. On cgroup v2 crun wants a higher RLIMIT_MEMLOCK for one, which
    /// not every machine grants.
    devices: bool,
}

impl Place {
    fn new(devices: bool) -> Self {
        let dir = tempfile::Builder::new()
            .prefix("wrun-bench-")
            .tempdir()
            .expect("a directory");
        bundle::make_rootfs(&dir.path().join("rootfs"));
        for name in ["hello", "sleep"] {
            let path = dir.path().join("rootfs").join(format!("{name}.wasm"));
            std::fs::write(path, guest::binary(name)).expect("the guest");
        }
        Place { dir, devices }
    }

    /// A bundle running `args` under what Docker writes for a container: seccomp, capabilities, masks, devices.
    pub fn bundle(&self, name: &str, args: &[&str]) -> PathBuf {
        self.bundle_with(name, args, |_| ())
    }

    /// The same after `change` of the configuration.
    pub fn bundle_with(
        &self,
        name: &str,
        args: &[&str],
        change: impl FnOnce(&mut serde_json::Value),
    ) -> PathBuf {
        let text = include_str!("../fixtures/docker.json");
        let mut config: serde_json::Value = serde_json::from_str(text).expect("the fixture is JSON");
        config["process"]["args"] = serde_json::json!(args);
        if !self.devices {
            config["linux"]["resources"] = serde_json::json!({});
        }
        config["root"]["path"] = serde_json::json!(self.rootfs());
        change(&mut config);
        let bundle = self.dir.path().join(name);
        std::fs::create_dir(&bundle).expect("a directory");
        bundle::write_config(&bundle, &config);
        bundle
    }

    /// The root filesystem of all bundles.
    pub fn rootfs(&self) -> PathBuf {
        self.dir.path().join("rootfs")
    }

    /// The directory of the cache of compiled Wasm.
    fn cache(&self) -> PathBuf {
        self.dir.path().join("cache")
    }

    /// Removes all compiled Wasm. What is being compiled yet ends up nowhere.
    pub fn clear_cache(&self) {
        let path = self.cache();
        if path.exists() {
            // Renamed first, since a compiler that is still at work writes there.
            let old = self.file("cache-before");
            std::fs::rename(&path, &old).expect("it is ours");
            // That compiler may put a file there while the others are removed; it writes few.
            while let Err(error) = std::fs::remove_dir_all(&old) {
                assert_eq!(
                    error.kind(),
                    std::io::ErrorKind::DirectoryNotEmpty,
                    "{}",
                    old.display()
                );
            }
        }
    }

    /// A file of this place.
    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// `RUNTIME --root … ARGUMENTS`, quiet.
    pub fn command(&self, runtime: &Runtime, arguments: &[&str]) -> Command {
        let mut command = Command::new(&runtime.path);
        command
            .arg("--root")
            .arg(self.dir.path().join(format!("state-{}", runtime.name)))
            .args(arguments);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command.env("WRUN_CACHE_DIR", self.cache());
        command
    }

    /// Whether the runtime can run a container here at all.
    fn works(&self, runtime: &Runtime, bundle: &Path) -> bool {
        let bundle = bundle.to_str().expect("UTF-8");
        let status = self
            .command(runtime, &["run", "--bundle", bundle, "bench-probe"])
            .status();
        status.is_ok_and(|status| status.success())
    }
}

fn main() -> ExitCode {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let unified = arguments.iter().position(|argument| argument == "--unified");
    unified.map(|at| arguments.remove(at));
    let rounds = match arguments.iter().position(|argument| argument == "--rounds") {
        Some(at) if at + 1 < arguments.len() => {
            arguments.remove(at);
            arguments.remove(at).parse().unwrap_or(100)
        }
        _ => 100,
    };
    let parts = ["lifecycle", "wasm", "memory"];
    let chosen: Vec<&str> = parts
        .into_iter()
        .filter(|part| arguments.iter().any(|own| own == part))
        .collect();
    if chosen.len() != arguments.len() {
        eprintln!("usage: integration/bench [lifecycle] [wasm] [memory] [--rounds N] [--unified]");
        return ExitCode::FAILURE;
    }
    let chosen = if chosen.is_empty() { parts.to_vec() } else { chosen };

    let wanted = unified.is_some();
    // The tree is pure where the root of cgroup v2 is at the top.
    if wanted && !Path::new("/sys/fs/cgroup/cgroup.procs").exists() {
        return measure_unified(&chosen, rounds);
    }
    let place = Place::new(!wanted);
    let probe = place.bundle("probe", &["/bin/true"]);
    let ours = std::env::var_os("WRUN").map(|path| ("wrun", PathBuf::from(path)));
    let peers = ["runc", "crun"].map(|name| facts::find_program(name).map(|path| (name, path)));
    let installed = ours.into_iter().chain(peers.into_iter().flatten());
    let all: Vec<Runtime> = installed
        .map(|(name, path)| Runtime {
            name: name.to_owned(),
            path,
        })
        .collect();
    let (working, refusing): (Vec<_>, Vec<_>) =
        all.into_iter().partition(|runtime| place.works(runtime, &probe));
    let names = |list: &[Runtime]| {
        list.iter()
            .map(|own| own.name.as_str())
            .collect::<Vec<_>>()
            .join(", ")
    };
    let tree = if wanted {
        "a pure cgroup v2 tree, without device rules"
    } else {
        "this machine's cgroups"
    };
    println!("\n# On {tree}: {}; {rounds} rounds, interleaved", names(&working));
    for part in &chosen {
        match *part {
            "lifecycle" => lifecycle::measure(&place, &working, rounds),
            "wasm" => wasm::measure(&place, &working, rounds),
            _ => memory::measure(&place, &working),
        }
    }
    if refusing.is_empty() || wanted {
        return ExitCode::SUCCESS;
    }
    // What refuses this machine's cgroups may take another tree, and then all are measured there.
    println!("\n{} cannot run here; all again where it may:", names(&refusing));
    drop(place);
    measure_unified(&chosen, rounds)
}

/// This program again, in a mount namespace with a pure cgroup v2 tree.
fn measure_unified(chosen: &[&str], rounds: usize) -> ExitCode {
    let own = std::env::current_exe().expect("our own path");
    let mut again = Command::new("unshare");
    again.args(["-m", "sh", "-c", MOUNT_UNIFIED, "x"]).arg(own);
    again
        .args(chosen)
        .args(["--rounds", &rounds.to_string(), "--unified"]);
    match again.status() {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}
