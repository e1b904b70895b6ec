//! Bundles: a root filesystem of busybox alone, and a config.json made by editing one fixture.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use serde_json::{Value, json};

/// The config.json that every test starts from.
const CONFIG: &str = include_str!("../fixtures/config.json");

/// A fresh copy of the fixture, with `args` as the process's arguments.
pub fn config(args: &[&str]) -> Value {
    let mut config: Value = serde_json::from_str(CONFIG).expect("the fixture is JSON");
    config["process"]["args"] = json!(args);
    config
}

/// Directories that a root filesystem has.
const DIRECTORIES: [&str; 10] = [
    "bin", "dev", "etc", "home", "mnt", "proc", "root", "sys", "tmp", "var",
];

/// Makes a root filesystem at `rootfs`: a copy of the host's static busybox with a link for each applet.
pub fn make_rootfs(rootfs: &Path) {
    for name in DIRECTORIES {
        std::fs::create_dir_all(rootfs.join(name)).expect("a directory of the root filesystem");
    }
    super::program::copy(busybox(), rootfs.join("bin/busybox"));
    for applet in applets() {
        symlink("busybox", rootfs.join("bin").join(applet)).expect("the link of an applet");
    }
    let write = |path: &str, text: &str| std::fs::write(rootfs.join(path), text).expect("a file in /etc");
    write(
        "etc/passwd",
        "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000:user:/home:/bin/sh\n",
    );
    write("etc/group", "root:x:0:\nuser:x:1000:\nextra:x:2000:user\n");
}

/// Writes `config` as the config.json of the bundle `dir`.
pub fn write_config(dir: &Path, config: &Value) {
    let text = serde_json::to_vec_pretty(config).expect("a value can be written");
    std::fs::write(dir.join("config.json"), text).expect("config.json");
}

/// Where the host's busybox is; the tests need the static one (package busybox-static).
fn busybox() -> PathBuf {
    super::installed::find_program("busybox").expect("busybox is installed (package busybox-static)")
}

/// The names of busybox's applets, without its own.
fn applets() -> &'static [String] {
    static APPLETS: OnceLock<Vec<String>> = OnceLock::new();
    APPLETS.get_or_init(|| {
        let output = Command::new(busybox())
            .arg("--list")
            .output()
            .expect("busybox lists its applets");
        String::from_utf8_lossy(&output.stdout)
            .lines()
            .filter(|name| *name != "busybox")
            .map(str::to_owned)
            .collect()
    })
}

/// Adds a mount at the end of the list.
pub fn add_mount(config: &mut Value, destination: &str, kind: &str, source: &str, options: &[&str]) {
    let mounts = config["mounts"].as_array_mut().expect("the fixture has mounts");
    mounts.push(json!({ "destination": destination, "type": kind, "source": source, "options": options }));
}

/// Sets or replaces the namespace `kind`; `path` joins an existing one.
pub fn set_namespace(config: &mut Value, kind: &str, path: Option<&str>) {
    remove_namespace(config, kind);
    let entry = match path {
        Some(path) => json!({ "type": kind, "path": path }),
        None => json!({ "type": kind }),
    };
    config["linux"]["namespaces"]
        .as_array_mut()
        .expect("the fixture has namespaces")
        .push(entry);
}

/// Leaves out the namespace `kind`, so that the container shares the host's.
pub fn remove_namespace(config: &mut Value, kind: &str) {
    let namespaces = config["linux"]["namespaces"]
        .as_array_mut()
        .expect("the fixture has namespaces");
    namespaces.retain(|namespace| namespace["type"] != kind);
}

/// A new user namespace in which the container's ids 0 to 65535 are the host's from `first` on.
pub fn map_ids(config: &mut Value, first: u32) {
    set_namespace(config, "user", None);
    let map = json!([{ "containerID": 0, "hostID": first, "size": 65536 }]);
    config["linux"]["uidMappings"] = map.clone();
    config["linux"]["gidMappings"] = map;
}
