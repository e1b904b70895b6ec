//! On what was measured: processor, kernel, memory, and the versions of all that took part.

use std::path::Path;
use std::process::Command;

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    pub processor: String,
    pub processors: usize,
    pub memory_mb: u64,
    pub kernel: String,
    pub system: String,
    pub cgroups: String,
    /// Programs besides the runtimes: name and version.
    pub programs: Vec<String>,
}

impl Machine {
    pub fn look() -> Self {
        let text = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let memory = value(&text("/proc/meminfo"), "MemTotal").unwrap_or_default();
        let kilobytes: u64 = memory.trim_end_matches(" kB").parse().unwrap_or(0);
        Machine {
            processor: value(&text("/proc/cpuinfo"), "model name").unwrap_or_else(|| "unknown".to_owned()),
            processors: std::thread::available_parallelism().map_or(1, usize::from),
            memory_mb: kilobytes / 1024,
            kernel: text("/proc/sys/kernel/osrelease").trim().to_owned(),
            system: named(&text("/etc/os-release"), "PRETTY_NAME=").unwrap_or_else(|| "unknown".to_owned()),
            cgroups: cgroups().to_owned(),
            programs: ["docker", "wasmtime", "strace"]
                .into_iter()
                .filter_map(|name| {
                    let path = crate::installed::find_program(name)?;
                    Some(format!("{name} {}", version(&path, &["--version"])?))
                })
                .collect(),
        }
    }

    /// All of it in one line, for plots.
    pub fn line(&self) -> String {
        format!(
            "{}, {} processors, {} MB, Linux {}, {}, {}",
            self.processor, self.processors, self.memory_mb, self.kernel, self.system, self.cgroups
        )
    }
}

fn cgroups() -> &'static str {
    let root = Path::new("/sys/fs/cgroup");
    if root.join("cgroup.procs").exists() {
        "cgroup v2"
    } else if root.join("unified").exists() {
        "cgroup v1 and v2 (hybrid)"
    } else {
        "cgroup v1"
    }
}

/// Of a line `NAME : VALUE`.
fn value(text: &str, name: &str) -> Option<String> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// Of a line `NAME="VALUE"`.
fn named(text: &str, name: &str) -> Option<String> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    Some(line.trim_matches('"').to_owned())
}

/// The first word with a digit first and a dot in it that a program says of its version.
pub fn version(program: &Path, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    first_version(&String::from_utf8_lossy(&output.stdout))
}

fn first_version(text: &str) -> Option<String> {
    let words = text.split(|c: char| c.is_whitespace() || c == ',' || c == '(' || c == ')');
    let words = words.map(|word| word.trim_start_matches('v'));
    let mut versions =
        words.filter(|word| word.starts_with(|c: char| c.is_ascii_digit()) && word.contains('.'));
    versions.next().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_the_peers() {
        let texts = [
            "runc version 1.1.5+ds1\ncommit: 1.1.5+ds1-1\nspec: 1.0.2-dev\n",
            "crun version 1.28\ncommit: 54f1\n",
            "youki version 0.7.0\n",
            "Docker version 20.10.24+dfsg1, build 297e128\n",
            "wasmtime 48.0.8 (abc 2026-01-01)\n",
        ];
        let versions = texts.map(|text| first_version(text).unwrap());
        assert_eq!(
            versions,
            ["1.1.5+ds1", "1.28", "0.7.0", "20.10.24+dfsg1", "48.0.8"]
        );
        assert_eq!(first_version("no version"), None);
    }

    #[test]
    fn lines_of_proc_and_etc() {
        let processors = "processor\t: 0\nmodel name\t: A processor: fast\n";
        assert_eq!(value(processors, "model name").unwrap(), "A processor: fast");
        assert_eq!(
            named("NAME=\"x\"\nPRETTY_NAME=\"Debian 12\"\n", "PRETTY_NAME=").unwrap(),
            "Debian 12"
        );
    }
}
