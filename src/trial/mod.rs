//! Seeing that containers run here: a native and a Wasm one, made of a few hundred bytes and started as an engine
//! would, by our own program or through the engine itself. Must change nothing that stays.

mod command;
mod directory;
pub mod engine;
mod image;
mod signals;

use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::host::Host;
use crate::spec::example::example;
use directory::Directory;

pub use command::find_program;

/// What the container runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guest {
    /// A program of the machine's own code.
    Native,
    /// A Wasm module.
    Wasm,
}

impl Guest {
    pub const ALL: [Self; 2] = [Self::Native, Self::Wasm];

    /// For a sentence.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Wasm => "Wasm",
        }
    }

    /// Where the program is in its image.
    const fn entry(self) -> &'static str {
        match self {
            Self::Native => "/check",
            Self::Wasm => "/check.wasm",
        }
    }
}

/// Why no container ran.
#[derive(Debug, thiserror::Error)]
pub enum TrialError {
    #[error("cannot {action} to try a container")]
    Prepare { action: &'static str, source: io::Error },
    /// In the words of the program that failed.
    #[error("a {guest} container does not run: {reason}")]
    Failed { guest: &'static str, reason: String },
    #[error("{engine}: {reason}")]
    Engine { engine: &'static str, reason: String },
}

/// Runs a container by `program`, an executable of wrun, and deletes it.
///
/// # Errors
/// [`TrialError`]: what the program said.
pub fn run(program: &Path, guest: Guest, host: &Host) -> Result<(), TrialError> {
    run_with(program, guest, host, &[], |_, _| {})
}

/// [`run`], with more options before the command, and with a config.json that `edit` has changed; it is told the
/// bundle's directory.
///
/// # Errors
/// [`TrialError`]: what the program said.
pub fn run_with(
    program: &Path,
    guest: Guest,
    host: &Host,
    options: &[&str],
    edit: impl FnOnce(&mut Value, &Path),
) -> Result<(), TrialError> {
    let prepare = |action| move |source| TrialError::Prepare { action, source };
    let directory = Directory::new().map_err(prepare("make a directory"))?;
    let rootfs = directory.path().join("rootfs");
    image::write(&rootfs).map_err(prepare("write a root file system"))?;
    let mut config = config(guest, host);
    edit(&mut config, directory.path());
    std::fs::write(directory.path().join("config.json"), config.to_string())
        .map_err(prepare("write config.json"))?;

    let mut command = Command::new(program);
    let id = format!("wrun-trial-{}", std::process::id());
    let option = |name: &str, path: &Path| [OsString::from(name), path.as_os_str().to_owned()];
    command.args(option("--root", &directory.path().join("state")));
    // So that standard error has the reason alone.
    command.args(option("--log", &directory.path().join("log")));
    command
        .args(options)
        .arg("run")
        .args(option("--bundle", directory.path()))
        .arg(&id);
    let output = command::run(&mut command, &directory);
    if !output.as_ref().is_ok_and(|output| output.success) {
        // Where it was killed, as after its time, its container would go on without it.
        let mut delete = Command::new(program);
        delete.args(option("--root", &directory.path().join("state")));
        delete.args(options).args(["delete", "--force"]).arg(&id);
        command::clean(&mut delete, &directory);
    }
    let output = output.map_err(prepare("run wrun"))?;
    if output.success && output.stdout == image::MESSAGE {
        return Ok(());
    }
    Err(TrialError::Failed {
        guest: guest.name(),
        reason: output.reason(),
    })
}

/// The example of `wrun spec`, which is what a careful user begins with, for one of our programs.
fn config(guest: Guest, host: &Host) -> Value {
    let ids = host.rootless().then_some((host.euid, host.egid));
    let mut config = example(ids, host.unified_cgroup());
    config["process"]["terminal"] = json!(false);
    config["process"]["args"] = json!([guest.entry()]);
    config
}
