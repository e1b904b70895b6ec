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

mod diff;
pub mod edit;
mod file;
mod json;
mod toml;

use std::io;
use std::path::{Path, PathBuf};

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

    /// What makes the engine read its configuration anew; Podman reads it each time.
    pub const fn reload(self) -> Option<&'static [&'static str]> {
        match self {
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
pub fn config_home() -> Option<PathBuf> {
    if rustix::process::geteuid().is_root() {
        return None;
    }
    let set = |name: &str| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    Some(
        set("XDG_CONFIG_HOME")
            .or_else(|| Some(set("HOME")?.join(".config")))
            .unwrap_or_default(),
    )
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
    let content = |reason| InstallError::Content {
        path: target.path().to_owned(),
        reason,
    };
    let before = target.read()?;
    let after = edit::insert(engine, before.as_deref(), part).map_err(content)?;
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
    let own = match before.as_deref() {
        Some(text) => edit::found(engine, text).map_err(content)?,
        None => None,
    };
    let keep = match own {
        None => Keep::Always,
        Some(own) if edit::insert(engine, None, &own).ok() == before => Keep::Never,
        Some(_) => Keep::Unless,
    };
    change.notes.extend(target.replace(&after, keep)?);
    Ok(change)
}

/// Makes the engine of `path`'s configuration forget us; with `dry_run` only tells how.
///
/// # Errors
/// [`InstallError`]; then the file is as it was.
pub fn undo(engine: Engine, path: &Path, dry_run: bool) -> Result<Change, InstallError> {
    let target = file::Target::open(path, !dry_run)?;
    let content = |reason| InstallError::Content {
        path: target.path().to_owned(),
        reason,
    };
    let Some(now) = target.read()? else {
        return Ok(Change::default());
    };
    let backup = target.backup()?;
    let Some(part) = edit::found(engine, &now).map_err(content)? else {
        if !dry_run && backup.as_ref() == Some(&now) {
            target.remove_backup()?; // Of an installation that was killed.
        }
        return Ok(Change::default());
    };
    // What was there is brought back only if all that has changed since then is what we write.
    if edit::insert(engine, backup.as_deref(), &part).as_deref() == Ok(&now) {
        let change = Change {
            diff: target.diff(Some(&now), backup.as_deref()),
            notes: Vec::new(),
        };
        if !dry_run {
            target.restore(backup.is_some())?;
        }
        return Ok(change);
    }
    let after = edit::remove(engine, &now, backup.as_deref()).map_err(content)?;
    let mut change = Change {
        diff: target.diff(Some(&now), Some(&after)),
        notes: Vec::new(),
    };
    change.notes.push(match &backup {
        Some(_) => format!(
            "It was changed by others since then, so only wrun's part is taken out; {} is what it was before.",
            target.backup_path().display()
        ),
        None => "There is no backup of what it was, so only wrun's part is taken out.".to_owned(),
    });
    if !dry_run {
        target.write(&after)?;
    }
    Ok(change)
}

/// What the configuration at `path` says of us; `None` without such a file, too.
///
/// # Errors
/// [`InstallError`].
pub fn look(engine: Engine, path: &Path) -> Result<Option<Part>, InstallError> {
    let target = file::Target::open(path, false)?;
    let content = |reason| InstallError::Content {
        path: target.path().to_owned(),
        reason,
    };
    match target.read()? {
        Some(text) => edit::found(engine, &text).map_err(content),
        None => Ok(None),
    }
}

#[cfg(test)]
mod tests;
