//! The same through an engine that runs: whether it knows us, and whether its containers run. Everything comes from
//! here and nothing from a network, and what is put into the engine is taken out again.

use std::fs::File;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use super::directory::Directory;
use super::{Guest, TrialError, command, image};
use crate::install::{self, Engine, NAME};

/// How long a daemon may take to read its configuration after it was told to, which it does at its leisure.
const PATIENCE: Duration = Duration::from_secs(10);

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
    /// Whether it is to run what names no runtime by us.
    default: bool,
    /// Whether it was told just now to read its configuration.
    reloaded: bool,
    directory: Directory,
    /// Of the image and of containers.
    name: String,
}

/// Runs containers through `engine`, which is to call `program` and to have read `config`; where it was `reloaded` just
/// now, it is given some time for that.
///
/// # Errors
/// [`TrialError`] where the engine knows us and a container fails.
pub fn run(engine: Engine, program: &Path, config: &Path, reloaded: bool) -> Result<Outcome, TrialError> {
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
        // The file may have had it before.
        default: install::look(engine, config).is_ok_and(|known| known.is_some_and(|it| it.part.default)),
        reloaded,
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
            None => command::run(&mut command, &self.directory),
            Some(input) => {
                File::open(input).and_then(|input| command::run_with(command.stdin(input), &self.directory))
            }
        };
        output.map(Some).map_err(|source| TrialError::Prepare {
            action: "call the engine",
            source,
        })
    }

    /// Takes out what was put in, whatever has become of it.
    fn clean(&self, program: &str, arguments: &[&str]) {
        if let Some(path) = command::find_program(program) {
            command::clean(Command::new(path).args(arguments), &self.directory);
        }
    }

    fn failed(&self, reason: String) -> TrialError {
        TrialError::Engine {
            engine: self.engine.title(),
            reason,
        }
    }

    fn docker(&self) -> Result<Outcome, TrialError> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let Some(info) = self.call("docker", &["info", "--format", "{{json .}}"], None)? else {
                return Ok(Outcome::NotTried(
                    "the command docker is not installed".to_owned(),
                ));
            };
            let value: serde_json::Value = serde_json::from_str(&info.stdout).unwrap_or_default();
            let answers = info.success && value["Runtimes"].is_object();
            let known = value["Runtimes"][NAME]["path"].as_str().map(Path::new) == Some(self.program)
                && (!self.default || value["DefaultRuntime"] == NAME);
            if answers && known {
                return self.image("docker", &["--runtime", NAME], false);
            }
            if self.reloaded && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(100));
                continue;
            }
            return Ok(Outcome::NotTried(match answers {
                false => format!("the daemon does not answer: {}", info.reason()),
                true => "the daemon has not read its configuration yet".to_owned(),
            }));
        }
    }

    fn podman(&self) -> Result<Outcome, TrialError> {
        let home = install::config_home().unwrap_or_default();
        if self.engine.config(home.as_deref()).as_deref() != Some(self.config) {
            return Ok(Outcome::NotTried(format!(
                "Podman does not read {} by itself",
                self.config.display()
            )));
        }
        let path = ["info", "--format", "{{.Host.OCIRuntime.Path}}"];
        let by_name = [&["--runtime", NAME], &path[..]].concat();
        let by_default: &[&str] = if self.default { &path } else { &by_name };
        for words in [&by_name, by_default] {
            let Some(info) = self.call("podman", words, None)? else {
                return Ok(Outcome::NotTried(
                    "the command podman is not installed".to_owned(),
                ));
            };
            let path = info.stdout.trim();
            if !info.success {
                return Err(self.failed(info.reason()));
            }
            if Path::new(path) != self.program {
                return Err(self.failed(format!(
                    "podman {} tells of {path}: another of its files says otherwise",
                    words.join(" ")
                )));
            }
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
        // What names no runtime is tried, too, where we are the default one.
        let by_default = self.default.then_some((Guest::Native, &[][..]));
        let named = Guest::ALL.map(|guest| (guest, runtime));
        let ran = named
            .into_iter()
            .chain(by_default)
            .try_for_each(|(guest, runtime)| {
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
            self.clean(command, &["rm", "--force", &self.name]);
            self.clean(command, &["rmi", &self.name]);
            return ran.map(|()| Outcome::Ran);
        }
        let removed = call(&["rmi", &self.name], None);
        removed.map(|_| Outcome::Ran)
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
            Some(dump) if self.default && !default_in(&dump.stdout) => {
                return Err(self.failed(format!(
                    "its default runtime is not {NAME}: a file that {config} imports says otherwise"
                )));
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
            let reason = match self.call("ctr", &words, None) {
                Ok(Some(output)) if output.success && output.stdout == image::MESSAGE => continue,
                Ok(Some(output)) => Ok(output.reason()),
                Ok(None) => Ok("ctr is gone".to_owned()),
                Err(error) => Err(error),
            };
            self.clean("ctr", &["tasks", "rm", "--force", &self.name]);
            self.clean("ctr", &["containers", "rm", &self.name]);
            return Err(self.failed(reason?));
        }
        Ok(Outcome::RanBut(
            "whether its CRI plugin has read the configuration only Kubernetes can see".to_owned(),
        ))
    }
}

/// Whether we are the default runtime in what containerd says that it reads.
fn default_in(dump: &str) -> bool {
    dump.lines().any(|line| {
        let (key, value) = line.split_once('=').unwrap_or_default();
        key.trim() == "default_runtime_name" && value.trim().trim_matches(['"', '\'']) == NAME
    })
}
