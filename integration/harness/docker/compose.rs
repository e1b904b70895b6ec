//! Docker Compose: one test's project, by the plugin `docker compose` or the program `docker-compose`, whichever is here.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::Value;

use super::super::command::Output;
use super::super::installed::compose_plugin;
use super::Docker;

/// Services on a daemon. They end with the test.
pub struct Compose<'docker> {
    docker: &'docker Docker<'docker>,
    file: PathBuf,
}

impl<'docker> Compose<'docker> {
    /// A project of what compose.yaml would say.
    pub fn new(docker: &'docker Docker<'_>, file: &Value) -> Self {
        let dir = docker.case.dir.join("project");
        std::fs::create_dir_all(&dir).expect("a directory for the project");
        let path = dir.join("compose.yaml");
        // JSON is YAML.
        std::fs::write(&path, file.to_string()).expect("the project's file");
        Compose { docker, file: path }
    }

    /// The command `docker compose ARGUMENTS`.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(if compose_plugin() {
            "docker"
        } else {
            "docker-compose"
        });
        command.args(compose_plugin().then_some("compose"));
        command.args(["--project-name", &self.docker.case.mark, "--file"]);
        command.arg(&self.file).args(arguments);
        command
            .env("DOCKER_HOST", &self.docker.host)
            .env("DOCKER_CONFIG", &self.docker.config)
            .stdin(Stdio::null());
        command
    }

    /// Runs `docker compose ARGUMENTS` to its end.
    #[track_caller]
    pub fn call(&self, arguments: &[&str]) -> Output {
        self.docker.case.finish(self.command(arguments))
    }

    /// The id of a service's container.
    #[track_caller]
    pub fn container(&self, service: &str) -> String {
        let output = self.call(&["ps", "--all", "--quiet", service]).ok();
        output.stdout.trim().to_owned()
    }
}

impl Drop for Compose<'_> {
    fn drop(&mut self) {
        // What it cannot remove shows in the search for what is left.
        let _ = self.command(&["down", "--volumes", "--timeout", "0"]).output();
    }
}
