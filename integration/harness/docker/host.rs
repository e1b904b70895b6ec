//! What a test changes around the suite's daemon: mounts of the host that the daemon sees, and the descriptions of
//! devices that it reads.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use super::super::case::text;
use super::super::command::Output;
use super::super::facts::Need;
use super::super::program;
use super::super::runtime::Runtime;
use super::Docker;

/// The flags of a daemon in `dir` that reads descriptions of devices (CDI) there. Docker knows of them from 25 on.
pub(super) fn with_devices(dir: &Path) -> Vec<String> {
    if Need::DockerFrom(25).missing().is_some() {
        return Vec::new();
    }
    let descriptions = dir.join("cdi");
    fs::create_dir_all(&descriptions).expect("a directory for the daemon");
    let config = dir.join("daemon.json");
    fs::write(&config, "{\"features\":{\"cdi\":true}}").expect("the daemon's configuration");
    [
        "--config-file",
        &text(&config),
        "--cdi-spec-dir",
        &text(&descriptions),
    ]
    .map(str::to_owned)
    .to_vec()
}

/// Stands between Docker and `$RUNTIME`: a container gets a time namespace, as from Docker 29.5 on it has by default.
const IN_TIME: &str = r#"#!/bin/sh
previous=
for argument; do
    case $previous in
    --bundle) sed -i 's/"namespaces":\[/&{"type":"time"},/' "$argument/config.json" || exit ;;
    esac
    previous=$argument
done
exec '$RUNTIME' "$@"
"#;

/// The name of `runtime` where its containers have time namespaces.
pub fn in_time(runtime: &str) -> String {
    format!("{runtime}-in-time")
}

/// The flags of a daemon in `dir` that knows each runtime under that name as well.
pub(super) fn with_time_namespaces(dir: &Path, runtimes: &[Runtime]) -> Vec<String> {
    fs::create_dir_all(dir).expect("a directory for the daemon");
    let flags = runtimes.iter().flat_map(|runtime| {
        let name = in_time(&runtime.name);
        let script = dir.join(&name);
        program::write(&script, IN_TIME.replace("$RUNTIME", &text(&runtime.path)));
        ["--add-runtime".to_owned(), format!("{name}={}", text(&script))]
    });
    flags.collect()
}

impl Docker<'_> {
    /// Runs a shell script in the daemon's mount namespace, whose mounts the tests' own does not have.
    #[track_caller]
    pub fn outside(&self, script: &str) -> Output {
        let mut command = Command::new("nsenter");
        command.args(["--mount", "--net", "--target", &self.network]);
        command.args(["sh", "-ec", script]).stdin(Stdio::null());
        self.case.finish(command)
    }

    /// Gives the daemon a description of devices under a name that only this test has; their kind.
    pub fn describe_devices(&self, mut description: Value) -> String {
        let kind = format!("wrun.test/{}", self.case.mark.trim_end_matches('-'));
        description["kind"] = kind.as_str().into();
        let file = format!("{}.json", self.case.mark);
        let path = self.config.with_file_name("cdi").join(file);
        fs::write(path, description.to_string()).expect("the daemon's directory");
        kind
    }
}
