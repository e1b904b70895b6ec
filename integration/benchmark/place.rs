//! Where everything of a measurement is, and the runtimes that take part.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::machine::version;
use crate::measure::attempt;
use crate::{bundle, guest, installed};

/// A runtime that is measured.
#[derive(Debug, Clone)]
pub struct Runtime {
    /// Name and version, the title of its column.
    pub name: String,
    pub path: PathBuf,
}

impl Runtime {
    /// The program at `path`, whatever it says it is.
    fn at(path: PathBuf) -> Self {
        let file = path.file_name().unwrap_or_default().to_string_lossy();
        // crun-1.28 is a crun.
        let kind = file.split('-').next().unwrap_or_default();
        let version = version(&path, &["--version"]).unwrap_or_else(|| "unknown".to_owned());
        let name = format!("{kind} {version}");
        Runtime { name, path }
    }

    pub fn is_ours(&self) -> bool {
        self.name.starts_with("wrun ")
    }

    /// wrun's build, then `more`, then those of PATH unless only the others are wanted; each once.
    pub fn all(more: &[PathBuf], only: bool) -> Vec<Self> {
        let ours = std::env::var_os("WRUN").map(PathBuf::from);
        let installed = ["crun", "runc", "youki"]
            .into_iter()
            .filter(|_| !only)
            .filter_map(installed::find_program);
        let mut found: Vec<Runtime> = Vec::new();
        for path in ours.into_iter().chain(more.iter().cloned()).chain(installed) {
            let runtime = Runtime::at(path);
            if !found.iter().any(|own| own.name == runtime.name) {
                found.push(runtime);
            }
        }
        found
    }
}

/// Where everything of a measurement is, removed at its end.
pub struct Place {
    dir: tempfile::TempDir,
    /// What runtimes keep of their containers, in memory as /run is in the field: making a file on a disk takes as long as
    /// a good part of a container. Where no such file system is, beside all else.
    state: Option<tempfile::TempDir>,
    /// Whether containers ask for a device filter. On cgroup v2 crun wants a higher RLIMIT_MEMLOCK for one, which
    /// not every machine grants.
    devices: bool,
}

impl Place {
    pub fn new(devices: bool) -> Self {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::Builder::new()
            .prefix("wrun-bench-")
            // Root of a user namespace goes through it to the root filesystem.
            .permissions(std::fs::Permissions::from_mode(0o711))
            .tempdir()
            .expect("a directory");
        bundle::make_rootfs(&dir.path().join("rootfs"));
        let place = Place {
            dir,
            state: in_memory(),
            devices,
        };
        for name in ["hello", "sleep"] {
            place.add_guest(name, &guest::binary(name));
        }
        place
    }

    /// Puts a Wasm file `/NAME.wasm` into the root filesystem; its path there.
    pub fn add_guest(&self, name: &str, bytes: &[u8]) -> String {
        let file = format!("/{name}.wasm");
        std::fs::write(self.rootfs().join(&file[1..]), bytes).expect("the guest");
        file
    }

    /// A bundle running `args` under what Docker writes for a container: seccomp, capabilities, masks, devices.
    pub fn bundle(&self, name: &str, args: &[&str]) -> PathBuf {
        self.bundle_with(name, args, |_| ())
    }

    /// The same after `change` of the configuration.
    pub fn bundle_with(&self, name: &str, args: &[&str], change: impl FnOnce(&mut Value)) -> PathBuf {
        let text = include_str!("../fixtures/docker.json");
        let mut config: Value = serde_json::from_str(text).expect("the fixture is JSON");
        config["process"]["args"] = json!(args);
        if !self.devices {
            config["linux"]["resources"] = json!({});
        }
        config["root"]["path"] = json!(self.rootfs());
        change(&mut config);
        let bundle = self.file(name);
        std::fs::create_dir(&bundle).expect("a directory");
        bundle::write_config(&bundle, &config);
        bundle
    }

    /// The root filesystem of all bundles.
    pub fn rootfs(&self) -> PathBuf {
        self.dir.path().join("rootfs")
    }

    /// The directory of the cache of compiled Wasm and filters.
    pub fn cache(&self) -> PathBuf {
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

    /// Arguments that every command of the runtime begins with.
    pub fn root_of(&self, runtime: &Runtime) -> [String; 2] {
        let root = self.state.as_ref().unwrap_or(&self.dir);
        let state = root
            .path()
            .join(format!("state-{}", runtime.name.replace(' ', "-")));
        ["--root".to_owned(), state.to_str().expect("UTF-8").to_owned()]
    }

    /// `RUNTIME --root … ARGUMENTS`, quiet.
    pub fn command(&self, runtime: &Runtime, arguments: &[&str]) -> Command {
        self.command_under(&[], runtime, arguments)
    }

    /// The same, started by `wrapper`, a program with arguments.
    pub fn command_under(&self, wrapper: &[&str], runtime: &Runtime, arguments: &[&str]) -> Command {
        let path = runtime.path.to_str().expect("UTF-8");
        let words = [wrapper, &[path]].concat();
        let mut command = Command::new(words[0]);
        command
            .args(&words[1..])
            .args(self.root_of(runtime))
            .args(arguments);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command.env("WRUN_CACHE_DIR", self.cache());
        command
    }

    /// Whether the runtime can make and start a container of this bundle, with such flags before the command.
    pub fn works(&self, runtime: &Runtime, flags: &[&str], bundle: &Path) -> bool {
        let bundle = bundle.to_str().expect("UTF-8");
        self.succeed(
            runtime,
            flags,
            &[
                &["create", "--bundle", bundle, "bench-probe"],
                &["start", "bench-probe"],
            ],
        )
    }

    /// Whether it can run this bundle to a good end.
    pub fn runs(&self, runtime: &Runtime, bundle: &Path) -> bool {
        let bundle = bundle.to_str().expect("UTF-8");
        self.succeed(runtime, &[], &[&["run", "--bundle", bundle, "bench-probe"]])
    }

    fn succeed(&self, runtime: &Runtime, flags: &[&str], commands: &[&[&str]]) -> bool {
        let run = |arguments: &[&str]| attempt(self.command(runtime, &[flags, arguments].concat()));
        let succeeded = commands.iter().all(|arguments| run(arguments).is_ok());
        // What is left, which after a failure may be nothing.
        let _ = run(&["delete", "--force", "bench-probe"]);
        succeeded
    }
}

/// A directory on a file system that is in memory.
fn in_memory() -> Option<tempfile::TempDir> {
    let candidates = ["/run", "/dev/shm"].into_iter();
    let mut found = candidates.filter(|path| {
        nix::sys::statfs::statfs(*path)
            .is_ok_and(|stat| stat.filesystem_type() == nix::sys::statfs::TMPFS_MAGIC)
    });
    let path = found.next()?;
    tempfile::Builder::new()
        .prefix("wrun-bench-")
        .tempdir_in(path)
        .ok()
}
