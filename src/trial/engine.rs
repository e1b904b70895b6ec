//! The same through an engine that runs: whether it knows us, and whether its containers run. Everything comes from
//! here and nothing from a network, and what is put into the engine is taken out again.

use std::fs::File;
use std::path::Path;
use std::process::Command;

use super::directory::Directory;
use super::{Guest, TrialError, command, image};
use crate::install::{Engine, NAME};

/// What became of it.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Containers of both kinds ran.
    Ran,
    /// They ran as far as the engine can be asked without a cluster; and what was left out.
    RanBut(String),
    /// The engine could not be asked, for this reason.
    NotTried(String),
}

/// Everything that one trial through an engine needs.
struct Trial<'a> {
    engine: Engine,
    program: &'a Path,
    config: &'a Path,
    directory: Directory,
    /// Of the image and of containers.
    name: String,
}

/// Runs containers through `engine`, which is to call `program` and to have read `config`.
///
/// # Errors
/// [`TrialError`] where the engine knows us and a container fails.
pub fn run(engine: Engine, program: &Path, config: &Path) -> Result<Outcome, TrialError> {
    let directory = Directory::new();
    let directory = directory.map_err(|source| TrialError::Prepare {
        action: "make a directory",
        source,
    })?;
    let name = format!("wrun-trial-{}", std::process::id());
    let trial = Trial {
        engine,
        program,
        config,
        directory,
        name,
    };
    match engine {
        Engine::Docker => trial.docker(),
        Engine::Containerd => trial.containerd(),
        Engine::Podman => trial.podman(),
        Engine::Crio => Ok(Outcome::NotTried(
            "CRI-O makes containers for a kubelet only; a pod with the RuntimeClass will tell".to_owned(),
        )),
    }
}

impl Trial<'_> {
    /// Runs a program; `None` where it is not installed.
    fn call(
        &self,
        program: &str,
        arguments: &[&str],
        input: Option<&Path>,
    ) -> Result<Option<command::Output>, TrialError> {
        let Some(path) = command::find_program(program) else {
            return Ok(None);
        };
        let mut command = Command::new(path);
        command.args(arguments);
        let output = match input {
            None => command::run(&mut command, self.directory.path()),
            Some(input) => File::open(input)
                .and_then(|input| command::run_with(command.stdin(input), self.directory.path())),
        };
        output.map(Some).map_err(|source| TrialError::Prepare {
            action: "call the engine",
            source,
        })
    }

    fn failed(&self, reason: String) -> TrialError {
        TrialError::Engine {
            engine: self.engine.title(),
            reason,
        }
    }

    fn docker(&self) -> Result<Outcome, TrialError> {
        let Some(info) = self.call("docker", &["info", "--format", "{{json .Runtimes}}"], None)? else {
            return Ok(Outcome::NotTried(
                "the command docker is not installed".to_owned(),
            ));
        };
        let runtimes: serde_json::Value = serde_json::from_str(&info.stdout).unwrap_or_default();
        if !info.success || !runtimes.is_object() {
            return Ok(Outcome::NotTried(format!(
                "the daemon does not answer: {}",
                info.reason()
            )));
        }
        if runtimes[NAME]["path"].as_str().map(Path::new) != Some(self.program) {
            return Ok(Outcome::NotTried(
                "the daemon has not read its configuration yet".to_owned(),
            ));
        }
        self.image("docker", &["--runtime", NAME], false)
    }

    fn podman(&self) -> Result<Outcome, TrialError> {
        let default = self.engine.config(crate::install::config_home().as_deref());
        if default.as_deref() != Some(self.config) {
            return Ok(Outcome::NotTried(format!(
                "Podman does not read {} by itself",
                self.config.display()
            )));
        }
        let Some(info) = self.call("podman", &["--runtime", NAME, "info"], None)? else {
            return Ok(Outcome::NotTried(
                "the command podman is not installed".to_owned(),
            ));
        };
        if !info.success {
            return Err(self.failed(info.reason()));
        }
        self.image("podman", &["--runtime", NAME], true)
    }

    /// Imports an image, runs both its programs and removes it. `global` tells where the command takes the runtime.
    fn image(&self, command: &str, runtime: &[&str], global: bool) -> Result<Outcome, TrialError> {
        let archive = self.directory.path().join("image.tar");
        let written = image::archive().and_then(|bytes| std::fs::write(&archive, bytes));
        written.map_err(|source| TrialError::Prepare {
            action: "write an image",
            source,
        })?;
        let call = |arguments: &[&str], input: Option<&Path>| match self.call(command, arguments, input)? {
            Some(output) if output.success => Ok(output),
            Some(output) => Err(self.failed(output.reason())),
            None => Err(self.failed(format!("{command} is gone"))),
        };
        call(&["import", "-", &self.name], Some(&archive))?;
        let ran = Guest::ALL.into_iter().try_for_each(|guest| {
            let own = ["run", "--rm", "--network", "none", "--name", &self.name];
            let image = [self.name.as_str(), guest.entry()];
            let words = if global {
                [runtime, &own, &image].concat()
            } else {
                [&own, runtime, &image].concat()
            };
            match call(&words, None)?.stdout.as_str() {
                image::MESSAGE => Ok(()),
                other => Err(self.failed(format!("a {} container wrote {other:?}", guest.name()))),
            }
        });
        // A container that was not removed with its end would hold the image.
        if ran.is_err() {
            let _ = call(&["rm", "--force", &self.name], None);
        }
        let removed = call(&["rmi", &self.name], None);
        ran.and(removed).map(|_| Outcome::Ran)
    }

    fn containerd(&self) -> Result<Outcome, TrialError> {
        let program = self.program.to_string_lossy();
        let config = self.config.to_string_lossy();
        // It reads the file as the daemon will.
        let dump = self.call("containerd", &["--config", &config, "config", "dump"], None)?;
        let read = |text: &str| {
            ['"', '\'']
                .iter()
                .any(|quote| text.contains(&format!("{quote}{program}{quote}")))
        };
        match dump {
            None => return Ok(Outcome::NotTried("containerd is not installed".to_owned())),
            Some(dump) if !dump.success => return Err(self.failed(dump.reason())),
            Some(dump) if !read(&dump.stdout) => {
                return Err(self.failed(format!("it does not read {program} out of {config}")));
            }
            Some(_) => {}
        }
        match self.call("ctr", &["version"], None)? {
            None => return Ok(Outcome::NotTried("the command ctr is not installed".to_owned())),
            Some(version) if !version.success => {
                return Ok(Outcome::NotTried(format!(
                    "the daemon does not answer: {}",
                    version.reason()
                )));
            }
            Some(_) => {}
        }
        let rootfs = self.directory.path().join("rootfs");
        let written = image::write(&rootfs);
        written.map_err(|source| TrialError::Prepare {
            action: "write a root file system",
            source,
        })?;
        let rootfs = rootfs.to_string_lossy();
        for guest in Guest::ALL {
            let words = [
                "run",
                "--rm",
                "--runc-binary",
                &program,
                "--rootfs",
                &rootfs,
                &self.name,
                guest.entry(),
            ];
            match self.call("ctr", &words, None)? {
                Some(output) if output.success && output.stdout == image::MESSAGE => {}
                Some(output) => return Err(self.failed(output.reason())),
                None => return Err(self.failed("ctr is gone".to_owned())),
            }
        }
        Ok(Outcome::RanBut(
            "whether its CRI plugin has read the configuration only Kubernetes can see".to_owned(),
        ))
    }
}
