//! The command line of the benchmark.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};

/// Something that can be measured by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// create, start, delete, run, exec, state, kill; the floor
    Lifecycle,
    /// the same with a user namespace
    Userns,
    /// the same with systemd's driver, where systemd is
    Systemd,
    /// 100 to 500 containers at once
    Parallel,
    /// of a waiting container, and of create at its peak
    Memory,
    /// system calls, page faults, processes, memory of each command
    Counts,
    /// starts of modules of several sizes; other runtimes' Wasm
    Wasm,
    /// memory of many idle Wasm containers
    Idle,
    /// requests per second of a wasi:http service, also as a Spin application, and their starts
    Http,
    /// the same program through Docker, as Wasm and natively
    Docker,
}

/// In which cgroups containers are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Tree {
    /// The machine's; a pure cgroup v2 tree where a runtime refuses that
    Auto,
    /// The machine's
    Host,
    /// A pure cgroup v2 tree without device rules
    Unified,
}

/// Measure wrun against every other runtime that is installed. Ends with 3 where the machine was too noisy.
#[derive(Debug, Clone, Parser)]
#[command(name = "integration/bench")]
pub struct Options {
    /// Only these parts
    pub part: Vec<Part>,
    /// How often each command is measured
    #[arg(long, default_value_t = 12, value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(3..))]
    pub rounds: usize,
    /// A further runtime to measure, by the path of its program
    #[arg(long, value_name = "PATH")]
    pub peer: Vec<PathBuf>,
    /// Leave out the runtimes in PATH
    #[arg(long)]
    pub only_peers: bool,
    #[arg(long, value_enum, default_value_t = Tree::Auto)]
    pub tree: Tree,
    /// How many idle Wasm containers
    #[arg(long, default_value_t = 1000)]
    pub idle: usize,
    /// How long to watch them for growth (ten minutes: 600)
    #[arg(long, value_name = "SECONDS", default_value_t = 20)]
    pub idle_seconds: u64,
    /// Print JSON in place of text
    #[arg(long)]
    pub json: bool,
    /// Directory for the report and the plots [default: target/bench]
    #[arg(long, value_name = "DIRECTORY")]
    pub out: Option<PathBuf>,
    /// Write a result of all parts also to integration/plots; a noisy run is not written there
    #[arg(long, conflicts_with = "part")]
    pub publish: bool,
    /// Write what was measured to this file, as data; for the run in a tree of its own
    #[arg(long, hide = true, value_name = "FILE")]
    pub inner: Option<PathBuf>,
}

impl Options {
    /// Those chosen, all if none was.
    pub fn parts(&self) -> Vec<Part> {
        if self.part.is_empty() {
            Part::value_variants().to_vec()
        } else {
            self.part.clone()
        }
    }

    pub fn out(&self) -> PathBuf {
        let default = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/bench");
        self.out.clone().unwrap_or_else(default)
    }

    /// Arguments that give the same options with other parts; those about output are left out.
    pub fn again(&self, parts: &[Part]) -> Vec<String> {
        let name = |part: &Part| {
            part.to_possible_value()
                .expect("none is skipped")
                .get_name()
                .to_owned()
        };
        let mut words: Vec<String> = parts.iter().map(name).collect();
        for (option, value) in [
            ("--rounds", self.rounds.to_string()),
            ("--idle", self.idle.to_string()),
            ("--idle-seconds", self.idle_seconds.to_string()),
        ] {
            words.extend([option.to_owned(), value]);
        }
        for peer in &self.peer {
            words.extend(["--peer".to_owned(), peer.to_str().expect("UTF-8").to_owned()]);
        }
        words.extend(self.only_peers.then(|| "--only-peers".to_owned()));
        words
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_run_in_a_tree_of_its_own_gets_the_same_options() {
        let all = [
            "bench",
            "idle",
            "--rounds",
            "7",
            "--peer",
            "/a",
            "--peer",
            "/b",
            "--only-peers",
            "--idle",
            "9",
        ];
        let options = Options::parse_from(all);
        let again = Options::parse_from([vec!["bench".to_owned()], options.again(&options.parts())].concat());
        assert_eq!(format!("{again:?}"), format!("{options:?}"));
    }

    #[test]
    fn without_a_choice_all_parts_are_measured() {
        assert_eq!(
            Options::parse_from(["bench"]).parts().len(),
            Part::value_variants().len()
        );
        assert!(Options::try_parse_from(["bench", "--rounds", "1"]).is_err());
    }

    #[test]
    fn what_is_published_has_all_parts() {
        assert!(Options::try_parse_from(["bench", "--publish"]).is_ok());
        assert!(Options::try_parse_from(["bench", "--publish", "memory"]).is_err());
        assert!(Options::try_parse_from(["bench", "nothing"]).is_err());
    }
}
