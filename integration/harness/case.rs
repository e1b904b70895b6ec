//! One test's surroundings: a directory, a state directory and container ids of its own; and their end.

use std::cell::{Cell, RefCell};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value;

use super::bundle;
use super::command::{Output, Running};
use super::container::Container;
use super::leaks;
use super::runtime::Runtime;

/// The environment variable that marks every process a test has started, so that those left can be found.
pub const MARK: &str = "WRUN_TEST_CASE";

static NEXT: AtomicUsize = AtomicUsize::new(1);

/// Where one test runs.
pub struct Case {
    pub runtime: Runtime,
    /// A directory for this test alone.
    pub dir: PathBuf,
    /// The state directory, given as `--root`.
    pub root: PathBuf,
    /// In every id, path and environment of this test, and in no other's.
    pub mark: String,
    commands: Cell<usize>,
    containers: RefCell<Vec<String>>,
}

/// The directory of this run of the suite, which holds those of its tests.
pub fn base() -> PathBuf {
    std::env::temp_dir().join(format!("wrun-test-{}", std::process::id()))
}

impl Case {
    /// Fresh surroundings.
    pub fn new(runtime: Runtime) -> Self {
        let mark = format!(
            "wt{}-{}-",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        let dir = base().join(&mark);
        let root = dir.join("state");
        std::fs::create_dir_all(&root).expect("a directory for the test");
        for open in [dir.parent().expect("it has one"), &dir] {
            // Containers with mapped ids must be able to pass.
            std::fs::set_permissions(open, PermissionsExt::from_mode(0o755)).expect("our own directory");
        }
        Case {
            runtime,
            dir,
            root,
            mark,
            commands: Cell::new(0),
            containers: RefCell::new(Vec::new()),
        }
    }

    /// A new container id, which [`Case::clean`] will delete.
    pub fn id(&self) -> String {
        let mut containers = self.containers.borrow_mut();
        let id = format!("{}{}", self.mark, containers.len());
        containers.push(id.clone());
        id
    }

    /// A bundle with a root filesystem of its own and the fixture's config.json running `args`, after `edit`.
    pub fn container_with(&self, args: &[&str], edit: impl FnOnce(&mut Value)) -> Container<'_> {
        let id = self.id();
        let bundle = self.dir.join(format!("bundle-{}", &id[self.mark.len()..]));
        bundle::make_rootfs(&bundle.join("rootfs"));
        let container = Container {
            case: self,
            id,
            bundle,
        };
        let mut config = bundle::config(args);
        let env = config["process"]["env"]
            .as_array_mut()
            .expect("the fixture has an environment");
        env.push(format!("{MARK}={}", self.mark).into());
        edit(&mut config);
        bundle::write_config(&container.bundle, &config);
        container
    }

    /// [`Case::container_with`] without an edit.
    pub fn container(&self, args: &[&str]) -> Container<'_> {
        self.container_with(args, |_| {})
    }

    /// A container that runs a shell script, after `edit`.
    pub fn script_with(&self, script: &str, edit: impl FnOnce(&mut Value)) -> Container<'_> {
        self.container_with(&["sh", "-c", script], edit)
    }

    /// A container that runs a shell script.
    pub fn script(&self, script: &str) -> Container<'_> {
        self.container(&["sh", "-c", script])
    }

    /// Whether a cgroup must be given time for real-time processes before it may have any.
    pub fn realtime_groups(&self) -> bool {
        super::facts::Need::RealTimeGroups.missing().is_none()
    }

    /// The runtime with `--root` and `args`, input from /dev/null.
    pub fn command(&self, args: &[&str]) -> Command {
        self.command_under(&[], args)
    }

    /// [`Case::command`] as the arguments of another program, such as a tracer.
    pub fn command_under(&self, wrapper: &[&str], args: &[&str]) -> Command {
        let mut command = self.runtime.command_under(wrapper);
        command
            .arg("--root")
            .arg(&self.root)
            .args(args)
            .stdin(Stdio::null())
            .env(MARK, &self.mark);
        command.env("WRUN_CACHE_DIR", self.dir.join("cache"));
        command
    }

    /// Runs [`Case::command`] to its end.
    #[track_caller]
    pub fn call(&self, args: &[&str]) -> Output {
        self.finish(self.command(args))
    }

    /// Runs `command` to its end.
    #[track_caller]
    pub fn finish(&self, command: Command) -> Output {
        self.start(command).wait()
    }

    /// Starts `command` with its output in files.
    pub fn start(&self, mut command: Command) -> Running {
        let number = self.commands.replace(self.commands.get() + 1);
        command.env(MARK, &self.mark);
        Running::start(command, &self.dir, &format!("command-{number}"))
    }

    /// A path in the test's directory, as text.
    pub fn path(&self, name: &str) -> String {
        text(&self.dir.join(name))
    }

    /// Asserts that the error of a command names `culprit`. The wording is ours alone, so a peer only has to
    /// fail with one error.
    #[track_caller]
    pub fn names(&self, output: &Output, culprits: &[&str]) {
        let error = output.error();
        if self.runtime.ours {
            for culprit in culprits {
                assert!(
                    error.contains(culprit),
                    "the error does not name {culprit:?}: {output}"
                );
            }
        }
    }

    /// Deletes what the test made, and gives what could not be deleted or was left in spite of it.
    pub fn clean(&self) -> Vec<String> {
        let mut problems = Vec::new();
        for id in self
            .containers
            .borrow()
            .iter()
            .filter(|id| self.root.join(id).exists())
        {
            let output = self.finish(self.command(&["delete", "--force", id]));
            if !output.status.success() {
                problems.push(output.to_string());
            }
        }
        problems.extend(leaks::find(self));
        leaks::remove(self);
        problems
    }

    /// Waits until nothing is compiled in the background for this test.
    pub fn cache_is_quiet(&self) {
        leaks::wait_for_background(self);
    }

    /// Asserts that nothing is left of any container: no state, cgroup, mount or process.
    #[track_caller]
    pub fn nothing_left(&self) {
        let left = leaks::find(self);
        assert!(left.is_empty(), "left behind: {left:#?}");
    }
}

/// A path as text; the tests' own paths are all UTF-8.
pub fn text(path: &Path) -> String {
    path.to_str().expect("the tests' paths are UTF-8").to_owned()
}
