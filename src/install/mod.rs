//! Making wrun known to an engine, and forgotten again: the engine's configuration is edited, and what it was is kept.
//! Must start no container (that is `trial`'s) and restart nothing.
//!
//! ```text
//! FILE ──read──> text ──edit (pure)──> text ──diff──> the user
//!                                        │
//!        FILE.wrun-backup <──link── FILE <──rename── .FILE.wrun-new
//! ```
//!
//! A file changes by one rename(2) and is whole at every moment: before it, after it, on a full disk, and wherever
//! we are killed. The backup is the very file that was there, under another name, so that undoing brings back its
//! owner, mode and times too.

mod daemon;
mod diff;
mod docker;
pub mod edit;
mod file;
mod json;
mod settings;
mod toml;

use std::io;
use std::path::{Path, PathBuf};

pub use daemon::systemd_cgroup;
pub use edit::{NAME, Part};
use file::Keep;

/// An engine whose configuration we know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    Docker,
    Containerd,
    Podman,
    Crio,
}

impl Engine {
    pub const ALL: [Self; 4] = [Self::Docker, Self::Containerd, Self::Podman, Self::Crio];

    /// As it is named on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::Containerd => "containerd",
            Self::Podman => "podman",
            Self::Crio => "cri-o",
        }
    }

    /// As its makers write it.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Docker => "Docker",
            Self::Containerd => "containerd",
            Self::Podman => "Podman",
            Self::Crio => "CRI-O",
        }
    }

    /// The program that reads the configuration.
    pub const fn program(self) -> &'static str {
        match self {
            Self::Docker => "dockerd",
            Self::Containerd => "containerd",
            Self::Podman => "podman",
            Self::Crio => "crio",
        }
    }

    /// What makes the engine read its configuration anew, where wrun is in it or is not any more; Podman reads it each
    /// time. A daemon of Docker's that reloads takes only what the file names (moby's `Daemon.Reload`): to forget
    /// runtimes and the default one, it must be started anew.
    pub const fn reload(self, undo: bool) -> Option<&'static [&'static str]> {
        match self {
            Self::Docker if undo => Some(&["systemctl", "restart", "docker"]),
            Self::Docker => Some(&["systemctl", "reload", "docker"]),
            Self::Containerd => Some(&["systemctl", "restart", "containerd"]),
            Self::Podman => None,
            Self::Crio => Some(&["systemctl", "restart", "crio"]),
        }
    }

    /// The file to edit: root's, or of a user what Docker and Podman have for him below `config_home`.
    pub fn config(self, config_home: Option<&Path>) -> Option<PathBuf> {
        let path = match (self, config_home) {
            (Self::Docker, None) => "/etc/docker/daemon.json",
            (Self::Docker, Some(_)) => "docker/daemon.json",
            (Self::Containerd, None) => "/etc/containerd/config.toml",
            (Self::Podman, None) => "/etc/containers/containers.conf.d/wrun.conf",
            (Self::Podman, Some(_)) => "containers/containers.conf.d/wrun.conf",
            (Self::Crio, None) => "/etc/crio/crio.conf.d/10-wrun.conf",
            (Self::Containerd | Self::Crio, Some(_)) => return None,
        };
        Some(config_home.map_or_else(|| path.into(), |home| home.join(path)))
    }
}

/// Major and minor version of an engine that is installed, as its `--version` tells.
pub fn version_of(engine: Engine) -> Option<(u32, u32)> {
    let output = std::process::Command::new(engine.program())
        .arg("--version")
        .output()
        .ok()?;
    version_in(&String::from_utf8_lossy(&output.stdout))
}

/// The first word that begins as a version: `containerd github.com/containerd/containerd/v2 2.1.9+unknown`.
fn version_in(text: &str) -> Option<(u32, u32)> {
    text.split_whitespace().find_map(|word| {
        let mut numbers = word
            .strip_prefix('v')
            .unwrap_or(word)
            .split(['.', '+', '~', '-', ',']);
        Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
    })
}

/// Where the caller's own configurations are (XDG Base Directory Specification); `None` for root, whose are in /etc.
///
/// # Errors
/// [`InstallError::NoHome`].
pub fn config_home() -> Result<Option<PathBuf>, InstallError> {
    if rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    let set = |name: &str| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let home = set("XDG_CONFIG_HOME").or_else(|| Some(set("HOME")?.join(".config")));
    home.map(Some).ok_or(InstallError::NoHome)
}

/// Why a configuration is as it was.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    #[error("{path}: cannot {action}{advice}")]
    File {
        path: PathBuf,
        action: &'static str,
        /// What would help, with what sets it off.
        advice: &'static str,
        source: io::Error,
    },
    #[error("{path}: {reason}; nothing is changed")]
    Content { path: PathBuf, reason: String },
    #[error(
        "neither XDG_CONFIG_HOME nor HOME is an absolute path, so there is no place for a user's configuration; \
         --config names one"
    )]
    NoHome,
}

/// What came of a change, or would come of it.
#[derive(Debug, Default)]
pub struct Change {
    /// In unified form; empty where there is nothing to do.
    pub diff: String,
    /// What the user should know of it, in sentences.
    pub notes: Vec<String>,
}

/// Makes the engine of `path`'s configuration know us as `part` says; with `dry_run` only tells how.
///
/// # Errors
/// [`InstallError`]; then the file is as it was.
pub fn install(engine: Engine, path: &Path, part: &Part, dry_run: bool) -> Result<Change, InstallError> {
    let target = file::Target::open(path, !dry_run)?;
    let content = content_of(&target);
    let before = target.read()?;
    let after = edit::insert(engine, before.as_deref(), part).map_err(&content)?;
    let mut change = Change {
        diff: target.diff(before.as_deref(), Some(&after)),
        notes: edit::obstacle(engine, &after)
            .map(str::to_owned)
            .into_iter()
            .collect(),
    };
    if change.diff.is_empty() || dry_run {
        return Ok(change);
    }
    let keep = match before.as_deref() {
        Some(text) if edit::own(engine, text) => Keep::Never,
        Some(text) if edit::found(engine, text).map_err(&content)?.is_some() => Keep::Unless,
        _ => Keep::Always,
    };
    let check = |new: &Path| daemon::accepts(engine, target.path(), new, part.default);
    change
        .notes
        .extend(target.replace(before.as_deref(), &after, keep, check)?);
    Ok(change)
}

/// Makes the engine of `path`'s configuration forget us; with `dry_run` only tells how.
///
/// # Errors
/// [`InstallError`]; then the file is as it was.
pub fn undo(engine: Engine, path: &Path, dry_run: bool) -> Result<Change, InstallError> {
    // A directory is not made to take something out of it.
    if file::Target::open(path, false)?.read()?.is_none() {
        return Ok(Change::default());
    }
    let target = file::Target::open(path, !dry_run)?;
    let content = content_of(&target);
    let Some(now) = target.read()? else {
        return Ok(Change::default());
    };
    let backup = target.backup()?;
    let Some(part) = edit::found(engine, &now).map_err(&content)? else {
        if !dry_run && backup.as_ref() == Some(&now) {
            target.remove_backup()?; // Of an installation that was killed.
        }
        return Ok(Change::default());
    };
    let after = edit::remove(engine, &now, backup.as_deref()).map_err(&content)?;
    let (whole, note) = match &backup {
        None if edit::own(engine, &now) && !target.linked() => (true, None),
        None => (
            false,
            Some("There is no backup of what it was, so only wrun's part is taken out.".to_owned()),
        ),
        // Somebody else has made wrun known before us, or a copy of an installed file is there.
        Some(text) if edit::found(engine, text).map_or(true, |own| own.is_some()) => (
            false,
            Some(format!(
                "{} names wrun, too, so only wrun's part is taken out, and the backup stays.",
                target.backup_path().display()
            )),
        ),
        // What was there is brought back only if all that has changed since then is our part.
        Some(text) if edit::without(engine, text, &part).as_ref() == Ok(&after) => (true, None),
        Some(_) => (
            false,
            Some(format!(
                "It was changed by others since then, so only wrun's part is taken out; {} is what it was before.",
                target.backup_path().display()
            )),
        ),
    };
    let to = if whole { backup.as_deref() } else { Some(&*after) };
    let change = Change {
        diff: target.diff(Some(&now), to),
        notes: note.into_iter().collect(),
    };
    match (dry_run, whole) {
        (true, _) => {}
        (false, true) => target.restore(&now, backup.is_some())?,
        (false, false) => target.write(&now, &after)?,
    }
    Ok(change)
}

/// What a configuration says of us, and what of the rest of it keeps the engine from using us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    pub part: Part,
    pub obstacle: Option<&'static str>,
}

/// What the configuration at `path` says of us; `None` without such a file, too.
///
/// # Errors
/// [`InstallError`].
pub fn look(engine: Engine, path: &Path) -> Result<Option<Known>, InstallError> {
    let target = file::Target::open(path, false)?;
    let Some(text) = target.read()? else {
        return Ok(None);
    };
    let part = edit::found(engine, &text).map_err(content_of(&target))?;
    Ok(part.map(|part| Known {
        part,
        obstacle: edit::obstacle(engine, &text),
    }))
}

/// What is wrong with the content of `target`, as an error.
fn content_of(target: &file::Target) -> impl Fn(String) -> InstallError {
    let path = target.path().to_owned();
    move |reason| InstallError::Content {
        path: path.clone(),
        reason,
    }
}

#[cfg(test)]
mod tests;
