//! A container of a test: a bundle, an id, and the runtime's commands on them.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::bundle;
use super::case::{Case, text};
use super::command::{Output, eventually};

/// A bundle and an id; whether the runtime knows it is up to the test.
pub struct Container<'case> {
    pub case: &'case Case,
    pub id: String,
    pub bundle: PathBuf,
}

impl Container<'_> {
    /// The bundle's path as text.
    pub fn bundle(&self) -> String {
        text(&self.bundle)
    }

    /// A path below the bundle's root filesystem.
    pub fn rootfs(&self, path: &str) -> PathBuf {
        self.bundle.join("rootfs").join(path)
    }

    /// Writes a file into the bundle's root filesystem.
    pub fn write(&self, path: &str, content: impl AsRef<[u8]>, mode: u32) {
        use std::os::unix::fs::PermissionsExt;
        let file = self.rootfs(path);
        std::fs::create_dir_all(file.parent().expect("a file has a directory")).expect("its directory");
        if mode & 0o111 == 0 {
            std::fs::write(&file, content).expect("a file in the root filesystem");
        } else {
            super::program::write(&file, content);
        }
        std::fs::set_permissions(&file, PermissionsExt::from_mode(mode)).expect("its mode");
    }

    /// Reads a file of the bundle's root filesystem.
    #[track_caller]
    pub fn read(&self, path: &str) -> String {
        let file = self.rootfs(path);
        std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
    }

    /// Changes the bundle's config.json.
    pub fn edit(&self, edit: impl FnOnce(&mut Value)) {
        let text = std::fs::read(self.bundle.join("config.json")).expect("config.json");
        let mut config = serde_json::from_slice(&text).expect("config.json is JSON");
        edit(&mut config);
        bundle::write_config(&self.bundle, &config);
    }

    /// The command `NAME FLAGS --bundle BUNDLE ID`.
    pub fn command(&self, name: &str, flags: &[&str]) -> Command {
        let bundle = self.bundle();
        self.case
            .command(&[&[name, "--bundle", &bundle], flags, &[&self.id]].concat())
    }

    /// `create`, whatever comes of it.
    #[track_caller]
    pub fn try_create(&self, flags: &[&str]) -> Output {
        self.case.finish(self.command("create", flags))
    }

    /// `create`, which must succeed.
    #[track_caller]
    pub fn create(&self) -> Output {
        self.try_create(&[]).ok()
    }

    /// `start`, which must succeed.
    #[track_caller]
    pub fn start(&self) -> Output {
        self.case.call(&["start", &self.id]).ok()
    }

    /// `run` in the foreground, to its end.
    #[track_caller]
    pub fn run(&self) -> Output {
        self.case.finish(self.command("run", &[]))
    }

    /// `run --detach`, which must succeed.
    #[track_caller]
    pub fn run_detached(&self) {
        self.case.finish(self.command("run", &["--detach"])).ok();
    }

    /// `exec FLAGS ID ARGS`.
    #[track_caller]
    pub fn exec_with(&self, flags: &[&str], args: &[&str]) -> Output {
        self.case.call(&[&["exec"], flags, &[&self.id], args].concat())
    }

    /// `exec` without flags.
    #[track_caller]
    pub fn exec(&self, args: &[&str]) -> Output {
        self.exec_with(&[], args)
    }

    /// `exec` of a shell script; its output without the last newline.
    #[track_caller]
    pub fn sh(&self, script: &str) -> String {
        self.exec(&["sh", "-c", script]).ok().stdout.trim_end().to_owned()
    }

    /// `kill ID SIGNAL`.
    #[track_caller]
    pub fn kill(&self, signal: &str) -> Output {
        self.case.call(&["kill", &self.id, signal])
    }

    /// `delete FLAGS ID`.
    #[track_caller]
    pub fn delete_with(&self, flags: &[&str]) -> Output {
        self.case.call(&[&["delete"], flags, &[&self.id]].concat())
    }

    /// `delete`, which must succeed.
    #[track_caller]
    pub fn delete(&self) {
        self.delete_with(&[]).ok();
    }

    /// `state`, which must succeed.
    #[track_caller]
    pub fn state(&self) -> Value {
        self.case.call(&["state", &self.id]).ok().json()
    }

    /// The status that `state` tells.
    #[track_caller]
    pub fn status(&self) -> String {
        self.state()["status"]
            .as_str()
            .expect("status is a string")
            .to_owned()
    }

    /// The pid of the first process, as the host sees it.
    #[track_caller]
    pub fn pid(&self) -> i32 {
        i32::try_from(self.state()["pid"].as_i64().expect("pid is a number")).expect("a pid")
    }

    /// Waits until `state` tells `status`.
    #[track_caller]
    pub fn wait_for(&self, status: &str) {
        eventually(&format!("{} becomes {status}", self.id), || {
            (self.status() == status).then_some(())
        });
    }

    /// Waits until a file of the root filesystem is there and not empty; its content.
    #[track_caller]
    pub fn wait_for_file(&self, path: &str) -> String {
        let file = self.rootfs(path);
        eventually(&format!("{} is written", file.display()), || {
            std::fs::read_to_string(&file)
                .ok()
                .filter(|content| content.ends_with('\n'))
        })
    }

    /// The directory of the container's first process under /proc.
    pub fn proc(&self, name: &str) -> PathBuf {
        Path::new("/proc").join(self.pid().to_string()).join(name)
    }
}
