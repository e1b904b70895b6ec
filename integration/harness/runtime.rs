//! The runtime under test, which every test takes as a parameter.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::facts::MOUNT_UNIFIED;
use super::installed::find_program;

/// Which cgroup tree a runtime is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tree {
    /// The machine's own.
    Host,
    /// A pure cgroup v2 tree in a mount namespace made for each command.
    Unified,
}

/// An OCI runtime: ours, or a peer that proves the tests.
#[derive(Debug, Clone)]
pub struct Runtime {
    /// The file's name, as the tests are named after it.
    pub name: String,
    pub path: PathBuf,
    /// Whether it is ours. A peer only has to fail where we also look at the wording of an error.
    pub ours: bool,
    /// The second number of its version.
    pub minor: u32,
    pub tree: Tree,
}

/// The 3 of a `runc version 1.3.6`; 0 where no such line is printed.
fn minor(path: &Path) -> u32 {
    let text = Command::new(path).arg("--version").output();
    let text = text.map_or_else(|_| Vec::new(), |output| output.stdout);
    let text = String::from_utf8_lossy(&text);
    // "runc version 1.1.5+ds1", "crun version 1.28"; each is a line.
    let number = text
        .split("version 1.")
        .nth(1)
        .and_then(|rest| rest.split(|digit: char| !digit.is_ascii_digit()).next());
    number.and_then(|number| number.parse().ok()).unwrap_or(0)
}

impl Runtime {
    fn at(path: &Path, ours: bool) -> Self {
        let name = path
            .file_name()
            .map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        Runtime {
            name,
            path: path.to_owned(),
            ours,
            minor: minor(path),
            tree: Tree::Host,
        }
    }

    /// The runtimes to test: ours, and runc where it is installed. `WRUN_TEST_RUNTIME`, one path or several
    /// with colons between them, takes their place.
    pub fn all() -> Vec<Self> {
        if let Ok(paths) = std::env::var("WRUN_TEST_RUNTIME") {
            return paths
                .split(':')
                .map(|path| {
                    let runtime = Self::at(Path::new(path), false);
                    let ours = runtime.name.starts_with("wrun");
                    Runtime { ours, ..runtime }
                })
                .collect();
        }
        let ours = Self::at(Path::new(env!("CARGO_BIN_EXE_wrun")), true);
        let peers = find_program("runc").map(|path| Self::at(&path, false));
        std::iter::once(ours).chain(peers).collect()
    }

    /// Why an installed peer takes no part; `None` where it does or is not installed.
    pub fn refusal_of_crun() -> Option<String> {
        let crun = find_program("crun")?;
        let hybrid = Path::new("/sys/fs/cgroup/unified").exists();
        Some(if hybrid {
            format!("{} refuses a machine with hybrid cgroups", crun.display())
        } else {
            format!(
                "{} is tested only when WRUN_TEST_RUNTIME names it",
                crun.display()
            )
        })
    }

    /// The same runtime in a pure cgroup v2 tree.
    pub fn unified(&self) -> Self {
        Runtime {
            name: format!("{}-v2", self.name),
            tree: Tree::Unified,
            ..self.clone()
        }
    }

    /// Whether it is a runc of version 1.`minor` or newer.
    pub fn is_runc_from(&self, minor: u32) -> bool {
        !self.ours && self.name.starts_with("runc") && self.minor >= minor
    }

    /// A command that starts this runtime, still without arguments.
    pub fn command(&self) -> Command {
        self.command_under(&[])
    }

    /// A command that starts `wrapper`, a program with arguments, which starts this runtime.
    pub fn command_under(&self, wrapper: &[&str]) -> Command {
        let path = self.path.to_str().expect("the runtime's path is UTF-8");
        let unified = ["unshare", "-m", "sh", "-c", MOUNT_UNIFIED, "x"];
        let tree: &[&str] = match self.tree {
            Tree::Host => &[],
            Tree::Unified => &unified,
        };
        let words = [tree, wrapper, &[path]].concat();
        let mut command = Command::new(words[0]);
        command.args(&words[1..]);
        command
    }
}
